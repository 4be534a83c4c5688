"""Tables of measurements: tokens by measures."""

from __future__ import annotations

from geom.cli.display.columns import Column, print_columns, text_cells
from geom.cli.display.messages import plain
from geom.cli.display.tables import print_line, print_whole, results_console, token_cell
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
    shown = list(by_token.values())[:limit]
    firsts = [next(iter(found.values())) for found in shown]
    tokens = [token_cell(row.token, row.token_kind) for row in firsts]
    main = [
        Column("id", text_cells([str(row.token_id) for row in firsts]), right=True),
        Column(noun, tokens, most=_TOKEN),
    ]
    more = [
        Column(plain(f"{name}, {unit}"), text_cells([f[name].shown for f in shown]), right=True)
        for name, unit in units.items()
    ]
    print_columns(console, main, more)
    if len(by_token) > limit:
        print_whole(console, f"{noun.counted(len(by_token) - limit)} more: --format jsonl has all")
    for note in result.notes():
        print_line(console, note)
    if any(" " in row.shown for row in result):  # an error
        wide = "..: proven ends; " if any(" .. " in row.shown for row in result) else ""
        print_whole(console, f"±: a proven radius; {wide}~: a standard error; -: no number")
