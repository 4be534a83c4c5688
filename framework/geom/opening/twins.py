"""Twins: tokens with equal rows and equal biases, of which none can beat another."""

from __future__ import annotations

import numpy as np

from geom.exact.single import block_rows, slices
from geom.model.readout import Readout
from geom.numbers.arrays import Ids
from geom.numbers.rounding import refuse_flushing
from geom.self_argmax.distinct import row_keys


def find_twins(readout: Readout) -> Ids:
    """Find every token that has the row and the bias of another.

    One pass gives each row a key; rows with equal keys are compared number by number.

    Parameters
    ----------
    readout : Readout
        The weights.

    Returns
    -------
    ndarray of shape (V,), int64
        The lowest other id with the same row and bias, or -1 if there is none.

    Raises
    ------
    ArithmeticModeError
        If the process flushes subnormal numbers to zero.
    """
    refuse_flushing()
    keys = np.empty(readout.V, dtype=np.uint64)
    for part, rows in readout.rows.blocks():
        keys[part] = row_keys(rows)
    order = np.lexsort((readout.offset, keys))
    sorted_keys, biases = keys[order], readout.offset[order]
    new = np.ones(readout.V, dtype=np.bool_)
    new[1:] = (sorted_keys[1:] != sorted_keys[:-1]) | (biases[1:] != biases[:-1])
    twins = np.full(readout.V, -1, dtype=np.int64)
    starts = np.flatnonzero(new)
    sizes = np.diff(np.append(starts, readout.V))
    for start, size in zip(starts[sizes > 1].tolist(), sizes[sizes > 1].tolist(), strict=True):
        for group in _equal(readout, np.sort(order[start : start + size])):
            twins[group] = group[0]
            twins[group[0]] = group[1]
    return twins


def group_sizes(twins: Ids) -> Ids:
    """Count the tokens that have each token's row and bias.

    Parameters
    ----------
    twins : ndarray of shape (V,), int64
        The result of `find_twins`.

    Returns
    -------
    ndarray of shape (V,), int64
        The counts, 1 for a token without a twin.
    """
    ids = np.arange(twins.size)
    first = np.where(twins < 0, ids, np.minimum(ids, twins))
    return np.bincount(first, minlength=twins.size)[first]


def _equal(readout: Readout, ids: Ids) -> list[Ids]:
    """Split tokens of one key and bias, ascending, into groups of two or more that are equal."""
    groups = []
    while ids.size > 1:
        first = readout.rows[ids[:1]]
        same = np.concatenate(  # unused tokens may be thousands, all equal
            [
                (readout.rows[ids[part]] == first).all(axis=1)
                for part in slices(ids.size, block_rows(readout.d))
            ]
        )
        if same.sum() > 1:
            groups.append(ids[same])
        ids = ids[~same]
    return groups
