"""Spans of a file's bytes, fetched only when they are needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from geom import Filed, open_regular

Unpack = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True)
class Span:
    """A span of ``length`` bytes of a local file from ``offset``; ``of`` names their origin."""

    path: Path
    offset: int
    length: int
    of: str

    def filed(
        self, dtype: DTypeLike, shape: tuple[int, ...], unpack: Unpack | None = None
    ) -> Filed:
        """Return the span as an array of that type and shape, which is read by slices."""
        return Filed(self.path, self.offset, np.dtype(dtype), shape, self.of, unpack)

    def bytes(self) -> bytes:
        """Read the whole span."""
        return self.filed(np.uint8, (self.length,))[:].tobytes()


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
