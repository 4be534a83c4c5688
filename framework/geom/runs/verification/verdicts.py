"""Check verdicts and their bounds against the certificates, in exact arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

import numpy as np

from geom import exact
from geom.certificates import Finding, Verdict
from geom.errors import StoreError
from geom.exact.bulk import own_direction, prove_own_directions, prove_points
from geom.model.problem import Problem
from geom.numbers.arrays import Ids
from geom.store import Run, TokenRow

_BLOCK = 1024
"""The number of tokens that are checked at a time."""


def checked(
    problem: Problem, run: Run, rows: Sequence[TokenRow]
) -> Iterator[tuple[TokenRow, list[str]]]:
    """Yield each row with its faults: witnesses in bulk, then the rows left open one by one."""
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
            yield row, [] if holds else _faults_of_evidence(problem, run, row)


def _stored_bounds(problem: Problem, run: Run, rows: Sequence[TokenRow]) -> dict[int, float]:
    """Bound the margins of speakable tokens in bulk, from the points stored for them."""
    points = {}
    for row in rows:
        if row.verdict == "speakable":
            with suppress(StoreError):  # a damaged certificate is checked by itself later
                x = run.evidence(row.token_id).x
                if exact.is_point(problem, x):
                    points[row.token_id] = x
    if not points:
        return {}
    ids = np.array(list(points), dtype=np.int64)
    lower = prove_points(problem, ids, np.array(list(points.values())), widen=1.0)
    return dict(zip(points, lower.tolist(), strict=True))


def _holds(row: TokenRow, bound: float) -> bool:
    """Return whether a margin of at least ``bound`` proves all that the row claims."""
    claimed = row.margin_lower or 0.0
    whole = row.verdict == "speakable" and row.proof == "witness" and row.margin_upper is None
    return whole and 0.0 < claimed <= bound


def _ids(rows: Sequence[TokenRow]) -> Ids:
    return np.array([row.token_id for row in rows], dtype=np.int64)


def _faults_of_recipe(problem: Problem, row: TokenRow) -> list[str]:
    """Return the faults of a token whose witness is rebuilt, checked by itself."""
    return _faults(problem, row, Finding(own_direction(problem, row.token_id)))


def _faults_of_evidence(problem: Problem, run: Run, row: TokenRow) -> list[str]:
    """Return the faults of a token, checked by itself; a damaged certificate is one of them."""
    try:
        evidence = run.evidence(row.token_id)
    except StoreError as error:
        return [str(error)]
    return _faults(problem, row, evidence)


def _faults(problem: Problem, row: TokenRow, evidence: Finding) -> list[str]:
    """Return what the row claims without proof, and what its evidence proves beyond the row."""
    claim = Verdict(
        row.verdict, row.proof, margin_lower=row.margin_lower, margin_upper=row.margin_upper
    )
    found = exact.faults(problem, row.token_id, evidence, claim)
    if row.verdict == "undecided":
        verdict = exact.judge(problem, row.token_id, evidence)
        if verdict.decided:
            found.append(f"it is called undecided, and its evidence proves it {verdict.name}")
    return found
