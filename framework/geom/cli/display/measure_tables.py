"""Tables of measurements: tokens by measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from geom.cli.display.columns import Column, print_columns, text_cells
from geom.cli.display.commands import command
from geom.cli.display.cutting import token_cell
from geom.cli.display.messages import plain
from geom.cli.display.tables import COLOURS, print_line, print_whole, results_console
from geom.measuring import MeasureTable
from geom.store import MeasureRow, Run, TokenRow
from geom.store.sorting import HARDNESS, by_number, in_order


def print_measurements(result: MeasureTable, run: Run | None, sort: str, limit: int) -> None:
    """Print at most ``limit`` tokens by measures, with their errors, then the measures' notes.

    ``sort`` is a key of `in_order` for a run, of `by_number` for a model; InputError is raised for
    anything else. An order that goes by the verdicts shows them.
    """
    console, noun = results_console(), result.noun
    by_token: dict[int, dict[str, MeasureRow]] = {}
    for row in result:
        by_token.setdefault(row.token_id, {})[row.measure] = row
    if not by_token:
        print_whole(console, f"no {noun} to measure")
        return
    if run is None:
        rows: dict[int, TokenRow] = {}
        order = by_number([*by_token], by_token, sort)
    else:
        ranked = in_order(run.ranking().rows, by_token, sort)
        rows = {row.token_id: row for row in ranked if row.token_id in by_token}
        order = [*rows, *(token for token in by_token if token not in rows)]
        if sort.removeprefix("-") not in (HARDNESS, "verdict"):
            rows = {}
    units = {row.measure: row.unit for row in result}
    shown = order[:limit]
    more = [
        Column(
            plain(f"{name}, {unit}"),
            text_cells([by_token[token][name].shown for token in shown]),
            right=True,
        )
        for name, unit in units.items()
    ]
    if shown:
        print_columns(console, _tokens(shown, by_token, rows, noun), more)
    if len(order) > len(shown):
        print_whole(console, f"{len(order) - len(shown)} more: {_rest(run, sort)}")
    for note in result.notes():
        print_line(console, note)
    if any(" " in row.shown for row in result):  # an error
        wide = "..: proven ends; " if any(" .. " in row.shown for row in result) else ""
        print_whole(console, f"±: a proven radius; {wide}~: a standard error; -: no number")


def _tokens(
    tokens: Sequence[int],
    measured: Mapping[int, Mapping[str, MeasureRow]],
    rows: Mapping[int, TokenRow],
    noun: str,
) -> list[Column]:
    """Return the columns before the numbers: ids, texts and, for a run, verdicts."""
    firsts = [next(iter(measured[token].values())) for token in tokens]
    columns = [
        Column("id", text_cells([str(token) for token in tokens]), right=True),
        Column(noun, [token_cell(row.token, row.token_kind) for row in firsts]),
    ]
    if rows:
        labels = [rows[token].label if token in rows else "-" for token in tokens]
        cells = text_cells(labels, lambda label: COLOURS.get(label, ""))
        columns.append(Column("verdict", cells, same=True, spare=True))
    return columns


def _rest(run: Run | None, sort: str) -> str:
    """Say how to see the numbers that are not shown, in the same order."""
    if run is None or run.path is None:
        return "give a larger --limit, or --format jsonl"
    return command("show", run.path, *([] if sort == HARDNESS else ["--sort", sort]))
