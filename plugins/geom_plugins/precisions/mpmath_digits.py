"""The precision ``mpmath``: floats of any number of decimal digits.

W, b and x are float64, which 15 digits or more hold exactly. Products and sums are rounded to the
context's precision p, from the first coordinate to the last, with the bias at the end, so that the
unit roundoff is ``2^-p``; exponents are unbounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from geom import Enclosure, Floats, Precision, PrecisionMargin, Readout, hookimpl
from geom_plugins.precisions.bounds import (
    EXACT,
    UP,
    Rounding,
    as_float,
    lengths,
    logit_errors,
    radius,
)
from geom_plugins.precisions.rivals import rivals

Number = Any  # mpmath has no types


@dataclass(frozen=True)
class MpmathOptions:
    """How precisely to compute."""

    digits: Annotated[int, Meta(ge=15, description="decimal digits")] = 50


def margin(readout: Readout, token: int, x: Floats, options: MpmathOptions) -> PrecisionMargin:
    """Compute the margin of ``token`` at ``x`` (d,), rounded to float64 at the end."""
    others = rivals(readout, token, x)
    if not others.size:
        return PrecisionMargin(math.inf, token)
    mp = _context(options.digits)
    point = [mp.mpf(entry) for entry in x.tolist()]
    ids = np.append(token, others)
    own, *logits = [
        _dot(mp, readout.rows[j], point) + mp.mpf(bias.numerator) / mp.mpf(bias.denominator)
        for j, bias in zip(ids.tolist(), readout.exact_biases(ids), strict=True)
    ]
    largest = max(logits)
    best = int(others[logits.index(largest)])
    difference = own - largest
    winner = token if difference > 0 or (difference == 0 and token < best) else best
    value, off = as_float(_fraction(difference))
    gaps = np.array([as_float(_fraction(largest - logit))[0] for logit in logits])
    rows, u = np.append(others, token), roundoff(options)
    with np.errstate(all="ignore"):
        errors = logit_errors(
            readout.row_norms[rows],
            x,
            np.abs(readout.b[rows]) + readout.bias_errors[rows],
            inputs=EXACT,
            sums=Rounding(u),
            roundings=readout.d + 4,  # with a bias's numerator, denominator and quotient
        )
        error = radius(float(errors[-1]), errors[:-1], gaps)
    error = (error + off + abs(value) * u) * UP
    return PrecisionMargin(value, winner, error if math.isfinite(error) else None)


def roundoff(options: MpmathOptions) -> float:
    """Return ``2^-p``, but no less than the least normal float64."""
    return max(math.ldexp(1.0, -_context(options.digits).prec), 2.0**-1022)


def products(rows: Floats, x: Floats, options: MpmathOptions) -> list[Enclosure]:
    """Enclose ``rows @ x`` by the radius of its roundings, for ``rows`` (n, k) and ``x`` (k,)."""
    mp = _context(options.digits)
    point = [mp.mpf(entry) for entry in x.tolist()]
    errors = logit_errors(
        lengths(rows), x, np.zeros(len(rows)), inputs=EXACT, sums=Rounding(roundoff(options))
    )
    if not np.isfinite(errors).all():
        raise ArithmeticError("the lengths of its rows overflow")
    return [
        Enclosure.around(_fraction(_dot(mp, row, point)), Fraction(error))
        for row, error in zip(rows, errors.tolist(), strict=True)
    ]


def _dot(mp: Any, row: Floats, point: list[Number]) -> Number:
    total = mp.zero
    for weight, entry in zip(row.tolist(), point, strict=True):
        total += mp.mpf(weight) * entry
    return total


def _fraction(value: Number) -> Fraction:
    from mpmath.libmp import to_rational  # type: ignore[import-untyped]  # it has no types

    return Fraction(*map(int, to_rational(value._mpf_)))  # mpmath's own protocol: the raw number


@cache
def _context(digits: int) -> Any:
    """Return an mpmath context at that precision.

    Nothing else uses it or changes its precision, so threads can share it.
    """
    from mpmath.ctx_mp import MPContext  # type: ignore[import-untyped]  # it has no types

    mp = MPContext()
    mp.dps = digits
    return mp


@hookimpl
def geom_precisions() -> Iterator[Precision[MpmathOptions]]:
    yield Precision(
        "mpmath",
        "floats of a given number of decimal digits, by mpmath",
        margin,
        MpmathOptions,
        roundoff=roundoff,
        products=products,
    )
