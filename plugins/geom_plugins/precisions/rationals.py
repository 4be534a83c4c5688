"""The precision ``exact``: margins as exact rational numbers.

Weights, biases and points are floats, so a logit is an integer times a power of two, and nothing is
ever rounded, in any order. At the end the margin becomes the nearest float64, which keeps its sign
if it is too small for one; the error radius is the error of that rounding, 0 if it is exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from geom import (
    Enclosure,
    Floats,
    Integers,
    NoOptions,
    Precision,
    PrecisionMargin,
    Readout,
    hookimpl,
)
from geom_plugins.precisions.bounds import as_float
from geom_plugins.precisions.rivals import rivals

BLOCK = 1 << 18
"""The numbers of the rows that are integers at one time: some twenty megabytes."""


def margin(readout: Readout, token: int, x: Floats, options: NoOptions) -> PrecisionMargin:
    """Compute the margin of ``token`` at ``x`` (d,) exactly, then convert it to float64."""
    others = rivals(readout, token, x)
    if not others.size:
        return PrecisionMargin(math.inf, token)
    rows = np.append(others, token)
    products = dots(readout.rows[rows], x)
    *logits, own = [
        product + bias for product, bias in zip(products, readout.exact_biases(rows), strict=True)
    ]
    largest = max(logits)
    best = int(others[logits.index(largest)])
    winner = token if own > largest or (own == largest and token < best) else best
    value, error = as_float(own - largest)
    return PrecisionMargin(value, winner, error if math.isfinite(error) else None)


def products(rows: Floats, x: Floats, options: NoOptions) -> list[Enclosure]:
    """Compute ``rows @ x`` as exact enclosures, for ``rows`` (n, k) and ``x`` (k,)."""
    return [Enclosure(value, value) for value in dots(rows, x)]


def dots(rows: Floats, x: Floats) -> list[Fraction]:
    """Compute ``rows @ x`` exactly, for ``rows`` (n, k) and ``x`` (k,)."""
    live = np.flatnonzero(x)
    entries, x_exponent = _integers(x[live])
    out: list[Fraction] = []
    height = max(1, BLOCK // max(1, live.size))
    for start in range(0, len(rows), height):
        block, exponent = _integers(rows[start : start + height, live])
        places = exponent + x_exponent
        scale = Fraction(1 << places) if places >= 0 else Fraction(1, 1 << -places)
        out += [int(product) * scale for product in block @ entries]
    return out


def _integers(values: Floats) -> tuple[Integers, int]:
    """Return integers, in the shape of ``values``, and e with ``values == integers * 2**e``."""
    fractions, exponents = np.frexp(values)
    mantissas = np.ldexp(fractions, 53).astype(np.int64)
    used = mantissas != 0
    lowest = int(exponents[used].min()) if used.any() else 0
    shift = np.where(used, exponents - lowest, 0)
    return mantissas.astype(object) << shift.astype(object), lowest - 53


@hookimpl
def geom_precisions() -> Iterator[Precision[NoOptions]]:
    yield Precision(
        "exact",
        "rational numbers, no rounding",
        margin,
        NoOptions,
        roundoff=lambda _: 0.0,
        products=products,
    )
