"""Three proofs by weights that a token is unspeakable, each with its argument.

Throughout, t is the token, j another, ``a_j = w_j - w_t``, ``c_j = b_j - b_t``, and the margin of t
at x is ``min_j -(a_j . x + c_j)``. For weights ``lam_j >= 0``, not all zero, let
``r = sum lam_j a_j`` and ``g = sum lam_j c_j``. Then at every x

    sum lam_j (logit_j - logit_t)(x) = r . x + g                                          (1)

The sum is at most ``sum(lam)`` times its greatest term, which is minus the margin, so
``margin(x) <= -(r . x + g) / sum(lam)``. If the right side of (1) is >= 0 on the whole domain,
some j is at least as high as t wherever we look, and t is unspeakable.

If the readout keeps a shift ``s`` of the final norm (`geom.model.shift`), ``g`` is ``g0 + r . s``,
``g0`` the same sum of the biases without it. So where ``r`` vanishes, the shift does.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from geom.certificates import ProofName, Weights
from geom.model.domains import Domain
from geom.model.problem import Problem
from geom.numbers.arrays import Floats
from geom.numbers.rationals import (
    above,
    below,
    integer_differences,
    integers,
    null_combination,
    power_of_two,
    square_sum,
)
from geom.numbers.rounding import CLAIM, TINY, UP, U, gamma, norm_above

RATIONAL_LIMIT = 256
"""The rational proof eliminates matrices of at most this many rows or columns: seconds of work."""

_VANISHING = 1 << 40
"""A coordinate of ``r`` this much smaller than its terms may be rounding alone."""

PROOFS: tuple[ProofName, ...] = ("slack", "interior", "rational")
"""The proofs that a token is unspeakable, in the order in which they are tried."""


def prove_unspeakable(
    problem: Problem,
    token: int,
    weights: Weights,
    widen: float = CLAIM,
    proofs: Sequence[ProofName] = PROOFS,
) -> tuple[ProofName | None, float | None]:
    """The first of the ``proofs`` that holds, and an upper bound on the largest margin.

    ``widen`` multiplies every bound on rounding. The bound is None where the weights give none, as
    on an unbounded domain when ``r`` is not proven zero. Both sides of (1) grow with rows and
    biases, so it is proven of their `geom.model.problem.Problem.unit`, where squares neither
    overflow nor underflow, and the bound is scaled back.
    """
    proof, upper = _proven(problem.unit, token, weights, widen, proofs)
    return proof, None if upper is None else _scaled_up(upper, problem.exponent)


def _proven(
    problem: Problem, token: int, weights: Weights, widen: float, proofs: Sequence[ProofName]
) -> tuple[ProofName | None, float | None]:
    """What `prove_unspeakable` says of rows and biases of a plain size."""
    unit = normalised(weights)
    sums = combine(problem, token, unit)
    upper = _margin_above(problem, sums, widen)
    if "slack" in proofs and upper is not None and problem.domain.bounded and upper <= 0.0:
        return "slack", upper
    inner = _interior(problem, token, unit, sums, widen) if "interior" in proofs else None
    if inner is not None:
        return "interior", inner
    if "rational" in proofs and rational_weights(problem, token, weights) is not None:
        return "rational", 0.0
    return None, upper


def _scaled_up(bound: float, exponent: int) -> float | None:
    """A float not below ``bound * 2**exponent``; None where there is none."""
    if exponent == 0 or not math.isfinite(bound):
        return bound
    scaled = above(Fraction(bound) * power_of_two(exponent)) + 0.0
    return scaled if math.isfinite(scaled) else None


def normalised(weights: Weights) -> Weights:
    """The positive weights, times the power of two that puts the largest in [1/2, 1).

    Those below some 10^-308 of the largest are left out: other weights then, and what they prove
    is no less proven. Without this the products of tiny weights would underflow, and those of huge
    ones overflow.
    """
    values = np.ldexp(weights.values, -math.frexp(float(weights.values.max()))[1])
    kept = values >= TINY
    return Weights(weights.indices[kept], values[kept])


@dataclass(frozen=True)
class Sums:
    """``r``, ``g``, ``g0`` and ``sum(lam)`` in float64, each with a bound on its error.

    ``moved`` (d,) says in which coordinates any ``a_j`` of the support is not zero; in the others
    ``r`` is exactly zero. ``g0`` is ``g`` where no shift is kept.
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
        """The same with ``factor`` times the bounds on the errors of ``r`` and ``g``."""
        return replace(self, r_error=factor * self.r_error, g_error=factor * self.g_error)


def combine(problem: Problem, token: int, weights: Weights) -> Sums:
    """``r`` (d,) and ``g`` of (1) for normalised weights, blocks of rows at a time.

    A difference ``fl(w_ji - w_ti)`` is off by one relative rounding, its product with ``lam_j`` by
    another, and n of them are added in some order: the error of ``r_i`` is at most
    ``gamma_{n+1} sum lam_j |a_ji|`` (Higham 3.5), and so is that of ``g`` with ``c_j``; each
    product and sum may lose ``TINY`` to underflow besides. A difference is zero in float64 only
    where it is zero. To ``g0`` a shift adds ``r . s``, off by what ``r`` may be off and by d + 4
    roundings of its terms.
    """
    n, d = weights.indices.size, problem.readout.d
    r, spread, moved = np.zeros(d), np.zeros(d), np.zeros(d, dtype=bool)
    g, g_spread, g_moved = 0.0, 0.0, False
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, n, 4096):
            lam = weights.values[start : start + 4096]
            others = weights.indices[start : start + 4096]
            a, c = _differences(problem, token, others)
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


def _differences(problem: Problem, token: int, others: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """``a_j`` (n, d), and the differences (n,) of biases without the shift, each rounded once."""
    readout = problem.readout
    return readout.W[others] - readout.W[token], readout.offset[others] - readout.offset[token]


def _margin_above(problem: Problem, sums: Sums, widen: float) -> float | None:
    """Proof *slack*: an upper bound on the largest margin from (1); <= 0 proves unspeakable.

    By (1) the margin is at most ``(-g + sup -(r . x)) / sum(lam)``, the supremum over the domain;
    where it is <= 0, the right side of (1) is >= 0 on the domain. Without bias an unbounded domain
    stands for its unit ball, which bounds the margin there and proves nothing (``r`` must vanish).
    Each of the three additions below is off by at most ``u (reach + |g| + g_error)`` or so, less
    than what is added for them; a quotient that underflows is pushed up, never to the other sign.
    """
    if not problem.domain.bounded and not problem.homogeneous:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        reach = reach_above(problem.domain, sums.r, widen * sums.r_error)
    bound = reach - (sums.g - widen * sums.g_error)
    bound += 4 * widen * U * (abs(reach) + abs(sums.g))
    if not math.isfinite(bound):
        return None
    if bound > 0.0:
        upper = max(bound / sums.total_below * (1.0 + 4 * U * widen), TINY)
        return upper if math.isfinite(upper) else None
    return _rounded_up(bound / sums.total_above * (1.0 - 4 * U * widen))


def _rounded_up(quotient: float) -> float:
    """A negative quotient, no lower than floats go; zero if underflow has made its digits wrong."""
    return max(quotient, -sys.float_info.max) if quotient < -TINY else 0.0


def reach_above(domain: Domain, r: Floats, error: Floats) -> float:
    """An upper bound on ``sup -(r . x)`` over the domain, for every ``r`` within ``error``.

    On a ball it is ``R |r|``. Where ``sum(x) = 0`` too, ``r . x = (r - m 1) . x`` for any number m:
    the mean makes the bound tight, and its rounding costs nothing. On a box it is ``radius |r|_1``.
    All of R^d stands for its unit ball.
    """
    if domain.zero_sum:
        r = r - r.mean()
        error = error + 2 * U * np.abs(r)
    reach = (np.abs(r) + error) * UP
    size = 1.0 if domain.size is None else above(domain.size)  # may be infinite, and is above then
    if domain.shape == "box":
        underflow = TINY if reach.any() else 0.0
        return float(reach.sum()) * (1.0 + gamma(r.size)) * size * UP + underflow
    return float(norm_above(reach)) * math.sqrt(size) * UP + TINY


@dataclass(frozen=True, eq=False)
class Corrected:
    """Positive weights near ``lam`` with ``r`` exactly zero: what is known of them.

    ``places`` (k,) are those among the support that may have moved, each by ``delta`` (k,) at
    most; ``g_below`` and ``total_below``, ``total_above`` bound their ``g`` and their sum.
    ``g_below`` is minus infinity where nothing is known of ``g``.
    """

    places: NDArray[np.intp]
    delta: Floats
    g_below: float
    total_below: float
    total_above: float


def corrected(
    problem: Problem, token: int, weights: Weights, sums: Sums, widen: float
) -> Corrected | None:
    """Proof that positive weights near the normalised ``lam`` have ``r`` exactly zero, if any.

    Let ``A`` (d, n) have the ``a_j`` of some weighty tokens as columns, and ``G`` (n, d) be any
    matrix with ``|I - A G| <= q < 1``. Then ``A G`` is invertible, ``y = (A G)^-1 r`` has
    ``|y| <= |r| / (1 - q)``, and ``delta = -G y`` solves ``A delta = -r`` exactly with
    ``|delta_j| <= |G_j| |r| / (1 - q)``, ``G_j`` the rows of ``G``. If that is below ``lam_j`` for
    every column, ``lam + delta`` are positive weights with ``r = 0``.

    On a domain with ``sum(x) = 0`` a multiple of the ones vector in ``r`` does no harm: ones are a
    further column of ``A`` whose weight ``y`` may have any sign. What is left of ``r`` is
    ``m - y`` times ones, m the mean that was taken off before, and a shift adds as many times its
    sum to ``g0``.

    Coordinates in which every ``a_j`` of the support is zero are left out: ``r`` is exactly zero
    there. ``G`` is the pseudo-inverse for the columns scaled by ``lam``, so that small weights move
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
        a, c = _differences(problem, token, weights.indices[heavy])
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


def _interior(
    problem: Problem, token: int, weights: Weights, sums: Sums, widen: float
) -> float | None:
    """Proof *interior*: weights that are `corrected` so that ``r = 0``, and ``g >= 0`` for them.

    By (1) the margin is then nowhere above ``-g / sum(lam)``: an upper bound on that, <= 0, is
    returned, None where the proof does not hold.
    """
    exact = corrected(problem, token, weights, sums, widen)
    if exact is None or not exact.g_below >= 0.0:
        return None
    return _rounded_up(-exact.g_below / exact.total_above)


def _right_inverse(A: Floats, scale: Floats) -> Floats | None:
    """``G`` (n, d) with ``A G`` near the identity, its rows small where ``scale`` (n,) is small."""
    with np.errstate(all="ignore"):
        try:
            Q, R = np.linalg.qr((A * scale).T)
            return np.asarray(scale[:, None] * np.linalg.solve(R, Q.T).T)
        except np.linalg.LinAlgError:
            return None


def rational_weights(problem: Problem, token: int, weights: Weights) -> dict[int, int] | None:
    """Proof *rational*: weights in exact arithmetic make the right side of (1) >= 0.

    All is integers over powers of two. First the weights as they are. Then weights near them with
    ``r`` exactly zero (`geom.numbers.rationals.null_combination`), from the whole support and
    without its least weights, which may be a solver's dust, and with ``g = 0`` demanded as well,
    for a token that lies on a face of the hull lifted by the biases. On a box, weights whose ``r``
    is exactly zero where it nearly vanishes and leans to a wall elsewhere, as an optimum's does;
    what they prove is looked at once more, so that no guess of where it vanishes is believed. They
    are returned as integers, token by token, up to a common factor; None where none is found.
    """
    readout = problem.readout
    order = np.argsort(-weights.values, kind="stable")
    order = order[weights.values[order] > 0.0]
    if min(order.size, readout.d) > RATIONAL_LIMIT or order.size * readout.d > 1 << 21:
        return None
    chosen = weights.indices[order]
    a, a_exponent = integer_differences(readout.W[chosen], readout.W[token])
    c, _ = null_biases(problem, token, chosen, a, a_exponent)
    lam, _ = integers(weights.values[order])
    own, *biases = readout.exact_biases(np.append(token, chosen))
    gaps = np.array([bias - own for bias in biases], dtype=object)

    def covers(mu: NDArray[np.object_]) -> bool:
        r = [entry * power_of_two(a_exponent) for entry in mu @ a]
        return _covers(problem.domain, r, Fraction(mu @ gaps))

    if covers(lam):
        return _by_token(chosen, lam)
    columns = a[:, 1:] - a[:, :1] if problem.domain.zero_sum else a
    for least in (0.0, 2.0**-30):
        n = int((weights.values[order] > least * weights.values[order[0]]).sum())
        for system in (columns[:n], np.hstack([columns, c])[:n]):
            mu = null_combination(system, lam[:n], RATIONAL_LIMIT)
            if mu is not None and (mu @ c[:n])[0] >= 0:
                return _by_token(chosen[:n], mu)
    vanishing = abs(lam @ a) * _VANISHING <= lam @ abs(a)
    if problem.domain.shape == "box" and not problem.domain.zero_sum and not vanishing.all():
        mu = null_combination(a[:, vanishing], lam, RATIONAL_LIMIT)
        if mu is not None and covers(mu):
            return _by_token(chosen, mu)
    return None


def null_biases(
    problem: Problem,
    token: int,
    others: NDArray[np.int64],
    a: NDArray[np.object_],
    exponent: int,
) -> tuple[NDArray[np.object_], Fraction]:
    """Integers ``c`` (n, 1) and a unit with ``g = sum lam_j c_j`` wherever ``r`` is nothing.

    ``a`` (n, d), times ``2**exponent``, are the others' differences. A shift adds ``r . s`` to the
    sum without it: nothing, or, where ``sum(x) = 0`` and ``r`` is a multiple of ones, its first
    entry times the sum of the shift.
    """
    offset, shift = problem.readout.offset, problem.readout.shift
    c, c_exponent = integer_differences(offset[others, None], offset[token, None])
    if shift is None or not problem.domain.zero_sum:
        return c, power_of_two(c_exponent)
    per_unit = shift.total * power_of_two(exponent)
    common = math.lcm(per_unit.denominator, power_of_two(c_exponent).denominator)
    return (
        c * int(power_of_two(c_exponent) * common) + a[:, :1] * int(per_unit * common),
        Fraction(1, common),
    )


def _by_token(tokens: NDArray[np.int64], values: NDArray[np.object_]) -> dict[int, int]:
    return {
        token: int(value)
        for token, value in zip(tokens.tolist(), values.tolist(), strict=True)
        if value
    }


def _covers(domain: Domain, r: list[Fraction], g: Fraction) -> bool:
    """Whether ``r . x + g >= 0`` on the whole domain, exactly.

    With ``sum(x) = 0`` the part of ``r`` along ones falls away; what is left of ``|r|^2`` is
    ``sum r_i^2 - (sum r_i)^2 / d``.
    """
    if g < 0:
        return False
    if domain.shape == "box" and domain.size is not None:
        return g >= domain.size * sum(map(abs, r))
    length = square_sum(r) - (sum(r) ** 2 / domain.d if domain.zero_sum else 0)
    if domain.size is None:
        return length == 0
    return g * g >= domain.size * length
