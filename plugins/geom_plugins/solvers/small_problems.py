"""One token of a small problem, decided in rationals when float64 leaves it open.

The program is that of `highs`, with its rows in whole numbers. The walls are those of boxes: the
domain itself, or boxes inside and around it. The optimum's multipliers are weights, and its point
is a witness, once they are rounded to float64. A nearly tied token wins only in a wedge narrower
than the digits of a float; the point is then moved to the middle of the wedge and rounded along it
(`geom_plugins.solvers.grid`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

from geom import Finding, Floats, Problem, Weights, judge
from geom_plugins.solvers.grid import Bound, Grid, dot, exponent
from geom_plugins.solvers.rational_simplex import RationalProgram, Vertex, Wall, box

WIDTH = 64
"""Problems with at most this many coordinates are decided: each step eliminates such a matrix."""

NUMBERS = 1 << 18
"""Problems with at most this many numbers in ``W`` are decided."""

_CENTRED = 12
"""With at most this many coordinates, a point is moved to the middle of the winning region."""

_TANGENTS = 60
"""The tangents to a ball before giving up."""

_BALLS = (
    (Fraction(0), 1 + Fraction(1, 32)),
    *((Fraction(1, 2**k), 1 - Fraction(1, 2 ** (k + 1))) for k in (4, 12, 24)),
    (Fraction(0), 1 + Fraction(1, 2**24)),
)
"""How much smaller than the domain a ball is, and how close to the domain's radius is enough."""

_FAR = Fraction(1 << 6000)
"""A stand-in for all of R^d: farther than the vertices of rows of some hundreds of bits."""


def decide(problem: Problem, token: int) -> Finding | None:
    """Return a finding that decides the token; None if none does or the problem is too large."""
    d, V = problem.readout.d, problem.readout.V
    if d > WIDTH or V * d > NUMBERS or (d == 1 and problem.domain.zero_sum):
        return None
    for finding in _Search(problem, token).findings():
        if judge(problem, token, finding).decided:
            return finding
    return None


class _Search:
    """One token's program on boxes of the domain.

    Row j of the program is ``(a_j, c_j)`` over ``2**shifts[j]``, up to a factor common to all rows.
    If ``sum(x) = 0`` the last coordinate is minus the sum of the others, and has walls like theirs.
    """

    def __init__(self, problem: Problem, token: int) -> None:
        self._problem = problem
        W, b = problem.readout.rows[:], problem.readout.b
        entries = _whole(np.column_stack([W, b]))
        own = entries[token]
        self._tokens = [j for j in range(len(entries)) if j != token]
        rows = [[p - q for p, q in zip(entries[j], own, strict=True)] for j in self._tokens]
        if problem.domain.zero_sum:
            rows = [[v - row[-2] for v in row[:-2]] + row[-1:] for row in rows]
        sizes = [max(map(abs, row[:-1])).bit_length() for row in rows]
        gains = [abs(row[-1]).bit_length() for row in rows]
        lift = max(gains) - sorted(sizes)[len(sizes) // 2] if any(gains) else 0
        scales, self._shifts = [], []
        for j, (size, gain) in enumerate(zip(sizes, gains, strict=True)):
            scale = 1 << max(size + min(lift, 0), gain, 0)
            shift = min((v & -v).bit_length() - 1 for v in [*rows[j], scale] if v)
            rows[j] = [v >> shift for v in rows[j]]
            scales.append(scale >> shift)
            self._shifts.append(shift)
        self._program = RationalProgram(rows, scales, Fraction(2) ** lift)

    def findings(self) -> Iterator[Finding]:
        """Yield weights if they prove the token unspeakable; otherwise points, ever better chosen.

        Without biases, one box answers for every domain. With biases, all of R^d is searched for
        weights first, and then ever larger boxes for a point of few digits. For a ball, the box
        inside it is searched for a point, and then the box around it, which tangents narrow down.
        """
        domain = self._problem.domain
        if self._problem.homogeneous:
            yield from self._on(self._box(Fraction(1)))
        elif domain.size is None:
            far = self._program.optimum(self._box(_FAR))
            if far is None or far.m <= 0:
                yield from self._suggested(far)
                return
            yield from self._nearby(_FAR)
        else:
            ball = domain.shape == "ball"
            reach = _root(domain.size / domain.d) if ball else domain.size
            inner = self._program.optimum(self._box(reach))
            if ball and inner is not None and inner.m <= 0:
                yield from self._in_ball(_root(domain.size) * (1 + Fraction(1, 2**60)))
                return
            yield from self._suggested(inner)
            if inner is not None and inner.m > 0:
                yield from self._nearby(reach)

    def _nearby(self, reach: Fraction) -> Iterator[Finding]:
        """Yield findings of boxes within reach, outwards from where biases and rows weigh alike."""
        for k in (0, 8, 16, 32, 64, 128, 256, 512):
            if self._program.unit * 2**k < reach:
                yield from self._on(self._box(self._program.unit * 2**k))

    def _on(self, walls: list[Wall]) -> Iterator[Finding]:
        """Return the findings of the optimum between these walls."""
        return self._suggested(self._program.optimum(walls))

    def _in_ball(self, radius: Fraction) -> Iterator[Finding]:
        """Cut by tangents to the ball where each optimum leaves it (Kelley), and to smaller balls.

        Weights come from the ball itself. A point on it cannot be rounded and stay in it, so points
        come from the smaller balls, as soon as the tangents to one have closed in on it.
        """
        normals: list[list[int]] = []
        basis: list[int] | None = None
        vertex = None
        for short, near in _BALLS:
            for _ in range(_TANGENTS):
                vertex = self._program.optimum(
                    self._around(radius * (1 - short), normals), basis=basis
                )
                if vertex is None:
                    return
                basis = vertex.basis
                if vertex.m <= 0:
                    if short == 0:
                        yield from self._suggested(vertex)
                        return
                    break
                x = [*vertex.x, -sum(vertex.x)] if self._problem.domain.zero_sum else vertex.x
                length = _root(dot(x, x))
                if length <= radius * near:
                    if short:
                        yield from self._suggested(vertex)
                    break
                normals.append([round(v / length * 2**30) for v in x])
        if vertex is not None:  # the sphere may touch the border of the winning region
            yield Finding(weights=self._weights(vertex, least=Fraction(1, 2**20)))

    def _around(self, radius: Fraction, normals: list[list[int]]) -> list[Wall]:
        """Return the box around a ball, and tangents to the ball with these normals (d,)."""
        walls = self._box(radius)
        for normal in normals:
            bound = radius * (_root(Fraction(dot(normal, normal))) + Fraction(1, 2**99))
            if self._problem.domain.zero_sum:
                normal = [v - normal[-1] for v in normal[:-1]]
            walls.append(Wall(normal, bound))
        return walls

    def _box(self, reach: Fraction) -> list[Wall]:
        """Return the walls of ``|x_i| <= reach``."""
        d = self._program.d
        both = [[sign] * d for sign in (1, -1)] if self._problem.domain.zero_sum else []
        return box(d, reach) + [Wall(vector, reach) for vector in both]

    def _suggested(self, vertex: Vertex | None) -> Iterator[Finding]:
        """Yield what an optimum suggests, if there is one."""
        if vertex is None:
            return
        if vertex.m <= 0:
            yield Finding(weights=self._weights(vertex))
            return
        yield from self._rounded_to(vertex.x)
        if self._program.d <= _CENTRED:
            middle = self._program.middle(vertex, not self._problem.homogeneous)
            yield from self._rounded_to(middle)
            yield from self._rounded_to(middle, vertex.walls)

    def _rounded_to(
        self, x: Sequence[Fraction], walls: Sequence[Wall] | None = None
    ) -> Iterator[Finding]:
        """Yield a float64 point near ``x``, if the domain has one; keep between rows and walls.

        Each coordinate has digits of its own, unless their sum must be zero.
        """
        domain, size = self._problem.domain, max(map(abs, x))
        if size == 0:
            yield Finding(x=np.zeros(domain.d))
            return
        bits = 53 - domain.d.bit_length() * domain.zero_sum - (walls is not None)
        grid = Grid.around(x, bits, domain.zero_sum)
        places, powers = grid.nearest(), grid.exponents
        if walls is not None:
            places = grid.within(self._rooms(x, walls))
        if domain.zero_sum:
            places, powers = [*places, -sum(places)], [*powers, powers[0]]
            size = max(size, abs(sum(x, Fraction(0))))
        if max(map(abs, places)) > 1 << 53:
            return
        lift = self._fitting(exponent(size)) if self._problem.homogeneous else 0
        with np.errstate(over="ignore"):  # what overflows float64 is in no domain
            point = np.ldexp(np.array(places, dtype=np.float64), np.array(powers) + lift)
        if domain.contains(point):
            yield Finding(x=point)

    def _fitting(self, size: int) -> int:
        """Return the power of two that brings coordinates below ``2**size`` into the domain."""
        domain = self._problem.domain
        if not domain.bounded:
            return -size
        inner = domain.radius / (math.sqrt(domain.d) if domain.shape == "ball" else 1.0)
        return math.frexp(inner)[1] - 1 - size

    def _rooms(self, x: Sequence[Fraction], walls: Sequence[Wall]) -> list[Bound]:
        """Return how far rows are below zero at ``x`` and, if lengths matter, how far walls are."""
        rooms: list[Bound] = [
            (row[:-1], -dot(row, [*x, Fraction(1)])) for row in self._program.rows
        ]
        if not self._problem.homogeneous:
            rooms += [(wall.vector, wall.bound - dot(wall.vector, x)) for wall in walls]
        return rooms

    def _weights(self, vertex: Vertex, least: Fraction = Fraction(0)) -> Weights:
        """Return row multipliers as weights, without those whose share in m is below ``least``."""
        used = [
            (self._tokens[j], z / 2 ** self._shifts[j])
            for j, z in zip(vertex.basis, vertex.multipliers, strict=True)
            if j < len(self._tokens) and z * self._program.scales[j] > least
        ]
        largest = max(z for _, z in used)
        return Weights(
            np.array([j for j, _ in used], dtype=np.int64),
            np.array([float(z / largest) for _, z in used]),
        )


def _root(value: Fraction) -> Fraction:
    """Return the square root, rounded down by less than 2^-120 of it; exact if it is whole."""
    places = 128 + max(0, value.denominator.bit_length() - value.numerator.bit_length())
    return Fraction(math.isqrt(math.floor(value * 4**places)), 2**places)


def _whole(values: Floats) -> list[list[int]]:
    """Return floats as whole numbers over one power of two."""
    ratios = [[v.as_integer_ratio() for v in row] for row in values.tolist()]
    den = max(q for row in ratios for _, q in row)
    return [[p * (den // q) for p, q in row] for row in ratios]
