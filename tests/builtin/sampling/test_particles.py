"""Lengths of normal vectors in a direction, against quadrature."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import kstest

from geom_plugins.sampling.particles import drawn_radii, log_mass

CASES = [(D, a) for D in (1, 2, 3, 50, 768) for a in (-2.0, 0.0, 0.3, 4.0, 400.0)]


def integral(dimension: int, a: float, up_to: float = math.inf) -> tuple[float, float]:
    """Return the integral of the density over its largest value, and that value's logarithm."""
    mode = max((a + math.sqrt(a * a + 4.0 * (dimension - 1))) / 2.0, 1e-9)

    def log(r: float) -> float:
        return (dimension - 1) * math.log(r) - r * r / 2.0 + a * r

    low, high = max(1e-12, mode - 15.0), min(up_to, mode + 15.0)
    value, _ = quad(lambda r: math.exp(log(r) - log(mode)), low, high, epsabs=0, limit=400)
    return value, log(mode)


@pytest.mark.parametrize(("dimension", "a"), CASES)
def test_the_mass_of_a_direction_is_an_integral(dimension: int, a: float) -> None:
    value, top = integral(dimension, a)
    (found,) = log_mass(np.array([a]), dimension)
    assert found == pytest.approx(math.log(value) + top, rel=1e-13, abs=1e-6)


@pytest.mark.parametrize(("dimension", "a"), CASES)
def test_lengths_are_distributed_as_the_density_says(dimension: int, a: float) -> None:
    lengths = drawn_radii(np.full(500, a), dimension, np.random.default_rng(dimension))
    whole, _ = integral(dimension, a)
    below = [integral(dimension, a, r)[0] / whole for r in np.sort(lengths).tolist()]
    assert kstest(below, "uniform").pvalue > 1e-3
