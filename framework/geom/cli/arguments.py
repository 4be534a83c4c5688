"""What several commands take: each argument and option once, for their signatures."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

_DOMAINS = "auto, layernorm, rmsnorm, box or unbounded."


class RowFormat(StrEnum):
    """What goes to standard output: a table, or a JSON object a row."""

    table = "table"
    jsonl = "jsonl"


class ListFormat(StrEnum):
    """How to print a list: as a table, or as one JSON array."""

    table = "table"
    json = "json"


def model_option(help: str) -> Any:
    """``--model``, which each command has its own use for."""
    return typer.Option("--model", "-m", metavar="SOURCE:LOCATION", help=help)


def tokens_option(help: str) -> Any:
    """``--tokens``, of which not every command takes the same."""
    return typer.Option("--tokens", "-t", metavar="SPEC", help=help)


def plugin_option(metavar: str, help: str) -> Any:
    """``-o``, by which plugins get their options."""
    return typer.Option("--option", "-o", metavar=metavar, help=help)


RunFile = Annotated[Path, typer.Argument(metavar="RUN", help="A file that geom run wrote.")]
"""Of the commands that read a run."""

RunFileIfAny = Annotated[
    Path | None, typer.Argument(metavar="[RUN]", help="A file that geom run wrote.")
]
"""Of the commands that work on a run or on a model."""

ModelOrWeights = Annotated[
    str | None, model_option("The model; beside a RUN, its weights.  [default: demo]")
]
"""Of the commands that work on a run or on a model."""

Domain = Annotated[str | None, typer.Option(metavar="NAME", help=_DOMAINS)]
"""Where the points of a model lie."""

DomainOfModel = Annotated[str | None, typer.Option(metavar="NAME", help=f"Of a model: {_DOMAINS}")]
"""Of the commands that work on a run, which has its own, or on a model."""

PluginOptions = Annotated[
    list[str] | None, plugin_option("KIND.NAME.OPTION=VALUE", "A plugin's option.")
]
"""Of the commands that let several kinds of plugins work."""

AllowFetch = Annotated[
    bool,
    typer.Option(
        "--allow-fetch",
        help="Load the weights from where the run says, be it a server or another folder.",
    ),
]
"""Of the commands that need the weights of a run."""

PrintRows = Annotated[RowFormat, typer.Option(help="What to print.")]
"""``--format`` of the commands whose result is rows."""

PrintList = Annotated[ListFormat, typer.Option(help="How to print.")]
"""``--format`` of the commands that list what is installed."""
