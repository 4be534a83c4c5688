"""A plugin that is to work, with its options: who it is, and its code at work."""

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

    Its code is a stranger's: what it may raise is met here, and nowhere else. The work that is
    handed to the methods gets the record and the options.
    """

    kind: str
    record: R
    options: Any

    def __str__(self) -> str:
        return f"{self.kind} {self.record.name}"

    def call(self, work: Callable[[R, Any], T], doing: str = "") -> T:
        """What the plugin returns; ``doing`` is what it was asked, as in ``asked for its memory``.

        Raises PluginError for whatever it raises but geom's own errors and KeyboardInterrupt.
        """
        what = f"{self}, {doing}," if doing else str(self)
        return demand(what, lambda: work(self.record, self.options))

    def attempt(self, work: Callable[[R, Any], T]) -> T | Raised:
        """What the plugin returns, or what it raises, which costs the run no more than that."""
        return attempt(lambda: work(self.record, self.options))

    def draw(self, work: Callable[[R, Any], Iterable[T]]) -> Iterator[T | Raised]:
        """What the plugin yields, one by one, and last what it raises, if it raises."""
        return draw(lambda: work(self.record, self.options))
