"""``geom export``: write a run as a file that other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geom.cli import completion
from geom.cli.arguments import AllowFetch, RunFile, Verdict, model_option, plugin_option


def export(
    run: RunFile,
    format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="NAME",
            autocompletion=completion.plugins("reporter"),
            help="A reporter: jsonl, csv, parquet, markdown, certificate, html; or a list of "
            "tokens: tokens, logit-bias, bad-words-ids, suppress-tokens, llama-cpp.",
        ),
    ] = "jsonl",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The file to write.  [default: standard output, for text]"
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(metavar="ID|TEXT", help="For the format certificate: the token to write."),
    ] = None,
    verdict: Verdict = None,
    which: Annotated[
        str | None,
        typer.Option(
            metavar="WHICH",
            help="For a list: unusable (the unspeakable and the padding rows), padding, notable "
            "(all but those that win along their own direction) or all.  [default: unusable; with "
            "--verdict, all]",
        ),
    ] = None,
    model: Annotated[
        str | None, model_option("The weights, if the format needs them.  [default: the run's]")
    ] = None,
    allow_fetch: AllowFetch = False,
    option: Annotated[
        list[str] | None,
        plugin_option(
            "reporter.NAME.OPTION=VALUE", "An option of the format; geom plugins NAME lists them."
        ),
    ] = None,
) -> None:
    """Write a run in a reporter's format. In jsonl, each examined token has one line."""
    from geom import exporting
    from geom.cli.display.console import standard_output
    from geom.cli.display.messages import say
    from geom.cli.subject import open_with_weights
    from geom.errors import InputError
    from geom.plugins.options import parse_assignments
    from geom.plugins.registry import installed
    from geom.store import LABELS, checked_label

    if out is None and not (reporter := installed().get("reporter", format)).text:
        raise InputError(f"format {format} is not text: give --out FILE{reporter.suffix}")
    options = parse_assignments(option or [])
    if token is not None:
        options[f"reporter.{format}.token"] = token
    if verdict is not None:
        options[f"reporter.{format}.verdict"] = checked_label(verdict)
    if which in LABELS:
        raise InputError(f"--which {which} names a verdict: give --verdict {which}")
    if which is not None:
        options[f"reporter.{format}.which"] = which
    with open_with_weights(run, model, allow_fetch) as opened:
        exporting.export(opened, format, standard_output() if out is None else out, options)
    if out is not None and out.is_file() and out.stat().st_size == 0:
        say(f"reporter {format} wrote nothing: {out} is empty")
