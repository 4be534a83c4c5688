"""One Newton step from the origin for every token at once: the direction of a whitened row.

At ``x = 0`` all rivals weigh the same, and the log-sum-exp of a token's cone has the gradient
``mean_j a_j = mu - w_t`` and the Hessian ``Cov(W)``, which is the same for every token. One matrix
serves them all, and the step ``Cov(W)^-1 (w_t - mu)`` wins for nearly every token that can win.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np

from geom.exact.single import slices
from geom.model.problem import Problem
from geom.model.readout import Readout
from geom.numbers.arrays import Floats, Ids

_ROWS = 16
"""The number of rows that the covariance is sampled from, times the width d."""


def memory(readout: Readout) -> int:
    """Return the bytes that `whitening` takes: a block of rows, their products, the inverse."""
    d = readout.d
    return int(8 * 8 * d * d + 8 * readout.V)


def shared_directions(problem: Problem, tokens: Ids) -> Floats:
    """Compute ``Cov(W)^-1 (w_t - mean)`` for many tokens.

    This is one Newton step from the origin for the log-sum-exp of a token's rivals, and nearly
    every token that can win wins along it.

    Parameters
    ----------
    problem : Problem
        The readout on a domain; only ``sum(x) = 0`` of the domain counts.
    tokens : ndarray of shape (n,), int64
        The tokens.

    Returns
    -------
    ndarray of shape (n, d), float64
        One direction of length 1 per token; zero for a row equal to the mean, or if numbers
        overflow.
    """
    readout, zero_sum = problem.readout, problem.domain.zero_sum
    with np.errstate(all="ignore"):
        rows = readout.rows[tokens] - readout.rows.mean
        if zero_sum:
            rows -= rows.mean(axis=1, keepdims=True)
        steps = rows @ whitening(problem)
        if zero_sum:
            steps -= steps.mean(axis=1, keepdims=True)
        steps /= np.abs(steps).max(axis=1, keepdims=True)
        steps /= np.linalg.norm(steps, axis=1, keepdims=True)
    steps[~np.isfinite(steps).all(axis=1)] = 0.0
    return np.asarray(steps)


def whitening(problem: Problem) -> Floats:
    """Compute the inverse of the rows' covariance: the metric in which all rows look alike.

    The covariance is that of a sample, and it is kept from being singular. The inverse is computed
    once for a readout.

    Parameters
    ----------
    problem : Problem
        The readout on a domain; only ``sum(x) = 0`` of the domain counts.

    Returns
    -------
    ndarray of shape (d, d), float64
        The inverse, or the identity if numbers overflow. Do not write to it.
    """
    kept = _whitenings.setdefault(problem.readout, {})
    zero_sum = problem.domain.zero_sum
    if zero_sum not in kept:
        kept[zero_sum] = _inverse(_covariance(problem))
    return kept[zero_sum]


def _covariance(problem: Problem) -> Floats:
    """Return the sampled covariance (d, d), summed over blocks of rows no larger than itself."""
    readout, d = problem.readout, problem.readout.d
    picked = np.sort(np.random.default_rng(0).permutation(readout.V)[: _ROWS * d])
    covariance = np.zeros((d, d))
    with np.errstate(over="ignore", invalid="ignore"):
        for part in slices(len(picked), d):
            rows = readout.rows[picked[part]] - readout.rows.mean
            if problem.domain.zero_sum:
                rows -= rows.mean(axis=1, keepdims=True)
            covariance += rows.T @ rows
        covariance /= len(picked)
        least = 1e-9 * float(np.trace(covariance)) / d
        covariance[np.diag_indices(d)] += least if least > 0.0 else 1.0
    return covariance


def _inverse(covariance: Floats) -> Floats:
    """Return the inverse, or the identity if numbers overflow; read-only, as many share it."""
    try:
        inverse: Floats = np.asarray(np.linalg.inv(covariance), dtype=np.float64)
    except np.linalg.LinAlgError:
        inverse = np.full_like(covariance, np.nan)
    if not np.isfinite(inverse).all():
        inverse = np.eye(len(covariance))
    inverse.flags.writeable = False
    return np.asarray(inverse)


_whitenings: WeakKeyDictionary[Readout, dict[bool, Floats]] = WeakKeyDictionary()
