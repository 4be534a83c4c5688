"""``geom run``: decide tokens and store the verdicts with their certificates."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from geom.cli import completion
from geom.cli.arguments import (
    Domain,
    IgnoredKinds,
    PluginOptions,
    PrintRows,
    RowFormat,
    model_option,
    tokens_option,
)


class YesNo(StrEnum):
    """The values of a flag that a file of settings may turn on or off."""

    yes = "yes"
    no = "no"


Models = Annotated[
    list[str] | None,
    model_option(
        "A file, a folder, a Hub id, or SOURCE:LOCATION?key=value; repeatable.  [default: demo]"
    ),
]
Detectors = Annotated[
    list[str] | None,
    typer.Option(
        "--detector",
        "-d",
        metavar="NAME",
        help="A plugin that flags candidates; repeatable.",
        autocompletion=completion.plugins("detector"),
    ),
]
Certifiers = Annotated[
    list[str] | None,
    typer.Option(
        "--certifier",
        "-c",
        metavar="NAME",
        autocompletion=completion.plugins("certifier", "none"),
        help="The chain, in order; repeatable; 'none' only detects.  [default: maxent, highs]",
    ),
]
Tokens = Annotated[str | None, tokens_option("candidates, all, 5,9,100-120, a text or @FILE.")]
ConfigFile = Annotated[
    Path | None, typer.Option(metavar="FILE.toml", help="A file of settings; flags override it.")
]
Device = Annotated[
    str | None,
    typer.Option(metavar="DEV", help="Where plugins compute: cpu, cuda, cuda:1 or torch."),
]
Executor = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Where certifiers run: serial, local, dask.  [default: serial]",
        autocompletion=completion.plugins("executor"),
    ),
]
Hardest = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=0,
        help="Prove which N speakable tokens have the least largest margins, and their order; "
        "0 leaves it.  [default: 10]",
    ),
]
NewRun = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN",
        help="The run's file; for several models, a folder.  [default: named after the settings]",
    ),
]
Opening = Annotated[
    YesNo | None,
    typer.Option(
        help="Decide in bulk what can be, before the chain is asked.  [default: yes]",
    ),
]
FailOn = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FINDING",
        help="Exit with 1 if a token is that: unspeakable, undecided or speakable-padding; "
        "repeatable.",
    ),
]
Baseline = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN",
        help="For --fail-on: an earlier run, or a folder of runs; only what is new fails.",
    ),
]

Limit = Annotated[int, typer.Option(metavar="N", min=0, help="The most tokens of the table.")]


def run(
    models: Models = None,
    detectors: Detectors = None,
    certifiers: Certifiers = None,
    domain: Domain = None,
    tokens: Tokens = None,
    option: PluginOptions = None,
    config: ConfigFile = None,
    device: Device = None,
    executor: Executor = None,
    opening: Opening = None,
    hardest: Hardest = None,
    out: NewRun = None,
    fail_on: FailOn = None,
    ignore: IgnoredKinds = None,
    baseline: Baseline = None,
    limit: Limit = 40,
    format: PrintRows = RowFormat.table,
) -> None:
    """Decide which tokens the model can say, and store the proofs."""
    from geom.cli.config import configure
    from geom.cli.display.messages import say_skipped_plugins
    from geom.cli.one_model import Request, run_one
    from geom.cli.several_models import run_several

    settings, given = configure(config, option or [])
    say_skipped_plugins()
    settings = settings.overridden(
        models=models,
        detectors=detectors,
        certifiers=certifiers,
        domain=domain,
        tokens=tokens,
        executor=executor,
        device=device,
        opening=None if opening is None else opening is YesNo.yes,
        hardest=hardest,
        fail_on=fail_on,
        ignore=ignore,
        baseline=None if baseline is None else str(baseline),
    )
    place = out or (Path(settings.out) if settings.out else None)
    request = Request(settings.planned(), given, format, settings.gate(), limit)
    named = list(dict.fromkeys(settings.all_models()))
    if len(named) > 1:
        found = run_several(named, request, place)
    else:
        found = run_one(named[0], request, place)
    if found:
        raise typer.Exit(1)
