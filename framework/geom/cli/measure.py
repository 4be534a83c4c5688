"""``geom measure``: how hard tokens are to speak, in numbers with their errors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geom.cli.run import Format
from geom.cli.subject import AllowFetch


def measure(
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="A file that geom run wrote.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="SOURCE:LOCATION",
            help="The model; beside a RUN, its weights.  [default: demo]",
        ),
    ] = None,
    measures: Annotated[
        list[str] | None,
        typer.Option("--measure", metavar="NAME", help="A measure; may be given again."),
    ] = None,
    tokens: Annotated[
        str,
        typer.Option(
            "--tokens",
            "-t",
            metavar="SPEC",
            help="candidates, all (of a run, what it examined), 5,9,100-120, or @FILE.",
        ),
    ] = "candidates",
    domain: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Of a model: auto, layernorm, rmsnorm, box or unbounded."
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", metavar="KIND.NAME.OPTION=VALUE", help="A plugin's option."),
    ] = None,
    allow_fetch: AllowFetch = False,
    format: Annotated[Format, typer.Option(help="What to print.")] = Format.table,
) -> None:
    """Measure how hard tokens are to speak. What is measured of a RUN is kept in it."""
    from geom.cli.display.lines import print_lines
    from geom.cli.display.messages import say
    from geom.cli.display.progress import bars
    from geom.cli.subject import subject
    from geom.measuring import measure as measured
    from geom.plugins.options import parse_assignments
    from geom.plugins.registry import installed

    for skipped in installed().skipped:
        say(str(skipped))
    options = parse_assignments(option or [])
    with bars() as watcher, subject(run, model, options, watcher, allow_fetch) as opened:
        result = measured(opened, measures or [], tokens, options, domain=domain, progress=watcher)
    if format is Format.table:
        from geom.cli.display.tables import print_measurements

        print_measurements(result)
        return
    for note in result.notes():
        say(note)
    print_lines(result)
