"""Opening the file of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from geom.errors import StoreError
from geom.model.readout import Readout
from geom.store.connection import connect
from geom.store.reading import Run


def open_file(path: str | Path, find_readout: Callable[[Run], Readout] | None = None) -> Run:
    """Open a stored run, read-only. Raises StoreError if the file is missing or is not a run."""
    path = Path(path)
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise StoreError(f"{path} {what}; name a file that geom run wrote")
    run = Run(connect(path, "ro"), path, find_readout)
    try:
        run.check()
    except BaseException:
        run.close()
        raise
    return run
