"""The arguments and options that several commands share, each defined once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from geom.cli import completion

_DOMAINS = "auto, layernorm, rmsnorm, box, unbounded, hull or ellipsoid."


class RowFormat(StrEnum):
    """The form of standard output: a table, or one JSON object per row."""

    table = "table"
    jsonl = "jsonl"


class ListFormat(StrEnum):
    """The form of a printed list: a table, or one JSON array."""

    table = "table"
    json = "json"


def model_option(help: str) -> Any:
    """Return the ``--model`` option, with the help text of one command."""
    return typer.Option(
        "--model", "-m", metavar="MODEL", help=help, autocompletion=completion.model
    )


def tokens_option(help: str) -> Any:
    """Return the ``--tokens`` option; the help text names the forms that a command accepts."""
    return typer.Option("--tokens", "-t", metavar="SPEC", help=help)


def plugin_option(metavar: str, help: str) -> Any:
    """Return the ``-o`` option, which sets the options of plugins."""
    return typer.Option("--option", "-o", metavar=metavar, help=help)


RunFile = Annotated[Path, typer.Argument(metavar="RUN", help="A file that geom run wrote.")]
"""The argument of the commands that read a run."""

RunFileIfAny = Annotated[
    Path | None, typer.Argument(metavar="[RUN]", help="A file that geom run wrote.")
]
"""The argument of the commands that work on a run or on a model."""

ModelOrWeights = Annotated[
    str | None, model_option("The model; with a RUN, the run's weights.  [default: demo]")
]
"""``--model`` of the commands that work on a run or on a model."""

_domain = completion.one_of(completion.domains)

Domain = Annotated[str | None, typer.Option(metavar="NAME", help=_DOMAINS, autocompletion=_domain)]
"""``--domain``: the set in which the points of a model lie."""

DomainOfModel = Annotated[
    str | None,
    typer.Option(metavar="NAME", help=f"For a model: {_DOMAINS}", autocompletion=_domain),
]
"""``--domain`` of the commands that work on a run, which stores its domain, or on a model."""

Verdict = Annotated[
    str | None,
    typer.Option(
        metavar="VERDICT",
        autocompletion=completion.one_of(completion.verdicts),
        help="Only these tokens: speakable, unspeakable, undecided, or hard, the speakable ones "
        "that do not win along their own direction (speakable includes them).",
    ),
]
"""``--verdict`` of the commands that list the tokens of a run."""

PluginOptions = Annotated[
    list[str] | None, plugin_option("KIND.NAME.OPTION=VALUE", "A plugin's option.")
]
"""``-o`` of the commands that use several kinds of plugins."""

IgnoredKinds = Annotated[
    list[str] | None,
    typer.Option(
        "--ignore",
        metavar="KIND",
        help="For --fail-on: leave out tokens of this kind: special, added, byte, unused or "
        "padding; repeatable, or a list with commas.",
    ),
]
"""``--ignore`` of the commands that can fail."""

AllowFetch = Annotated[
    bool,
    typer.Option(
        "--allow-fetch",
        help="Load the weights from the place the run names, even a server or another folder.",
    ),
]
"""``--allow-fetch`` of the commands that need the weights of a run."""

PrintRows = Annotated[RowFormat, typer.Option(help="Print a table, or a JSON object per row.")]
"""``--format`` of the commands whose result is rows."""

PrintList = Annotated[ListFormat, typer.Option(help="Print a table, or one JSON array.")]
"""``--format`` of the commands that list what is installed."""
