"""The table of a check: the models that were run, and whether each agrees."""

from __future__ import annotations

from rich.text import Text

from geom.checking import CheckTable, answer, figure
from geom.cli.display.messages import plain
from geom.cli.display.tables import empty_table, print_whole, results_console

_STYLES = {True: "green", False: "bold red", None: "dim"}


def print_check(result: CheckTable) -> None:
    """Print a row per model, then the notes, which are sentences, in lines of their own."""
    console = results_console()
    table = empty_table()
    table.add_column("compared with")
    table.add_column("agrees", no_wrap=True)
    table.add_column("differs by", justify="right", no_wrap=True)
    for row in result:
        style = _STYLES[row.agrees]
        cell = Text(answer(row.agrees), style=style)
        table.add_row(plain(row.compared), cell, figure(row.difference))
    console.print(table)
    for row in result:
        if row.note is not None:
            print_whole(console, f"{row.compared}: {row.note}")
