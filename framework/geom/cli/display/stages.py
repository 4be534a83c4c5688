"""The stages of a command's work: which are under way, and how far each has come.

A report names its stage and no other, so the rest follows from the order of the reports. A stage is
under way from its first report until its amount is complete; a stage that begins meanwhile is a
part of it, and has ended at the latest when the outer stage goes on. A stage whose total sinks to
what is done has ended early; the total it had before is kept, because that much was to be done.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Protocol

from rich.filesize import decimal

from geom.cli.display.messages import plain
from geom.text import NAME


@dataclass(eq=False)
class Stage:
    """A stage from its first report to its end; the total is None as long as it is unknown."""

    name: str
    part: bool
    begun: float
    done: float = 0.0
    total: float | None = None
    unit: str = ""
    ended: float | None = None

    @property
    def seconds(self) -> float:
        """The time from the stage's beginning to its end, or until now."""
        return (monotonic() if self.ended is None else self.ended) - self.begun

    @property
    def left(self) -> float | None:
        """The time that the rest takes at the speed so far, or None if there is no telling."""
        if self.ended is not None or not self.total or self.done <= 0:
            return None
        return self.seconds * (self.total - self.done) / self.done

    @property
    def complete(self) -> bool:
        """Whether all of the total is done."""
        return self.total is not None and self.done >= self.total

    def amount(self, between: str) -> str:
        """Say how much is done of the total: bytes as kB or MB, anything else as a count."""
        amounts = [self.done] if self.total is None or self.complete else [self.done, self.total]
        if self.unit == "bytes":
            return between.join(decimal(int(amount)) for amount in amounts)
        return f"{between.join(str(int(amount)) for amount in amounts)} {plain(self.unit, NAME)}"


def clock(seconds: float) -> str:
    """Write a time as hours, minutes and seconds."""
    return str(timedelta(seconds=int(seconds)))


class View(Protocol):
    """What shows the stages."""

    def begin(self, stage: Stage) -> None:
        """Show that a stage begins."""

    def advance(self, stage: Stage) -> None:
        """Show how far a stage has come."""

    def end(self, stage: Stage) -> None:
        """Show that a stage has ended, complete or not."""

    def say(self, message: str) -> None:
        """Print a message; a thread that looks on may ask for it."""

    def close(self) -> None:
        """Show nothing from now on."""


class Stages:
    """The stages under way, the outermost first, as a watcher is told of them."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._open: list[Stage] = []
        self._closed = False
        self._heard = monotonic()

    @property
    def silence(self) -> float:
        """The time since the last report, or since the beginning."""
        return monotonic() - self._heard

    def report(self, name: str, done: float, total: float, unit: str) -> None:
        """Take note of a report: a `geom.progress.Watcher`."""
        if self._closed:
            return  # a generator that is left behind reports its end late
        self._heard = monotonic()
        done = max(done, 0.0) if math.isfinite(done) else 0.0
        known = max(total, 0.0) if math.isfinite(total) else None
        stage = self._current(name)
        if stage is None:
            if known is not None and done >= known:
                return  # there is nothing to do, or the stage goes on beyond its total
            stage = Stage(name, bool(self._open), monotonic(), done, known, unit)
            self._open.append(stage)
            self._view.begin(stage)
        early = stage.total is not None and known is not None and known <= done < stage.total
        stage.done, stage.unit = done, unit
        stage.total = stage.total if early else known
        if early or stage.complete:
            self._end()
        else:
            self._view.advance(stage)

    def close(self) -> None:
        """End what is still under way, and the view."""
        self._closed = True
        while self._open:
            self._end()
        self._view.close()

    def _current(self, name: str) -> Stage | None:
        """Return the stage of that name, its parts ended, or None if it is not under way."""
        if not any(stage.name == name for stage in self._open):
            return None
        while self._open[-1].name != name:
            self._end()
        return self._open[-1]

    def _end(self) -> None:
        stage = self._open.pop()
        stage.ended = monotonic()
        self._view.end(stage)
