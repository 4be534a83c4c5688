"""The parts that all printed tables share: the console, the table, whole lines, token cells."""

from __future__ import annotations

from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from geom.cli.display.console import SafeConsole
from geom.cli.display.messages import plain
from geom.text import TokenKind, mark, visible


def results_console() -> Console:
    """Return standard output; off a terminal its width is fixed, so that files look the same."""
    console = SafeConsole()
    if not console.is_terminal:
        console.width = 120
    return console


def empty_table() -> Table:
    """Return a table without columns, in the style of all tables."""
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))


def empty_grid() -> Table:
    """Return a table without columns, headings or rules."""
    return Table.grid(padding=(0, 2))


def print_whole(console: Console, text: str, style: str = "") -> None:
    """Print a line that is never wrapped, so that a path in it can be copied."""
    console.print(Text(plain(text), style=style), soft_wrap=True)


@dataclass(frozen=True)
class Cut:
    """A text cut with an ellipsis if the terminal is narrow; its last ``end`` characters stay."""

    text: str
    end: int = 0

    @property
    def widest(self) -> int:
        """The number of columns that the whole text takes."""
        return Text(self.text).cell_len

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(self.end + 1, self.widest)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        kept = len(self.text) - self.end
        body, end = Text(self.text[:kept]), self.text[kept:]
        body.truncate(max(1, options.max_width - self.end), overflow="ellipsis")
        yield Text.assemble(body, end, no_wrap=True, overflow="ellipsis")


def token_cell(text: str | None, kind: TokenKind | None) -> Cut:
    """Return the text of a token; its kind stays visible however narrow the terminal is."""
    return Cut(visible(text, kind), len(mark(kind)))
