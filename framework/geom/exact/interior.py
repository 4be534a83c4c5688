"""Proof *interior*: near the weights are others for which ``r`` is exactly zero and ``g >= 0``.

``a_j``, ``r``, ``g``, ``lam`` and (1) are those of `geom.exact.weights`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from geom.certificates import Weights
from geom.exact.sums import Sums, quotient_above, rounded_differences
from geom.model.problem import Problem
from geom.numbers.arrays import Floats
from geom.numbers.rationals import below
from geom.numbers.rounding import TINY, UP, U, gamma, norm_above


def interior_bound(
    problem: Problem, token: int, weights: Weights, sums: Sums, widen: float
) -> float | None:
    """Bound the margin by proof *interior*: `corrected` weights have ``r = 0`` and ``g >= 0``.

    By (1) the margin is then nowhere above ``-g / sum(lam)``. Returns an upper bound on that, <= 0,
    or None if the proof does not hold.
    """
    exact = corrected(problem, token, weights, sums, widen)
    if exact is None or not exact.g_below >= 0.0:
        return None
    return quotient_above(-exact.g_below / exact.total_above)


@dataclass(frozen=True, eq=False)
class Corrected:
    """What is known about positive weights near ``lam`` with ``r`` exactly zero.

    ``places`` (k,) are the places in the support whose weights may have moved, each by at most its
    ``delta`` (k,). ``g_below`` and ``total_below``, ``total_above`` bound the ``g`` and the sum of
    those weights. ``g_below`` is minus infinity if nothing is known about ``g``.
    """

    places: NDArray[np.intp]
    delta: Floats
    g_below: float
    total_below: float
    total_above: float


def corrected(
    problem: Problem, token: int, weights: Weights, sums: Sums, widen: float
) -> Corrected | None:
    """Prove that some positive weights near the normalised ``lam`` have ``r`` exactly zero.

    Returns None if this proof fails.

    Let ``A`` (d, n) have the ``a_j`` of some weighty tokens as columns, and ``G`` (n, d) be any
    matrix with ``|I - A G| <= q < 1``. Then ``A G`` is invertible, ``y = (A G)^-1 r`` has
    ``|y| <= |r| / (1 - q)``, and ``delta = -G y`` solves ``A delta = -r`` exactly with
    ``|delta_j| <= |G_j| |r| / (1 - q)``, ``G_j`` the rows of ``G``. If that is below ``lam_j`` for
    every column, ``lam + delta`` are positive weights with ``r = 0``.

    On a domain with ``sum(x) = 0`` a multiple of the ones vector in ``r`` does no harm: ones are
    another column of ``A``, whose weight ``y`` may have any sign. What is left of ``r`` is
    ``m - y`` times ones, with m the mean that was taken off before, and a shift adds as many times
    its sum to ``g0``.

    Coordinates in which every ``a_j`` of the support is zero are left out, because ``r`` is exactly
    zero there. ``G`` is the pseudo-inverse for the columns scaled by ``lam``, so small weights move
    little. The rounding of ``A`` (one each) and of the product (n) is within
    ``gamma_{n+3} |A|_F |G|_F`` in the Frobenius norm, which is above the spectral norm.
    """
    zero_sum = problem.domain.zero_sum
    live = np.ones(problem.readout.d, dtype=bool) if zero_sum else sums.moved
    d = int(live.sum())
    heavy = np.argsort(-weights.values, kind="stable")[: 4 * d]
    lam = weights.values[heavy]
    if d == 0 or heavy.size < d:
        return None
    with np.errstate(over="ignore"):
        a, c = rounded_differences(problem, token, weights.indices[heavy])
    A, scale = a[:, live].T, lam
    if zero_sum:
        A, scale = np.column_stack([A, np.ones(d)]), np.append(lam, lam[0])
    G = _right_inverse(A, scale)
    if G is None:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        n, size = A.shape[1], float(norm_above(A) * norm_above(G))
        q = float(np.linalg.norm(np.eye(d) - A @ G)) * (1.0 + gamma(d * d)) + widen * (
            gamma(n + 3) * size + 2 * n * d * TINY * (1.0 + size)
        )
        mean = float(sums.r.mean()) if zero_sum else 0.0
        r = sums.r[live] - mean
        length = float(norm_above(np.abs(r) * (1.0 + 2 * U) + widen * sums.r_error[live]))
        if not q * UP < 1.0:
            return None
        reach = norm_above(G, axis=-1) * (length / (1.0 - q * UP) * widen * UP)
        delta = reach[: heavy.size]
        if not (delta < lam).all():
            return None
        moved = float(delta @ np.abs(c)) * (1.0 + gamma(heavy.size + 1)) * UP
        moved += n * TINY * (1.0 + float(np.abs(c).max())) if c.any() else 0.0
        g = sums.g0 - widen * sums.g0_error - moved
        g -= 4 * U * widen * (abs(sums.g0) + widen * sums.g0_error + moved)
        if zero_sum and problem.readout.shift is not None:
            total, m, y = problem.readout.shift.total, Fraction(mean), Fraction(float(reach[-1]))
            added = below(min(total * (m - y), total * (m + y)))
            g += added
            g -= 4 * U * (abs(g) + abs(added))
    if not math.isfinite(g):
        g = -math.inf
    change = float(delta.sum()) * (1.0 + gamma(heavy.size))
    return Corrected(
        heavy,
        delta,
        g,
        (sums.total_below - change) * (1.0 - 4 * U),
        (sums.total_above + change) * UP,
    )


def _right_inverse(A: Floats, scale: Floats) -> Floats | None:
    """Return ``G`` (n, d), ``A G`` near the identity; rows are small where ``scale`` (n,) is."""
    with np.errstate(all="ignore"):
        try:
            Q, R = np.linalg.qr((A * scale).T)
            return np.asarray(scale[:, None] * np.linalg.solve(R, Q.T).T)
        except np.linalg.LinAlgError:
            return None
