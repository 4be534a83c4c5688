"""Findings in short notation, the best findings of a solver, and the verdicts that they prove."""

from __future__ import annotations

import sys

import numpy as np

from geom import Finding, Verdict, Weights, judge
from geom.exact import faults
from geom.model.problem import Problem
from support import truth

LEAST = 5e-324
LARGEST = sys.float_info.max
SQUARE = [[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]


def at(*x: float) -> Finding:
    return Finding(x=np.array(x))


def by(**values: float) -> Finding:
    """Return a finding of weights: ``by(w3=0.5)`` puts one half on token 3."""
    ids = [int(name[1:]) for name in values]
    return Finding(weights=Weights(np.array(ids, dtype=np.int64), np.array([*values.values()])))


def both(question: Problem, token: int, radius: float | None = None) -> Finding:
    """Return HiGHS's best point, moved into the domain, and its best weights."""
    W, b = question.readout.W, question.readout.b
    x = truth.point(W, b, token, 1e3 if radius is None else radius)
    return Finding(question.domain.fit(x), truth.weights(W, b, token, radius))


def verdicts(question: Problem, radius: float | None = None) -> dict[int, Verdict]:
    """Judge every token by HiGHS's certificates, and re-check each verdict."""
    out = {}
    for token in range(question.readout.V):
        finding = both(question, token, radius)
        out[token] = judge(question, token, finding)
        assert faults(question, token, finding, out[token]) == []
    return out


def speakable(found: dict[int, Verdict]) -> set[int]:
    """Return the tokens proven speakable; all others must be proven unspeakable."""
    assert all(verdict.decided for verdict in found.values())
    return {token for token, verdict in found.items() if verdict.name == "speakable"}
