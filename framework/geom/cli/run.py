"""``geom run``: decide tokens and keep the verdicts with their certificates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from geom.plugins.options import Given
    from geom.runs.planning import Plan
    from geom.store import Run, TokenRow

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
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="SOURCE:LOCATION",
            help="The model; may be given again.  [default: demo]",
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
        str | None,
        typer.Option(metavar="DEV", help="Where plugins compute: cpu, cuda, cuda:1 or torch."),
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Where certifiers run: serial, local, dask.  [default: serial]"
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="The run's file, a folder for several.  [default: named after the settings]",
        ),
    ] = None,
    fail_on: Annotated[
        FailOn | None, typer.Option(help="Leave with 1 where some token has this verdict.")
    ] = None,
    format: Annotated[Format, typer.Option(help="What to print.")] = Format.table,
) -> None:
    """Decide which tokens the model can say, and keep the proofs."""
    from geom.cli.config import configure
    from geom.cli.display.messages import say
    from geom.plugins.registry import installed
    from geom.runs.planning import DEFAULT_CERTIFIERS, DEFAULT_EXECUTOR

    settings, given = configure(config, option or [])
    for skipped in installed().skipped:
        say(str(skipped))
    chain = certifiers or _given(settings.certifiers, list(DEFAULT_CERTIFIERS))
    asked = {
        "detectors": detectors or settings.detectors,
        "certifiers": [] if chain == ["none"] else chain,
        "domain": _given(domain, settings.domain, "auto"),
        "tokens": _given(tokens, settings.tokens, "candidates"),
        "executor": _given(executor, settings.executor, DEFAULT_EXECUTOR),
        "device": _given(device, settings.device, "cpu"),
    }
    named = list(dict.fromkeys(models or settings.all_models()))
    place = out or (Path(settings.out) if settings.out else None)
    if len(named) > 1:
        failed = _run_all(named, asked, given, place, format, fail_on)
    else:
        with _run(named[0], asked, given, lambda planned: place or _file(planned)) as finished:
            _say_failures(finished, format)
            _print(finished, format)
            failed = fail_on is not None and finished.counts()[fail_on] > 0
    if failed:
        raise typer.Exit(1)


def _run(model: str, asked: Mapping[str, Any], given: Given, place: Callable[[Plan], Path]) -> Run:
    """One model, with what was asked of it, to the file of that place."""
    from geom.cli.display.messages import say
    from geom.cli.display.progress import bars
    from geom.loading import load
    from geom.progress import watched
    from geom.runs.pipeline import execute
    from geom.runs.planning import plan

    with bars() as watcher:
        with watched(watcher):
            readout = load(model, given)
        planned = plan(readout, given=given, **asked)
        path = place(planned)
        try:
            return execute(planned, path, watcher, lambda: _announce(planned))
        except KeyboardInterrupt:
            say(f"interrupted; the same command goes on from {path}")
            raise typer.Exit(130) from None


def _run_all(
    models: Sequence[str],
    asked: Mapping[str, Any],
    given: Given,
    folder: Path | None,
    format: Format,
    fail_on: FailOn | None,
) -> bool:
    """Several models, one after another, and the summary; whether one has the verdict watched for.

    One that cannot be done is named and the others are; then the command leaves with 2.
    """
    from geom.cli.display.lines import print_lines
    from geom.cli.display.messages import say
    from geom.cli.display.tables import print_summary
    from geom.errors import GeomError, InputError
    from geom.loading import split
    from geom.summary import summarise

    if folder is not None:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file: for several models give --out a folder")
        folder.mkdir(parents=True, exist_ok=True)
    here = folder or Path()
    sources = {split(model)[0] for model in models}
    paths: list[Path] = []
    failed, broken = False, 0
    for place, model in enumerate(models, 1):
        others = {("source", name) for name in sources - {split(model)[0]}}
        own = {key: values for key, values in given.items() if key not in others}
        say(f"{model} ({place} of {len(models)})")
        try:
            with _run(model, asked, own, lambda planned: here / _file(planned)) as finished:
                _say_failures(finished, format)
                if format is Format.jsonl:
                    print_lines(_Named(model, row) for row in finished.rows())
                failed = failed or (fail_on is not None and finished.counts()[fail_on] > 0)
                if finished.path is not None:
                    paths.append(finished.path)
        except GeomError as error:
            say(str(error))
            broken += 1
    if format is Format.table:
        print_summary(summarise(paths))
    if broken:
        raise InputError(f"{broken} of {len(models)} models could not be done; see above")
    return failed


@dataclass(frozen=True)
class _Named:
    """A row, with the model that it is of."""

    model: str
    row: TokenRow

    def as_dict(self) -> dict[str, Any]:
        return {"model": self.model, **self.row.as_dict()}


def _announce(asked: Plan) -> None:
    """What a user should know before the work begins."""
    from geom.cli.display.messages import say
    from geom.machine.memory import available, describe

    for warning in asked.warnings:
        say(warning)
    if asked.memory >= STATED:
        say(f"memory: about {describe(asked.memory)}; {describe(available())} can be had")


def _say_failures(finished: Run, format: Format) -> None:
    """Name the plugins that raised: certifiers, and what no table will say of the others."""
    import re

    from geom.cli.display.messages import say

    if format is Format.jsonl:
        for warning in finished.warnings:
            say(warning)
    raised: dict[str, list[tuple[int, str]]] = {}
    for row in finished.rows():
        for part in (row.note or "").split("; "):
            found = re.match("([a-z0-9-]+) raised (.*)", part)
            if found:
                raised.setdefault(found[1], []).append((row.token_id, found[2]))
    for name, cases in raised.items():
        token, reason = cases[0]
        more = f" and {len(cases) - 1} more" if len(cases) > 1 else ""
        say(f"certifier {name} raised {reason}: token {token}{more}")


def _given(*values: T | None) -> T:
    """The first that is not None: the flag, the file's key, the default."""
    return next(value for value in values if value is not None)


def _file(asked: Plan) -> Path:
    """A name of its own for every model and settings, so that runs never collide."""
    import hashlib
    import json
    import re

    from geom.loading import split

    source, location, _ = split(asked.readout.source)
    digest = hashlib.sha256(json.dumps(asked.settings, sort_keys=True).encode()).hexdigest()
    model = re.sub(r"[^A-Za-z0-9._-]+", "-", location.rstrip("/").rpartition("/")[2])[:40]
    return Path("-".join(filter(None, ("geom", source, model, f"{digest[:8]}.db"))))


def _print(finished: Run, format: Format) -> None:
    if format is Format.jsonl:
        from geom.cli.display.output import out
        from geom.exporting import export

        export(finished, "jsonl", out().buffer)
        return
    import shlex

    from geom.cli.display.tables import print_run
    from geom.loading import unasked

    elsewhere = finished.model != "python" and unasked(finished) is not None
    weights = f" --model {shlex.quote(finished.model)}" if elsewhere else ""
    print_run(finished, limit=40, weights=weights)
