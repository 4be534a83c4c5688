"""``maxent``: a point or weights of maximum entropy, by Newton's method.

First every token of a batch tries one shared Newton step (`centroid_step`), at the length that
suits its bias; most speakable tokens win there, for the price of one matrix product. The others go
along the central path of their program (`central_path`) on a working set of a few thousand rivals:
those that beat the token at that first point, and those that beat the points met later. Each step
costs one symmetric product and one factorisation, whichever side of the border the token is on. The
search ends when a point, pulled into the domain, wins against *all* rivals, or when the weights
bound the margin below zero; what it says is a suggestion, and geom checks it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from geom import Certifier, Finding, Problem, Weights, hookimpl, judge
from geom_plugins.certifiers.central_path import CentralPath
from geom_plugins.certifiers.centroid_step import centroid_steps

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]

BATCH = 8
"""Tokens whose first step shares a product; a kill loses no more than these."""

_FEW = 64
"""Rivals whose mean gives the first bound."""

_LENGTHS = 2.0 ** -np.arange(8.0)
"""Shares of the domain's radius at which the first step is tried."""


@dataclass(frozen=True)
class MaxentOptions:
    """How far the search goes."""

    start: Annotated[int, Meta(ge=1, description="rivals to start with, times the width d")] = 3
    add: Annotated[float, Meta(gt=0, description="violated rivals to add a time, times d")] = 0.5
    steps: Annotated[int, Meta(ge=1, description="Newton steps before giving up")] = 80
    largest: Annotated[
        bool, Meta(description="go on to the largest margin, not only to its sign")
    ] = False
    gap: Annotated[
        float, Meta(gt=0, description="with largest: relative gap of the bounds to stop at")
    ] = 1e-3


def certify_many(
    problem: Problem, tokens: Sequence[int], priors: Sequence[Finding], options: MaxentOptions
) -> list[Finding]:
    """The best point and the best weights for each token, in order."""
    if problem.readout.V == 1:
        return [Finding(x=np.zeros(problem.readout.d)) for _ in tokens]
    ids = np.asarray(tokens, dtype=np.int64)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite ends a search
        steps = centroid_steps(problem, ids) * _reach(problem)
        logits = problem.readout.W @ steps.T
        return [
            _certify(problem, token, step, gained, options)
            for token, step, gained in zip(tokens, steps, logits.T, strict=True)
        ]


def certify(problem: Problem, token: int, prior: Finding, options: MaxentOptions) -> Finding:
    """One token of `certify_many`."""
    return certify_many(problem, [token], [prior], options)[0]


def _certify(
    problem: Problem, token: int, step: Floats, gained: Floats, options: MaxentOptions
) -> Finding:
    """One token, from its first step and the logits (V,) that this gains over the biases."""
    length, beaten = _best_length(problem, token, gained)
    search = _Search(problem, token, options)
    search.take(length * step / search.reach)
    beaten[token] = -math.inf
    rivals = problem.readout.V - 1
    search.bound(_largest(beaten, min(_FEW, rivals)))
    if search.settled():
        return search.finding(None)
    twin = problem.readout.twins(token)
    if twin:
        return Finding(search.point, Weights(np.array(twin[:1]), np.ones(1)))
    search.begin(_largest(beaten, min(options.start * problem.readout.d, rivals)))
    for _ in range(options.steps):
        search.look()
        if search.settled():
            return search.finding(None)
        if not search.step():
            return search.finding("Newton's method came to an end")
    return search.finding(f"no answer in {options.steps} steps")


def _largest(values: Floats, count: int) -> Ids:
    """The places of the largest values, in no order."""
    return np.argpartition(-values, count - 1)[:count]


def _reach(problem: Problem) -> float:
    """The length that counts as 1: the domain's radius, or where biases and rows are alike."""
    readout, domain = problem.readout, problem.domain
    if domain.bounded:
        return domain.radius
    if problem.homogeneous:
        return 1.0
    spread = float(np.median(readout.row_norms))
    return float(np.ptp(readout.b)) / spread if spread > 0.0 else 1.0


def _best_length(problem: Problem, token: int, gained: Floats) -> tuple[float, Floats]:
    """The length of the first step with the best margin, and each rival's excess (V,) there."""
    gains, biases = gained - gained[token], problem.readout.b - problem.readout.b[token]
    best, found, excess = -math.inf, 1.0, gains
    for length in _LENGTHS[:1] if problem.homogeneous else _LENGTHS:
        over = length * gains + biases
        over[token] = -math.inf
        margin = -float(over.max())
        if margin > best:
            best, found, excess = margin, float(length), over
    return found, excess


class _Search:
    """One token's program, and the best point and weights met so far.

    ``x = reach * y``, and rows are divided by ``unit``, a typical length of them.
    """

    def __init__(self, problem: Problem, token: int, options: MaxentOptions) -> None:
        self._problem, self._token, self._options = problem, token, options
        domain = problem.domain
        self.reach = _reach(problem)
        self._box = domain.shape == "box" and (options.largest or not problem.homogeneous)
        self._free = not domain.bounded and not problem.homogeneous
        self._exact = problem.homogeneous or self._free  # only r = 0 proves anything
        self._unit = 1.0
        self._ids = np.zeros(0, dtype=np.int64)
        self._known = np.zeros(problem.readout.V, dtype=bool)
        self._known[token] = True
        self.point: Floats | None = None
        self._margin, self._bound = -math.inf, math.inf
        self._weights: Weights | None = None
        self._path: CentralPath | None = None
        self._vanished = False

    def begin(self, ids: Ids) -> None:
        """The central path on these rivals."""
        A, c = self._rows(ids)
        lengths = np.linalg.norm(A, axis=1)
        self._unit = float(np.median(lengths[lengths > 0.0])) if lengths.any() else 1.0
        self._path = CentralPath(
            A / self._unit,
            c / self._unit,
            box=self._box,
            ball=not self._box and not self._free,
            price=1e-12 if self._box else 1e-2,
        )
        self._keep(ids)

    def bound(self, ids: Ids) -> None:
        """Equal weights on these rivals, for a first bound."""
        A, c = self._rows(ids)
        self._keep_weights(
            A.mean(axis=0), float(c.mean()), Weights(ids, np.full(ids.size, 1.0 / ids.size))
        )

    def look(self) -> None:
        """Weigh the path's weights and point; take in the rivals that its point overlooked."""
        path = self._path
        assert path is not None
        self._take_weights(path)
        y = self._inside(path.y)
        excess = float((path.A @ y + path.c).max())
        if excess >= 0.0:
            return
        margins = self.take(y)
        if self.settled():
            return
        margins[self._known] = math.inf
        most = max(1, int(self._options.add * self._problem.readout.d))
        worst = np.argsort(margins)[:most]
        share = 1.0 if self._options.largest else 0.3  # what lowers the margin a good deal
        short = -share * excess * self._unit
        ids = worst[margins[worst] < short]
        if ids.size:
            A, c = self._rows(ids)
            path.add(A / self._unit, c / self._unit)
            self._keep(ids)

    def step(self) -> bool:
        """One Newton step; without a ball to fit, the price on length follows the path down."""
        path = self._path
        assert path is not None
        if self._free:
            path.price = max(min(0.2 * path.price, 0.05 * path.gap), 1e-16)
        return path.step()

    def settled(self) -> bool:
        """Whether the sign of the margin is known as far as float64 tells, or the gap is small."""
        if self._options.largest and not self._free and not self._vanished:
            known = math.isfinite(self._bound)
            return known and self._bound - self._margin <= self._options.gap * abs(self._bound)
        return self._margin > 0.0 or self._vanished or (not self._exact and self._bound < 0.0)

    def take(self, y: Floats) -> Floats:
        """Keep the point, put into the domain, if it is the best; its margins (V,)."""
        domain = self._problem.domain
        if self._problem.homogeneous and y.any():
            y = y / float(np.abs(y).max() if domain.shape == "box" else np.linalg.norm(y))
        x = domain.fit(self.reach * y)
        margins = self._problem.margins(self._token, x)
        margin = float(margins.min())
        if margin > self._margin:
            self.point, self._margin = x, margin
        return margins

    def finding(self, note: str | None) -> Finding:
        """The best point and weights.

        A token on a face of the hull has a largest margin of zero, which no step passes. There the
        multipliers of the face stand far above the others, and alone are what an exact proof needs.
        """
        whole = Finding(self.point, self._weights, note)
        if note is None or self._weights is None:
            return whole
        if judge(self._problem, self._token, whole).decided:
            return replace(whole, note=None)
        ids, lam = self._weights.indices, self._weights.values
        face = lam > 1e-7 * lam.max()
        return Finding(self.point, Weights(ids[face], lam[face]), note)

    def _rows(self, ids: Ids) -> tuple[Floats, Floats]:
        A, c = self._problem.differences(self._token, ids)
        if self._problem.domain.zero_sum:
            A -= A.mean(axis=1, keepdims=True)
        return A * self.reach, c

    def _keep(self, ids: Ids) -> None:
        self._ids = np.append(self._ids, ids)
        self._known[ids] = True

    def _inside(self, y: Floats) -> Floats:
        """The point, no longer than the ball allows."""
        if self._box or self._free:
            return y
        return y / max(1.0, float(np.linalg.norm(y)))

    def _take_weights(self, path: CentralPath) -> None:
        """Keep the weights if they bound the margin best; see whether their sum vanishes."""
        lam = path.weights
        self._keep_weights(
            path.residual * self._unit, float(lam @ path.c) * self._unit, Weights(self._ids, lam)
        )

    def _keep_weights(self, r: Floats, gain: float, weights: Weights) -> None:
        size = float(np.abs(r).sum()) if self._box else float(np.linalg.norm(r))
        bound = size if self._exact else size - gain
        if bound < self._bound:
            self._bound, self._weights = bound, weights
            tiny = 1e-10 * self._unit / weights.indices.size
            self._vanished = self._exact and size <= tiny and gain >= 0.0


@hookimpl
def geom_certifiers() -> Iterator[Certifier[MaxentOptions]]:
    """The hook."""
    yield Certifier(
        "maxent",
        "points and weights of maximum entropy, by Newton's method",
        certify,
        MaxentOptions,
        certify_many=certify_many,
        batch=BATCH,
    )
