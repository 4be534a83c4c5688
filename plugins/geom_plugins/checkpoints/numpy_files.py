"""Finds the numbers of arrays in NumPy's files, so that large ones can be mapped from there.

https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html; a ``.npz`` file is a zip
archive of such files, usually not compressed.
"""

from __future__ import annotations

import struct
import zipfile
from math import prod
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from geom import Filed

_LOCAL = struct.Struct("<4s22xHH")
"""An entry's own header, which its name, an extra field and its bytes follow."""


def filed_array(path: Path, file: BinaryIO) -> Filed | None:
    """Find the array of a ``.npy`` file that is open as ``file``.

    Returns None unless it is plain numbers, row by row, and as long as it claims. Leaves the file
    at its beginning.
    """
    size = file.seek(0, 2)
    file.seek(0)
    found = _found(path, file, size)
    file.seek(0)
    return found


def filed_member(
    path: Path, file: BinaryIO, archive: zipfile.ZipFile, entry: zipfile.ZipInfo
) -> Filed | None:
    """Find an array of a ``.npz`` file as `filed_array` does; None if it is compressed.

    Its bytes are read once, so that zipfile compares their checksum. Raises zipfile's errors.
    """
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
        return None
    with archive.open(entry) as member:
        while member.read(1 << 20):
            pass
    file.seek(entry.header_offset)
    magic, name, extra = _LOCAL.unpack(file.read(_LOCAL.size))
    if magic != b"PK\3\4":
        return None
    start = file.seek(name + extra, 1)
    return _found(path, file, start + entry.file_size)


def member_shape(archive: zipfile.ZipFile, name: str) -> tuple[int, ...] | None:
    """Return the shape of an array of a ``.npz`` file, by its header; None if it has none."""
    try:
        with archive.open(f"{name}.npy") as member:
            return _header(member)[0]
    except (KeyError, ValueError, SyntaxError, OSError, RuntimeError, zipfile.BadZipFile):
        return None  # NumPy's own reader words it, if the array is asked for


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, order and type of the array that an open file begins. Raises ValueError."""
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    version = np.lib.format.read_magic(file)
    if version not in readers:
        raise ValueError(f"its format is {version}")
    return readers[version](file)


def _found(path: Path, file: BinaryIO, end: int) -> Filed | None:
    """Read the header that the file is at; the array must end by ``end``."""
    try:
        shape, by_columns, dtype = _header(file)
    except (ValueError, SyntaxError):  # NumPy's own reader words it
        return None
    offset = file.tell()
    if dtype.hasobject or by_columns or min(shape, default=0) < 0:
        return None
    if offset + prod(shape) * dtype.itemsize > end:
        return None
    return Filed(path, offset, dtype, shape, str(path))
