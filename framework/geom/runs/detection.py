"""Which tokens a run examines: what its detectors say of the vocabulary, checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import index
from typing import Any

import numpy as np

from geom import exact
from geom.certificates import Finding
from geom.errors import GeomError, PluginError, contained, raised
from geom.exact.bulk import prove_own_directions, prove_points
from geom.model.problem import Problem
from geom.model.readout import Readout
from geom.numbers.arrays import Flags, Floats, Ids
from geom.plugins.records import Detector, WitnessedToken
from geom.runs.certification import EASY, as_kept, own_direction_outcome
from geom.runs.planning import Plan, plan
from geom.self_argmax import own_winners
from geom.store import Outcome, Planned, Run
from geom.token_spec import CANDIDATES, few_tokens, parse_tokens

_UNKNOWN = -1
"""In place of the id of a winner: nobody has said who it is."""


def candidates(problem: Problem, run: Run | None = None) -> list[int]:
    """The tokens that a run's detectors flagged, ascending; the default ones, without a run."""
    if run is not None:
        return [row.token_id for row in run.rows() if row.flagged_by]
    planned, _, _ = examine(plan(problem.readout, certifiers=(), domain=problem.domain))
    return [item.token_id for item in planned]


def examine(asked: Plan) -> tuple[Iterator[Planned], list[str], Iterable[Outcome]]:
    """The tokens to examine, with what the detectors say of them, and what went wrong.

    A vocabulary may be long: what is known of each token is in arrays of V, not in objects.
    """
    readout = asked.readout
    flagged: list[tuple[str, Flags]] = []
    winners = np.full(readout.V, _UNKNOWN)
    known: dict[int, Outcome] = {}
    warnings = list(asked.warnings)
    for detector, values in asked.detectors:
        try:
            with contained():
                flags, theirs, witnessed = _detected(detector, values, asked)
        except GeomError:
            raise
        except Exception as error:  # a stranger's detector may raise anything
            warnings.append(f"detector {detector.name} raised {raised(error)}")
            continue
        for outcome in _witnessed(asked, detector.name, witnessed):
            known.setdefault(outcome.token_id, outcome)
        flags[[item.token for item in witnessed if item.token not in known]] = True
        flagged.append((detector.name, flags))
        winners = np.where(winners == _UNKNOWN, theirs, winners)
    failed = len(warnings) - len(asked.warnings)
    if failed and failed == len(asked.detectors) and asked.tokens == CANDIDATES:
        raise PluginError(f"no detector worked: {'; '.join(warnings)}")
    if asked.tokens == CANDIDATES:
        chosen = np.zeros(readout.V, dtype=np.bool_)
        for _, flags in flagged:
            chosen |= flags
        chosen[list(known)] = True
        ids = np.flatnonzero(chosen)
    else:
        ids = np.array(parse_tokens(asked.tokens, readout.V))
        inside = set(ids.tolist()) if known else ()
        known = {token: outcome for token, outcome in known.items() if token in inside}
    missing = ids[winners[ids] == _UNKNOWN]
    if missing.size:
        winners[missing] = own_winners(readout, missing)
    return _planned(readout, ids, winners, flagged), warnings, known.values()


def _planned(
    readout: Readout, ids: Ids, winners: Ids, flagged: Sequence[tuple[str, Flags]]
) -> Iterator[Planned]:
    """The tokens as the store has them, one after another."""
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
    detector: Detector[Any], values: Any, asked: Plan
) -> tuple[Flags, Ids, list[WitnessedToken]]:
    """What a detector yields, checked: ids of the vocabulary, none twice.

    Which tokens (V,) are candidates, who wins (V,) along their directions where it says so, and
    the tokens that it found a witness for.
    """
    V = asked.readout.V
    flags, winners = np.zeros(V, dtype=np.bool_), np.full(V, _UNKNOWN)
    seen = np.zeros(V, dtype=np.bool_)
    witnessed: list[WitnessedToken] = []
    for found in detector.detect(asked.readout, asked.problem.domain, values):
        token = index(found.token)  # NumPy's integers are not SQLite's
        winner = None if isinstance(found, WitnessedToken) else found.argmax_id
        ids = (token, token if winner is None else index(winner))
        if not all(0 <= i < V for i in ids) or seen[token]:
            raise ValueError(f"{found} is outside the vocabulary or named twice")
        seen[token] = True
        if isinstance(found, WitnessedToken):
            witnessed.append(WitnessedToken(token, found.x))
            continue
        flags[token] = True
        if winner is not None:
            winners[token] = index(winner)
    return flags, winners, witnessed


def _witnessed(asked: Plan, detector: str, items: Sequence[WitnessedToken]) -> Iterator[Outcome]:
    """The outcomes of the tokens whose witness holds."""
    problem = asked.problem
    own = [item.token for item in items if item.x is None]
    for token, margin in _proven(prove_own_directions(problem, np.array(own, dtype=np.int64)), own):
        yield own_direction_outcome(token, margin, 0.0)
    found = {item.token: as_kept(Finding(x=item.x)) for item in items if item.x is not None}
    inside = [token for token, finding in found.items() if exact.is_point(problem, finding.x)]
    for start in range(0, len(inside), EASY):
        block = inside[start : start + EASY]
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
    """The outcome of a token whose witness, brought by the detector, holds."""
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
    """The tokens whose bound is above zero, with it."""
    for token, margin in zip(tokens, lower.tolist(), strict=True):
        if margin > 0.0:
            yield token, margin


def missing_or_more(wanted: Iterable[int], there: Iterable[int]) -> str:
    """Which rows a run lacks of those ``wanted``, and which it has besides, in words."""
    lacking, besides = set(wanted) - set(there), set(there) - set(wanted)
    said = []
    if lacking:
        said.append(f"it has no row of {few_tokens(lacking)}, asked for by its settings")
    if besides:
        said.append(f"it has a row of {few_tokens(besides)}, which its settings do not ask for")
    return "; ".join(said)
