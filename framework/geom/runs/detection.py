"""Which tokens a run examines: what its detectors say about the vocabulary, checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import index
from typing import Any

import numpy as np

from geom import exact
from geom.certificates import Finding
from geom.errors import GeomError, PluginError, Raised, answered, several
from geom.exact import symmetric
from geom.exact.bulk import prove_own_directions, prove_points, shares_directions
from geom.exact.products import POINTS
from geom.exact.single import slices
from geom.model.problem import Problem
from geom.model.readout import Readout
from geom.nouns import Noun
from geom.numbers.arrays import Flags, Floats, Ids
from geom.plugins.records import Detector
from geom.plugins.results import Candidate, WitnessedToken
from geom.runs.findings import as_kept
from geom.runs.outcomes import own_direction_outcome
from geom.runs.planning import Plan, plan
from geom.self_argmax import own_winners
from geom.store import Outcome, Planned, Run
from geom.token_spec import few_ids

_UNKNOWN = -1
"""The mark for a winner that no detector has named, in place of its id."""


def candidates(problem: Problem, run: Run | None = None) -> list[int]:
    """List the tokens that a run's detectors flagged, ascending; without a run, ask the default."""
    if run is not None:
        return [row.token_id for row in run.rows() if row.flagged_by]
    planned, _, _ = examine(plan(problem.readout, certifiers=(), domain=problem.domain))
    return [item.token_id for item in planned if item.flagged_by]


def examine(asked: Plan) -> tuple[Iterator[Planned], list[str], Iterable[Outcome]]:
    """Return the tokens to examine, with what the detectors say about them, and what went wrong.

    A vocabulary may be long, so what is known about each token is in arrays of V, not in objects.
    """
    readout = asked.readout
    if asked.ids is not None:
        _prove_early(asked, np.array(asked.ids))
    seen = _asked_all(asked)
    if asked.ids is None:
        if seen.warnings and len(seen.warnings) == len(asked.detectors):
            raise PluginError(f"no detector worked: {'; '.join([*asked.warnings, *seen.warnings])}")
        ids, proven = seen.candidates(_padding(readout)), seen.proven
    else:
        ids = np.array(asked.ids)
        inside = set(asked.ids) if seen.proven else ()
        proven = {token: item for token, item in seen.proven.items() if token in inside}
    missing = ids[seen.winners[ids] == _UNKNOWN]
    if missing.size:
        seen.winners[missing] = own_winners(readout, missing)
    planned = _planned(readout, ids, seen.winners, seen.flagged)
    return planned, [*asked.warnings, *seen.warnings], proven.values()


def _prove_early(asked: Plan, ids: Ids) -> None:
    """Prove the tokens that win along their own direction, if the opening needs it in any case.

    Whoever is proven to win needs no search for the winner.
    """
    problem = asked.problem
    if (
        asked.opening
        and asked.chain
        and symmetric.pays(problem, ids)
        and shares_directions(problem)
    ):
        prove_own_directions(problem, ids)


def _padding(readout: Readout) -> Flags:
    """Return which rows (V,) lie beyond the tokenizer: whether these can win is asked of any run.

    A detector passes over those that win along their own direction.
    """
    if readout.kinds is None:
        return np.zeros(readout.V, dtype=np.bool_)
    return np.fromiter((kind == "padding" for kind in readout.kinds), np.bool_, readout.V)


@dataclass
class _Seen:
    """What the detectors say about the vocabulary.

    It holds the tokens (V,) that each detector flags, the winners (V,) along the tokens' own
    directions if a detector names them, the tokens whose witness holds, and a warning for each
    detector that failed.
    """

    winners: Ids
    flagged: list[tuple[str, Flags]] = field(default_factory=list)
    proven: dict[int, Outcome] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def candidates(self, padding: Flags) -> Ids:
        """Return the tokens that are flagged, proven or padding rows, ascending."""
        chosen = padding.copy()
        for _, flags in self.flagged:
            chosen |= flags
        chosen[list(self.proven)] = True
        return np.flatnonzero(chosen)


def _asked_all(asked: Plan) -> _Seen:
    """Ask the detectors one after another; if two name a token's winner, the first one counts."""
    seen = _Seen(np.full(asked.readout.V, _UNKNOWN))
    for detector in asked.detectors:
        found = detector.attempt(partial(_detected, asked.problem), "detect")
        if isinstance(found, Raised):
            if isinstance(found.error, GeomError):
                raise found.error
            seen.warnings.append(f"{detector} raised {found}")
            continue
        flags, winners, witnessed = found
        for outcome in _witnessed(asked.problem, detector.record.name, witnessed):
            seen.proven.setdefault(outcome.token_id, outcome)
        flags[[item.token for item in witnessed if item.token not in seen.proven]] = True
        seen.flagged.append((detector.record.name, flags))
        seen.winners = np.where(seen.winners == _UNKNOWN, winners, seen.winners)
    return seen


def _planned(
    readout: Readout, ids: Ids, winners: Ids, flagged: Sequence[tuple[str, Flags]]
) -> Iterator[Planned]:
    """Yield the tokens one by one in the form that the store takes."""
    for token in map(int, ids):
        winner = int(winners[token])
        yield Planned(
            token_id=token,
            token=readout.text(token),
            self_argmax=winner == token,
            argmax_id=winner,
            argmax=readout.text(winner),
            flagged_by=tuple(name for name, flags in flagged if flags[token]),
            token_kind=readout.kind(token),
            argmax_kind=readout.kind(winner),
        )


def _detected(
    problem: Problem, detector: Detector[Any], options: Any
) -> tuple[Flags, Ids, list[WitnessedToken]]:
    """Collect what a detector yields, checked: ids of the vocabulary, none twice.

    Returns which tokens (V,) are candidates, the winners (V,) along their own directions if it
    names them, and the tokens it found a witness for.
    """
    V = problem.readout.V
    flags, winners = np.zeros(V, dtype=np.bool_), np.full(V, _UNKNOWN)
    seen = np.zeros(V, dtype=np.bool_)
    witnessed: list[WitnessedToken] = []
    yielded = several(detector.detect(problem.readout, problem.domain, options), "Candidate")
    for found in yielded:
        if not isinstance(found, WitnessedToken):
            found = answered(found, Candidate, "yielded")
        token = index(found.token)  # NumPy's integers are not SQLite's
        winner = None if isinstance(found, WitnessedToken) else found.argmax_id
        for id in (token, token if winner is None else index(winner)):
            if not 0 <= id < V:
                every = problem.readout.noun.every
                raise ValueError(f"it yielded {found}: {id} is outside {every}: 0 to {V - 1}")
        if seen[token]:
            raise ValueError(f"it yielded {found}, and token {token} before: each token once")
        seen[token] = True
        if isinstance(found, WitnessedToken):
            witnessed.append(WitnessedToken(token, found.x))
            continue
        flags[token] = True
        if winner is not None:
            winners[token] = index(winner)
    return flags, winners, witnessed


def _witnessed(
    problem: Problem, detector: str, items: Sequence[WitnessedToken]
) -> Iterator[Outcome]:
    """Yield the outcomes of the tokens whose witness holds."""
    own = [item.token for item in items if item.x is None]
    for token, margin in _proven(prove_own_directions(problem, np.array(own, dtype=np.int64)), own):
        yield own_direction_outcome(token, margin, 0.0)
    found = {item.token: as_kept(Finding(x=item.x)) for item in items if item.x is not None}
    inside = [token for token, finding in found.items() if exact.is_point(problem, finding.x)]
    for part in slices(len(inside), POINTS):
        block = inside[part]
        points = np.array([found[token].x for token in block])
        lower = prove_points(problem, np.array(block), points)
        margins = dict(_proven(lower, block))
        for token in block:
            bound = margins.get(token)
            if bound is None:  # float32 leaves it open
                verdict = exact.judge(problem, token, found[token])
                bound = verdict.margin_lower if verdict.name == "speakable" else None
            if bound is not None:
                yield _outcome(token, detector, bound, found[token])


def _outcome(token: int, detector: str, bound: float, found: Finding) -> Outcome:
    """Return the outcome of a token for which the detector's witness holds."""
    return Outcome(
        token_id=token,
        verdict="speakable",
        proof="witness",
        certifier=detector,
        margin_lower=bound,
        margin_upper=None,
        seconds=0.0,
        note=None,
        evidence=found,
    )


def _proven(lower: Floats, tokens: Sequence[int]) -> Iterator[tuple[int, float]]:
    """Yield the tokens whose bound is above zero, each with its bound."""
    for token, margin in zip(tokens, lower.tolist(), strict=True):
        if margin > 0.0:
            yield token, margin


def missing_or_more(wanted: Iterable[int], there: Iterable[int], noun: Noun) -> str:
    """Describe which of the ``wanted`` rows a run lacks, and which others it has."""
    lacking, besides = set(wanted) - set(there), set(there) - set(wanted)
    said = []
    if lacking:
        said.append(f"it has no row of {few_ids(lacking, noun)}, asked for by its settings")
    if besides:
        said.append(f"it has a row of {few_ids(besides, noun)}, which its settings do not ask for")
    return "; ".join(said)
