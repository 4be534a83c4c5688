"""The sums ``r``, ``g`` and ``sum(lam)`` of weights, with bounds on their errors.

``a_j``, ``c_j``, ``r``, ``g``, ``lam`` and (1) are those of `geom.exact.weights`.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from geom.certificates import Weights
from geom.model.problem import Problem
from geom.numbers.arrays import Floats
from geom.numbers.rounding import TINY, UP, U, gamma


def normalised(weights: Weights) -> Weights:
    """Return the positive weights, times the power of two that puts the largest in [1/2, 1).

    Weights below some 10^-308 of the largest are left out; the rest are different weights, whose
    proof is as good. Without the scaling, products of tiny weights would underflow, and products of
    huge ones overflow.
    """
    values = np.ldexp(weights.values, -math.frexp(float(weights.values.max()))[1])
    kept = values >= TINY
    return Weights(weights.indices[kept], values[kept])


@dataclass(frozen=True)
class Sums:
    """``r``, ``g``, ``g0`` and ``sum(lam)`` in float64, each with a bound on its error.

    ``moved`` (d,) tells in which coordinates some ``a_j`` of the support is not zero; in the others
    ``r`` is exactly zero. ``g0`` is ``g`` without the ``r . s`` of a shift.
    """

    r: Floats
    r_error: Floats
    moved: NDArray[np.bool_]
    g: float
    g_error: float
    g0: float
    g0_error: float
    total_below: float
    total_above: float

    def widened(self, factor: float) -> Sums:
        """Return the same sums, with error bounds of ``r`` and ``g`` multiplied by ``factor``."""
        return replace(self, r_error=factor * self.r_error, g_error=factor * self.g_error)


def combine(problem: Problem, token: int, weights: Weights) -> Sums:
    """Return ``r`` (d,) and ``g`` of (1) for normalised weights, summed by blocks of rows.

    A difference ``fl(w_ji - w_ti)`` is off by one relative rounding, its product with ``lam_j`` by
    another, and n of them are added in some order: the error of ``r_i`` is at most
    ``gamma_{n+1} sum lam_j |a_ji|`` (Higham 3.5), and so is that of ``g`` with ``c_j``; each
    product and sum may also lose ``TINY`` to underflow. A difference is zero in float64 only if it
    is zero. A shift adds ``r . s`` to ``g0``, with the error of ``r`` and d + 4 roundings of its
    terms.
    """
    n, d = weights.indices.size, problem.readout.d
    r, spread, moved = np.zeros(d), np.zeros(d), np.zeros(d, dtype=bool)
    g, g_spread, g_moved = 0.0, 0.0, False
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, n, 4096):
            lam = weights.values[start : start + 4096]
            others = weights.indices[start : start + 4096]
            a, c = rounded_differences(problem, token, others)
            r += lam @ a
            spread += lam @ np.abs(a)
            moved |= a.any(axis=0)
            g += float(lam @ c)
            g_spread += float(lam @ np.abs(c))
            g_moved |= bool(c.any())
        total = float(weights.values.sum())
        factor = gamma(n + 2) * (1.0 + gamma(n + 2)) * UP
        r_error = np.where(moved, spread * factor + 2 * n * TINY, 0.0)
        g_error = g_spread * factor + 2 * n * TINY if g_moved else 0.0
        off = gamma(n) * UP
        ends = total * (1.0 - off), total * (1.0 + off)
        shift = problem.readout.shift
        if shift is None:
            return Sums(r, r_error, moved, g, g_error, g, g_error, *ends)
        added = np.where(moved, r * shift.rounded, 0.0)
        doubt = np.where(moved, r_error * np.abs(shift.rounded), 0.0)
        doubt += (doubt + np.abs(added)) * gamma(d + 4) + 2 * TINY * (moved + np.abs(r) + r_error)
        error = float(doubt.sum()) * (1.0 + gamma(d)) * UP
        total_g = g + float(added.sum())
        return Sums(r, r_error, moved, total_g, g_error + error + U * abs(g), g, g_error, *ends)


def rounded_differences(
    problem: Problem, token: int, others: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Return ``a_j`` (n, d) and the differences (n,) of unshifted biases, each rounded once."""
    rows, offset = problem.readout.rows, problem.readout.offset
    return rows[others] - rows[token], offset[others] - offset[token]


def quotient_above(quotient: float) -> float:
    """Keep a negative quotient within floats; zero if underflow has spoiled its digits."""
    return max(quotient, -sys.float_info.max) if quotient < -TINY else 0.0
