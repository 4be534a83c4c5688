"""Progress of long work, without the worker knowing who watches.

A plugin wraps its loop in `track_progress`; whoever wants to see the progress sets a watcher with
`watched`. With no watcher, `track_progress` is the bare loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")

Watcher = Callable[[str, float, float, str], None]
"""Called with the stage's name, what is done, the total, and their unit: "tokens", "bytes"."""

_watcher: ContextVar[Watcher | None] = ContextVar("geom_progress_watcher", default=None)


def track_progress(
    items: Iterable[T],
    stage: str,
    total: float,
    unit: str = "tokens",
    amount: Callable[[T], float] = lambda item: 1,
) -> Iterator[T]:
    """The items, one after another, each reported as done when the next is asked for.

    ``amount`` says how much of the ``total`` an item is, in the ``unit``.
    """
    watcher = _watcher.get()
    if watcher is None:
        yield from items
        return
    done = 0.0
    watcher(stage, done, total, unit)
    for item in items:
        yield item
        done += amount(item)
        watcher(stage, done, total, unit)


def report_progress(stage: str, done: float, total: float, unit: str) -> None:
    """Tell whoever watches how far a stage is, where no loop over items does."""
    watcher = _watcher.get()
    if watcher is not None:
        watcher(stage, done, total, unit)


@contextmanager
def watched(watcher: Watcher | None) -> Iterator[None]:
    """Within the block, `track_progress` reports to ``watcher``."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)
