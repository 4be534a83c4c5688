"""The table of the tokens that no state can sample under some settings."""

from __future__ import annotations

from rich.text import Text

from geom.cli.display.run_tables import run_title
from geom.cli.display.tables import (
    empty_grid,
    empty_table,
    print_whole,
    results_console,
    token_cell,
)
from geom.store import Run
from geom.truncation import TruncationTable

TIES = "(ties)"
"""The mark of a filter that may keep a token where it ties with the last token kept."""


def print_unsampleable(run: Run, found: TruncationTable, limit: int | None) -> None:
    """Print the counts of tokens, then at most ``limit`` of those that are never sampled."""
    console = results_console()
    console.print(run_title(run))
    print_whole(console, f"sampling with {found.truncation}")
    ties = sum(token.but_for_ties for token in found)
    grid = empty_grid()
    grid.add_column(justify="right")
    for count, name, meaning in (
        (len(found) - ties, "never sampled", "dropped at every state"),
        (ties, "never sampled, but for ties", f"dropped unless tied with the last one kept {TIES}"),
        (found.kept, "sampled", "some state keeps it"),
        (found.unknown, "not known", "to know more: geom measure --measure best-rank, or others"),
        (found.not_examined, "not examined", "not in the run"),
    ):
        if count:
            grid.add_row(str(count), name, Text(meaning, style="dim"))
    console.print(grid)
    if not len(found):
        return
    table = empty_table()
    table.add_column("id", justify="right", no_wrap=True)
    table.add_column(run.noun, max_width=28)
    table.add_column("verdict", no_wrap=True)
    table.add_column("dropped by")
    for token in found.tokens[:limit]:
        filters = ", ".join(token.dropped_by) + (f" {TIES}" if token.but_for_ties else "")
        cell = token_cell(token.token, token.token_kind)
        table.add_row(str(token.token_id), cell, token.verdict, filters)
    console.print(table)
    if limit is not None and len(found) > limit:
        print_whole(console, f"{len(found) - limit} more: give a larger --limit")
