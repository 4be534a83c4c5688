"""``logit-bias``: the least to add to a token's logit so that it can win somewhere in the domain.

It is minus the largest margin over the domain, as a supremum: with any more than that, some point
makes the token the argmax. It is 0 or negative for a token that can already win. The largest margin
and the weights that bound it are those of one program of `geom_plugins.solvers.largest_margin`;
`geom.proofs.margin_bounds` proves the bounds.

Without biases margins grow with the length of ``x``: on a bounded domain they are proportional to
the radius, and an unspeakable token has 0 (all tokens tie at ``x = 0``). On all of R^d a speakable
token has minus infinity, and so has, with biases, a token that wins far out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta

from geom import Finding, Measure, Measurement, Problem, Weights, hookimpl, judge
from geom.proofs import margin_bounds
from geom_plugins.measures.bounds import between
from geom_plugins.measures.verdicts import direction, settled, without_bias
from geom_plugins.solvers.largest_margin import Program, solve, working_set

TIE = "all tokens tie at x = 0, and it wins nowhere"


@dataclass(frozen=True)
class LogitBiasOptions:
    """How close the bounds must be."""

    gap: Annotated[float, Meta(gt=0, description="relative gap between bounds to stop at")] = 1e-6


def logit_bias(
    problem: Problem, token: int, prior: Finding, options: LogitBiasOptions
) -> Measurement:
    """Measure the bias in logits; ``x`` is the point of the largest margin that was found."""
    if problem.readout.V == 1:
        return Measurement(-math.inf, 0.0, proven=True, note="it has no rival")
    if problem.domain.bounded:
        return _bounded(problem, token, prior, options.gap)
    return _unbounded(problem, token, prior, options.gap)


def _bounded(problem: Problem, token: int, prior: Finding, gap: float) -> Measurement:
    found = prior
    if problem.homogeneous:
        found, verdict = settled(problem, token, prior)
        if verdict.name == "unspeakable":
            return Measurement(0.0, 0.0, proven=True, note=TIE, weights=found.weights)
    radius, domain = problem.domain.radius, problem.domain
    c = problem.readout.b - problem.readout.b[token]
    shape: Literal["ball", "box"] = "box" if domain.shape == "box" else "ball"
    program = Program(problem, token, c / radius, shape=shape)
    start = np.zeros(domain.d) if found.x is None else found.x / radius
    best = solve(program, working_set(program, start), gap)
    y = best.y
    if problem.homogeneous and y.any():  # as far out as possible
        y = y / (np.abs(y).max() if shape == "box" else np.linalg.norm(y))
    ours = Finding(domain.fit(y * radius), Weights(best.ids, best.lam))
    ends, known = margin_bounds(problem, token, ours), margin_bounds(problem, token, found)
    low, high = max(ends[0], known[0]), min(ends[1], known[1])
    x = ours.x if low == ends[0] else found.x
    weights = ours.weights if high == ends[1] else found.weights
    return between(0.0 - high, 0.0 - low, None, x, weights)


def _unbounded(problem: Problem, token: int, prior: Finding, gap: float) -> Measurement:
    asked = without_bias(problem)
    found, verdict = settled(asked, token, prior)
    if verdict.name == "speakable":
        note = "it wins far enough out, whatever is added to it or taken from it"
        return Measurement(-math.inf, 0.0, proven=True, note=note, x=found.x)
    if problem.homogeneous:
        low, high = margin_bounds(problem, token, found)
        tie = TIE if low == high else "undecided whether it is speakable"
        return between(0.0 - high, 0.0 - low, tie, None, found.weights)
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
    return between(0.0 - high, 0.0 - low, end, x, weights)


def proven(
    problem: Problem, token: int, evidence: Finding, options: LogitBiasOptions, widen: float
) -> tuple[float, float]:
    """Return the bounds on the bias that a point and weights prove."""
    free = not problem.domain.bounded
    if free and judge(without_bias(problem), token, evidence, widen).name == "speakable":
        return -math.inf, -math.inf
    low, high = margin_bounds(problem, token, evidence, widen)
    return 0.0 - high, 0.0 - low


@hookimpl
def geom_measures() -> Iterator[Measure[LogitBiasOptions]]:
    yield Measure(
        "logit-bias",
        "least to add to the token's logit so that it can win somewhere",
        logit_bias,
        LogitBiasOptions,
        unit="logits",
        bounds=proven,
        price="0.03 to 0.12 of a product W W^T",
    )
