"""Float64 points near exact ones, for regions so narrow that ordinary rounding leaves them.

Sources: A. K. Lenstra, H. W. Lenstra and L. Lovasz, Factoring polynomials with rational
coefficients, Math. Ann. 261, 1982; L. Babai, On Lovasz' lattice reduction and the nearest lattice
point problem, Combinatorica 6, 1986.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from flint import fmpq_mat, fmpz_mat

Bound = tuple[Sequence[int], Fraction]
"""A row (d,) and its room: how far the row's product may rise above its value at the point."""

_SMALL = 900
"""Coordinates this many powers of two below the largest use the grid of those just above."""


@dataclass(frozen=True)
class Grid:
    """Multiples of ``2**exponents[i]`` for each coordinate, near a point ``x`` (d,)."""

    x: Sequence[Fraction]
    exponents: list[int]

    @classmethod
    def around(cls, x: Sequence[Fraction], bits: int, common: bool) -> Grid:
        """Build a grid with ``bits`` bits per coordinate, or on the largest's ``common`` grid."""
        most = exponent(max(map(abs, x)))
        exponents = [most if common or v == 0 else max(exponent(abs(v)), most - _SMALL) for v in x]
        return cls(x, [power - bits for power in exponents])

    def nearest(self) -> list[int]:
        """Return the multiples nearest to ``x``."""
        return [round(step) for step in self._steps]

    def within(self, bounds: Sequence[Bound]) -> list[int]:
        """Return multiples near ``x`` that keep within the bounds, or nearly do.

        A step of the grid is measured by the shares of the rooms that it takes up. In that measure
        the grid has a short basis (Lenstra, Lenstra and Lovasz), and ``x`` is rounded in that
        basis's coordinates (Babai).
        """
        d = len(self.x)
        units = [Fraction(2) ** power for power in self.exponents]
        shares = [
            [round(v * unit * 2**60 / room) for v, unit in zip(row, units, strict=True)]
            for row, room in bounds
            if room > 0
        ]
        tight = [row for row in shares if max(map(abs, row)) >= 1 << 36]
        measure = [
            [row[i] for row in tight] + [int(i == k) << 20 for k in range(d)] for i in range(d)
        ]
        _, short = fmpz_mat(measure).lll(True)
        inverse, den = fmpq_mat(short).inv().numer_denom()
        back = np.array([[Fraction(int(v), int(den)) for v in row] for row in inverse.tolist()])
        rounded = [round(step) for step in np.array(self._steps) @ back]
        return [int(v) for v in (fmpz_mat([rounded]) * short).entries()]

    @property
    def _steps(self) -> list[Fraction]:
        return [v / Fraction(2) ** power for v, power in zip(self.x, self.exponents, strict=True)]


def exponent(value: Fraction) -> int:
    """Return the least k with ``value < 2**k``, for a positive value."""
    k = value.numerator.bit_length() - value.denominator.bit_length()
    return k + (value >= Fraction(2) ** k)


def dot(u: Iterable[int | Fraction], v: Iterable[int | Fraction]) -> Fraction:
    """Return the exact inner product."""
    return sum((Fraction(p * q) for p, q in zip(u, v, strict=True)), Fraction(0))
