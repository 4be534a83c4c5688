"""Findings written short, the best that a solver finds, and what is proven by them."""

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
    """Weights as ``by(w3=0.5)``: one half on token 3."""
    ids = [int(name[1:]) for name in values]
    return Finding(weights=Weights(np.array(ids, dtype=np.int64), np.array([*values.values()])))


def both(question: Problem, token: int, radius: float | None = None) -> Finding:
    """HiGHS's best point, in the domain, and best weights."""
    W, b = question.readout.W, question.readout.b
    x = truth.point(W, b, token, 1e3 if radius is None else radius)
    return Finding(question.domain.fit(x), truth.weights(W, b, token, radius))


def verdicts(question: Problem, radius: float | None = None) -> dict[int, Verdict]:
    """What is proven of every token from HiGHS's certificates, each re-checked."""
    out = {}
    for token in range(question.readout.V):
        finding = both(question, token, radius)
        out[token] = judge(question, token, finding)
        assert faults(question, token, finding, out[token]) == []
    return out


def speakable(found: dict[int, Verdict]) -> set[int]:
    """The tokens proven speakable, where every other one is proven unspeakable."""
    assert all(verdict.decided for verdict in found.values())
    return {token for token, verdict in found.items() if verdict.name == "speakable"}
