"""The tables of a difference: the two runs, what changed in numbers, then the tokens."""

from __future__ import annotations

from rich.text import Text

from geom.cli.display.messages import plain
from geom.cli.display.sections import Section, counts, sections
from geom.cli.display.tables import (
    Cut,
    empty_grid,
    empty_table,
    print_whole,
    results_console,
)
from geom.difference.records import Difference
from geom.nouns import Noun

_COLOURS = {"speakable": "green", "unspeakable": "red", "undecided": "yellow"}
_FOLDED = ("ids", *(noun.plural for noun in Noun))


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
    if limit:
        table = empty_table()
        for name in section.columns:
            right = name == "id" or "margin" in name or name.endswith(" by")
            table.add_column(
                name,
                justify="right" if right else "left",
                no_wrap=name not in _FOLDED,
                overflow="fold",
                max_width=28 if name in list(Noun) else None,
            )
        for row in section.rows[:limit]:
            table.add_row(*(_cell(value) for value in row))
        console.print(table)
    if len(section.rows) > limit:
        print_whole(console, f"{len(section.rows) - limit} more: give --limit or --format jsonl")


def _cell(value: str | Cut) -> Text | Cut:
    return value if isinstance(value, Cut) else Text(plain(value), style=_COLOURS.get(value, ""))
