"""``geom run``: decide tokens and keep the verdicts with their certificates."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from geom.pipeline import Plan
    from geom.store import Run

T = TypeVar("T")

STATED = 256 * 2**20
"""Bytes from which on a run says what memory it takes."""


class Format(StrEnum):
    """What goes to standard output."""

    table = "table"
    jsonl = "jsonl"


class FailOn(StrEnum):
    """Verdicts that ``--fail-on`` can watch for."""

    unspeakable = "unspeakable"
    undecided = "undecided"


def run(
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", metavar="SOURCE:LOCATION", help="The model.  [default: demo]"
        ),
    ] = None,
    detectors: Annotated[
        list[str] | None,
        typer.Option(
            "--detector", "-d", metavar="NAME", help="Flags candidates; may be given again."
        ),
    ] = None,
    certifiers: Annotated[
        list[str] | None,
        typer.Option(
            "--certifier",
            "-c",
            metavar="NAME",
            help="The chain, in order; 'none' only detects.  [default: maxent, highs]",
        ),
    ] = None,
    domain: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="auto, layernorm, rmsnorm, box or unbounded."),
    ] = None,
    tokens: Annotated[
        str | None,
        typer.Option(
            "--tokens", "-t", metavar="SPEC", help="candidates, all, 5,9,100-120 or @FILE."
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", metavar="KIND.NAME.OPTION=VALUE", help="A plugin's option."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Settings; flags win over them.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Where plugins compute: cpu, cuda, cuda:1 or torch.")
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Where certifiers run: serial, local.  [default: serial]"
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="The run's file.  [default: named after the settings]"),
    ] = None,
    fail_on: Annotated[
        FailOn | None, typer.Option(help="Leave with 1 where some token has this verdict.")
    ] = None,
    format: Annotated[Format, typer.Option(help="What to print.")] = Format.table,
) -> None:
    """Decide which tokens the model can say, and keep the proofs."""
    from geom.cli.config import configure
    from geom.cli.messages import say
    from geom.cli.progress import bars
    from geom.loading import DEFAULT_MODEL, load
    from geom.pipeline import DEFAULT_CERTIFIERS, DEFAULT_EXECUTOR, execute, plan
    from geom.plugins import installed
    from geom.progress import watched

    settings, given = configure(config, option or [])
    for skipped in installed().skipped:
        say(str(skipped))
    chain = certifiers or _given(settings.certifiers, list(DEFAULT_CERTIFIERS))
    with bars() as watcher:
        with watched(watcher):
            readout = load(_given(model, settings.model, DEFAULT_MODEL), given)
        asked = plan(
            readout,
            detectors=detectors or settings.detectors,
            certifiers=[] if chain == ["none"] else chain,
            domain=_given(domain, settings.domain, "auto"),
            tokens=_given(tokens, settings.tokens, "candidates"),
            given=given,
            executor=_given(executor, settings.executor, DEFAULT_EXECUTOR),
            device=_given(device, settings.device, "cpu"),
        )
        path = out or (Path(settings.out) if settings.out else _default_path(asked))
        try:
            finished = execute(asked, path, watcher, lambda: _announce(asked))
        except KeyboardInterrupt:
            say(f"interrupted; the same command goes on from {path}")
            raise typer.Exit(130) from None
    with finished:
        _print(finished, format)
        failed = fail_on is not None and finished.counts()[fail_on] > 0
    if failed:
        raise typer.Exit(1)


def _announce(asked: Plan) -> None:
    """What a user should know before the work begins."""
    from geom.cli.messages import say
    from geom.memory import available, describe

    for warning in asked.warnings:
        say(warning)
    if asked.memory >= STATED:
        say(f"memory: about {describe(asked.memory)}; {describe(available())} can be had")


def _given(*values: T | None) -> T:
    """The first that is not None: the flag, the file's key, the default."""
    return next(value for value in values if value is not None)


def _default_path(asked: Plan) -> Path:
    """A file name of its own for every model and settings, so that runs never collide."""
    import hashlib
    import json

    digest = hashlib.sha256(json.dumps(asked.settings, sort_keys=True).encode()).hexdigest()
    return Path(f"geom-{asked.readout.source.partition(':')[0].partition('?')[0]}-{digest[:8]}.db")


def _print(finished: Run, format: Format) -> None:
    if format is Format.jsonl:
        from geom.cli.export import write

        write(finished, "jsonl", None)
        return
    from geom.cli.tables import print_run

    print_run(finished, limit=40)
