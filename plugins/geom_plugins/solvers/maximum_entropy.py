"""A point or weights of maximum entropy for a token, by Newton's method.

First every token of a batch tries one shared Newton step (`centroid_step`), at the length that
suits its bias. Most speakable tokens win there, for the price of one matrix product. The others
follow the central path of their program (`path_search`) on a working set of a few thousand rivals:
those that beat the token at that first point, and those that beat the points found later, up to a
limit that bounds the memory. Each step costs one symmetric product and one factorisation, on either
side of the border. The search ends when a point, moved into the domain, wins against *all* rivals,
or when the weights bound the margin below zero. On the hull of points the unknowns are the shares
of a mixture, and the path is that of `mixtures`.

The products and factorisations run on the device that geom asks for. The results are suggestions,
and geom checks them on the processor: a device that computes badly, or in too few digits, loses
answers but makes none wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

import numpy as np
from msgspec import Meta

from geom import Array, Finding, Floats, Ids, Problem, Readout, Weights, judge
from geom_plugins.solvers.central_path import CentralPath
from geom_plugins.solvers.centroid_step import PRODUCT_BYTES, Start, starts
from geom_plugins.solvers.mixtures import Board, smoothed
from geom_plugins.solvers.path_search import START, PathSearch, Shape

BATCH = 256
"""How many tokens share the product of their first step."""

_FEW = 64
"""How many rivals' mean gives the first bound."""

_BLOCKS = 32 * 2**20
"""Bytes of the rows that a product makes float64 of, a block at a time."""


@dataclass(frozen=True)
class Effort:
    """How far the search goes."""

    steps: Annotated[int, Meta(ge=1, description="Newton steps before giving up")] = 80
    largest: Annotated[
        bool, Meta(description="go on to the largest margin, not only to its sign")
    ] = False
    gap: Annotated[
        float, Meta(gt=0, description="with largest: relative gap of the bounds to stop at")
    ] = 1e-3
    enough: Annotated[
        float | None, Meta(description="with largest: margin to stop above, in logits")
    ] = None


def search_many(
    problem: Problem, tokens: Sequence[int], priors: Sequence[Finding], effort: Effort
) -> Iterator[Finding]:
    """Yield each token's best point and best weights, in order, as soon as they are known."""
    if effort.enough is not None:
        effort = replace(effort, enough=math.ldexp(effort.enough, -problem.exponent))
    problem = problem.unit
    if problem.readout.V == 1:
        alone = problem.domain.fit(np.zeros(problem.domain.coordinates))
        yield from (Finding(x=alone) for _ in tokens)
        return
    if problem.domain.shape == "simplex":
        yield from map(partial(_on_a_hull, problem, effort), tokens, priors)
        return
    todo = starts(problem, tokens)
    while True:
        with np.errstate(over="ignore", invalid="ignore"):  # numbers that overflow end a search
            start = next(todo, None)
            if start is None:
                return
            finding = _certify(problem, start, effort)
        yield finding


def _on_a_hull(problem: Problem, effort: Effort, token: int, prior: Finding) -> Finding:
    """Search for one token on the hull of points (`geom_plugins.solvers.mixtures`)."""
    board = Board(problem, token, largest=effort.largest, gap=effort.gap, enough=effort.enough)
    board.start(prior)
    return board.finding(None if board.settled() else smoothed(board, 4 * effort.steps))


def search(problem: Problem, token: int, prior: Finding, effort: Effort) -> Finding:
    """Search for one token as `search_many` does."""
    return next(iter(search_many(problem, [token], [prior], effort)))


def _certify(problem: Problem, start: Start, effort: Effort) -> Finding:
    """Search for one token, starting from its first point."""
    evidence = _Evidence(problem, start, effort)
    rivals = problem.readout.V - 1
    evidence.bound(_largest(start.excess, min(_FEW, rivals)))
    if evidence.settled():
        return evidence.finding(None)
    twin = problem.readout.twins(start.token)
    if twin:
        return Finding(evidence.point, Weights(np.array(twin[:1]), np.ones(1)))
    search = evidence.search(_largest(start.excess, min(START * problem.readout.d, rivals)))
    notes = {
        "settled": None,
        "stopped": "Newton's method could go no further",
        "unfinished": f"no answer in {effort.steps} steps",
    }
    return evidence.finding(notes[search.run(effort.steps)])


def _largest(values: Floats, count: int) -> Ids:
    """Return the places of the largest values, in no particular order."""
    return np.argpartition(values, values.size - count)[-count:]


class _Evidence:
    """One token's program, and the best point and weights found so far.

    ``x = reach * y``, and rows are divided by ``unit``, a typical row length. The program's arrays
    are on the board's device; points, margins and weights come back from it.
    """

    def __init__(self, problem: Problem, start: Start, effort: Effort) -> None:
        self._problem, self._token, self._effort = problem, start.token, effort
        self._board, domain = start.board, problem.domain
        self._shape: Shape = "ball"
        if domain.shape == "box" and (effort.largest or not problem.homogeneous):
            self._shape = "box"
        elif not domain.bounded and not problem.homogeneous:
            self._shape = "all"
        self._exact = problem.homogeneous or self._shape == "all"  # only r = 0 proves anything
        self._unit = 1.0
        self.point: Floats | None = None
        self._margin, self._bound = -math.inf, math.inf
        self._weights: Weights | None = None
        self._vanished = False
        if start.margin > start.doubt:
            self.point, self._margin = self._placed(start.y), start.margin
        else:
            self._take(start.y)

    def bound(self, ids: Ids) -> None:
        """Put equal weights on these rivals, for a first bound."""
        (A, c), xp = self.rows(ids), self._board.device.xp
        lam = np.full(ids.size, 1.0 / ids.size)
        self._keep_weights(xp.mean(A, axis=0), float(xp.mean(c)), ids, lam)

    def search(self, ids: Ids) -> PathSearch:
        """Return the search that starts with these rivals."""
        (A, c), device = self.rows(ids), self._board.device
        lengths = device.get(device.xp.linalg.vector_norm(A, axis=1))
        self._unit = float(np.median(lengths[lengths > 0.0])) if lengths.any() else 1.0
        least = A.shape[1] // 8 if self._effort.largest else 1
        most = _most(self._problem.readout)
        A /= self._unit
        c /= self._unit
        return PathSearch(self, ids, A, c, self._shape, device.xp, least, most)

    def rows(self, ids: Ids) -> tuple[Array, Array]:
        """Return the rivals' rows, as ``y`` meets them, and their biases, over the unit."""
        device, b = self._board.device, self._problem.readout.b
        A = self._board.rows[device.put(ids)] - self._board.rows[self._token]
        if self._problem.domain.zero_sum:
            A -= device.xp.mean(A, axis=1, keepdims=True)
        A *= self._board.reach
        A /= self._unit
        return A, device.put((b[ids] - b[self._token]) / self._unit)

    def weigh(self, path: CentralPath, ids: Ids, lam: Array, *, balanced: bool) -> None:
        """Keep the weights if they bound the margin best; see whether their sum vanishes.

        Balanced weights prove something if the biases leave them more than the correction takes.
        """
        gain = float(lam @ path.c)
        if balanced and not self._problem.homogeneous:
            size = float(lam @ self._board.device.xp.abs(path.c))
            if not gain > 1e-6 * size:
                return
        self._keep_weights((lam @ path.A) * self._unit, gain * self._unit, ids, lam)

    def meet(self, y: Array, highest: float) -> Floats | None:
        """Try a point that wins in the working set; a rival that cuts its margin by much counts."""
        if highest >= 0.0 or self.settled():
            return None
        margins = self._take(self._board.device.get(y))
        if self.settled():
            return None
        share = 1.0 if self._effort.largest else 0.3
        return -share * highest * self._unit - margins

    def settled(self) -> bool:
        """Return whether the gap is small, or the margin's sign known as far as float64 tells."""
        if self._effort.largest and self._shape != "all" and not self._vanished:
            if self._effort.enough is not None and self._margin > self._effort.enough:
                return True
            known = math.isfinite(self._bound)
            return known and self._bound - self._margin <= self._effort.gap * abs(self._bound)
        return self._margin > 0.0 or self._vanished or (not self._exact and self._bound < 0.0)

    def finding(self, note: str | None) -> Finding:
        """Return the best point and weights.

        A token on a face of the hull has a largest margin of zero, which no step passes. There the
        multipliers of the face stand far above the others, and an exact proof needs only them.
        """
        whole = Finding(self.point, self._weights, note)
        if note is None or self._weights is None:
            return whole
        if judge(self._problem, self._token, whole).decided:
            return replace(whole, note=None)
        ids, lam = self._weights.indices, self._weights.values
        face = lam > 1e-7 * lam.max()
        return Finding(self.point, Weights(ids[face], lam[face]), note)

    def _take(self, y: Floats) -> Floats:
        """Keep the point, moved into the domain, if it is the best; return its margins (V,)."""
        x = self._placed(y)
        logits = self._board.products(x) + self._problem.readout.b
        margins: Floats = logits[self._token] - logits
        margins[self._token] = math.inf
        margin = float(margins.min())
        if margin > self._margin:
            self.point, self._margin = x, margin
        return margins

    def _placed(self, y: Floats) -> Floats:
        """Return the domain's point for ``y``, as far out as possible if lengths do not matter."""
        domain = self._problem.domain
        if self._problem.homogeneous and y.any():
            y = y / float(np.abs(y).max() if domain.shape == "box" else np.linalg.norm(y))
        return domain.fit(self._board.reach * y)

    def _keep_weights(self, r: Array, gain: float, ids: Ids, lam: Array) -> None:
        xp = self._board.device.xp
        size = float(xp.sum(xp.abs(r)) if self._shape == "box" else xp.linalg.vector_norm(r))
        bound = size if self._exact else size - gain
        if bound < self._bound:
            values = lam if isinstance(lam, np.ndarray) else self._board.device.get(lam)
            self._bound, self._weights = bound, Weights(ids, values)
            self._vanished = self._exact and size <= 1e-10 * self._unit / ids.size and gain >= 0.0


def _most(readout: Readout) -> int:
    """Return how many rivals a working set may have; on real models few join those at the start."""
    return min(readout.V, 2 * START * readout.d + 256)


def memory(readout: Readout) -> int:
    """Return the bytes that a search needs beyond the readout.

    These are the products of first steps, a token's margins, and a working set: as it grows, it is
    held twice in float64 and once in float32, besides five matrices (d, d).
    """
    V, d = readout.rows.shape
    products = 2 * min(PRODUCT_BYTES, 8 * V * BATCH) + 80 * V + min(_BLOCKS, 32 * V * d)
    return int(products + 4 * d * (5 * _most(readout) + 10 * d))
