"""The files of a checkpoint, found by name."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from geom import InputError, open_regular, read_regular
from geom_plugins.checkpoints.pointers import refuse_pointer
from geom_plugins.checkpoints.spans import ByteFile, LocalFile

LARGEST = 256 << 20
"""The most bytes of a file that is read whole: configurations, indices and tokenizers."""


class Folder(Protocol):
    """The folder that holds the files of one checkpoint.

    A name may come from another file of the checkpoint, as shards come from an index. Every method
    raises InputError for a name that leads out of the folder.
    """

    @property
    def name(self) -> str:
        """The folder's name as the user knows it, for messages."""

    @property
    def entries(self) -> Collection[str]:
        """The names of all that lies in the folder; those of folders end in a slash."""

    def has(self, file: str) -> bool:
        """Return whether there is a file of that name."""

    def path(self, file: str) -> Path:
        """Return the path of a whole file on the local disk.

        Raises InputError if the file is not available.
        """

    def read(self, file: str) -> bytes:
        """Read all of a small file. Raises InputError if it is not available, or not small."""

    def open(self, file: str) -> ByteFile:
        """Open a large file, to be read in part. Raises InputError if it is not available."""


def inner(file: str, where: str) -> str:
    """Return the name of a file in the folder that ``where`` names.

    Raises InputError for a name that leads, or could be taken to lead, out of the folder.
    """
    if leads_out(file):
        raise InputError(
            f"{where} names the file {file!r}, which is not one of its own; fetch the checkpoint "
            "from a source you trust"
        )
    return file


def leads_out(name: str) -> bool:
    """Return whether a relative path may, on any system, lead out of the folder it starts from."""
    return bool({"", ".", ".."} & set(name.split("/"))) or any(
        c in "\\:" or ord(c) < 32 for c in name
    )


@dataclass(frozen=True)
class LocalFolder:
    """A checkpoint directory on this machine."""

    root: Path

    @property
    def name(self) -> str:
        """The path as the user gave it."""
        return str(self.root)

    @cached_property
    def entries(self) -> Collection[str]:
        """The names of all that lies in the folder; those of folders end in a slash."""
        try:
            with os.scandir(self.root) as found:
                return sorted(entry.name + "/" * entry.is_dir() for entry in found)
        except OSError as error:
            raise InputError(
                f"{self.root} cannot be listed: {error.strerror or error}; check its permissions"
            ) from error

    def has(self, file: str) -> bool:
        """Return whether there is a file of that name."""
        return self._place(file).is_file()

    def path(self, file: str) -> Path:
        """Return the path of the file."""
        path = self._place(file)
        open_regular(path).close()
        return path

    def read(self, file: str) -> bytes:
        """Read all of the file."""
        path = self._place(file)
        content = read_regular(path, LARGEST)
        refuse_pointer(content, str(path))
        return content

    def open(self, file: str) -> ByteFile:
        """Open the file."""
        return LocalFile(self._place(file))

    def _place(self, file: str) -> Path:
        """Return where the file would be. Raises InputError for a link that leaves the folder."""
        path = self.root / inner(file, self.name)
        try:
            target = path.resolve()
        except (OSError, RuntimeError) as error:
            raise InputError(f"{path} is a link that leads back to itself") from error
        if not any(target.is_relative_to(home) for home in self._homes):
            raise InputError(
                f"{path} is a link that leads out of the folder; put the file itself there"
            )
        return path

    @cached_property
    def _homes(self) -> tuple[Path, ...]:
        """The folders its files may be in: itself, and for a snapshot in the Hub's cache its blobs.

        There models--OWNER--NAME/snapshots/COMMIT has links to models--OWNER--NAME/blobs.
        """
        root = self.root.resolve()
        repository = root.parent.parent
        if root.parent.name == "snapshots" and repository.name.startswith("models--"):
            return root, repository / "blobs"
        return (root,)
