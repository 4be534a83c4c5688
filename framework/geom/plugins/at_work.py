"""Which plugin's code is running: for a thread that looks on, and for whoever is interrupted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")


class AtWork:
    """The plugins whose code is running, each called by the one before it.

    Attributes
    ----------
    interrupted : str or None
        The innermost plugin that Ctrl-C has stopped.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self.interrupted: str | None = None

    @property
    def name(self) -> str | None:
        """The innermost plugin at work, None if none is. Another thread may ask."""
        names = self._names[-1:]
        return names[0] if names else None

    @contextmanager
    def doing(self, name: str) -> Iterator[None]:
        """Note that a plugin is at work in the block."""
        self._names.append(name)
        try:
            yield
        except KeyboardInterrupt:
            self.interrupted = self.interrupted or name
            raise
        finally:
            self._names.pop()


_looking: ContextVar[AtWork | None] = ContextVar("geom_at_work", default=None)


@contextmanager
def looked_on() -> Iterator[None]:
    """Take note in the block of which plugin is at work, for `plugins_at_work`."""
    token = _looking.set(AtWork())
    try:
        yield
    finally:
        _looking.reset(token)


def plugins_at_work() -> AtWork:
    """Return what `looked_on` takes note of here; outside its block no plugin is seen at work."""
    return _looking.get() or AtWork()


@contextmanager
def at_work(name: str) -> Iterator[None]:
    """Note that a plugin is at work in the block, if anybody looks on."""
    found = _looking.get()
    if found is None:
        yield
    else:
        with found.doing(name):
            yield


def each_at_work(name: str, work: Callable[[], Iterable[T]]) -> Iterator[T]:
    """Return the items of a plugin's iterable; it is at work until it gives the next one."""
    with at_work(name):
        return _Items(name, iter(work()))


class _Items(Iterator[T]):
    def __init__(self, name: str, items: Iterator[T]) -> None:
        self._name, self._items = name, items

    def __next__(self) -> T:
        with at_work(self._name):
            return next(self._items)
