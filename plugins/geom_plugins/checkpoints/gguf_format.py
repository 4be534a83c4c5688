"""The GGUF format of llama.cpp: a header with settings and tensor names, then the tensors.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. What the types of tensors are called, how
they lie in blocks and how they are dequantised is the gguf package's word. The header is walked
here: the package's own reader makes two arrays of every token and merge, 20 seconds and 600 MiB for
a vocabulary of 128,000, and follows the counts of a damaged file without end.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geom import InputError, open_regular
from geom_plugins.checkpoints.folders import LocalFolder
from geom_plugins.checkpoints.spans import ByteFile, LocalFile, Span

Setting = bool | int | float | str | list[Any]
"""One value of the header's metadata."""

_NUMPY = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "<i1",
}
_EXACT = (*_NUMPY, "BF16")
"""Types whose numbers are read as they are; all others are blocks to be dequantised."""

_SCALARS = ("B", "b", "H", "h", "I", "i", "f", "?", "", "", "Q", "q", "d")
"""The types of metadata by their numbers, as struct calls them; 8 and 9 are strings and arrays."""

_STRING, _ARRAY = 8, 9

_KEPT = ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type")
"""The only arrays that are kept; merges and scores are passed over."""

_VERSIONS = (2, 3)

_LONGEST_HEADER = 256 << 20
_MOST_SETTINGS, _MOST_TENSORS, _MOST_STRINGS = 1 << 16, 200_000, 1 << 22
"""Bytes of a header, and what is in it; a file with holes may claim, and be long enough for, more.

The largest models have some thousands of tensors a file and a million merges.
"""

_SPLIT_NAME = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")
_EXTRA = "pip install 'geom-unembed[gguf]'"


@dataclass(frozen=True)
class Tensor:
    """A tensor of a file, read by rows and only when asked for.

    ``type`` is ggml's name of how it is stored, ``begin`` its place in the file. Floats and
    integers come as they are, bfloat16 and the block-quantised types as float32.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    file: ByteFile
    begin: int

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """The rows of a slice, along the first axis. Raises InputError where they cannot be had."""
        if len(self.shape) == 1:  # one row of blocks
            line: NDArray[Any] = self._lines(0, 1)[0]
            return line[rows]
        start, stop, step = rows.indices(self.shape[0])
        height = prod(self.shape[1:-1])
        lines = self._lines(start * height, max(0, stop - start) * height)
        return lines.reshape(-1, *self.shape[1:])[::step]

    @property
    def is_quantised(self) -> bool:
        """Whether its numbers come from blocks."""
        return self.type not in _EXACT

    @property
    def size(self) -> int | None:
        """Its length in bytes, None where the type is not known."""
        return None if self._line is None else prod(self.shape[:-1]) * self._line

    @cached_property
    def _line(self) -> int | None:
        """Bytes along the last axis. Raises ValueError where that is no whole number of blocks."""
        known = _quants().get(self.type)
        if known is None:
            return None
        block, size = known
        if self.shape[-1] % block:
            raise ValueError(
                f"tensor {self.name!r} is {self.type} in blocks of {block}, its rows have "
                f"{self.shape[-1]} numbers"
            )
        return self.shape[-1] // block * size

    def _lines(self, first: int, count: int) -> NDArray[Any]:
        """So many lines along the last axis."""
        assert self._line is not None
        raw = self._span.array(np.uint8, first * self._line, count * self._line)
        lines = raw.reshape(count, self._line)
        if self.type in _NUMPY:
            return lines.view(_NUMPY[self.type])
        if not count:
            return np.zeros((0, self.shape[-1]), np.float32)
        return _dequantised(lines, self.type)

    def refuse_unreadable(self) -> None:
        """Raises InputError for a type that cannot be read: ggml has more than Python knows."""
        if self.type in _NUMPY:
            return
        known = _quants().get(self.type)
        try:
            if known is None:
                raise NotImplementedError
            _dequantised(np.zeros((1, known[1]), np.uint8), self.type)
        except NotImplementedError as error:
            raise InputError(
                f"tensor {self.name!r} of {self.file.name} is {self.type}, which the gguf package "
                "cannot dequantise: give a file whose output tensor is of another type, or try a "
                "newer gguf"
            ) from error

    @cached_property
    def _span(self) -> Span:
        return self.file.span(self.begin, self.begin + (self.size or 0))


@dataclass(frozen=True)
class Model:
    """A GGUF model, whole or split: its settings and its tensors by name."""

    name: str
    settings: Mapping[str, Setting]
    tensors: Mapping[str, Tensor]

    def tensor(self, name: str) -> Tensor:
        """The tensor of that name.

        Raises InputError with the nearest name where there is none, and for one of a type that
        cannot be read.
        """
        if name not in self.tensors:
            near = get_close_matches(name, self.tensors, n=1) or list(self.tensors)[:8]
            raise InputError(
                f"{self.name} has no tensor {name!r}; it has {', '.join(near) or 'none'}"
            )
        found = self.tensors[name]
        found.refuse_unreadable()
        return found


def open_gguf(path: Path) -> Model:
    """The header of a GGUF file, and of the other parts where it is one part of a split model.

    No tensor is read. Raises InputError where the file is none, is damaged, or a part is missing.
    """
    _refuse_without_gguf()
    first = _read(path)
    count = first.settings.get("split.count", 1)
    if not isinstance(count, int) or count <= 1:
        return first
    match = _SPLIT_NAME.fullmatch(path.name)
    if match is None or int(match[3]) != count:
        raise InputError(
            f"{path} is one of {count} parts of a model: give the parts the names that llama.cpp "
            f"gave them, NAME-00001-of-{count:05}.gguf and so on"
        )
    names = [f"{match[1]}-{n:05}-of-{match[3]}.gguf" for n in range(1, count + 1)]
    folder = LocalFolder(path.parent)
    missing = [name for name in names if name != path.name and not folder.has(name)]
    if missing:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(
            f"{path} is one of {count} parts of a model, and {missing[0]}{others} is not beside "
            "it: fetch all parts"
        )
    parts = [_read(path.with_name(name)) for name in names]
    return _joined(str(path), parts)


def _joined(name: str, parts: list[Model]) -> Model:
    """The parts as one model; the first has the settings."""
    tensors: dict[str, Tensor] = {}
    for number, part in enumerate(parts):
        if part.settings.get("split.no") != number:
            raise InputError(
                f"{part.name} is named as part {number + 1} of a model, and says that it is part "
                f"{part.settings.get('split.no')} counted from 0: give the parts their own names"
            )
        twice = tensors.keys() & part.tensors.keys()
        if twice:
            raise InputError(f"{part.name} has tensor {min(twice)!r}, and so has an earlier part")
        tensors |= part.tensors
    return Model(name, parts[0].settings, tensors)


def _read(path: Path) -> Model:
    """The header of one file."""
    file = LocalFile(path)
    try:
        if file.size == 0:
            raise ValueError("it is empty")
        with (
            open_regular(path) as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            return _parse(file, _Cursor(data))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, struct.error) as error:
        raise InputError(f"{path} is no GGUF file, or a damaged one: {error}") from error


@dataclass
class _Cursor:
    """A place in the header. Whatever would lie beyond the end of the file raises ValueError."""

    data: mmap.mmap
    at: int = 0

    def take(self, length: int) -> int:
        """Where the next so many bytes begin; the cursor goes past them."""
        begin = self.at
        if length > len(self.data) - begin:
            raise ValueError("it ends too early")
        if length > _LONGEST_HEADER - begin:
            raise ValueError(f"its header has more than {_LONGEST_HEADER >> 20} MiB")
        self.at += length
        return begin

    def number(self, form: str) -> Any:
        """The next number."""
        return self.numbers(form, 1)[0]

    def numbers(self, form: str, count: int) -> list[Any]:
        """So many numbers."""
        begin = self.take(count * struct.calcsize(f"<{form}"))
        return list(struct.unpack_from(f"<{count}{form}", self.data, begin))

    def text(self) -> str:
        """The next string. Tokens need not be UTF-8."""
        begin = self.take(self.number("Q"))
        return self.data[begin : self.at].decode("utf-8", "backslashreplace")

    def pass_texts(self, count: int) -> None:
        """Past so many strings, of which a vocabulary has hundreds of thousands."""
        at, end, length_at = self.at, len(self.data), struct.Struct("<Q").unpack_from
        for _ in range(count):
            if at + 8 > end:
                raise ValueError("it ends too early")
            at += 8 + length_at(self.data, at)[0]
        self.at = at
        self.take(0)

    def refuse_beyond(self, count: int, least: int, most: int, what: str) -> None:
        """Raises ValueError where so many things of at least that many bytes cannot follow.

        Nor may they be more than ``most``.
        """
        if count > most:
            raise ValueError(f"it claims {count} {what}, and geom reads up to {most}")
        if count * least > len(self.data) - self.at:
            raise ValueError(f"it claims {count} {what}, and is too short for them")


def _parse(file: LocalFile, cursor: _Cursor) -> Model:
    """The whole header."""
    magic = cursor.data[:4]
    cursor.take(len(magic))
    if magic != b"GGUF":
        hint = "; if it is a pointer of Git LFS, run git lfs pull" if magic == b"vers" else ""
        raise ValueError(f"it does not begin as one{hint}")
    version = cursor.number("I")
    if version & 0xFFFF == 0:
        raise ValueError(
            "it is big-endian; gguf-convert-endian, of the gguf package, turns it round"
        )
    if version not in _VERSIONS:
        raise ValueError(f"it is of version {version}, geom reads 2 and 3; convert the model again")
    tensors, pairs = cursor.number("Q"), cursor.number("Q")
    cursor.refuse_beyond(pairs, 13, _MOST_SETTINGS, "settings")
    settings = dict(_distinct(_pair(cursor) for _ in range(pairs)))
    cursor.refuse_beyond(tensors, 32, _MOST_TENSORS, "tensors")
    infos = [_Info.read(cursor) for _ in range(tensors)]
    start = cursor.at + -cursor.at % _alignment(settings)
    found = _distinct((info.name, _tensor(file, info, start)) for info in infos)
    return Model(file.name, settings, dict(found))


def _distinct(pairs: Iterable[tuple[str, Any]]) -> Iterable[tuple[str, Any]]:
    """The pairs. Raises ValueError where two have the same name."""
    seen: set[str] = set()
    for name, value in pairs:
        if name in seen:
            raise ValueError(f"it has {name!r} twice")
        seen.add(name)
        yield name, value


def _pair(cursor: _Cursor) -> tuple[str, Setting]:
    """One setting; an array that nobody wants is an empty one."""
    key = cursor.text()
    kind = cursor.number("I")
    if kind == _STRING:
        return key, cursor.text()
    if kind != _ARRAY:
        return key, cursor.number(_scalar(kind, key))
    kind, count = cursor.number("I"), cursor.number("Q")
    if kind == _STRING:
        cursor.refuse_beyond(count, 8, _MOST_STRINGS, f"strings in {key!r}")
        if key in _KEPT:
            return key, [cursor.text() for _ in range(count)]
        cursor.pass_texts(count)
        return key, []
    form = _scalar(kind, key)
    if key in _KEPT:
        return key, cursor.numbers(form, count)
    cursor.take(count * struct.calcsize(f"<{form}"))
    return key, []


def _scalar(kind: int, key: str) -> str:
    """The type of a number in the metadata. There are no arrays of arrays, as in llama.cpp."""
    if kind >= len(_SCALARS) or not _SCALARS[kind]:
        raise ValueError(f"its setting {key!r} is of an unknown type, {kind}")
    return _SCALARS[kind]


def _alignment(settings: Mapping[str, Setting]) -> int:
    value = settings.get("general.alignment", 32)
    if not isinstance(value, int) or value < 1 or value & (value - 1):
        raise ValueError(f"its general.alignment is {value!r}, no power of two")
    return value


@dataclass(frozen=True)
class _Info:
    """A tensor as the header describes it; dimensions run from the innermost out."""

    name: str
    dimensions: list[int]
    kind: int
    offset: int

    @classmethod
    def read(cls, cursor: _Cursor) -> _Info:
        name = cursor.text()
        rank = cursor.number("I")
        if not 1 <= rank <= 4:
            raise ValueError(f"tensor {name!r} has {rank} dimensions, ggml knows 1 to 4")
        dimensions = cursor.numbers("Q", rank)
        return cls(name, dimensions, cursor.number("I"), cursor.number("Q"))


def _tensor(file: LocalFile, info: _Info, start: int) -> Tensor:
    """The tensor, checked against the file's length."""
    kinds = _type_names()
    name = kinds.get(info.kind, f"of ggml's type {info.kind}")
    shape = tuple(reversed(info.dimensions))
    out = Tensor(info.name, name, shape, file, start + info.offset)
    if out.begin + (out.size or 0) > file.size:
        raise ValueError(f"tensor {info.name!r} lies outside it; the file may be cut short")
    return out


# What the gguf package knows


def _refuse_without_gguf() -> None:
    try:
        import gguf  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise InputError(f"model gguf: needs the package gguf ({error}): {_EXTRA}") from error


@cache
def _type_names() -> dict[int, str]:
    """The types of tensors by their numbers."""
    from gguf.constants import GGMLQuantizationType

    return {int(kind): kind.name for kind in GGMLQuantizationType}


@cache
def _quants() -> dict[str, tuple[int, int]]:
    """How many numbers, and bytes, make a block, by the type's name."""
    from gguf.constants import GGML_QUANT_SIZES

    return {kind.name: sizes for kind, sizes in GGML_QUANT_SIZES.items()}


def _dequantised(lines: NDArray[np.uint8], name: str) -> NDArray[np.float32]:
    """Lines of blocks as float32. Raises NotImplementedError for a type that gguf cannot."""
    from gguf.constants import GGMLQuantizationType
    from gguf.quants import dequantize

    with np.errstate(all="ignore"):  # infinite scales are refused where the numbers are used
        out: NDArray[np.float32] = dequantize(lines, GGMLQuantizationType[name])
    return out
