"""Bounds on the largest probability, against points of the domain where it is known to 400 bits.

    python -m campaigns.probabilities --cases 20000 --seed 1

Each case is a small problem on any domain (`hostile`), a finding, honest or not, and a temperature.
The finding's own point must have at least the probability of the lower bound, and no point, not
even the best that Newton's method finds, may have more than the upper bound. A token whose
probability is proven above a half must win, and one proven unspeakable must have at most a half.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from flint import arb, ctx

from campaigns.campaign import Case, main
from campaigns.domains import in_domain, ordinary
from campaigns.hostile import finding, pick, problem, raised, rivals, shaken
from campaigns.regions import BITS, ball
from geom import Finding, Problem, Weights, judge
from geom.proofs import probability_bounds
from geom_plugins.solvers.likeliest_point import likeliest_points
from support.suprema import Floats, Rivals, integers, power

LEAST = -(1 << 12)
"""Exponents below this count as nothing, or as this, whichever is worse."""


def draw(rng: np.random.Generator, number: int) -> Case:
    """Draw a problem, a finding and a temperature, and check the bounds that geom proves."""
    drawn = ordinary(rng, "angles") if rng.random() < 0.5 else problem(rng)
    if drawn is None or drawn[0].readout.V < 2:
        return Case("none")
    asked, token = drawn
    truth = rivals(asked, token)
    temperature = chosen(rng, asked)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            sought = likeliest_points(asked, [token], [Finding()], temperature, 1e-6)[0]
            evidence = finding(rng, asked, token, truth)
            if rng.random() < 0.7:
                evidence = honest(rng, sought, evidence)
            low, high = probability_bounds(asked, token, evidence, temperature)
            with ctx.workprec(BITS):
                wrong = "; ".join(
                    checked(asked, token, truth, evidence, sought.x, temperature, low, high)
                )
        except Exception as error:
            return Case("raised", raised(error))
    tight = "tight" if high - low <= 1e-3 else "wide"
    return Case(f"{asked.domain.shape} {tight}", f"{low, high}: {wrong}" if wrong else None)


def chosen(rng: np.random.Generator, asked: Problem) -> float:
    """Draw a temperature: an ordinary one, or one of the size of the rows."""
    exponent = int(pick(rng, 0, 0, asked.exponent, int(rng.integers(-40, 41))))
    return math.ldexp(float(pick(rng, 1.0, 0.1, 0.7, 10.0)), max(-1070, min(1020, exponent)))


def honest(rng: np.random.Generator, sought: Finding, other: Finding) -> Finding:
    """Return what the search found; at times a part of it is another's, or not quite its own."""
    x = sought.x if sought.x is not None and rng.random() < 0.9 else other.x
    weights = other.weights
    if sought.weights is not None and rng.random() < 0.9:
        values = sought.weights.values
        weights = Weights(
            sought.weights.indices, shaken(rng, values) if rng.random() < 0.3 else values
        )
    return Finding(x, weights)


def checked(
    asked: Problem,
    token: int,
    truth: Rivals,
    evidence: Finding,
    best: Floats | None,
    temperature: float,
    low: float,
    high: float,
) -> Iterator[str]:
    """Check both bounds at points of the domain, and what verdicts say about them."""
    if not low <= high <= 0.0:
        yield "no bounds"
        return
    given = evidence.x
    certain = low == high == 0.0
    if low > -math.inf and not certain:
        if given is None or not in_domain(truth, given):
            yield "its point is not in the domain"
        elif at(truth, given, temperature).upper() < arb(low):
            yield f"its point has {at(truth, given, temperature)}"
    if certain and not far_out(truth, given):
        yield "its point does not win far out"
    for point in (given, best, np.zeros(asked.readout.d)):
        if point is not None and in_domain(truth, point):
            value = at(truth, point, temperature)
            if value.lower() > arb(high):
                yield f"{point.tolist()} has {value}"
    more = high > math.nextafter(-math.log(2.0), 0.0)
    if more and judge(asked, token, evidence).name == "unspeakable":
        yield "it is unspeakable and may have more than a half"
    if low > -math.log(2.0) and truth.at_most(Fraction(0)):
        yield "it is unspeakable"


def at(truth: Rivals, x: Floats, temperature: float) -> arb:
    """Return the logarithm of the probability at a point, as a ball."""
    point, exponent = integers(x.tolist())
    unit = power(truth.a_exponent) * power(exponent)
    z = [Fraction(0)]
    for row, c in zip(truth.a, truth.c, strict=True):
        z.append(sum(map(int.__mul__, row, point)) * unit + c * truth.c_unit)
    z = [value / Fraction(temperature) for value in z]
    top = max(z)
    total = arb(0)
    for value in z:
        if value - top >= LEAST:
            total += ball(value - top).exp()
        else:
            total += arb(0, arb(LEAST).exp())
    return -(ball(top) + total.log())


def far_out(truth: Rivals, x: Floats | None) -> bool:
    """Return whether the token wins along ``x``, without biases and without a border."""
    if x is None or not truth.free or not in_domain(truth, x):
        return not truth.a
    point, _ = integers(x.tolist())
    return all(sum(map(int.__mul__, row, point)) < 0 for row in truth.a)


if __name__ == "__main__":
    main("probabilities", draw, cases=20_000)
