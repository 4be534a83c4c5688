"""Check verdicts and their bounds against the certificates, in exact arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain

import numpy as np

from geom import exact
from geom.certificates import Finding, Verdict
from geom.errors import StoreError
from geom.exact.bulk import own_direction, prove_own_directions, prove_points
from geom.exact.caps import probability_cap
from geom.exact.close import margins_below
from geom.model.problem import Problem
from geom.numbers.arrays import Floats, Ids
from geom.opening.twins import group_sizes
from geom.store import Run, TokenRow
from geom.store.file_format import ADDED

_BLOCK = 1024
"""The most tokens whose stored evidence is checked at a time."""

_BYTES = 1 << 27
"""The bytes that their points may take."""


def rebuild_recipes(problem: Problem, run: Run, rows: Sequence[TokenRow]) -> Floats:
    """Bound the margins (n,) of the rows whose witness is rebuilt, in their order, all at once.

    The bounds are remembered: tokens that win need no search for the winner (`check_rows`), which
    is why this is asked first.
    """
    return prove_own_directions(problem, _ids(_rebuilt(problem, run, rows)), widen=1.0)


def checked(
    problem: Problem, run: Run, rows: Sequence[TokenRow], twins: Ids
) -> Iterator[tuple[TokenRow, list[str]]]:
    """Return each row with its faults: those found in bulk, then the rows left open one by one.

    ``twins`` (V,) are those of `geom.opening.twins.find_twins`. Witnesses that are rebuilt are
    proven before this returns, all at once.
    """
    rebuilt = _rebuilt(problem, run, rows)
    lower = rebuild_recipes(problem, run, rows)
    recipes = {row.token_id for row in rebuilt}
    inside = (row for row in rows if row.token_id in range(problem.readout.V))
    stored = [row for row in inside if row.token_id not in recipes]
    outside = (row for row in rows if row.token_id not in range(problem.readout.V))
    return chain(
        ((row, [f"it is outside {problem.readout.noun.every}"]) for row in outside),
        _checked_recipes(problem, rebuilt, lower),
        _checked_evidence(problem, run, stored, group_sizes(twins)),
    )


def _rebuilt(problem: Problem, run: Run, rows: Sequence[TokenRow]) -> list[TokenRow]:
    """Return the rows of the vocabulary whose witness is rebuilt."""
    recipes = run.recipes()
    return [r for r in rows if r.token_id in recipes and r.token_id in range(problem.readout.V)]


def _checked_recipes(
    problem: Problem, rows: Sequence[TokenRow], lower: Floats
) -> Iterator[tuple[TokenRow, list[str]]]:
    """Yield the rows whose witness is rebuilt, with their faults."""
    for row, bound in zip(rows, lower.tolist(), strict=True):
        yield row, [] if _holds(row, bound) else _faults_of_recipe(problem, row)


def _checked_evidence(
    problem: Problem, run: Run, rows: Sequence[TokenRow], sizes: Ids
) -> Iterator[tuple[TokenRow, list[str]]]:
    """Yield the rows whose evidence is stored, with their faults.

    ``sizes`` (V,) are the numbers of equal tokens.
    """
    size = min(_BLOCK, max(1, _BYTES // (8 * problem.domain.coordinates)))
    for start in range(0, len(rows), size):
        block = rows[start : start + size]
        bounds = _stored_bounds(problem, run, block)
        for row in block:
            known, equal = bounds.get(row.token_id), int(sizes[row.token_id])
            holds = known is not None and _holds(row, known)
            yield row, [] if holds else _faults_of_evidence(problem, run, row, equal, known)


def _stored_bounds(problem: Problem, run: Run, rows: Sequence[TokenRow]) -> dict[int, float]:
    """Confirm the lower bounds that rows claim, in bulk, from the points stored for them.

    Where float32 confirms too little, the rivals that come near are computed exactly. A claim that
    is not confirmed is left out.
    """
    kept, stored = [], []
    for row in rows:
        if row.margin_lower is not None and np.isfinite(row.margin_lower):
            with suppress(StoreError):  # a damaged certificate is checked by itself later
                x = run.evidence(row.token_id).x
                if (
                    x is not None
                    and x.dtype == np.float64
                    and x.shape == (problem.domain.coordinates,)
                    and np.isfinite(x).all()
                ):
                    kept.append(row)
                    stored.append(x)
    if not kept:
        return {}
    points, inside = np.array(stored), problem.domain.contains_all(np.array(stored))
    ids, points = _ids(kept)[inside], points[inside]
    claimed = np.array([row.margin_lower for row in kept], dtype=np.float64)[inside]
    lower = prove_points(problem, ids, points, widen=1.0)
    short = np.flatnonzero(~(lower >= claimed))
    along = problem.homogeneous and not problem.domain.bounded  # bounds are per length there
    lower[short] = margins_below(
        problem, ids[short], points[short], None if along else claimed[short]
    )
    true = lower >= claimed
    return dict(zip(ids[true].tolist(), lower[true].tolist(), strict=True))


def _holds(row: TokenRow, bound: float) -> bool:
    """Return whether a margin of at least ``bound`` proves all that the row claims."""
    claimed = row.margin_lower or 0.0
    whole = row.verdict == "speakable" and row.proof == "witness" and row.margin_upper is None
    return whole and row.probability_upper is None and 0.0 < claimed <= bound


def _ids(rows: Sequence[TokenRow]) -> Ids:
    return np.array([row.token_id for row in rows], dtype=np.int64)


def _faults_of_recipe(problem: Problem, row: TokenRow) -> list[str]:
    """Return the faults of a token whose witness is rebuilt, checked by itself."""
    return _faults(problem, row, Finding(own_direction(problem, row.token_id)))


def _faults_of_evidence(
    problem: Problem, run: Run, row: TokenRow, equal: int, known: float | None
) -> list[str]:
    """Return the faults of a token, checked by itself; a damaged certificate is one of them.

    ``known`` is a lower bound that its point is known to prove.
    """
    try:
        evidence = run.evidence(row.token_id)
    except StoreError as error:
        return [str(error)]
    found = _faults(problem, row, evidence, known)
    if row.verdict == "unspeakable" and not found and run.format >= ADDED["probability_upper"]:
        found += _faults_of_cap(problem, row, evidence, equal)
    return found


def _faults_of_cap(problem: Problem, row: TokenRow, evidence: Finding, equal: int) -> list[str]:
    """Return what is wrong with the cap on the probability of a token proven unspeakable."""
    cap = row.probability_upper
    if cap is None or not 0.0 < cap <= 0.5:
        return ["it is unspeakable and yet claims no probability_upper of 1/2 or less"]
    if not cap >= probability_cap(problem, row.token_id, evidence.weights, equal, widen=1.0):
        return [f"the stored weights do not prove probability_upper {cap!r}"]
    return []


def _faults(
    problem: Problem, row: TokenRow, evidence: Finding, known: float | None = None
) -> list[str]:
    """Return what the row claims without proof, and what its evidence proves beyond the row."""
    claim = Verdict(
        row.verdict, row.proof, margin_lower=row.margin_lower, margin_upper=row.margin_upper
    )
    found = exact.faults(problem, row.token_id, evidence, claim, known)
    if row.verdict == "undecided":
        verdict = exact.judge(problem, row.token_id, evidence)
        if verdict.decided:
            found.append(f"it is called undecided, and its evidence proves it {verdict.name}")
    if row.verdict != "unspeakable" and row.probability_upper is not None and not found:
        found.append(f"it is {row.verdict}, and has a probability_upper as if unspeakable")
    return found
