"""The GGUF format of llama.cpp: a header with settings and tensor names, then the tensors.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The header is parsed here: the gguf
package's own reader makes two arrays for every token and merge, which takes 20 seconds and 600 MiB
for a vocabulary of 128,000, and it follows the counts in a damaged file without end.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Protocol

from geom import InputError, install_command, open_regular
from geom_plugins.checkpoints.folders import LocalFolder
from geom_plugins.checkpoints.gguf_tensors import Tensor, type_names
from geom_plugins.checkpoints.pointers import refuse_pointer
from geom_plugins.checkpoints.spans import ByteFile, LocalFile

Setting = bool | int | float | str | list[Any]
"""One value of the header's metadata."""

_SCALARS = ("B", "b", "H", "h", "I", "i", "f", "?", "", "", "Q", "q", "d")
"""The metadata types by number, as struct's format characters; 8 and 9 are strings and arrays."""

_STRING, _ARRAY = 8, 9

_KEPT = ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type")
"""The only arrays that are kept; merges and scores are skipped."""

_VERSIONS = (2, 3)

_LONGEST_HEADER = 256 << 20
_MOST_SETTINGS, _MOST_TENSORS, _MOST_STRINGS = 1 << 16, 200_000, 1 << 22
"""The most bytes in a header, and the most items: a sparse file can be long enough to claim more.

The largest models have some thousands of tensors per file and a million merges.
"""

_FIRST_PIECE, _LARGEST_PIECE = 1 << 19, 16 << 20
"""The fewest and the most bytes of a header that are fetched at once."""

_SPLIT_NAME = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")


class GgufPlace(Protocol):
    """The folder, here or on a server, where a GGUF file lies with the other parts of its model."""

    @property
    def file(self) -> str:
        """The file's own name in the folder."""

    def has(self, file: str) -> bool:
        """Return whether there is a file of that name."""

    def open(self, file: str) -> ByteFile:
        """Open a file. Raises InputError if it is not available."""


@dataclass(frozen=True)
class OnDisk:
    """A file on this machine, which may itself be a link; the other parts stay in its folder."""

    path: Path

    @property
    def file(self) -> str:
        """The file's own name."""
        return self.path.name

    def has(self, file: str) -> bool:
        """Return whether there is a file of that name. Raises InputError for a link that leaves."""
        return LocalFolder(self.path.parent).has(file)

    def open(self, file: str) -> ByteFile:
        """Open a file of the folder."""
        return LocalFile(self.path.with_name(file))


@dataclass(frozen=True)
class Model:
    """A GGUF model, whole or split: its settings and its tensors by name."""

    name: str
    settings: Mapping[str, Setting]
    tensors: Mapping[str, Tensor]

    def tensor(self, name: str) -> Tensor:
        """Return the tensor of that name.

        Raises InputError, with the nearest name, if there is no such tensor, and if its type cannot
        be read.
        """
        if name not in self.tensors:
            near = get_close_matches(name, self.tensors, n=1) or list(self.tensors)[:8]
            raise InputError(
                f"{self.name} has no tensor {name!r}; it has {', '.join(near) or 'none'}"
            )
        found = self.tensors[name]
        found.refuse_unreadable()
        return found


def open_gguf(place: Path | GgufPlace) -> Model:
    """Read the header of a GGUF file, and those of the other parts if it is part of a split model.

    No tensor is read. Raises InputError if the file is not a GGUF file, is damaged, or if a part is
    missing.
    """
    _refuse_without_gguf()
    place = OnDisk(place) if isinstance(place, Path) else place
    first = _read(place.open(place.file))
    count = first.settings.get("split.count", 1)
    if not isinstance(count, int) or count <= 1:
        return first
    match = _SPLIT_NAME.fullmatch(place.file)
    if match is None or int(match[3]) != count:
        raise InputError(
            f"{first.name} is one of {count} parts of a model: give the parts the names that "
            f"llama.cpp gave them, NAME-00001-of-{count:05}.gguf and so on"
        )
    names = [f"{match[1]}-{n:05}-of-{match[3]}.gguf" for n in range(1, count + 1)]
    missing = [name for name in names if name != place.file and not place.has(name)]
    if missing:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(
            f"{first.name} is one of {count} parts of a model, and {missing[0]}{others} is not in "
            "the same folder: fetch all parts"
        )
    parts = [first if name == place.file else _read(place.open(name)) for name in names]
    return _joined(first.name, parts)


def _joined(name: str, parts: list[Model]) -> Model:
    """Join the parts into one model; the first part has the settings."""
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


def _read(file: ByteFile) -> Model:
    """Read the header of one file."""
    try:
        if file.size == 0:
            raise ValueError("it is empty")
        if not isinstance(file, LocalFile):
            return _parse(file, _Cursor(b"", file.size, file))
        with (
            open_regular(file.path) as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            return _parse(file, _Cursor(data, len(data), None))
    except OSError as error:
        raise InputError(f"{file.name} cannot be read: {error.strerror or error}") from error
    except (ValueError, struct.error) as error:
        raise InputError(f"{file.name} is not a GGUF file, or is damaged: {error}") from error


class _Cursor:
    """A position in the header. Reading beyond the end of the file raises ValueError.

    Of a file on a server, ``data`` is as much of its beginning as was needed so far: it comes in
    pieces, each as long as all before it, so that a header of any length takes few requests.
    """

    def __init__(self, data: mmap.mmap | bytes, size: int, rest: ByteFile | None) -> None:
        self.data, self.size, self.at = data, size, 0
        self._rest = rest

    def need(self, end: int) -> None:
        """Have the bytes up to ``end``. Raises ValueError if the file, or a header, is shorter."""
        if end > self.size:
            raise ValueError("it ends too early")
        if end > _LONGEST_HEADER:
            raise ValueError(f"its header has more than {_LONGEST_HEADER >> 20} MiB")
        while self._rest is not None and end > len(self.data):
            have = len(self.data)
            upto = min(self.size, have + max(_FIRST_PIECE, min(have, _LARGEST_PIECE)))
            self.data = self.data[:] + self._rest.span(have, upto).bytes()

    def take(self, length: int) -> int:
        """Return where the next ``length`` bytes begin, and move past them."""
        begin = self.at
        self.need(begin + length)
        self.at += length
        return begin

    def number(self, form: str) -> Any:
        """Read the next number."""
        return self.numbers(form, 1)[0]

    def numbers(self, form: str, count: int) -> list[Any]:
        """Read the next ``count`` numbers."""
        begin = self.take(count * struct.calcsize(f"<{form}"))
        return list(struct.unpack_from(f"<{count}{form}", self.data, begin))

    def text(self) -> str:
        """Read the next string. Tokens need not be UTF-8."""
        begin = self.take(self.number("Q"))
        return self.data[begin : self.at].decode("utf-8", "backslashreplace")

    def pass_texts(self, count: int) -> None:
        """Move past ``count`` strings, of which a vocabulary has hundreds of thousands."""
        at, end, length_at = self.at, len(self.data), struct.Struct("<Q").unpack_from
        for _ in range(count):
            if at + 8 > end:
                self.need(at + 8)
                end = len(self.data)
            at += 8 + length_at(self.data, at)[0]
        self.at = at
        self.take(0)

    def refuse_beyond(self, count: int, least: int, most: int, what: str) -> None:
        """Raise ValueError if ``count`` items of at least ``least`` bytes each cannot follow.

        It is also raised if ``count`` is above ``most``.
        """
        if count > most:
            raise ValueError(f"it claims {count} {what}, and geom reads up to {most}")
        if count * least > self.size - self.at:
            raise ValueError(f"it claims {count} {what}, and is too short for them")


def _parse(file: ByteFile, cursor: _Cursor) -> Model:
    """Parse the whole header."""
    cursor.need(min(64, cursor.size))
    refuse_pointer(cursor.data[:64], file.name)
    if cursor.data[:4] != b"GGUF":
        raise ValueError("it does not begin with GGUF")
    cursor.take(4)
    version = cursor.number("I")
    if version & 0xFFFF == 0:
        raise ValueError(
            "it is big-endian; convert it with gguf-convert-endian, of the gguf package"
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
    """Yield the pairs. Raises ValueError if two have the same name."""
    seen: set[str] = set()
    for name, value in pairs:
        if name in seen:
            raise ValueError(f"it has {name!r} twice")
        seen.add(name)
        yield name, value


def _pair(cursor: _Cursor) -> tuple[str, Setting]:
    """Read one setting; an array that is not kept comes out empty."""
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
    """Return the type of a number in the metadata. As in llama.cpp, arrays do not nest."""
    if kind >= len(_SCALARS) or not _SCALARS[kind]:
        raise ValueError(f"its setting {key!r} is of an unknown type, {kind}")
    return _SCALARS[kind]


def _alignment(settings: Mapping[str, Setting]) -> int:
    value = settings.get("general.alignment", 32)
    if not isinstance(value, int) or value < 1 or value & (value - 1):
        raise ValueError(f"its general.alignment is {value!r}, not a power of two")
    return value


@dataclass(frozen=True)
class _Info:
    """A tensor as the header describes it, with its innermost dimension first."""

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


def _tensor(file: ByteFile, info: _Info, start: int) -> Tensor:
    """Return the tensor, checked against the file's length."""
    kinds = type_names()
    name = kinds.get(info.kind, f"of ggml's type {info.kind}")
    shape = tuple(reversed(info.dimensions))
    out = Tensor(info.name, name, shape, file, start + info.offset)
    if out.begin + (out.size or 0) > file.size:
        raise ValueError(f"tensor {info.name!r} lies outside it; the file may be cut short")
    return out


def _refuse_without_gguf() -> None:
    try:
        import gguf  # noqa: F401 - only to see whether it is installed
    except ImportError as error:
        raise InputError(
            f"model gguf: needs the package gguf ({error}): {install_command('gguf')}"
        ) from error
