"""Tables of measurements: tokens by measures."""

from __future__ import annotations

from rich.text import Text

from geom.cli.display.messages import plain
from geom.cli.display.tables import empty_table, print_whole, results_console, token_cell
from geom.measuring import MeasureTable
from geom.store import MeasureRow

_TOKEN = 20
"""The most columns that the text of a measured token gets."""


def print_measurements(result: MeasureTable, limit: int = 200) -> None:
    """Print tokens by measures, with their errors, then the notes of the measures."""
    console, noun = results_console(), result.noun
    by_token: dict[int, dict[str, MeasureRow]] = {}
    for row in result:
        by_token.setdefault(row.token_id, {})[row.measure] = row
    if not by_token:
        print_whole(console, f"no {noun} to measure")
        return
    units = {row.measure: row.unit for row in result}
    table = empty_table()
    table.add_column("id", justify="right", no_wrap=True)
    table.add_column(noun, max_width=_TOKEN)
    for name, unit in units.items():
        table.add_column(Text(plain(f"{name}, {unit}")), justify="right", overflow="fold")
    for token, found in list(by_token.items())[:limit]:
        first = next(iter(found.values()))
        cells = (Text(found[name].shown) for name in units)
        table.add_row(str(token), token_cell(first.token, first.token_kind), *cells)
    console.print(table)
    if len(by_token) > limit:
        print_whole(console, f"{noun.counted(len(by_token) - limit)} more: --format jsonl has all")
    for note in result.notes():
        print_whole(console, note)
    if any(" " in row.shown for row in result):  # an error
        print_whole(console, "±: a proven radius; ~: a standard error; -: no number")
