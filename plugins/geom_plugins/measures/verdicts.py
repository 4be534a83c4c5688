"""The verdict a measure starts from: the run's, or one of maximum entropy if it has none."""

from __future__ import annotations

import numpy as np

from geom import Finding, Floats, Problem, Verdict, judge, shared_directions
from geom_plugins.solvers.maximum_entropy import Effort, search


def settled(problem: Problem, token: int, prior: Finding) -> tuple[Finding, Verdict]:
    """Return the token's verdict and the evidence for it: the prior finding, if that is enough."""
    if prior.x is not None or prior.weights is not None:
        verdict = judge(problem, token, prior)
        if verdict.decided:
            return prior, verdict
    found = search(problem, token, prior, Effort())
    return found, judge(problem, token, found)


def without_bias(problem: Problem) -> Problem:
    """Return the problem without biases, in which only directions count."""
    return Problem(problem.readout.without_bias(), problem.domain)


def direction(problem: Problem, token: int, finding: Finding) -> Floats:
    """Return a unit vector (d,) to start from, along the finding's point or a whitened row."""
    if finding.x is not None and finding.x.any():
        x = finding.x / np.abs(finding.x).max()
        return np.asarray(x / np.linalg.norm(x))
    return np.asarray(shared_directions(problem, np.array([token]))[0])


def lengths(problem: Problem, token: int) -> Floats:
    """Return the lengths ``|a_j|`` (V,) as the domain sees them, zero at the token itself."""
    readout, out = problem.readout, np.zeros(problem.readout.V)
    own = readout.rows[token]
    for part, rows in readout.rows.blocks():
        a = rows - own
        if problem.domain.zero_sum:
            a -= a.mean(axis=1, keepdims=True)
        out[part] = np.sqrt(np.einsum("ij,ij->i", a, a))
    return out
