"""One Newton step from the origin for every token at once: the direction of a whitened row.

At ``x = 0`` all rivals weigh the same, and the log-sum-exp of a token's cone has the gradient
``mean_j a_j = mu - w_t`` and the Hessian ``Cov(W)``, which no token changes. One matrix
serves them all, and the step ``Cov(W)^-1 (w_t - mu)`` wins for nearly every token that can win.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from geom import Problem

Floats = NDArray[np.float64]

_ROWS = 16
"""Rows of the sample that the covariance is taken from, times the width d."""


def centroid_steps(problem: Problem, tokens: NDArray[np.int64]) -> Floats:
    """Directions (n, d) of length 1 for n tokens; zero for a row that is the mean itself."""
    mean, covariance = _whitening(problem)
    rows = problem.readout.W[tokens] - mean
    if problem.domain.zero_sum:
        rows -= rows.mean(axis=1, keepdims=True)
    steps = np.linalg.solve(covariance, rows.T).T
    if problem.domain.zero_sum:
        steps -= steps.mean(axis=1, keepdims=True)
    steps[~np.isfinite(steps).all(axis=1)] = 0.0
    length = np.linalg.norm(steps, axis=1, keepdims=True)
    out: Floats = np.divide(
        steps, length, out=np.zeros_like(steps), where=(length > 0.0) & (length < np.inf)
    )
    return out


@lru_cache(maxsize=2)
def _whitening(problem: Problem) -> tuple[Floats, Floats]:
    """The mean row, and the covariance of a sample of rows, kept from singular."""
    W = problem.readout.W
    V, d = W.shape
    mean = W.mean(axis=0)
    picked = np.random.default_rng(0).permutation(V)[: _ROWS * d]
    rows = W[np.sort(picked)] - mean
    if problem.domain.zero_sum:
        rows -= rows.mean(axis=1, keepdims=True)
    covariance = rows.T @ rows / len(rows)
    least = 1e-9 * float(np.trace(covariance)) / d
    covariance[np.diag_indices(d)] += least if least > 0.0 else 1.0
    return mean, covariance
