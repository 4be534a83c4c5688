"""A chain of certifiers on some tokens: from findings to verdicts, whatever the plugins do."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from geom import exact
from geom.certificates import Finding, RecipeName, Verdict, Weights
from geom.errors import contained, drawn, one_line, plugin_work, raised
from geom.exact.bulk import prove_own_directions
from geom.model.problem import Problem
from geom.plugins.records import Certifier, never
from geom.runs.failures import failure_note
from geom.store import Outcome

T = TypeVar("T", np.float64, np.int64)

EASY = 1024
"""Tokens that are proven in bulk at a time, and stored together."""

MANY = 256
"""Tokens of a run from which on the easy ones are proven in bulk, and their points not stored."""

OWN_DIRECTION: RecipeName = "own-direction"
"""What stands for the certifier, and for the witness, of a token proven in bulk."""


@dataclass(frozen=True)
class Link:
    """A certifier of the chain and its validated options."""

    certifier: Certifier[Any]
    options: Any


def portable(chain: Sequence[Link]) -> tuple[Link, ...]:
    """The chain less what only planning asks for, which need not go to another process."""
    return tuple(
        replace(
            link,
            certifier=replace(link.certifier, hard_only=never, prepare=None, memory=None),
        )
        for link in chain
    )


def certify(problem: Problem, chain: Sequence[Link], tokens: Sequence[int]) -> Iterator[Outcome]:
    """Send the tokens through the chain; each link sees what those before it found.

    An outcome comes as soon as its token is done, which need not be in the order of the tokens.
    Never raises for what a certifier does: one that raises, or returns nonsense, leaves the token
    as it was and the reason in its note.
    """
    states = [_State(token) for token in tokens]
    return (state.outcome(problem) for state in _along(problem, chain, states))


def easy(problem: Problem, tokens: Sequence[int]) -> Iterator[list[Outcome]]:
    """The tokens that win along their own direction, proven in bulk, `EASY` at a time."""
    for start in range(0, len(tokens), EASY):
        started = time.perf_counter()
        block = np.asarray(tokens[start : start + EASY], dtype=np.int64)
        lower = prove_own_directions(problem, block)
        seconds = (time.perf_counter() - started) / len(block)
        yield [
            own_direction_outcome(token, margin, seconds)
            for token, margin in zip(block.tolist(), lower.tolist(), strict=True)
            if margin > 0.0
        ]


def spares_easy(chain: Sequence[Link], tokens: int) -> bool:
    """Whether, of so many tokens, those that `easy` proves need not go through the chain."""
    if not chain or tokens < MANY or any(link.certifier.verifies for link in chain):
        return False
    first = chain[0].certifier
    with plugin_work(f"certifier {first.name}, asked whether it is for hard tokens only,"):
        return bool(first.hard_only(chain[0].options))


def own_direction_outcome(token: int, margin: float, seconds: float) -> Outcome:
    """The outcome of a token proven to win along its own direction: nothing but how to rebuild."""
    return Outcome(
        token_id=token,
        verdict="speakable",
        proof="witness",
        certifier=OWN_DIRECTION,
        margin_lower=margin,
        margin_upper=None,
        seconds=seconds,
        note=None,
        evidence=Finding(),
        recipe=OWN_DIRECTION,
    )


@dataclass
class _State:
    """What is known of a token while it goes along the chain."""

    token: int
    evidence: Finding = field(default_factory=Finding)
    verdict: Verdict = field(default_factory=lambda: Verdict("undecided"))
    certifier: str | None = None
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def outcome(self, problem: Problem) -> Outcome:
        verdict, notes = self.verdict, list(self.notes)
        notes += [f"same row and bias as token {j}" for j in problem.readout.twins(self.token)[:1]]
        if not verdict.decided:
            notes += [verdict.note] if verdict.note else []
            notes += [] if notes else [_why_undecided(self.evidence)]
        return Outcome(
            token_id=self.token,
            verdict=verdict.name,
            proof=verdict.proof,
            certifier=self.certifier,
            margin_lower=verdict.margin_lower,
            margin_upper=verdict.margin_upper,
            seconds=self.seconds,
            note="; ".join(notes) or None,
            evidence=self.evidence,
        )


def _along(problem: Problem, chain: Sequence[Link], states: Sequence[_State]) -> Iterator[_State]:
    """The states when they have gone the rest of the chain, those that are decided first."""
    if not chain:
        yield from states
        return
    link, rest = chain[0], chain[1:]
    undecided = []
    for state in _through(problem, link, states):
        if state.verdict.decided:
            yield from _along(problem, rest, [state])  # who verifies sees it at once
        else:
            undecided.append(state)
    yield from _along(problem, rest, undecided)


def _through(problem: Problem, link: Link, states: Sequence[_State]) -> Iterator[_State]:
    """The states, one after another, with what the link makes of those it is asked about."""
    asked = []
    for state in states:
        if link.certifier.verifies or not state.verdict.decided:
            asked.append(state)
        else:
            yield state
    size = 1 if link.certifier.certify_many is None else max(1, link.certifier.batch)
    for start in range(0, len(asked), size):
        batch = asked[start : start + size]
        findings = _ask(problem, link, batch)
        for state in batch:
            started = time.perf_counter()
            _take(problem, state, link.certifier, next(findings))
            state.seconds += time.perf_counter() - started
            yield state


def _ask(problem: Problem, link: Link, states: Sequence[_State]) -> Iterator[Finding | str]:
    """A finding a token as they come, or the reason why there is none; any further are not used."""
    given = 0
    try:
        with contained():
            answers = _answers(problem, link, states)
        for answer in drawn(answers):
            yield _sane(answer)
            given += 1
        raise ValueError(f"{given} findings for {len(states)} tokens")
    except Exception as error:  # a stranger's certifier may raise anything
        for _ in range(given, len(states)):
            yield _reason(error)


def _answers(problem: Problem, link: Link, states: Sequence[_State]) -> Iterable[object]:
    """What the certifier says of a batch, one by one where it cannot do many."""
    certifier = link.certifier
    if certifier.certify_many is None:
        return (certifier.certify(problem, s.token, s.evidence, link.options) for s in states)
    tokens, priors = [s.token for s in states], [s.evidence for s in states]
    answers = certifier.certify_many(problem, tokens, priors, link.options)
    if isinstance(answers, Sized) and len(answers) != len(states):
        raise ValueError(f"{len(answers)} findings for {len(states)} tokens")
    return answers


def _take(
    problem: Problem, state: _State, certifier: Certifier[Any], finding: Finding | str
) -> None:
    """Keep the better point and the better weights, and judge the two together."""
    if isinstance(finding, str):
        state.notes.append(failure_note(certifier.name, finding))
        return
    if finding.note:
        state.notes.append(f"{certifier.name}: {finding.note}")
    merged = _merge(problem, state, finding)
    if merged.x is state.evidence.x and merged.weights is state.evidence.weights:
        return
    verdict = exact.judge(problem, state.token, merged)
    if verdict.decided and not state.verdict.decided:
        state.certifier = certifier.name
    state.evidence, state.verdict = merged, verdict


def _merge(problem: Problem, state: _State, new: Finding) -> Finding:
    """The better of old and new point, and of old and new weights."""
    old = state.evidence
    x, weights = new.x, new.weights
    if old.x is not None and x is not old.x:
        found = exact.judge(problem, state.token, Finding(x=x)).margin_lower
        kept = state.verdict.margin_lower
        if found is None or (kept is not None and kept >= found):
            x = old.x
    if old.weights is not None and weights is not old.weights:
        verdict = exact.judge(problem, state.token, Finding(weights=weights))
        if state.verdict.name == "unspeakable" or (
            not verdict.decided
            and _least(state.verdict.margin_upper) <= _least(verdict.margin_upper)
        ):
            weights = old.weights
    return Finding(x, weights)


def _least(bound: float | None) -> float:
    return np.inf if bound is None else bound


def as_kept(finding: Finding) -> Finding:
    """The finding with arrays of our own; an empty one where they are no numbers."""
    sane = _sane(finding)
    return Finding() if isinstance(sane, str) else sane


def _sane(answer: object) -> Finding | str:
    """A certifier's answer with its arrays as `exact` wants them, or the reason why it is none."""
    try:
        with contained():
            return _checked(answer)
    except Exception as error:  # NumPy may raise anything over what is no array
        return _reason(error)


def _checked(answer: object) -> Finding:
    """The answer with arrays of our own. Raises TypeError, or anything, if it is no finding."""
    if not isinstance(answer, Finding):
        raise TypeError(f"it returned {type(answer).__name__}, no Finding")
    x, weights, note = answer.x, answer.weights, answer.note
    if x is not None:
        x = _kept(x, np.float64)
    if weights is not None:
        if not isinstance(weights, Weights):
            raise TypeError(f"its weights are {type(weights).__name__}, no Weights")
        indices, values = _kept(weights.indices, np.int64), _kept(weights.values, np.float64)
        if indices is not weights.indices or values is not weights.values:
            weights = Weights(indices, values)
    if note is not None:
        if not isinstance(note, str):
            raise TypeError(f"its note is {type(note).__name__}, no str")
        note = one_line(note)
    return Finding(x, weights, note)


def _kept(values: object, dtype: type[T]) -> NDArray[T]:
    """The numbers as an array of our own: a certifier may write to its buffer, or to a prior."""
    if type(values) is np.ndarray and values.dtype == dtype:
        array: NDArray[T] = values
        if array.base is None and not array.flags.writeable:
            return array
    out: NDArray[T] = np.array(values, dtype=dtype)
    out.flags.writeable = False
    return out


def _reason(error: Exception) -> str:
    return raised(error, first_line=True)


def _why_undecided(evidence: Finding) -> str:
    if evidence.x is None and evidence.weights is None:
        return "no certifier found a direction or weights"
    return "neither the direction nor the weights that were found prove it"
