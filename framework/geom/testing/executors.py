"""The suite for executors."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from geom.errors import contained
from geom.testing.asked import Asked

ITEMS = range(20)

PATIENCE = 20.0
"""The seconds that an executor has for passing on one value."""


def does_every_item_once(asked: Asked) -> None:
    """Check that each item's results come back once, in any order."""
    found = Counter(value for results in _mapped(asked) for value in results)
    assert found == Counter(value for item in ITEMS for value in twice(item)), (
        f"{asked} brings back {sorted(found.elements())}"
    )


def does_nothing_for_nothing(asked: Asked) -> None:
    """Check that without items there are no results and no error."""
    assert list(asked.record.map(twice, [], asked.options)) == [], f"{asked} makes something up"


def passes_on_what_is_raised(asked: Asked) -> None:
    """Check that an exception of the function reaches the caller."""
    try:
        for results in asked.record.map(refuse, [1], asked.options):
            list(results)
    except ZeroDivisionError:
        return
    raise AssertionError(f"{asked} swallows what the function raises")


def brings_each_value_as_it_is_made(asked: Asked) -> None:
    """Check that a value arrives while its item is unfinished: the item waits for its arrival."""
    with tempfile.TemporaryDirectory() as name:
        folder, late = Path(name), []
        for results in asked.record.map(partial(waiting, folder), range(2), asked.options):
            for item, in_time in results:
                (folder / str(item)).touch()
                late += [] if in_time else [item]
    assert not late, f"{asked} keeps the values of an item back until it is done"


def takes_no_exit_for_an_end(asked: Asked) -> None:
    """Check that a function that calls sys.exit counts as one that raises."""
    try:
        with contained():
            for results in asked.record.map(leave, [1], asked.options):
                list(results)
    except Exception:
        return
    raise AssertionError(f"{asked} takes sys.exit for the end of the work")


def says_how_much_it_does_at_once(asked: Asked) -> None:
    """Check that the number of items worked on at once is at least one."""
    workers = asked.record.workers(asked.options)
    assert isinstance(workers, int), f"{asked}: it has {workers!r} workers"
    assert workers >= 1, f"{asked}: it has {workers} workers"


def twice(item: int) -> Iterator[int]:
    """Yield two results for an item; other processes find this function by its name."""
    yield item
    yield -item


def waiting(folder: Path, item: int) -> Iterator[tuple[int, bool]]:
    """Yield the item, then yield it again once the folder has a file of its name, or time is up."""
    yield item, True
    end = time.monotonic() + PATIENCE
    while not (arrived := (folder / str(item)).exists()) and time.monotonic() < end:
        time.sleep(0.01)
    yield item, arrived


def leave(item: int) -> Iterator[int]:
    """Raise the exception of sys.exit."""
    if item:
        raise SystemExit(0)
    yield item


def refuse(item: int) -> Iterator[int]:
    """Raise ZeroDivisionError."""
    yield item // 0


def _mapped(asked: Asked) -> Iterator[list[int]]:
    for results in asked.record.map(twice, ITEMS, asked.options):
        yield list(results)


SUITE = (
    does_every_item_once,
    does_nothing_for_nothing,
    passes_on_what_is_raised,
    brings_each_value_as_it_is_made,
    takes_no_exit_for_an_end,
    says_how_much_it_does_at_once,
)
