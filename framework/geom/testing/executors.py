"""The suite for executors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from geom.testing.asked import Asked

ITEMS = range(20)


def does_every_item_once(asked: Asked) -> None:
    """Each item's results come back once, whatever the order."""
    found = Counter(value for results in _mapped(asked) for value in results)
    assert found == Counter(value for item in ITEMS for value in twice(item)), (
        f"{asked} brings back {sorted(found.elements())}"
    )


def does_nothing_for_nothing(asked: Asked) -> None:
    """No items, no results, and no error."""
    assert list(asked.record.map(twice, [], asked.options)) == [], f"{asked} makes something up"


def passes_on_what_is_raised(asked: Asked) -> None:
    """What the function raises reaches the one who asked."""
    try:
        for results in asked.record.map(refuse, [1], asked.options):
            list(results)
    except ZeroDivisionError:
        return
    raise AssertionError(f"{asked} swallows what the function raises")


def says_how_much_it_does_at_once(asked: Asked) -> None:
    """At least one item is in work at a time."""
    workers = asked.record.workers(asked.options)
    assert isinstance(workers, int), f"{asked}: it has {workers!r} workers"
    assert workers >= 1, f"{asked}: it has {workers} workers"


def twice(item: int) -> Iterator[int]:
    """Two results for an item; other processes find this function by its name."""
    yield item
    yield -item


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
    says_how_much_it_does_at_once,
)
