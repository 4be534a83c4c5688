"""Spans of a file's bytes, fetched only when they are needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from geom import InputError, open_regular


@dataclass(frozen=True)
class Span:
    """A span of ``length`` bytes of a local file from ``offset``; ``of`` names their origin."""

    path: Path
    offset: int
    length: int
    of: str

    def array(self, dtype: DTypeLike, begin: int, count: int) -> NDArray[Any]:
        """Read ``count`` numbers from the ``begin``-th. Raises InputError if the file is short."""
        size = np.dtype(dtype).itemsize
        try:
            with open_regular(self.path) as file:
                out = np.fromfile(file, dtype, count, offset=self.offset + begin * size)
        except OSError as error:
            raise InputError(f"{self.of} cannot be read: {error.strerror or error}") from error
        if len(out) != count:
            raise InputError(f"{self.of} ends too early: fetch it again")
        return out

    def bytes(self) -> bytes:
        """Read the whole span."""
        return self.array(np.uint8, 0, self.length).tobytes()


class ByteFile(Protocol):
    """A file, local or remote, that can be read in part."""

    @property
    def name(self) -> str:
        """The file's name as the user knows it, for messages."""

    @property
    def size(self) -> int:
        """Its length in bytes."""

    def span(self, begin: int, end: int) -> Span:
        """Return the bytes from ``begin`` up to ``end``, on the local disk when this returns.

        Raises InputError if they are not available.
        """


@dataclass(frozen=True)
class LocalFile:
    """A file on this machine, whose spans are read in place."""

    path: Path

    def __post_init__(self) -> None:
        open_regular(self.path).close()

    @property
    def name(self) -> str:
        """The path as the user gave it."""
        return str(self.path)

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return self.path.stat().st_size

    def span(self, begin: int, end: int) -> Span:
        """Return the bytes from ``begin`` up to ``end``."""
        return Span(self.path, begin, end - begin, self.name)
