"""Checking a stored run again, without a solver."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from geom import domains, exact
from geom.certificates import Finding, Verdict
from geom.errors import StoreError
from geom.exact.bulk import own_direction, prove_own_directions
from geom.loading import weights_of
from geom.problem import Problem
from geom.progress import Watcher, track, watched
from geom.readout import Readout
from geom.store import Row, Run

_BLOCK = 4096
"""Tokens whose own directions are checked at a time."""


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
    run: Run, readout: Readout | None = None, progress: Watcher | None = None
) -> Verification:
    """Check every certificate and every bound of a run against the weights, in exact arithmetic.

    ``readout`` is loaded as the run's settings say where None. Weights with another digest confirm
    nothing: that is the one fault then. Raises InputError or StoreError where the model or the run
    cannot be read.
    """
    settings = run.settings
    if readout is None:
        with watched(progress):
            readout = weights_of(run)
    if readout.digest != settings.get("digest"):
        return Verification(
            {}, (Fault(None, f"the run was made with other weights than {readout.source}"),)
        )
    problem = Problem(readout, domains.from_settings(settings.get("domain", {}), readout.d))
    confirmed: dict[str, int] = {}
    found: list[Fault] = []
    own = run.recipes()
    rows = list(run.rows())
    stored = [row for row in rows if row.token_id not in own]
    rebuilt = [row for row in rows if row.token_id in own]
    with watched(progress):
        checked = chain(
            _rebuilt(problem, rebuilt), ((row, _check(problem, run, row)) for row in stored)
        )
        for row, reasons in track(checked, "verify", len(rows)):
            found += [Fault(row.token_id, reason) for reason in reasons]
            if not reasons:
                confirmed[row.verdict] = confirmed.get(row.verdict, 0) + 1
    return Verification(confirmed, tuple(sorted(found, key=_place)))


def _place(fault: Fault) -> int:
    return -1 if fault.token is None else fault.token


def _rebuilt(problem: Problem, rows: Sequence[Row]) -> Iterator[tuple[Row, list[str]]]:
    """The faults of tokens that are to win along their own direction, proven in bulk again.

    Where float32 products leave a claim open, the point is rebuilt and looked at alone.
    """
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        inside = [row for row in block if 0 <= row.token_id < problem.readout.V]
        ids = np.array([row.token_id for row in inside], dtype=np.int64)
        lower = dict(zip(ids.tolist(), prove_own_directions(problem, ids, widen=1.0), strict=True))
        for row in block:
            claimed = row.margin_lower or 0.0
            whole = row.verdict == "speakable" and row.proof == "witness"
            if row.token_id not in lower:
                yield row, ["it is outside the vocabulary"]
            elif whole and row.margin_upper is None and 0.0 < claimed <= lower[row.token_id]:
                yield row, []
            else:
                x = own_direction(problem, row.token_id)
                yield row, exact.faults(problem, row.token_id, Finding(x), _claim(row))


def _check(problem: Problem, run: Run, row: Row) -> list[str]:
    """The faults of one token; a damaged certificate is one of them."""
    if not 0 <= row.token_id < problem.readout.V:
        return ["it is outside the vocabulary"]
    try:
        evidence = run.evidence(row.token_id)
    except StoreError as error:
        return [str(error)]
    return exact.faults(problem, row.token_id, evidence, _claim(row))


def _claim(row: Row) -> Verdict:
    return Verdict(row.verdict, row.proof, None, row.margin_lower, row.margin_upper)
