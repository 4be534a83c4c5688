"""The parts that all printed tables share: the console, the table, whole lines, token cells."""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass
from typing import TextIO

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from geom.cli.display.console import SafeConsole
from geom.cli.display.messages import plain
from geom.cli.display.output import out
from geom.text import TokenKind, mark, visible

COLOURS = {"speakable": "green", "unspeakable": "red", "undecided": "yellow", "hard": "cyan"}
"""The colours of the verdicts."""


FILED = 120
"""The width of tables in files."""


def results_console() -> Console:
    """Return standard output; off a terminal its width is fixed, so that files look the same.

    A pipe that was opened at a terminal, as for ``head``, leads back to it and gets its width.
    """
    console = SafeConsole()
    if not console.is_terminal:
        console.width = _width_beyond(out()) or FILED
    return console


def _width_beyond(file: TextIO) -> int | None:
    """Return the width of the terminal to which a pipe leads, as far as can be told, or None."""
    try:
        if stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
            return os.get_terminal_size(sys.stderr.fileno()).columns or None
    except (OSError, ValueError, AttributeError):  # no file of the system, or no terminal
        pass
    return None


def empty_table() -> Table:
    """Return a table without columns, in the style of all tables."""
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))


def empty_grid() -> Table:
    """Return a table without columns, headings or rules."""
    return Table.grid(padding=(0, 2))


def print_whole(console: Console, text: str, style: str = "") -> None:
    """Print a line that is never wrapped, so that a path in it can be copied."""
    console.print(Text(plain(text), style=style), soft_wrap=True)


_SHORTEST = 8
"""The fewest columns that a text is cut to."""


def print_line(console: Console, text: str, style: str = "") -> None:
    """Print a sentence without paths; a terminal gets it in lines that end between words."""
    console.print(Text(plain(text), style=style), soft_wrap=not console.is_terminal)


@dataclass(frozen=True)
class Cut:
    """A text cut with an ellipsis if the terminal is narrow.

    Its first ``start`` and its last ``end`` characters stay. If there is a start, it is all that
    stays where little else would.
    """

    text: str
    end: int = 0
    start: int = 0

    @property
    def widest(self) -> int:
        """The number of columns that the whole text takes."""
        return Text(self.text).cell_len

    @property
    def least(self) -> int:
        """The least number of columns that it is cut to."""
        return min(self.widest, self.start or _SHORTEST + self.end)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(self.least, self.widest)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = options.max_width
        if self.start and self.widest > room and room < self.start + _SHORTEST // 2 + self.end:
            yield Text(self.text[: self.start], no_wrap=True, overflow="ellipsis")
            return
        kept = len(self.text) - self.end
        body, end = Text(self.text[:kept]), self.text[kept:]
        body.truncate(max(1, room - self.end), overflow="ellipsis")
        yield Text.assemble(body, end, no_wrap=True, overflow="ellipsis")


def token_cell(text: str | None, kind: TokenKind | None) -> Cut:
    """Return the text of a token; its kind stays visible however narrow the terminal is."""
    return Cut(visible(text, kind), len(mark(kind)))
