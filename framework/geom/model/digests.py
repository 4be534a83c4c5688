"""The digest of a readout: SHA-256 of its numbers."""

from __future__ import annotations

import hashlib

import numpy as np

from geom.model.rows import Rows
from geom.model.shift import Shift
from geom.numbers.arrays import Floats


def digest(W: Rows, b: Floats, shift: Shift | None) -> str:
    """Return the digest, in hexadecimal, of the shape, W, b, and the shift if there is one.

    Arrays are taken as little-endian float64, row by row, with -0 as 0.
    """
    state = hashlib.sha256(f"geom readout {W.shape[0]} {W.shape[1]}\n".encode())
    for _, rows in W.blocks():
        state.update(_bytes(rows))
    state.update(_bytes(b))
    if shift is not None:
        state.update(b"shift\n")
        for array in (shift.beta, shift.gamma, shift.bias):
            state.update(_bytes(array))
    return state.hexdigest()


def _bytes(array: Floats) -> memoryview:
    return np.ascontiguousarray(array + 0.0, dtype="<f8").data
