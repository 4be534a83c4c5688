"""The mean and covariance of a sample, against their definitions in exact rationals."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geom import Domain, InputError
from geom.model.domains import named
from geom.proofs import Scatter
from support.truth import fractions

Floats = NDArray[np.float64]
Matrix = list[list[Fraction]]


def sample(n: int, d: int, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    scales = 2.0 ** -np.arange(d)
    return (rng.standard_normal((n, d)) * scales + rng.standard_normal(d)).astype(np.float32)


def rmsnorm(d: int) -> Domain:
    return named("rmsnorm", d, None)


def exact_covariance(found: Scatter, points: Floats) -> Matrix:
    """The S of the definition, in the plane of sum zero if only that counts."""
    n, d = points.shape
    m, rho, mu = fractions(found.mean), Fraction(found.shrinkage), Fraction(found.variance)
    rows = [[x - c for x, c in zip(fractions(row), m, strict=True)] for row in points]
    if found.zero_sum:
        rows = [[y - sum(row) / d for y in row] for row in rows]
    eye = [[Fraction(i == j) - Fraction(found.zero_sum, d) for j in range(d)] for i in range(d)]
    return [
        [
            (1 - rho) * sum(row[i] * row[j] for row in rows) / n + rho * mu * eye[i][j]
            for j in range(d)
        ]
        for i in range(d)
    ]


@pytest.mark.parametrize("domain", ["rmsnorm", "layernorm"])
def test_the_mean_is_the_exact_one_up_to_two_roundings(domain: str) -> None:
    points = sample(50, 4, 0)
    if domain == "layernorm":
        points = points - points.mean(axis=1, keepdims=True)
    found = Scatter.of(points, named(domain, 4, None))
    for i, column in enumerate(points.T):
        exact = sum(fractions(column), Fraction(0)) / 50
        assert abs(Fraction(found.mean[i]) - exact) <= Fraction(2.0**-20) * max(1, abs(exact))
    if domain == "layernorm":
        assert sum(fractions(found.mean)) == 0


@pytest.mark.parametrize("domain", ["rmsnorm", "layernorm"])
def test_the_covariance_is_that_of_the_definition(domain: str) -> None:
    points = sample(9, 3, 1)
    found = Scatter.of(points, named(domain, 3, None))
    exact = np.array(exact_covariance(found, points), dtype=float)
    assert np.allclose(found.covariance, exact, rtol=1e-12, atol=1e-12)


def test_the_mean_variance_is_the_mean_of_the_squares() -> None:
    points = sample(20, 3, 2)
    found = Scatter.of(points, rmsnorm(3))
    assert found.variance == pytest.approx(((points - points.mean(axis=0)) ** 2).mean(), rel=1e-5)


def test_the_shrinkage_is_ledoit_and_wolfs() -> None:
    """Their formula as it stands: the squared distances of matrices, point by point."""
    points = sample(60, 5, 3).astype(np.float64)
    centred = points - points.mean(axis=0)
    C = centred.T @ centred / 60
    away = ((C - np.trace(C) / 5 * np.eye(5)) ** 2).sum()
    noise = sum(((np.outer(y, y) - C) ** 2).sum() for y in centred) / 60**2
    assert Scatter.of(points, rmsnorm(5)).shrinkage == float(f"{noise / away:.4g}")


def test_more_points_are_shrunk_less() -> None:
    shrunk = [Scatter.of(sample(n, 8, 4), rmsnorm(8)).shrinkage for n in (10, 100, 1000)]
    assert shrunk == sorted(shrunk, reverse=True)


@given(st.integers(0, 10**6), st.sampled_from(["rmsnorm", "layernorm"]), st.floats(0.01, 1.0))
def test_both_ends_of_a_length_are_proven(seed: int, domain: str, shrinkage: float) -> None:
    """``|L' v|`` and the Mahalanobis length, by exact solution of the normal equations."""
    rng = np.random.default_rng(seed)
    points = sample(6, 3, seed)
    found = Scatter.of(points, named(domain, 3, None), shrinkage)
    S = exact_covariance(found, points)
    v = rng.standard_normal(3)
    u = fractions(v)
    if domain == "layernorm":
        u = [e - sum(u) / 3 for e in u]
    square = sum(u[i] * S[i][j] * u[j] for i in range(3) for j in range(3))
    above = found.spread_above(v, np.zeros(3), 1.0)
    assert square <= Fraction(above) ** 2 <= square * Fraction(1 + 2.0**-30)
    x = named(domain, 3, None).fit(rng.standard_normal(3))
    off = [a - b for a, b in zip(fractions(x), fractions(found.mean), strict=True)]
    if domain == "layernorm":  # S is singular along ones, where off has no part
        S = [[S[i][j] + Fraction(1, 3) for j in range(3)] for i in range(3)]
    square = sum(a * b for a, b in zip(off, solved(S, off), strict=True))
    above = found.length_above(x, 1.0)
    assert square <= Fraction(above) ** 2 <= square * Fraction(1 + 2.0**-20)


def solved(S: Matrix, right: list[Fraction]) -> list[Fraction]:
    """Solve by Gauss's elimination, in rationals."""
    rows = [[*row, entry] for row, entry in zip(S, right, strict=True)]
    for i in range(len(rows)):
        rows[i] = [entry / rows[i][i] for entry in rows[i]]
        for j in range(len(rows)):
            if j != i:
                rows[j] = [a - rows[j][i] * b for a, b in zip(rows[j], rows[i], strict=True)]
    return [row[-1] for row in rows]


@pytest.mark.parametrize(
    ("points", "shrinkage", "reason"),
    [
        (np.ones((5, 3)), None, "the 5 points are all equal"),
        (np.ones((1, 3)), None, r"shape 1x3, and \(n, 3\) with n > 1"),
        (np.ones((5, 2)), None, "shape 5x2"),
        (np.ones(3), None, "shape 3"),
        (np.full((5, 3), np.nan), None, "NaN or infinity"),
        (np.eye(3) * 1e300, None, "above 2"),
        (np.eye(3, dtype=np.int64), None, "holds int64"),
        (np.eye(3), 0.0, "shrinkage 0.0"),
        (np.eye(3), 1.5, "shrinkage 1.5"),
        (np.eye(3), float("nan"), "shrinkage nan"),
    ],
)
def test_what_is_no_sample_is_refused(points: Floats, shrinkage: float | None, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        Scatter.of(points, rmsnorm(3), shrinkage)
