"""The point of a token's region nearest to a sample's mean, in the metric of its covariance.

The program is convex and quadratic::

    minimise  (x - m)' H (x - m) / 2   subject to   A x + c <= 0,  x in the domain,

with ``H`` the inverse of the covariance and one row ``(a_j, c_j)`` per rival of a working set. It
is solved by primal-dual Newton steps, predictor and corrector. A ball is one more inequality,
``|x|^2 <= R^2``, a box has two per coordinate. Each inequality has a slack of its own, so that the
start need not be in the region: most working sets leave it at once. When the steps have come close
enough, one product with all rows finds the rivals that the point overlooks, and these join.

On an ellipsoid the unknowns are the coordinates ``u`` of a ball, with ``x = m + u @ A``; on the
hull of points they are all shares of a mixture but the last, which is one less the others, each at
least zero and with a sum of at most one. Both are affine maps, which leave the program convex and
quadratic. Of many points few have a share in the nearest mixture: a search begins with some, and
those farthest beyond the plane that its multipliers prove join until none is beyond it.

Sources: S. Mehrotra, On the implementation of a primal-dual interior point method, SIAM J. Optim.
2, 1992; S. Boyd and L. Vandenberghe, Convex Optimization, Cambridge 2004, section 11.7.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.linalg import (  # type: ignore[import-untyped]  # SciPy ships no types
    LinAlgError,
    cho_factor,
    cho_solve,
)

from geom import Domain, Floats, Ids, Problem, Readout, hull
from geom.proofs import Scatter

STEPS = 200
"""Newton steps before giving up."""

STARTS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Where, on the way from the mean to the known point, the first rivals are looked for."""

MOST = 2
"""The most rivals per dimension that join at once."""

POINTS = 1024
"""A hull of more points than this is searched by a working set of them."""

JOIN = 256
"""The points that such a search begins with, and the most that join at once."""

ROUNDS = 50
"""The most working sets of points that a search takes."""

UNUSED = 1e-9
"""Points with a smaller share than this leave the working set."""

SHORT = 1e-12
"""On a domain with a frame, squared lengths nearer to each other than this are alike."""

_KEEP = 0.99
"""The share of the way to the nearest boundary that a step takes."""

_LOOSE = 1e-2
"""The gap, relative to the value, below which overlooked rivals are looked for."""

_ROOM = 1e-13
"""A rival counts as overlooked above this share of the size of the logits."""


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest point ``x`` (k,) found, and the multipliers ``lam`` (n,) of ``ids`` there."""

    x: Floats
    ids: Ids
    lam: Floats


def nearest(problem: Problem, token: int, sample: Scatter, start: Floats, gap: float) -> Nearest:
    """Find the nearest point, its squared distance to within ``gap`` of itself if float64 can.

    ``start`` (k,) is a point where the token wins, which tells the first rivals.
    """
    many = problem.domain.shape == "simplex" and problem.domain.coordinates > POINTS
    with np.errstate(all="ignore"):  # numbers that overflow end a search
        return (_among_points if many else _solved)(problem, token, sample, start, gap)


def nearest_to_mean(domain: Domain, sample: Scatter, gap: float) -> Floats:
    """Find the point (k,) of a domain with a frame that is nearest to the mean, as `nearest` does.

    It is the nearest point for a token without rivals.
    """
    start = domain.fit(np.zeros(domain.coordinates))
    if domain.shape == "simplex" and domain.coordinates == 1:
        return start
    alone = Problem(Readout.fold(np.zeros((1, domain.d))), domain)
    found = domain.fit(nearest(alone, 0, sample, start, gap).x)
    with np.errstate(all="ignore"):
        return min(start, found, key=lambda y: sample.length(domain.vector(y)))


def _solved(problem: Problem, token: int, sample: Scatter, start: Floats, gap: float) -> Nearest:
    """Do what `nearest` does, with all of the unknowns at once."""
    search = _Search(problem, token, sample, start)
    for _ in range(STEPS):
        done = search.close(0.1 * gap)
        if (done or search.close(_LOOSE)) and not search.grow() and done:
            break
        if not search.step() and not search.grow():
            break
    return Nearest(search.point, search.ids, search.multipliers)


def _among_points(
    problem: Problem, token: int, sample: Scatter, start: Floats, gap: float
) -> Nearest:
    """Do what `nearest` does on the hull of many points, from a working set of them.

    The vector of the start is one more point, so that the token wins somewhere in every set.
    """
    frame = problem.domain.frame
    assert frame is not None
    points, known = frame.axes, problem.domain.vector(start)
    off = points - sample.mean
    chosen = _highest(-np.einsum("ij,jk,ik->i", off, sample.precision, off, optimize=True), JOIN)
    y = np.zeros(len(points) + 1)
    y[-1] = 1.0
    for _ in range(ROUNDS):
        part = Problem(problem.readout, hull(np.vstack([points[chosen], known])))
        places = np.append(chosen, len(points))
        found = _solved(part, token, sample, part.domain.fit(y[places]), gap)
        y = np.zeros(len(points) + 1)
        y[places] = part.domain.fit(found.x)
        away = part.domain.vector(y[places]) - sample.mean
        pull = sample.precision @ away + found.lam @ problem.differences(token, found.ids)[0]
        heights = np.append(points @ pull, known @ pull)
        ahead = float(y @ heights) - heights[:-1]
        ahead[chosen] = 0.0
        square = float(away @ sample.precision @ away)
        more = np.flatnonzero(ahead > max(0.1 * gap * square, SHORT))
        if not more.size:
            break
        kept = chosen[y[chosen] > UNUSED]
        chosen = np.append(kept, more[_highest(ahead[more], JOIN)])
    return Nearest(y[:-1] + y[-1] * start, found.ids, found.lam)


@dataclass(frozen=True, eq=False)
class _Form:
    """The squared length of ``x - m`` as a function of the unknowns ``u`` (k,).

    They are x itself, or with a map ``x = base + u @ axes``; then ``x - m`` has the length of
    ``u @ wide - off`` in Euclid's metric. ``H`` (k, k) is half the second derivative.
    """

    H: Floats
    mean: Floats
    map: _Map | None = None

    def length(self, u: Floats) -> float:
        """Return the squared length."""
        if self.map is not None:
            away = u @ self.map.wide - self.map.off
            return float(away @ away)
        off = u - self.mean
        return float(off @ self.H @ off)

    def pull(self, u: Floats) -> Floats:
        """Return half the gradient (k,)."""
        if self.map is not None:
            return np.asarray(self.map.wide @ (u @ self.map.wide - self.map.off))
        return np.asarray(self.H @ (u - self.mean))

    def rows(self, a: Floats, c: Floats) -> tuple[Floats, Floats]:
        """Return rows (n, d) and biases (n,) of x as rows (n, k) and biases of ``u``."""
        return (a, c) if self.map is None else (a @ self.map.axes.T, c + a @ self.map.base)


@dataclass(frozen=True, eq=False)
class _Map:
    """The map from unknowns to x, and to the vectors whose Euclidean length counts."""

    axes: Floats
    base: Floats
    wide: Floats
    off: Floats


@lru_cache(maxsize=2)
def _root(sample: Scatter) -> Floats:
    """Return a matrix (d, d) whose product with its transpose is the inverse of the covariance.

    No variance is below the share that shrinkage leaves in every direction.
    """
    values, vectors = np.linalg.eigh(sample.covariance)
    return np.asarray(vectors / np.sqrt(np.maximum(values, sample.shrinkage * sample.variance)))


@lru_cache(maxsize=2)
def _form(domain: Domain, sample: Scatter) -> _Form:
    """Return the form of a sample over a domain's unknowns."""
    frame = domain.frame
    if frame is None:
        return _Form(sample.precision, sample.mean)
    axes, base = frame.axes, np.zeros(domain.d) if frame.centre is None else frame.centre
    if domain.shape == "simplex":
        axes, base = axes[:-1] - axes[-1], axes[-1]
    root = _root(sample)
    wide, off = axes @ root, (sample.mean - base) @ root
    return _Form(wide @ wide.T, sample.mean, _Map(axes, base, wide, off))


class _Walls:
    """The inequalities of a domain at ``x``: their slacks ``s`` and multipliers ``k`` (n,).

    A ball has one, none is needed on all of R^d. On all shares of a mixture but the last there is
    one for each, and one for their sum. ``values`` are to be at most zero.
    """

    def __init__(self, domain: Domain) -> None:
        self._shape = domain.shape
        self._radius = domain.radius * (1.0 - 2.0**-31) if domain.bounded else math.inf
        k = domain.coordinates
        count = {"ball": 1, "box": 2 * k, "simplex": k}.get(domain.shape, 0)
        self.s, self.k = np.ones(count), np.ones(count)

    def values(self, x: Floats) -> Floats:
        """Return by how much ``x`` exceeds each."""
        if self._shape == "ball":
            return np.array([(float(x @ x) - self._radius**2) / 2.0])
        if self._shape == "box":
            return np.concatenate([x - self._radius, -x - self._radius])
        return np.append(-x, x.sum() - 1.0) if self._shape == "simplex" else np.zeros(0)

    def along(self, x: Floats, step: Floats) -> Floats:
        """Return how their values change, to first order, along a step."""
        if self._shape == "ball":
            return np.array([float(x @ step)])
        if self._shape == "simplex":
            return np.append(-step, step.sum())
        return np.concatenate([step, -step]) if self._shape == "box" else np.zeros(0)

    def pull(self, x: Floats, k: Floats) -> Floats:
        """Return the sum of their gradients, times numbers ``k``."""
        if self._shape == "ball":
            return x * float(k[0])
        if self._shape == "simplex":
            return np.asarray(k[-1] - k[:-1])
        return np.asarray(k[: x.size] - k[x.size :]) if self._shape == "box" else np.zeros_like(x)

    def bend(self, matrix: Floats, x: Floats) -> None:
        """Add to the matrix of a Newton step what these inequalities contribute."""
        ratio = self.k / self.s
        diagonal = np.einsum("ii->i", matrix)
        if self._shape == "ball":
            diagonal += float(self.k[0])
            matrix += float(ratio[0]) * np.outer(x, x)
        elif self._shape == "box":
            diagonal += ratio[: x.size] + ratio[x.size :]
        elif self._shape == "simplex":
            matrix += ratio[-1]
            diagonal += ratio[:-1]


class _Search:
    """The unknowns ``x``, slacks and multipliers of one program.

    ``H`` is divided by its mean eigenvalue, ``curve``, and each row and its bias by the row's
    length, so that slacks are distances from planes: rivals that are nearly the token itself have
    rows a million times shorter than others.
    """

    def __init__(self, problem: Problem, token: int, sample: Scatter, start: Floats) -> None:
        self._problem, self._token = problem, token
        self._form = _form(problem.domain, sample)
        self._mixed = problem.domain.shape == "simplex"
        self.x = np.array(start[:-1] if self._mixed else start)
        self._curve = float(np.trace(self._form.H)) / self.x.size or 1.0
        self._H = self._form.H / self._curve
        ids = np.zeros(0, dtype=np.int64)
        known = problem.domain.vector(start)
        for share in STARTS:
            values = self._exceeding(sample.mean + share * (known - sample.mean))
            values[token] = -math.inf
            count = min(max(self.x.size // 2, 1), values.size - 1)
            ids = np.union1d(ids, _highest(values, count))
        self.ids = ids
        self._A, self._c, self._lengths = self._rows(ids)
        self._walls = _Walls(problem.domain)
        self._centre()

    @property
    def point(self) -> Floats:
        """The point of the domain: the unknowns, and on a hull the last share."""
        return np.append(self.x, 1.0 - self.x.sum()) if self._mixed else self.x

    def _exceeding(self, x: Floats) -> Floats:
        """Return by how much each rival's logit exceeds the token's at a vector (d,)."""
        logits = self._problem.readout.logits(x)
        return np.asarray(logits - logits[self._token])

    def _centre(self) -> None:
        """Give all inequalities slacks and multipliers of one product, from the point as it is."""
        ahead = -(self._A @ self.x + self._c)
        over = -self._walls.values(self.x)
        room = max(float(np.abs(ahead).mean()), 1e-12) if ahead.size else 1e-12
        self._s = np.maximum(ahead, 0.1 * room)
        self._walls.s = np.maximum(over, 0.1 * max(room, float(np.abs(over).max(initial=0.0))))
        level = max(self._form.length(self.x) / self._curve, 1e-12) / (ahead.size + over.size)
        self.lam, self._walls.k = level / self._s, level / self._walls.s

    @property
    def multipliers(self) -> Floats:
        """The multipliers (n,) of the rows and of ``H`` as they are."""
        return np.asarray(self.lam * self._curve / self._lengths)

    def close(self, gap: float) -> bool:
        """Return whether the inequalities hold, and multipliers bound the value to within gap."""
        value = max(self._form.length(self.x) / self._curve, 1e-300)
        products = float(self._s @ self.lam) + float(self._walls.s @ self._walls.k)
        least = 0.0 if self._form.map is None else SHORT / self._curve
        if not products <= max(gap * value, least):
            return False
        beyond = np.abs(self._A @ self.x + self._c + self._s).max(initial=0.0)
        size = float(np.abs(self._c).max(initial=0.0)) + float(np.linalg.norm(self.x))
        if self._form.map is None:
            size += float(np.linalg.norm(self.x - self._form.mean))
            allowed = gap * float(np.linalg.norm(self._form.pull(self.x))) / self._curve
        else:  # no two unknowns are farther apart than 2 radii, and less than rounding is nothing
            allowed = gap * value / (2.0 * self._problem.domain.radius)
            allowed = max(allowed, 1e-15 * self.x.size * (1.0 + math.sqrt(value)))
        dual = float(np.linalg.norm(self._dual()))
        return bool(beyond <= 1e-3 * gap * size and dual <= allowed)

    def grow(self) -> bool:
        """Let the rivals that the point overlooks join; return whether there are any."""
        exceeding = self._exceeding(self._problem.domain.vector(self.point))
        size = float(np.abs(exceeding).max())
        exceeding[self.ids] = 0.0
        more = np.flatnonzero(exceeding > _ROOM * size)
        if not more.size:
            return False
        most = MOST * max(self.x.size, 1)
        if more.size > most:
            more = more[_highest(exceeding[more], most)]
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
            if not products > 0.0:
                return False
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
        return np.asarray(self._form.pull(self.x) / self._curve + self.lam @ self._A + pull)

    def _rows(self, ids: Ids) -> tuple[Floats, Floats, Floats]:
        """Return rows (n, k) of length 1 as the domain sees them, biases (n,), and lengths (n,)."""
        A, c = self._form.rows(*self._problem.differences(self._token, ids))
        if self._problem.domain.zero_sum:
            A -= A.mean(axis=1, keepdims=True)
        lengths = np.linalg.norm(A, axis=1)
        lengths[lengths == 0.0] = 1.0
        return A / lengths[:, None], c / lengths, lengths


def _highest(values: Floats, count: int) -> Ids:
    """Return the places of the highest values."""
    count = min(count, values.size)
    if not count:
        return np.zeros(0, dtype=np.int64)
    return np.argpartition(values, values.size - count)[values.size - count :].astype(np.int64)


def _reach(values: Floats, change: Floats, keep: float) -> float:
    """Return how far along ``change`` positive values stay so, times ``keep``, at most 1."""
    falling = change < 0.0
    if not falling.any():
        return 1.0
    return min(1.0, keep * float((values[falling] / -change[falling]).min()))
