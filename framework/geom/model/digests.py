"""The digest of a readout: SHA-256 of its numbers."""

from __future__ import annotations

import hashlib

import numpy as np

from geom.model.shift import Shift
from geom.numbers.arrays import Floats


def digest(W: Floats, b: Floats, shift: Shift | None) -> str:
    """Return the digest, in hexadecimal, of the shape, W, b, and the shift if there is one.

    Arrays are taken as little-endian float64, row by row, with -0 as 0.
    """
    state = hashlib.sha256(f"geom readout {W.shape[0]} {W.shape[1]}\n".encode())
    for array in (W, b):
        for block in np.array_split(array, max(1, array.nbytes >> 24)):
            state.update((block + 0.0).astype("<f8", copy=False).tobytes())
    if shift is not None:
        state.update(b"shift\n")
        for array in (shift.beta, shift.gamma, shift.bias):
            state.update((array + 0.0).astype("<f8", copy=False).tobytes())
    return state.hexdigest()
