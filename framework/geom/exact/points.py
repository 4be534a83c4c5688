"""The witness check: the exact margin of a token at a point."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import numpy as np
from numpy.typing import NDArray

from geom.exact.least import least
from geom.model.problem import Problem
from geom.numbers.arrays import Floats, Ids
from geom.numbers.rationals import Scaled, above, below, differences, root, scaled, square_sum
from geom.numbers.rounding import UP, U, dot_error, norm_above


def margin_at(problem: Problem, token: int, x: Floats) -> Fraction | None:
    """Return the exact margin of ``token`` at the float64 point ``x`` (k,); None if V = 1."""
    return None if problem.readout.V == 1 else margin_over(problem, token, x)


def margin_over(
    problem: Problem,
    token: int,
    x: Floats,
    rivals: Ids | None = None,
    vector: Scaled | None = None,
) -> Fraction:
    """Return the exact margin of ``token`` at ``x`` over all rivals, or over some (n,), n > 0.

    At the point of a domain with a frame it is the margin at the exact vector that the coordinates
    stand for. All margins are first computed in float64, each with the a-priori bound of
    `dot_error` for its two logits; then the few that may be the least (`geom.exact.least`) are
    computed in rationals. ``vector`` (d, 1) is the exact vector of ``x``, if it is known.
    """
    readout = problem.readout
    ids = np.delete(np.arange(readout.V), token) if rivals is None else rivals
    if not x.any() and readout.shift is None and problem.domain.frame is None:
        return Fraction(float(readout.b[token])) - Fraction(float(readout.b[ids].max()))
    low, high = margin_ends(problem, token, x, None if rivals is None else ids)
    exact = cache(lambda: problem.domain.exact_vector(x) if vector is None else vector)
    return least(low, high, lambda places: exact_margins(problem, token, ids[places], exact()))


def margin_ends(
    problem: Problem, token: int, x: Floats, rivals: Ids | None
) -> tuple[Floats, Floats]:
    """Return the ends (n,) of an interval around each margin, over all rivals or over these."""
    readout = problem.readout
    found, (off,) = problem.domain.vectors(x[None])
    x = found[0]
    with np.errstate(over="ignore", invalid="ignore"):
        if rivals is None:
            logits = readout.logits(x)
            ids = np.arange(readout.V)
        else:
            ids = np.append(rivals, token)
            logits = readout.rows[ids] @ x + readout.b[ids]
        error = dot_error(readout.row_norms[ids], float(norm_above(x)), readout.b[ids], readout.d)
        error += readout.bias_errors[ids] + readout.row_norms[ids] * off
        own = token if rivals is None else -1
        gaps = np.delete(logits[own] - logits, own)
        slop = (error[own] + np.delete(error, own) + U * np.abs(gaps)) * UP
        low, high = gaps - slop * UP, gaps + slop * UP
    unknown = ~np.isfinite(low) | ~np.isfinite(high)
    low[unknown], high[unknown] = -np.inf, np.inf
    return low, high


def exact_margins(
    problem: Problem, token: int, rows: NDArray[np.intp], x: Scaled
) -> list[Fraction]:
    """Return ``-(a_j . x + c_j)`` for the given rows and the vector ``x`` (d, 1), exactly."""
    readout = problem.readout
    products = (differences(readout.rows[rows], readout.rows[token]) @ x).fractions()
    bias, *biases = readout.exact_biases(np.append(token, rows))
    return [bias - b - p for b, p in zip(biases, products, strict=True)]


def margin_below(problem: Problem, token: int, x: Floats) -> float:
    """Return a lower bound on the largest margin, from a point ``x`` (d,) of the domain.

    It is the margin at ``x``, rounded down; if the domain is unbounded and no bias tells tokens
    apart, the margin at ``x / |x|``. A token without rivals has every margin, so its bound is the
    largest float. The bound is positive only if the exact margin is positive, and then always,
    unless the margin is below the least float64.
    """
    if problem.readout.V == 1:
        return float(np.finfo(np.float64).max)
    return bound_below(problem, margin_over(problem, token, x), x)


def bound_below(problem: Problem, margin: Fraction, x: Floats) -> float:
    """Return the lower bound on the largest margin that an exact margin at ``x`` (d,) gives."""
    if problem.domain.bounded or not problem.homogeneous or margin == 0:
        return below(margin)
    low, high = root(margin * margin / square_sum(scaled(x).fractions()))
    return below(low) if margin > 0 else -above(high)
