"""Factors of a symmetric matrix, computed once for many solves, on any device.

Arrays are handled by the functions of the array API standard, ``xp``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from geom import Array

_BLOCK = 64
"""The order of the triangular blocks that are inverted."""

FAILED = (np.linalg.LinAlgError, RuntimeError)
"""The errors that NumPy and torch raise for a matrix that is singular or not finite."""


class Triangle:
    """``L`` of ``L L' = matrix``, which solves by blocks: the standard has no triangular solve.

    It costs a third of a general inverse, and several right sides in turn can share it.
    """

    def __init__(self, xp: Any, matrix: Array) -> None:
        self._L = xp.linalg.cholesky(matrix)
        d = matrix.shape[0]
        self._parts = [slice(i, min(i + _BLOCK, d)) for i in range(0, d, _BLOCK)]
        self._inverses = [xp.linalg.inv(self._L[part, part]) for part in self._parts]
        self._xp = xp

    def solve(self, right: Array) -> Array:
        """Return ``matrix^-1 right`` (d,)."""
        L, x = self._L, self._xp.zeros_like(right)
        for part, inverse in zip(self._parts, self._inverses, strict=True):
            before = slice(0, part.start)
            x[part] = inverse @ (right[part] - L[part, before] @ x[before])
        for part, inverse in zip(self._parts[::-1], self._inverses[::-1], strict=True):
            after = slice(part.stop, None)
            x[part] = inverse.T @ (x[part] - L[after, part].T @ x[after])
        return x


class Whole:
    """A matrix that is no longer definite because of rounding, solved by elimination."""

    def __init__(self, xp: Any, matrix: Array) -> None:
        self._xp, self._matrix = xp, matrix

    def solve(self, right: Array) -> Array:
        """Return ``matrix^-1 right`` (d,)."""
        return self._xp.linalg.solve(self._matrix, right[:, None])[:, 0]
