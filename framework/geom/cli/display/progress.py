"""Progress bars on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from geom.cli.display.console import SafeConsole
from geom.cli.display.messages import plain
from geom.progress import Watcher
from geom.text import NAME


@contextmanager
def bars() -> Iterator[Watcher]:
    """Yield a watcher that draws one bar per stage; off a terminal, only each bar's last line."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        _Amount(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=SafeConsole(stderr=True))
    stages = {}

    def watch(stage: str, done: float, total: float, unit: str) -> None:
        progress.start()  # only now: a command that does nothing draws nothing
        if stage not in stages:
            stages[stage] = progress.add_task(plain(stage, NAME), total=total, unit=unit)
        progress.update(stages[stage], completed=done, total=total, unit=unit)

    try:
        yield watch
    finally:
        if stages:
            progress.stop()


class _Amount(ProgressColumn):
    """The amount done of the total: bytes as kB or MB, anything else as a count."""

    def render(self, task: Task) -> Text:
        done, total = int(task.completed), int(task.total or 0)
        if task.fields["unit"] == "bytes":
            return Text(f"{decimal(done)}/{decimal(total)}")
        return Text(plain(f"{done}/{total} {task.fields['unit']}", NAME))
