"""The margin that an arithmetic gives, and how far it can be from the exact margin.

Every bound rests on the model of N. J. Higham, Accuracy and Stability of Numerical Algorithms,
2nd ed., SIAM 2002, section 2.2: a rounding multiplies by ``1 + e``, ``|e| <= u``, or, if it
underflows, adds at most ``tiny``. A sum of products in which no term is rounded more than n times
is then off by at most ``(1 + u)^n - 1`` times the sum of the terms' sizes (section 3.1), in any
order and for any n; Cauchy-Schwarz bounds that sum by ``|w||x| + |b|``. The bounds are computed in
float64; `UP` covers the roundings made on the way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geom import Enclosure, Floats, PrecisionMargin

UP = 1.0 + 2.0**-40
"""A factor that makes up for some four thousand roundings of float64."""

TINY = 2.0**-1022
"""The least normal float64: more than a bound can lose to underflow while it is computed."""


@dataclass(frozen=True)
class Rounding:
    """The error of one rounding: ``relative`` to the result, or ``tiny`` if it underflows."""

    relative: float = 0.0
    tiny: float = 0.0


EXACT = Rounding()
FLOAT64 = Rounding(2.0**-53, TINY)


def length(x: Floats) -> float:
    """Return an upper bound on ``|x|``, for ``x`` (d,)."""
    return float(lengths(x[None, :])[0])


def lengths(rows: Floats) -> Floats:
    """Bound the lengths (n,) of ``rows`` (n, d) from above, infinite or NaN if an entry is."""
    largest = np.abs(rows).max(axis=1, initial=0.0)
    with np.errstate(all="ignore"):
        ratios = rows / np.where(largest > 0.0, largest, 1.0)[:, None]
        roots = np.sqrt(np.einsum("ij,ij->i", ratios, ratios))
        found = largest * roots * (1.0 + rows.shape[1] * 2.0**-52) * UP + TINY
    return np.asarray(np.where(np.isfinite(largest) & (largest > 0.0), found, largest))


def logit_errors(
    norms: Floats,
    x: Floats,
    b: Floats,
    *,
    inputs: Rounding,
    sums: Rounding,
    roundings: int | None = None,
) -> Floats:
    """Bound the errors (V,) of logits: of rounding W, x and b, and of products and sums.

    ``norms`` (V,) are upper bounds on the lengths of the exact rows. No term is rounded more than
    ``roundings`` times; the default is once as a product and d times in sums.
    """
    d = x.size
    u, off = inputs.relative, math.sqrt(d) * inputs.tiny
    norm, size = length(x), np.abs(b)
    near, near_norm = norms * (1.0 + u) + off, norm * (1.0 + u) + off
    moved = (norms * u + off) * near_norm + norms * (norm * u + off) + size * u + inputs.tiny
    n = d + 1 if roundings is None else roundings
    growth = math.expm1(n * math.log1p(sums.relative)) if sums.relative * n < 700.0 else math.inf
    summed = growth * (near * near_norm + size * (1.0 + u) + inputs.tiny)
    lost = 2 * (d + 1) * sums.tiny * (1.0 + growth)
    return np.asarray((moved + summed + lost) * UP + 4.0 * TINY)


def radius(own: float, errors: Floats, gaps: Floats) -> float:
    """Return how far the margin's two logits can be off in total.

    ``own`` bounds the error of the token's logit, ``errors`` (n,) those of its rivals, and ``gaps``
    (n,) say how far each rival is below the largest, as computed. A rival whose error is less than
    its gap cannot be the largest.
    """
    return (own + float((errors - gaps * (1.0 - 2.0**-40)).max())) * UP


def answer(logits: NDArray[Any], token: int, errors: Floats, relative: float) -> PrecisionMargin:
    """Return an arithmetic's margin from all its logits (V,), by one subtraction in its type.

    The winner is the lowest id with the largest logit, or the first NaN if there is one, as for
    argmax in NumPy and torch. ``errors`` (V,) bound the errors of the logits; ``relative`` is the
    error of the subtraction. If a logit is infinite or NaN, the error is not known. Without a rival
    the margin is infinite.
    """
    wide = logits if logits.dtype.kind == "f" else logits.astype(np.float64)
    winner = int(wide.argmax())
    if wide.size == 1:
        return PrecisionMargin(math.inf, winner)
    rivals = np.delete(wide, token)
    at = int(rivals.argmax())
    margin = float(logits[token] - logits[at + (at >= token)]) + 0.0  # a tie is 0, never -0
    if not (math.isfinite(margin) and np.isfinite(wide).all()):
        return PrecisionMargin(margin, winner)
    gaps = (rivals[at] - rivals).astype(np.float64)
    error = radius(float(errors[token]), np.delete(errors, token), gaps)
    error += abs(margin) * (relative + 2.0**-53) * UP + TINY
    return PrecisionMargin(margin, winner, error * UP if math.isfinite(error) else None)


def enclosed(
    values: NDArray[Any], rows: Floats, x: Floats, inputs: Rounding, sums: Rounding
) -> list[Enclosure]:
    """Return enclosures of the exact ``rows @ x`` (n,) around an arithmetic's ``values`` (n,).

    Raises ArithmeticError if a value or its radius is not finite.
    """
    with np.errstate(all="ignore"):
        errors = logit_errors(lengths(rows), x, np.zeros(len(rows)), inputs=inputs, sums=sums)
        high = values.astype(np.float64)
        low = (values - high).astype(np.float64)  # the rest of a long double
        errors = (errors + np.abs(low) * 2.0**-53) * UP
    if not (np.isfinite(errors).all() and np.isfinite(high).all()):
        raise ArithmeticError("its numbers overflow")
    return [
        Enclosure.around(Fraction(top) + Fraction(rest), Fraction(error))
        for top, rest, error in zip(high.tolist(), low.tolist(), errors.tolist(), strict=True)
    ]


def as_float(value: Fraction) -> tuple[float, float]:
    """Return the float64 nearest to ``value``, of the same sign, and a bound on its error."""
    try:
        near = value.numerator / value.denominator
    except OverflowError:
        return (math.inf if value > 0 else -math.inf), math.inf
    if near == 0.0 and value != 0:
        near = math.copysign(5e-324, value.numerator)
    off = abs(Fraction(near) - value)
    return near, 0.0 if off == 0 else max(float(off) * UP, TINY)
