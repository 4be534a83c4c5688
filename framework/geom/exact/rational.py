"""Proof *rational*: the weights, or others near them, checked in exact arithmetic.

``a_j``, ``c_j``, ``r``, ``g``, ``lam`` and (1) are those of `geom.exact.weights`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from geom.certificates import Weights
from geom.model.domains import Domain
from geom.model.problem import Problem
from geom.numbers.arrays import Floats
from geom.numbers.rationals import (
    integer_differences,
    integers,
    null_combination,
    power_of_two,
    square_sum,
)

RATIONAL_LIMIT = 256
"""The rational proof eliminates at most this many rows or columns: seconds of work."""

_VANISHING = 1 << 40
"""A coordinate of ``r`` that is smaller than its terms by this factor may be rounding alone."""


def rational_weights(problem: Problem, token: int, weights: Weights) -> dict[int, int] | None:
    """Find weights that prove a token unspeakable in exact arithmetic: the proof *rational*.

    The result makes the right side of (1) >= 0. All arithmetic is in integers over powers of two.
    The given weights are tried as they are. Then come nearby weights with ``r`` exactly zero
    (`geom.numbers.rationals.null_combination`): from the whole support, and without its least
    weights, which may be a solver's dust; and with ``g = 0`` required as well, for a token that
    lies on a face of the hull lifted by the biases. On a box, the last try is weights whose ``r``
    is exactly zero where it nearly vanishes, and leans to a wall elsewhere, as an optimum's does;
    what they prove is checked again, so that no guess of where ``r`` vanishes is trusted.

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
    if g < 0:
        return False
    if domain.shape == "box" and domain.size is not None:
        return g >= domain.size * sum(map(abs, r))
    length = square_sum(r) - (sum(r) ** 2 / domain.d if domain.zero_sum else 0)
    if domain.size is None:
        return length == 0
    return g * g >= domain.size * length
