"""Whether tokens that were speakable are so with the new rows.

Each has a point at which it wins over the old rows. There only the rows that changed can beat it,
so its margin over these is all that is looked at, in exact arithmetic if float64 cannot tell; a
point that the search chose for the new rows is proven against all of them. A token that loses at
its point may win at another one: an audit of these tokens looks for it.
"""

from __future__ import annotations

import numpy as np

from geom.exact.points import margin_below, margin_over
from geom.model.problem import Problem
from geom.numbers.arrays import Ids
from geom.numbers.rounding import dot_error, norm_above
from geom.repairing.protected import Protected
from geom.runs.pipeline import run as audited


def lost_tokens(problem: Problem, protected: Protected, changed: Ids) -> tuple[int, ...]:
    """Return the tokens that are not proven to be speakable any more, ascending.

    Parameters
    ----------
    problem : Problem
        The readout with the new rows.
    protected : Protected
        The tokens that were speakable, and their points.
    changed : ndarray of shape (n,), int64
        The tokens whose rows changed.

    Returns
    -------
    tuple of int
        The tokens.
    """
    if not changed.size:
        return ()
    beaten: list[int] = []
    readout = problem.readout
    norms, biases = readout.row_norms, readout.bias_errors
    for part, points in protected.blocks():
        ids = protected.ids[part]
        own = np.einsum("ij,ij->i", readout.rows[ids], points) + readout.b[ids]
        theirs = points @ readout.rows[changed].T + readout.b[changed]
        sizes = norm_above(points, axis=-1)
        height = float(np.abs(readout.b[changed]).max())
        # what products of floats this long may be wrong by, with the longest of each
        longest = np.maximum(norms[ids], norms[changed].max())
        largest = np.maximum(np.abs(readout.b[ids]), height)
        doubt = 2.0 * dot_error(longest, float(sizes.max()), largest, readout.d)
        doubt += biases[ids] + biases[changed].max()
        gaps = own - theirs.max(axis=1)
        for place in np.flatnonzero(~(gaps > 2.0 * doubt)).tolist():
            token, x = int(ids[place]), points[place]
            inside = problem.domain.contains(x)
            if not (inside and margin_over(problem, token, x, changed) > 0):
                beaten.append(token)
        for token in protected.moved.intersection(ids.tolist()):
            x = protected.points[token]
            if not (problem.domain.contains(x) and margin_below(problem, token, x) > 0.0):
                beaten.append(token)
    return _without_a_point(problem, sorted(set(beaten)))


def _without_a_point(problem: Problem, tokens: list[int]) -> tuple[int, ...]:
    """Return the tokens for which an audit with the new rows finds no point at which they win."""
    if not tokens:
        return ()
    with audited(
        problem.readout, domain=problem.domain, tokens=tokens, detectors=[], hardest=0
    ) as run:
        return tuple(row.token_id for row in run.rows() if row.verdict != "speakable")
