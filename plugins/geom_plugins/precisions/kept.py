"""A readout's weights as an arithmetic rounds them, kept for the next token.

A table of tokens by precisions evaluates all points in one arithmetic before the next, so one entry
per readout is enough, and is all that memory should hold. It is freed with the readout.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from geom import Floats, Readout

BLOCK = 1 << 20
"""The numbers of W that are rounded at a time."""

_kept: WeakKeyDictionary[Readout, tuple[Hashable, NDArray[Any]]] = WeakKeyDictionary()


def rounded_rows(
    readout: Readout, key: Hashable, convert: Callable[[Floats], NDArray[Any]]
) -> NDArray[Any]:
    """Convert the rows of W (V, d), in blocks; done once while ``key`` stays the same."""
    entry = _kept.get(readout)
    if entry is not None and entry[0] == key:
        return entry[1]
    _kept.pop(readout, None)  # first, so that two are never in memory
    del entry
    height = max(1, BLOCK // readout.d)
    first = convert(readout.rows[:height])
    out = np.empty((readout.V, readout.d), dtype=first.dtype)
    out[:height] = first
    for start in range(height, readout.V, height):
        out[start : start + height] = convert(readout.rows[start : start + height])
    _kept[readout] = (key, out)
    return out
