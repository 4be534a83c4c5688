"""The tables of a difference: the two runs, what changed in numbers, then the tokens."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from geom.cli.display.columns import Column, print_columns
from geom.cli.display.cutting import Cut
from geom.cli.display.messages import plain
from geom.cli.display.sections import Section, counts, sections
from geom.cli.display.tables import (
    COLOURS,
    empty_grid,
    empty_table,
    print_whole,
    results_console,
)
from geom.difference.records import Difference
from geom.nouns import Noun


def print_difference(found: Difference, limit: int) -> None:
    """Print the summary, then at most ``limit`` rows of each table."""
    console = results_console()
    for name, run in (("before", found.before), ("after", found.after)):
        facts = f"{run.noun.counted(run.V)}, d = {run.d}, domain {run.domain}"
        print_whole(console, f"{name:6}  {run.path or 'in memory'}  {facts}", style="bold")
        print_whole(console, f"        {run.model}")
    for note in found.notes:
        print_whole(console, f"note: {note}", style="yellow")
    grid = empty_grid()
    grid.add_column(justify="right")
    for count, name, meaning in counts(found):
        if count:
            grid.add_row(str(count), name, Text(meaning, style="dim"))
    console.print(grid if grid.row_count else "nothing that is known differs")
    for section in sections(found):
        console.print()
        _print_section(section, limit)


def _print_section(section: Section, limit: int) -> None:
    console = results_console()
    print_whole(console, section.title, style="bold")
    rows = section.rows[:limit]
    if rows and any(noun in section.columns for noun in Noun):
        cells = [[_cell(row[place]) for row in rows] for place in range(len(section.columns))]
        print_columns(console, list(map(_column, section.columns, cells)))
    elif rows:
        table = empty_table()
        for name in section.columns:
            table.add_column(name, overflow="fold")
        for row in rows:
            table.add_row(*(Text(plain(value)) for value in row if isinstance(value, str)))
        console.print(table)
    if len(section.rows) > limit:
        print_whole(console, f"{len(section.rows) - limit} more: give --limit or --format jsonl")


def _column(name: str, cells: Sequence[Text | Cut]) -> Column:
    right = name == "id" or "margin" in name or name.endswith(" by")
    return Column(name, cells, right=right, same=name in ("before", "after"))


def _cell(value: str | Cut) -> Text | Cut:
    return value if isinstance(value, Cut) else Text(plain(value), style=COLOURS.get(value, ""))
