"""``solid-angle``: the share of directions in which a token wins.

If the token wins in more than one direction in some sixty, points are drawn and counted. If it wins
more rarely, the share is a product of many ratios, found by particles that follow a normal
distribution into place (`annealing`); this works at 1e-3 and at 1e-150, and gives no number whose
error is not known. Directions are points of the unit sphere if lengths do not matter, and of the
surface of the domain's ball if they do, among the vectors that the domain allows: those with sum
zero after LayerNorm. A random direction says little about a network's states; the share is for
comparing tokens.

The numbers are estimates, the same for the same seed; their errors are standard errors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta

from geom import (
    Finding,
    Floats,
    InputError,
    Measure,
    Measurement,
    Problem,
    hookimpl,
    judge,
    report_progress,
)
from geom_plugins.measures.verdicts import settled
from geom_plugins.sampling.annealing import Estimate, annealed, counted
from geom_plugins.sampling.half_spaces import RATIO, Cone, cone_of

LN10 = math.log(10.0)


@dataclass(frozen=True)
class ShareOptions:
    """How precisely to estimate the share, and how long to try."""

    error: Annotated[float, Meta(gt=0, description="standard error to reach, in powers of ten")] = (
        0.5
    )
    steps: Annotated[int, Meta(ge=1, description="limit on the steps of all particles")] = 400_000
    seed: Annotated[int, Meta(ge=0, description="seed of the random numbers")] = 0


def solid_angle(problem: Problem, token: int, prior: Finding, options: ShareOptions) -> Measurement:
    """Measure the base-10 logarithm of the share of directions in which the token wins."""
    found = share(problem, token, prior, options)
    note = f"{found.reason}: give more steps, or a larger error" if found.reason else None
    if math.isnan(found.log):
        return Measurement(math.nan, note=note)
    if math.isinf(found.log):
        note = "it wins nowhere"
    weights = None if found.proof is None else found.proof.weights
    proven = found.proof is not None
    return Measurement(
        found.log / LN10, found.error / LN10, proven=proven, note=note, weights=weights
    )


def share(problem: Problem, token: int, prior: Finding, options: ShareOptions) -> Estimate:
    """Estimate the natural logarithm of the share of directions in which the token wins.

    It is minus infinity, without error, if the token is proven to win nowhere. Raises InputError
    for domains without a sphere of directions: a box, all of space with biases, the hull of points
    and an ellipsoid.
    """
    problem.domain.refuse_frame("solid-angle", "measure it on the model's own domain")
    if problem.domain.shape != "ball" and not problem.homogeneous:
        raise InputError(
            f"domain {problem.domain.name} has no sphere of directions: measure the solid angle on "
            "layernorm or rmsnorm, or without biases"
        )
    if problem.readout.V == 1:
        return Estimate(0.0, 0.0, proof=Finding())
    finding, verdict = settled(problem, token, prior)
    if verdict.name == "unspeakable":
        return Estimate(-math.inf, 0.0, proof=Finding(weights=finding.weights))
    if finding.x is None or verdict.name != "speakable":
        return Estimate(math.nan, math.nan, "it is not decided whether the token wins anywhere")
    cone = cone_of(problem, token)
    rng = np.random.default_rng([options.seed, token])
    found = counted(cone, rng)
    if found.reason is None:
        return found

    def tell(error: float, steps: int) -> None:
        known = "error not known" if math.isnan(error) else f"error {error / LN10:.2f}"
        report_progress(f"solid-angle {token}", steps, options.steps, f"steps, {known}")

    inside = _inside(problem, cone, finding.x)
    return annealed(cone, inside, rng, options.error * LN10, options.steps, tell)


def _inside(problem: Problem, cone: Cone, x: Floats) -> Floats:
    """Return the witness as a point of the cone, about as long as the points drawn."""
    length = math.sqrt(cone.dimension)
    if cone.biased:
        return np.append(x / problem.domain.radius, RATIO) * length
    scaled = x / np.abs(x).max()
    return np.asarray(scaled / np.linalg.norm(scaled) * length)


def proven_share(
    problem: Problem, token: int, evidence: Finding, options: ShareOptions, widen: float
) -> tuple[float, float]:
    """Return the bounds on the share's logarithm, at most 0, that weights prove."""
    problem.domain.refuse_frame("solid-angle", "measure it on the model's own domain")
    if problem.readout.V == 1:
        return 0.0, 0.0
    if judge(problem, token, evidence, widen).name == "unspeakable":
        return -math.inf, -math.inf
    return -math.inf, 0.0


@hookimpl
def geom_measures() -> Iterator[Measure[ShareOptions]]:
    yield Measure(
        "solid-angle",
        "share of directions in which the token wins",
        solid_angle,
        ShareOptions,
        unit="log10 fraction",
        bounds=proven_share,
        price="0.01 to 7 of a product W W^T",
    )
