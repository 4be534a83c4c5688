"""``max-probability``: the largest probability that sampling gives a token, anywhere in the domain.

Sampling at the temperature T gives a token t, at a vector x, the softmax of the logits over T. Its
largest value over the domain says how likely the network can make the token at best; for one that
is unspeakable it is at most a half, and 1 in k for k equal tokens. It is measured as a power of
ten: -3 is a probability of 1 in 1,000.

It is a convex program (`geom_plugins.solvers.likeliest_point`). Its bounds are proven by
`geom.proofs.probability_bounds`, from the point found, and from the rivals' probabilities there as
weights.

On all of R^d, a token that wins whatever the biases comes as near to certain as one likes, far
enough out: its largest probability is 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from geom import Finding, Measure, Measurement, Problem, hookimpl
from geom.proofs import probability_bounds
from geom_plugins.measures.bounds import between
from geom_plugins.measures.verdicts import settled, without_bias
from geom_plugins.solvers.likeliest_point import likeliest_points

BATCH = 64
"""The most tokens that share products."""

_ROUNDED = 2.0**-50
"""More than two divisions lose, relative to the result."""


@dataclass(frozen=True)
class MaxProbabilityOptions:
    """The temperature, and how close the bounds must be."""

    temperature: Annotated[float, Meta(gt=0, description="what logits are divided by")] = 1.0
    gap: Annotated[
        float, Meta(gt=0, description="distance of bounds to stop at, in natural logarithms")
    ] = 1e-3


def max_probability(
    problem: Problem, token: int, prior: Finding, options: MaxProbabilityOptions
) -> Measurement:
    """Measure one token as `max_probabilities` does."""
    return next(max_probabilities(problem, [token], [prior], options))


def max_probabilities(
    problem: Problem,
    tokens: Sequence[int],
    priors: Sequence[Finding],
    options: MaxProbabilityOptions,
) -> Iterator[Measurement]:
    """Yield the logarithms to base 10; ``x`` is the point where the token is that likely."""
    problem = problem.in_coordinates
    starts = [_start(problem, token, prior) for token, prior in zip(tokens, priors, strict=True)]
    open_ = [place for place, (_, done) in enumerate(starts) if not done]
    found = likeliest_points(
        problem,
        [tokens[place] for place in open_],
        [starts[place][0] for place in open_],
        options.temperature,
        options.gap,
    )
    ours = dict(zip(open_, found, strict=True))
    for place, token in enumerate(tokens):
        start, done = starts[place]
        if done:
            note = "it has no rival" if problem.readout.V == 1 else "it wins by any margin far out"
            yield between(0.0, 0.0, note, start.x)
        else:
            yield _measured(problem, token, start, ours[place], options)


def _start(problem: Problem, token: int, prior: Finding) -> tuple[Finding, bool]:
    """Return what is known about a token, and whether that makes it as good as certain."""
    if problem.readout.V == 1:
        return Finding(), True
    if problem.domain.bounded:
        return prior, False
    found, verdict = settled(without_bias(problem), token, prior)
    if verdict.name == "speakable":
        return found, True
    return Finding(prior.x, prior.weights or found.weights), False


def _measured(
    problem: Problem, token: int, prior: Finding, found: Finding, options: MaxProbabilityOptions
) -> Measurement:
    """Return the proven measurement from what was found, or from what was known before."""
    T = options.temperature
    low, high = probability_bounds(problem, token, found, T)
    x, weights, note = found.x, found.weights, None
    if not high - low <= options.gap:
        known = probability_bounds(problem, token, prior, T)
        if known[0] > low:
            low, x = known[0], prior.x
        if known[1] < high:
            high, weights = known[1], prior.weights
        if not high - low <= options.gap:
            note = "the search ended before its bounds were as close as asked"
    return between(*_to_base_10(low, high), note, x, weights)


def proven(
    problem: Problem,
    token: int,
    evidence: Finding,
    options: MaxProbabilityOptions,
    widen: float,
) -> tuple[float, float]:
    """Return the bounds, to base 10, that a point and weights prove."""
    return _to_base_10(*probability_bounds(problem, token, evidence, options.temperature, widen))


def _to_base_10(low: float, high: float) -> tuple[float, float]:
    """Return the ends, none above 0, of an interval of natural logarithms to base 10, outwards."""
    return (
        low / math.log(10.0) * (1.0 + _ROUNDED),
        0.0 + high / math.log(10.0) * (1.0 - _ROUNDED),
    )


@hookimpl
def geom_measures() -> Iterator[Measure[MaxProbabilityOptions]]:
    yield Measure(
        "max-probability",
        "largest probability of the token when sampling, at a temperature",
        max_probability,
        MaxProbabilityOptions,
        unit="log10 probability",
        bounds=proven,
        measure_many=max_probabilities,
        batch=BATCH,
    )
