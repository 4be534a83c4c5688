"""Rationals as FLINT's balls, and the ends of a ball as floats, rounded outwards."""

from __future__ import annotations

from fractions import Fraction

from flint import arb, fmpq

from geom.numbers.rationals import above, below, power_of_two


def ball(value: Fraction) -> arb:
    """Return a ball around the rational, of the precision in use."""
    return arb(fmpq(value.numerator, value.denominator))


def ball_below(value: arb) -> float:
    """Return the lower end of a ball, rounded down."""
    return below(_exactly(value.lower()))


def ball_above(value: arb) -> float:
    """Return the upper end of a ball, rounded up."""
    return above(_exactly(value.upper()))


def _exactly(end: arb) -> Fraction:
    mantissa, exponent = map(int, end.man_exp())
    return mantissa * power_of_two(exponent)
