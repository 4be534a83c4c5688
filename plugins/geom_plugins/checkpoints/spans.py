"""Stretches of a file's bytes, fetched only when they are wanted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from geom import InputError, open_regular


@dataclass(frozen=True)
class Span:
    """``length`` bytes of a local file from ``offset`` on; ``of`` names their origin."""

    path: Path
    offset: int
    length: int
    of: str

    def array(self, dtype: DTypeLike, begin: int, count: int) -> NDArray[Any]:
        """``count`` numbers from the ``begin``-th on. Raises InputError where the file is short."""
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
        """All of it."""
        return self.array(np.uint8, 0, self.length).tobytes()


class ByteFile(Protocol):
    """A file that can be read in part, wherever it is."""

    @property
    def name(self) -> str:
        """How the user knows it, for messages."""

    @property
    def size(self) -> int:
        """Its length in bytes."""

    def span(self, begin: int, end: int) -> Span:
        """The bytes from ``begin`` up to ``end``, on the local disk when this returns.

        Raises InputError where they cannot be had.
        """


@dataclass(frozen=True)
class LocalFile:
    """A file on this machine: its spans are where they are."""

    path: Path

    def __post_init__(self) -> None:
        open_regular(self.path).close()

    @property
    def name(self) -> str:
        """The path as it was given."""
        return str(self.path)

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return self.path.stat().st_size

    def span(self, begin: int, end: int) -> Span:
        """The bytes from ``begin`` up to ``end``."""
        return Span(self.path, begin, end - begin, self.name)
