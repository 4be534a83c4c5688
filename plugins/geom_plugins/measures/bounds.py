"""A measurement from two proven bounds: their middle, and half their distance."""

from __future__ import annotations

import math
from fractions import Fraction

from geom import Floats, Measurement, Weights


def between(
    low: float,
    high: float,
    note: str | None = None,
    x: Floats | None = None,
    weights: Weights | None = None,
) -> Measurement:
    """Return the proven measurement of a number from ``low`` to ``high``, with its evidence.

    The range from ``value - error`` to ``value + error`` contains both ends. If one end is
    infinite, so is the error, and the value is the other end; if both are infinite, with the same
    sign, the value is that infinity.
    """
    if low == high:
        return Measurement(low, 0.0, proven=True, note=note, x=x, weights=weights)
    if math.isinf(low) and math.isinf(high):
        note = note or "nothing is proven about it"
        return Measurement(math.nan, note=note, x=x, weights=weights)
    if math.isinf(low) or math.isinf(high):
        end = high if math.isinf(low) else low
        return Measurement(end, math.inf, proven=True, note=note, x=x, weights=weights)
    value = low / 2 + high / 2
    error = max(high - value, value - low)
    while not _holds(value, error, low, high):
        error = math.nextafter(error, math.inf)
    return Measurement(value, error, proven=True, note=note, x=x, weights=weights)


def _holds(value: float, error: float, low: float, high: float) -> bool:
    middle, radius = Fraction(value), Fraction(error)
    return middle - radius <= Fraction(low) and Fraction(high) <= middle + radius
