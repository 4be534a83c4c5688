"""``geom export``: a run as a file that other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geom.cli.arguments import AllowFetch, RunFile, model_option, plugin_option


def export(
    run: RunFile,
    format: Annotated[
        str,
        typer.Option(
            "--format", metavar="NAME", help="A reporter: jsonl, csv, parquet, tokens, ..."
        ),
    ] = "jsonl",
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to; text goes to standard output unless told."),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(metavar="ID|TEXT", help="Of certificate: the one token to write."),
    ] = None,
    model: Annotated[
        str | None, model_option("The weights, if the format needs them.  [default: the run's]")
    ] = None,
    allow_fetch: AllowFetch = False,
    option: Annotated[
        list[str] | None, plugin_option("reporter.NAME.OPTION=VALUE", "An option.")
    ] = None,
) -> None:
    """Write a run in the form of a reporter: jsonl has one token examined a line."""
    from geom import exporting
    from geom.cli.display.console import standard_output
    from geom.cli.subject import open_with_weights
    from geom.errors import InputError
    from geom.plugins.options import parse_assignments
    from geom.plugins.registry import installed

    if out is None and not (reporter := installed().get("reporter", format)).text:
        raise InputError(f"format {format} is no text: give --out FILE{reporter.suffix}")
    options = parse_assignments(option or [])
    if token is not None:
        options[f"reporter.{format}.token"] = token
    with open_with_weights(run, model, allow_fetch) as opened:
        exporting.export(opened, format, standard_output() if out is None else out, options)
