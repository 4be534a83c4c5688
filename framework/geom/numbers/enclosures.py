"""Real numbers between two rationals."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from geom.reprs import short_repr


@dataclass(frozen=True)
class Enclosure:
    """A real number known to lie in ``[low, high]``; the ends are exact."""

    low: Fraction
    high: Fraction

    __repr__ = short_repr

    @staticmethod
    def around(value: Fraction, radius: Fraction) -> Enclosure:
        """``value`` and what lies within ``radius`` of it."""
        return Enclosure(value - radius, value + radius)

    @property
    def sign(self) -> Literal["positive", "negative", "zero", "unsettled"]:
        """The sign of the number; ``unsettled`` where the ends disagree."""
        if self.low == self.high == 0:
            return "zero"
        if self.low > 0:
            return "positive"
        return "negative" if self.high < 0 else "unsettled"

    @property
    def width(self) -> Fraction:
        """How far the ends are apart; 0 where the number is known exactly."""
        return self.high - self.low

    def __add__(self, other: Enclosure) -> Enclosure:
        return Enclosure(self.low + other.low, self.high + other.high)

    def __sub__(self, other: Enclosure) -> Enclosure:
        return Enclosure(self.low - other.high, self.high - other.low)
