"""Proven bounds on the least change of a token's own row that changes its verdict.

With ``w_t + D`` for ``w_t`` the margin of t at x grows by ``D . x``. Throughout, ``|D|`` is the
Euclidean norm; if ``sum(x) = 0``, only the part of D in that plane counts. R is the length of the
longest ``x``, infinite on an unbounded domain. Without biases any length will do, and ``1 / R``
counts as 0.

*Silencing* a speakable token. At ``x`` the margin is gone only if ``D . x <= -margin(x)``, so
``|D| >= margin(x) / |x|``: the bound below. Let ``lam_j >= 0`` have the sum 1, with
``r = sum lam_j a_j`` and ``g = sum lam_j c_j >= 0``. The slack proof (`geom.exact.slack`)
silences t once ``R |r - D| <= g``, which takes ``|D| = |r| - g / R``: the bound above. On a box of
radius s the condition is ``s |r - D|_1 <= g``, and ``|D|`` is the distance from ``r`` to a ball of
the norm ``|.|_1``, which cuts every ``|r_i|`` to one height.

*Freeing* an unspeakable token. At ``x`` it takes ``D . x > -margin(x)``, and a D along ``x`` just
longer than ``-margin(x) / |x|`` is enough: the bound above. There are two bounds below. With
weights as before, ``-margin(x) >= r . x + g``, hence ``-margin(x) / |x| >= g / R - |r|`` if
``g >= R |r|``. And if ``r = 0``, the hull of the ``a_j`` holds a ball around the origin: let B be
any matrix with ``|B' a_j| <= 1`` for every j of the support. For ``|u| <= 1`` the weights
``lam_j (1 + a_j . B u)`` are not negative, and their sum is 1, so at ``u = x / |x|``::

    -margin(x) / |x| >= sum lam_j (1 + a_j . B u) (a_j . u + c_j / |x|)
                      = u' C B u + (g + m . B u) / |x|,                                   (2)

``C = sum lam_j a_j a_j'`` and ``m = sum lam_j c_j a_j``. With B the inverse of C over the largest
``|C^-1 a_j|``, the first term is at least the inverse of that largest length; if ``g`` is not
enough to make the second term >= 0, a share of B is taken. The exact distance from a point inside a
polytope to its border is a concave program, hard in general: this bound can be below it by a factor
of the square root of d and more.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from geom.certificates import Finding, Weights
from geom.exact import is_point, is_weights
from geom.exact.interior import Corrected, corrected
from geom.exact.lengths import differences
from geom.exact.points import margin_at
from geom.exact.sums import Sums, combine, normalised
from geom.exact.weights import prove_unspeakable
from geom.model.problem import Problem
from geom.numbers.arrays import Floats
from geom.numbers.rationals import above, below, root, scaled, square_sum
from geom.numbers.rounding import CLAIM, TINY, UP, U, gamma, norm_above, refuse_flushing


def silencing_bounds(
    problem: Problem, token: int, finding: Finding, widen: float = CLAIM
) -> tuple[float, float]:
    """Bound the least change of a row that leaves a speakable token unspeakable, by proof.

    It is infinite if the token has the largest bias of all, because it then wins at ``x = 0`` with
    any row.

    Parameters
    ----------
    problem : Problem
        The readout on a domain.
    token : int
        The token.
    finding : Finding
        As ``x`` a point whose margin is large for its length, and as ``weights`` the ``lam`` of
        `geom.exact.changes`. A missing part proves nothing.
    widen : float, optional
        Multiplies the bounds on rounding, as in `geom.judge`.

    Returns
    -------
    low : float
        A lower bound on the Euclidean length of the change; 0 if none is proven.
    high : float
        An upper bound; infinity if none is proven.

    Raises
    ------
    InputError
        On a domain with a frame: the hull of points or an ellipsoid.
    ArithmeticModeError
        If the process flushes subnormal numbers to zero.
    """
    problem.asked.domain.refuse_frame("perturbation", "measure it on the model's own domain")
    refuse_flushing()
    low, high = 0.0, math.inf
    if problem.readout.V == 1 or _wins_at_zero(problem, token):
        return math.inf, math.inf
    if finding.x is not None and is_point(problem, finding.x):
        ends = _margin_per_length(problem, token, finding.x)
        low = max(0.0, below(ends[0]))
    weights = finding.weights
    if weights is not None and is_weights(problem, token, weights):
        high = _silencing_above(problem, token, weights, widen)
    return low, high


def freeing_bounds(
    problem: Problem, token: int, finding: Finding, widen: float = CLAIM
) -> tuple[float, float]:
    """Bound the least change of a row that makes an unspeakable token speakable, by proof.

    The least change is an infimum: the change of that length may only reach a tie.

    Parameters
    ----------
    problem : Problem
        The readout on a domain.
    token : int
        The token.
    finding : Finding
        As ``x`` a point whose margin is least negative for its length, and as ``weights`` the
        ``lam`` of `geom.exact.changes`, best with ``r = 0``. A missing part proves nothing.
    widen : float, optional
        Multiplies the bounds on rounding, as in `geom.judge`.

    Returns
    -------
    low : float
        A lower bound on the Euclidean length of the change; 0 if none is proven.
    high : float
        An upper bound; infinity if none is proven.

    Raises
    ------
    InputError
        On a domain with a frame: the hull of points or an ellipsoid.
    ArithmeticModeError
        If the process flushes subnormal numbers to zero.

    References
    ----------
    Formula (2) of `geom.exact.changes`.
    """
    problem.asked.domain.refuse_frame("perturbation", "measure it on the model's own domain")
    refuse_flushing()
    low, high = 0.0, math.inf
    if finding.x is not None and is_point(problem, finding.x):
        ends = _margin_per_length(problem, token, finding.x)
        high = max(0.0, above(-ends[0]))
    weights = finding.weights
    if weights is not None and is_weights(problem, token, weights):
        low = _freeing_below(problem, token, weights, widen)
    return low, high


def _wins_at_zero(problem: Problem, token: int) -> bool:
    margin = margin_at(problem, token, np.zeros(problem.readout.d))
    return margin is not None and margin > 0


def _margin_per_length(problem: Problem, token: int, x: Floats) -> tuple[Fraction, Fraction]:
    """Return rationals around ``margin(x) / |x|``; if ``x = 0``, beyond all floats both ways."""
    square = square_sum(scaled(x).fractions())
    margin = margin_at(problem, token, x)
    if square == 0 or margin is None:
        return Fraction(-(2**1100)), Fraction(2**1100)
    if margin == 0:
        return Fraction(0), Fraction(0)
    low, high = root(margin * margin / square)
    return (low, high) if margin > 0 else (-high, -low)


def _per_length(problem: Problem) -> float:
    """Return ``1 / R``, rounded down; 0 if lengths are not bounded or do not matter."""
    domain = problem.domain
    if problem.homogeneous or domain.size is None:
        return 0.0
    square = domain.size * domain.size * domain.d if domain.shape == "box" else domain.size
    return below(root(1 / square)[0])


def _silencing_above(problem: Problem, token: int, weights: Weights, widen: float) -> float:
    """Return ``|r| - g / R`` or a box's distance, rounded up; infinite if ``g`` may be negative."""
    sums = combine(problem, token, normalised(weights)).widened(widen)
    g = sums.g - sums.g_error * UP
    r = _size_above(sums, problem.domain.zero_sum)
    if not (0.0 <= g < math.inf and np.isfinite(r).all()):
        return math.inf
    if problem.domain.shape == "box" and not problem.homogeneous:
        size = problem.domain.size
        assert size is not None
        change = _cut(r, g / above(size) * (1.0 - 4 * U))
    else:
        length = float(norm_above(r))
        change = length - g * _per_length(problem) * (1.0 - 4 * U)
        change += 4 * U * length
    change = max(0.0, change) / sums.total_below * UP
    return change if math.isfinite(change) else math.inf


def _cut(r: Floats, room: float) -> float:
    """Return the distance from ``r`` (d,) >= 0 to vectors of sum at most ``room``, rounded up.

    The nearest vector takes one height off every entry of ``r``, and entries below the height
    become zero. Any height is valid that leaves no more than ``room`` above it.
    """
    with np.errstate(over="ignore"):
        total = float(r.sum()) * (1.0 + gamma(r.size))
    if total <= room:
        return 0.0
    if total == math.inf:
        return float(norm_above(r))
    steps = np.sort(r)[::-1]
    heights = (np.cumsum(steps) - room) / np.arange(1, r.size + 1)
    height = max(float(heights.max()), 0.0)
    while (left := float(np.maximum(r - height, 0.0).sum()) * (1.0 + gamma(r.size + 4))) > room:
        height += max(left - room, 4 * U * height, TINY)
    return float(norm_above(np.minimum(r, height)))


def _size_above(sums: Sums, zero_sum: bool) -> Floats:
    """Return upper bounds (d,) on the entries of ``|r|``, less its mean if ``sum(x) = 0``."""
    r, error = sums.r, sums.r_error
    with np.errstate(over="ignore", invalid="ignore"):
        if zero_sum:
            r = r - r.mean()
            error = error + 2 * U * np.abs(r)
        return np.asarray((np.abs(r) + error) * UP)


def _freeing_below(problem: Problem, token: int, weights: Weights, widen: float) -> float:
    """Return the better of the two bounds from below."""
    unit = normalised(weights)
    per_length, low = _per_length(problem), 0.0
    if per_length > 0.0:
        _, upper = prove_unspeakable(problem, token, weights, widen, ("slack",))
        if upper is not None and upper < 0.0:
            low = min(-upper * per_length * (1.0 - 4 * U), float(np.finfo(np.float64).max))
    sums = combine(problem, token, unit)
    exact = corrected(problem, token, unit, sums, widen)
    if exact is None or not exact.g_below >= 0.0:
        return low
    return max(low, _ball_inside(problem, token, unit, exact, per_length, widen))


def _ball_inside(
    problem: Problem,
    token: int,
    weights: Weights,
    exact: Corrected,
    per_length: float,
    widen: float,
) -> float:
    """Return (2) from below, for weights known only to lie near ``lam``, with ``r = 0``.

    With ``F`` near the inverse of ``C`` and ``l`` the largest ``|F' a_j|``, ``B = F / l``. Every
    matrix here differs from the exact one by at most its error in the Frobenius norm: ``C`` by
    ``sum delta_j |a_j|^2``, by the effect of rounding the rows, and by n + 4 roundings of its
    terms; each product may also lose ``TINY``, times its other factor, to underflow. If
    ``sum(x) = 0`` a multiple of the matrix of ones is added to ``C``, which no ``u`` of that plane
    sees.
    """
    zero_sum, d = problem.domain.zero_sum, problem.readout.d
    blocks = list(differences(problem, token, weights.indices))
    a = np.concatenate([rows.a for rows in blocks])
    c = np.concatenate([rows.c for rows in blocks])
    c_error = np.concatenate([rows.c_error for rows in blocks])
    error = np.concatenate([rows.error for rows in blocks])
    length = np.concatenate([rows.above for rows in blocks])
    lam, n = weights.values, len(weights.values)
    moved = np.zeros(n)
    moved[exact.places] = exact.delta
    with np.errstate(all="ignore"):
        C = (a * lam[:, None]).T @ a
        if zero_sum:
            C += float(np.trace(C)) / d / d
        try:
            F = np.linalg.inv(C)
        except np.linalg.LinAlgError:
            return 0.0
        size, rounded = float(norm_above(F)), gamma(n + d + 8)
        off = float(((moved + rounded * lam) * length + 2 * lam * error) @ length) * (1 + rounded)
        longest, highest = float(length.max()), float(np.abs(c).max())
        off += gamma(4) * float(np.trace(C)) * d + 2 * n * d * TINY * (1.0 + longest)
        most_C = float(norm_above(C))
        residual = float(norm_above(np.eye(d) - C @ F)) + gamma(d + 4) * size * most_C
        residual += 2 * d * d * TINY * (1.0 + most_C + size)
        least = (1.0 - widen * (residual * UP + off * size * UP)) * (1.0 - 8 * U)
        reach = norm_above(a @ F, axis=-1) + widen * (gamma(d + 4) * length + error) * size * UP
        reach += (widen - 1.0) * residual * size * length  # another machine's F
        most = float(reach.max()) * UP + d * d * TINY * (1.0 + longest + size)
        mixed = (lam * c) @ a
        drift = (moved * length + lam * error + rounded * lam * length) @ (np.abs(c) + c_error)
        drift = drift * UP + float((lam * length) @ c_error) * (1.0 + rounded)
        drift += rounded * float(norm_above(mixed))
        drift += n * d * TINY * (1.0 + highest + longest)
        pull = float(norm_above(mixed @ F)) + widen * float(drift) * size * UP
        pull += d * d * TINY * (1.0 + float(norm_above(mixed)) + size)
    if not (least > 0.0 and math.isfinite(most) and most > 0.0 and math.isfinite(pull)):
        return 0.0
    ball, pull = least / most * (1.0 - 4 * U), pull / most * UP
    share = 1.0 if pull <= exact.g_below else exact.g_below / pull * (1.0 - 4 * U)
    if problem.homogeneous:
        share, pull = 1.0, 0.0
    gain = share * ball + max(exact.g_below - share * pull, 0.0) * per_length
    gain = gain * (1.0 - 16 * U) / exact.total_above
    return gain if 0.0 < gain < math.inf else 0.0
