"""The work of ``geom run`` on one model: from its name to a finished and printed run."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from geom.cli.arguments import RowFormat
from geom.cli.display.messages import say, say_checks, say_interrupted
from geom.cli.display.output import out as results
from geom.cli.display.progress import bars
from geom.cli.display.run_tables import print_run
from geom.exporting import export
from geom.gate import Gate
from geom.loading import load
from geom.machine.memory import available, describe
from geom.plugins.options import Given
from geom.progress import watched
from geom.runs.failures import failures
from geom.runs.pipeline import execute
from geom.runs.planning import Plan, plan
from geom.store import Run

STATED = 256 * 2**20
"""A run that takes at least this many bytes says how much memory it needs."""


@dataclass(frozen=True)
class Request:
    """What a command asks of every model: settings, plugin options, output, what fails it.

    ``limit`` is the most tokens of the table.
    """

    planned: Mapping[str, Any]
    given: Given
    format: RowFormat
    gate: Gate | None
    limit: int

    def failed(self, finished: Run) -> bool:
        """Return whether the run fails the command, and say what was watched for and found."""
        return self.gate is not None and say_checks(self.gate.checks(finished))


def run_one(model: str, request: Request, out: Path | None) -> bool:
    """Run a model and print the run; return whether it fails the command."""
    with decide(model, request, out) as finished:
        say_troubles(finished, request.format)
        if request.format is RowFormat.jsonl:
            export(finished, "jsonl", results().buffer)
        else:
            print_run(finished, limit=request.limit)
        return request.failed(finished)


def decide(model: str, request: Request, out: Path | None, folder: Path | None = None) -> Run:
    """Run a model, in the file ``out`` or in a file in ``folder`` named after the settings."""
    path: Path | None = None
    try:
        with bars() as watcher:
            with watched(watcher):
                readout = load(model, request.given)
            planned = plan(readout, given=request.given, **request.planned)
            path = out or (folder or Path()) / _file(planned)
            if request.gate is not None:
                request.gate.check_problem(planned.problem, path)
            return execute(planned, path, watcher, lambda: _announce(planned))
    except KeyboardInterrupt:  # only now, below the bars
        if path is None:
            raise
        say_interrupted(f"; the same command goes on from {path}")
        raise typer.Exit(130) from None


def say_troubles(finished: Run, format: RowFormat) -> None:
    """Name the certifiers that raised and, unless a table shows them, print the warnings."""
    if format is RowFormat.jsonl:
        for warning in finished.warnings:
            say(warning)
    for failure in failures(finished):
        say(str(failure))


def _announce(planned: Plan) -> None:
    """Say what a user should know before the work begins."""
    for warning in planned.warnings:
        say(warning)
    if planned.memory >= STATED:
        say(f"memory: about {describe(planned.memory)}; {describe(available())} available")


def _file(planned: Plan) -> Path:
    """Return a file name unique to the model and settings, so that runs never collide."""
    source = planned.readout.source
    digest = hashlib.sha256(json.dumps(planned.settings, sort_keys=True).encode()).hexdigest()
    model = re.sub(r"[^A-Za-z0-9._-]+", "-", source.location.rstrip("/").rpartition("/")[2])[:40]
    return Path("-".join(filter(None, ("geom", source.name, model, f"{digest[:8]}.db"))))
