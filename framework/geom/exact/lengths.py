"""Lengths of the differences ``a_j = w_j - w_t`` as a domain sees them, with bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from geom.exact.least import least
from geom.model.problem import Problem
from geom.numbers.arrays import Floats, Ids
from geom.numbers.rationals import integer_differences, integers, power_of_two
from geom.numbers.rounding import TINY, UP, U, gamma, norm_above

BLOCK = 1 << 22
"""How many numbers a block of differences holds."""


@dataclass(frozen=True, eq=False)
class Differences:
    """Rows ``a`` (n, d) near the true differences, less their own means if ``sum(x) = 0``.

    ``ids`` (n,) are the tokens, and ``c`` (n,) their biases less the token's, each rounded once.
    ``c_error`` (n,) bounds the further error of ``c``, which is zero unless a shift is kept. Each
    true row lies within ``error`` (n,) of its row in ``a``, and its length is between ``below`` and
    ``above`` (n,).
    """

    ids: Ids
    a: Floats
    c: Floats
    c_error: Floats
    error: Floats
    below: Floats
    above: Floats


def differences(problem: Problem, token: int, ids: Ids) -> Iterator[Differences]:
    """Yield the differences of these tokens, a block at a time.

    A difference of two floats is off by one relative rounding. Subtracting a number near its mean
    adds one more; what is then left of the mean is not part of the true row either.
    """
    d = problem.readout.d
    height = max(1, BLOCK // d)
    for start in range(0, len(ids), height):
        part = ids[start : start + height]
        with np.errstate(over="ignore", invalid="ignore"):
            a, c = problem.differences(token, part)
            length = norm_above(a, axis=-1)
            error = U * length * UP
            if problem.domain.zero_sum:
                size = np.abs(a).sum(axis=1)
                a -= a.mean(axis=1, keepdims=True)
                length = norm_above(a, axis=-1)
                rest = np.abs(a.sum(axis=1)) + gamma(d) * np.abs(a).sum(axis=1) + U * size
                error = (error + U * length + rest / math.sqrt(d)) * UP + d * TINY
            above = (length + error) * UP
            below = length * (1.0 - gamma(d + 8)) / UP / UP - error * UP
            below = np.maximum(below - 2.0**-500, 0.0)  # more than `norm_above` adds for underflow
            below[~np.isfinite(above)] = 0.0  # squares that overflow prove nothing from below
            c_error = (problem.readout.bias_errors[part] + problem.readout.bias_errors[token]) * UP
        yield Differences(part, a, c, c_error, error, below, above)


def others(problem: Problem, token: int) -> Ids:
    """Return all tokens but this one."""
    return np.delete(np.arange(problem.readout.V, dtype=np.int64), token)


def least_over_rivals(
    problem: Problem,
    token: int,
    rough: Callable[[Differences], tuple[Floats, Floats]],
    exact: Callable[[Ids], list[float]],
) -> float:
    """Return the least number over rivals; ``rough`` bounds all, ``exact`` computes some."""
    rivals = others(problem, token)
    blocks = [rough(rows) for rows in differences(problem, token, rivals)]
    low, high = (np.concatenate(ends) for ends in zip(*blocks, strict=True))
    return least(low, high, lambda places: exact(rivals[places]))


def exact_rows(
    problem: Problem, token: int, ids: Ids, x: Floats
) -> list[tuple[Fraction, Fraction, Fraction]]:
    """Return ``|a_j|^2``, ``a_j . x`` and ``c_j`` of some rivals, exactly."""
    readout, out = problem.readout, []
    a, exponent = integer_differences(readout.rows[ids], readout.rows[token])
    point, x_exponent = integers(x)
    own, *biases = readout.exact_biases(np.append(token, ids))
    for row, product, bias in zip(a, a @ point, biases, strict=True):
        square = Fraction(int((row * row).sum()))
        if problem.domain.zero_sum:
            square -= Fraction(int(row.sum()) ** 2, readout.d)
        p = int(product) * power_of_two(exponent + x_exponent)
        out.append((square * power_of_two(2 * exponent), p, bias - own))
    return out
