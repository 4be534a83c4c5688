"""One writer a run: whoever writes it holds a lock beside the file, which a kill lets go."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from geom.errors import StoreError
from geom.files.replacing import COMPANIONS, is_database, kind_of

SUFFIX = "-lock"
"""What the name of the lock's file has more than the run's; it is there while the run is written.

One that a killed process left is no harm, and goes with the next that writes.
"""

_ELSEWHERE = "give an --out in a folder you can write to"


def hold(path: Path) -> Callable[[], None]:
    """Keep others from writing the run; what is returned lets go.

    Raises StoreError where somebody else holds it, where the folder cannot be written to, and for
    names at which a run would be written through a link or over a file of another's.
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
        with suppress(OSError):  # Windows removes nothing that is open
            beside.unlink()
        lock.release()

    return let_go


def _refuse_others(path: Path) -> None:
    """Raises StoreError where the run, its lock or SQLite's files would cost another file.

    A run that is there may go on by a link to it; a new one is not begun through a link.
    """
    kind = kind_of(path)
    if kind not in (None, "a file") and not (kind == "a link" and is_database(path)):
        raise StoreError(f"{path}: it is {kind}, and no run goes there; {_ELSEWHERE}")
    real = path.resolve()
    for suffix in COMPANIONS:
        other = real.with_name(real.name + suffix)
        kind = kind_of(other)
        taken = suffix == SUFFIX and kind == "a file" and other.stat().st_size > 0
        if taken or kind not in (None, "a file") or is_database(other):
            raise StoreError(
                f"{path}: {other.name} is there, a name that the run needs for a file of its own; "
                "give another --out"
            )
        owner = real.with_name(real.name.removesuffix(suffix) or real.name)
        if owner != real and is_database(owner):
            raise StoreError(f"{path} belongs to the run {owner}; give another --out")
