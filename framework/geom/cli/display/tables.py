"""The parts that all printed tables share: the console, the table, and lines around it."""

from __future__ import annotations

import os
import stat
import sys
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from geom.cli.display.console import SafeConsole
from geom.cli.display.messages import plain
from geom.cli.display.output import out

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


def print_line(console: Console, text: str, style: str = "") -> None:
    """Print a sentence without paths; a terminal gets it in lines that end between words."""
    console.print(Text(plain(text), style=style), soft_wrap=not console.is_terminal)
