"""``geom repair``: rows that make unspeakable tokens speakable, in a file for ``?rows=FILE``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geom.cli.arguments import (
    AllowFetch,
    PluginOptions,
    PrintRows,
    RowFormat,
    RunFile,
    model_option,
    tokens_option,
)


def repair(
    run: RunFile,
    out: Annotated[
        Path, typer.Option(metavar="ROWS.safetensors", help="The file of new rows to write.")
    ],
    model: Annotated[
        str | None, model_option("The run's weights, if the run does not find them itself.")
    ] = None,
    tokens: Annotated[
        str,
        tokens_option("unspeakable (the run's, without padding), 5,9,100-120, a text, or @FILE."),
    ] = "unspeakable",
    margin: Annotated[
        float, typer.Option(metavar="LOGITS", help="The margin that each token shall have.")
    ] = 1.0,
    at_most: Annotated[
        str | None,
        typer.Option(
            metavar="LENGTH|PERCENT",
            help="Leave tokens whose row would move further: a length, or a share of the median "
            "row as in 10%.",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="The seed of the directions drawn.")
    ] = 0,
    option: PluginOptions = None,
    allow_fetch: AllowFetch = False,
    format: PrintRows = RowFormat.table,
) -> None:
    """Find rows with which unspeakable tokens can win, and prove it.

    The rows are as little changed as can be found.

    The exit code is 0 if every token asked for is repaired and no other one is lost, else 1.
    """
    from geom.cli.display.lines import print_json
    from geom.cli.display.messages import say, say_skipped_plugins
    from geom.cli.display.progress import bars
    from geom.cli.display.repair_tables import print_repair
    from geom.cli.subject import open_with_weights
    from geom.files.replacing import refuse_irreplaceable
    from geom.plugins.options import parse_assignments
    from geom.repairing import repair as repaired

    say_skipped_plugins()
    refuse_irreplaceable(out)
    given = parse_assignments(option or [])
    with bars() as watcher, open_with_weights(run, model, allow_fetch, watcher, given) as opened:
        found = repaired(
            opened, tokens, margin=margin, at_most=at_most, seed=seed, progress=watcher
        )
    if found.file is not None:
        found.write(out)
    if format is RowFormat.table:
        print_repair(found, out)
    else:
        print_json(found.as_dicts())
    if found.file is None:
        say(f"no row changed, so {out} was not written")
    if found.left or found.lost:
        raise typer.Exit(1)
