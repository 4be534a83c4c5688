"""Send tokens through a chain of certifiers: from findings to verdicts, whatever a plugin does."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import repeat
from typing import Any

from geom import exact
from geom.certificates import Finding, Verdict
from geom.errors import Raised, several
from geom.exact.bulk import own_direction
from geom.exact.caps import probability_cap
from geom.model.problem import Problem
from geom.plugins.chosen import Chosen
from geom.plugins.records import Certifier, never
from geom.runs.failures import failure_note
from geom.runs.findings import fitting
from geom.store import Outcome

Link = Chosen[Certifier[Any]]
"""A certifier of the chain, with its options."""

_RUN_ONLY: dict[str, Any] = {"sees_all": never, "tighten": None, "prepare": None, "memory": None}
"""The callables of a certifier that are not called where the chain runs."""


def portable(chain: Sequence[Link]) -> tuple[Link, ...]:
    """Return the chain without what only the run itself calls, to send to a process."""
    return tuple(
        replace(link, record=replace(link.record, verifies=sees_all(link), **_RUN_ONLY))
        for link in chain
    )


def sees_all(link: Link) -> bool:
    """Return whether a link is asked about tokens that are decided, too."""
    if link.record.verifies:
        return True
    return link.call(
        lambda record, options: bool(record.sees_all(options)), "sees_all", "asked what it sees"
    )


def certify(
    problem: Problem, chain: Sequence[Link], tokens: Sequence[int | Outcome]
) -> Iterator[Outcome]:
    """Send the tokens through the chain; each link sees what the links before it found.

    A token may come with its outcome so far; links that see all tokens go on from there.

    An outcome is yielded as soon as its token is done, not necessarily in the order of the tokens.
    A certifier's faults never raise here: if it raises or returns nonsense, the token stays as it
    was and its note gives the reason.
    """
    states = [_begun(problem, token) for token in tokens]
    return (state.outcome(problem) for state in _along(problem, chain, states))


def tighten(problem: Problem, link: Link, known: Sequence[Outcome]) -> Iterator[Outcome]:
    """Yield decided tokens' outcomes after the link has been asked for better bounds, in order.

    The evidence of each is the link's prior. What the link does not better stays as it was, and if
    it raises, the note gives the reason.
    """
    states = [_State.of(outcome) for outcome in known]
    for state, old in zip(_asked(problem, link, states), known, strict=True):
        yield state.bettered(old, link.record.name)


def seen_again(
    problem: Problem, chain: Sequence[Link], better: Sequence[Outcome]
) -> Iterator[Outcome]:
    """Yield outcomes with new evidence after the links that verify have seen it, in order.

    What those links noted of the evidence before is left out.
    """
    states = [_State.of(outcome) for outcome in better]
    for link in chain:
        if link.record.verifies:
            for state in states:
                state.forget(link.record.name)
            states = list(_asked(problem, link, states))
    for state, old in zip(states, better, strict=True):
        yield state.bettered(old, old.certifier)


@dataclass
class _State:
    """What is known about a token while it goes through the chain."""

    token: int
    evidence: Finding = field(default_factory=Finding)
    verdict: Verdict = field(default_factory=lambda: Verdict("undecided"))
    certifier: str | None = None
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @classmethod
    def of(cls, known: Outcome) -> _State:
        """Return the state of a token that was examined before."""
        verdict = Verdict(
            known.verdict,
            known.proof,
            margin_lower=known.margin_lower,
            margin_upper=known.margin_upper,
        )
        notes = known.note.split("; ") if known.note else []
        return cls(known.token_id, known.evidence, verdict, known.certifier, notes, known.seconds)

    def forget(self, certifier: str) -> None:
        """Leave out the notes of a certifier."""
        starts = f"{certifier}: ", failure_note(certifier, "")
        self.notes = [note for note in self.notes if not note.startswith(starts)]

    def bettered(self, old: Outcome, certifier: str | None) -> Outcome:
        """Return the outcome ``old`` with what was found since; ``certifier`` found a new point."""
        note = "; ".join(dict.fromkeys(self.notes)) or None
        same = replace(old, seconds=self.seconds, note=note)
        if self.evidence is old.evidence or self.verdict.name != old.verdict:
            return same
        return replace(
            same,
            certifier=old.certifier if self.evidence.x is old.evidence.x else certifier,
            margin_lower=self.verdict.margin_lower,
            margin_upper=self.verdict.margin_upper,
            evidence=self.evidence,
            recipe=None,
        )

    def outcome(self, problem: Problem) -> Outcome:
        verdict, notes, cap = self.verdict, list(self.notes), None
        if verdict.name != "speakable":
            twins = problem.readout.twins(self.token)
            notes += [f"same row and bias as {problem.readout.noun} {j}" for j in twins[:1]]
            if verdict.name == "unspeakable":
                cap = probability_cap(problem, self.token, self.evidence.weights, 1 + len(twins))
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
            probability_upper=cap,
            seconds=self.seconds,
            note="; ".join(dict.fromkeys(notes)) or None,
            evidence=self.evidence,
        )


def _begun(problem: Problem, token: int | Outcome) -> _State:
    """Return the state of a token that no link has seen, with what is known of it already."""
    if not isinstance(token, Outcome):
        return _State(token)
    if token.recipe is not None:
        token = replace(token, evidence=Finding(x=own_direction(problem, token.token_id)))
    return _State.of(token)


def _along(problem: Problem, chain: Sequence[Link], states: Sequence[_State]) -> Iterator[_State]:
    """Yield the states after the rest of the chain, the decided ones first."""
    if not chain:
        yield from states
        return
    link, rest = chain[0], chain[1:]
    undecided = []
    for state in _through(problem, link, states):
        if state.verdict.decided:
            yield from _along(problem, rest, [state])  # a link that verifies sees it at once
        else:
            undecided.append(state)
    yield from _along(problem, rest, undecided)


def _through(problem: Problem, link: Link, states: Sequence[_State]) -> Iterator[_State]:
    """Yield the states one by one, updated with the link's findings where it was asked."""
    asked = []
    for state in states:
        if link.record.verifies or not state.verdict.decided:
            asked.append(state)
        else:
            yield state
    yield from _asked(problem, link, asked)


def _asked(problem: Problem, link: Link, states: Sequence[_State]) -> Iterator[_State]:
    """Yield the states one by one, updated with the link's findings."""
    size = 1 if link.record.certify_many is None else max(1, link.record.batch)
    for start in range(0, len(states), size):
        batch = states[start : start + size]
        findings = _ask(problem, link, batch)
        for state in batch:
            started = time.perf_counter()
            _take(problem, state, link.record.name, next(findings))
            state.seconds += time.perf_counter() - started
            yield state


def _ask(problem: Problem, link: Link, states: Sequence[_State]) -> Iterator[Finding | Raised]:
    """Yield one finding per token, or what was raised in its place; ignore any further findings."""
    given, asked = 0, problem.readout.noun.counted(len(states))
    many = "certify" if link.record.certify_many is None else "certify_many"
    for answer in link.draw(partial(_answers, problem, states), many):
        if isinstance(answer, Raised):
            missing = answer
            break
        yield link.look(partial(fitting, answer, problem), many)
        given += 1
    else:
        wrong = ValueError(f"{given} findings for {asked}")
        missing = Raised(wrong, getattr(link.record, many))
    yield from repeat(missing, len(states) - given)


def _answers(
    problem: Problem, states: Sequence[_State], certifier: Certifier[Any], options: Any
) -> Iterable[object]:
    """Return the certifier's answers for a batch, asking token by token if it cannot do many."""
    asked = problem.in_coordinates
    if certifier.certify_many is None:
        return (certifier.certify(asked, s.token, s.evidence, options) for s in states)
    tokens, priors = [s.token for s in states], [s.evidence for s in states]
    found = certifier.certify_many(asked, tokens, priors, options)
    if isinstance(found, Sized) and len(found) != len(states):
        raise ValueError(f"{len(found)} findings for {problem.readout.noun.counted(len(states))}")
    return several(found, "Finding")


def _take(problem: Problem, state: _State, name: str, finding: Finding | Raised) -> None:
    """Update the state with the better point, the better weights and what the two prove."""
    if isinstance(finding, Raised):
        state.notes.append(failure_note(name, finding.first_line))
        return
    if finding.note:
        state.notes.append(f"{name}: {finding.note}")
    old = state.evidence
    x = None if finding.x is old.x else finding.x
    weights = None if finding.weights is old.weights else finding.weights
    if x is None and weights is None:
        return
    evidence, verdict = _merged(problem, state, Finding(x, weights))
    if verdict.decided and not state.verdict.decided:
        state.certifier = name
    state.evidence, state.verdict = evidence, verdict


def _merged(problem: Problem, state: _State, new: Finding) -> tuple[Finding, Verdict]:
    """Return the better point and the better weights of old and new, and what they prove.

    A finding is judged once; a merged finding is judged only if it differs from both.
    """
    old, kept = state.evidence, state.verdict
    seen: Verdict | None = None
    x, weights = new.x, new.weights
    if (x is not None and old.x is not None) or (weights is not None and old.weights is not None):
        seen = exact.judge(problem, state.token, new)
    if x is None or (old.x is not None and seen is not None and not _higher(seen, kept)):
        x = old.x
    if weights is None or (
        old.weights is not None and seen is not None and not _bounds_better(seen, kept)
    ):
        weights = old.weights
    if x is old.x and weights is old.weights:
        return old, kept
    if seen is not None and x is new.x and weights is new.weights:
        return new, seen
    merged = Finding(x, weights)
    return merged, exact.judge(problem, state.token, merged)


def _higher(new: Verdict, old: Verdict) -> bool:
    """Return whether the new point has the higher margin."""
    if new.margin_lower is None:
        return False
    return old.margin_lower is None or new.margin_lower > old.margin_lower


def _bounds_better(new: Verdict, old: Verdict) -> bool:
    """Return whether the new weights prove more: unspeakability, or else a lower upper bound."""
    if old.name == "unspeakable":
        return False
    return new.name == "unspeakable" or _least(new.margin_upper) < _least(old.margin_upper)


def _least(bound: float | None) -> float:
    return math.inf if bound is None else bound


def _why_undecided(evidence: Finding) -> str:
    if evidence.x is None and evidence.weights is None:
        return "no certifier found a direction or weights"
    return "neither the direction nor the weights that were found prove it"
