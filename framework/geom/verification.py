"""Checking a stored run again, without a solver."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geom import domains, exact
from geom.certificates import Finding, Verdict
from geom.errors import StoreError
from geom.exact.bulk import own_direction, prove_own_directions, prove_points
from geom.loading import weights_of
from geom.problem import Problem
from geom.progress import Watcher, track, watched
from geom.readout import Readout
from geom.store import Row, Run

_BLOCK = 1024
"""Tokens that are checked at a time."""


@dataclass(frozen=True)
class Fault:
    """Something a run claims that does not hold; ``token`` is None where it is the whole run."""

    token: int | None
    reason: str

    def __str__(self) -> str:
        return self.reason if self.token is None else f"token {self.token}: {self.reason}"


@dataclass(frozen=True)
class Verification:
    """What came of checking a run: how many tokens of each verdict hold, and every fault."""

    confirmed: dict[str, int]
    faults: tuple[Fault, ...]

    @property
    def ok(self) -> bool:
        """Whether everything the run claims holds."""
        return not self.faults


def verify(
    run: Run,
    readout: Readout | None = None,
    progress: Watcher | None = None,
    *,
    allow_fetch: bool = False,
) -> Verification:
    """Check every certificate and every bound of a run against the weights, in exact arithmetic.

    ``readout`` is loaded as the run says where None: from the run's own folder, and from elsewhere
    with ``allow_fetch``. Weights with another digest confirm
    nothing: that is the one fault then. Raises InputError or StoreError where the model or the run
    cannot be read.
    """
    settings = run.settings
    if readout is None:
        with watched(progress):
            readout = weights_of(run, allow_fetch)
    if readout.digest != settings.get("digest"):
        return Verification(
            {}, (Fault(None, f"the run was made with other weights than {readout.source}"),)
        )
    problem = Problem(readout, domains.from_settings(settings.get("domain", {}), readout.d))
    confirmed: dict[str, int] = {}
    found: list[Fault] = []
    rows = list(run.rows())
    with watched(progress):
        for row, reasons in track(_checked(problem, run, rows), "verify", len(rows)):
            found += [Fault(row.token_id, reason) for reason in reasons]
            if not reasons:
                confirmed[row.verdict] = confirmed.get(row.verdict, 0) + 1
    return Verification(confirmed, tuple(sorted(found, key=_place)))


def _place(fault: Fault) -> int:
    return -1 if fault.token is None else fault.token


def _checked(problem: Problem, run: Run, rows: Sequence[Row]) -> Iterator[tuple[Row, list[str]]]:
    """Each row with its faults: witnesses in bulk first, then what that leaves open, one by one."""
    own = run.recipes()
    inside = range(problem.readout.V)
    known = [row for row in rows if row.token_id in inside]
    for row in rows:
        if row.token_id not in inside:
            yield row, ["it is outside the vocabulary"]
    for start in range(0, len(known), _BLOCK):
        block = known[start : start + _BLOCK]
        rebuilt = [row for row in block if row.token_id in own]
        stored = [row for row in block if row.token_id not in own]
        lower = prove_own_directions(problem, _ids(rebuilt), widen=1.0).tolist()
        for row, bound in zip(rebuilt, lower, strict=True):
            yield row, [] if _holds(row, bound) else _faults_of_recipe(problem, row)
        bounds = _stored_bounds(problem, run, stored)
        for row in stored:
            holds = _holds(row, bounds.get(row.token_id, -np.inf))
            yield row, [] if holds else _faults(problem, run, row)


def _stored_bounds(problem: Problem, run: Run, rows: Sequence[Row]) -> dict[int, float]:
    """Bounds on the margins of speakable tokens, from the points stored for them, in bulk."""
    points = {}
    for row in rows:
        if row.verdict == "speakable":
            with suppress(StoreError):  # a damaged certificate is looked at alone
                x = run.evidence(row.token_id).x
                if exact.is_point(problem, x):
                    points[row.token_id] = x
    if not points:
        return {}
    ids = np.array(list(points), dtype=np.int64)
    lower = prove_points(problem, ids, np.array(list(points.values())), widen=1.0)
    return dict(zip(points, lower.tolist(), strict=True))


def _holds(row: Row, bound: float) -> bool:
    """Whether a margin of at least ``bound`` is all that the row claims."""
    claimed = row.margin_lower or 0.0
    whole = row.verdict == "speakable" and row.proof == "witness" and row.margin_upper is None
    return whole and 0.0 < claimed <= bound


def _ids(rows: Sequence[Row]) -> NDArray[np.int64]:
    return np.array([row.token_id for row in rows], dtype=np.int64)


def _faults_of_recipe(problem: Problem, row: Row) -> list[str]:
    """The faults of a token whose witness is rebuilt, looked at alone."""
    x = own_direction(problem, row.token_id)
    return exact.faults(problem, row.token_id, Finding(x), _claim(row))


def _faults(problem: Problem, run: Run, row: Row) -> list[str]:
    """The faults of a token, looked at alone; a damaged certificate is one of them."""
    try:
        evidence = run.evidence(row.token_id)
    except StoreError as error:
        return [str(error)]
    return exact.faults(problem, row.token_id, evidence, _claim(row))


def _claim(row: Row) -> Verdict:
    return Verdict(row.verdict, row.proof, None, row.margin_lower, row.margin_upper)
