"""The point of a token's region nearest to a sample's mean, in the metric of its covariance.

The program is convex and quadratic::

    minimise  (x - m)' H (x - m) / 2   subject to   A x + c <= 0,  x in the domain,

with ``H`` the inverse of the covariance and one row ``(a_j, c_j)`` per rival of a working set. It
is solved by primal-dual Newton steps, predictor and corrector. A ball is one more inequality,
``|x|^2 <= R^2``, a box has two per coordinate. Each inequality has a slack of its own, so that the
start need not be in the region: most working sets leave it at once. When the steps have come close
enough, one product with all rows finds the rivals that the point overlooks, and these join.

Sources: S. Mehrotra, On the implementation of a primal-dual interior point method, SIAM J. Optim.
2, 1992; S. Boyd and L. Vandenberghe, Convex Optimization, Cambridge 2004, section 11.7.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg import (  # type: ignore[import-untyped]  # SciPy ships no types
    LinAlgError,
    cho_factor,
    cho_solve,
)

from geom import Domain, Floats, Ids, Problem
from geom.proofs import Scatter

STEPS = 200
"""Newton steps before giving up."""

STARTS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Where, on the way from the mean to the known point, the first rivals are looked for."""

MOST = 2
"""The most rivals per dimension that join at once."""

_KEEP = 0.99
"""The share of the way to the nearest boundary that a step takes."""

_LOOSE = 1e-2
"""The gap, relative to the value, below which overlooked rivals are looked for."""

_ROOM = 1e-13
"""A rival counts as overlooked above this share of the size of the logits."""


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest point ``x`` (d,) found, and the multipliers ``lam`` (n,) of ``ids`` there."""

    x: Floats
    ids: Ids
    lam: Floats


def nearest(problem: Problem, token: int, sample: Scatter, start: Floats, gap: float) -> Nearest:
    """Find the nearest point, its squared distance to within ``gap`` of itself if float64 can.

    ``start`` (d,) is a point where the token wins, which tells the first rivals.
    """
    search = _Search(problem, token, sample, start)
    for _ in range(STEPS):
        done = search.close(0.1 * gap)
        if (done or search.close(_LOOSE)) and not search.grow() and done:
            break
        if not search.step() and not search.grow():
            break
    return Nearest(search.x, search.ids, search.multipliers)


class _Walls:
    """The inequalities of a domain at ``x``: their slacks ``s`` and multipliers ``k`` (n,).

    A ball has one, none is needed on all of R^d. ``values`` are to be at most zero.
    """

    def __init__(self, domain: Domain) -> None:
        self._shape = domain.shape
        self._radius = domain.radius * (1.0 - 2.0**-31) if domain.bounded else math.inf
        count = {"ball": 1, "box": 2 * domain.d}.get(domain.shape, 0)
        self.s, self.k = np.ones(count), np.ones(count)

    def values(self, x: Floats) -> Floats:
        """Return by how much ``x`` exceeds each."""
        if self._shape == "ball":
            return np.array([(float(x @ x) - self._radius**2) / 2.0])
        if self._shape == "box":
            return np.concatenate([x - self._radius, -x - self._radius])
        return np.zeros(0)

    def along(self, x: Floats, step: Floats) -> Floats:
        """Return how their values change, to first order, along a step."""
        if self._shape == "ball":
            return np.array([float(x @ step)])
        return np.concatenate([step, -step]) if self._shape == "box" else np.zeros(0)

    def pull(self, x: Floats, k: Floats) -> Floats:
        """Return the sum of their gradients, times numbers ``k``."""
        if self._shape == "ball":
            return x * float(k[0])
        return k[: x.size] - k[x.size :] if self._shape == "box" else np.zeros_like(x)

    def bend(self, matrix: Floats, x: Floats) -> None:
        """Add to the matrix of a Newton step what these inequalities contribute."""
        ratio = self.k / self.s
        diagonal = np.einsum("ii->i", matrix)
        if self._shape == "ball":
            diagonal += float(self.k[0])
            matrix += float(ratio[0]) * np.outer(x, x)
        elif self._shape == "box":
            diagonal += ratio[: x.size] + ratio[x.size :]


class _Search:
    """The point, slacks and multipliers of one program.

    ``H`` is divided by its mean eigenvalue, ``curve``, and each row and its bias by the row's
    length, so that slacks are distances from planes: rivals that are nearly the token itself have
    rows a million times shorter than others.
    """

    def __init__(self, problem: Problem, token: int, sample: Scatter, start: Floats) -> None:
        self._problem, self._token = problem, token
        self._mean, d = sample.mean, problem.readout.d
        self._curve = float(np.trace(sample.precision)) / d
        self._H = sample.precision / self._curve
        ids = np.zeros(0, dtype=np.int64)
        for share in STARTS:
            values = -problem.margins(token, sample.mean + share * (start - sample.mean))
            count = min(max(d // 2, 1), values.size - 1)
            ids = np.union1d(ids, _highest(values, count))  # the token itself is minus infinity
        self.ids = ids
        self._A, self._c, self._lengths = self._rows(ids)
        self.x = np.array(start)
        self._walls = _Walls(problem.domain)
        self._centre()

    def _centre(self) -> None:
        """Give all inequalities slacks and multipliers of one product, from the point as it is."""
        off = self.x - self._mean
        ahead = -(self._A @ self.x + self._c)
        over = -self._walls.values(self.x)
        room = max(float(np.abs(ahead).mean()), 1e-12)
        self._s = np.maximum(ahead, 0.1 * room)
        self._walls.s = np.maximum(over, 0.1 * max(room, float(np.abs(over).max(initial=0.0))))
        level = max(float(off @ self._H @ off), 1e-12) / (ahead.size + over.size)
        self.lam, self._walls.k = level / self._s, level / self._walls.s

    @property
    def multipliers(self) -> Floats:
        """The multipliers (n,) of the rows and of ``H`` as they are."""
        return np.asarray(self.lam * self._curve / self._lengths)

    def close(self, gap: float) -> bool:
        """Return whether the inequalities hold, and multipliers bound the value to within gap."""
        off = self.x - self._mean
        value = max(float(off @ self._H @ off), 1e-300)
        products = float(self._s @ self.lam) + float(self._walls.s @ self._walls.k)
        if not products <= gap * value:
            return False
        beyond = np.abs(self._A @ self.x + self._c + self._s).max()
        size = float(np.abs(self._c).max()) + float(np.linalg.norm(self.x) + np.linalg.norm(off))
        dual = float(np.linalg.norm(self._dual()))
        return bool(
            beyond <= 1e-3 * gap * size and dual <= gap * float(np.linalg.norm(self._H @ off))
        )

    def grow(self) -> bool:
        """Let the rivals that the point overlooks join; return whether there are any."""
        exceeding = -self._problem.margins(self._token, self.x)
        exceeding[self._token] = 0.0
        size = float(np.abs(exceeding).max())
        exceeding[self.ids] = 0.0
        more = np.flatnonzero(exceeding > _ROOM * size)
        if not more.size:
            return False
        if more.size > MOST * self.x.size:
            more = more[_highest(exceeding[more], MOST * self.x.size)]
        A, c, lengths = self._rows(more)
        self.ids = np.concatenate([self.ids, more])
        self._A, self._c = np.concatenate([self._A, A]), np.concatenate([self._c, c])
        self._lengths = np.concatenate([self._lengths, lengths])
        self._centre()
        return True

    def step(self) -> bool:
        """Take one predictor and corrector step; False if float64 can go no further."""
        walls, x, s, lam = self._walls, self.x, self._s, self.lam
        with np.errstate(all="ignore"):
            ratio = lam / s
            scaled = self._A * np.sqrt(ratio)[:, None]
            M = self._H + scaled.T @ scaled
            walls.bend(M, x)
            np.einsum("ii->i", M)[:] += 1e-15 * float(np.trace(M)) / x.size
            try:
                factor = cho_factor(M, overwrite_a=True, check_finite=False)
            except LinAlgError:
                return False
            dual, over = self._dual(), self._A @ x + self._c + s
            beyond = walls.values(x) + walls.s

            def direction(goal: Floats, wall: Floats) -> tuple[Floats, ...]:
                """Return the step to products ``goal`` and ``wall`` of slacks and multipliers."""
                push = goal / s - lam + ratio * over
                press = wall / walls.s - walls.k + walls.k / walls.s * beyond
                right = -dual - push @ self._A - walls.pull(x, press)
                dx = cho_solve(factor, right, check_finite=False)
                rise, lift = self._A @ dx, walls.along(x, dx)
                return (
                    dx,
                    -over - rise,
                    push + ratio * rise,
                    -beyond - lift,
                    press + walls.k / walls.s * lift,
                )

            count = s.size + walls.s.size
            products = (float(s @ lam) + float(walls.s @ walls.k)) / count
            _, ds, dlam, dw, dk = direction(np.zeros_like(s), np.zeros_like(walls.s))
            reach = min(_reach(s, ds, 1.0), _reach(walls.s, dw, 1.0))
            rise = min(_reach(lam, dlam, 1.0), _reach(walls.k, dk, 1.0))
            left = float((s + reach * ds) @ (lam + rise * dlam))
            left += float((walls.s + reach * dw) @ (walls.k + rise * dk))
            target = products * min(1.0, max(left / count / products, 0.0)) ** 3
            dx, ds, dlam, dw, dk = direction(target - ds * dlam, target - dw * dk)
            if not (np.isfinite(dx).all() and np.isfinite(dlam).all()):
                return False
            size = min(
                *(_reach(s, ds, _KEEP), _reach(walls.s, dw, _KEEP)),
                *(_reach(lam, dlam, _KEEP), _reach(walls.k, dk, _KEEP)),
            )
            if not size > 1e-10:
                return False
            self.x = x + size * dx
            self._s, self.lam = s + size * ds, lam + size * dlam
            walls.s, walls.k = walls.s + size * dw, walls.k + size * dk
        return True

    def _dual(self) -> Floats:
        """Return the gradient of the Lagrangian (d,)."""
        pull = self._walls.pull(self.x, self._walls.k)
        return np.asarray(self._H @ (self.x - self._mean) + self.lam @ self._A + pull)

    def _rows(self, ids: Ids) -> tuple[Floats, Floats, Floats]:
        """Return rows (n, d) of length 1 as the domain sees them, biases (n,), and lengths (n,)."""
        A, c = self._problem.differences(self._token, ids)
        if self._problem.domain.zero_sum:
            A -= A.mean(axis=1, keepdims=True)
        lengths = np.linalg.norm(A, axis=1)
        lengths[lengths == 0.0] = 1.0
        return A / lengths[:, None], c / lengths, lengths


def _highest(values: Floats, count: int) -> Ids:
    """Return the places of the highest values."""
    count = min(count, values.size)
    return np.argpartition(values, values.size - count)[values.size - count :].astype(np.int64)


def _reach(values: Floats, change: Floats, keep: float) -> float:
    """Return how far along ``change`` positive values stay so, times ``keep``, at most 1."""
    falling = change < 0.0
    if not falling.any():
        return 1.0
    return min(1.0, keep * float((values[falling] / -change[falling]).min()))
