"""``geom diff``: what two runs of one vocabulary differ in."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from geom.cli.arguments import IgnoredKinds


class DiffFormat(StrEnum):
    """The form of standard output."""

    table = "table"
    jsonl = "jsonl"
    markdown = "markdown"


def diff(
    before: Annotated[
        Path, typer.Argument(metavar="RUN_A", help="The run before: a file that geom run wrote.")
    ],
    after: Annotated[
        Path, typer.Argument(metavar="RUN_B", help="The run after, of the same vocabulary.")
    ],
    format: Annotated[
        DiffFormat,
        typer.Option(help="Print tables, a JSON object per difference, or tables in Markdown."),
    ] = DiffFormat.table,
    limit: Annotated[
        int, typer.Option(metavar="N", min=0, help="The most rows of each table.")
    ] = 20,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CHANGE",
            help="Exit with 1 if there is any: newly-unspeakable, newly-undecided or new-twins; "
            "repeatable.",
        ),
    ] = None,
    ignore: IgnoredKinds = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Compare runs of different vocabularies, by the ids that both have."
        ),
    ] = False,
) -> None:
    """Compare two runs: what changed in verdicts, twins and margins."""
    from geom import difference, gate
    from geom.cli.display.diff_tables import print_difference
    from geom.cli.display.lines import print_json
    from geom.cli.display.markdown import print_markdown
    from geom.cli.display.messages import say_checks
    from geom.errors import InputError
    from geom.loading import open_run

    if ignore and not fail_on:
        raise InputError("--ignore is for --fail-on: say what to fail on")
    gate.check_names(fail_on or (), ignore or ())
    with open_run(before) as one, open_run(after) as other:
        found = difference.diff(one, other, force=force)
        checks = gate.changes(found, other, fail_on, ignore or ()) if fail_on else []
    if format is DiffFormat.jsonl:
        print_json(found.as_dicts())
    elif format is DiffFormat.markdown:
        print_markdown(found, limit)
    else:
        print_difference(found, limit)
    if say_checks(checks):
        raise typer.Exit(1)
