"""The rows of a readout in the type that its checkpoint has them in, and how they come in.

float16, bfloat16, float32, float64, float8, integers and packed blocks stay what they are; float64
numbers, which hold all of them exactly, are made of the rows that are asked for.

An array of a file is read into memory, where nobody can change it, unless it takes more than a
share of the free memory (`geom.machine.memory.is_small`). A larger one is mapped: its pages come
from the file as they are needed, and leave memory first. Its file is then checked whenever rows are
read, so that a checkpoint that is overwritten ends the run with an error. (A file that is cut short
in the instant between check and read ends the process.)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geom.errors import InputError
from geom.files.filed import Filed, OpenArray, Unpack
from geom.machine import memory
from geom.model import arrays
from geom.model.arrays import FiledArray, PackedArray, SlicedArray
from geom.numbers.arrays import Floats, Ids


class Stored:
    """Rows (V, d) as they are stored: ``lines`` (V, k) in their own type, read-only.

    Parameters
    ----------
    lines : ndarray of shape (V, k)
        The rows, or the bytes that ``unpack`` makes rows of.
    d : int
        The numbers in a row.
    unpack : callable, optional
        Makes rows (n, d) from lines (n, k); None if the lines are the rows.
    source : OpenArray, optional
        The file that the lines are mapped from, if it is not one that this run made.
    """

    def __init__(
        self,
        lines: NDArray[Any],
        d: int,
        unpack: Unpack | None = None,
        source: OpenArray | None = None,
    ) -> None:
        if lines.flags.writeable:  # as after pickling
            lines = lines.view()
            lines.flags.writeable = False
        self.lines, self.d, self.unpack, self.source = lines, d, unpack, source

    @property
    def plain(self) -> bool:
        """Whether the lines are themselves the rows in float64."""
        own = self.unpack is None and self.source is None
        return own and self.lines.dtype == np.dtype(np.float64)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the rows' numbers: that of the lines, or of what they are unpacked to."""
        return self.lines.dtype if self.unpack is None else self.unpack(self.lines[:1]).dtype

    def numbers(self, ids: slice | Ids) -> Floats:
        """Return rows (n, d) in float64, exactly; a view of the lines only if they are `plain`."""
        if self.plain:
            rows: Floats = self.lines[ids]
            return rows
        if self.source is not None:
            self.source.check()
        lines = self.lines[ids]
        out = arrays.widened(lines if self.unpack is None else self.unpack(lines))
        if self.source is not None:
            self.source.check()
        return out

    def copied(self, more: int = 0) -> NDArray[Any]:
        """Copy the rows, a block at a time, so that they can be written to.

        Parameters
        ----------
        more : int, optional
            How many rows there shall be after them.

        Returns
        -------
        ndarray of shape (V + more, d)
            The rows, of `dtype`; what follows them is not set.

        Raises
        ------
        InputError
            If there is no memory for the copy.
        """
        V, d = len(self.lines), self.d
        dtype = self.dtype
        memory.check_memory(
            (V + more) * d * dtype.itemsize,
            f"a copy of W, {V + more} x {d} as {dtype}",
            "free some memory, or use a machine with more",
        )
        out = np.empty((V + more, d), dtype)
        height = max(1, (1 << 20) // d)
        for start in range(0, V, height):
            part = slice(start, min(start + height, V))
            out[part] = self.lines[part] if self.unpack is None else self.unpack(self.lines[part])
        if self.source is not None:
            self.source.check()
        return out

    def __reduce__(self) -> tuple[Any, ...]:
        """Send the lines themselves: the other process may have another disk."""
        return Stored, (np.array(self.lines), self.d, self.unpack)


class Intake:
    """The rows of a checkpoint on their way in: each is read once, checked, and kept as it is.

    Parameters
    ----------
    W : array_like or SlicedArray of shape (V, k)
        The rows.

    Raises
    ------
    InputError
        For another shape or type, a file that cannot be read, and rows that do not fit in memory.
    """

    def __init__(self, W: ArrayLike | SlicedArray) -> None:
        self._source: SlicedArray = W if isinstance(W, SlicedArray) else np.asarray(W)
        if isinstance(self._source, np.ndarray):
            arrays.check_type("W", self._source)
        if len(self._source.shape) != 2 or 0 in self._source.shape:
            raise InputError(
                f"W has shape {self._source.shape}: give a matrix (V, d), one row per logit"
            )
        self.shape: tuple[int, int] = self._source.shape
        self._open = _opened(self._source)
        self._packed = (
            self._source if self._open is None and isinstance(self._source, PackedArray) else None
        )
        self._unpack = None if self._open is None else self._open.filed.unpack
        if self._packed is not None:
            self._unpack = self._packed.unpack
        given = isinstance(self._source, np.ndarray)  # then it is open because it is large
        self._mapped = self._open is not None and (
            given or not memory.is_small(self._open.filed.nbytes)
        )
        self._lines: NDArray[Any] | None = None
        if self._mapped and self._open is not None:
            self._lines = self._open.lines
        elif isinstance(self._source, np.ndarray) and _is_settled(self._source):
            self._lines = self._source
        elif self._packed is None:  # its lines say how long they are
            self._refuse_too_large()

    def read(self, rows: slice) -> Floats:
        """Return a block of rows as float64. Raises InputError if float64 does not hold them."""
        if self._lines is not None and not self._lines.flags.writeable:
            lines = self._lines[rows]
            if self._mapped and isinstance(self._source, np.ndarray):
                self._compare(lines, self._source[rows])
        elif self._open is not None:
            if self._lines is None:
                self._lines = np.empty(self._open.filed.shape, self._open.filed.dtype)
            lines = self._open.read(rows, self._lines[rows])
        else:
            lines = self._taken(rows)
            self._put(rows, lines)
        out = arrays.real("W", lines if self._unpack is None else self._unpack(lines))
        if self._packed is not None and out.shape != (len(lines), self.shape[1]):
            raise InputError(
                f"W is packed, and {len(lines)} of its lines unpack to shape {out.shape}: give "
                f"an unpack that makes rows of {self.shape[1]} numbers"
            )
        return out

    def _taken(self, rows: slice) -> NDArray[Any]:
        """Return rows as the source gives them, or their lines if it is packed."""
        if self._packed is None:
            given = self._source[rows]
            arrays.check_type("W", given)
            return given
        lines = self._packed.lines(rows)
        known = lines.shape[1] if self._lines is None else self._lines.shape[1]
        wanted = (rows.stop - rows.start, known)
        if lines.dtype != np.dtype(np.uint8) or lines.shape != wanted:
            raise InputError(
                f"W is packed, and its lines are {lines.dtype} of shape {lines.shape}: give uint8 "
                f"of shape {wanted}"
            )
        return lines

    def _compare(self, lines: NDArray[Any], given: NDArray[Any]) -> None:
        """Raise InputError unless the file of a mapped array still holds it under its name."""
        if lines.tobytes() != given.tobytes():
            raise InputError("W is mapped from a file that has changed: map it again")

    def _put(self, rows: slice, lines: NDArray[Any]) -> None:
        """Copy the lines of a block."""
        if self._lines is None:
            self._refuse_too_large(lines)
            self._lines = np.empty((self.shape[0], lines.shape[1]), lines.dtype)
        if lines.dtype != self._lines.dtype:
            raise InputError(f"W is {self._lines.dtype} in some rows and {lines.dtype} in others")
        self._lines[rows] = lines

    def _refuse_too_large(self, lines: NDArray[Any] | None = None) -> None:
        """Raise InputError if a copy does not fit in memory, by its first lines if they are read.

        Before that, the size is known of arrays and files; of others, that it is a byte a number.
        """
        V, d = self.shape
        need, form = V * d, "at a byte a number"
        if self._open is not None:
            need, form = self._open.filed.nbytes, "as in its file"
        elif lines is not None or isinstance(self._source, np.ndarray):
            dtype = (self._source if lines is None else lines).dtype  # type: ignore[union-attr]
            need, form = V * d * dtype.itemsize, f"as {dtype}"
            if self._packed is not None and lines is not None:
                need, form = V * lines.shape[1], "as it is packed"
        memory.check_memory(
            need, f"W of {V} x {d} {form}", "free some memory, or read it on a machine with more"
        )

    def finish(self) -> None:
        """Raise InputError if the file of the rows changed while it was read."""
        if self._open is not None:
            self._open.check()

    def stored(self) -> Stored:
        """Return the rows, after the last block and `finish`."""
        assert self._lines is not None
        self._lines.flags.writeable = False
        source = self._open if self._mapped else None
        return Stored(self._lines, self.shape[1], self._unpack, source)


class Settled:
    """Rows that are held already, on their way into another readout: an `Intake` of no work."""

    def __init__(self, held: Stored) -> None:
        self._held = held
        self.shape = (len(held.lines), held.d)

    def read(self, rows: slice) -> Floats:
        """Return a block of rows as float64."""
        return self._held.numbers(rows)

    def finish(self) -> None:
        """Do nothing: the rows are checked whenever they are read."""

    def stored(self) -> Stored:
        """Return the rows."""
        return self._held


def _opened(source: SlicedArray) -> OpenArray | None:
    """Open the file that rows lie in; None if they have to be taken as they come.

    An array that is mapped from a file, and small, is taken from the map: its file may have another
    name by now.
    """
    if not isinstance(source, np.ndarray):
        if isinstance(source, FiledArray):
            source = source.filed()
        return OpenArray(source) if isinstance(source, Filed) else None
    filed = Filed.under(source)
    return None if filed is None or memory.is_small(filed.nbytes) else OpenArray(filed)


def _is_settled(array: NDArray[Any]) -> bool:
    """Return whether rows lie as a readout holds them, and nobody can write to them."""
    if type(array) is not np.ndarray or not array.flags.c_contiguous:
        return False
    owner: Any = array
    while isinstance(owner, np.ndarray):
        if owner.flags.writeable:
            return False
        owner = owner.base
    return owner is None or isinstance(owner, bytes)
