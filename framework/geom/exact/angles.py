"""Proven bounds on the angle by which a token's best direction can be turned and still win.

At full length, ``x = R u`` with ``|u| = 1`` on a ball of radius R, rival j loses to t if
``a_j . u < -c_j / R``: that is, if ``u`` is in the open cap around ``-a_j`` of the angle ``phi_j``
with ``cos phi_j = c_j / (R |a_j|)``. Any turn of ``u`` by less than ``phi_j - angle(u, -a_j)``
stays in the cap, and some turn by exactly that angle leaves it. So the least of these over all j::

    m(u) = min_j phi_j - angle(u, -a_j),

is the angle by which ``u`` can be turned in any way, and the measure is its maximum. A rival that
loses everywhere at full length (``c_j < -R |a_j|``) does not count. If no bias counts, every
``phi_j`` is a right angle, and ``sin m(u) = min_j -a_j . u / |a_j|``. If ``sum(x) = 0``, the
``a_j`` stand for their parts in that plane.

*Below*: ``m`` at any ``u``. *Above*: let ``m(u) >= m >= 0`` and ``q_j >= 0``. For every j
``-a_j . u >= |a_j| cos(phi_j - m)``. Their sum, weighted by ``q_j``, gives by Cauchy and Schwarz::

    |sum q_j a_j| >= sum q_j |a_j| cos(phi_j - m) = C cos m + S sin m,                       (1)

``C = sum q_j c_j / R`` and ``S = sum q_j sqrt(|a_j|^2 - c_j^2 / R^2)``. The right side grows with m
as long as ``m <= phi_j`` for every j, which must hold; so ``m`` is at most the angle at which (1)
is an equality, ``atan2(S, C) - acos(|sum q_j a_j| / hypot(C, S))``.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from flint import arb, ctx

from geom.certificates import Finding, Weights
from geom.errors import InputError
from geom.exact import is_weights
from geom.exact.lengths import Differences, differences, exact_rows, least_over_rivals
from geom.exact.sums import Sums, combine, normalised
from geom.model.problem import Problem
from geom.numbers.arrays import Floats, Ids
from geom.numbers.ball_ends import ball, ball_below
from geom.numbers.rationals import above, below, integers, power_of_two
from geom.numbers.rounding import CLAIM, TINY, UP, U, gamma, norm_above, refuse_flushing

_BITS = 320
"""The precision of the balls in which angles are computed from exact numbers."""

_LIBRARY = 1e-12
"""More than the error of a mathematical library in an arc cosine (some 1e-15)."""


def angle_bounds(
    problem: Problem, token: int, finding: Finding, widen: float = CLAIM
) -> tuple[float, float]:
    """Bound a token's angular margin, by proof.

    A token that wins nowhere at full length has the angle 0. On an unbounded domain lengths have no
    limit, and biases do not count.

    Parameters
    ----------
    problem : Problem
        The readout on a domain.
    token : int
        The token.
    finding : Finding
        A direction that may win as ``x``, and the ``q`` of (1) as ``weights``. A missing part, or
        an ``x`` that is not a direction of the domain, proves nothing.
    widen : float, optional
        Multiplies the bounds on rounding, as in `geom.judge`.

    Returns
    -------
    low : float
        A lower bound, in radians, at least 0.
    high : float
        An upper bound, in radians, at most pi rounded up.

    Raises
    ------
    InputError
        On a box with biases, because its directions are not equally long, and on a domain with a
        frame.
    ArithmeticModeError
        If the process flushes subnormal numbers to zero.

    References
    ----------
    Formula (1) of `geom.exact.angles`.
    """
    problem.asked.domain.refuse_frame("angular-margin", "measure it on the model's own domain")
    refuse_flushing()
    full = full_length(problem)
    if problem.readout.V == 1:
        return below(PI_BELOW), above(PI_ABOVE)
    low, high = 0.0, above(PI_ABOVE)
    if finding.x is not None and is_direction(problem, finding.x):
        low = max(low, _angle_below(problem, token, finding.x, full))
    if finding.weights is not None and is_weights(problem, token, finding.weights):
        high = min(high, _angle_above(problem, token, finding.weights, full, widen))
    return low, high


def full_length(problem: Problem) -> Fraction | None:
    """Return the square of the length of all directions, or None if no bias counts."""
    if problem.homogeneous or not problem.domain.bounded:
        return None
    if problem.domain.shape == "box":
        raise InputError(
            "angular-margin on a box with biases: its directions are not equally long; "
            "choose another domain, or leave the biases out with ?bias=no"
        )
    return problem.domain.size


def is_direction(problem: Problem, x: Floats) -> bool:
    """Return whether ``x`` (d,) is a nonzero float64 vector of the domain's linear space."""
    if x.dtype != np.float64 or x.shape != (problem.readout.d,) or not np.isfinite(x).all():
        return False
    if not x.any():
        return False
    return not problem.domain.zero_sum or sum(integers(x)[0].tolist()) == 0


def _angle_below(problem: Problem, token: int, x: Floats, full: Fraction | None) -> float:
    """Return ``m(x / |x|)``, rounded down; it is not above zero if the direction does not win."""
    x = np.ldexp(x, -math.frexp(float(np.abs(x).max()))[1])
    turn = least_over_rivals(
        problem,
        token,
        lambda rows: _rough(rows, x, full),
        lambda ids: _exact_turns(problem, token, ids, x, full),
    )
    return min(below(PI_BELOW), turn)


def _rough(rows: Differences, x: Floats, full: Fraction | None) -> tuple[Floats, Floats]:
    """Return bounds (n,) on ``phi_j - angle(x, -a_j)``; infinite if float64 cannot tell.

    The error of the cosines is at most the error of the rows, relative to their length, plus some
    d + 8 roundings, plus what is added to two lengths; the arc cosines add `_LIBRARY`.
    """
    d = x.size
    with np.errstate(all="ignore"):
        length = norm_above(rows.a, axis=-1)
        slack = 4.0 * (rows.error / rows.below) + 8.0 * gamma(d + 16) + 4.0 * (UP - 1.0)
        turned = -(rows.a @ x) / (length * norm_above(x))
        near = np.arccos(np.clip(turned + slack, -1.0, 1.0))
        far = np.arccos(np.clip(turned - slack, -1.0, 1.0))
        narrow = wide = np.full(len(length), math.pi / 2)
        if full is not None:
            cosine = rows.c / (math.sqrt(full) * length)
            doubt = slack * (1.0 + np.abs(cosine))
            doubt += rows.c_error / (math.sqrt(full) * rows.below) * (1.0 + slack)
            narrow = np.arccos(np.clip(cosine + doubt, -1.0, 1.0))
            wide = np.arccos(np.clip(cosine - doubt, -1.0, 1.0))
            wide[cosine - doubt <= -1.0] = np.inf
            narrow[cosine + doubt >= 1.0] = -np.inf
        low, high = narrow - far - 4 * _LIBRARY, wide - near + 4 * _LIBRARY
    small = ~(rows.below > 2.0**-400)  # here, what `norm_above` adds for underflow would count
    unknown = ~(slack < 0.01) | ~np.isfinite(turned) | np.isnan(low) | np.isnan(high) | small
    low[unknown], high[unknown] = -np.inf, np.inf
    return low, high


def _exact_turns(
    problem: Problem, token: int, ids: Ids, x: Floats, full: Fraction | None
) -> list[float]:
    """Return ``phi_j - angle(x, -a_j)`` of some rivals, rounded down.

    Squares, products and differences are exact, and angles are balls: for ``a`` and ``x``, the
    angle to ``-a`` is ``atan2(sqrt(|a|^2 |x|^2 - (a.x)^2), -a.x)``. The result is minus infinity
    for a rival that never loses, and infinity for a rival that always does.
    """
    x_mantissas, x_exponent = integers(x)
    x_square = Fraction(sum(v * v for v in x_mantissas.tolist())) * power_of_two(2 * x_exponent)
    rows = exact_rows(problem, token, ids, x)
    return [_turn(a_square, x_square, p, c, full) for a_square, p, c in rows]


def _turn(
    a_square: Fraction, x_square: Fraction, p: Fraction, c: Fraction, full: Fraction | None
) -> float:
    """Return ``phi - angle`` of one rival, rounded down; ``p = a . x``."""
    if full is None:
        if a_square == 0:
            return -math.inf  # a twin
        with ctx.workprec(_BITS):
            return ball_below(arb.atan2(ball(-p), ball(a_square * x_square - p * p).sqrt()))
    room = full * a_square - c * c
    if room < 0 or a_square == 0:
        return math.inf if c < 0 else -math.inf
    with ctx.workprec(_BITS):
        cap = arb.atan2(ball(room).sqrt(), ball(c))
        turned = arb.atan2(ball(a_square * x_square - p * p).sqrt(), ball(-p))
        return ball_below(cap - turned)


def _angle_above(
    problem: Problem, token: int, weights: Weights, full: Fraction | None, widen: float
) -> float:
    """Return the angle at which (1) is an equality, rounded up, with the weights as ``q``.

    Rivals that may lose everywhere at full length are left out, because (1) has no term for them.
    """
    unit, S, cap = _sines(problem, token, normalised(weights), full)
    if unit is None:
        return cap
    sums = combine(problem, token, unit).widened(widen)
    S *= 1.0 - (widen - 1.0) * gamma(unit.values.size + problem.readout.d + 8)
    length = _length_above(sums, problem.domain.zero_sum)
    low = math.nextafter(sums.g - sums.g_error, -math.inf)
    high = math.nextafter(sums.g + sums.g_error, math.inf)
    if not (all(map(math.isfinite, (length, S, low, high))) and S > 0.0):
        return cap
    return min(cap, _crossing((low, high), S, length, full))


def _sines(
    problem: Problem, token: int, weights: Weights, full: Fraction | None
) -> tuple[Weights | None, float, float]:
    """Return weights of rivals able to win at full length, ``S`` from below, ``phi_j`` from above.

    The one ``phi_j`` returned is the least or close to it: no direction can be turned by more.
    """
    kept, S, start = [], 0.0, 0
    narrowest, at = -math.inf, -1
    for rows in differences(problem, token, weights.indices):
        q = weights.values[start : start + len(rows.ids)]
        start += len(rows.ids)
        sine, can = rows.below, rows.below > 0.0
        if full is not None:
            with np.errstate(all="ignore"):
                size = np.abs(rows.c) + rows.c_error
                high = size / math.sqrt(full) * (1.0 + 8 * U) + TINY
                can &= (high < rows.below) | (rows.c > rows.c_error)
                gone = np.clip((rows.below - high) * (rows.below + high), 0.0, None)
                sine = np.sqrt(gone) * (1.0 - 8 * U)
                cosine = np.where(can, rows.c / rows.below, -np.inf)
            if cosine.max() > narrowest:
                narrowest, at = float(cosine.max()), int(rows.ids[cosine.argmax()])
        kept.append(can)
        n = int(can.sum())
        S += float(q[can] @ sine[can]) * (1.0 - gamma(n + 4)) / UP - n * TINY
    chosen = np.concatenate(kept)
    cap = above(PI_ABOVE)
    if full is None:
        cap = above(PI_ABOVE / 2)
    elif at >= 0:
        cap = _cap(problem, token, at, full)
    if not chosen.any():
        return None, 0.0, cap
    return Weights(weights.indices[chosen], weights.values[chosen]), S, cap


def _cap(problem: Problem, token: int, j: int, full: Fraction) -> float:
    """Return ``phi_j``, rounded up; 0 if j always wins."""
    a_square, _, c = exact_rows(problem, token, np.array([j]), np.zeros(problem.readout.d))[0]
    room = full * a_square - c * c
    if room < 0:
        return 0.0 if c > 0 else above(PI_ABOVE)
    with ctx.workprec(_BITS):
        return -ball_below(-arb.atan2(ball(room).sqrt(), ball(c)))


def _length_above(sums: Sums, zero_sum: bool) -> float:
    """Return an upper bound on ``|r|``, with its mean taken off if ``sum(x) = 0``."""
    r, error = sums.r, sums.r_error
    with np.errstate(over="ignore", invalid="ignore"):
        if zero_sum:
            r = r - r.mean()
            error = error + 2 * U * np.abs(r)
        return float(norm_above((np.abs(r) + error) * UP))


def _crossing(g: tuple[float, float], S: float, length: float, full: Fraction | None) -> float:
    """Return an angle at which ``C cos m + S sin m`` is above ``length``, close to the least such.

    ``C = g / R`` lies between two ends, and the worse of the two counts. Because the right side of
    (1) grows, no angle above this one is possible.
    """
    with ctx.workprec(_BITS):
        radius = None if full is None else ball(full).sqrt()
        ends = [arb(0)] if radius is None else [arb(g[0]) / radius, arb(g[1]) / radius]
        angle = 0.0
        for C in ends:
            room = C * C + arb(S) * arb(S) - arb(length) * arb(length)
            if not room > 0:
                return above(PI_ABOVE)
            crossing = arb.atan2(arb(S), C) - arb.atan2(room.sqrt(), arb(length))
            angle = max(angle, -ball_below(-crossing))
        angle = angle * (1.0 + 4 * U) + TINY
        turned = arb(angle).sin() * arb(S)
        beyond = all(C * arb(angle).cos() + turned > arb(length) for C in ends)
        return angle if beyond else above(PI_ABOVE)


PI_BELOW = Fraction(884279719003555, 281474976710656)
"""pi, rounded down to float64."""

PI_ABOVE = PI_BELOW + Fraction(1, 1 << 51)
"""The next float64, above pi."""
