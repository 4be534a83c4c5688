"""Progress bars on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from geom.progress import Watcher


@contextmanager
def bars() -> Iterator[Watcher]:
    """A watcher that draws one bar a stage; away from a terminal each bar is one last line."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=Console(stderr=True))
    stages = {}

    def watch(stage: str, done: float, total: float) -> None:
        progress.start()  # not before: a command that does nothing draws nothing
        if stage not in stages:
            stages[stage] = progress.add_task(stage, total=total)
        progress.update(stages[stage], completed=done)

    try:
        yield watch
    finally:
        if stages:
            progress.stop()
