"""The table of the tokens that no state can sample under some settings."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from geom.cli.display.columns import Column, print_columns, text_cells
from geom.cli.display.commands import command
from geom.cli.display.cutting import token_cell
from geom.cli.display.run_tables import run_title
from geom.cli.display.tables import empty_grid, print_line, print_whole, results_console
from geom.loading import weights_option
from geom.model.source import PYTHON
from geom.store import Run
from geom.token_spec import format_tokens
from geom.truncation import TruncationTable

TIES = "(ties)"
"""The mark of a filter that may keep a token where it ties with the last token kept."""


_LONGEST = 200
"""The most characters of a list of ids in a command."""

_TELLS = {"top_k": ("best-rank",), "top_p": ("max-probability", "best-rank"), "min_p": ("min-p",)}
"""The measures that may tell what a filter drops, for each filter."""


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
        (found.unknown, "not known", "some state may keep it, or none"),
        (found.not_examined, "not examined", "not in the run"),
    ):
        if count:
            grid.add_row(str(count), name, Text(meaning, style="dim"))
    console.print(grid)
    if found.unknown:
        _print_remedy(console, run, found)
    if not len(found):
        return
    shown = found.tokens[:limit]
    filters = [
        ", ".join(token.dropped_by) + (f" {TIES}" if token.but_for_ties else "") for token in shown
    ]
    columns = [
        Column("id", text_cells([str(token.token_id) for token in shown]), right=True),
        Column(run.noun, [token_cell(token.token, token.token_kind) for token in shown]),
        Column("verdict", text_cells([token.verdict for token in shown]), same=True),
        Column("dropped by", text_cells(filters), same=True),
    ]
    print_columns(console, columns)
    if limit is not None and len(found) > limit:
        print_whole(console, f"{len(found) - limit} more: give a larger --limit")


def _print_remedy(console: Console, run: Run, found: TruncationTable) -> None:
    """Name the command that measures what the filters need to know of the tokens not known."""
    asked, measured = found.truncation, run.measured()
    names = [
        name
        for filter, measures in _TELLS.items()
        if getattr(asked, filter) is not None
        for name in measures
        if any(name not in measured.get(token, {}) for token in found.unknown_ids)
    ]
    names = list(dict.fromkeys(names))
    if not names:
        print_line(console, "what is measured of those not known leaves it open")
        return
    ids = format_tokens(found.unknown_ids)
    some = "those not known"
    if len(ids) > _LONGEST:
        ids = ids[:_LONGEST].rpartition(",")[0]
        some = f"the first of {some}"
    options = []
    if "max-probability" in names and asked.temperature != 1.0:
        options = ["-o", f"measure.max-probability.temperature={asked.temperature!r}"]
    if run.path is None or run.model == str(PYTHON):
        ids = f"tokens={ids!r}"
        print_line(console, f"this measures more of {some}, in Python, where the weights were:")
        print_whole(console, f"  geom.measure(run, {names!r}, {ids})")
        return
    words = [word for name in names for word in ("--measure", name)] + options
    print_line(console, f"this measures more of {some}; then ask again:")
    line = command("measure", run.path, *words, "--tokens", ids, *weights_option(run))
    print_whole(console, f"  {line}")
