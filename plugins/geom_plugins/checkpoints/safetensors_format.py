"""The safetensors format: eight bytes with the header's length, the header in JSON, the data.

https://github.com/huggingface/safetensors#format. The header is read on its own, so that only the
tensors that are needed are fetched from a large or remote file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from math import prod
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from geom import Filed, InputError
from geom_plugins.checkpoints.pointers import refuse_pointer
from geom_plugins.checkpoints.spans import ByteFile, Span

_NUMPY = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "<i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "<u1",
}
_SHORT = {
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
}
"""The types that NumPy does not have, by their names in ml_dtypes."""

_LONGEST_HEADER = 100_000_000
"""The limit of the reference implementation, in bytes."""

_MOST_TENSORS = 200_000
"""The most tensors in one file; the largest models have some thousands in each."""


class _Entry(msgspec.Struct):
    """A tensor as the header describes it; the offsets count from the end of the header."""

    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


class _Metadata(msgspec.Struct):
    """What the program that wrote the file says of itself."""

    format: str | None = None


class _Header(msgspec.Struct):
    """The header without its tensors."""

    metadata: _Metadata = msgspec.field(default_factory=_Metadata, name="__metadata__")


@dataclass(frozen=True)
class Tensor:
    """A tensor in a file, whose rows are read only when asked for, in the type that they have.

    ``begin`` and ``end`` are its offsets in the file.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: ByteFile
    begin: int
    end: int

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Read a slice of rows, along the first axis. Raises InputError if it cannot be read."""
        if not self.shape:
            raise InputError(f"tensor {self.name!r} of {self.file.name} is a single number")
        return self.filed()[rows]

    def filed(self) -> Filed:
        """Return the tensor as an array in its file, which is on this machine when this returns."""
        return self._span.filed(self._stored, self.shape)

    def as_vector(self) -> Tensor:
        """Return the tensor as it is, but a single number as a vector of one."""
        return self if self.shape else replace(self, shape=(1,))

    @cached_property
    def _span(self) -> Span:
        return self.file.span(self.begin, self.end)

    @cached_property
    def _stored(self) -> np.dtype[Any]:
        """The type of its numbers in the file. Raises InputError if it is not a number type."""
        if self.dtype in _SHORT:
            import ml_dtypes

            kind: np.dtype[Any] = np.dtype(getattr(ml_dtypes, _SHORT[self.dtype]))
            return kind
        if self.dtype not in _NUMPY:
            known = ", ".join([*_NUMPY, *_SHORT])
            raise InputError(
                f"tensor {self.name!r} of {self.file.name} is {self.dtype}: geom reads {known}"
            )
        return np.dtype(_NUMPY[self.dtype])


def read_header(file: ByteFile) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file by name, reading only its header.

    Raises InputError if it is not a safetensors file, or if the header does not fit its length.
    """
    try:
        if file.size == 0:
            raise ValueError("it is empty; fetch it again")
        if file.size < 8:
            raise ValueError(f"it has {file.size} bytes")
        length = int.from_bytes(file.span(0, 8).bytes(), "little")
        if length > file.size:
            refuse_pointer(file.span(0, min(64, file.size)).bytes(), file.name)
        if not 2 <= length <= min(file.size - 8, _LONGEST_HEADER):
            # the claimed length is left out: in another kind of file it is just eight bytes
            raise ValueError(f"the file's {file.size} bytes do not begin with a header's length")
        start = 8 + length
        entries = msgspec.json.decode(file.span(8, start).bytes(), type=dict[str, msgspec.Raw])
        entries.pop("__metadata__", None)
        if len(entries) > _MOST_TENSORS:
            raise ValueError(
                f"its header has {len(entries)} tensors, and geom reads up to {_MOST_TENSORS}"
            )
        tensors = {name: _tensor(file, name, raw, start) for name, raw in entries.items()}
        end = max((tensor.end for tensor in tensors.values()), default=start)
        if end != file.size:
            raise ValueError(f"its tensors end at byte {end}, the file has {file.size}")
        return tensors
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{file.name} is not a safetensors file, or is damaged: {error}"
        ) from error


def read_format(file: ByteFile) -> str | None:
    """Return what the header's metadata call the format, ``pt`` or ``mlx``, None if they do not.

    A damaged header is None too: it is refused when a tensor is read.
    """
    if file.size < 8:
        return None
    length = int.from_bytes(file.span(0, 8).bytes(), "little")
    if length > min(file.size - 8, _LONGEST_HEADER):
        return None
    try:
        header = msgspec.json.decode(file.span(8, 8 + length).bytes(), type=_Header)
    except (ValueError, RecursionError):
        return None
    return header.metadata.format


def find(tensors: dict[str, Tensor], name: str, file: str) -> Tensor:
    """Return the tensor of that name. Raises InputError, with the nearest names, without one."""
    if name not in tensors:
        near = get_close_matches(name, tensors, n=1) or list(tensors)[:8]
        raise InputError(f"{file} has no tensor {name!r}; it has {', '.join(near) or 'none'}")
    return tensors[name]


def _tensor(file: ByteFile, name: str, raw: msgspec.Raw, start: int) -> Tensor:
    """Return the tensor of a header entry, checked against the file's length."""
    entry = msgspec.json.decode(raw, type=_Entry)
    begin, end = entry.data_offsets
    if min(entry.shape, default=0) < 0 or not 0 <= begin <= end <= file.size - start:
        raise ValueError(f"tensor {name!r} lies outside it; the file may be cut short")
    out = Tensor(name, entry.dtype, tuple(entry.shape), file, start + begin, start + end)
    if entry.dtype in _NUMPY or entry.dtype in _SHORT:
        wanted = prod(entry.shape) * out._stored.itemsize
        if end - begin != wanted:
            raise ValueError(f"tensor {name!r} has {end - begin} bytes, and needs {wanted}")
    return out
