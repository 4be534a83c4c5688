"""Writing a file that appears when it is complete, and never replaces what geom must not replace.

All code that writes a file at a path given by a user does it here: exports, reports, plots. The
file is written under a fresh name next to the path, flushed to the disk, and renamed.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from geom.errors import InputError
from geom.files.opening import kind_of_mode

COMPANIONS = ("-wal", "-shm", "-journal", "-lock")
"""The suffixes of the files that SQLite and geom keep next to a run."""

_DATABASE = b"SQLite format 3\0"


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a file to write to; it is at ``path`` when the block ends, and nowhere if that raises.

    It replaces a regular file and takes over its permissions. Raises InputError if nothing can be
    written at the path, and if `refuse_irreplaceable` refuses it.
    """
    refuse_irreplaceable(path)
    part = path.with_name(f".geom-{secrets.token_hex(8)}.part")
    try:
        try:
            with part.open("xb") as file:
                yield file
            _keep(part, path)
            refuse_irreplaceable(path)  # it may have appeared meanwhile
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror or error}; give a file that can be written"
        ) from error


def refuse_irreplaceable(path: Path) -> None:
    """Raise InputError if a file at the path would replace something that nobody meant to lose.

    That is a run or any other SQLite database, under any name, link or hard link; a link, a folder,
    a pipe or a device; and the name of a file that belongs to a run next to it.
    """
    kind = kind_of(path)
    if kind is not None and kind != "a file":
        raise InputError(f"{path}: it is {kind}, and geom does not write to it; give a file's name")
    if is_database(path):
        raise InputError(
            f"{path} is a run, or another database, and is not overwritten; give another --out"
        )
    for suffix in COMPANIONS:
        owner = path.with_name(path.name.removesuffix(suffix) or path.name)
        if owner != path and is_database(owner):
            raise InputError(f"{path} belongs to the run {owner}; give another --out")


def kind_of(path: Path) -> str | None:
    """Name what is at the path without following a link: "a file" or another; None for nothing."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return None
    return kind_of_mode(mode)


def is_database(path: Path) -> bool:
    """Return whether the path, a link followed, is a regular file that begins as SQLite's do."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(_DATABASE)) == _DATABASE
    except OSError:
        return False


def _keep(part: Path, path: Path) -> None:
    """Flush the written file to the disk, with the permissions of the file that it replaces."""
    if path.exists():
        part.chmod(stat.S_IMODE(path.stat().st_mode) & 0o777)
    descriptor = os.open(part, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
