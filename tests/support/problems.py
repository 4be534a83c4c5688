"""Random problems, and the questions that tests of measures ask about the answers."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geom import Domain, Measurement, Problem, Readout
from geom.model.domains import named

Floats = NDArray[np.float64]


def problem(
    W: ArrayLike, b: ArrayLike | None = None, domain: str | Domain = "unbounded"
) -> Problem:
    """Return the problem of these rows and biases, on a domain or on the domain of that name."""
    readout = Readout.fold(W, b)
    found = named(domain, readout.d, None) if isinstance(domain, str) else domain
    return Problem(readout, found)


def cloud(V: int, d: int, seed: int) -> Floats:
    """Draw normal rows (V, d) whose entries float32 holds exactly."""
    return np.random.default_rng(seed).standard_normal((V, d)).astype(np.float32).astype(float)


def rivals(asked: Problem, token: int) -> tuple[Floats, Floats]:
    """Return the other rows and biases minus the token's, as the domain sees them."""
    W, b = asked.readout.W, asked.readout.b
    a = np.delete(W, token, axis=0) - W[token]
    if asked.domain.zero_sum:
        a -= a.mean(axis=1, keepdims=True)
    return a, np.delete(b, token) - b[token]


def ends(found: Measurement) -> tuple[float, float]:
    """Return the bounds of a proven number."""
    assert found.proven
    assert found.error is not None
    return found.value - found.error, found.value + found.error
