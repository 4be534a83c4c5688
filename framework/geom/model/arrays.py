"""Arrays as a checkpoint and as a readout hold them: the latter float64, finite, read-only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geom.errors import InputError
from geom.files.filed import Filed, Unpack
from geom.numbers.arrays import Floats
from geom.text import TokenKind


@runtime_checkable
class SlicedArray(Protocol):
    """A matrix or vector read by slices of its first axis: an array, or a tensor of a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape, as of an array."""

    def __getitem__(self, rows: slice, /) -> NDArray[Any]:
        """Return the rows of a slice, as an array."""


@runtime_checkable
class FiledArray(SlicedArray, Protocol):
    """A `SlicedArray` that knows where it lies in a file on this machine, in the type it has there.

    A large one is mapped from there, and no copy of it is made in memory.
    """

    def filed(self) -> Filed:
        """Return where the array lies, and how its lines are unpacked if they are packed."""


@runtime_checkable
class PackedArray(SlicedArray, Protocol):
    """A `SlicedArray` (V, d) that is packed: each row is made of one line of bytes.

    A readout holds the lines and unpacks the rows that are asked for, a block at a time.
    """

    @property
    def unpack(self) -> Unpack:
        """Makes rows (n, d) of numbers from lines (n, k) of bytes; it can be pickled."""

    def lines(self, rows: slice, /) -> NDArray[np.uint8]:
        """Return the lines of some rows.

        Parameters
        ----------
        rows : slice
            The rows.

        Returns
        -------
        ndarray of shape (n, k), uint8
            Their lines; k is the same for all rows.
        """


_SHORT = ("bfloat16", "float8_e4m3fn", "float8_e5m2")
"""The types of ml_dtypes that are read: float32 holds all of their numbers exactly."""


def real(name: str, values: ArrayLike | SlicedArray) -> Floats:
    """Return ``values`` as float64. Raises InputError unless the conversion is exact."""
    if not isinstance(values, np.ndarray):
        values = np.asarray(values[:] if isinstance(values, SlicedArray) else values)
    array: NDArray[Any] = np.asarray(values)
    check_type(name, array)
    out = widened(array)
    if array.dtype.kind in "iu":
        held = np.abs(out) < 2.0**63  # beyond it, converting back is undefined
        if not held.all() or not (out.astype(array.dtype) == array).all():
            raise InputError(f"{name} holds integers above 2**53: give floats")
    return out


def widened(array: NDArray[Any]) -> Floats:
    """Return a copy in float64; exact for floats, and for integers that `real` accepts."""
    if array.dtype.name == "bfloat16":  # the upper half of a float32; ml_dtypes takes longer
        bits = array.view(np.uint16).astype(np.uint32)
        bits <<= 16
        return bits.view(np.float32).astype(np.float64)
    if array.dtype.name in _SHORT:
        return np.asarray(_table(array.dtype)[array.view(np.uint8)])
    return array.astype(np.float64)


@cache
def _table(dtype: np.dtype[Any]) -> Floats:
    """Return the number that each of the 256 words of a type of 8 bits stands for."""
    return np.arange(256, dtype=np.uint8).view(dtype).astype(np.float64)


def vector(name: str, values: ArrayLike | SlicedArray, n: int) -> Floats:
    """Return ``values`` as n finite float64 numbers."""
    out = real(name, values)
    if out.shape != (n,):
        raise InputError(f"{name} has shape {out.shape}: W needs ({n},)")
    check_finite(name, out)
    return out


def matrix(name: str, values: ArrayLike | SlicedArray, rows: int) -> Floats:
    """Return ``values`` as a finite float64 matrix with ``rows`` rows."""
    out = real(name, values)
    if out.ndim != 2 or len(out) != rows or 0 in out.shape:
        raise InputError(f"{name} has shape {out.shape}: W needs ({rows}, d)")
    check_finite(name, out)
    return out


def check_type(name: str, array: NDArray[Any]) -> None:
    """Refuse arrays that do not hold real numbers, or hold numbers longer than float64."""
    if array.dtype.name in _SHORT:
        return
    if array.dtype.kind not in "fiu" or array.dtype.itemsize > 8:
        raise InputError(
            f"{name} has dtype {array.dtype}: give float16, float32, float64, bfloat16 or integers"
        )


def check_folded(name: str, array: Floats, ndim: int) -> None:
    """Refuse anything but a plain array of finite float64 with ``ndim`` axes, none empty."""
    plain = type(array) in (np.ndarray, np.memmap)  # no matrix, no mask
    if not (plain and array.dtype == np.float64 and array.ndim == ndim):
        kind = getattr(array, "dtype", type(array).__name__)
        raise InputError(
            f"{name} is {kind} of shape {np.shape(array)}, not a float64 array with {ndim} axes: "
            "build the readout with Readout.fold"
        )
    if 0 in array.shape:
        raise InputError(f"{name} has shape {array.shape}: give a matrix (V, d), one row per logit")
    check_finite(name, array)


def check_finite(name: str, array: Floats, first: int = 0) -> None:
    """Refuse NaN and infinity, naming the first one; ``first`` numbers the first row."""
    if math.isfinite(array.min(initial=0.0)) and math.isfinite(array.max(initial=0.0)):
        return
    at = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
    place = (first + at[0], *at[1:])
    where = place[0] if len(place) == 1 else place
    raise InputError(f"{name}[{where}] is {array[at]}: every weight must be a finite number")


def frozen(array: Floats) -> Floats:
    """Return the array C-contiguous and read-only: itself if it is so already."""
    if array.flags.c_contiguous and not array.flags.writeable:
        return array if type(array) is np.ndarray else array.view(np.ndarray)
    out = np.array(array, order="C", subok=False)
    out.flags.writeable = False
    return out


def check_kinds(kinds: Sequence[TokenKind], V: int) -> None:
    """Refuse, with an InputError, kinds that are not V in number or not of `TokenKind`."""
    if len(kinds) != V:
        raise InputError(f"{len(kinds)} kinds for {V} rows of W: give one per row")
    wrong = set(kinds) - set(get_args(TokenKind))
    if wrong:
        raise InputError(f"kind {wrong.pop()!r}: give {', '.join(get_args(TokenKind))}")
