"""The tables of a repair: rows that moved, tokens that are left, and how to use the file."""

from __future__ import annotations

from pathlib import Path

from geom.cli.display.columns import Column, print_columns, text_cells, wrapped_cells
from geom.cli.display.commands import command
from geom.cli.display.cutting import token_cell
from geom.cli.display.tables import print_line, print_whole, results_console
from geom.model.source import PYTHON
from geom.nouns import Noun
from geom.numbers.printing import rounded_down, rounded_up
from geom.repairing.records import Repair
from geom.token_spec import few_ids

LIMIT = 200
"""The most rows of a table."""

_WHY = 28
"""The fewest columns of the reason why a token is left."""

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
    if found.model != str(PYTHON):
        rows = f"{found.model}{'&' if '?' in found.model else '?'}rows={out}"
        audit = command("run", "--model", rows, "--tokens", "all")
        print_whole(console, f"{audit}   # audits the whole head")
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
    console, rows = results_console(), found.rows[:LIMIT]
    nearest = ["-" if row.of_nearest is None else f"{row.of_nearest:.3g}" for row in rows]
    columns = [
        Column("id", text_cells([str(row.token_id) for row in rows]), right=True),
        Column(found.readout.noun, [token_cell(row.token, row.token_kind) for row in rows]),
        _numbers("moved", [rounded_up(row.moved) for row in rows]),
        _numbers("of median", [f"{100.0 * row.of_median:.3g}%" for row in rows], spare=True),
        _numbers("of nearest", nearest, spare=True),
        _numbers("alone at least", [rounded_down(row.alone_at_least) for row in rows]),
        _numbers("margin", [rounded_down(row.margin) for row in rows]),
    ]
    print_columns(console, columns)
    if len(found.rows) > LIMIT:
        more = found.readout.noun.counted(len(found.rows) - LIMIT)
        print_whole(console, f"{more} more: --format jsonl has all")


def _numbers(name: str, texts: list[str], spare: bool = False) -> Column:
    return Column(name, text_cells(texts), right=True, same=True, spare=spare)


def _print_left(found: Repair) -> None:
    console, rows = results_console(), found.left[:LIMIT]
    moved = ["-" if row.found is None else rounded_up(row.found) for row in rows]
    room = max(_WHY, console.width - 70)
    columns = [
        Column("id", text_cells([str(row.token_id) for row in rows]), right=True),
        Column(found.readout.noun, [token_cell(row.token, row.token_kind) for row in rows]),
        Column("left because", wrapped_cells([row.why for row in rows], room, "yellow"), same=True),
        _numbers("found", moved, spare=True),
        _numbers("alone at least", [rounded_down(row.alone_at_least) for row in rows], spare=True),
    ]
    print_columns(console, columns)
    if len(found.left) > LIMIT:
        more = found.readout.noun.counted(len(found.left) - LIMIT)
        print_whole(console, f"{more} more: --format jsonl has all")
