"""The largest margin over a unit ball, a box or all of R^d, for rows and biases of one's choosing.

A measure asks for the point where ``min_j -(A_j . y + c_j)`` is largest, with rivals' rows turned,
scaled, projected or left out (``c_j`` minus infinity) to suit it, and for the weights that bound
it. It is solved by `geom_plugins.solvers.path_search`; a product with all rows per step finds the
rivals that its points overlook.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from geom import Array, Floats, Ids, Problem, current_device
from geom_plugins.solvers.central_path import CentralPath
from geom_plugins.solvers.path_search import START, PathSearch, Shape

STEPS = 100
"""Newton steps before giving up."""

PRICES = 40
"""Prices on length that are tried, one after another, where the path loses its way."""

FLOOR = 1e-13
"""Bounds closer than this share of the longest row are all that float64 gives."""


@dataclass(frozen=True, eq=False)
class Program:
    """``maximise min_j -(A_j . y + c_j)`` over ``|y| <= 1``, ``|y_i| <= 1`` or all ``y`` (d,).

    ``A_j = scale_j (w_j - w_t)``, less its mean where the domain has ``sum(x) = 0``, and less its
    part along the unit vector ``across`` where that is given; ``c`` (V,) as it is. ``scale`` is
    (V,), ones where None.
    """

    problem: Problem
    token: int
    c: Floats
    scale: Floats | None = None
    across: Floats | None = None
    shape: Shape = "ball"

    def seen(self, y: Floats) -> Floats:
        """The direction in which rows see ``y`` (d,)."""
        if self.problem.domain.zero_sum:
            y = y - y.mean()
        return y if self.across is None else y - self.across * float(self.across @ y)

    def rows(self, ids: Ids) -> Floats:
        """``A`` (n, d) of these tokens."""
        a, _ = self.problem.differences(self.token, ids)
        if self.problem.domain.zero_sum:
            a -= a.mean(axis=1, keepdims=True)
        if self.across is not None:
            a -= (a @ self.across)[:, None] * self.across
        if self.scale is not None:
            a *= self.scale[ids, None]
        return a

    def values(self, y: Floats) -> Floats:
        """``A_j . y + c_j`` of all tokens (V,), minus infinity at the token itself."""
        W = self.problem.readout.W
        z = self.seen(y)
        out = W @ z
        out -= float(W[self.token] @ z)
        if self.scale is not None:
            out *= self.scale
        out += self.c
        out[self.token] = -np.inf
        return np.asarray(out)


@dataclass(frozen=True, eq=False)
class Solution:
    """The best point ``y`` (d,) and its margin; weights ``lam`` (n,) on ``ids``, and their bound.

    The two enclose the largest margin, as far as float64 goes. ``push`` (d,) is what the walls of a
    box add to ``lam' A``.
    """

    y: Floats
    margin: float
    ids: Ids
    lam: Floats
    bound: float


def working_set(program: Program, y: Floats, more: Ids | None = None) -> Ids:
    """The rivals that count most at ``y``, some `START` times d, and ``more``."""
    values = program.values(y)
    count = min(START * y.size, values.size - 1)
    ids = np.argpartition(values, values.size - count)[-count:].astype(np.int64)
    ids = ids[values[ids] > -np.inf]
    return ids if more is None else np.union1d(ids, more)


def solve(program: Program, ids: Ids, gap: float) -> Solution:
    """The program's largest margin, its bounds ``gap`` times their size apart or closer.

    Farther where float64 or `STEPS` end first. ``ids`` (n,) are the rivals to start with.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        bounds = _Bounds(program, ids, gap)
        search = bounds.search(ids)
        if search.run(STEPS) != "settled" and program.shape == "ball":
            _by_prices(search)
    return bounds.best()


def _by_prices(search: PathSearch) -> None:
    """From anew with one price on length after another, until ``|y| = 1``: slower, and sure.

    Where only directions count ``|y|`` is one over the price, which is the first guess for the
    next; a price between the nearest on both sides of the right one is always taken.
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
    """The best point and weights of one program met so far.

    Rows are divided by ``unit``, a typical length of them; where ``y`` is free, biases too, by
    their own, and ``y`` is ``stretch`` times the path's.
    """

    def __init__(self, program: Program, ids: Ids, gap: float) -> None:
        self._program, self._gap = program, gap
        A, c = program.rows(ids), program.c[ids]
        lengths = np.linalg.norm(A, axis=1)
        rows = float(np.median(lengths[lengths > 0.0])) if lengths.any() else 1.0
        self._longest = float(lengths.max())
        self._free = program.shape == "all"
        spread = float(np.ptp(c)) if c.size else 0.0
        self._unit = (spread or float(np.abs(c).max()) or 1.0) if self._free else rows
        self._stretch = self._unit / rows
        self._level = float(c.max()) if self._free else 0.0
        self._put, self._get = current_device().put, current_device().get
        self._y, self._margin = np.zeros(A.shape[1]), -math.inf
        self._weights, self._bound = (ids, np.full(ids.size, 1.0 / ids.size)), math.inf
        self._take(self._y)

    def search(self, ids: Ids) -> PathSearch:
        """The search that starts with these rivals."""
        return PathSearch(self, ids, *self.rows(ids), self._program.shape, current_device().xp)

    def rows(self, ids: Ids) -> tuple[Array, Array]:
        """The program's rows (n, d) and biases (n,), scaled."""
        A = self._program.rows(ids) * (self._stretch / self._unit)
        return self._put(A), self._put((self._program.c[ids] - self._level) / self._unit)

    def weigh(self, path: CentralPath, ids: Ids, lam: Array, *, balanced: bool) -> None:
        """Keep the weights if they bound the margin best."""
        r = self._get(lam @ path.A)
        size = np.abs(r).sum() if self._program.shape == "box" else np.linalg.norm(r)
        total = float(lam.sum())
        if self._free:
            if size > 1e-11 * total:
                return
            size = 0.0
        bound = (float(size) - float(lam @ path.c)) * self._unit / total - self._level
        if bound < self._bound:
            self._bound, self._weights = bound, (ids, self._get(lam) / total)

    def meet(self, y: Array, highest: float) -> Floats:
        """Keep the point if it is the best; how far rivals are above those of the working set."""
        highest = highest * self._unit + self._level
        values = self._take(self._get(y) * self._stretch)
        return values - (highest + FLOOR * max(self._longest, abs(highest)))

    def settled(self) -> bool:
        """Whether the bounds are as close as asked, or as float64 gives."""
        apart = self._bound - self._margin
        if not math.isfinite(apart):
            return False
        return apart <= max(self._gap * abs(self._bound), FLOOR * self._longest)

    def best(self) -> Solution:
        """What has been found."""
        return Solution(self._y, self._margin, *self._weights, self._bound)

    def _take(self, y: Floats) -> Floats:
        """Keep the point if it is the best; its values (V,)."""
        values = self._program.values(y)
        margin = -float(values.max())
        if margin > self._margin:
            self._y, self._margin = np.array(y), margin
        return values
