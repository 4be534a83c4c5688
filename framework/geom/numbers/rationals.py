"""Floats as the exact rationals they are: integers over a common power of two.

A finite float64 is an integer times a power of two, so an array of them is an array of integers
times one power of two. Sums, differences and products of such arrays are integer arithmetic, done
by FLINT. Nothing is rounded except by `below` and `above`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from flint import fmpz_mat

from geom.numbers.arrays import Floats, Integers
from geom.numbers.rounding import refuse_flushing


@dataclass(frozen=True)
class Scaled:
    """The matrix ``mantissas * 2**exponent``, exactly. ``mantissas`` is a FLINT integer matrix."""

    mantissas: fmpz_mat
    exponent: int

    def __matmul__(self, other: Scaled) -> Scaled:
        return Scaled(self.mantissas * other.mantissas, self.exponent + other.exponent)

    def fractions(self) -> list[Fraction]:
        """Return the entries, row by row."""
        unit = power_of_two(self.exponent)
        return [int(entry) * unit for entry in self.mantissas.entries()]


def power_of_two(exponent: int) -> Fraction:
    """Return ``2**exponent`` as a rational, for any integer exponent."""
    return Fraction(1 << exponent) if exponent >= 0 else Fraction(1, 1 << -exponent)


def integers(values: Floats) -> tuple[Integers, int]:
    """Return Python integers and one exponent: ``values == integers * 2**exponent`` exactly.

    ``values`` is any array of finite float64; the integers have its shape. The exponent is the
    largest that works, so the integers are as short as possible. Raises ArithmeticModeError if the
    process flushes subnormal numbers to zero.
    """
    refuse_flushing()
    fraction, exponent = np.frexp(values)
    mantissas = np.ldexp(fraction, 53).astype(np.int64)
    lowest_bit = mantissas & -mantissas
    used = mantissas != 0
    if not used.any():
        return np.zeros(values.shape, dtype=object), 0
    trailing = np.zeros(values.shape, dtype=np.int64)
    trailing[used] = np.frexp(lowest_bit[used].astype(np.float64))[1] - 1
    places = exponent.astype(np.int64) - 53
    lowest = int((places + trailing)[used].min())
    shift = np.where(used, places - lowest, 0)
    flat = [
        m << s if s >= 0 else m >> -s
        for m, s in zip(mantissas.ravel().tolist(), shift.ravel().tolist(), strict=True)
    ]
    out = np.empty(len(flat), dtype=object)
    out[:] = flat
    return out.reshape(values.shape), lowest


def scaled(values: Floats) -> Scaled:
    """Convert a float64 array to an exact matrix; a vector becomes one column."""
    mantissas, exponent = integers(values if values.ndim == 2 else values.reshape(-1, 1))
    return Scaled(fmpz_mat(mantissas.tolist()), exponent)


def integer_differences(rows: Floats, row: Floats) -> tuple[Integers, int]:
    """Return ``rows - row`` (n, d) as `integers` does, ``rows`` (n, d) and ``row`` (d,)."""
    mantissas, exponent = integers(np.vstack([row, rows]))
    return mantissas[1:] - mantissas[0], exponent


def differences(rows: Floats, row: Floats) -> Scaled:
    """Return ``rows - row`` (n, d) exactly, as a matrix, ``rows`` (n, d) and ``row`` (d,)."""
    mantissas, exponent = integer_differences(rows, row)
    return Scaled(fmpz_mat(mantissas.tolist()), exponent)


def null_combination(rows: Integers, lam: Integers, limit: int) -> Integers | None:
    """Find integers ``mu`` (n,) >= 0, not all 0, near ``lam``, with ``sum mu_j rows_j = 0``.

    ``rows`` (n, d) and ``lam`` (n,) > 0 are integers, the weightiest rows first. In that order, the
    rows that depend on earlier ones keep their ``lam``, up to a common positive factor. The
    independent rows get the weights that make the sum vanish, by exact elimination: no rank is
    guessed. Returns None if that makes a weight negative or leaves no weights, or if more than
    ``limit`` rows would have to be independent.
    """
    n = len(rows)
    head = min(n, 2 * limit)
    system = rows[:head].T
    if head < n:
        system = np.column_stack([system, lam[head:] @ rows[head:]])
    weight = np.append(lam[:head], 1) if head < n else lam[:head]
    system = system[[bool(row.any()) for row in system]]
    if min(system.shape) > limit:
        return None
    if not system.size:
        return lam
    reduced, den, rank = fmpz_mat(system.tolist()).rref()
    sign = 1 if den > 0 else -1
    echelon = np.array(
        [[int(reduced[i, j]) for j in range(system.shape[1])] for i in range(rank)], dtype=object
    )
    pivots = [int(np.flatnonzero(row)[0]) for row in echelon]
    free = np.setdiff1d(np.arange(system.shape[1]), pivots)
    mu = np.empty(system.shape[1], dtype=object)
    mu[free] = abs(int(den)) * weight[free]
    mu[pivots] = -sign * (echelon[:, free] @ weight[free]) if free.size else 0
    if not free.size or min(mu) < 0:
        return None
    return mu if head == n else np.append(mu[:head], mu[head] * lam[head:])


def square_sum(values: list[Fraction]) -> Fraction:
    """Return the exact sum of squares."""
    return sum((v * v for v in values), Fraction(0))


def root(value: Fraction) -> tuple[Fraction, Fraction]:
    """Return rationals below and above the square root of ``value``, within 2^-60 of it."""
    if value == 0:
        return value, value
    places = 64 + (value.denominator.bit_length() - value.numerator.bit_length()) // 2
    floor = math.isqrt(math.floor(value * power_of_two(2 * places)))
    return floor * power_of_two(-places), (floor + 1) * power_of_two(-places)


def below(value: Fraction) -> float:
    """Return the largest float64 not above ``value`` (up to one unit in the last place)."""
    return 0.0 - above(-value)


def above(value: Fraction) -> float:
    """Return the least float64 not below ``value`` (up to one unit in the last place)."""
    try:
        nearest = value.numerator / value.denominator
    except OverflowError:
        return math.inf if value > 0 else -1.7976931348623157e308
    if math.isfinite(nearest) and Fraction(nearest) >= value:
        return nearest
    return math.nextafter(nearest, math.inf)
