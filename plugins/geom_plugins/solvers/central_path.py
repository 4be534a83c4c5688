"""The central path of one token's program on a working set of rivals, by primal-dual Newton steps.

The largest margin of a token over the unit ball or box is minus the least ``t`` with
``A y + c <= t``, one row ``(a_j, c_j)`` per rival. A price on length keeps ``y`` in the ball::

    minimise  t + price |y|^2 / 2   subject to   A y + c <= t   (and |y_i| <= 1 on a box),

whose multipliers ``lam`` (>= 0, sum 1) are weights over the rivals. Along the path, each product of
slack and multiplier is the same number; of all multipliers that bound the margin as well, these
have the largest entropy ``sum log lam`` (Burg's), so every rival that may have a share has one. The
interior proof needs that: an exact correction of rounded weights must leave no weight negative. At
every step ``-max(A y + c)`` and ``|A' lam| - c . lam`` enclose the largest margin over the working
set, and the second bounds it over all rivals. Each factorisation also serves to balance the
multipliers, that is, to correct them to ``A' lam = 0``: a token deep in the hull is done when that
leaves all of them positive, long before the path ends.

All arrays live on a device, in float64, and are handled by the functions of the array API standard,
``xp``. The largest product may be computed in float32: the solutions are then refined with the true
rows, so only speed is at stake, and float64 takes over if the refinement does not converge.

Sources: S. Mehrotra, On the implementation of a primal-dual interior point method, SIAM J. Optim.
2, 1992; S. Boyd and L. Vandenberghe, Convex Optimization, 2004, section 11.7; for the price, which
each step fits so that ``|y| = 1``, J. J. More and D. C. Sorensen, Computing a trust region step,
SIAM J. Sci. Stat. Comput. 4, 1983.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from geom import Array
from geom_plugins.solvers.factors import FAILED, Triangle, Whole

_KEEP = 0.99
"""The share of the way to the nearest boundary that a step takes."""

_BALANCINGS = 6
"""How often one factor may drive a residual down; each pass leaves only a share of the price."""

_ACCURACY = 1e-6
"""The error of a step, relative to its right side, if the product was computed in float32."""

_SINGLE = 1 << 18
"""The count of numbers in ``A`` at which the product in float32 starts to pay."""

_ROOM = 2.0**-50
"""The least room above a row, relative to the row's value, that float64 can distinguish."""


@dataclass
class CentralPath:
    """A point ``y`` (d,), the level ``t`` above all rows, and the rows' multipliers ``lam`` (n,).

    ``A`` (n, d) and ``c`` (n,) should be of order 1. With ``box``, the multipliers of ``y <= 1``
    and ``-1 <= y`` are ``above`` and ``below``, (d,) each. ``balanced`` are multipliers with
    ``A' lam = 0`` to rounding, if the last step found any.
    """

    xp: Any
    A: Array
    c: Array
    box: bool = False
    ball: bool = False
    price: float = 1e-2
    y: Array = field(init=False)
    t: float = field(init=False)
    lam: Array = field(init=False)
    above: Array = field(init=False)
    below: Array = field(init=False)
    balanced: Array | None = field(init=False, default=None)
    _A32: Array | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        xp = self.xp
        self.y = xp.zeros_like(self.A[0, :])
        top = float(xp.max(self.c))
        self.t = top + max(0.3, _ROOM * abs(top))
        slack = self.t - self.c
        self.lam = 1.0 / slack
        self.lam = self.lam / xp.sum(self.lam)
        self.above = self.below = xp.zeros_like(self.y) + float(self.lam @ slack) / slack.shape[0]
        if self.A.shape[0] * self.A.shape[1] >= _SINGLE:
            self._A32 = xp.astype(self.A, xp.float32)

    @property
    def single(self) -> bool:
        """Whether the largest product is computed in float32."""
        return self._A32 is not None

    def refuse_single(self) -> None:
        """Compute everything in float64 from now on."""
        self._A32 = None

    @property
    def weights(self) -> Array:
        """The multipliers (n,), scaled to the sum 1."""
        return self.lam / self.xp.sum(self.lam)

    @property
    def gap(self) -> float:
        """The mean product of slack and multiplier."""
        return self._mean(self.slack())

    def slack(self) -> Array:
        """Return how far the level is above each row (n,)."""
        return self.t - (self.A @ self.y + self.c)

    def add(self, A: Array, c: Array) -> None:
        """Add rows, started on the path; ``t`` rises above them by a margin float64 can tell."""
        xp = self.xp
        slack = self.slack()
        room, gap = float(xp.min(slack)), self._mean(slack)
        values = A @ self.y + c
        top = float(xp.max(values))
        self.A, self.c = xp.concat([self.A, A]), xp.concat([self.c, c])
        if self._A32 is not None:
            self._A32 = xp.concat([self._A32, xp.astype(A, xp.float32)])
        self.t = max(self.t, top + max(room, _ROOM * abs(top), _ROOM**16))
        self.lam = xp.concat([self.lam, gap / (self.t - values)])
        self.lam = self.lam / xp.sum(self.lam)
        self.balanced = None

    def step(self) -> bool:
        """Take one predictor and one corrector step; False if float64 can go no further."""
        try:
            with np.errstate(all="ignore"):
                return self._step()
        except FAILED:
            return False

    def gram(self, ratio: Array) -> Array:
        """Return ``A' diag(ratio) A`` (d, d)."""
        xp, root = self.xp, self.xp.sqrt(ratio)
        if self._A32 is not None:
            scaled = self._A32 * xp.astype(root, xp.float32)[:, None]
            return xp.astype(scaled.T @ scaled, xp.float64)
        scaled = self.A * root[:, None]
        return scaled.T @ scaled

    def _step(self) -> bool:
        xp = self.xp
        system = _System.of(self)
        guess, turn = system.predicted()
        self.balanced = system.balanced()
        gap, primal, dual = self._mean(system.slack), *self._lengths(system.slack, guess, 1.0)
        left = float((self.lam + dual * guess.lam) @ (system.slack + primal * guess.slack))
        share = min(1.0, max(left / (self.lam.shape[0] * gap), 0.0))
        step = system.corrected(gap * share**3, guess)
        change = 0.0
        if turn is not None:
            change = self._price_change(self.y + step.y, turn.y)
            step = step.plus(change, turn)
        if not bool(xp.all(xp.isfinite(step.y)) & xp.all(xp.isfinite(step.lam))):
            return False
        primal, dual = self._lengths(system.slack, step, _KEEP)
        self.y = self.y + primal * step.y
        self.t += primal * step.t
        self.price += primal * change
        self.lam = self.lam + dual * step.lam
        if self.box:
            self.above = self.above + dual * step.above
            self.below = self.below + dual * step.below
        inside = not self.box or bool(xp.max(xp.abs(self.y)) < 1.0)
        return inside and bool(xp.min(self.slack()) > 0.0) and bool(xp.min(self.lam) > 0.0)

    def _mean(self, slack: Array) -> float:
        total = float(self.lam @ slack)
        count: int = self.lam.shape[0]
        if self.box:
            total += float(self.above @ (1.0 - self.y) + self.below @ (1.0 + self.y))
            count += 2 * self.y.shape[0]
        return total / count

    def _price_change(self, y: Array, turn: Array) -> float:
        """Return the change of the price that makes ``|y + change * turn| = 1``, within limits.

        A change is at most a factor of ten. ``turn`` is the change of ``y`` as the price grows.
        Inside a ball that does not bind, the price falls as far as it may.
        """
        a, half, c = float(turn @ turn), float(y @ turn), float(y @ y) - 1.0
        least, most = max(-0.9 * self.price, 1e-16 - self.price), 9.0 * self.price
        root = half * half - a * c
        if a == 0.0 or (c <= 0.0 and half >= 0.0):
            return least
        if root < 0.0:  # no change reaches the sphere: come as close as possible
            return min(max(-half / a, least), most)
        return min(max((-half - math.sqrt(root)) / a, least), most)

    def _lengths(self, slack: Array, step: _Step, keep: float) -> tuple[float, float]:
        """Return how far primal and dual may go before something turns negative."""
        xp = self.xp
        primal = _reach(xp, slack, step.slack, keep)
        dual = _reach(xp, self.lam, step.lam, keep)
        if self.box:
            for room, change in ((1.0 - self.y, -step.y), (1.0 + self.y, step.y)):
                primal = min(primal, _reach(xp, room, change, keep))
            for values, change in ((self.above, step.above), (self.below, step.below)):
                dual = min(dual, _reach(xp, values, change, keep))
        return primal, dual


@dataclass(frozen=True)
class _Step:
    """A direction of ``y``, ``t``, slacks and multipliers; those of a box are 0 without a box."""

    y: Array
    t: float
    slack: Array
    lam: Array
    above: Array = 0.0
    below: Array = 0.0

    def plus(self, share: float, other: _Step) -> _Step:
        """Add a share of another step, which leaves the multipliers of a box alone."""
        return _Step(
            self.y + share * other.y,
            self.t + share * other.t,
            self.slack + share * other.slack,
            self.lam + share * other.lam,
            self.above,
            self.below,
        )


@dataclass
class _System:
    """The path's equations, linearised at its current point.

    ``ratio`` is multiplier over slack. Slacks and multipliers are eliminated, and the level ``t``
    after them, which leaves a matrix (d, d) for ``y``: ``A' diag(ratio) A - pull pull' / total``
    plus ``diagonal``, which holds the terms of the price and the box.
    """

    path: CentralPath
    slack: Array
    ratio: Array
    pull: Array
    total: float
    diagonal: Array
    factor: Triangle | Whole = field(init=False)

    @classmethod
    def of(cls, path: CentralPath) -> _System:
        """Build the system at the path's point."""
        xp, slack = path.xp, path.slack()
        ratio = path.lam / slack
        pull, total = ratio @ path.A, float(xp.sum(ratio))
        diagonal = xp.zeros_like(path.y) + path.price
        if path.box:
            diagonal = diagonal + path.above / (1.0 - path.y) + path.below / (1.0 + path.y)
        system = cls(path, slack, ratio, pull, total, diagonal)
        system.factorise()
        return system

    def factorise(self) -> None:
        """Factorise the matrix, in float64 if the float32 matrix is not definite."""
        path, xp = self.path, self.path.xp
        matrix = path.gram(self.ratio)
        matrix -= self.pull[:, None] * (self.pull / self.total)
        places = xp.arange(matrix.shape[0], device=self.pull.device)
        entries = matrix[places, places] + self.diagonal
        matrix[places, places] = entries + 1e-15 * float(xp.mean(entries))
        try:
            self.factor = Triangle(xp, matrix)
        except FAILED:
            if not path.single:
                self.factor = Whole(xp, matrix)
                return
            path.refuse_single()
            self.factorise()

    def predicted(self) -> tuple[_Step, _Step | None]:
        """Return the step that would end the path, and what a ball's price, 1 higher, adds."""
        goal, up, down = self._goals(0.0, None)
        right, short = self._right(goal, up, down)
        guess = self._step(self._solved(right), short, goal, up, down)
        if not self.path.ball:
            return guess, None
        y, t, slack = self._completed(self._solved(-self.path.y), 0.0)
        return guess, _Step(y, t, slack, -self.ratio * slack)

    def corrected(self, target: float, guess: _Step) -> _Step:
        """Return the step to products of ``target``, corrected for what the guess left out."""
        goal, up, down = self._goals(target, guess)
        right, short = self._right(goal, up, down)
        return self._step(self._solved(right), short, goal, up, down)

    def balanced(self) -> Array | None:
        """Find multipliers near the path's with ``A' lam = 0`` and the same sum, or None.

        The change ``-ratio (A z - pull . z / total)`` adds ``-(matrix - diagonal) z`` to the
        residual: with ``z = matrix^-1 residual`` only ``diagonal z`` is left, and so on. Returns
        None if a multiplier would fall too far, or if the residual stays too large.
        """
        path, xp = self.path, self.path.xp
        lam, left = path.lam, math.inf
        residual = lam @ path.A
        for _ in range(_BALANCINGS):
            z = self.factor.solve(residual)
            trial = lam - self.ratio * (path.A @ z - float(self.pull @ z) / self.total)
            if not bool(xp.all(trial > 0.05 * path.lam)):
                return None
            residual = trial @ path.A
            size = float(xp.linalg.vector_norm(residual))
            if not size < 0.5 * left:
                break
            lam, left = trial, size
        return lam if left < 1e-12 * float(xp.sum(path.lam)) else None

    def _solved(self, right: Array) -> Array:
        """Solve, refining with float64 rows if the product was computed in float32.

        Each refinement multiplies the error by the same factor, so the first one tells how many
        more are needed.
        """
        x = self.factor.solve(right)
        if not self.path.single:
            return x
        norm = self.path.xp.linalg.vector_norm
        size = float(norm(right))
        left = size
        while left > _ACCURACY * size:
            error = right - self._times(x)
            now = float(norm(error))
            if not now < 0.1 * left:
                self.path.refuse_single()
                self.factorise()
                return self.factor.solve(right)
            if now > _ACCURACY * size:
                x = x + self.factor.solve(error)
                now *= now / left
            left = now
        return x

    def _times(self, x: Array) -> Array:
        """Return the matrix times ``x`` (d,), computed from the rows."""
        path = self.path
        rank_one = self.pull * (float(self.pull @ x) / self.total)
        return (self.ratio * (path.A @ x)) @ path.A - rank_one + self.diagonal * x

    def _goals(self, target: float, guess: _Step | None) -> tuple[Array, Array, Array]:
        """Return the multipliers of rows and box to aim at if the slacks stayed as they are."""
        path = self.path
        goal = (target - (guess.lam * guess.slack if guess else 0.0)) / self.slack
        if not path.box:
            return goal, 0.0, 0.0
        up = (target + (guess.above * guess.y if guess else 0.0)) / (1.0 - path.y)
        down = (target - (guess.below * guess.y if guess else 0.0)) / (1.0 + path.y)
        return goal, up, down

    def _right(self, goal: Array, up: Array, down: Array) -> tuple[Array, float]:
        """Return the right side for ``y``, and how much the multipliers lack to the sum of 1."""
        right = -(self.path.price * self.path.y + goal @ self.path.A)
        if self.path.box:
            right = right - (up - down)
        short = 1.0 - float(self.path.xp.sum(goal))
        return right - self.pull * (short / self.total), short

    def _completed(self, y: Array, short: float) -> tuple[Array, float, Array]:
        """Return ``y`` with the matching changes of the level and of the slacks."""
        t = (float(self.pull @ y) - short) / self.total
        return y, t, t - self.path.A @ y

    def _step(self, y: Array, short: float, goal: Array, up: Array, down: Array) -> _Step:
        path = self.path
        y, t, slack = self._completed(y, short)
        lam = goal - path.lam - self.ratio * slack
        if not path.box:
            return _Step(y, t, slack, lam)
        above = up - path.above + path.above / (1.0 - path.y) * y
        below = down - path.below - path.below / (1.0 + path.y) * y
        return _Step(y, t, slack, lam, above, below)


def _reach(xp: Any, values: Array, change: Array, keep: float) -> float:
    """Return the largest step, at most 1, that keeps the positive ``values`` positive."""
    fastest = float(xp.max(-change / values))
    return min(1.0, keep / fastest) if fastest > 0.0 else 1.0
