"""``surprise``: how many standard deviations a network must leave its habits to say a token.

The domain holds every vector that the final norm can emit. A network emits few of them. A sample of
the vectors that it does emit, on some text (`geom activations`), has a mean m and a covariance S.
The surprise of a token is the least Mahalanobis length ``|S^(-1/2) (x - m)|`` of a point of the
domain at which the token wins: 0 if the mean itself says it, infinite if nothing does. The hull of
points and an ellipsoid need not contain the mean; a token that wins at their own point nearest to
the mean has the length of that point. The bounds are proven for the m and S of this sample, with
the shrinkage that `geom.exact.scatter` defines, and say nothing of how well a sample stands for the
network.

The nearest point is found by `geom_plugins.solvers.nearest_point`, and proven to be near by
`geom.proofs.surprise_bounds`: its multipliers are the weights. If rounding leaves the point just
outside the token's region, it is moved towards a point known to be inside until it is in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated

from msgspec import Meta

from geom import Domain, Finding, Floats, Measure, Measurement, Problem, Weights, hookimpl, judge
from geom.proofs import Scatter, surprise_bounds
from geom_plugins.measures.bounds import between
from geom_plugins.measures.sample_file import file_digest, sample_path, scatter
from geom_plugins.measures.verdicts import settled
from geom_plugins.solvers.nearest_point import Nearest, nearest, nearest_to_mean

MOVES = (0.0, *(10.0**-k for k in range(14, 0, -1)), 1.0)
"""The shares of the way towards a point inside, tried in turn."""

HABIT_GAP = 1e-9
"""The relative gap to which the domain's point nearest to the mean is sought."""

DUST = 1e-9
"""Weights below this share of the largest are left out."""


@dataclass(frozen=True)
class SurpriseOptions:
    """The sample, and how close the bounds must be."""

    activations: Annotated[
        str | None, Meta(description="file of the sample, .npy (n, d), from geom activations")
    ] = None
    sha256: Annotated[
        str | None, Meta(description="the file's SHA-256; geom fills it in, and verify checks it")
    ] = None
    shrinkage: Annotated[
        float | None,
        Meta(
            description="share of the mean variance, above 0 to 1; Ledoit and Wolf's if not given"
        ),
    ] = None
    gap: Annotated[float, Meta(gt=0, description="relative gap between bounds to stop at")] = 1e-6


def surprise(problem: Problem, token: int, prior: Finding, options: SurpriseOptions) -> Measurement:
    """Measure the least Mahalanobis length, in standard deviations; ``x`` is the nearest point."""
    sample = _sample(problem, options)
    framed = problem.domain.frame is not None
    habit = Finding(_habit(problem.domain, sample) if framed else sample.mean)
    if judge(problem, token, habit).name == "speakable":
        ends = surprise_bounds(problem, token, habit, sample)
        who = "the domain's point nearest to the mean" if framed else "the mean"
        return between(*ends, f"{who} of the sample says it", habit.x)
    found, verdict = settled(problem.in_coordinates, token, prior)
    if verdict.name == "unspeakable":
        return between(math.inf, math.inf, "unspeakable", None, found.weights)
    if verdict.name == "undecided" or found.x is None:
        return Measurement(math.nan, note="undecided whether it is speakable")
    best = nearest(problem, token, sample, found.x, options.gap)
    evidence = _placed(problem, token, sample, best, found.x)
    ends = surprise_bounds(problem, token, evidence, sample)
    return between(*ends, None, evidence.x, evidence.weights)


def settle(problem: Problem, options: SurpriseOptions) -> SurpriseOptions:
    """Return the options with the digest of the file, once it is known to hold a sample."""
    _sample(problem, options)
    path = sample_path(options.activations, "surprise")
    return replace(options, sha256=file_digest(path))


def places(options: SurpriseOptions) -> Iterable[str]:
    """Return the file of the sample."""
    return () if options.activations is None else (options.activations,)


def proven(
    problem: Problem, token: int, evidence: Finding, options: SurpriseOptions, widen: float
) -> tuple[float, float]:
    """Return the bounds that a point and weights prove, with the sample of the file."""
    return surprise_bounds(problem, token, evidence, _sample(problem, options), widen)


def _sample(problem: Problem, options: SurpriseOptions) -> Scatter:
    path = sample_path(options.activations, "surprise")
    return scatter(path, options.sha256, problem.domain, options.shrinkage)


@lru_cache(maxsize=2)
def _habit(domain: Domain, sample: Scatter) -> Floats:
    """Return the point of a domain with a frame that is nearest to the mean."""
    return nearest_to_mean(domain, sample, HABIT_GAP)


def _placed(
    problem: Problem, token: int, sample: Scatter, found: Nearest, inside: Floats
) -> Finding:
    """Return the point, moved towards ``inside`` until the token wins there, and the weights."""
    kept = found.lam > DUST * float(found.lam.max(initial=0.0))
    weights = Weights(found.ids[kept], found.lam[kept]) if kept.any() else None
    for move in MOVES:
        x = problem.domain.fit(found.x + move * (inside - found.x))
        if float(problem.margins(token, x).min()) > 0.0:
            evidence = Finding(x, weights)
            if surprise_bounds(problem, token, evidence, sample)[1] < math.inf:
                return evidence
    return Finding(inside, weights)


@hookimpl
def geom_measures() -> Iterator[Measure[SurpriseOptions]]:
    yield Measure(
        "surprise",
        "how far from the network's habits it must go to say the token",
        surprise,
        SurpriseOptions,
        unit="sigma",
        bounds=proven,
        settle=settle,
        places=places,
    )
