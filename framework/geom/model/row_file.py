"""Rows in a safetensors file: ``ids`` (n,), ``rows`` (n, k) and, if there are any, ``bias`` (n,).

The format is eight bytes with the header's length, the header in JSON, the data
(https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import ml_dtypes
import msgspec
import numpy as np
from numpy.typing import NDArray

from geom.errors import InputError
from geom.files.opening import open_regular
from geom.machine import memory

_TYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("<i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("<u1"),
}
_NAMES = {dtype: name for name, dtype in _TYPES.items()}

_LONGEST_HEADER = 1 << 20

_REMEDY = "give a safetensors file with ids (n,), rows (n, k) and, if there are any, bias (n,)"


class _Entry(msgspec.Struct):
    """A tensor as the header describes it; the offsets count from the end of the header."""

    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


@dataclass(frozen=True, eq=False)
class RowFile:
    """What a file of rows holds.

    Attributes
    ----------
    ids : ndarray of shape (n,)
        The ids.
    rows : ndarray of shape (n, k)
        The rows, in the type that the file has them in.
    bias : ndarray of shape (n,), optional
        The biases.
    """

    ids: NDArray[Any]
    rows: NDArray[Any]
    bias: NDArray[Any] | None = None

    @classmethod
    def read(cls, path: Path, most: int) -> RowFile:
        """Read a file of rows.

        Parameters
        ----------
        path : Path
            The file.
        most : int
            The most bytes that its tensors may have.

        Returns
        -------
        RowFile
            Its content; whether it fits a head is for `geom.model.replaced` to say.

        Raises
        ------
        InputError
            If the file cannot be read, is not such a file, is damaged or too large, or if its
            content does not fit in memory.
        """
        try:
            entries, data = _read(path, most)
            found = {name: _array(name, entry, data) for name, entry in entries.items()}
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path} does not hold rows: {error}; {_REMEDY}") from error
        return cls(**found)

    def packed(self, about: dict[str, str] | None = None) -> bytes:
        """Return the bytes of the file.

        Parameters
        ----------
        about : dict of str to str, optional
            What its header says of it, for people.

        Returns
        -------
        bytes
            A safetensors file.
        """
        header: dict[str, Any] = {"__metadata__": about} if about else {}
        parts, end = [], 0
        for name in ("rows", "bias", "ids"):  # the widest types first, as the format aligns them
            array = getattr(self, name)
            if array is None:
                continue
            data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).tobytes()
            parts.append(data)
            kind = _NAMES[array.dtype]
            offsets = [end, end + len(data)]
            header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": offsets}
            end += len(data)
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def _read(path: Path, most: int) -> tuple[dict[str, _Entry], bytes]:
    """Return the header and the data, each no longer than it may be. Raises ValueError."""
    with open_regular(path, _REMEDY) as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= _LONGEST_HEADER:
            raise ValueError("it does not begin with a header's length")
        raw = msgspec.json.decode(file.read(length), type=dict[str, msgspec.Raw])
        raw.pop("__metadata__", None)
        if not {"ids", "rows"} <= set(raw) <= {"ids", "rows", "bias"}:
            # names that a file of another kind holds are not shown
            raise ValueError("its tensors are not ids, rows and bias")
        entries = {name: msgspec.json.decode(value, type=_Entry) for name, value in raw.items()}
        size = max(entry.data_offsets[1] for entry in entries.values())
        if not 0 <= size <= most:
            raise ValueError(f"its tensors claim {size} bytes, and rows of this head take {most}")
        memory.check_memory(size, f"the rows of {path}", "free some memory")
        data = file.read(size + 1)
    if len(data) != size:
        raise ValueError(f"its tensors need {size} bytes, which is not what it has")
    return entries, data


def _array(name: str, entry: _Entry, data: bytes) -> NDArray[Any]:
    """Return a tensor. Raises ValueError unless it lies in the data."""
    if entry.dtype not in _TYPES:
        raise ValueError(f"{name} is {entry.dtype}, and may be {', '.join(_TYPES)}")
    dtype = _TYPES[entry.dtype]
    begin, end = entry.data_offsets
    if min(entry.shape, default=0) < 0 or not 0 <= begin <= end <= len(data):
        raise ValueError(f"{name} lies outside it")
    if prod(entry.shape) * dtype.itemsize != end - begin:
        raise ValueError(f"{name} has {end - begin} bytes, which is not what its shape needs")
    return np.frombuffer(data[begin:end], dtype).reshape(entry.shape)
