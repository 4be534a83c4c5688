"""Small problems whose answers are known from closed formulas; every number is dyadic.

Points in convex position are speakable, and their midpoints are not. The tangents of the paraboloid
``|x|^2 / 2`` at the points z of a grid, ``z . x - |z|^2 / 2``, win where x is nearest to z: on a
ball or a box, the speakable tokens are those whose cell ``|x_i - z_i| < 1/2`` comes near enough to
the origin, which a sum of squares decides. On a segment and in an ellipse along the axes it is the
same, coordinate by coordinate. Points of these are coordinates, of which there are more than there
are dimensions: a plugin that takes them for vectors is found out by their shape.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import ArrayLike

from geom.certificates import VerdictName
from geom.model import domains
from geom.model.domains import Domain
from geom.model.problem import Problem
from geom.model.readout import NormName, Readout

HALF = Fraction(1, 2)

HADAMARD = np.array([[1.0, 1.0, -1.0, -1.0], [1.0, -1.0, 1.0, -1.0]])
"""A matrix (2, 4) of two orthogonal rows, each with sum zero and squared length 4."""


@dataclass(frozen=True, eq=False)
class Known:
    """A problem whose answers are known.

    Attributes
    ----------
    name : str
        Its name in messages.
    problem : Problem
        The readout on a domain.
    speakable : frozenset of int
        The tokens that are speakable; all others are unspeakable.
    """

    name: str
    problem: Problem
    speakable: frozenset[int]

    @property
    def readout(self) -> Readout:
        """The weights."""
        return self.problem.readout

    @property
    def domain(self) -> Domain:
        """The set where x lives."""
        return self.problem.domain

    def truth(self, token: int) -> VerdictName:
        """Return the verdict that a proof must reach.

        Parameters
        ----------
        token : int
            The token.

        Returns
        -------
        {"speakable", "unspeakable"}
            The verdict.
        """
        return "speakable" if token in self.speakable else "unspeakable"

    def __str__(self) -> str:
        return self.name


@cache
def known_problems() -> tuple[Known, ...]:
    """Return fifteen readouts of 4 to 81 tokens in 1 to 4 dimensions, on every kind of domain.

    Some of their tokens are far from the border, some on faces of the hull, some twins, and some
    exactly on the border.

    Returns
    -------
    tuple of Known
        The problems.
    """
    return tuple(_problems())


def known_tokens() -> Iterator[tuple[Known, int]]:
    """Iterate over every token of every known problem, 287 questions with their answers.

    Yields
    ------
    known : Known
        The problem.
    token : int
        A token of the problem.
    """
    for known in known_problems():
        for token in range(known.readout.V):
            yield known, token


def _problems() -> Iterator[Known]:
    yield _hull("a parabola", *_parabola(4))
    yield _hull("three points of a parabola", *_parabola(1))
    yield _hull("a cross in 3 dimensions", *_cross(3))
    yield _hull("a cross, centred by LayerNorm", *_cross(2), norm="layernorm")
    yield _hull("a cube", *_cube(3))
    yield _hull("twins", *_twins())
    yield _grid("tangents on a line", 1, 3, domains.unbounded(1))
    yield _grid("tangents on an interval", 1, 4, domains.box(1, 2.5))
    yield _grid("tangents in a disc", 2, 3, domains.rmsnorm(2))
    yield _grid("tangents in a square", 2, 2, domains.box(2, 1.25))
    yield _grid("tangents, centred by LayerNorm", 2, 4, domains.layernorm(4))
    for lowered in (Fraction(1, 4), HALF):
        yield _lowered(lowered)
    yield _segment()
    yield _ellipse()


def _hull(
    name: str, rows: Sequence[ArrayLike], corners: int, norm: NormName | None = None
) -> Known:
    """Make a problem without a bias from rows whose first ``corners`` are their hull's vertices."""
    W = np.array(rows, dtype=np.float64)
    if norm == "layernorm":
        W = W @ HADAMARD
    readout = Readout.fold(W, norm=norm)
    return Known(name, Problem(readout, readout.domain), frozenset(range(corners)))


def _parabola(n: int) -> tuple[list[ArrayLike], int]:
    """Return the points (i, i^2), and the midpoints of every two that are two steps apart."""
    vertices = [(i, i * i) for i in range(-n, n + 1)]
    return [*vertices, *[(i, i * i + 1) for i in range(1 - n, n)]], len(vertices)


def _cross(d: int) -> tuple[list[ArrayLike], int]:
    """Return both ends of every axis; then the centre, a point inside and the middle of a face."""
    ends = [sign * axis for axis in np.eye(d) for sign in (1.0, -1.0)]
    inside = [np.zeros(d), np.eye(d)[0] / 2, np.eye(d)[:2].mean(axis=0)]
    return [*ends, *inside], len(ends)


def _cube(d: int) -> tuple[list[ArrayLike], int]:
    """Return the corners of a cube, then the centres of its faces and of the cube."""
    corners = list(product((-1.0, 1.0), repeat=d))
    return [*corners, *np.eye(d), *-np.eye(d), np.zeros(d)], len(corners)


def _twins() -> tuple[list[ArrayLike], int]:
    """Return the corners of a triangle, and a fourth corner that occurs twice."""
    return [(1.0, 0.0), (-1.0, 0.0), (0.0, -1.0), (0.0, 2.0), (0.0, 2.0)], 3


def _grid(name: str, d: int, reach: int, domain: Domain) -> Known:
    """Make the tangents at the points of ``{-reach .. reach}^d``.

    For LayerNorm d is 2, and the points span a plane of the four dimensions.
    """
    points = list(product(range(-reach, reach + 1), repeat=d))
    Z = np.array(points, dtype=np.float64)
    W, room = Z, domain.size
    if domain.zero_sum:
        W = Z @ HADAMARD  # x = y HADAMARD / 4 has |x|^2 = |y|^2 / 4
        room = None if room is None else 4 * room
    readout = Readout.fold(W, -(Z**2).sum(axis=1) / 2)
    return Known(
        name,
        Problem(readout, domain),
        frozenset(t for t, point in enumerate(points) if _reached(domain, room, point)),
    )


def _reached(domain: Domain, room: Fraction | None, point: Sequence[int]) -> bool:
    """Return whether the open cell around the point meets the domain."""
    if room is None:
        return True
    gaps = [max(abs(z) - HALF, Fraction(0)) for z in point]
    return (max(gaps) if domain.shape == "box" else sum(gap * gap for gap in gaps)) < room


def _lowered(by: Fraction) -> Known:
    """Make tangents at -2 .. 2 on a line, the middle one lowered; by 1/2 it can only tie."""
    Z = np.arange(-2.0, 3.0)
    b = -(Z**2) / 2
    b[2] -= float(by)
    readout = Readout.fold(Z[:, None], b)
    speakable = frozenset({0, 1, 3, 4} | ({2} if by < HALF else set()))
    return Known(f"a tangent lowered by {by}", Problem(readout, readout.domain), speakable)


def _segment() -> Known:
    """Make tangents in the plane, on the segment from (-5/4, 1) to (3/2, 1), a hull of 3 points."""
    points = list(product(range(-2, 3), repeat=2))
    Z = np.array(points, dtype=np.float64)
    readout = Readout.fold(Z, -(Z**2).sum(axis=1) / 2)
    domain = domains.hull([[-1.25, 1.0], [0.25, 1.0], [1.5, 1.0]])
    speakable = {t for t, (first, second) in enumerate(points) if second == 1 and -2 < first < 2}
    return Known("tangents on a segment", Problem(readout, domain), frozenset(speakable))


def _ellipse() -> Known:
    """Make tangents in an ellipse around (1/2, -1/4), with axes 5/4 and 1/2, of 3 coordinates."""
    points = list(product(range(-2, 3), repeat=2))
    Z = np.array(points, dtype=np.float64)
    readout = Readout.fold(Z, -(Z**2).sum(axis=1) / 2)
    domain = domains.ellipsoid([0.5, -0.25], [[0.75, 0.0], [0.0, 0.5], [1.0, 0.0]])
    middle, axes = (HALF, -HALF / 2), (Fraction(5, 4), HALF)
    speakable = set()
    for token, point in enumerate(points):
        gaps = [max(abs(z - m) - HALF, Fraction(0)) for z, m in zip(point, middle, strict=True)]
        if sum((gap / axis) ** 2 for gap, axis in zip(gaps, axes, strict=True)) < 1:
            speakable.add(token)
    return Known("tangents in an ellipse", Problem(readout, domain), frozenset(speakable))
