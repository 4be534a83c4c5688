"""Arrays in files: where they lie, and their file held open, so that a change is noticed."""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geom.errors import InputError
from geom.files.opening import open_regular
from geom.reprs import short_repr

Unpack = Callable[[NDArray[Any]], NDArray[Any]]
"""Turns lines (n, k) of packed bytes into rows (n, d) of numbers."""

Stamp = tuple[int, int, int, int]
"""Device, number, length and time of change of a file: another stamp means other content."""


@dataclass(frozen=True)
class Filed:
    """An array in a file on this machine, in the type that it has there.

    A slice reads lines, one for each row. With ``unpack``, lines are packed: ``unpack`` makes
    rows (n, d) of numbers from lines (n, k) of bytes.

    Attributes
    ----------
    path : Path
        The file.
    offset : int
        Where the array begins in the file, in bytes.
    dtype : dtype
        The type of its numbers in the file.
    shape : tuple of int
        The shape of the lines; they follow each other without gaps.
    name : str
        The name of the array's origin, for messages.
    unpack : callable, optional
        Makes rows from lines; it can be pickled. None if the lines are the rows.
    """

    path: Path
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    name: str
    unpack: Unpack | None = None

    __repr__ = short_repr

    @property
    def nbytes(self) -> int:
        """The array's length in bytes."""
        return prod(self.shape) * self.dtype.itemsize

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Read the lines of a slice. Raises InputError if the file is missing or too short."""
        return OpenArray(self).read(rows)

    @classmethod
    def under(cls, array: NDArray[Any]) -> Filed | None:
        """Find where a mapped array lies.

        Only a read-only map shares the pages of its file: a writable map may be private to this
        process.

        Parameters
        ----------
        array : ndarray
            An array.

        Returns
        -------
        Filed or None
            Its place in a file, or None if it is in memory or can be written to.
        """
        owner: Any = array
        while isinstance(owner, np.ndarray) and not isinstance(owner.base, mmap.mmap):
            owner = owner.base
        if not isinstance(owner, np.memmap) or owner.mode != "r" or owner.filename is None:
            return None
        if not array.flags.c_contiguous or array.size == 0:
            return None
        offset = owner.offset + array.ctypes.data - owner.ctypes.data
        name = str(owner.filename)
        return cls(Path(name), offset, array.dtype, array.shape, name)

    def mapped(self) -> NDArray[Any]:
        """Map the array.

        Returns
        -------
        ndarray
            The array, read-only; a plain one, because slices of `numpy.memmap` cost more.
        """
        return np.asarray(
            np.memmap(self.path, self.dtype, mode="r", offset=self.offset, shape=self.shape)
        )


class OpenArray:
    """An array in a file that is held open: all that is read is of one file, whatever its name.

    Parameters
    ----------
    filed : Filed
        Where the array lies.
    stamp : tuple of int, optional
        The stamp that the file must have, from another process that opened it.

    Raises
    ------
    InputError
        If the file is missing, too short, or has another stamp.
    """

    def __init__(self, filed: Filed, stamp: Stamp | None = None) -> None:
        self.filed = filed
        with open_regular(filed.path) as file:
            self._descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._descriptor)
        self.stamp = self._stamp() if stamp is None else stamp
        self.check()
        if filed.offset + filed.nbytes > self.stamp[2]:
            raise InputError(f"{filed.name} ends too early: fetch it again")

    def check(self) -> None:
        """Raise InputError if the file has changed since it was opened."""
        if self._stamp() != self.stamp:
            raise InputError(
                f"{self.filed.name} changed while it was in use: run again when it is complete, "
                "or on a copy"
            )

    def read(self, rows: slice, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Read the lines of a slice, into a contiguous array ``out`` if it is given.

        Raises InputError if the file cannot be read or is cut.
        """
        filed = self.filed
        start, stop, step = rows.indices(filed.shape[0])
        if out is None:
            out = np.empty((max(0, stop - start), *filed.shape[1:]), filed.dtype)
        try:
            with os.fdopen(os.dup(self._descriptor), "rb") as file:
                file.seek(filed.offset + start * prod(filed.shape[1:]) * filed.dtype.itemsize)
                # types that are not NumPy's own have no buffer: their bytes have
                got = file.readinto(out.reshape(-1).view(np.uint8).data) if out.size else 0
        except OSError as error:
            raise InputError(f"{filed.name} cannot be read: {error.strerror or error}") from error
        if got != out.nbytes:
            raise InputError(f"{filed.name} ends too early: fetch it again")
        return out[::step]

    @cached_property
    def lines(self) -> NDArray[Any]:
        """All lines, mapped. Call `check` before and after they are read."""
        filed = self.filed
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            return np.asarray(
                np.memmap(file, filed.dtype, mode="r", offset=filed.offset, shape=filed.shape)
            )

    def is_named(self) -> bool:
        """Return whether the file still has its name, so that another process can open it."""
        try:
            return _stamp(os.stat(self.filed.path)) == self.stamp
        except OSError:
            return False

    def _stamp(self) -> Stamp:
        return _stamp(os.fstat(self._descriptor))


def _stamp(about: os.stat_result) -> Stamp:
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns
