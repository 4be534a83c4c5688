"""The truth of margins, in exact integers: the largest margin, and whether it is at most u.

Nothing here comes from geom. Rows and biases are floats, hence integers times powers of two. ``a_j
= w_j - w_t`` and ``c_j = b_j - b_t`` are the rivals of token t, and its margin at x is ``min_j
-(a_j . x + c_j)``.

*On a box, and on all of R^d*, the largest margin is a linear program, solved by the simplex method
on integers (`Rivals.program`) with Bland's rule, pivots that divide exactly (J. Edmonds, 1967), and
costs of several orders of magnitude, compared one after the other.

*On a ball* of radius R the largest margin is above u if and only if it is above u on all of R^d and
the point nearest to the origin with a margin of u lies inside the ball: on the way from that point
to any point of a margin above u, margins are above u, and some of these points lie inside. The
nearest point solves a quadratic program in rational numbers alone, and is found by trying the sets
of active rivals.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import combinations
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = list[int]


class Region(Protocol):
    """The description of a domain, without any of its methods."""

    @property
    def shape(self) -> str: ...

    @property
    def size(self) -> Fraction | None: ...

    @property
    def zero_sum(self) -> bool: ...


@dataclass(frozen=True)
class Place:
    """A domain: ``x . x <= size`` (ball), ``|x_i| <= size`` (box) or all, perhaps with sum 0."""

    shape: str
    size: Fraction | None
    zero_sum: bool = False


def integers(values: Iterable[float | Fraction]) -> tuple[Integers, int]:
    """Return integers, and the exponent of the power of two that multiplies them.

    The values are floats, or Fractions whose denominators are powers of two.
    """
    ratios = [value.as_integer_ratio() for value in values]
    places = max((den.bit_length() - 1 for _, den in ratios), default=0)
    return [num << (places - den.bit_length() + 1) for num, den in ratios], -places


def power(exponent: int) -> Fraction:
    return Fraction(1 << exponent) if exponent >= 0 else Fraction(1, 1 << -exponent)


@dataclass(frozen=True)
class Optimum:
    """The solution of `Rivals.program`.

    ``value`` is the largest margin, None if it is infinite. ``lam`` are weights of the rivals that
    prove the value, up to a factor. On a box, ``x`` is a point that attains it; if it is infinite,
    ``x`` is a direction along which margins grow without end.
    """

    value: Fraction | None
    lam: list[int]
    x: list[Fraction]


@dataclass(frozen=True)
class Rivals:
    """The rivals of a token: ``a 2^a_exponent`` (n, d) and ``c c_unit`` (n,), ``a, c`` integers."""

    ids: list[int]
    a: list[Integers]
    a_exponent: int
    c: Integers
    c_unit: Fraction
    region: Region
    homogeneous: bool
    """Whether all biases are equal."""

    @classmethod
    def of(
        cls, W: NDArray[Any], b: Sequence[Fraction], region: Region, token: int, homogeneous: bool
    ) -> Rivals:
        V, d = W.shape
        flat, a_exponent = integers(W.ravel().tolist())
        rows = [flat[j * d : j * d + d] for j in range(V)]
        parts = math.lcm(*(bias.denominator for bias in b))
        biases = [bias.numerator * (parts // bias.denominator) for bias in b]
        ids = [j for j in range(V) if j != token]
        a = [[p - q for p, q in zip(rows[j], rows[token], strict=True)] for j in ids]
        c = [biases[j] - biases[token] for j in ids]
        return cls(ids, a, a_exponent, c, Fraction(1, parts), region, homogeneous)

    def only(self, ids: Sequence[int]) -> Rivals:
        """Return some of the rivals; their largest margin is at least that of all."""
        kept = [k for k, j in enumerate(self.ids) if j in set(ids)]
        return replace(
            self,
            ids=[self.ids[k] for k in kept],
            a=[self.a[k] for k in kept],
            c=[self.c[k] for k in kept],
        )

    @property
    def free(self) -> bool:
        """Whether the domain is all of R^d, or its plane ``sum(x) = 0``."""
        return self.region.shape == "all"

    def margin(self, x: Iterable[float]) -> Fraction:
        """Return the margin at a point of float64 numbers; there must be a rival."""
        point, exponent = integers(x)
        unit = power(self.a_exponent + exponent)
        parts = math.lcm(unit.denominator, self.c_unit.denominator)
        p_unit, c_unit = int(unit * parts), int(self.c_unit * parts)
        highest = max(
            sum(map(int.__mul__, row, point)) * p_unit + c * c_unit
            for row, c in zip(self.a, self.c, strict=True)
        )
        return Fraction(-highest, parts)

    def holds(self, x: Floats) -> bool:
        """Return whether a point lies in the domain."""
        if not np.isfinite(x).all():
            return False
        point, exponent = integers(x.tolist())
        size, unit = self.region.size, power(exponent)
        if self.region.zero_sum and sum(point) != 0:
            return False
        if size is None:
            return True
        if self.region.shape == "box":
            return max(map(abs, point)) * unit <= size
        return square(point) * unit * unit <= size

    @cached_property
    def level(self) -> list[Integers]:
        """The rows as the domain sees them: for ``sum(x) = 0``, d times rows minus their means."""
        if not self.region.zero_sum:
            return self.a
        return [[len(row) * entry - sum(row) for entry in row] for row in self.a]

    @cached_property
    def program(self) -> Optimum:
        """The largest margin on the box, or on all of R^d if the domain is not a box.

        It is solved as its dual: the least ``cost |r| - g`` over weights with sum 1, where ``r = p
        - n (+ m 1)`` and the cost of ``p`` and ``n`` is the box's radius, or larger than all else.
        """
        box = self.region.shape == "box"
        leant = box and self.region.zero_sum
        a = self.a if box else self.level
        n, d = len(a), len(a[0])
        size = self.region.size if box and self.region.size is not None else Fraction(0)
        size *= power(self.a_exponent)
        parts = math.lcm(size.denominator, self.c_unit.denominator)
        price, worth = int(size * parts), [c * int(self.c_unit * parts) for c in self.c]
        unit = [[int(i == k) for k in range(d)] for i in range(d)]
        rows = [
            [a[j][i] for j in range(n)]
            + [-e for e in unit[i]]
            + unit[i]
            + ([1, -1] if leant else [])
            + [0, 0]
            for i in range(d)
        ]
        rows.append([1] * n + [0] * (2 * d + 2 * leant) + [1, 1])
        tail = [0] * (2 * leant)
        costs = [
            [0] * (n + 2 * d) + tail + [1, 0],
            [0] * n + [0 if box else 1] * (2 * d) + tail + [0, 0],
            [-c for c in worth] + [price] * (2 * d) + tail + [0, 0],
        ]
        basis = [n + d + i for i in range(d)] + [len(costs[0]) - 2]
        values, solution, den, reduced = simplex(rows, costs, basis)
        value = None
        if values[1] == 0:
            value = Fraction(values[2], den * parts)
        order = 2 if value is not None else 1
        y = [
            Fraction(costs[order][n + d + i] * den - reduced[order][n + d + i], den)
            for i in range(d)
        ]
        if order == 2:  # of margins over rows; otherwise a direction, of any length
            y = [v / parts / power(self.a_exponent) for v in y]
        if self.region.zero_sum and not box:
            y = [v * d - sum(y) for v in y]
        return Optimum(value, solution[:n], y)

    def at_most(self, u: Fraction) -> bool:
        """Return whether the largest margin over the domain is at most ``u``.

        If the domain is unbounded and all biases are equal, the domain's unit ball takes its place.
        """
        if not self.ids:
            return False
        value = self.program.value
        if self.region.shape == "box" or (self.free and not self.homogeneous):
            return value is not None and value <= u
        if value is not None and value <= u:
            return True
        size = Fraction(1) if self.region.size is None else self.region.size
        return self._nearest(u) >= size

    def _nearest(self, u: Fraction) -> Fraction:
        """Return the least ``|x|^2`` of a point whose margin is at least ``u``; one must exist."""
        limits = [-(c * self.c_unit + u) for c in self.c]
        if min(limits) >= 0:
            return Fraction(0)
        places = math.lcm(*(limit.denominator for limit in limits))
        h = [int(limit * places) for limit in limits]
        rows = self.level
        gram = [[sum(map(int.__mul__, p, q)) for q in rows] for p in rows]
        d, n = len(rows[0]), len(rows)
        scale = d if self.region.zero_sum else 1
        for count in range(1, d + 1):
            for active in combinations(range(n), count):
                found = solved(
                    [[gram[i][j] for j in active] for i in active], [-h[i] for i in active]
                )
                if found is None:
                    continue
                mu, den = found
                if min(mu) < 0:
                    continue
                if all(
                    -sum(gram[k][j] * m for j, m in zip(active, mu, strict=True)) <= h[k] * den
                    for k in range(n)
                ):
                    length = -sum(h[i] * m for i, m in zip(active, mu, strict=True))
                    down = Fraction(length, den * places * places)
                    return down * scale * scale / power(2 * self.a_exponent)
        raise AssertionError("margins above u exist, and no point with them is nearest")

    def shown(self, ids: Sequence[int], values: Sequence[float | int], u: Fraction) -> bool:
        """Return whether these very weights prove that the largest margin is at most ``u``."""
        lam = whole(values)
        if not lam or min(lam) < 0 or max(lam) == 0 or not set(ids) <= set(self.ids):
            return False
        places = {j: k for k, j in enumerate(self.ids)}
        r, g = [0] * len(self.a[0]), 0
        for j, weight in zip(ids, lam, strict=True):
            k = places[j]
            r = [p + weight * q for p, q in zip(r, self.a[k], strict=True)]
            g += weight * self.c[k]
        room = u * sum(lam) + g * self.c_unit
        if room < 0:
            return False
        if self.region.shape == "box":
            return self.reach(r) <= room
        return self.reach_square(r) <= room * room

    def reach(self, r: Integers) -> Fraction:
        """Return ``sup -(r . x)`` over a box."""
        assert self.region.size is not None
        if self.region.zero_sum:
            middle = sorted(r)[len(r) // 2]
            r = [entry - middle for entry in r]
        return self.region.size * sum(map(abs, r)) * power(self.a_exponent)

    def reach_square(self, r: Integers) -> Fraction:
        """Return the square of ``sup -(r . x)`` over a ball; on R^d, 2^9999 means infinity."""
        length = Fraction(square(r))
        if self.region.zero_sum:
            length -= Fraction(sum(r) ** 2, len(r))
        if self.region.size is None and not self.homogeneous:
            return Fraction(0) if length == 0 else power(9999)
        size = Fraction(1) if self.region.size is None else self.region.size
        return size * length * power(2 * self.a_exponent)


def at_least(value: Fraction, bound: Fraction, length: Fraction) -> bool:
    """Return whether ``value >= bound sqrt(length)``."""
    if bound > 0:
        return value > 0 and value * value >= bound * bound * length
    return value >= 0 or value * value <= bound * bound * length


def whole(values: Sequence[float | int]) -> Integers:
    """Return weights as integers, up to a common factor."""
    if all(isinstance(value, int) for value in values):
        return [int(value) for value in values]
    return integers(values)[0]


def square(values: Integers) -> int:
    return sum(map(int.__mul__, values, values))


def solved(matrix: list[Integers], right: Integers) -> tuple[Integers, int] | None:
    """Solve ``matrix m = den right`` with ``den > 0``; return None if the matrix is singular."""
    n = len(matrix)
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    den = 1
    for k in range(n):
        pivot = next((i for i in range(k, n) if rows[i][k]), None)
        if pivot is None:
            return None
        rows[k], rows[pivot] = rows[pivot], rows[k]
        if pivot != k:
            rows[k] = [-entry for entry in rows[k]]
        p = rows[k]
        for i in range(n):
            if i != k:
                q = rows[i][k]
                rows[i] = [(e * p[k] - q * f) // den for e, f in zip(rows[i], p, strict=True)]
        den = p[k]
    sign = 1 if den > 0 else -1
    return [sign * row[-1] for row in rows], abs(den)


def simplex(
    rows: list[Integers], costs: list[Integers], basis: list[int]
) -> tuple[Integers, Integers, int, list[Integers]]:
    """Find the least cost of ``z >= 0`` with the ``rows``, whose last entry is the right side.

    ``basis`` names columns of the identity to begin with. If there are several costs, each counts
    for infinitely more than all later ones. Returns the costs and the solution, both to be divided
    by the third number returned, and the reduced costs.
    """
    rows, reduced = [list(row) for row in rows], [list(cost) for cost in costs]
    for cost in reduced:
        for row, k in zip(rows, basis, strict=True):
            if factor := cost[k]:
                cost[:] = [e - factor * f for e, f in zip(cost, row, strict=True)]
    width, den = len(rows[0]) - 1, 1
    while (enter := _entering(reduced, width)) is not None:
        leave = -1
        for i, row in enumerate(rows):
            if row[enter] > 0:
                if leave < 0:
                    leave = i
                    continue
                least = rows[leave]
                order = row[-1] * least[enter] - least[-1] * row[enter]
                if order < 0 or (order == 0 and basis[i] < basis[leave]):
                    leave = i
        assert leave >= 0, "a program without a least cost"
        pivot = rows[leave]
        p = pivot[enter]
        for table in (rows, reduced):
            for i, row in enumerate(table):
                if row is not pivot:
                    q = row[enter]
                    table[i] = [(e * p - q * f) // den for e, f in zip(row, pivot, strict=True)]
        den = p
        basis[leave] = enter
    solution = [0] * width
    for row, k in zip(rows, basis, strict=True):
        solution[k] = row[-1]
    return [-cost[-1] for cost in reduced], solution, den, reduced


def _entering(reduced: list[Integers], width: int) -> int | None:
    """Return the first column that would lower the costs."""
    for k in range(width):
        for cost in reduced:
            if cost[k]:
                if cost[k] < 0:
                    return k
                break
    return None
