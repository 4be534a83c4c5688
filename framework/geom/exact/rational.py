"""Proof *rational*: the weights, or others near them, checked in exact arithmetic.

``a_j``, ``c_j``, ``r``, ``g``, ``lam`` and (1) are those of `geom.exact.weights`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from flint import fmpz_mat
from numpy.typing import NDArray

from geom.certificates import Weights
from geom.model.domains import Domain
from geom.model.frames import Frame
from geom.model.problem import Problem
from geom.numbers.arrays import Floats
from geom.numbers.rationals import (
    Scaled,
    integer_differences,
    integers,
    null_combination,
    power_of_two,
    scaled,
    square_sum,
)
from geom.numbers.rounding import TINY, U

RATIONAL_LIMIT = 256
"""The rational proof eliminates at most this many rows or columns: seconds of work."""

_POINTS = 64
"""At most so many points of a hull are where a sum is made to vanish."""

_LARGE = 1 << 21
"""The most numbers of a frame that are made integers for one proof: seconds of work."""

_VANISHING = 1 << 40
"""A coordinate of ``r`` that is smaller than its terms by this factor may be rounding alone."""


def rational_weights(problem: Problem, token: int, weights: Weights) -> dict[int, int] | None:
    """Find weights that prove a token unspeakable in exact arithmetic: the proof *rational*.

    The result makes the right side of (1) >= 0. All arithmetic is in integers over powers of two.
    The given weights are tried as they are. Then come nearby weights with ``r`` exactly zero
    (`geom.numbers.rationals.null_combination`): from the whole support, and without its least
    weights, which may be a solver's dust; and with ``g = 0`` required as well, for a token that
    lies on a face of the hull lifted by the biases. On a box, the last try is weights whose ``r``
    is exactly zero where it nearly vanishes, and leans to a wall elsewhere, as an optimum's does.
    On a hull it is weights whose sum (1) is exactly zero at the points where it nearly vanishes.
    What such weights prove is checked again, so that no guess of what vanishes is trusted.

    Parameters
    ----------
    problem : Problem
        The readout on a domain.
    token : int
        The token.
    weights : Weights
        Weights that nearly prove it, such as a solver's.

    Returns
    -------
    dict of int to int or None
        Integer weights, token by token, up to a common factor; None if none is found.

    References
    ----------
    Formula (1) of `geom.exact.weights`.
    """
    problem = problem.asked
    readout = problem.readout
    order = np.argsort(-weights.values, kind="stable")
    order = order[weights.values[order] > 0.0]
    if min(order.size, readout.d) > RATIONAL_LIMIT or order.size * readout.d > 1 << 21:
        return None
    chosen = weights.indices[order]
    a, a_exponent = integer_differences(readout.rows[chosen], readout.rows[token])
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
    if problem.domain.shape == "simplex":
        mu = null_combination(
            _at_low_points(problem, a, a_exponent, gaps, lam), lam, RATIONAL_LIMIT
        )
        return _by_token(chosen, mu) if mu is not None and covers(mu) else None
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
    """Return integers ``c`` (n, 1) and a unit such that ``g = sum lam_j c_j`` if ``r`` vanishes.

    ``a`` (n, d), times ``2**exponent``, are the others' differences. A shift adds ``r . s`` to the
    sum without it: zero or, if ``sum(x) = 0`` and ``r`` is a multiple of ones, its first entry
    times the sum of the shift.
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


def balanced_weights(
    problem: Problem, token: int, weights: Weights
) -> Iterator[tuple[Floats, Fraction]]:
    """Yield weights near these, with the sum 1 and ``r`` exactly zero, and their ``g``.

    Each weight is rounded to float64, once. Nothing is yielded if there are too many for exact
    elimination, or none near these.
    """
    readout = problem.readout
    order = np.argsort(-weights.values, kind="stable")
    if min(order.size, readout.d) > RATIONAL_LIMIT or order.size * readout.d > 1 << 21:
        return
    chosen = weights.indices[order]
    a, exponent = integer_differences(readout.rows[chosen], readout.rows[token])
    c, unit = null_biases(problem, token, chosen, a, exponent)
    lam, _ = integers(weights.values[order])
    columns = a[:, 1:] - a[:, :1] if problem.domain.zero_sum else a
    for least in (0.0, 2.0**-30, 2.0**-20):
        n = int((weights.values[order] > least * weights.values[order[0]]).sum())
        mu = null_combination(columns[:n], lam[:n], RATIONAL_LIMIT)
        if mu is not None:
            total = int(mu.sum())
            shares = np.array([int(weight) / total for weight in mu])
            yield shares, Fraction(int((mu @ c[:n])[0]), total) * unit


def _at_low_points(
    problem: Problem,
    a: NDArray[np.object_],
    exponent: int,
    gaps: NDArray[np.object_],
    lam: NDArray[np.object_],
) -> NDArray[np.object_]:
    """Return ``a_j . p_i + c_j`` (n, m), up to a factor, at the points where their sum is least.

    ``a`` (n, d), times ``2**exponent``, are the differences of the rows, and ``gaps`` (n,) those of
    the biases. A point counts if the sum over ``lam`` is as good as zero there: at most `_POINTS`.
    """
    frame = problem.domain.frame
    assert frame is not None
    with np.errstate(all="ignore"):
        share = np.array([float(Fraction(int(value), int(lam.max()))) for value in lam])
        try:
            r = share @ np.ldexp(a.astype(np.float64), exponent)
            sums = frame.axes @ r + float(share @ gaps.astype(np.float64))
        except OverflowError:
            return a[:, :0]
        scale = frame.lengths * float(np.linalg.norm(r)) + np.abs(sums)
        low = np.flatnonzero(np.abs(sums) * 2.0**24 <= scale)
    low = low[np.argsort(np.abs(sums[low]), kind="stable")][:_POINTS]
    points, p_exponent = integers(frame.axes[low])
    values = a @ points.T
    unit = power_of_two(exponent) * power_of_two(p_exponent)
    common = math.lcm(unit.denominator, *(Fraction(gap).denominator for gap in gaps))
    biases = np.array([int(gap * common) for gap in gaps], dtype=object)
    return np.asarray(values * int(unit * common) + biases[:, None])


def _by_token(tokens: NDArray[np.int64], values: NDArray[np.object_]) -> dict[int, int]:
    return {
        token: int(value)
        for token, value in zip(tokens.tolist(), values.tolist(), strict=True)
        if value
    }


def _covers(domain: Domain, r: list[Fraction], g: Fraction) -> bool:
    """Return whether ``r . x + g >= 0`` on the whole domain, exactly.

    With ``sum(x) = 0`` the part of ``r`` along ones does not matter; what is left of ``|r|^2`` is
    ``sum r_i^2 - (sum r_i)^2 / d``.
    """
    if domain.frame is not None:
        return _covers_image(domain, domain.frame, r, g)
    if g < 0:
        return False
    if domain.shape == "box" and domain.size is not None:
        return g >= domain.size * sum(map(abs, r))
    length = square_sum(r) - (sum(r) ** 2 / domain.d if domain.zero_sum else 0)
    if domain.size is None:
        return length == 0
    return g * g >= domain.size * length


def _covers_image(domain: Domain, frame: Frame, r: list[Fraction], g: Fraction) -> bool:
    """Return whether ``r . x + g >= 0`` on the whole image of a domain, exactly.

    Over mixtures the sum is least at one of the points, over a ball it is
    ``g + r . centre - R |axes @ r|``. Points at which float64 settles it are not computed exactly.
    """
    if not any(r):
        return g >= 0
    factor = max(entry.denominator for entry in r)  # all are powers of two
    column = fmpz_mat([[int(entry * factor)] for entry in r])

    def products(axes: Floats) -> list[Fraction]:
        found = scaled(axes)
        exact = Scaled(found.mantissas * column, found.exponent).fractions()
        return [product / factor for product in exact]

    if frame.centre is not None:
        g += products(frame.centre[None])[0]
    if domain.shape == "simplex":
        left = frame.axes[_unsettled(frame, r, g)]
        if left.size > _LARGE:
            return False
        return not len(left) or all(product + g >= 0 for product in products(left))
    if g < 0 or frame.axes.size > _LARGE or domain.size is None:
        return False
    return g * g >= domain.size * square_sum(products(frame.axes))


def _unsettled(frame: Frame, r: list[Fraction], g: Fraction) -> NDArray[np.intp]:
    """Return the points (m,) at which float64 does not show that ``r . p_i + g > 0``."""
    try:
        rounded, bias = np.array([float(entry) for entry in r]), float(g)
    except OverflowError:
        return np.arange(len(frame.axes))
    with np.errstate(all="ignore"):
        q, error = frame.against(rounded, np.abs(rounded) * U + TINY)
        above_zero = q + bias - error - 4 * U * (np.abs(q) + abs(bias) + error) > 0.0
    return np.flatnonzero(~above_zero)
