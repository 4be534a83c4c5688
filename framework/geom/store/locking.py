"""One writer per run: the writer holds a lock file beside the run, which a kill releases."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from geom.errors import StoreError
from geom.files.replacing import COMPANIONS, is_database, kind_of

SUFFIX = "-lock"
"""The suffix that makes the lock file's name from the run's; it exists while the run is written.

A lock file that a killed process left behind does no harm; the next writer removes it.
"""

_ELSEWHERE = "give an --out in a folder you can write to"


def hold(path: Path) -> Callable[[], None]:
    """Keep other processes from writing the run; return a function that releases it.

    Raises StoreError if another process holds it, if the folder cannot be written to, or if the run
    would be written through a link or over another file.
    """
    if not path.parent.is_dir():
        raise StoreError(f"{path}: its folder does not exist; {_ELSEWHERE}")
    _refuse_others(path)
    beside = path.resolve()
    beside = beside.with_name(beside.name + SUFFIX)
    lock = FileLock(beside, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        if beside.exists():
            raise StoreError(
                f"{path}: another process is writing it: wait for it, or give another --out"
            ) from None
        raise StoreError(f"{path}: no file can be made there; {_ELSEWHERE}") from None
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; {_ELSEWHERE}") from error

    def let_go() -> None:
        with suppress(OSError):  # Windows does not remove an open file
            beside.unlink()
        lock.release()

    return let_go


def _refuse_others(path: Path) -> None:
    """Raise StoreError if the run, its lock or SQLite's files would overwrite another file.

    An existing run may be continued through a link to it; a new run is not begun through a link.
    """
    kind = kind_of(path)
    if kind not in (None, "a file") and not (kind == "a link" and is_database(path)):
        raise StoreError(f"{path}: it is {kind}, and a run needs a regular file; {_ELSEWHERE}")
    real = path.resolve()
    for suffix in COMPANIONS:
        other = real.with_name(real.name + suffix)
        kind = kind_of(other)
        taken = suffix == SUFFIX and kind == "a file" and other.stat().st_size > 0
        if taken or kind not in (None, "a file") or is_database(other):
            raise StoreError(
                f"{path}: {other.name} exists, and the run needs that name for its own file; "
                "give another --out"
            )
        owner = real.with_name(real.name.removesuffix(suffix) or real.name)
        if owner != real and is_database(owner):
            raise StoreError(f"{path} belongs to the run {owner}; give another --out")
