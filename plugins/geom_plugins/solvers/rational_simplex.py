"""The simplex method in rationals, for small programs of one token.

Rows ``(a_j, c_j)`` of whole numbers, and walls that hold ``x`` in a box or in a part of it::

    maximise m  subject to  a_j . x + c_j + s_j m <= 0  for every j,  v_k . x <= bound_k.

The scales ``s_j >= 0`` are powers of two near the size of the row, so that rows of all sizes count
alike. The dual asks for multipliers >= 0 of the columns ``(a_j, s_j)`` and ``(v_k, 0)`` whose sum
is ``(0, 1)``. A row and the walls of the box that it leans to are a first basis, so the revised
method needs nothing else to begin. Each step solves systems of d + 1 equations with FLINT, and
nothing is ever rounded.

Sources: G. B. Dantzig, Linear Programming and Extensions, 1963, chapter 9; R. G. Bland, New finite
pivoting rules for the simplex method, Math. Oper. Res. 2, 1977, whose rule takes over if a step
gains nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from flint import fmpq, fmpq_mat, fmpz_mat

_STEPS = 2000
"""The steps before giving up: seconds of work."""

_FEW = 512
"""With at most this many rows and walls, every step prices all of them."""


@dataclass(frozen=True)
class Wall:
    """A half-space ``vector . x <= bound``."""

    vector: list[int]
    bound: Fraction


@dataclass(frozen=True)
class Vertex:
    """An optimum: the point, the level ``m``, and the basis with its multipliers, all exact.

    The basis lists columns: rows first, then ``walls``.
    """

    x: list[Fraction]
    m: Fraction
    basis: list[int]
    multipliers: list[Fraction]
    walls: list[Wall]


def box(d: int, reach: Fraction) -> list[Wall]:
    """Return walls for ``|x_i| <= reach``: 2 i bounds ``x_i`` from above, 2 i + 1 from below."""
    units = [[int(i == k) for k in range(d)] for i in range(d)]
    return [Wall([sign * v for v in unit], reach) for unit in units for sign in (1, -1)]


@dataclass(frozen=True)
class RationalProgram:
    """Rows ``(a_j, c_j)`` (n, d + 1), their scales (n,), and the size at which ``x`` matters."""

    rows: list[list[int]]
    scales: list[int]
    unit: Fraction

    @property
    def d(self) -> int:
        """The number of coordinates."""
        return len(self.rows[0]) - 1

    def middle(self, vertex: Vertex, lengths_matter: bool) -> list[Fraction]:
        """Return the mean of the points, one per column of the basis, farthest from its bound.

        Unless lengths matter, distances from walls do not count.
        """
        n, points = len(self.rows), [vertex.x]
        for j in vertex.basis:
            if j >= n and not lengths_matter:
                continue
            scales = [0] * (n + len(vertex.walls))
            scales[j] = self.scales[j] if j < n else 1
            found = self.optimum(vertex.walls, scales, [j])
            if found is not None:
                points.append(found.x)
        return [sum(values, Fraction(0)) / len(points) for values in zip(*points, strict=True)]

    def optimum(
        self,
        walls: list[Wall],
        scales: Sequence[int] | None = None,
        basis: list[int] | None = None,
    ) -> Vertex | None:
        """Return the optimum between walls that begin with a `box`; None after too many steps.

        ``scales`` are those of rows and walls; by default the rows' own. ``basis`` is a basis to
        begin with, or a single column of one: the walls that it leans to are the others.
        """
        columns = _Columns.of(self, walls, scales)
        basis = basis or [columns.highest(len(self.rows), self.scales)]
        if len(basis) == 1:
            leant = columns.vectors[basis[0]]
            basis = basis + [len(self.rows) + 2 * i + int(v > 0) for i, v in enumerate(leant)]
        stalled = False
        for _ in range(_STEPS):
            matrix = columns.matrix(basis)
            point, den = matrix.solve(columns.right(basis)).numer_denom()
            entering = columns.violated([int(v) for v in point.entries()], int(den), stalled)
            transposed = matrix.transpose()
            if entering is None:
                *x, m = (Fraction(int(v), int(den)) for v in point.entries())
                unit = fmpz_mat([[0]] * self.d + [[1]])
                z = [_fraction(v) for v in transposed.solve(unit).entries()]
                return Vertex(x, m, basis, z, walls)
            right = [[0, v] for v in columns.vectors[entering]] + [[1, columns.scales[entering]]]
            solved = transposed.solve(fmpz_mat(right)).entries()
            step, _, leaving = min(
                (z / change, basis[k], k)
                for k, (z, change) in enumerate(zip(solved[::2], solved[1::2], strict=True))
                if change > 0
            )
            stalled = step == 0
            basis = [*basis[:leaving], entering, *basis[leaving + 1 :]]
        return None


@dataclass
class _Columns:
    """The dual's columns: rows, then walls, and the few of them that steps price.

    ``bits`` (n,) are the sizes by which violations are compared, ``most`` the largest of them.
    """

    vectors: list[list[int]]
    gains: list[int]
    scales: Sequence[int]
    bits: list[int]
    most: int
    tableau: fmpz_mat
    active: list[int]
    priced: fmpz_mat

    @classmethod
    def of(
        cls, program: RationalProgram, walls: list[Wall], scales: Sequence[int] | None
    ) -> _Columns:
        """Build all columns; if there are many rows, they wait until they are violated."""
        vectors = [row[:-1] for row in program.rows]
        gains = [row[-1] for row in program.rows]
        bits = [scale.bit_length() for scale in program.scales]
        for wall in walls:
            den = wall.bound.denominator
            vectors.append([den * v for v in wall.vector])
            gains.append(-wall.bound.numerator)
            size = den * max(map(abs, wall.vector)) * min(program.unit, wall.bound)
            bits.append(max(1, math.floor(size)).bit_length())
        entries = [[*vector, gain] for vector, gain in zip(vectors, gains, strict=True)]
        tableau, n = fmpz_mat(entries), len(program.rows)
        active = list(range(0 if len(entries) <= _FEW else n, len(entries)))
        priced = fmpz_mat(entries[active[0] :])
        scales = scales or [*program.scales, *([0] * len(walls))]
        return cls(vectors, gains, scales, bits, max(bits), tableau, active, priced)

    def highest(self, rows: int, scales: Sequence[int]) -> int:
        """Return the row that is highest at the origin."""
        return max(range(rows), key=lambda j: Fraction(self.gains[j], scales[j]))

    def matrix(self, basis: list[int]) -> fmpq_mat:
        """Return the basis, one column of the dual in each row."""
        return fmpq_mat([[*self.vectors[j], self.scales[j]] for j in basis])

    def right(self, basis: list[int]) -> fmpz_mat:
        """Return the product of the basis and ``(x, m)``."""
        return fmpz_mat([[-self.gains[j]] for j in basis])

    def violated(self, point: list[int], den: int, first: bool) -> int | None:
        """Return the column that ``(x, m) = point / den`` violates most, or the first; or None.

        If the active columns hold, all columns are priced, and the worst of them become active.
        None means that all hold.
        """
        while True:
            above = self._above(self.priced, self.active, point, den)
            if above:
                return min(above) if first else max(above, key=lambda j: self._worth(j, above[j]))
            if len(self.active) == len(self.vectors):
                return None
            above = self._above(self.tableau, range(len(self.vectors)), point, den)
            if not above:
                return None
            worst = sorted(above, key=lambda j: self._worth(j, above[j]))[-_FEW // 4 :]
            self.active = sorted({*self.active, *worst})
            self.priced = fmpz_mat([[*self.vectors[j], self.gains[j]] for j in self.active])

    def _worth(self, j: int, above: int) -> int:
        return above << (self.most - self.bits[j])

    def _above(
        self, tableau: fmpz_mat, names: Sequence[int], point: list[int], den: int
    ) -> dict[int, int]:
        """Return ``a . x + c + s m`` of the columns, times ``den``, where it is above zero."""
        *x, m = point
        values = (tableau * fmpz_mat([[v] for v in [*x, den]])).entries()
        sums = ((j, int(v) + self.scales[j] * m) for j, v in zip(names, values, strict=True))
        return {j: v for j, v in sums if v > 0}


def _fraction(value: fmpq) -> Fraction:
    return Fraction(int(value.p), int(value.q))
