"""Report the progress of long work to a watcher that the worker need not know.

A plugin wraps its loop in `track_progress`; a caller that wants to see the progress sets a watcher
with `watched`. Without a watcher, `track_progress` only yields the items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from geom.nouns import Noun

T = TypeVar("T")

Watcher = Callable[[str, float, float, str], None]
"""A function called with the stage, what is done, the total and the unit: "tokens", "bytes".

A stage has ended once its total is done. If it ends before, its last report has a smaller total.
"""

_watcher: ContextVar[Watcher | None] = ContextVar("geom_progress_watcher", default=None)


def track_progress(
    items: Iterable[T],
    stage: str,
    total: float,
    unit: str = "tokens",
    amount: Callable[[T], float] = lambda item: 1,
) -> Iterator[T]:
    """Yield items, and report each one as done when the next one is asked for.

    A loop that ends early, for whatever reason, reports what it has done as its total.

    Parameters
    ----------
    items : iterable
        The items of a loop.
    stage : str
        A name for the work, for the reader.
    total : float
        The amount of all items together.
    unit : str, optional
        The unit of the amounts; ``tokens`` is shown as what the readout calls its rows.
    amount : callable, optional
        ``amount(item)`` is the share of the total that an item accounts for; 1 by default.

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
    try:
        for item in items:
            yield item
            done += amount(item)
            watcher(stage, done, max(done, total), unit)
    finally:
        if done < total:
            watcher(stage, done, done, unit)


def report_progress(stage: str, done: float, total: float, unit: str) -> None:
    """Report how far a stage has come, for work that is not a loop over items.

    Parameters
    ----------
    stage : str
        A name for the work, for the reader.
    done : float
        The amount that is done.
    total : float
        The amount in all.
    unit : str
        The unit of the amounts, as for `track_progress`.
    """
    watcher = _watcher.get()
    if watcher is not None:
        watcher(stage, done, total, unit)


@contextmanager
def watched(watcher: Watcher | None, noun: Noun = Noun.TOKEN) -> Iterator[None]:
    """Make `track_progress` report to ``watcher`` within the block.

    The unit ``tokens`` is given as what ``noun`` calls several of them.
    """

    def renamed(stage: str, done: float, total: float, unit: str) -> None:
        assert watcher is not None
        watcher(stage, done, total, noun.plural if unit == Noun.TOKEN.plural else unit)

    token = _watcher.set(None if watcher is None else renamed)
    try:
        yield
    finally:
        _watcher.reset(token)
