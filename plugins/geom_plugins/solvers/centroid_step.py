"""First points for many tokens at once: along the shared Newton step, as far as suits the bias.

The directions are those of `geom.shared_directions`, which win for nearly every token that can win.
How far to go along one is a program in one unknown, solved by two lines at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from geom import Array, Device, Floats, Problem, Rows, current_device, shared_directions

PRODUCT_BYTES = 1 << 27
"""Bytes of the logits that one block of tokens may take."""

_SHORTEST = 2.0**-7
"""The least share of the domain's radius that a step goes."""

_PUT = 1 << 20
"""How many numbers go to a device at a time."""


@dataclass(frozen=True)
class Board:
    """A problem's rows on the device in use.

    ``rows`` are those of the readout on the processor, and a matrix (V, d) of float64 elsewhere;
    either way, ``rows[ids]`` and ``lam @ rows`` are arrays of the device. ``reach`` is the length
    that counts as 1.
    """

    device: Device
    rows: Array
    reach: float

    @classmethod
    def of(cls, problem: Problem) -> Board:
        """Return the problem's board; the matrix on a device is made once for the readout."""
        where, rows = current_device(), problem.readout.rows
        return cls(where, rows if where.name == "cpu" else _matrix(where, rows), _reach(problem))

    def logits(self, points: Array) -> Array:
        """Return ``points W'`` on the device: (n, V) for points (n, d), or (V,) for one point."""
        if isinstance(self.rows, Rows):
            return self.rows.logits(points)
        return self.rows @ points if points.ndim == 1 else points @ self.rows.T

    def products(self, points: Floats) -> Floats:
        """Return ``points W'`` as NumPy's array: (n, V) for points (n, d), or (V,) for one."""
        return self.device.get(self.logits(self.device.put(np.ascontiguousarray(points))))


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
        steps = shared_directions(problem, block)
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


def _matrix(where: Device, rows: Rows) -> Array:
    """Return the rows as one matrix (V, d) of float64 on a device, kept for as long as they live.

    They go there in blocks, so that they need not be in memory as float64 too.
    """
    kept = _matrices.setdefault(rows, {})
    if where.name not in kept:
        first = where.put(rows[:1])
        out = where.xp.empty(rows.shape, dtype=first.dtype, device=first.device)
        for part, block in rows.blocks(_PUT):
            out[part] = where.put(block)
        kept[where.name] = out
    return kept[where.name]


_matrices: WeakKeyDictionary[Rows, dict[str, Array]] = WeakKeyDictionary()
