"""What an arithmetic has made of a readout's weights, kept for the next token.

A table of tokens by precisions asks one arithmetic about all its points before the next one's turn,
so one entry a readout is enough, and is all that memory should hold. It goes with the readout.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from geom import Floats, Readout

BLOCK = 1 << 20
"""Numbers of W that are rounded at a time."""

_kept: WeakKeyDictionary[Readout, tuple[Hashable, NDArray[Any]]] = WeakKeyDictionary()


def rounded_rows(
    readout: Readout, key: Hashable, convert: Callable[[Floats], NDArray[Any]]
) -> NDArray[Any]:
    """``convert`` of the rows of W (V, d), in blocks; made once while ``key`` stays the same."""
    entry = _kept.get(readout)
    if entry is not None and entry[0] == key:
        return entry[1]
    _kept.pop(readout, None)  # before the next one is made: two need not be in memory
    del entry
    height = max(1, BLOCK // readout.d)
    first = convert(readout.W[:height])
    out = np.empty((readout.V, readout.d), dtype=first.dtype)
    out[:height] = first
    for start in range(height, readout.V, height):
        out[start : start + height] = convert(readout.W[start : start + height])
    _kept[readout] = (key, out)
    return out
