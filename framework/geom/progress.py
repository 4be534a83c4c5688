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
    """Yield items, reporting each as done when the next is asked for.

    Parameters
    ----------
    items : iterable
        What a loop goes through.
    stage : str
        What the loop does, for the reader.
    total : float
        The amount of all items together.
    unit : str, optional
        What is counted.
    amount : callable, optional
        ``amount(item)`` is how much of the total an item is; 1 by default.

    Yields
    ------
    item
        The items, one after another.
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
    """Report how far a stage is, if no loop over items does.

    Parameters
    ----------
    stage : str
        What is done, for the reader.
    done : float
        How much of the total is done.
    total : float
        The whole.
    unit : str
        What is counted.
    """
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
