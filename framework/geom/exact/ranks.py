"""Proven bounds on the best rank of a token: 1 if it wins somewhere, 2 if one rival never drops.

At a vector x the rank of t is 1 plus the number of rivals above it. A rival that ties counts as
above, so that rank 1 is what `geom.judge` calls speakable: the strict argmax. Or, if ties are said
to count as below, only rivals that are strictly higher count. The best rank is the least over the
domain.

*Above*: the rank at any x, counted exactly.

*Below*: weights that prove t unspeakable show that at every x one of the rivals that they name is
at least as high as t (`geom.exact.weights`). So k such proofs that share no rival show that at
every x at least k rivals are at least as high, and t is nowhere better than k + 1st. If their
bounds on the margin are below zero, those k rivals are strictly higher.

The weights of k proofs are stored as those of one, since no rival has two of them: one proof after
another, each from its largest weight down. A weight above the one before it starts the next proof.

The exact best rank is the depth of a point among others, which is hard to find (D. S. Johnson and
F. P. Preparata, The densest hemisphere problem, Theoretical Computer Science 6, 1978), so the two
ends may stay apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from geom.certificates import Finding, Weights
from geom.exact import is_point, is_weights, judge
from geom.exact.margins import margin_bounds
from geom.exact.points import exact_margins, margin_ends
from geom.model.problem import Problem
from geom.numbers.arrays import Flags, Floats
from geom.numbers.rounding import CLAIM, refuse_flushing

Ties = Literal["above", "below"]
"""How a rival that ties with the token counts."""

MOST = 4096
"""The most margins at one point that are computed exactly; more than that count as rivals above."""

_AT_ONCE = 64


def rank_bounds(
    problem: Problem,
    token: int,
    finding: Finding,
    widen: float = CLAIM,
    *,
    ties: Ties = "above",
) -> tuple[int, int]:
    """Bound the best rank that a token has anywhere in the domain, by proof.

    Parameters
    ----------
    problem : Problem
        The readout on a domain.
    token : int
        The token.
    finding : Finding
        A point, and the weights of several proofs as `joined_weights` stores them. A part that is
        missing, or that is not a point of the domain or not weights, proves nothing.
    widen : float, optional
        Multiplies the bounds on rounding, as in `geom.judge`.
    ties : {"above", "below"}, optional
        Whether a rival that ties with the token counts as above it or as below it.

    Returns
    -------
    low : int
        A lower bound, at least 1.
    high : int
        An upper bound, at most V.

    Raises
    ------
    ArithmeticModeError
        If the process flushes subnormal numbers to zero.

    References
    ----------
    The argument of `geom.exact.ranks`.
    """
    refuse_flushing()
    problem = problem.asked
    low, high = 1, problem.readout.V
    if high == 1:
        return 1, 1
    if finding.x is not None and is_point(problem, finding.x):
        high = min(high, 1 + int(rivals_above(problem, token, finding.x, ties).sum()))
    weights = finding.weights
    if weights is not None and is_weights(problem, token, weights):
        for part in separate_weights(weights):
            low += proves_rival_above(problem, token, part, widen, ties)
    return low, high


def proves_rival_above(
    problem: Problem, token: int, weights: Weights, widen: float = CLAIM, ties: Ties = "above"
) -> bool:
    """Decide whether weights prove that one of their rivals is above the token at every point."""
    finding = Finding(weights=weights)
    if ties == "above":
        return judge(problem, token, finding, widen).name == "unspeakable"
    return margin_bounds(problem, token, finding, widen)[1] < 0.0


def joined_weights(parts: Sequence[Weights]) -> Weights:
    """Store the weights of several proofs, which share no rival, as the weights of one.

    Parameters
    ----------
    parts : sequence of Weights
        The weights, at least one, and at most 1,000 of them.

    Returns
    -------
    Weights
        One after another, each sorted by falling weight, without zeros, and scaled by a power of
        two so that a rise marks the next.
    """
    indices, values = [], []
    for place, part in enumerate(parts):
        kept = part.values > 0.0
        order = np.argsort(-part.values[kept], kind="stable")
        sorted_values = part.values[kept][order]
        exponent = place - int(np.frexp(sorted_values[0])[1])  # the largest is in [1/2, 1) 2^place
        scaled = np.ldexp(sorted_values, exponent)
        positive = scaled > 0.0
        indices.append(part.indices[kept][order][positive])
        values.append(scaled[positive])
    return Weights(np.concatenate(indices), np.concatenate(values))


def separate_weights(weights: Weights) -> list[Weights]:
    """Return the weights of the several proofs that `joined_weights` stored; a rise starts one.

    Parameters
    ----------
    weights : Weights
        Any weights, at least one.

    Returns
    -------
    list of Weights
        The weights of each.
    """
    starts = np.flatnonzero(np.diff(weights.values) > 0.0) + 1
    return [
        Weights(indices, values)
        for indices, values in zip(
            np.split(weights.indices, starts), np.split(weights.values, starts), strict=True
        )
    ]


def rivals_above(problem: Problem, token: int, x: Floats, ties: Ties = "above") -> Flags:
    """Return which tokens (V,) are above the token at ``x`` (k,), decided exactly.

    If more than `MOST` of them come too near for float64 to tell, those all count as above.
    """
    readout = problem.readout
    above = np.zeros(readout.V, dtype=np.bool_)
    ids = np.delete(np.arange(readout.V), token)
    if not x.any() and readout.shift is None and problem.domain.frame is None:  # only biases
        b = readout.b
        above[ids] = b[ids] >= b[token] if ties == "above" else b[ids] > b[token]
        return above
    low, high = margin_ends(problem, token, x, None)
    behind = low > 0.0 if ties == "above" else low >= 0.0
    ahead = high <= 0.0 if ties == "above" else high < 0.0
    above[ids] = ~behind
    unsure = ids[~behind & ~ahead]
    if unsure.size > MOST:
        return above
    for start in range(0, unsure.size, _AT_ONCE):
        part = unsure[start : start + _AT_ONCE]
        margins = exact_margins(problem, token, part, problem.domain.exact_vector(x))
        above[part] = [margin < 0 or (margin == 0 and ties == "above") for margin in margins]
    return above
