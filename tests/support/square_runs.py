"""Whole runs of a square with its centre, with plugins that tests define.

The corners can be said; the centre, a mean of opposite corners, cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geom import (
    Candidate,
    Certifier,
    Detector,
    Domain,
    Executor,
    Finding,
    NoOptions,
    Problem,
    Readout,
    Run,
    TokenRow,
    hookimpl,
)
from geom.plugins.registry import using
from geom.runs.pipeline import execute
from geom.runs.planning import Plan, plan
from support.plugins import installed_and

CENTRE = 4
SQUARE = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0], [0.0, 0.0]])
READOUT = Readout.fold(SQUARE)

Detect = Callable[[Readout, Domain, Any], Iterable[Any]]


@dataclass(frozen=True)
class Given:
    """A plugin whose hooks return the given records."""

    detectors: tuple[Detector[Any], ...] = ()
    certifiers: tuple[Certifier[Any], ...] = ()
    executors: tuple[Executor[Any], ...] = ()

    @hookimpl
    def geom_detectors(self) -> Iterable[Detector[Any]]:
        return self.detectors

    @hookimpl
    def geom_certifiers(self) -> Iterable[Certifier[Any]]:
        return self.certifiers

    @hookimpl
    def geom_executors(self) -> Iterable[Executor[Any]]:
        return self.executors


def planned(plugin: Given, **asked: Any) -> Plan:
    """Plan a run of the square, with the plugin next to the installed ones."""
    with using(installed_and(plugin)):
        return plan(READOUT, **asked)


def detector(detect: Detect, name: str = "stub") -> Detector[NoOptions]:
    return Detector(name, "", detect, NoOptions)


def flags(*candidates: Any) -> Detect:
    return lambda readout, domain, options: candidates


def detected(*detectors: Detector[Any], **asked: Any) -> Run:
    """Run these detectors and no certifier."""
    names = [record.name for record in detectors]
    return execute(planned(Given(detectors), detectors=names, certifiers=[], **asked))


def ids(rows: Iterable[TokenRow]) -> list[int]:
    return [row.token_id for row in rows]


def boom(readout: Readout, domain: Domain, options: Any) -> Iterator[Candidate]:
    yield Candidate(0)
    raise ValueError("boom\nand more")


def certifier(name: str = "stub", **fields: Any) -> Certifier[NoOptions]:
    def certify(problem: Problem, token: int, prior: Finding, options: NoOptions) -> Finding:
        return Finding(x=SQUARE[token])

    return Certifier(name, "", certify, NoOptions, **fields)


def executed(run_map: Callable[..., Any], out: Path | None = None) -> Run:
    plugin = Given(executors=(Executor("stub", "", run_map, NoOptions),), certifiers=(certifier(),))
    asked = planned(plugin, tokens="all", certifiers=["stub"], executor="stub", opening=False)
    return execute(asked, out)


def contents(run: Run) -> list[dict[str, Any]]:
    return [row.as_dict() | {"seconds": None} for row in run.rows()]
