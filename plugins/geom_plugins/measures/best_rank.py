"""``best-rank``: the best rank that a token reaches anywhere in the domain, 1 if it can win.

A rival that ties counts as above the token unless ``ties`` is ``below`` (`geom.exact.ranks`). The
value is the rank at the best point that was found (`geom_plugins.solvers.rank_descent`), so the
best rank is not above it. The error reaches down to the lower bound of proofs that share no rival,
each of which puts one rival above the token at every point
(`geom_plugins.solvers.disjoint_proofs`). At most ``limit`` proofs are looked for, so the lower
bound is at most ``limit`` + 1: enough to tell whether top-k drops the token, for a k up to
``limit``.

If ties count as below, all tokens of a domain without biases have rank 1, at ``x = 0``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta

from geom import Finding, Floats, Measure, Measurement, Problem, Weights, hookimpl
from geom.proofs import joined_weights, rank_bounds
from geom_plugins.measures.verdicts import direction, settled
from geom_plugins.solvers.contest import Contest
from geom_plugins.solvers.disjoint_proofs import disjoint_proofs
from geom_plugins.solvers.rank_descent import descend

DRAWN = 16
"""The directions that are drawn to start from, besides the likely ones; on a hull, its points."""


@dataclass(frozen=True)
class BestRankOptions:
    """How far to look for a lower bound, and how ties count."""

    limit: Annotated[
        int, Meta(ge=0, le=1000, description="most proofs, each of one more rival above, to find")
    ] = 20
    ties: Annotated[
        Literal["above", "below"],
        Meta(description="whether a rival that ties counts as above the token or below it"),
    ] = "above"


def best_rank(
    problem: Problem, token: int, prior: Finding, options: BestRankOptions
) -> Measurement:
    """Measure the best rank; ``x`` is the point where it was found."""
    if problem.readout.V == 1:
        return Measurement(1.0, 0.0, proven=True, note="it has no rival")
    problem = problem.in_coordinates
    found, verdict = settled(problem, token, prior)
    if verdict.name == "speakable":
        return Measurement(1.0, 0.0, proven=True, x=found.x)
    (origin, where), ties = _middle(problem), options.ties

    def highest(x: Floats) -> int:
        return rank_bounds(problem, token, Finding(x), ties=ties)[1]

    def proves(weights: Weights) -> bool:
        finding = Finding(weights=joined_weights([weights]))
        return rank_bounds(problem, token, finding, ties=ties)[0] > 1

    if highest(origin) == 1:
        return Measurement(1.0, 0.0, proven=True, note=where, x=origin)
    contest, starts = Contest(problem.unit, token), _starts(problem, token, found)
    with np.errstate(over="ignore", invalid="ignore"):
        proofs, last = disjoint_proofs(contest, starts[0], options.limit, proves)
        if options.limit and not proofs and found.weights is not None and proves(found.weights):
            proofs = [found.weights]
        best = descend(contest, np.vstack([last, starts]), len(proofs))
    x, weights = contest.placed(best), joined_weights(proofs) if proofs else None
    high = highest(x)
    if highest(origin) < high:
        x, high = origin, highest(origin)
    low = 1 + len(proofs)
    note = f"no state ranks it better than {low}" if low < high else None
    return Measurement(float(high), float(high - low), proven=True, note=note, x=x, weights=weights)


def _middle(problem: Problem) -> tuple[Floats, str]:
    """Return the point (k,) in the middle of the domain, and where that is, in words."""
    k = problem.domain.coordinates
    if problem.domain.shape == "simplex":
        return problem.domain.fit(np.ones(k)), "at the mean of the points"
    return np.zeros(k), "at x = 0" if problem.exact is None else "at the centre of the ellipsoid"


def _starts(problem: Problem, token: int, found: Finding) -> Floats:
    """Return points (n, k) to start from, in units of the radius, the likeliest one first.

    On a hull these are the points farthest along the token's row, and their mean; elsewhere drawn
    unit vectors, always the same for the token.
    """
    domain, d = problem.domain, problem.readout.d
    if domain.frame is not None:
        with np.errstate(over="ignore", invalid="ignore"):
            along = domain.frame.axes @ (problem.readout.rows[token] - problem.readout.rows.mean)
        farthest = np.argsort(-along, kind="stable")[:DRAWN]
        corners = np.zeros((farthest.size, domain.coordinates))
        corners[np.arange(farthest.size), farthest] = 1.0
        likely = [] if found.x is None else [found.x]
        return np.vstack([*likely, corners, domain.fit(np.ones(domain.coordinates))])
    drawn = np.random.default_rng(token).standard_normal((DRAWN, d))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return np.vstack([direction(problem.unit, token, found), drawn])


def proven(
    problem: Problem, token: int, evidence: Finding, options: BestRankOptions, widen: float
) -> tuple[float, float]:
    """Return the bounds on the best rank that a point and the weights of several proofs prove."""
    return rank_bounds(problem, token, evidence, widen, ties=options.ties)


@hookimpl
def geom_measures() -> Iterator[Measure[BestRankOptions]]:
    yield Measure(
        "best-rank",
        "best rank that the token reaches somewhere",
        best_rank,
        BestRankOptions,
        unit="rank",
        bounds=proven,
    )
