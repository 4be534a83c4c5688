"""One writer a run: whoever writes it holds a lock beside the file, which a kill lets go."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from geom.errors import StoreError

SUFFIX = "-lock"
"""What the name of the lock's file has more than the run's; it is there while the run is written.

One that a killed process left is no harm, and goes with the next that writes.
"""

_ELSEWHERE = "give an --out in a folder you can write to"


def hold(path: Path) -> Callable[[], None]:
    """Keep others from writing the run; what is returned lets go.

    Raises StoreError where somebody else holds it, and where the folder cannot be written to.
    """
    if not path.parent.is_dir():
        raise StoreError(f"{path}: its folder does not exist; {_ELSEWHERE}")
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
