"""Real numbers between two rationals."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from geom.reprs import short_repr


@dataclass(frozen=True)
class Enclosure:
    """A real number known to lie between two rationals.

    Attributes
    ----------
    low : Fraction
        The exact lower end.
    high : Fraction
        The exact upper end.
    """

    low: Fraction
    high: Fraction

    __repr__ = short_repr

    @staticmethod
    def around(value: Fraction, radius: Fraction) -> Enclosure:
        """Enclose every number within a radius of a value.

        Parameters
        ----------
        value : Fraction
            The centre.
        radius : Fraction
            The distance of the ends from the centre.

        Returns
        -------
        Enclosure
            ``[value - radius, value + radius]``.
        """
        return Enclosure(value - radius, value + radius)

    @property
    def sign(self) -> Literal["positive", "negative", "zero", "unsettled"]:
        """The sign of the number; ``unsettled`` if the ends disagree."""
        if self.low == self.high == 0:
            return "zero"
        if self.low > 0:
            return "positive"
        return "negative" if self.high < 0 else "unsettled"

    @property
    def width(self) -> Fraction:
        """The distance between the ends; 0 if the number is known exactly."""
        return self.high - self.low

    def __add__(self, other: Enclosure) -> Enclosure:
        return Enclosure(self.low + other.low, self.high + other.high)

    def __sub__(self, other: Enclosure) -> Enclosure:
        return Enclosure(self.low - other.high, self.high - other.low)
