"""The central path of one token's program on a working set of rivals, by primal-dual Newton steps.

The largest margin of a token over the unit ball or box is minus the least ``t`` with
``A y + c <= t``, a row ``(a_j, c_j)`` a rival. The ball is kept by a price on length::

    minimise  t + price |y|^2 / 2   subject to   A y + c <= t   (and |y_i| <= 1 on a box),

whose multipliers ``lam`` (>= 0, sum 1) are weights over the rivals. Along the path each product of
slack and multiplier is the same number; of all multipliers that bound the margin as well, these
have the largest entropy ``sum log lam`` (Burg's), so every rival that may have a share has one.
That is what the interior proof asks for: an exact correction of rounded weights must leave none
negative. At every step ``-max(A y + c)`` and ``|A' lam| - c . lam`` enclose the largest margin over
the working set, and the second bounds it over all rivals.

Sources: S. Mehrotra, On the implementation of a primal-dual interior point method, SIAM J. Optim.
2, 1992; S. Boyd and L. Vandenberghe, Convex Optimization, 2004, section 11.7; for the price, which
each step fits so that ``|y| = 1``, J. J. More and D. C. Sorensen, Computing a trust region step,
SIAM J. Sci. Stat. Comput. 4, 1983.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_KEEP = 0.99
"""The share of the way to the nearest boundary that a step goes."""


@dataclass
class CentralPath:
    """A point ``y`` (d,), the level ``t`` above all rows, and the rows' multipliers ``lam`` (n,).

    ``A`` (n, d) and ``c`` (n,) should be of order 1. With ``box`` the multipliers of ``y <= 1`` and
    ``-1 <= y`` are ``above`` and ``below``, (d,) each.
    """

    A: Floats
    c: Floats
    box: bool = False
    ball: bool = False
    price: float = 1e-2
    y: Floats = field(init=False)
    t: float = field(init=False)
    lam: Floats = field(init=False)
    above: Floats = field(init=False)
    below: Floats = field(init=False)

    def __post_init__(self) -> None:
        d = self.A.shape[1]
        self.y = np.zeros(d)
        self.t = float(self.c.max()) + 0.3
        slack = self.t - self.c
        self.lam = 1.0 / slack
        self.lam /= self.lam.sum()
        self.above = self.below = np.full(d, float(self.lam @ slack) / len(slack))

    @property
    def weights(self) -> Floats:
        """The multipliers (n,), their sum 1."""
        out: Floats = self.lam / self.lam.sum()
        return out

    @property
    def residual(self) -> Floats:
        """``A' lam`` (d,) of the weights: zero where no direction favours the token."""
        return np.asarray(self.weights @ self.A)

    @property
    def gap(self) -> float:
        """The mean product of slack and multiplier."""
        total = float(self.lam @ self._slack())
        count = self.lam.size
        if self.box:
            total += float(self.above @ (1.0 - self.y) + self.below @ (1.0 + self.y))
            count += 2 * self.y.size
        return total / count

    def add(self, A: Floats, c: Floats) -> None:
        """More rows; ``t`` rises above them, and they start on the path."""
        room = float(self._slack().min())
        gap = self.gap
        self.A, self.c = np.vstack([self.A, A]), np.append(self.c, c)
        self.t = max(self.t, float((A @ self.y + c).max()) + room)
        self.lam = np.append(self.lam, gap / (self.t - A @ self.y - c))
        self.lam /= self.lam.sum()

    def step(self) -> bool:
        """One predictor and one corrector; False where float64 can go no further."""
        try:
            with np.errstate(all="ignore"):
                return self._step()
        except np.linalg.LinAlgError:
            return False

    def _step(self) -> bool:
        system = _System.of(self)
        guess, turn = system.predicted()
        gap, primal, dual = self.gap, *self._lengths(guess, 1.0)
        left = float((self.lam + dual * guess.lam) @ (system.slack + primal * guess.slack))
        share = min(1.0, max(left / (len(self.lam) * gap), 0.0))
        step = system.corrected(gap * share**3, guess)
        change = 0.0
        if self.ball:
            change = self._price_change(self.y + step.y, turn.y)
            step = step.plus(change, turn)
        if not (np.isfinite(step.y).all() and np.isfinite(step.lam).all()):
            return False
        primal, dual = self._lengths(step, _KEEP)
        self.y = self.y + primal * step.y
        self.t += primal * step.t
        self.price += primal * change
        self.lam = self.lam + dual * step.lam
        if self.box:
            self.above = self.above + dual * step.above
            self.below = self.below + dual * step.below
        inside = not self.box or bool(np.abs(self.y).max() < 1.0)
        return inside and bool(self._slack().min() > 0.0 and self.lam.min() > 0.0)

    def _price_change(self, y: Floats, turn: Floats) -> float:
        """What to add to the price so that ``|y + change * turn| = 1``, within a factor of ten.

        ``turn`` is what ``y`` does as the price grows. Inside a ball that does not bind, the price
        falls as far as it may.
        """
        a, half, c = float(turn @ turn), float(y @ turn), float(y @ y) - 1.0
        least, most = max(-0.9 * self.price, 1e-16 - self.price), 9.0 * self.price
        root = half * half - a * c
        if a == 0.0 or (c <= 0.0 and half >= 0.0):
            return least
        if root < 0.0:  # no change reaches the sphere: come as near as may be
            return min(max(-half / a, least), most)
        return min(max((-half - math.sqrt(root)) / a, least), most)

    def _slack(self) -> Floats:
        return np.asarray(self.t - (self.A @ self.y + self.c))

    def _lengths(self, step: _Step, keep: float) -> tuple[float, float]:
        """How far primal and dual may go before something turns negative."""
        primal = _reach(self._slack(), step.slack, keep)
        dual = _reach(self.lam, step.lam, keep)
        if self.box:
            for room, change in ((1.0 - self.y, -step.y), (1.0 + self.y, step.y)):
                primal = min(primal, _reach(room, change, keep))
            for values, change in ((self.above, step.above), (self.below, step.below)):
                dual = min(dual, _reach(values, change, keep))
        return primal, dual


_NONE: Floats = np.zeros(0)


@dataclass(frozen=True)
class _Step:
    """A direction: of ``y``, ``t``, the slacks and the multipliers."""

    y: Floats
    t: float
    slack: Floats
    lam: Floats
    above: Floats = field(default_factory=lambda: _NONE)
    below: Floats = field(default_factory=lambda: _NONE)

    def plus(self, share: float, other: _Step) -> _Step:
        """This and a share of another, which leaves the multipliers of a box alone."""
        return _Step(
            self.y + share * other.y,
            self.t + share * other.t,
            self.slack + share * other.slack,
            self.lam + share * other.lam,
            self.above,
            self.below,
        )


@dataclass(frozen=True)
class _System:
    """The path's equations, made linear where it stands.

    ``ratio`` is multiplier over slack; slacks and multipliers are eliminated, and the level ``t``
    after them, which leaves ``matrix`` (d, d) for ``y``.
    """

    path: CentralPath
    slack: Floats
    ratio: Floats
    pull: Floats
    total: float
    matrix: Floats

    @classmethod
    def of(cls, path: CentralPath) -> _System:
        """The system at the path's point."""
        slack = path._slack()
        ratio = path.lam / slack
        scaled = path.A * np.sqrt(ratio)[:, None]
        matrix = scaled.T @ scaled
        pull, total = ratio @ path.A, float(ratio.sum())
        matrix -= np.outer(pull, pull / total)
        diagonal = matrix.reshape(-1)[:: len(matrix) + 1]
        diagonal += path.price + 1e-15 * float(diagonal.mean())
        if path.box:
            diagonal += path.above / (1.0 - path.y) + path.below / (1.0 + path.y)
        return cls(path, slack, ratio, pull, total, matrix)

    def predicted(self) -> tuple[_Step, _Step]:
        """The step that would end the path, and what a price higher by 1 adds to any."""
        goal, up, down = self._goals(0.0, None)
        right, short = self._right(goal, up, down)
        both = self._solved(np.column_stack([right, -self.path.y]))
        turn = self._completed(both[:, 1], 0.0)
        turned = _Step(turn[0], turn[1], turn[2], -self.ratio * turn[2])
        return self._step(both[:, 0], short, goal, up, down), turned

    def corrected(self, target: float, guess: _Step) -> _Step:
        """The step to products of ``target``, bent by what the guess left out."""
        goal, up, down = self._goals(target, guess)
        right, short = self._right(goal, up, down)
        return self._step(self._solved(right), short, goal, up, down)

    def _solved(self, right: Floats) -> Floats:
        return np.asarray(np.linalg.solve(self.matrix, right), dtype=np.float64)

    def _goals(self, target: float, guess: _Step | None) -> tuple[Floats, Floats, Floats]:
        """The multipliers of rows and box to aim at, were the slacks to stay."""
        path = self.path
        goal = (target - (guess.lam * guess.slack if guess else 0.0)) / self.slack
        if not path.box:
            return goal, _NONE, _NONE
        up = (target + (guess.above * guess.y if guess else 0.0)) / (1.0 - path.y)
        down = (target - (guess.below * guess.y if guess else 0.0)) / (1.0 + path.y)
        return goal, up, down

    def _right(self, goal: Floats, up: Floats, down: Floats) -> tuple[Floats, float]:
        """The right side for ``y``, and what the multipliers lack to the sum of 1."""
        right = -(self.path.price * self.path.y + goal @ self.path.A)
        if self.path.box:
            right -= up - down
        short = 1.0 - float(goal.sum())
        return right - self.pull * (short / self.total), short

    def _completed(self, y: Floats, short: float) -> tuple[Floats, float, Floats]:
        """``y`` with the change of the level and of the slacks that go with it."""
        t = (float(self.pull @ y) - short) / self.total
        return y, t, t - self.path.A @ y

    def _step(self, y: Floats, short: float, goal: Floats, up: Floats, down: Floats) -> _Step:
        path = self.path
        y, t, slack = self._completed(y, short)
        lam = goal - path.lam - self.ratio * slack
        if not path.box:
            return _Step(y, t, slack, lam)
        above = up - path.above + path.above / (1.0 - path.y) * y
        below = down - path.below - path.below / (1.0 + path.y) * y
        return _Step(y, t, slack, lam, above, below)


def _reach(values: Floats, change: Floats, keep: float) -> float:
    """The largest step, at most 1, that keeps the positive ``values`` positive."""
    falling = change < 0.0
    if not falling.any():
        return 1.0
    return min(1.0, keep * float((values[falling] / -change[falling]).min()))
