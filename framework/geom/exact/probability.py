"""Proven bounds on the largest probability of a token: that of sampling, at a temperature.

At a vector x the token t has, at the temperature T, the probability::

    p(x) = 1 / (1 + sum_j exp(z_j(x) / T)),     z_j(x) = a_j . x + c_j,                     (1)

with ``a_j``, ``c_j`` and below ``r`` and ``g`` those of `geom.exact.weights`; the sum is over the
rivals j. The exponents are convex in x, so the largest p over a domain is a convex program.

*Below*: p at any x of the domain.

*Above*: for weights ``lam_j`` with the sum 1 and the entropy ``H = - sum lam_j log lam_j``, the sum
in (1) is at least ``exp(lam . z / T + H)``, by the inequality of Gibbs, which is that of Jensen for
the logarithm. So at every x of the domain::

    log p(x) <= - log(1 + exp L),     L = H + (g - sup -(r . x)) / T.                         (2)

On all of R^d this needs weights whose ``r`` vanishes. Near the given weights there are some
(`geom.exact.interior`), none of them farther away than a known distance, and the concave terms of H
are least at the ends of an interval. Or there are exact ones (`geom.exact.rational`).

So all weights that prove a token unspeakable cap its probability, at every temperature: with
``L >= H`` it is at most ``1 / (1 + exp H)``, which is 1 in k for k equal tokens, and never above a
half. Where (2) with its rounding gives more than that, the proofs of `geom.exact.weights` are
tried.

Source: for the inequality, T. M. Cover and J. A. Thomas, Elements of Information Theory, 2nd ed.,
Wiley 2006, section 2.6; for the duality of ``log sum exp`` and the entropy, S. Boyd and
L. Vandenberghe, Convex Optimization, Cambridge 2004, sections 3.3 and 5.7.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from flint import arb, ctx

from geom.certificates import Finding, Weights
from geom.exact import is_point, is_weights
from geom.exact.interior import corrected
from geom.exact.points import margin_over
from geom.exact.rational import balanced_weights
from geom.exact.slack import reach_above
from geom.exact.sums import Sums, combine, normalised
from geom.exact.weights import prove_unspeakable
from geom.model.problem import Problem
from geom.numbers.arrays import Floats
from geom.numbers.exponentials import EXP_ERROR, LEAST, exp, log
from geom.numbers.rationals import below, power_of_two
from geom.numbers.rounding import CLAIM, TINY, UP, U, dot_error, gamma, norm_above, refuse_flushing

_BITS = 128

_LEAST = 2.0**-1074
"""What a power of two may round off: the least float64."""

_LOST = Fraction(1, 10**8)
"""What rounding may take from L, in nats, before weights with ``r = 0`` are tried."""

_ROUNDING = 1000.0
"""How far the reach of ``r`` may be above that of its rounding error for them to be tried."""

_HALF = math.nextafter(-math.log(2.0), 0.0)
"""The logarithm of a half, rounded up."""


def probability_bounds(
    problem: Problem,
    token: int,
    finding: Finding,
    temperature: float = 1.0,
    widen: float = CLAIM,
) -> tuple[float, float]:
    """Bound the logarithm of a token's largest probability over the domain, by proof.

    Parameters
    ----------
    problem : Problem
        The readout on a domain.
    token : int
        The token.
    finding : Finding
        A point, weights, both or neither. A part that is missing, or that is not a point of the
        domain or not weights, proves nothing.
    temperature : float, optional
        What logits are divided by, above 0.
    widen : float, optional
        Multiplies the bounds on rounding, as in `geom.judge`.

    Returns
    -------
    low : float
        A lower bound on the natural logarithm of the largest probability; minus infinity if none
        is proven.
    high : float
        An upper bound on it, at most 0.

    Raises
    ------
    ValueError
        If the temperature is not a finite number above 0.
    ArithmeticModeError
        If the process flushes subnormal numbers to zero.

    Notes
    -----
    On an unbounded domain, a token that wins at a point whatever the biases are wins by any margin
    farther out: the supremum is 1, and both bounds are 0.

    References
    ----------
    Formula (2) of `geom.exact.probability`.
    """
    refuse_flushing()
    if not 0.0 < temperature < math.inf:
        raise ValueError(f"temperature {temperature!r}: give a finite number above 0")
    problem = problem.asked
    if problem.readout.V == 1:
        return 0.0, 0.0
    low, high = -math.inf, 0.0
    x, weights = finding.x, finding.weights
    if x is not None and is_point(problem, x):
        if _wins_far_out(problem, token, x):
            return 0.0, 0.0
        low = _point_below(problem, token, x, temperature, widen)
    if weights is not None and is_weights(problem, token, weights):
        high = _weights_above(problem, token, weights, temperature, widen)
        open_ = low <= _HALF < high  # else nothing can prove it unspeakable, or need not
        if open_ and prove_unspeakable(problem, token, weights, widen)[0] is not None:
            high = _HALF
    return low, high


def _wins_far_out(problem: Problem, token: int, x: Floats) -> bool:
    """Return whether the margin grows without end along ``x``."""
    if problem.domain.bounded or not x.any():
        return False
    free = Problem(problem.readout.without_bias(), problem.domain)
    return margin_over(free, token, x) > 0


def _point_below(
    problem: Problem, token: int, x: Floats, temperature: float, widen: float
) -> float:
    """Return the logarithm of (1) at ``x``, rounded down.

    Logits are off by `dot_error` each, and by the rounding of the vector that a frame makes of
    ``x`` (k,). ``exp`` is taken of what the largest exponent leaves, at
    least `LEAST`: what is below that is counted as that, which is more.
    """
    exponent, readout = problem.exponent, problem.unit.readout
    found, (off,) = problem.domain.vectors(x[None])
    x = found[0]
    with np.errstate(over="ignore", invalid="ignore"):
        logits = readout.logits(x)
        error = dot_error(readout.row_norms, float(norm_above(x)), readout.b, readout.d)
        error = (error + readout.bias_errors + readout.row_norms * off) * UP
        gaps = logits - logits[token]
        gaps += widen * (error + error[token] + U * np.abs(gaps)) * UP
        z = (np.ldexp(gaps, exponent) + _LEAST) / temperature
        z += widen * 4 * U * np.abs(z) + TINY
        z[token] = 0.0  # the 1 of (1)
        top = float(z.max())
        if not math.isfinite(top):  # NaN in any place gives NaN
            return -math.inf
        left = np.clip((z - top) * (1.0 - widen * 4 * U), LEAST, 0.0)
    terms = exp(left)
    off = EXP_ERROR + gamma(terms.size)
    total = float(terms.sum()) * (1.0 + widen * 2 * off) * UP
    with ctx.workprec(_BITS):
        return _below(-(arb(top) + arb(total).log()))


def _weights_above(
    problem: Problem, token: int, weights: Weights, temperature: float, widen: float
) -> float:
    """Return the right side of (2), rounded up; 0 if the weights prove nothing."""
    scaled, unit = problem.unit, normalised(weights)
    sums = combine(scaled, token, unit)
    if not scaled.domain.bounded:
        return _balanced_above(problem, token, unit, sums, temperature, widen)
    high = _slack_above(problem, unit, sums, temperature, widen)
    if not _is_lossy(problem, sums, temperature):
        return high
    return min(high, _balanced_above(problem, token, unit, sums, temperature, widen))


def _slack_above(
    problem: Problem, weights: Weights, sums: Sums, temperature: float, widen: float
) -> float:
    """Return the bound by (2) on a bounded domain."""
    with np.errstate(over="ignore", invalid="ignore"):
        reach = reach_above(problem.domain, sums.r, widen * sums.r_error, widen)
        gain = sums.g - _doubt(sums, reach, widen) - reach
    total = _widened(sums.total_below, sums.total_above, widen)
    entropy = _entropy_below(weights.values, np.zeros(weights.values.size), total, widen)
    return _log_above(_exponent(entropy, gain, total, problem.exponent, temperature))


def _doubt(sums: Sums, reach: float, widen: float) -> float:
    """Return what rounding may add to ``g`` and its difference from the reach."""
    return widen * (sums.g_error + 4 * U * (abs(sums.g) + sums.g_error + abs(reach)))


def _is_lossy(problem: Problem, sums: Sums, temperature: float) -> bool:
    """Return whether rounding takes much from the bound by (2).

    It may do so at a low temperature, where ``r`` nearly vanishes. The answer is that for claims,
    also when one is checked: what a claim used is then tried again.
    """
    domain = problem.domain
    with np.errstate(over="ignore", invalid="ignore"):
        reach = reach_above(domain, sums.r, CLAIM * sums.r_error, CLAIM)
        rounding = reach_above(domain, np.zeros_like(sums.r), CLAIM * sums.r_error, CLAIM)
        taken = 2 * (_doubt(sums, reach, CLAIM) + rounding)
    total = _widened(sums.total_below, sums.total_above, CLAIM)
    lost = _exponent(0.0, taken, total, problem.exponent, temperature)
    return (lost is None or lost > _LOST) and abs(reach) <= _ROUNDING * rounding


def _balanced_above(
    problem: Problem,
    token: int,
    weights: Weights,
    sums: Sums,
    temperature: float,
    widen: float,
) -> float:
    """Return the bound by (2) with weights near these whose ``r`` is zero; 0 if none are found.

    Exact weights are tried too if a claim is checked: it may have needed them, as its bounds on
    rounding are wider.
    """
    high = 0.0
    moved = corrected(problem.unit, token, weights, sums, widen)
    if moved is not None:
        delta = np.zeros(weights.values.size)
        delta[moved.places] = moved.delta
        total = _widened(moved.total_below, moved.total_above, widen)
        entropy = _entropy_below(weights.values, delta, total, widen)
        high = _log_above(_exponent(entropy, moved.g_below, total, problem.exponent, temperature))
    if problem.domain.bounded or (moved is not None and widen >= CLAIM):
        return high
    for shares, gain in balanced_weights(problem.unit, token, weights):
        entropy = _entropy_below(shares, 2 * U * shares, (1.0, 1.0), widen)
        bound = _exponent(entropy, below(gain), (1.0, 1.0), problem.exponent, temperature)
        high = min(high, _log_above(bound))
    return high


def _widened(low: float, high: float, widen: float) -> tuple[float, float]:
    """Return bounds on a sum that hold whatever the order in which another machine adds it."""
    more = (widen - 1.0) * (high - low)
    return (low - more) * (1.0 - 4 * U), (high + more) * (1.0 + 4 * U)


def _entropy_below(
    values: Floats, delta: Floats, total: tuple[float, float], widen: float
) -> float:
    """Return a lower bound on the entropy of weights within ``delta`` of these, over their sum.

    ``total`` are bounds on their sum S; the values are positive, at most 1 or hardly more. The
    entropy is ``log S + sum phi(lam_j) / S``, with the concave ``phi(v) = -v log v``.
    """
    if not 0.0 < total[0] <= total[1] < math.inf:
        return 0.0  # no entropy is less
    phi = np.minimum(*(_phi_below(end, widen) for end in (values - delta, values + delta)))
    size = float(np.abs(phi).sum())
    sum_below = float(phi.sum()) - widen * 2 * gamma(phi.size + 2) * size
    with ctx.workprec(_BITS):
        divisor = total[1] if sum_below >= 0.0 else total[0]
        return max(0.0, _below(arb(total[0]).log() + arb(sum_below) / arb(divisor)))


def _phi_below(values: Floats, widen: float) -> Floats:
    """Return lower bounds on ``-v log v`` within a few roundings of each value; 0 near 0."""
    known = values >= TINY
    v = np.where(known, values, 1.0)
    logs, errors = log(v)
    out = -v * logs
    out -= widen * (v * (errors + 8 * U * (1.0 + np.abs(logs))) + TINY)
    return np.where(known, out, 0.0)


def _exponent(
    entropy: float, gain: float, total: tuple[float, float], exponent: int, temperature: float
) -> Fraction | None:
    """Return ``entropy + gain 2^exponent / (total temperature)``, exactly; None if unknown.

    ``gain`` is a lower bound on a number, and ``total`` are positive bounds on another.
    """
    if not (math.isfinite(gain) and 0.0 < total[0] <= total[1] < math.inf):
        return None
    divisor = Fraction(total[1] if gain >= 0.0 else total[0]) * Fraction(temperature)
    return Fraction(entropy) + Fraction(gain) * power_of_two(exponent) / divisor


def _log_above(L: Fraction | None) -> float:
    """Return ``-log(1 + exp L)``, rounded up; 0 if nothing is known about L."""
    if L is None or L < LEAST:
        return 0.0
    least = min(below(L), 1e300)
    with ctx.workprec(_BITS):
        if least > -LEAST:
            return -least  # the exact value is less
        return min(0.0, 0.0 - _below((1 + arb(least).exp()).log()))


def _below(value: arb) -> float:
    """Return the lower end of a ball, rounded down."""
    mantissa, exponent = map(int, value.lower().man_exp())
    return below(mantissa * power_of_two(exponent))
