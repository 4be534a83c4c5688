"""Progress of long work, without the worker knowing who watches.

A plugin wraps its loop in `track`; whoever wants to see the progress sets a watcher with
`watched`. With no watcher, `track` is the bare loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")

Watcher = Callable[[str, float, float], None]
"""Called with the stage's name, what is done and the total, in the stage's own units."""

_watcher: ContextVar[Watcher | None] = ContextVar("geom_progress_watcher", default=None)


def track(items: Iterable[T], stage: str, total: float) -> Iterator[T]:
    """The items, one after another, each reported as done when the next is asked for."""
    watcher = _watcher.get()
    if watcher is None:
        yield from items
        return
    watcher(stage, 0, total)
    for done, item in enumerate(items, start=1):
        yield item
        watcher(stage, done, total)


@contextmanager
def watched(watcher: Watcher | None) -> Iterator[None]:
    """Within the block, `track` reports to ``watcher``."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)
