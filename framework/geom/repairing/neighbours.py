"""How far rows are from the nearest other one."""

from __future__ import annotations

import numpy as np

from geom.model.readout import Readout
from geom.numbers.arrays import Floats, Ids

_FEW = 8
"""How many rows that look nearest are measured by their differences: products lose small ones."""


def nearest_distances(readout: Readout, ids: Ids) -> Floats:
    """Return the distances (n,) from some rows to the nearest other one, in float64."""
    if readout.V == 1:
        return np.full(ids.size, np.inf)
    rows = readout.rows[ids] - readout.rows.mean
    squares = np.einsum("ij,ij->i", rows, rows)
    near = np.full((ids.size, 0), 0, dtype=np.int64)
    score = np.full((ids.size, 0), 0.0)
    for part, block in readout.rows.blocks():
        block = block - readout.rows.mean
        apart = squares[:, None] + np.einsum("ij,ij->i", block, block) - 2.0 * rows @ block.T
        own = np.flatnonzero((ids >= part.start) & (ids < part.start + len(block)))
        apart[own, ids[own] - part.start] = np.inf
        found = np.arange(part.start, part.start + len(block))
        near = np.hstack([near, np.broadcast_to(found, apart.shape)])
        score = np.hstack([score, apart])
        order = np.argsort(score, axis=1, kind="stable")[:, :_FEW]
        near, score = np.take_along_axis(near, order, 1), np.take_along_axis(score, order, 1)
    out = np.empty(ids.size)
    for place, token in enumerate(ids.tolist()):
        others = near[place][near[place] != token]
        gaps = readout.rows[others] - readout.rows[token]
        out[place] = np.linalg.norm(gaps, axis=1).min()
    return out
