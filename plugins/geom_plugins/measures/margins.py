"""The largest margin over a domain, with the point and the weights that prove its bounds.

They are those of one program of `geom_plugins.solvers.largest_margin`; `geom.proofs.margin_bounds`
proves the bounds.

Without biases margins grow with the length of ``x``: on a bounded domain they are proportional to
the radius, and an unspeakable token has 0 (all tokens tie at ``x = 0``). On all of R^d the margin
of a speakable token has no end, and neither has, with biases, that of a token that wins far out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from geom import Finding, Floats, Problem, Weights, judge
from geom.proofs import margin_bounds
from geom_plugins.measures.verdicts import direction, settled, without_bias
from geom_plugins.solvers.largest_margin import Program, solve, working_set
from geom_plugins.solvers.maximum_entropy import Effort, search

TIE = "all tie at x = 0, and it wins nowhere"


@dataclass(frozen=True, eq=False)
class LargestMargin:
    """Proven bounds on a token's largest margin, in logits, with their evidence and a remark."""

    low: float
    high: float
    note: str | None = None
    x: Floats | None = None
    weights: Weights | None = None


def largest_margin(problem: Problem, token: int, prior: Finding, gap: float) -> LargestMargin:
    """Find the largest margin, as a supremum, and the point where it is largest.

    ``gap`` is the relative gap between the bounds to stop at.
    """
    if problem.readout.V == 1:
        return LargestMargin(math.inf, math.inf, "it has no rival")
    if problem.domain.shape == "simplex":
        return _on_a_hull(problem, token, prior, gap)
    if problem.domain.bounded:
        return _bounded(problem.in_coordinates, token, prior, gap)
    return _unbounded(problem, token, prior, gap)


def _on_a_hull(problem: Problem, token: int, prior: Finding, gap: float) -> LargestMargin:
    found = search(problem, token, prior, Effort(steps=200, largest=True, gap=gap))
    low, high = margin_bounds(problem, token, found)
    return LargestMargin(low, high, None, found.x, found.weights)


def _bounded(problem: Problem, token: int, prior: Finding, gap: float) -> LargestMargin:
    found, alone = prior, problem.asked.homogeneous  # not if only rounding has made biases equal
    if alone:
        found, verdict = settled(problem, token, prior)
        if verdict.name == "unspeakable":
            return LargestMargin(0.0, 0.0, TIE, weights=found.weights)
    radius, domain = problem.domain.radius, problem.domain
    c = problem.readout.b - problem.readout.b[token]
    shape: Literal["ball", "box"] = "box" if domain.shape == "box" else "ball"
    program = Program(problem, token, c / radius, shape=shape)
    start = np.zeros(domain.d) if found.x is None else found.x / radius
    best = solve(program, working_set(program, start), gap)
    y = best.y
    if alone and y.any():  # as far out as possible
        y = y / (np.abs(y).max() if shape == "box" else np.linalg.norm(y))
    ours = Finding(domain.fit(y * radius), Weights(best.ids, best.lam))
    ends, known = margin_bounds(problem, token, ours), margin_bounds(problem, token, found)
    low, high = max(ends[0], known[0]), min(ends[1], known[1])
    x = ours.x if low == ends[0] else found.x
    weights = ours.weights if high == ends[1] else found.weights
    return LargestMargin(low, high, None, x, weights)


def _unbounded(problem: Problem, token: int, prior: Finding, gap: float) -> LargestMargin:
    asked = without_bias(problem)
    found, verdict = settled(asked, token, prior)
    if verdict.name == "speakable":
        note = "it wins far enough out, whatever is added to it or taken from it"
        return LargestMargin(math.inf, math.inf, note, found.x)
    if problem.homogeneous:
        low, high = margin_bounds(problem, token, found)
        tie = TIE if low == high else "undecided whether it is speakable"
        return LargestMargin(low, high, tie, None, found.weights)
    c = problem.readout.b - problem.readout.b[token]
    program = Program(problem, token, c, shape="all")
    more = None if found.weights is None else found.weights.indices
    best = solve(program, working_set(program, direction(problem, token, found), more), gap)
    x, weights = problem.domain.fit(best.y), Weights(best.ids, best.lam)
    low, high = margin_bounds(problem, token, Finding(x, weights))
    if found.weights is not None:
        known = margin_bounds(problem, token, Finding(weights=found.weights))[1]
        if known < high:
            high, weights = known, found.weights
    end = None if math.isfinite(high) else "no weights prove it, or its margins are unbounded"
    return LargestMargin(low, high, end, x, weights)


def proven_margin(
    problem: Problem, token: int, evidence: Finding, widen: float
) -> tuple[float, float]:
    """Return the bounds on the largest margin that a point and weights prove."""
    free = not problem.domain.bounded
    if free and judge(without_bias(problem), token, evidence, widen).name == "speakable":
        return math.inf, math.inf
    return margin_bounds(problem, token, evidence, widen)
