"""Progress on standard error: bars at a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from geom.cli.display.console import SafeConsole
from geom.cli.display.lookout import Lookout, looking
from geom.cli.display.messages import above, as_line, plain, say
from geom.cli.display.stages import Stage, Stages, clock
from geom.plugins.at_work import plugins_at_work
from geom.progress import Watcher
from geom.text import NAME

SHORT = 1.0
"""The seconds between two lines of a stage; one that is over sooner has no line at its end."""
PART = 10.0
"""The seconds after which a part of another stage has lines of its own."""
LONG = 10.0
"""The seconds left from which a measure is said to be long."""
FRAMES = 4
"""The drawings of the bars per second."""


@contextmanager
def bars() -> Iterator[Watcher]:
    """Yield a watcher that shows each stage: a bar at a terminal, elsewhere a few lines.

    When the block ends, however it ends, nothing more is drawn, and what is printed comes below.
    """
    console = SafeConsole(stderr=True)
    terminal = console.is_interactive and console.file.isatty()  # colours can be forced elsewhere
    view = _Bars(console) if terminal else _Lines()
    stages = Stages(view)
    try:
        with looking(Lookout(stages, plugins_at_work(), view.say)):
            yield stages.report
    finally:
        stages.close()


def forewarning(
    watcher: Watcher,
    tell: Callable[[str], None] = say,
    now: Callable[[], float] = monotonic,
) -> Watcher:
    """Return the watcher, which also tells once how long a measure takes and what takes less.

    It tells as soon as a second's numbers, by ``now``, show that the rest takes long.
    """
    begun: dict[str, float] = {}
    told = False

    def watch(stage: str, done: float, total: float, unit: str) -> None:
        nonlocal told
        watcher(stage, done, total, unit)
        seconds = now() - begun.setdefault(stage, now())
        if told or seconds < SHORT or not 0 < done < total or unit != "numbers":
            return
        left = seconds * (total - done) / done
        if left > LONG:
            told = True
            tell(
                f"{int(total)} numbers take about {clock(seconds + left)}: --tokens measures "
                "fewer, --limit only shows fewer"
            )

    return watch


@dataclass
class _Bar:
    """The bar of a stage, and the time that it took when it was drawn for the same stage before."""

    stage: Stage
    before: float

    def row(self) -> tuple[Text, ProgressBar, Text, Text]:
        """Return the cells of a line: the name, the bar, the amount, the time."""
        stage = self.stage
        bar = ProgressBar(stage.total, stage.done, width=40, pulse=stage.total is None)
        time = clock(self.before + stage.seconds)
        if (left := stage.left) is not None:
            time += f", {clock(left)} left"
        return Text(plain(stage.name, NAME)), bar, Text(stage.amount("/")), Text(time)


class _Bars:
    """One bar per stage, below every message. A part's bar goes when the part ends."""

    def __init__(self, console: SafeConsole) -> None:
        self._console = console
        self._bars: dict[str, _Bar] = {}
        self._live = Live(console=console, get_renderable=self._table, refresh_per_second=FRAMES)

    def begin(self, stage: Stage) -> None:
        """Draw a bar; a stage that comes back has its old one again, and its time adds up."""
        old = self._bars.get(stage.name)
        self._bars[stage.name] = _Bar(stage, 0.0 if old is None else old.before + old.stage.seconds)
        if not self._live.is_started:  # only now: a command that does nothing draws nothing
            above(self._console)
            self._live.start(refresh=True)

    def advance(self, stage: Stage) -> None:
        """Do nothing: the next frame shows it."""

    def end(self, stage: Stage) -> None:
        """Leave the bar as it is, or take it away if it was a part's."""
        if stage.part:
            del self._bars[stage.name]

    def say(self, message: str) -> None:
        """Print a message above the bars."""
        self._console.print(as_line(message), soft_wrap=True)

    def close(self) -> None:
        """Leave the bars on the terminal, the cursor below them."""
        if self._live.is_started:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()  # the beginning of a line, which waits for its end
            self._live.stop()
            above(None)

    def _table(self) -> Table:
        name, amount, time = (Column(no_wrap=True) for _ in range(3))  # so that the bar gives way
        table = Table.grid(name, Column(), amount, time, padding=(0, 1))
        for bar in list(self._bars.values()):  # drawn by a thread of its own
            table.add_row(*bar.row())
        return table


@dataclass
class _Told:
    """How far a stage had come in its last line, and how long it had taken."""

    tenth: int
    seconds: float


class _Lines:
    """A line when a stage begins, at every tenth part, and when it ends.

    A stage says no more than one line in `SHORT` seconds. A stage that comes back, or is a part of
    another, says nothing unless it lasts.
    """

    def __init__(self) -> None:
        self._told: dict[Stage, _Told] = {}
        self._known: set[str] = set()

    def begin(self, stage: Stage) -> None:
        """Name a stage that was not known."""
        if not stage.part and stage.name not in self._known:
            self._tell(stage, stage.amount(" of "))

    def advance(self, stage: Stage) -> None:
        """Say how far a stage has come, if that is another tenth."""
        told, seconds = self._told.get(stage), stage.seconds
        if told is None:
            if seconds < (PART if stage.part else SHORT):
                return
        else:
            told.tenth = min(told.tenth, _tenth(stage))  # less than before if the total has grown
            if _tenth(stage) == told.tenth or seconds - told.seconds < SHORT:
                return
        parts = [stage.amount(" of ")]
        if stage.total:
            parts.append(f"{int(100 * stage.done / stage.total)} %")
        parts.append(clock(seconds))
        if (left := stage.left) is not None:
            parts.append(f"about {clock(left)} left")
        self._tell(stage, ", ".join(parts))

    def end(self, stage: Stage) -> None:
        """Say what the stage has done in which time."""
        told, seconds = self._told.pop(stage, None), stage.seconds
        if told is not None and seconds >= SHORT:
            how = "" if stage.complete else "ended at "
            say(f"{stage.name}: {how}{stage.amount(' of ')} in {clock(seconds)}")

    def say(self, message: str) -> None:
        """Print a message."""
        say(message)

    def close(self) -> None:
        """Do nothing: lines stay."""

    def _tell(self, stage: Stage, text: str) -> None:
        self._known.add(stage.name)
        self._told[stage] = _Told(_tenth(stage), stage.seconds)
        say(f"{plain(stage.name, NAME)}: {text}")


def _tenth(stage: Stage) -> int:
    """Return how many tenths of the stage are done."""
    return int(10 * stage.done / stage.total) if stage.total else 0
