"""One Newton step from the origin for every token at once: the direction of a whitened row.

At ``x = 0`` all rivals weigh the same, and the log-sum-exp of a token's cone has the gradient
``mean_j a_j = mu - w_t`` and the Hessian ``Cov(W)``, which is the same for every token. One matrix
serves them all, and the step ``Cov(W)^-1 (w_t - mu)`` wins for nearly every token that can win. How
far to go along it is a program in one unknown, solved by two lines at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from geom import Array, Device, Domain, Floats, Problem, Readout, current_device

_ROWS = 16
"""The number of rows that the covariance is sampled from, times the width d."""

PRODUCT_BYTES = 1 << 27
"""Bytes of the logits that one block of tokens may take."""

_SHORTEST = 2.0**-7
"""The least share of the domain's radius that a step goes."""


@dataclass(frozen=True)
class Board:
    """A problem's rows ``W`` (V, d) on a device, and what all first steps share.

    ``mean`` (d,) is the mean row, and ``whitening`` (d, d) the inverse of the rows' covariance.
    ``reach`` is the length that counts as 1. One board is kept for each domain and device for as
    long as the readout lives, so no token pays for it.
    """

    device: Device
    W: Array
    mean: Floats
    whitening: Array
    reach: float

    @classmethod
    def of(cls, problem: Problem) -> Board:
        """Return the problem's board on the device in use."""
        where = current_device()
        boards = _boards.setdefault(problem.readout, {})
        key = problem.domain, where.name
        if key not in boards:
            rows = _rows.setdefault(problem.readout, {})
            if where.name not in rows:
                rows[where.name] = where.put(problem.readout.W)
            mean, covariance = _moments(problem)
            try:
                whitening = where.xp.linalg.inv(where.put(covariance))
            except (np.linalg.LinAlgError, RuntimeError):  # numbers that overflow
                whitening = where.put(np.eye(len(mean)))
            boards[key] = cls(where, rows[where.name], mean, whitening, _reach(problem))
        return boards[key]

    def steps(self, problem: Problem, tokens: NDArray[np.int64]) -> Floats:
        """Return directions (n, d) of length 1 for n tokens; zero for a row equal to the mean."""
        rows = problem.readout.W[tokens] - self.mean
        if problem.domain.zero_sum:
            rows -= rows.mean(axis=1, keepdims=True)
        steps = np.array(self.device.get(self.device.put(rows) @ self.whitening))
        if problem.domain.zero_sum:
            steps -= steps.mean(axis=1, keepdims=True)
        steps[~np.isfinite(steps).all(axis=1)] = 0.0
        length = np.linalg.norm(steps, axis=1, keepdims=True)
        out: Floats = np.divide(
            steps, length, out=np.zeros_like(steps), where=(length > 0.0) & (length < np.inf)
        )
        return out

    def products(self, points: Floats) -> Floats:
        """Return ``points W'``: (n, V) for points (n, d), or (V,) for one point."""
        points = np.ascontiguousarray(points)
        return self.device.get(
            self.W @ self.device.put(points)
            if points.ndim == 1
            else self.device.put(points) @ self.W.T
        )


@dataclass(frozen=True, eq=False)
class Start:
    """A token's first point: ``y`` (d,) in units of the reach, and the rivals' ``excess`` there.

    ``excess`` (V,) is minus the margins, and minus infinity at the token. ``margin`` is the least
    margin, and ``doubt`` is what rounding and the move into the domain may take from it.
    """

    board: Board
    token: int
    y: Floats
    excess: Floats
    margin: float
    doubt: float


def starts(problem: Problem, tokens: Sequence[int]) -> Iterator[Start]:
    """Yield the tokens' first points, in order; a block of tokens shares one product."""
    board = Board.of(problem)
    size = max(1, PRODUCT_BYTES // (8 * problem.readout.V))
    for start in range(0, len(tokens), size):
        block = np.asarray(tokens[start : start + size], dtype=np.int64)
        steps = board.steps(problem, block)
        for token, step, logits in zip(
            block.tolist(), steps, board.products(steps * board.reach), strict=True
        ):
            yield _start(problem, board, token, step, logits)


def _start(problem: Problem, board: Board, token: int, step: Floats, logits: Floats) -> Start:
    """Build a start from the direction and the logits (V,) that it gains over the biases."""
    own = float(logits[token])
    gains = logits - own
    if problem.homogeneous:
        gains[token] = -math.inf
        length, excess = 1.0, gains
    else:
        biases = problem.readout.b - problem.readout.b[token]
        biases[token] = -math.inf
        length, excess = _lowest(gains, biases)
    most = float(excess.max())
    doubt = 1e-8 * (abs(own) + abs(most) + abs(float(problem.readout.b[token])))
    return Start(board, token, length * step, excess, -most, doubt)


def _lowest(gains: Floats, biases: Floats) -> tuple[float, Floats]:
    """Find where the highest of the lines ``length * gains + biases`` is lowest.

    Returns the length and all lines there. Their maximum is convex in the length. Its least value
    between two lengths lies above the crossing of the lines that are highest at them, one falling
    and one rising; the line that is highest at the crossing replaces one of the two (Kelley's
    cutting planes).
    """
    best, length, excess = math.inf, 1.0, gains + biases
    falling, rising, at, lines = -1, -1, 1.0, excess
    for _ in range(12):
        top = int(lines.argmax())
        high, slope = float(lines[top]), float(gains[top])
        if high < best:
            best, length, excess = high, at, lines
        if slope <= 0.0:
            falling, done = top, at == 1.0
        else:
            rising, done = top, at == _SHORTEST
        if done or not math.isfinite(high):
            break
        if falling < 0:
            at = _SHORTEST
        else:
            at = float((biases[falling] - biases[rising]) / (gains[rising] - gains[falling]))
            floor = float(at * gains[falling] + biases[falling])
            if not (_SHORTEST < at < 1.0 and best - floor > 1e-3 * abs(best)):
                break
        lines = at * gains + biases
    return length, excess


def _reach(problem: Problem) -> float:
    """Return the length that counts as 1: the radius, or where biases and rows weigh the same."""
    readout, domain = problem.readout, problem.domain
    if domain.bounded:
        return domain.radius
    if problem.homogeneous:
        return 1.0
    spread = float(np.median(readout.row_norms))
    return float(np.ptp(readout.b)) / spread if spread > 0.0 else 1.0


def _moments(problem: Problem) -> tuple[Floats, Floats]:
    """Return the mean row, and a sampled covariance that is kept from being singular."""
    W = problem.readout.W
    V, d = W.shape
    mean = W.mean(axis=0)
    picked = np.random.default_rng(0).permutation(V)[: _ROWS * d]
    rows = W[np.sort(picked)] - mean
    if problem.domain.zero_sum:
        rows -= rows.mean(axis=1, keepdims=True)
    covariance = rows.T @ rows / len(rows)
    least = 1e-9 * float(np.trace(covariance)) / d
    covariance[np.diag_indices(d)] += least if least > 0.0 else 1.0
    return mean, covariance


_boards: WeakKeyDictionary[Readout, dict[tuple[Domain, str], Board]] = WeakKeyDictionary()
_rows: WeakKeyDictionary[Readout, dict[str, Array]] = WeakKeyDictionary()
