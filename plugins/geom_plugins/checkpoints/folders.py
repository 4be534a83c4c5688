"""A checkpoint's files, found by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from geom_plugins.checkpoints.spans import ByteFile, LocalFile


class Folder(Protocol):
    """Where the files of one checkpoint are."""

    @property
    def name(self) -> str:
        """How the user knows it, for messages."""

    def has(self, file: str) -> bool:
        """Whether there is a file of that name."""

    def path(self, file: str) -> Path:
        """A small file, whole, on the local disk. Raises InputError where it cannot be had."""

    def open(self, file: str) -> ByteFile:
        """A large file, to be read in part. Raises InputError where it cannot be had."""


@dataclass(frozen=True)
class LocalFolder:
    """A checkpoint directory on this machine."""

    root: Path

    @property
    def name(self) -> str:
        """The path as it was given."""
        return str(self.root)

    def has(self, file: str) -> bool:
        """Whether there is a file of that name."""
        return (self.root / file).is_file()

    def path(self, file: str) -> Path:
        """The file."""
        return self.root / file

    def open(self, file: str) -> ByteFile:
        """The file."""
        return LocalFile(self.root / file)
