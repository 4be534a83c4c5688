"""Tables of comparisons: tokens' margins in each precision, with a mark on wrong ones."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from rich.table import Table
from rich.text import Text

from geom.cli.display.columns import Column, print_columns, text_cells
from geom.cli.display.cutting import token_cell
from geom.cli.display.messages import plain
from geom.cli.display.tables import (
    empty_table,
    print_whole,
    results_console,
)
from geom.comparison.records import ComparedPoint, ComparisonRow
from geom.comparison.table import Comparison
from geom.numbers.printing import rounded, rounded_down
from geom.token_spec import format_tokens

_CELL = 2
"""The digits of a compared margin."""


def print_comparison(comparison: Comparison, limit: int = 40) -> None:
    """Print tokens by precisions, nearest the border first, and the least precision that is right.

    If the terminal is too narrow for all precisions, the rest follow in further tables.
    """
    console = results_console()
    points = sorted(comparison.points, key=lambda point: abs(point.relative))
    for claim in comparison.claims:
        print_whole(console, str(claim))
    if not points:
        print_whole(console, f"no {comparison.noun} to compare")
        return
    main, more = _compared(comparison, points[:limit])
    print_columns(console, main, more, repeated=len(main))
    if len(points) > limit:
        print_whole(
            console, f"{comparison.noun.counted(len(points) - limit)} more: --format jsonl has all"
        )
    console.print(Text("! wrong sign; ? right, but within the error that it claims; - no answer"))
    console.print(Text("margins are rounded down"))
    console.print(_least(comparison))


def _compared(
    comparison: Comparison, points: Sequence[ComparedPoint]
) -> tuple[list[Column], list[Column]]:
    """Return the tokens with their exact margins, and their margins in each precision."""
    exact = [Text(_margin(point.margin), style="bold") for point in points]
    main = [
        Column("id", text_cells([str(point.token_id) for point in points]), right=True),
        Column(comparison.noun, [token_cell(point.token, point.token_kind) for point in points]),
        Column("exactly", exact, right=True),
    ]
    more = [
        Column(
            plain(name),
            [_cell(comparison.cell(point.token_id, name)) for point in points],
            right=True,
        )
        for name in comparison.precisions
    ]
    return main, more


def _cell(row: ComparisonRow) -> Text:
    """Return a margin with a colour and a mark for how right it is; a blank keeps the column."""
    if row.margin is None:
        return Text("- ", style="dim")
    text = _margin(row.margin)
    if not row.agrees:
        return Text(f"{text}!", style="bold red")
    if row.error is not None and not row.proven:
        return Text(f"{text}?", style="yellow")
    return Text(f"{text} ", style="green")


def _margin(value: float | Fraction) -> str:
    """Round a compared margin down: an exact one is a proven lower bound of the largest margin."""
    return rounded_down(value, _CELL)


def _least(comparison: Comparison) -> Table:
    """Return the tokens for which each precision is the coarsest right with all finer ones."""
    least = comparison.least()
    table = empty_table()
    table.add_column("least that is right", no_wrap=True)
    table.add_column("unit roundoff", justify="right", no_wrap=True)
    table.add_column(comparison.noun.plural, justify="right", no_wrap=True)
    table.add_column("ids", overflow="fold")
    for name in [*comparison.precisions, None]:
        tokens = [token for token, found in least.items() if found == name]
        if tokens:
            ids = format_tokens(sorted(tokens))
            ids = ids if len(ids) <= 200 else f"{ids[:200].rpartition(',')[0]},..."
            roundoff = "-" if name is None else rounded(comparison.precisions[name], _CELL)
            title = Text("none") if name is None else Text(plain(name))
            table.add_row(title, roundoff, str(len(tokens)), ids.replace(",", ", "))
    return table
