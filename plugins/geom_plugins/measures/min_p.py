"""``min-p``: the largest min-p threshold that a token survives somewhere in the domain.

Min-p sampling drops the tokens whose probability is less than a share of the highest. At the
temperature T the largest such share that keeps the token at some point, as a supremum, is
``min(1, exp(m / T))``, with m the largest margin (`geom_plugins.measures.margins`).

It is 1 for every token that can win. It is also 1 for every token on a domain without biases, if
only because all tokens tie at ``x = 0`` and nearly tie near it: there min-p drops no token at all.
So it tells tokens apart where there are biases, or where the domain keeps away from ``x = 0``.

A threshold below the least float64, 5e-324, is shown as that number, with an error that reaches 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from geom import Finding, Measure, Measurement, Problem, hookimpl
from geom.proofs import margin_bounds, threshold_bounds
from geom_plugins.measures.bounds import between
from geom_plugins.measures.margins import largest_margin, proven_margin

TIE = "without biases all tie at x = 0, where min-p drops none"


@dataclass(frozen=True)
class MinPOptions:
    """The temperature of sampling, and how close the bounds must be."""

    temperature: Annotated[float, Meta(gt=0, description="what logits are divided by")] = 1.0
    gap: Annotated[
        float, Meta(gt=0, description="relative gap between bounds on the margin to stop at")
    ] = 1e-6


def min_p(problem: Problem, token: int, prior: Finding, options: MinPOptions) -> Measurement:
    """Measure the threshold; ``x`` is the point of the largest margin that was found.

    Raises InputError unless the temperature is finite.
    """
    known, _ = margin_bounds(problem, token, prior)
    if threshold_bounds(known, math.inf, options.temperature)[0] == 1.0:  # no need to search
        note = TIE if problem.homogeneous else None
        return Measurement(1.0, 0.0, proven=True, note=note, x=prior.x, weights=prior.weights)
    found = largest_margin(problem, token, prior, options.gap)
    low, high = threshold_bounds(found.low, found.high, options.temperature)
    if high <= math.ulp(0.0):
        return Measurement(high, high, proven=True, note=found.note, weights=found.weights)
    note = found.note if low < high else None
    return between(low, high, note, found.x, found.weights)


def proven(
    problem: Problem, token: int, evidence: Finding, options: MinPOptions, widen: float
) -> tuple[float, float]:
    """Return the bounds on the threshold that a point and weights prove."""
    return threshold_bounds(*proven_margin(problem, token, evidence, widen), options.temperature)


@hookimpl
def geom_measures() -> Iterator[Measure[MinPOptions]]:
    yield Measure(
        "min-p",
        "largest min-p threshold that the token survives somewhere",
        min_p,
        MinPOptions,
        unit="threshold",
        bounds=proven,
    )
