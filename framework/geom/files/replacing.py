"""A file that geom writes: there when it is whole, and never over what is not geom's to replace.

Whoever writes a file at a path that a user gave does it here: exports, reports, plots. It is
written under a fresh name beside the path, put on the disk, and renamed.
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
"""What the names of the files have more that SQLite and geom keep beside a run."""

_DATABASE = b"SQLite format 3\0"


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which is at ``path`` when the block ends, and nowhere if it raises.

    It replaces a regular file, whose permissions it takes. Raises InputError for a path at which
    nothing can be written, and what `refuse_irreplaceable` does.
    """
    refuse_irreplaceable(path)
    part = path.with_name(f".geom-{secrets.token_hex(8)}.part")
    try:
        try:
            with part.open("xb") as file:
                yield file
            _keep(part, path)
            refuse_irreplaceable(path)  # it may have come meanwhile
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror or error}; give a file that can be written"
        ) from error


def refuse_irreplaceable(path: Path) -> None:
    """Raises InputError if a file at the path would take the place of what nobody meant to lose.

    That is a run or any other SQLite database, by whatever name, link or hard link; a link, a
    folder, a pipe or a device; and the name of a file that belongs to a run beside it.
    """
    kind = kind_of(path)
    if kind is not None and kind != "a file":
        raise InputError(f"{path}: it is {kind}, and never written through; give a file's name")
    if is_database(path):
        raise InputError(
            f"{path} is a run, or another database, and is not written over; give another --out"
        )
    for suffix in COMPANIONS:
        owner = path.with_name(path.name.removesuffix(suffix) or path.name)
        if owner != path and is_database(owner):
            raise InputError(f"{path} belongs to the run {owner}; give another --out")


def kind_of(path: Path) -> str | None:
    """What stands at the path, a link not followed: "a file" or another; None for nothing."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return None
    return kind_of_mode(mode)


def is_database(path: Path) -> bool:
    """Whether a regular file at the path, a link followed, begins as SQLite's do."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(_DATABASE)) == _DATABASE
    except OSError:
        return False


def _keep(part: Path, path: Path) -> None:
    """Put what was written on the disk, with the permissions of the file that it replaces."""
    if path.exists():
        part.chmod(stat.S_IMODE(path.stat().st_mode) & 0o777)
    descriptor = os.open(part, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
