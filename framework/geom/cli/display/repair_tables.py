"""The tables of a repair: rows that moved, tokens that are left, and how to use the file."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text

from geom.cli.display.tables import (
    empty_table,
    print_line,
    print_whole,
    results_console,
    token_cell,
)
from geom.nouns import Noun
from geom.numbers.printing import rounded_down, rounded_up
from geom.repairing.records import Repair
from geom.token_spec import few_ids

LIMIT = 200
"""The most rows of a table."""

_LINES = """\
from safetensors.torch import load_file
new, head = load_file({path!r}), model.get_output_embeddings().weight
head.data[new["ids"].to(head.device)] = new["rows"].to(head)"""


def print_repair(found: Repair, out: Path) -> None:
    """Print what was repaired, what was left, what became of other tokens, and how to go on."""
    console = results_console()
    median = rounded_down(found.median_length)
    print_whole(console, f"{found.model}  margin {found.margin:g}, median row {median}", "bold")
    noun = found.readout.noun
    if found.rows:
        _print_repaired(found)
    if found.left:
        _print_left(found)
    print_line(
        console,
        f"{len(found.rows)} repaired, {len(found.left)} left as they are; of the others "
        f"{found.kept} are speakable still",
    )
    if found.lost:
        print_line(
            console,
            f"{len(found.lost)} that were speakable are not shown to be so any more: "
            f"{few_ids(found.lost, noun)}",
            "bold red",
        )
    if found.unknown:
        print_line(
            console, f"{found.unknown} others were not known to be speakable, and are not looked at"
        )
    if found.file is None:
        return
    count = len(found.file.ids)
    print_whole(
        console, f"{count} {'row' if count == 1 else 'rows'} of {found.file.rows.dtype}: {out}"
    )
    console.print()
    rows = f"{found.model}{'&' if '?' in found.model else '?'}rows={out}"
    print_whole(console, f"geom run --model '{rows}' --tokens all   # audits the whole head")
    if noun != Noun.TOKEN:  # a head of classes or items has no embedding, and no one place
        return
    console.print()
    print_whole(console, "# into a model of transformers:")
    for line in _LINES.format(path=str(out)).splitlines():
        print_whole(console, line)
    print_line(
        console,
        "if the model ties its head to its embedding, the same rows are read at the input: a "
        "prompt with these tokens is read differently",
        "yellow",
    )


def _print_repaired(found: Repair) -> None:
    console = results_console()
    table = empty_table()
    table.add_column("id", justify="right", no_wrap=True)
    table.add_column(found.readout.noun, max_width=20)
    for name in ("moved", "of median", "of nearest", "alone at least", "margin"):
        table.add_column(name, justify="right")
    for row in found.rows[:LIMIT]:
        table.add_row(
            str(row.token_id),
            token_cell(row.token, row.token_kind),
            rounded_up(row.moved),
            f"{100.0 * row.of_median:.3g}%",
            "-" if row.of_nearest is None else f"{row.of_nearest:.3g}",
            rounded_down(row.alone_at_least),
            rounded_down(row.margin),
        )
    console.print(table)
    if len(found.rows) > LIMIT:
        more = found.readout.noun.counted(len(found.rows) - LIMIT)
        print_whole(console, f"{more} more: --format jsonl has all")


def _print_left(found: Repair) -> None:
    console = results_console()
    table = empty_table()
    table.add_column("id", justify="right", no_wrap=True)
    table.add_column(found.readout.noun, max_width=20)
    table.add_column("left because")
    table.add_column("found", justify="right")
    table.add_column("alone at least", justify="right")
    for row in found.left[:LIMIT]:
        table.add_row(
            str(row.token_id),
            token_cell(row.token, row.token_kind),
            Text(row.why, style="yellow"),
            "-" if row.found is None else rounded_up(row.found),
            rounded_down(row.alone_at_least),
        )
    console.print(table)
    if len(found.left) > LIMIT:
        more = found.readout.noun.counted(len(found.left) - LIMIT)
        print_whole(console, f"{more} more: --format jsonl has all")
