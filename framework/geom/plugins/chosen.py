"""A plugin chosen for a run, with its options: its name, and every call of its code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from geom.errors import Raised, attempt, demand, draw
from geom.plugins.records import Record

R = TypeVar("R", bound=Record)
T = TypeVar("T")


@dataclass(frozen=True)
class Chosen(Generic[R]):
    """A plugin's record and its validated options.

    A plugin's code is a stranger's: its exceptions are handled here and nowhere else. The methods
    take a function and call it with the record and the options.
    """

    kind: str
    record: R
    options: Any

    def __str__(self) -> str:
        return f"{self.kind} {self.record.name}"

    def call(self, work: Callable[[R, Any], T], doing: str = "") -> T:
        """Return what the plugin returns; ``doing`` names the request: ``asked for its memory``.

        Raises PluginError for anything the plugin raises except geom's own errors and
        KeyboardInterrupt.
        """
        what = f"{self}, {doing}," if doing else str(self)
        return demand(what, lambda: work(self.record, self.options))

    def attempt(self, work: Callable[[R, Any], T]) -> T | Raised:
        """Return what the plugin returns, or a `Raised` with what it raises."""
        return attempt(lambda: work(self.record, self.options))

    def draw(self, work: Callable[[R, Any], Iterable[T]]) -> Iterator[T | Raised]:
        """Yield what the plugin yields, one by one, and at the end what it raises, if it raises."""
        return draw(lambda: work(self.record, self.options))
