"""A proof by weights that a token is unspeakable, and the identity (1) behind all such proofs.

Each proof is a module with its argument: `geom.exact.slack`, `geom.exact.interior` and
`geom.exact.rational`. `geom.exact.sums` computes in float64 the sums that they use.

Throughout, t is the token, j another, ``a_j = w_j - w_t``, ``c_j = b_j - b_t``, and the margin of t
at x is ``min_j -(a_j . x + c_j)``. For weights ``lam_j >= 0``, not all zero, let
``r = sum lam_j a_j`` and ``g = sum lam_j c_j``. Then at every x

    sum lam_j (logit_j - logit_t)(x) = r . x + g                                          (1)

The sum is at most ``sum(lam)`` times its greatest term, which is minus the margin, so
``margin(x) <= -(r . x + g) / sum(lam)``. If the right side of (1) is >= 0 on the whole domain, then
at every x some j is at least as high as t, and t is unspeakable.

If the readout keeps a shift ``s`` of the final norm (`geom.model.shift`), ``g`` is ``g0 + r . s``,
with ``g0`` the same sum of the biases without it. So if ``r`` vanishes, the shift has no effect.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from geom.certificates import ProofName, Weights
from geom.exact.interior import interior_bound
from geom.exact.rational import rational_weights
from geom.exact.slack import slack_bound
from geom.exact.sums import combine, normalised
from geom.model.problem import Problem
from geom.numbers.rationals import above, power_of_two
from geom.numbers.rounding import CLAIM

PROOFS: tuple[ProofName, ...] = ("slack", "interior", "rational")
"""The proofs that a token is unspeakable, in the order in which they are tried."""


def prove_unspeakable(
    problem: Problem,
    token: int,
    weights: Weights,
    widen: float = CLAIM,
    proofs: Sequence[ProofName] = PROOFS,
) -> tuple[ProofName | None, float | None]:
    """Return the first of the ``proofs`` that holds, and an upper bound on the largest margin.

    ``widen`` multiplies every bound on rounding. The bound is None if the weights give none, as on
    an unbounded domain when ``r`` is not proven zero. Both sides of (1) scale with rows and biases,
    so the proof is made for their `geom.model.problem.Problem.unit`, where squares neither overflow
    nor underflow, and the bound is scaled back.
    """
    proof, upper = _proven(problem.unit, token, weights, widen, proofs)
    return proof, None if upper is None else _scaled_up(upper, problem.exponent)


def _proven(
    problem: Problem, token: int, weights: Weights, widen: float, proofs: Sequence[ProofName]
) -> tuple[ProofName | None, float | None]:
    """Do what `prove_unspeakable` does, for rows and biases of an ordinary size."""
    unit = normalised(weights)
    sums = combine(problem, token, unit)
    upper = slack_bound(problem, sums, widen)
    if "slack" in proofs and upper is not None and problem.domain.bounded and upper <= 0.0:
        return "slack", upper
    inner = interior_bound(problem, token, unit, sums, widen) if "interior" in proofs else None
    if inner is not None:
        return "interior", inner
    if "rational" in proofs and rational_weights(problem, token, weights) is not None:
        return "rational", 0.0
    return None, upper


def _scaled_up(bound: float, exponent: int) -> float | None:
    """Return a float not below ``bound * 2**exponent``; None if there is no such float."""
    if exponent == 0 or not math.isfinite(bound):
        return bound
    scaled = above(Fraction(bound) * power_of_two(exponent)) + 0.0
    return scaled if math.isfinite(scaled) else None
