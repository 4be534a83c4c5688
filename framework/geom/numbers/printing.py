"""Numbers for people: in fewer digits than they have, and never saying more than is proven.

A lower bound is rounded down, an upper bound and a radius up, an estimate to the nearest. The exact
value of the float or fraction is rounded, in decimal, so the printed digits hold as they stand; no
bound other than 0 is printed as 0.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction

Number = float | Fraction

DIGITS = 3
"""Significant digits of a bound by default."""

ALONE = 6
"""Significant digits of a value without an error."""

LONGEST = 15
"""The most significant digits of a value with an error."""

WIDE = Fraction(1, 10)
"""From this share of the value on, a proven radius is wide: its ends tell more than its middle."""


def rounded_down(value: Number, digits: int = DIGITS) -> str:
    """Write a number in few digits, rounded down.

    As with Python's format ``g``, the decimal has no trailing zeros, and it has an exponent, as in
    ``1.23e-07``, if that exponent is below -4 or at least ``digits``.

    Parameters
    ----------
    value : float or Fraction
        The number; its exact value is rounded.
    digits : int, optional
        The most significant digits.

    Returns
    -------
    str
        The decimal; ``nan``, ``inf`` or ``-inf`` if the number is not finite.
    """
    return _decimal(value, digits, ROUND_FLOOR)


def rounded_up(value: Number, digits: int = DIGITS) -> str:
    """Write a number in few digits, rounded up; see `rounded_down`.

    Parameters
    ----------
    value : float or Fraction
        The number; its exact value is rounded.
    digits : int, optional
        The most significant digits.

    Returns
    -------
    str
        The decimal; ``nan``, ``inf`` or ``-inf`` if the number is not finite.
    """
    return _decimal(value, digits, ROUND_CEILING)


def rounded(value: Number, digits: int = DIGITS) -> str:
    """Write the decimal nearest to ``value``, a number that is not a bound; see `rounded_down`."""
    return _decimal(value, digits, ROUND_HALF_EVEN)


def enclosure(low: float | None, high: float | None) -> str:
    """Write proven bounds: ``0.12 .. 3.4``, ``>= 0.12``, ``<= 3.4``, or ``-`` without any.

    A margin of exactly 0 is written ``0``. Bounds that are close together have as many digits as it
    takes to tell them apart, to `ALONE`.
    """
    if low is None:
        return "-" if high is None else f"<= {rounded_up(high)}"
    if high is None:
        return f">= {rounded_down(low)}"
    if low == high == 0.0:
        return "0"
    digits = DIGITS
    apart = abs(high - low) / max(abs(low), abs(high), math.ulp(0.0))
    while digits < ALONE and apart < 10.0 ** (1 - digits):
        digits += 1
    return f"{rounded_down(low, digits)} .. {rounded_up(high, digits)}"


def chance(probability: float) -> str:
    """Write an upper bound on a probability: ``1.31e-05 (about 1 in 76,500)``."""
    shown = rounded_up(probability)
    if not 0.0 < probability <= 1.0:
        return shown
    times = round(1 / Fraction(probability))
    unit = 10 ** max(0, len(str(times)) - DIGITS)
    times = round(Fraction(times, unit)) * unit
    return f"{shown} (about 1 in {f'{times:,}' if times < 10**12 else rounded(Fraction(times))})"


def with_error(value: float, error: float | None, proven: bool) -> str:
    """Write a value with its error: ``-3.021 ~ 0.034`` or, if ``proven``, ``0.571 ± 0.012``.

    A proven interval that is `WIDE` is written by its ends: ``0.33 .. 0.9``.

    The value is rounded to the second digit of its error, or to `LONGEST` digits if those are
    fewer; to `ALONE` digits if the error is 0, infinite or unknown. A standard error is rounded up,
    to one digit if it has an exponent. A proven radius is first widened by what rounding took from
    the value, and then rounded likewise, so the printed interval contains the proven one.
    """
    if error is None or math.isnan(error) or not math.isfinite(value):
        return rounded(value, ALONE)
    sign = "±" if proven else "~"
    if math.isinf(error):
        return f"{rounded(value, ALONE)} {sign} inf"
    if proven and error and error >= WIDE * abs(Fraction(value)):
        low, high = Fraction(value) - Fraction(error), Fraction(value) + Fraction(error)
        return f"{rounded_down(low)} .. {rounded_up(high)}"
    place = Decimal(value).adjusted() + 1 - (LONGEST if error else ALONE)
    if error:
        place = max(place, Decimal(error).adjusted() - 1)
    shown = Decimal(value).quantize(Decimal((0, (1,), place)), ROUND_HALF_EVEN, _context())
    shown = shown or shown.copy_abs()  # no -0.00
    radius = Fraction(error)
    if proven:
        radius += abs(Fraction(value) - Fraction(shown))
    if not radius:
        return _text(shown, ALONE)
    if -ALONE <= place <= 0:  # both get the same number of places
        above = Decimal(math.ceil(radius * 10**-place)).scaleb(place, _context())
        return f"{shown:.{-place}f} {sign} {above:.{-place}f}"
    return f"{_text(shown, max(1, shown.adjusted() + 1 - place))} {sign} {rounded_up(radius, 1)}"


def ranks(value: float, error: float) -> str:
    """Write a rank that is reached, and the proven bound below it: ``21 .. 3012``, ``1``.

    The best rank is a whole number, and not above the one that is reached.
    """
    best, reached = math.ceil(Fraction(value) - Fraction(error)), math.floor(value)
    return str(reached) if best == reached else f"{best} .. {reached}"


def _context(digits: int = 2 * LONGEST, rounding: str = ROUND_HALF_EVEN) -> Context:
    """Return a decimal context whose exponents have room for every float and every fraction."""
    return Context(prec=digits, rounding=rounding, Emin=-999999, Emax=999999)


def _decimal(value: Number, digits: int, rounding: str) -> str:
    context = _context(digits, rounding)
    if isinstance(value, Fraction):
        quotient = context.divide(Decimal(value.numerator), Decimal(value.denominator))
        return _text(quotient, digits)
    if not math.isfinite(value):
        return str(float(value))
    return _text(context.plus(Decimal(value)), digits)


def _text(value: Decimal, digits: int) -> str:
    """Write the decimal unrounded, as format ``g`` with ``digits`` digits would."""
    if not value:
        return "0"
    exponent = value.adjusted()
    value = value.normalize(_context())
    if -5 < exponent < digits:
        return f"{value:f}"
    return f"{value.scaleb(-exponent, _context()):f}e{exponent:+03d}"
