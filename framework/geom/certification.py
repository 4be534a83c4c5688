"""A chain of certifiers on some tokens: from findings to verdicts, whatever the plugins do."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from geom import exact
from geom.certificates import Finding, Verdict, Weights
from geom.problem import Problem
from geom.records import Certifier
from geom.store import Outcome

T = TypeVar("T", np.float64, np.int64)


@dataclass(frozen=True)
class Link:
    """A certifier of the chain and its validated options."""

    certifier: Certifier[Any]
    options: Any


def certify(problem: Problem, chain: Sequence[Link], tokens: Sequence[int]) -> list[Outcome]:
    """Send the tokens through the chain; each link sees what those before it found.

    Never raises for what a certifier does: one that raises, or returns nonsense, leaves the token
    as it was and the reason in its note.
    """
    states = [_State(token) for token in tokens]
    for link in chain:
        asked = [state for state in states if link.certifier.verifies or not state.verdict.decided]
        started = time.perf_counter()
        findings = _ask(problem, link, asked)
        for state, finding in zip(asked, findings, strict=True):
            _take(problem, state, link.certifier, finding)
        for state in asked:
            state.seconds += (time.perf_counter() - started) / len(asked)
    return [state.outcome(problem) for state in states]


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
            self.token,
            verdict.name,
            verdict.proof,
            self.certifier,
            verdict.margin_lower,
            verdict.margin_upper,
            self.seconds,
            "; ".join(notes) or None,
            self.evidence,
        )


def _ask(problem: Problem, link: Link, states: Sequence[_State]) -> list[Finding | str]:
    """A finding a token, or the reason why there is none."""
    certifier, out = link.certifier, list[Finding | str]()
    if certifier.certify_many is None:
        for state in states:
            try:
                answer = certifier.certify(problem, state.token, state.evidence, link.options)
            except Exception as error:  # a stranger's certifier may raise anything
                out.append(_reason(error))
            else:
                out.append(_sane(answer))
        return out
    size = max(1, certifier.batch)
    for start in range(0, len(states), size):
        batch = states[start : start + size]
        try:
            tokens, priors = [s.token for s in batch], [s.evidence for s in batch]
            answers = list(certifier.certify_many(problem, tokens, priors, link.options))
            if len(answers) != len(batch):
                raise ValueError(f"{len(answers)} findings for {len(batch)} tokens")
        except Exception as error:  # a stranger's certifier may raise anything
            out += [_reason(error)] * len(batch)
        else:
            out += map(_sane, answers)
    return out


def _take(
    problem: Problem, state: _State, certifier: Certifier[Any], finding: Finding | str
) -> None:
    """Keep the better point and the better weights, and judge the two together."""
    if isinstance(finding, str):
        state.notes.append(f"{certifier.name} {finding}")
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


def _sane(answer: object) -> Finding | str:
    """A certifier's answer with its arrays as `exact` wants them, or the reason why it is none."""
    try:
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
            note = _line(note)
    except Exception as error:  # NumPy may raise anything over what is no array
        return _reason(error)
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
    try:
        text = str(error)
    except Exception:  # that is a stranger's code too
        text = ""
    first = text.strip().partition("\n")[0]
    return _line(f"raised {type(error).__name__}: {first}")


def _line(text: str) -> str:
    """A stranger's text as one line that UTF-8 can hold."""
    return " ".join(text.encode("utf-8", "backslashreplace").decode().split())


def _why_undecided(evidence: Finding) -> str:
    if evidence.x is None and evidence.weights is None:
        return "no certifier found a direction or weights"
    return "neither the direction nor the weights that were found prove it"
