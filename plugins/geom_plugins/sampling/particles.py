"""Exact Hamiltonian Monte Carlo for a normal distribution cut off by half-spaces.

A. Pakman and L. Paninski, Exact Hamiltonian Monte Carlo for truncated multivariate Gaussians,
Journal of Computational and Graphical Statistics 23 (2014). Between walls a point goes around its
centre on an ellipse, ``y cos(a) + v sin(a)``, for which the time to each wall is known in closed
form; at a wall its velocity is reflected. The distribution stays the same for any time travelled,
and a wall costs no new product: the products of the normals with that wall's normal are kept.
"""

from __future__ import annotations

import numpy as np

from geom import Floats, Ids
from geom_plugins.sampling.half_spaces import Cone, Vectors

_KEPT = 384 * 2**20
"""The bytes of products of normals that are kept."""

QUARTER = np.pi / 2
"""The time after which particles get new velocities: a quarter of the way around their centre."""

_BOUNCES = 50_000
"""Bounces per particle, on average, after which all give up."""


class TooNarrowError(ArithmeticError):
    """The cone is so narrow that particles only bounce in it and get nowhere."""


class Walls:
    """The half-spaces of a cone, and the products of normals that have been asked for."""

    def __init__(self, cone: Cone, kept: dict[int, Vectors] | None = None) -> None:
        self.cone = cone
        self._kept: dict[int, Vectors] = {} if kept is None else kept
        self._most = max(1, _KEPT // (cone.normals.itemsize * len(cone.normals)))

    def around(self, cone: Cone) -> Walls:
        """Return the same half-spaces around another top."""
        return Walls(cone, self._kept)

    def products(self, walls: Ids) -> Vectors:
        """Return ``normals @ normals[wall]`` (m, n) for each wall (m,)."""
        return np.array([self._product(wall) for wall in walls.tolist()])

    def _product(self, wall: int) -> Vectors:
        found = self._kept.get(wall)
        if found is None:  # one at a time: rounding must not depend on what other particles met
            found = self.cone.normals @ self.cone.normals[wall]
            if len(self._kept) < self._most:
                self._kept[wall] = found
        return found


class Particles:
    """Points ``x = centre + y`` in a cone, with velocities, all around the same centre.

    ``centre = top + t * way``, and t can be moved; ``time`` is how long they travel at a time.
    Arrays have the cone's type: y and v (m, k), the distances beyond the walls ``X = normals @ x``
    and the velocities towards them ``Q = normals @ v``, (m, n) each.
    """

    def __init__(
        self,
        walls: Walls,
        way: Floats,
        t: float,
        x: Vectors,
        time: float,
        rng: np.random.Generator,
    ) -> None:
        cone = walls.cone
        self.walls, self.t = walls, t
        self._top, self._way, self._rng = cone.top, way, rng
        self._dtype = cone.normals.dtype
        self._at_top = cone.normals @ cone.top.astype(self._dtype)
        self._along = cone.normals @ way.astype(self._dtype)
        self.y: Vectors = (x - self.centre).astype(self._dtype)
        self.time, self.bounces = time, 0
        self._h = (self._at_top + t * self._along).astype(self._dtype)
        self.refresh()

    @property
    def centre(self) -> Floats:
        """The centre (k,) of the normal distribution."""
        return np.asarray(self._top + self.t * self._way)

    @property
    def x(self) -> Vectors:
        """The points (m, k)."""
        return (self.y + self.centre).astype(self._dtype)

    def refresh(self) -> None:
        """Draw new velocities, and compute all products again."""
        cone = self.walls.cone
        self._v = cone.draw(len(self.y), self._rng)
        self._X = self.y @ cone.normals.T + self._h
        self._Q = self._v @ cone.normals.T
        self._travelled = 0.0

    def branch(self, ancestors: Ids) -> None:
        """Take the places of the particles ``ancestors`` (m,); repeats get new velocities."""
        again = np.ones(len(ancestors), dtype=np.bool_)
        again[np.unique(ancestors, return_index=True)[1]] = False
        self.y, self._v = self.y[ancestors], self._v[ancestors]
        self._X, self._Q = self._X[ancestors], self._Q[ancestors]
        if again.any():
            self._v[again] = self.walls.cone.draw(int(again.sum()), self._rng)
            self._Q[again] = self._v[again] @ self.walls.cone.normals.T

    def move(self, t: float) -> Floats:
        """Move the centre to another t; return the log weights (m,) that this gives the particles.

        The weights are those of the particles' directions alone; how far out they lie is drawn
        again. A cone consists of whole directions, so that takes no particle out of it.
        """
        D = self.walls.cone.dimension
        before = self.centre
        self.t = t
        after = self.centre
        x = self.y + before
        length = np.linalg.norm(x, axis=1)
        unit = x / length[:, None]
        towards = unit @ after
        drawn = drawn_radii(towards, D, self._rng)
        weights = log_mass(towards, D) - log_mass(unit @ before, D)
        self.y = (unit * drawn[:, None] - after).astype(self._dtype)
        self._X *= (drawn / length)[:, None].astype(self._dtype)
        self._h = (self._at_top + t * self._along).astype(self._dtype)
        return np.asarray(weights - 0.5 * float((after - before) @ (after + before)))

    def travel(self) -> None:
        """Let every point travel for its `time`, reflected by the walls that it meets.

        After a quarter turn all velocities are new. Raises TooNarrowError after too many bounces in
        total.
        """
        left = np.full(len(self.y), self.time)
        while (on := np.flatnonzero(left > 0.0)).size:
            whole = on.size == len(left)
            X = self._X if whole else self._X[on]
            Q = self._Q if whole else self._Q[on]
            wall, until = _next_wall(X, Q, self._h, left[on])
            hit = until < left[on]
            step = np.where(hit, until, left[on])
            self._turn(on, whole, X, Q, step.astype(self._dtype)[:, None])
            left[on] = np.where(hit, left[on] - step, 0.0)
            if hit.any():
                self._reflect(on[hit], wall[hit])
        self._travelled += self.time
        if self._travelled >= QUARTER:
            self.refresh()

    def _turn(self, on: Ids, whole: bool, X: Vectors, Q: Vectors, angle: Vectors) -> None:
        """Go around the centre by an angle (m, 1)."""
        cos, sin = np.cos(angle), np.sin(angle)
        P = X - self._h
        X = P * cos + Q * sin + self._h
        Q = Q * cos - P * sin
        y, v = self.y[on], self._v[on]
        self.y[on], self._v[on] = y * cos + v * sin, v * cos - y * sin
        if whole:
            self._X, self._Q = X, Q
        else:
            self._X[on], self._Q[on] = X, Q

    def _reflect(self, hit: Ids, wall: Ids) -> None:
        """Reflect the velocities at the walls."""
        towards = -2.0 * self._Q[hit, wall][:, None]
        self._Q[hit] += towards * self.walls.products(wall)
        self._v[hit] += towards * self.walls.cone.normals[wall]
        self.bounces += hit.size
        if self.bounces > _BOUNCES * len(self.y):
            raise TooNarrowError("its directions are too narrow: particles only bounce in them")


def _next_wall(X: Vectors, Q: Vectors, h: Vectors, left: Floats) -> tuple[Ids, Floats]:
    """Return the first wall each point meets and the time to it, infinite if beyond ``left``.

    The wall ``(X - h) cos(a) + Q sin(a) + h = 0`` is met only if its left side can be above zero by
    then. With ``w = 1 / tan(a / 2)`` it is a quadratic in w, whose largest positive root is the
    first meeting; the root is computed in the form without cancellation.
    """
    time = left.astype(X.dtype)[:, None]
    reach = np.maximum(Q, 0.0)
    reach *= np.sin(time)
    reach += X
    fall = h - X
    np.maximum(fall, 0.0, out=fall)
    fall *= 1.0 - np.cos(time)
    reach += fall
    point, wall = np.divmod(np.flatnonzero(reach.ravel() > 0.0), X.shape[1])
    x, q = X[point, wall].astype(np.float64), Q[point, wall].astype(np.float64)
    twice = 2.0 * h[wall].astype(np.float64)
    inner = q * q - x * (twice - x)
    root = np.abs(q) + np.sqrt(np.maximum(inner, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        w = np.where(q > 0.0, root / np.maximum(-x, 0.0), (twice - x) / root)
    w[(inner < 0.0) | ~(w > 0.0)] = 0.0
    walls, largest = np.zeros(len(X), dtype=np.int64), np.zeros(len(X))
    np.maximum.at(largest, point, w)
    first = w == largest[point]
    walls[point[first]] = wall[first]
    with np.errstate(divide="ignore"):
        return walls, np.where(largest > 0.0, 2.0 * np.arctan2(1.0, largest), np.inf)


# How far out a normal vector lies in a given direction. For a normal vector around c, in D
# dimensions, the part in the direction of the unit vector u has the density
# ``r^(D - 1) exp(-r^2 / 2 + a r)`` in its length r, up to a factor that does not depend on u, with
# ``a = u . c``. A cone holds all of a direction or none of it, so a Gaussian's probability in a
# cone depends on directions alone, and their lengths can be integrated, or drawn again, exactly.

_NODES = np.arange(-36.0, 12.0, 0.2)
"""The nodes of the integral, in standard deviations of the logarithm of r, around its mode."""


def log_mass(a: Floats, dimension: int) -> Floats:
    """Return the logarithm of the integral of the density over all r, for each ``a`` (m,).

    It uses the trapezoidal rule in ``log r``, which converges exponentially: L. N. Trefethen and
    J. A. C. Weideman, SIAM Review 56 (2014).
    """
    r = (a + np.sqrt(a * a + 4.0 * dimension)) / 2.0
    step = 1.0 / np.sqrt(r * r + dimension)
    w = step[:, None] * _NODES
    grown = np.expm1(w)
    log = dimension * (w - grown) - 0.5 * (r[:, None] * grown) ** 2  # as a r = r^2 - D
    top = dimension * np.log(r) - 0.5 * r * r + a * r
    return np.asarray(top + np.log(np.exp(log).sum(axis=1) * step * 0.2))


def drawn_radii(a: Floats, dimension: int, rng: np.random.Generator) -> Floats:
    """Draw a length for each ``a`` (m,), by rejection.

    The curvature of the density's logarithm is at least 1, so the density lies below a normal
    distribution around its mode.
    """
    power = dimension - 1
    mode = (a + np.sqrt(a * a + 4.0 * power)) / 2.0
    out = np.zeros_like(a)
    left = np.arange(a.size)
    while left.size:
        off = rng.standard_normal(left.size)
        top = mode[left]
        r = top + off
        log = (a[left] - top) * off
        if power:
            with np.errstate(divide="ignore", invalid="ignore"):
                log += power * np.log(r / top)
        taken = (r > 0.0) & (np.log(rng.random(left.size)) < log)
        out[left[taken]] = r[taken]
        left = left[~taken]
    return out
