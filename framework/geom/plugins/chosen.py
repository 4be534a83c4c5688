"""A plugin chosen for a run, with its options: its name, and every call of its code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from geom.errors import Raised, attempt, draw
from geom.plugins.at_work import at_work, each_at_work
from geom.plugins.records import Record

R = TypeVar("R", bound=Record)
T = TypeVar("T")


@dataclass(frozen=True)
class Chosen(Generic[R]):
    """A plugin's record and its validated options.

    A plugin's code is a stranger's: its exceptions are handled here and nowhere else. The methods
    take a function and call it with the record and the options. ``of`` is the field of the record
    with the callable that it calls and whose answer it checks: an error names the callable's line.
    """

    kind: str
    record: R
    options: Any

    def __str__(self) -> str:
        return f"{self.kind} {self.record.name}"

    def call(self, work: Callable[[R, Any], T], of: str, doing: str = "") -> T:
        """Return what the plugin returns; ``doing`` names the request: ``asked for its memory``.

        Raises PluginError for anything the plugin raises except geom's own errors and
        KeyboardInterrupt.
        """
        found = self.attempt(work, of)
        if isinstance(found, Raised):
            raise found.as_error(f"{self}, {doing}," if doing else str(self))
        return found

    def attempt(self, work: Callable[[R, Any], T], of: str) -> T | Raised:
        """Return what the plugin returns, or a `Raised` with what it raises."""
        with at_work(str(self)):
            found = attempt(lambda: work(self.record, self.options))
        return replace(found, code=self._code(of)) if isinstance(found, Raised) else found

    def look(self, at: Callable[[], T], of: str) -> T | Raised:
        """Return what a look at the plugin's answer returns, or a `Raised` with what it raises."""
        return self.attempt(lambda *_: at(), of)

    def draw(self, work: Callable[[R, Any], Iterable[T]], of: str) -> Iterator[T | Raised]:
        """Yield what the plugin yields, one by one, and at the end what it raises, if it raises."""
        for item in draw(lambda: each_at_work(str(self), lambda: work(self.record, self.options))):
            yield replace(item, code=self._code(of)) if isinstance(item, Raised) else item

    def _code(self, of: str) -> object:
        return getattr(self.record, of)
