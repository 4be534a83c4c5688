"""Checking a stored run again, without a solver."""

from __future__ import annotations

from dataclasses import dataclass

from geom import domains, exact
from geom.certificates import Finding, Verdict
from geom.errors import InputError, StoreError
from geom.loading import load
from geom.problem import Problem
from geom.progress import Watcher, track, watched
from geom.readout import Readout
from geom.store import Row, Run


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
        if run.model == "python":
            raise InputError("the run was made from arrays in Python: name its weights to verify")
        with watched(progress):
            readout = load(run.model)
    if readout.digest != settings.get("digest"):
        return Verification(
            {}, (Fault(None, f"the run was made with other weights than {readout.source}"),)
        )
    problem = Problem(readout, domains.from_settings(settings.get("domain", {}), readout.d))
    confirmed: dict[str, int] = {}
    found: list[Fault] = []
    rows = list(run.rows())
    with watched(progress):
        for row in track(rows, "verify", len(rows)):
            reasons = _check(problem, run, row)
            found += [Fault(row.token_id, reason) for reason in reasons]
            if not reasons:
                confirmed[row.verdict] = confirmed.get(row.verdict, 0) + 1
    return Verification(confirmed, tuple(found))


def _check(problem: Problem, run: Run, row: Row) -> list[str]:
    """The faults of one token; a damaged certificate is one of them."""
    if not 0 <= row.token_id < problem.readout.V:
        return ["it is outside the vocabulary"]
    try:
        evidence = run.evidence(row.token_id)
    except StoreError as error:
        return [str(error)]
    claim = Verdict(row.verdict, row.proof, None, row.margin_lower, row.margin_upper)
    return exact.faults(problem, row.token_id, Finding(evidence.x, evidence.weights), claim)
