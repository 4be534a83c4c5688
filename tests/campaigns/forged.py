"""Claims of a stored verdict, true and forged, put to `geom.exact.faults` with their evidence.

    python -m campaigns.forged --cases 100000 --seed 1

Each case is a small problem with a finding (`hostile`) and a claim: a verdict, a proof and bounds.
The bounds may be those that the evidence proves, one unit in the last place better, infinite, NaN,
or another verdict's. An accepted claim must be true, and its evidence must prove it: the point its
lower bound, and weights over the same tokens its upper bound.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any

import numpy as np

from campaigns.campaign import Case, main
from campaigns.hostile import LARGEST, draw_question, flushed, numbers, pick, raised
from campaigns.judge import at_most, below_largest, wins
from geom import Finding, GeomError, Problem, Verdict
from geom.exact import faults, judge
from support.suprema import Rivals


def draw(rng: np.random.Generator, number: int) -> Case:
    """Draw a claim, and check that it is not accepted if it is untrue."""
    drawn = draw_question(rng)
    if drawn is None:
        return Case("overflows when folded")
    asked, token, truth, evidence = drawn
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            claim = forged(rng, asked, token, evidence, truth)
            accepted = [not faults(asked, token, evidence, claim)]
            if number % 4 == 3:
                with flushed(True), suppress(GeomError):  # geom may refuse
                    accepted.append(not faults(asked, token, evidence, claim))
        except Exception as error:
            return Case("raised", raised(error))
    name = claim.name if claim.name in ("speakable", "unspeakable", "undecided") else "no verdict"
    if not any(accepted):
        return Case(f"{name}: refused")
    wrong = "; ".join(untrue(truth, evidence, claim))
    return Case(f"{name}: accepted", f"{claim} {wrong}" if wrong else None)


def forged(
    rng: np.random.Generator, asked: Problem, token: int, evidence: Finding, truth: Rivals
) -> Verdict:
    """Return the verdict that the evidence proves, or that verdict with something changed."""
    honest = judge(asked, token, evidence)
    name: Any = honest.name
    proof: Any = honest.proof
    lower, upper = honest.margin_lower, honest.margin_upper
    best = exact_bounds(truth, evidence)
    for _ in range(int(rng.integers(4))):
        kind = int(rng.integers(8))
        if kind == 0:
            name = pick(rng, "speakable", "unspeakable", "undecided")
            proof = {"speakable": "witness", "undecided": None}.get(name, proof)
            lower = 5e-324 if name == "speakable" else lower
            upper = 0.0 if name == "unspeakable" else upper
        elif kind == 1:
            name = pick(rng, "speakable ", "SPEAKABLE", "", None, "speakable\n", "hard", 1)
        elif kind == 2:
            proof = pick(rng, "witness", "slack", "interior", "rational", None, "Slack", "")
        elif kind in (3, 4):
            lower = bound(rng, pick(rng, lower, best[0]), 1.0)
        elif kind in (5, 6):
            upper = bound(rng, pick(rng, upper, best[1]), -1.0)
        else:
            lower, upper = upper, lower
    return Verdict(name, proof, margin_lower=lower, margin_upper=upper)


def exact_bounds(truth: Rivals, evidence: Finding) -> tuple[float | None, float | None]:
    """Return the margin at the point, and the largest one if rational, rounded to nearest."""
    if not truth.ids:
        return None, None
    lower = upper = None
    x = evidence.x
    if x is not None and x.dtype == np.float64 and x.shape == (len(truth.a[0]),) and truth.holds(x):
        lower = nearest(truth.margin(x.tolist()))
    if truth.region.shape != "ball" and truth.program.value is not None:
        upper = nearest(truth.program.value)
    return lower, upper


def nearest(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        return LARGEST if value > 0 else -LARGEST


def bound(rng: np.random.Generator, near: float | None, better: float) -> float | None:
    """Return a bound near this one, most often better by as little as possible."""
    kind = int(rng.integers(8))
    if kind == 0 or near is None or not math.isfinite(near):
        return pick(rng, None, math.inf, -math.inf, math.nan, 0.0, -0.0, 5e-324, -5e-324, LARGEST)
    if kind == 1:
        return float(numbers(rng, 1)[0])
    if kind == 2:
        return float(near * (1.0 + better * math.copysign(1.0, near) * pick(rng, 1e-15, 1e-9, 0.1)))
    if kind == 3:
        return near
    for _ in range(int(pick(rng, 1, 1, 1, 2, 3))):
        near = math.nextafter(near, better * math.inf)
    return near


def untrue(truth: Rivals, evidence: Finding, claim: Verdict) -> Iterator[str]:
    """Yield what an accepted claim says that its evidence does not prove."""
    lower, upper = claim.margin_lower, claim.margin_upper
    if not all(bound is None or math.isfinite(bound) for bound in (lower, upper)):
        yield "has a bound that is not finite"
        return
    if not truth.ids:
        if claim.name == "unspeakable" or upper is not None:
            yield "is about a token without rivals"
        return
    if lower is not None and not below_largest(truth, evidence.x, lower):
        yield f"neither the point nor the origin has a margin of {lower}"
    if upper is not None and not at_most(truth, evidence, upper):
        yield f"the weights leave margins above {upper}"
    if claim.name == "speakable":
        if claim.proof != "witness" or not wins(truth, evidence.x) or lower is None or lower <= 0:
            yield "the point does not win"
    elif claim.name == "unspeakable":
        named = claim.proof in ("slack", "interior", "rational")
        if not named or not at_most(truth, evidence, 0.0) or upper is None or upper > 0:
            yield "the weights do not prove it unspeakable"
    elif claim.name != "undecided" or claim.proof is not None:
        yield "is not a verdict"


if __name__ == "__main__":
    main("forged", draw, cases=100_000)
