"""Tracebacks from the processes of an executor: sent as text among the outcomes, for --debug."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from geom.errors import GeomError, behind, traceback_of, watched_errors
from geom.store import Outcome


@dataclass(frozen=True)
class SentTraceback:
    """The traceback of an exception that another process caught."""

    text: str


class _Collector:
    """Keeps each traceback once, until it is sent."""

    wanted = True

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._new: list[SentTraceback] = []

    def caught(self, error: Exception) -> None:
        """Keep the traceback, except that of a refusal in geom's own words."""
        if not isinstance(error, GeomError):
            self.told(traceback_of(behind(error)))

    def told(self, text: str) -> None:
        """Keep a traceback."""
        if text not in self._known:
            self._known.add(text)
            self._new.append(SentTraceback(text))

    def take(self) -> list[SentTraceback]:
        """Return what has been kept since the last time."""
        out, self._new = self._new, []
        return out


def with_tracebacks(outcomes: Iterable[Outcome]) -> Iterator[Outcome | SentTraceback]:
    """Yield the outcomes, and before each the tracebacks of what was caught on the way to it."""
    collector = _Collector()
    with watched_errors(collector):
        for outcome in outcomes:
            yield from collector.take()
            yield outcome
        yield from collector.take()
