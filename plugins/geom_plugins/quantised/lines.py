"""A quantised matrix as a readout holds it: a line of bytes a row, unpacked when it is asked for.

A line is the codes of a row, then its scales, then what is added or subtracted: about the bytes
that they take in the checkpoint. Scales are kept in the shortest of float16, float32 and float64
that holds them exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from geom import Floats, Ids
from geom_plugins.quantised.codes import Bytes, length, unpacked

Take = Callable[[slice], NDArray[Any]]
"""Reads what a slice of rows needs of one tensor, (n, k)."""


@dataclass(frozen=True, eq=False)
class Unpacking:
    """Makes rows (n, d) in float64 from their lines: ``scale * (number - zero)`` for each code.

    Attributes
    ----------
    d : int
        The codes of a row.
    bits : int
        The bits of a code.
    numbers : ndarray of shape (2**bits,), float64
        The number that each code stands for.
    scale : dtype
        The type of the scales in a line.
    groups : int
        How many scales a row has.
    group : int or ndarray of shape (d,)
        How many columns in a row share a scale, or the place of each column's scale.
    zero : dtype, optional
        The type of the zeros in a line, one a scale, if there are any.
    offset : {"zero", "bias"}
        Whether zeros are subtracted before the scale, or added after it.
    factor, divisor : float
        What all numbers are multiplied with and divided by.
    """

    d: int
    bits: int
    numbers: Floats
    scale: np.dtype[Any]
    groups: int
    group: int | Ids
    zero: np.dtype[Any] | None = None
    offset: Literal["zero", "bias"] = "zero"
    factor: float = 1.0
    divisor: float = 1.0

    def __call__(self, lines: Bytes) -> Floats:
        """Return the rows of some lines; numbers that float64 does not hold become infinite."""
        codes = length(self.d, self.bits)
        scales_end = codes + self.groups * self.scale.itemsize
        with np.errstate(all="ignore"):  # what is not finite is refused when it is used
            out = self._numbers(lines[:, :codes])
            scales = self._spread(_viewed(lines[:, codes:scales_end], self.scale))
            zeros = None
            if self.zero is not None:
                zeros = self._spread(_viewed(lines[:, scales_end:], self.zero))
            shape = (len(out), self.d)
            if scales.ndim == 3:  # the columns that share a scale, side by side
                out = out.reshape(len(out), self.groups, -1)
            if zeros is not None and self.offset == "zero":
                out -= zeros
            out *= scales
            if zeros is not None and self.offset == "bias":
                out += zeros
            if self.factor != 1:
                out *= self.factor
            if self.divisor != 1:
                out /= self.divisor
        return out.reshape(shape)

    def _numbers(self, codes: Bytes) -> Floats:
        """Return the number of each code (n, d), in an array of their own."""
        if 8 % self.bits or self.bits == 8:
            return np.asarray(self.numbers[unpacked(codes, self.bits, self.d)])
        whole = np.take(self._by_byte, codes, axis=0).reshape(len(codes), -1)
        return whole if whole.shape[1] == self.d else whole[:, : self.d].copy()

    @cached_property
    def _by_byte(self) -> Floats:
        """The numbers (256, 8 / bits) of the codes in each byte."""
        every = np.arange(256, dtype=np.uint8)[:, None]
        return np.asarray(self.numbers[unpacked(every, self.bits, 8 // self.bits)])

    def _spread(self, values: Floats) -> Floats:
        """Bring a value for each group (n, groups) to the columns: (n, d), or (n, groups, 1)."""
        if not isinstance(self.group, int):
            return np.take(values, self.group, axis=1)
        if self.groups * self.group == self.d:
            return values[:, :, None]
        return np.repeat(values, min(self.group, self.d), axis=1)[:, : self.d]

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what can be computed again."""
        return {key: value for key, value in self.__dict__.items() if key != "_by_byte"}


@dataclass(frozen=True, eq=False)
class Dequantised:
    """The matrix (V, d) that a quantised head defines.

    ``parts`` read the codes, scales and zeros of a slice of rows; ``note`` is for the reader of the
    results.
    """

    shape: tuple[int, int]
    parts: tuple[Take, ...]
    unpack: Unpacking
    note: str

    def lines(self, rows: slice) -> Bytes:
        """Read the lines of a slice of rows. Raises InputError if a file cannot be read."""
        within = slice(*rows.indices(self.shape[0]))
        return np.concatenate([_bytes(take(within)) for take in self.parts], axis=1)

    def __getitem__(self, rows: slice) -> Floats:
        """Return the rows of a slice in float64. Raises InputError if a file cannot be read."""
        return self.unpack(self.lines(rows))


def repeated(values: NDArray[Any], height: int) -> Take:
    """Take a row of ``values`` for every ``height`` rows of the matrix."""
    return lambda rows: values[np.arange(rows.start, rows.stop, rows.step) // height]


def turned(values: NDArray[Any]) -> Take:
    """Take columns of ``values`` as the rows of the matrix."""
    return lambda rows: values[:, rows].T


def _bytes(values: NDArray[Any]) -> Bytes:
    whole = np.ascontiguousarray(values)
    return whole.view(np.uint8).reshape(len(whole), -1)


def _viewed(line: Bytes, dtype: np.dtype[Any]) -> Floats:
    return np.ascontiguousarray(line).view(dtype).astype(np.float64)
