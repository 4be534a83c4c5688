"""The directions in which a token wins, as a cone of half-spaces, and a Gaussian that lies in it.

Token t wins at x if ``a_j . x + c_j < 0`` for all others j. Without biases that is a cone, and the
fraction of directions in it is the probability that a standard normal vector lies in it. With
biases on a ball, directions are points x of length R, and the cone has one more dimension: it holds
the ``(y, s)`` with ``R a_j . y + (c_j / RATIO) s < 0`` and ``s > 0``. A normal vector around
``(0, top)`` lies in it with a probability that `Cone.log_shares` turns into the fraction of the
sphere: the parts of ``(y, s)`` that count are ``y / |y|`` and the ratio ``s / |y|``, which must be
`RATIO`. Any ``top`` is valid; the best one puts the ratio near `RATIO` in the cone. If the domain's
vectors sum to zero, so do the y.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize  # type: ignore[import-untyped]  # it ships no types
from scipy.special import gammaln, log_ndtr, logsumexp, ndtr  # type: ignore[import-untyped]

from geom import Floats, Ids, Problem

Vectors = NDArray[np.floating[Any]]
"""Float32 if there are many, because it is twice as fast; float64 otherwise."""


_TAIL = 0.7
"""The start is near enough once the chances of leaving the half-spaces sum to at most this."""

RATIO = 4.0
"""The length of the biases' factor over that of y: the longer, the less its own noise matters."""

_FINE = 0.05
"""The step for integrating over lengths: less than the width of one ratio in them."""

_BLOCK = 4096
"""How many rows are made at a time."""

_MANY = 1 << 22
"""At least this many numbers are kept as float32: points some 1e5 off still differ in it."""


def _ratios(x: Vectors) -> Floats:
    """Return ``s / |y|`` (m,) of some ``x = (y, s)`` (m, k)."""
    return np.asarray(x[:, -1] / np.linalg.norm(x[:, :-1].astype(np.float64), axis=1))


@dataclass(frozen=True, eq=False)
class Cone:
    """The half-spaces ``normals @ x < 0``, with unit ``normals`` (n, k), float32 or float64.

    ``dimension`` is that of the space that x varies in. ``zero_sum`` says that the first
    coordinates sum to zero, and ``biased`` that the last one is the factor of the biases. ``top``
    (k,) is the centre of the normal distribution in question. ``window`` is half the thickness, in
    ratios, of the surface on which directions count.
    """

    normals: Vectors
    dimension: int
    zero_sum: bool
    biased: bool
    top: Floats
    window: float = 0.0

    def draw(self, count: int, rng: np.random.Generator) -> Vectors:
        """Draw standard normal vectors (count, k) of the space that x varies in."""
        shape = (count, self.normals.shape[1])
        out: Vectors = rng.standard_normal(shape, dtype=self.normals.dtype)
        if self.zero_sum:
            width = out.shape[1] - self.biased
            out[:, :width] -= out[:, :width].mean(axis=1, keepdims=True)
        return out

    def only(self, rows: Ids) -> Cone:
        """Return the cone of some of the half-spaces."""
        return replace(self, normals=self.normals[rows])

    def around(self, length: float) -> Cone:
        """Return the cone with another ``top`` for the factor of the biases."""
        top = np.zeros_like(self.top)
        top[-1] = length
        return replace(self, top=top)

    def fit(self, x: Vectors) -> tuple[float, float]:
        """Return how many deviations ratios of ``x`` (m, k) are from `RATIO`, and a better `top`.

        This assumes that ``|y|^2`` is its dimension plus a share of ``s^2``, and s a share of the
        top. Far off that is not true, so a top is at most doubled or halved.
        """
        D = self.dimension - 1
        square = float((x[:, :-1].astype(np.float64) ** 2).sum(axis=1).mean())
        wanted = float(x[:, -1].mean()) / RATIO
        share = min(max((square - D) / wanted**2, -1.0), 0.9999)
        now, ratios = float(self.top[-1]), _ratios(x)
        better = min(max(math.sqrt(D / (1.0 - share)) * now / wanted, now / 2.0), now * 2.0)
        return float(ratios.mean() - RATIO) / float(ratios.std()), better

    def deviation(self, x: Vectors) -> float:
        """Return the standard deviation of ratios, of ``x`` (m, k) or of all space: the smaller."""
        radius, log = self._radii
        free, weights = self.top[-1] / radius, np.exp(log)
        mean = float(free @ weights)
        return min(float(_ratios(x).std()), math.sqrt(float((free - mean) ** 2 @ weights)))

    def log_shares(self, x: Vectors, inner: Cone) -> Floats:
        """Return the log of what each x (m, k), drawn from the distribution in ``self``, counts.

        The mean times the probability of ``self`` is the fraction of directions in ``inner``, a
        cone of more half-spaces. Given ``u = y / |y|``, the ratio ``s / |y|`` is distributed as in
        all of space, but within the interval that u leaves it in ``self``. If `RATIO` is left in
        ``inner``, the inverse of that interval's probability is an unbiased weight. With a `window`
        the weight is the part of the window that is left, and the mean is that over all its ratios.
        """
        out = np.full(len(x), -np.inf)
        if not self.biased:
            out[(x @ inner.normals.T < 0.0).all(axis=1)] = 0.0
            return out
        unit = x[:, :-1] / np.linalg.norm(x[:, :-1], axis=1, keepdims=True)
        near, far = RATIO - self.window, RATIO + self.window
        low, high = self._interval(unit)
        met = (low < far) & (high > near)
        start, end = (np.full(len(x), RATIO) for _ in range(2))
        if met.any():
            bounds = inner._interval(unit[met])
            start[met] = np.maximum(np.maximum(low[met], bounds[0]), near)
            end[met] = np.minimum(np.minimum(high[met], bounds[1]), far)
        met &= start < end if self.window else start == end
        if met.any():
            out[met] = -self._log_between(low[met], high[met])
            if self.window:
                out[met] += self._log_between(start[met], end[met])
                out[met] -= self._log_between(np.array([near]), np.array([far]))
        return out

    def _interval(self, unit: Vectors) -> tuple[Floats, Floats]:
        """Return the ends (m,) of the ratios at which each direction (m, k - 1) is in the cone."""
        slopes = self.normals[:, -1].astype(np.float64)
        low, high = np.zeros(len(unit)), np.full(len(unit), np.inf)
        for start in range(0, len(slopes), _BLOCK * 4):
            rows = slice(start, start + _BLOCK * 4)
            heights = (unit @ self.normals[rows, :-1].T).astype(np.float64)
            with np.errstate(divide="ignore", invalid="ignore"):
                bound = -heights / slopes[rows]
            up, down, flat = slopes[rows] > 0.0, slopes[rows] < 0.0, slopes[rows] == 0.0
            if up.any():
                high = np.minimum(high, bound[:, up].min(axis=1))
            if down.any():
                low = np.maximum(low, bound[:, down].max(axis=1))
            if flat.any():
                high = np.where((heights[:, flat] >= 0.0).any(axis=1), -np.inf, high)
        return low, high

    @cached_property
    def _radii(self) -> tuple[Floats, Floats]:
        """Nodes and log weights for means over the length of a normal vector, of `dimension - 1`.

        If ``s / |y|`` is to be b, which is a tail if the top is high, lengths are about
        ``top b / (1 + b^2)``, at most half the top.
        """
        D = self.dimension - 1
        middle, top = math.sqrt(D), float(self.top[-1])
        radius = np.arange(max(_FINE, middle - 9.0), middle + top / 2.0 + 9.0, _FINE)
        log = (D - 1) * np.log(radius) - radius**2 / 2.0 - (D / 2 - 1) * math.log(2.0)
        return radius, log - gammaln(D / 2) + math.log(_FINE)

    def _log_between(self, low: Floats, high: Floats) -> Floats:
        """Return the log chance (m,), in all space, that ``s / |y|`` is between two bounds."""
        radius, log = self._radii
        a, b = (np.clip(end, -1e9, 1e9)[:, None] * radius - self.top[-1] for end in (low, high))
        upper = a > 0.0  # where a tail is small, take the difference of tails
        large, small = log_ndtr(np.where(upper, -a, b)), log_ndtr(np.where(upper, -b, a))
        with np.errstate(divide="ignore"):
            log = log + large + np.log(-np.expm1(np.minimum(small - large, 0.0)))
        return np.asarray(logsumexp(log, axis=1))


def cone_of(problem: Problem, token: int) -> Cone:
    """Return the cone in which the token wins, on a ball or if lengths do not matter."""
    readout, domain = problem.readout, problem.domain
    others = np.delete(np.arange(readout.V), token)
    biased = not problem.homogeneous
    shape = (others.size + biased, readout.d + biased)
    dtype = np.float32 if math.prod(shape) >= _MANY else np.float64
    normals: Vectors = np.empty(shape, dtype=dtype)
    for start in range(0, others.size, _BLOCK):
        rows = slice(start, min(start + _BLOCK, others.size))
        a, c = problem.differences(token, others[rows])
        if domain.zero_sum:
            a = a - a.mean(axis=1, keepdims=True)
        if biased:
            a = np.column_stack([a * domain.radius, c / RATIO])
        length = np.linalg.norm(a, axis=1, keepdims=True)
        normals[rows] = a / np.where(length > 0.0, length, 1.0)
    D = readout.d - domain.zero_sum
    top = np.zeros(normals.shape[1])
    if biased:
        normals[-1], normals[-1, -1] = 0.0, -1.0
        top[-1] = RATIO * math.sqrt(D)
    return Cone(normals, D + biased, domain.zero_sum, biased, top)


def centre_within(cone: Cone, inside: Floats) -> Floats:
    """Return a centre m (k,) around which a standard normal vector is likely to be in the cone.

    ``inside`` is a point of the cone. The centre is as close to `Cone.top` as that allows: it
    minimises ``|m - top|^2 / 2 - price * sum log Phi(-n_j . m)``, and the price rises until the
    chances of leaving the half-spaces sum to little.
    """
    A = cone.normals

    def beyond(m: Floats) -> Floats:
        return np.asarray((A @ m.astype(A.dtype)).astype(np.float64))

    def objective(m: Floats, price: float) -> tuple[float, Floats]:
        slack = -beyond(m)
        log = log_ndtr(slack)
        pull = np.exp(-0.5 * slack**2 - 0.5 * math.log(2.0 * math.pi) - log)
        gradient = (m - cone.top) + price * (A.T @ pull.astype(A.dtype)).astype(np.float64)
        return 0.5 * float((m - cone.top) @ (m - cone.top)) - price * float(log.sum()), gradient

    deepest = -float(beyond(inside).max())
    far = inside * (4.0 / max(deepest, 1e-12))
    while ndtr(beyond(far)).sum() > _TAIL and np.linalg.norm(far) < 1e12:
        far = far * 1.3
    m, price = far, 1.0
    for _ in range(24):
        found = minimize(
            objective, m, (price,), "L-BFGS-B", jac=True, options={"maxiter": 60, "maxcor": 20}
        )
        m = found.x
        if ndtr(beyond(m)).sum() <= _TAIL:
            break
        price *= 3.0
    else:
        return np.asarray(far)
    return np.asarray(m if np.linalg.norm(m - cone.top) < np.linalg.norm(far - cone.top) else far)
