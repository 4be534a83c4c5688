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
    """The proven measurement of what lies from ``low`` to ``high``: ``x`` and ``weights`` prove it.

    ``value - error`` and ``value + error`` hold both. Where one end is infinite, so is the error,
    and the value is the other end; where both are, and of one sign, it is that.
    """
    if low == high:
        return Measurement(low, 0.0, True, note, x, weights)
    if math.isinf(low) and math.isinf(high):
        return Measurement(math.nan, None, False, note or "nothing is proven of it", x, weights)
    if math.isinf(low) or math.isinf(high):
        return Measurement(high if math.isinf(low) else low, math.inf, True, note, x, weights)
    value = low / 2 + high / 2
    error = max(high - value, value - low)
    while not _holds(value, error, low, high):
        error = math.nextafter(error, math.inf)
    return Measurement(value, error, True, note, x, weights)


def _holds(value: float, error: float, low: float, high: float) -> bool:
    middle, radius = Fraction(value), Fraction(error)
    return middle - radius <= Fraction(low) and Fraction(high) <= middle + radius
