"""The points of a hull at which a token wins, found by one product of all points and all rows."""

from __future__ import annotations

import numpy as np

from geom.exact.products import POINTS
from geom.exact.single import slices
from geom.model.problem import Problem
from geom.numbers.arrays import Ids
from geom.progress import track_progress

BYTES = 1 << 27
"""The bytes of an array of points or of logits that are looked at together."""


def at_once(width: int) -> int:
    """Return how many rows of so many float64 are looked at together."""
    return min(POINTS, max(1, BYTES // (8 * width)))


def winning_corners(problem: Problem) -> Ids:
    """Return, for every token (V,), the point of a hull where it is highest by most; -1 for none.

    This is one float64 product of all points and all rows, which only suggests.
    """
    frame, readout = problem.domain.frame, problem.readout
    assert frame is not None
    out, most = np.full(readout.V, -1, dtype=np.int64), np.full(readout.V, -np.inf)
    total = frame.coordinates
    blocks = [np.arange(part.start, part.stop) for part in slices(total, at_once(readout.V))]
    for part in track_progress(blocks, "points of the hull", total, "points", amount=len):
        with np.errstate(over="ignore", invalid="ignore"):
            logits = readout.logits(frame.axes[part])
            first = np.argmax(logits, axis=1)
            each = np.arange(len(part))
            highest = logits[each, first]
            logits[each, first] = -np.inf
            lead = highest - logits.max(axis=1)
        for token, place, by in zip(first.tolist(), part.tolist(), lead.tolist(), strict=True):
            if by > most[token]:
                out[token], most[token] = place, by
    return out


def memory(problem: Problem) -> int:
    """Return the bytes that `winning_corners` and the points it finds take, a block of each."""
    V, k = problem.readout.V, problem.domain.coordinates
    return 8 * (V * at_once(V) + k * at_once(k))
