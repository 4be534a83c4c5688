"""Proven bounds on a token's largest margin, from a point and from weights.

On a bounded domain they are the bounds that come with a verdict (`geom.exact.judge`). On all of R^d
with biases, only weights whose ``r`` vanishes bound the margin: by (1) of `geom.exact.weights` it
is then at most ``-g / sum(lam)`` everywhere, and ``g`` may have either sign.
"""

from __future__ import annotations

import math

from geom.certificates import Finding, Weights
from geom.exact import is_weights, judge
from geom.exact.interior import corrected
from geom.exact.rational import balanced_weights
from geom.exact.sums import combine, normalised
from geom.model.problem import Problem
from geom.numbers.rationals import above
from geom.numbers.rounding import CLAIM, TINY, U


def margin_bounds(
    problem: Problem, token: int, finding: Finding, widen: float = CLAIM
) -> tuple[float, float]:
    """Bound the supremum of a token's margin over the domain, by proof.

    Without biases margins grow with length, so on an unbounded domain the supremum is infinite for
    a speakable token and 0 for any other.

    Parameters
    ----------
    problem : Problem
        The readout on a domain.
    token : int
        The token.
    finding : Finding
        A point, weights, both or neither.
    widen : float, optional
        Multiplies the bounds on rounding, as in `geom.judge`.

    Returns
    -------
    low : float
        A lower bound, in logits; minus infinity if none is proven.
    high : float
        An upper bound, in logits; infinity if none is proven.

    Raises
    ------
    ArithmeticModeError
        If the process flushes subnormal numbers to zero.

    References
    ----------
    Formula (1) of `geom.exact.weights`.
    """
    problem = problem.asked
    if problem.readout.V == 1:
        return math.inf, math.inf
    verdict = judge(problem, token, finding, widen)
    low, high = -math.inf, math.inf
    if problem.homogeneous:
        low = 0.0  # the margin at x = 0
        if verdict.name == "unspeakable":
            return 0.0, 0.0
        if not problem.domain.bounded:
            return (math.inf if verdict.name == "speakable" else 0.0), math.inf
    if verdict.margin_lower is not None:
        low = max(low, verdict.margin_lower)
    if verdict.margin_upper is not None:
        high = min(high, verdict.margin_upper)
    weights = finding.weights
    if not problem.domain.bounded and weights is not None and is_weights(problem, token, weights):
        high = min(high, _free_above(problem, token, weights, widen))
    return low, high


def _free_above(problem: Problem, token: int, weights: Weights, widen: float) -> float:
    """Return an upper bound on the margin over R^d; infinity if ``r`` cannot be made zero."""
    unit = normalised(weights)
    exact = corrected(problem, token, unit, combine(problem, token, unit), widen)
    if exact is not None and exact.total_below > 0.0:
        total = exact.total_below if exact.g_below < 0.0 else exact.total_above
        quotient = -exact.g_below / total
        return quotient + 4 * U * abs(quotient) + TINY
    return min((above(-g) for _, g in balanced_weights(problem, token, unit)), default=math.inf)
