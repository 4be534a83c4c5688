"""Work for other processes, and a way to wait for it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path


def last_a_minute(folder: Path, item: int) -> Iterator[int]:
    """Yield item 0 at once; for others, name this process in a file, then outlast any test."""
    if item > 0:
        (folder / f"{os.getpid()}").touch()
        time.sleep(60)
    yield item


def until(condition: Callable[[], object], seconds: float = 30.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
