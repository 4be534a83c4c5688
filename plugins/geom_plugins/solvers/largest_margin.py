"""The largest margin over a set of one shape, for rows and biases that a caller sets.

The sets are a unit ball, a box, all of R^d and the hull of points, whose ``y`` are the shares of a
mixture.

A measure asks for the point where ``min_j -(A_j . y + c_j)`` is largest, and for the weights that
bound that value. It may turn, scale, project or leave out the rivals' rows (``c_j`` minus
infinity). `geom_plugins.solvers.path_search` solves the program, and on a hull
`geom_plugins.solvers.mixtures`; one product with all rows per step finds the rivals that its points
overlook. A search for the sign of the margin alone needs that
product only for points that win in the working set, and ends at the first point or weights that
tell the sign.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from geom import Array, Finding, Floats, Ids, Problem, Weights, current_device
from geom_plugins.solvers.central_path import CentralPath
from geom_plugins.solvers.mixtures import FIRST, Board, smoothed
from geom_plugins.solvers.path_search import START, PathSearch, Shape

Span = Shape | Literal["simplex"]
"""The shape of the set of ``y``; a simplex is that of the shares of a hull's points."""

STEPS = 100
"""Newton steps before giving up."""

PRICES = 40
"""How many prices on length are tried, one after another, if the path gets lost."""

FLOOR = 1e-13
"""Bounds closer than this share of the longest row are as close as float64 gets."""


@dataclass(frozen=True, eq=False)
class Program:
    """``maximise min_j -(A_j . y + c_j)`` over ``|y| <= 1``, ``|y_i| <= 1`` or all ``y`` (d,).

    On a hull, ``y`` (k,) are shares, which rows see as the mixture of the points, and neither
    ``scale`` nor ``across`` is used. ``A_j = scale_j (w_j - w_t)``, less its mean if the domain has
    ``sum(x) = 0``, and less its part along the unit vector ``across`` if that is given; ``c`` (V,)
    is used as it is. ``scale`` is (V,), or ones if None.
    """

    problem: Problem
    token: int
    c: Floats
    scale: Floats | None = None
    across: Floats | None = None
    shape: Span = "ball"

    @property
    def points(self) -> Floats | None:
        """The points (k, d) of a hull."""
        frame = self.problem.domain.frame
        return None if frame is None else frame.axes

    def seen(self, y: Floats) -> Floats:
        """Return the vector (d,) that rows see in ``y``."""
        if self.points is not None:
            return np.asarray(y @ self.points)
        if self.problem.domain.zero_sum:
            y = y - y.mean()
        return y if self.across is None else y - self.across * float(self.across @ y)

    def rows(self, ids: Ids) -> Floats:
        """Return ``A`` (n, d) of these tokens."""
        a, _ = self.problem.differences(self.token, ids)
        if self.problem.domain.zero_sum:
            a -= a.mean(axis=1, keepdims=True)
        if self.across is not None:
            a -= (a @ self.across)[:, None] * self.across
        if self.scale is not None:
            a *= self.scale[ids, None]
        return a

    def pulled(self, slope: Floats) -> Floats:
        """Return the slope along ``y`` of what has this slope (d,) along the vector seen."""
        return slope if self.points is None else np.asarray(self.points @ slope)

    def reach(self, r: Floats) -> Floats:
        """Return ``sup -(r . y)`` over a bounded set, for vectors ``r`` (n, d) that rows see."""
        if self.points is not None:
            return np.asarray((r @ -self.points.T).max(axis=1))
        if self.shape == "box":
            return np.asarray(np.abs(r).sum(axis=1))
        return np.asarray(np.linalg.norm(r, axis=1))

    def values(self, y: Floats) -> Floats:
        """Return ``A_j . y + c_j`` of all tokens (V,), minus infinity at the token itself."""
        rows = self.problem.readout.rows
        z = self.seen(y)
        out = rows @ z
        out -= float(rows[self.token] @ z)
        if self.scale is not None:
            out *= self.scale
        out += self.c
        out[self.token] = -np.inf
        return np.asarray(out)


@dataclass(frozen=True, eq=False)
class Solution:
    """The best point ``y`` (d,) and its margin; weights ``lam`` (n,) on ``ids``, and their bound.

    Margin and bound enclose the largest margin, as far as float64 goes.
    """

    y: Floats
    margin: float
    ids: Ids
    lam: Floats
    bound: float


def working_set(program: Program, y: Floats, more: Ids | None = None, times: int = START) -> Ids:
    """Return the rivals that count most at ``y``, as many ``times`` d, and ``more``."""
    values = program.values(y)
    few = FIRST if program.shape == "simplex" else times * y.size
    count = min(few, values.size - 1)
    ids = np.argpartition(values, values.size - count)[-count:].astype(np.int64)
    ids = ids[values[ids] > -np.inf]
    return ids if more is None else np.union1d(ids, more)


def solve(
    program: Program, ids: Ids, gap: float, *, sign: bool = False, sure: bool = True
) -> Solution:
    """Solve the program, with bounds at most ``gap`` times their size apart.

    The bounds are farther apart if float64 or `STEPS` end first, or if they tell the ``sign`` of
    the largest margin and only that is asked for. If the path gets lost on a ball, other ways are
    tried only to be ``sure``. ``ids`` (n,) are the rivals to start with.
    """
    if program.shape == "simplex":
        return _mixed(program, ids, gap, sign=sign)
    with np.errstate(over="ignore", invalid="ignore"):
        bounds = _Bounds(program, program.shape, ids, gap, sign)
        search = bounds.search(ids)
        if search.run(STEPS) != "settled" and program.shape == "ball" and sure:
            _by_prices(search)
    return bounds.best()


def _mixed(program: Program, ids: Ids, gap: float, *, sign: bool) -> Solution:
    """Solve the program on a hull."""
    out = np.isneginf(program.c)
    board = Board(program.problem, program.token, largest=not sign, gap=gap, out=out)
    board.start(Finding(), ids)
    if not board.settled():
        smoothed(board, STEPS)
    none = Weights(np.zeros(0, dtype=np.int64), np.zeros(0))
    weights = board.weights or none
    return Solution(board.point, board.margin, weights.indices, weights.values, board.bound)


def _by_prices(search: PathSearch) -> None:
    """Start again with one price on length after another until ``|y| = 1``: slower, but sure.

    If only directions count, ``|y|`` is one over the price, which is the first guess for the next
    price. The price taken is always between the nearest prices on both sides of the right one.
    """
    low, high = 0.0, math.inf
    price = _length(search.path.weights @ search.path.A)
    for _ in range(PRICES):
        price = min(max(price, 1e-12), 1e12)
        search.restart(price)
        if search.run(STEPS, least_gap=1e-14) == "settled":
            return
        length = _length(search.path.y)
        low, high = (max(low, price), high) if length > 1.0 else (low, min(high, price))
        if high <= 1e-12 or low >= 1e12:
            return
        price *= length
        if not low < price < high:
            price = math.sqrt(max(low, 1e-12) * high) if high < math.inf else 4.0 * low


def _length(y: Array) -> float:
    return float(current_device().xp.linalg.vector_norm(y))


class _Bounds:
    """The best point and weights found so far for one program.

    Rows are divided by ``unit``, a typical length of a row. If ``y`` is free, biases are divided by
    a typical bias, and ``y`` is ``stretch`` times the path's.
    """

    def __init__(self, program: Program, shape: Shape, ids: Ids, gap: float, sign: bool) -> None:
        self._program, self._shape, self._gap, self._sign = program, shape, gap, sign
        A, c = program.rows(ids), program.c[ids]
        lengths = np.linalg.norm(A, axis=1)
        rows = float(np.median(lengths[lengths > 0.0])) if lengths.any() else 1.0
        self._longest = float(lengths.max())
        self._free = shape == "all"
        spread = float(np.ptp(c)) if c.size else 0.0
        self._unit = (spread or float(np.abs(c).max()) or 1.0) if self._free else rows
        self._stretch = self._unit / rows
        self._level = float(c.max()) if self._free else 0.0
        self._put, self._get = current_device().put, current_device().get
        self._y, self._margin = np.zeros(A.shape[1]), -math.inf
        self._weights, self._bound = (ids, np.full(ids.size, 1.0 / ids.size)), math.inf
        self._take(self._y)

    def search(self, ids: Ids) -> PathSearch:
        """Return the search that starts with these rivals."""
        return PathSearch(self, ids, *self.rows(ids), self._shape, current_device().xp)

    def rows(self, ids: Ids) -> tuple[Array, Array]:
        """Return the program's rows (n, d) and biases (n,), scaled."""
        A = self._program.rows(ids) * (self._stretch / self._unit)
        return self._put(A), self._put((self._program.c[ids] - self._level) / self._unit)

    def weigh(self, path: CentralPath, ids: Ids, lam: Array, *, balanced: bool) -> None:
        """Keep the weights if they give the best bound on the margin."""
        r = self._get(lam @ path.A)
        size = float(self._program.reach(r[None])[0])
        total = float(lam.sum())
        if self._free:
            if size > 1e-11 * total:
                return
            size = 0.0
        bound = (size - float(lam @ path.c)) * self._unit / total - self._level
        if bound < self._bound:
            self._bound, self._weights = bound, (ids, self._get(lam) / total)

    def meet(self, y: Array, highest: float) -> Floats | None:
        """Keep the point if it is the best; return how far rivals rise above the working set."""
        highest = highest * self._unit + self._level
        if self._sign and highest >= 0.0:
            return None
        values = self._take(self._get(y) * self._stretch)
        return values - (highest + FLOOR * max(self._longest, abs(highest)))

    def settled(self) -> bool:
        """Return whether the bounds are as close as asked, or as float64 gets."""
        apart = self._bound - self._margin
        if self._sign and (self._margin > 0.0 or self._bound < 0.0):
            return True
        if not math.isfinite(apart):
            return False
        return apart <= max(self._gap * abs(self._bound), FLOOR * self._longest)

    def best(self) -> Solution:
        """Return the best solution found so far."""
        return Solution(self._y, self._margin, *self._weights, self._bound)

    def _take(self, y: Floats) -> Floats:
        """Keep the point if it is the best; return its values (V,)."""
        values = self._program.values(y)
        margin = -float(values.max())
        if margin > self._margin:
            self._y, self._margin = np.array(y), margin
        return values
