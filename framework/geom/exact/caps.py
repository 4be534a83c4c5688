"""The cap on the probability of an unspeakable token, from what proves it unspeakable.

The weights of that proof bound the probability as well: (2) of `geom.exact.probability`. At least
one rival is as likely at every x, so the cap is 1/2 or less; of k tokens with equal rows and biases
each is as likely as the others, so it is 1/k or less.
"""

from __future__ import annotations

from fractions import Fraction

from flint import arb, ctx

from geom.certificates import Finding, Weights
from geom.exact.probability import probability_bounds
from geom.model.problem import Problem
from geom.numbers.rationals import above, power_of_two
from geom.numbers.rounding import CLAIM

_BITS = 128

_LEAST = -745.0
"""An exponent whose power is below the least positive float, which is the least bound."""


def probability_cap(
    problem: Problem, token: int, weights: Weights | None, equal: int = 1, widen: float = CLAIM
) -> float:
    """Return an upper bound on the probability of an unspeakable token at temperature 1.

    ``weights`` prove it unspeakable, or are None if ``equal``, the number of tokens with its row
    and bias, itself included, is above 1. Nothing here checks that. The bound is above 0.
    """
    cap = above(Fraction(1, max(2, equal)))
    if weights is None or weights.indices.size < equal:  # so few have hardly any entropy
        return cap
    high = probability_bounds(problem, token, Finding(weights=weights), 1.0, widen)[1]
    with ctx.workprec(_BITS):
        mantissa, exponent = map(int, arb(max(high, _LEAST)).exp().upper().man_exp())
    return min(cap, above(mantissa * power_of_two(exponent)))
