"""``logit-bias``: the least to add to a token's logit so that it can win somewhere in the domain.

It is minus the largest margin over the domain (`geom_plugins.measures.margins`): with any more than
that, some point makes the token the argmax. It is 0 or negative for a token that can already win,
and minus infinity for a token whose margins have no end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from geom import Finding, Measure, Measurement, Problem, hookimpl
from geom_plugins.measures.bounds import between
from geom_plugins.measures.margins import largest_margin, proven_margin


@dataclass(frozen=True)
class LogitBiasOptions:
    """How close the bounds must be."""

    gap: Annotated[float, Meta(gt=0, description="relative gap between bounds to stop at")] = 1e-6


def logit_bias(
    problem: Problem, token: int, prior: Finding, options: LogitBiasOptions
) -> Measurement:
    """Measure the bias in logits; ``x`` is the point of the largest margin that was found."""
    found = largest_margin(problem, token, prior, options.gap)
    return between(0.0 - found.high, 0.0 - found.low, found.note, found.x, found.weights)


def proven(
    problem: Problem, token: int, evidence: Finding, options: LogitBiasOptions, widen: float
) -> tuple[float, float]:
    """Return the bounds on the bias that a point and weights prove."""
    low, high = proven_margin(problem, token, evidence, widen)
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
