"""``hull-vertex``: flags tokens that no quick witness shows to be speakable.

Without a bias, if the domain extends in every direction, a token is speakable exactly when its row
is a vertex of the hull of all rows. Most vertices are easy to recognise, and three attempts, in
order of cost, pick them out: the token's own direction; one Newton step from the centre, which all
tokens share (`geom.shared_directions`); and reflections from there. A reflection
takes ``x`` across the hyperplane on which the token ties with a mean of the rivals that beat it at
``x``, each weighted by how far it is ahead. It uses the metric of the Newton step, and all tokens
that are left are reflected together, so that a round is two blocked products. A token that is not
flagged carries its witness, which geom checks.

Sources: A. Grivas, N. Bogoychev and A. Lopez, Low-rank softmax can have unargmaxable classes in
theory but rarely in practice, ACL 2022, which reflects across the plane of the winner alone; K.
Yang and K. G. Murty, New iterative methods for linear inequalities, J. Optim. Theory Appl. 72,
1992, for the mean of all violated inequalities, which wins far more tokens near the border.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta

from geom import (
    Array,
    Candidate,
    Detector,
    Domain,
    Flags,
    Floats,
    Ids,
    Problem,
    Readout,
    WitnessedToken,
    hookimpl,
    track_progress,
    whitening,
)
from geom.proofs import prove_own_directions
from geom_plugins.solvers.centroid_step import Board, starts

BLOCK_BYTES = 64 * 2**20
"""The memory for the logits of one block of points; a round holds a few arrays of that size."""

_QUIET = 10
"""The rounds in a row without a win in a block after which its remaining tokens are flagged."""

_WITNESSED = 512
"""The bytes that a token found speakable takes, apart from the numbers of its points."""


@dataclass(frozen=True)
class HullVertexOptions:
    """How long to search for a witness."""

    rounds: Annotated[
        int, Meta(ge=0, description="rounds of reflections for tokens that lose at first")
    ] = 40


def detect(
    readout: Readout, domain: Domain, options: HullVertexOptions
) -> Iterator[Candidate | WitnessedToken]:
    """Yield every token of the vocabulary once: with the witness found, or else flagged."""
    domain.refuse_frame("hull-vertex", f"use self-argmax, or name the {readout.noun.plural}")
    problem = Problem(readout, domain)
    if readout.V == 1:  # no rival, and no direction either
        yield WitnessedToken(0, np.zeros(readout.d))
        return
    proven = prove_own_directions(problem, np.arange(readout.V)) > 0.0
    yield from map(WitnessedToken, np.flatnonzero(proven).tolist())
    height = max(1, BLOCK_BYTES // (8 * readout.V))
    for tokens in _blocks(np.flatnonzero(~proven), height):
        points, won = search(problem, tokens, options.rounds)
        for token, x, shown in zip(tokens.tolist(), points, won, strict=True):
            yield WitnessedToken(token, domain.fit(x)) if shown else Candidate(token)


def search(problem: Problem, tokens: Ids, rounds: int) -> tuple[Floats, Flags]:
    """Return points (n, d) near the domain, and whether (n,) the n tokens win there in float64.

    The first points are those of the shared Newton step; up to ``rounds`` reflections follow.
    """
    with np.errstate(all="ignore"):  # a point that is not finite wins nothing
        first = [
            (start.y, start.margin > start.doubt) for start in starts(problem, tokens.tolist())
        ]
        y, won = np.array([y for y, _ in first]), np.array([won for _, won in first])
        _reflect(problem, tokens, y, won, rounds)
        x = y * Board.of(problem).reach
        won &= np.isfinite(x).all(axis=1)
    return x, won


def _reflect(problem: Problem, tokens: Ids, y: Floats, won: Flags, rounds: int) -> None:
    """Reflect the points ``y`` (n, d) not yet won, up to ``rounds`` times; sets both in place."""
    if won.all() or not rounds:
        return
    mirror = _Mirror.of(problem)
    on = mirror.board.device
    at = np.flatnonzero(~won)
    points, quiet = on.put(y[at]), 0
    for _ in range(rounds + 1):  # the first turn only finds the rivals that are ahead
        shown, moved = mirror.turn(tokens[at], points)
        y[at[shown]] = on.get(points)[shown]
        won[at[shown]] = True
        quiet = 0 if shown.any() else quiet + 1
        if quiet > _QUIET or shown.all():
            return
        at, points = at[~shown], moved[on.put(np.flatnonzero(~shown))]


@dataclass(frozen=True)
class _Mirror:
    """A problem's rows, biases ``b`` (V,) and metric on a device, and the longest row's length."""

    problem: Problem
    board: Board
    b: Array
    metric: Array
    longest: float

    @classmethod
    def of(cls, problem: Problem) -> _Mirror:
        board, longest = Board.of(problem), float(problem.readout.row_norms.max())
        b, metric = board.device.put(problem.readout.b), board.device.put(whitening(problem))
        return cls(problem, board, b, metric, longest)

    def turn(self, tokens: Ids, y: Array) -> tuple[Flags, Array]:
        """Return whether (n,) the tokens win at ``y`` (n, d), and the reflections of ``y``.

        A token wins if its margin is well above the doubt: the most that rounding, and moving the
        point into the domain, may take from it. A reflection counts rivals that are behind by less
        than twice that doubt as ahead.
        """
        board, xp = self.board, self.board.device.xp
        at, ids = board.device.put(np.arange(len(tokens))), board.device.put(tokens)
        gained = board.logits(y) * board.reach
        own, bias = gained[at, ids], self.b[ids]
        excess = gained - own[:, None] + (self.b[None, :] - bias[:, None])
        excess[at, ids] = -np.inf
        most = xp.max(excess, axis=1)
        length = xp.linalg.vector_norm(y, axis=1) * board.reach
        doubt = 1e-8 * (xp.abs(own) + xp.abs(most) + xp.abs(bias)) + 1e-12 * self.longest * length
        shown = board.device.get(most < -doubt)
        excess = xp.clip(excess + 2.0 * doubt[:, None], 0.0, None)
        return shown, self._reflected(ids, y, excess)

    def _reflected(self, ids: Array, y: Array, excess: Array) -> Array:
        """Reflect the points across the planes of the rivals' means, weighted by their excess."""
        board, xp = self.board, self.board.device.xp
        weight = excess / xp.sum(excess, axis=1)[:, None]
        above = xp.sum(weight * excess, axis=1)
        normal = (weight @ board.rows - board.rows[ids]) * board.reach
        normal = self._centred(normal)
        step = self._centred(normal @ self.metric)
        step = step * (2.0 * above / xp.sum(normal * step, axis=1))[:, None]
        found = xp.all(xp.isfinite(step), axis=1)
        return self._inside(xp.where(found[:, None], y - step, y))

    def _centred(self, rows: Array) -> Array:
        if not self.problem.domain.zero_sum:
            return rows
        return rows - self.board.device.xp.mean(rows, axis=1)[:, None]

    def _inside(self, y: Array) -> Array:
        """Move the points into the domain, or to its size if only their directions count."""
        xp, domain = self.board.device.xp, self.problem.domain
        if domain.shape == "box":
            size = xp.max(xp.abs(y), axis=1)[:, None]
        else:
            size = xp.linalg.vector_norm(y, axis=1)[:, None]
        if self.problem.homogeneous:
            return xp.where(size > 0.0, y / size, y)
        if domain.shape == "box":
            return xp.clip(y, -1.0, 1.0)
        return xp.where(size > 1.0, y / size, y) if domain.bounded else y


def _blocks(tokens: Ids, height: int) -> Iterator[Ids]:
    """Split the tokens into blocks of that height, with progress."""
    blocks = [tokens[start : start + height] for start in range(0, len(tokens), height)]
    return track_progress(blocks, "reflections", len(tokens), amount=len)


def _memory(readout: Readout, options: HullVertexOptions) -> int:
    """Return the bytes needed besides the readout: bulk proofs, a round's blocks, and the points.

    Every token may come with a point, of which the run also keeps a checked copy.
    """
    V, d = readout.rows.shape
    kept = V * (16 * d + _WITNESSED)
    blocks = 6 * max(min(BLOCK_BYTES, 8 * V * V), 8 * V)
    return int(4 * V * (d + 3) + blocks + kept + 40 * d * d)


@hookimpl
def geom_detectors() -> Iterator[Detector[HullVertexOptions]]:
    yield Detector(
        "hull-vertex",
        "tokens that no quick witness shows to be speakable",
        detect,
        HullVertexOptions,
        devices=("cpu", "torch", "cuda"),
        memory=_memory,
    )
