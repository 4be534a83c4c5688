"""The rivals that come near a token at a point, for many tokens at once, and the margins there.

A float32 product finds the few rivals that come near (`geom.exact.products`). Every other rival is
proven to be lower than the token by more than was asked, so the exact margin is that over the few.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from geom.exact.points import bound_below, margin_below, margin_over
from geom.exact.products import CLOSE_POINTS, CloseRivals, products
from geom.exact.single import slices
from geom.model.problem import Problem
from geom.numbers.arrays import Floats, Ids
from geom.numbers.rationals import below
from geom.numbers.rounding import UP, refuse_flushing


def close_rivals(
    problem: Problem, tokens: Ids, points: Floats, gaps: Floats, *, most: int = 128
) -> CloseRivals:
    """List the rivals that a token does not beat by more than a gap, as far as float32 can tell.

    Parameters
    ----------
    problem : Problem
        The readout on a domain.
    tokens : ndarray of shape (n,), int64
        The tokens.
    points : ndarray of shape (n, k), float64
        One point per token.
    gaps : ndarray of shape (n,), float64
        The margins, in logits, that rivals left out of the list exceed.
    most : int, optional
        The most rivals per token, the highest, if more are close.

    Returns
    -------
    CloseRivals
        The pairs, by token. If float32 cannot serve these numbers, none, and nothing is complete.

    Raises
    ------
    ArithmeticModeError
        If the process flushes subnormal numbers to zero.
    """
    refuse_flushing()
    problem = problem.asked
    points, off = problem.domain.vectors(points)
    if problem.domain.frame is not None:  # a margin at the exact vector may be lower by as much
        gaps = (gaps + 2.0 * off * float(problem.readout.row_norms.max())) * UP
    owner, rival, complete = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)], []
    for part in slices(len(tokens), CLOSE_POINTS):
        found = products(problem.readout).close(tokens[part], points[part], gaps[part], most)
        owner.append(found.owner + part.start)
        rival.append(found.rival)
        complete.append(found.complete)
    whole = np.concatenate(complete) if complete else np.zeros(0, dtype=np.bool_)
    return CloseRivals(np.concatenate(owner), np.concatenate(rival), whole)


def margins_below(
    problem: Problem, tokens: Ids, points: Floats, wanted: Floats | None = None
) -> Floats:
    """Bound the largest margins of many tokens from below, each from the exact margin at a point.

    Parameters
    ----------
    problem : Problem
        The readout on a domain.
    tokens : ndarray of shape (n,), int64
        The tokens.
    points : ndarray of shape (n, k), float64
        One point of the domain per token.
    wanted : ndarray of shape (n,), float64, optional
        The margins at the points that are to be confirmed, in logits; bounds need not be higher.
        If None, bounds are as high as the margins.

    Returns
    -------
    ndarray of shape (n,), float64
        Lower bounds in logits, as from `geom.exact.points.margin_below`.

    Raises
    ------
    ArithmeticModeError
        If the process flushes subnormal numbers to zero.
    """
    problem = problem.asked
    if wanted is None:
        wanted = np.maximum(_over_close(problem, tokens, points, np.zeros(len(tokens))), 0.0)
    known = np.isfinite(wanted)
    seen = np.full(len(tokens), np.nan)
    seen[known] = _over_close(problem, tokens[known], points[known], wanted[known])
    out = np.empty(len(tokens))
    for place, (token, x) in enumerate(zip(tokens.tolist(), points, strict=True)):
        margin = np.minimum(seen[place], wanted[place])
        if np.isfinite(margin):
            out[place] = bound_below(problem, Fraction(float(margin)), x)
        else:
            out[place] = margin_below(problem, token, x)
    return out


def _over_close(problem: Problem, tokens: Ids, points: Floats, gaps: Floats) -> Floats:
    """Return margins (n,), rounded down, over the rivals that are not beaten by more than a gap.

    Infinity without such rivals; NaN if there may be more of them than are listed.
    """
    near = close_rivals(problem, tokens, points, gaps)
    out = np.full(len(tokens), np.inf)
    out[~near.complete] = np.nan
    listed = np.flatnonzero(near.complete & (np.bincount(near.owner, minlength=len(tokens)) > 0))
    vectors = problem.domain.exact_vectors(points[listed])
    for place, vector in zip(listed.tolist(), vectors, strict=True):
        token, x, rivals = int(tokens[place]), points[place], near.of(place)
        out[place] = below(margin_over(problem, token, x, rivals, vector))
    return out
