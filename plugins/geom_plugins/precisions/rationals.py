"""The precision ``exact``: margins as the rational numbers they are.

Weights, biases and points are floats, so a logit is an integer times a power of two, and nothing
is ever rounded, in whatever order. At the end the margin becomes the float64 next to it, with its
sign kept where it is too small for one; the error radius is what that lost, 0 where nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from geom import NoOptions, Precision, PrecisionMargin, Readout, hookimpl
from geom_plugins.precisions.bounds import as_float
from geom_plugins.precisions.rivals import rivals

Floats = NDArray[np.float64]


def margin(readout: Readout, token: int, x: Floats, options: NoOptions) -> PrecisionMargin:
    """The margin of ``token`` at ``x`` (d,), exactly, and then as a float64."""
    others = rivals(readout, token, x)
    if not others.size:
        return PrecisionMargin(math.inf, token)
    own = logit(readout.W[token], x, float(readout.b[token]))
    gaps = [own - logit(readout.W[j], x, float(readout.b[j])) for j in others]
    least = min(gaps)
    best = int(others[gaps.index(least)])
    winner = token if least > 0 or (least == 0 and token < best) else best
    value, error = as_float(least)
    return PrecisionMargin(value, winner, error if math.isfinite(error) else None)


def logit(w: Floats, x: Floats, b: float) -> Fraction:
    """``w . x + b``, for ``w`` (d,) and ``x`` (d,)."""
    live = np.flatnonzero((w != 0.0) & (x != 0.0))
    if not live.size:
        return Fraction(b)
    w_mantissas, w_exponents = _integers(w[live])
    x_mantissas, x_exponents = _integers(x[live])
    exponents = [i + j for i, j in zip(w_exponents, x_exponents, strict=True)]
    least = min(exponents)
    total = sum(
        (m * n) << (e - least) for m, n, e in zip(w_mantissas, x_mantissas, exponents, strict=True)
    )
    scale = Fraction(1 << least) if least >= 0 else Fraction(1, 1 << -least)
    return total * scale + Fraction(b)


def _integers(values: Floats) -> tuple[list[int], list[int]]:
    """Integers m and e with ``values == m 2**e``."""
    fractions, exponents = np.frexp(values)
    return np.ldexp(fractions, 53).astype(np.int64).tolist(), (exponents - 53).tolist()


@hookimpl
def geom_precisions() -> Iterator[Precision[NoOptions]]:
    """The precision ``exact``."""
    yield Precision("exact", "rational numbers, no rounding", margin, NoOptions, lambda _: 0.0)
