"""``surprise`` on the hull of points and on an ellipsoid: Clarabel, and closed forms."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest

import geom
from geom import Domain, Finding, Measurement, Problem
from geom.proofs import Scatter, surprise_bounds
from geom_plugins.measures.surprise import SurpriseOptions, surprise
from support import conic
from support.problems import Floats, cloud, ends, problem, rivals

V, D = 20, 4


def sample(seed: int = 3, n: int = 40, scale: float = 1.0) -> Floats:
    points = 0.4 * cloud(n, D, seed) * 0.6 ** np.arange(D) + 0.1
    return np.asarray(points * scale)


def measured(asked: Problem, token: int, points: Floats, folder: Path) -> Measurement:
    path = folder / f"{hashlib.sha256(points.tobytes()).hexdigest()[:16]}.npy"
    if not path.exists():
        np.save(path, points)
    return surprise(asked, token, Finding(), SurpriseOptions(str(path)))


def ellipsoid(seed: int, k: int, radius: float, scale: float = 1.0) -> Domain:
    mean = 0.5 * cloud(1, D, seed)[0]
    return geom.ellipsoid(mean * scale, cloud(k, D, seed + 1) * scale, radius)


def hull(seed: int, n: int, away: float = 0.0, scale: float = 1.0) -> Domain:
    return geom.hull((cloud(n, D, seed) + away) * scale)


def least(asked: Problem, token: int, known: Scatter) -> float:
    """Return Clarabel's length."""
    domain = asked.domain
    assert domain.frame is not None
    shape = domain.shape, domain.radius, domain.frame
    return conic.least_mahalanobis_of_image(
        *rivals(asked, token), known.mean, known.covariance, *shape
    )


DOMAINS = {
    "a flat ellipsoid": lambda seed, scale: ellipsoid(seed, 2, 1.25, scale),
    "an ellipsoid": lambda seed, scale: ellipsoid(seed, 4, 1.25, scale),
    "an ellipsoid of more axes than dimensions": lambda seed, scale: ellipsoid(seed, 7, 0.7, scale),
    "a triangle": lambda seed, scale: hull(seed, 3, 0.5, scale),
    "a hull around the mean": lambda seed, scale: hull(seed, 40, 0.0, scale),
    "a hull away from the mean": lambda seed, scale: hull(seed, 9, 1.5, scale),
}


@pytest.mark.parametrize("name", DOMAINS)
def test_it_is_the_length_that_clarabel_finds_at_any_scale(name: str, tmp_path: Path) -> None:
    """Lengths are in standard deviations: where points, sample and biases grow alike, they stay."""
    seen = 0
    for seed in range(2):
        domain = DOMAINS[name](seed, 1.0)
        W, b = cloud(V, D, seed + 7), 0.3 * cloud(V, 1, seed + 2)[:, 0]
        asked, known = problem(W, b, domain), Scatter.of(sample(), domain)
        assert domain.frame is not None
        for token in range(V):
            lengths = []
            for scale in (1.0, 1e-6, 1e6):
                moved = problem(W, b * scale, DOMAINS[name](seed, scale))
                found = measured(moved, token, sample(scale=scale), tmp_path)
                lengths.append(found.value)
                if found.value == math.inf:
                    continue
                low, high = ends(found)
                assert high - low <= 3e-6 * high + 1e-9
                assert found.x is not None
                assert moved.domain.contains(found.x)
                evidence = Finding(found.x, found.weights)
                scatter = Scatter.of(sample(scale=scale), moved.domain)
                again = surprise_bounds(moved, token, evidence, scatter, 1.0)
                assert low <= again[0] <= again[1] <= high
            if lengths[0] == math.inf:
                assert lengths == [math.inf] * 3
                continue
            truth = least(asked, token, known)
            assert lengths == pytest.approx([truth] * 3, rel=3e-6, abs=1e-7)
            seen += 1
    assert seen > 3


def test_of_many_points_only_some_are_needed(tmp_path: Path) -> None:
    domain = hull(0, 3000, 1.0)
    asked = problem(cloud(V, D, 7), cloud(V, 1, 2)[:, 0], domain)
    points = sample()
    known = Scatter.of(points, domain)
    assert domain.frame is not None
    seen = 0
    for token in range(V):
        found = measured(asked, token, points, tmp_path)
        if found.value == math.inf:
            continue
        truth = least(asked, token, known)
        low, high = ends(found)
        assert low <= truth * (1 + 1e-7) + 1e-8
        assert truth <= high * (1 + 1e-7) + 1e-8
        assert high - low <= 3e-6 * high + 1e-9
        seen += 1
    assert seen > 3


def test_at_one_point_it_is_the_length_of_that_point(tmp_path: Path) -> None:
    point = np.array([0.5, -1.0, 2.0, 0.25])
    asked = problem(cloud(V, D, 7), None, geom.hull(point[None]))
    known = Scatter.of(sample(), asked.domain)
    off = point - known.mean
    truth = math.sqrt(off @ np.linalg.inv(known.covariance) @ off)
    values = [measured(asked, token, sample(), tmp_path) for token in range(V)]
    winner = int((asked.readout.W @ point).argmax())
    low, high = ends(values[winner])
    assert low <= truth * (1 + 1e-12)
    assert truth * (1 - 1e-12) <= high
    assert high - low <= 1e-6 * truth
    others = values[:winner] + values[winner + 1 :]
    assert {(found.value, found.note) for found in others} == {(math.inf, "unspeakable")}


def test_between_two_points_it_is_where_the_parabola_is_least(tmp_path: Path) -> None:
    """Along the segment p + s (q - p) the square of the length is a parabola in s."""
    p, q = np.array([2.0, 1.0, 0.0, 0.5]), np.array([-1.0, 2.0, 1.0, 0.0])
    W, b = np.zeros((2, D)), np.array([0.0, 0.0])
    W[0, 0] = 1.0  # token 0 wins where x_0 > 0: for s below 2/3, token 1 above
    asked = problem(W, b, geom.hull([p, q]))
    known = Scatter.of(sample(), asked.domain)
    H, along = np.linalg.inv(known.covariance), q - p
    least = along @ H @ (known.mean - p) / (along @ H @ along)
    for token, s in enumerate((np.clip(least, 0.0, 2 / 3), np.clip(least, 2 / 3, 1.0))):
        off = p + s * along - known.mean
        truth = math.sqrt(off @ H @ off)
        low, high = ends(measured(asked, token, sample(), tmp_path))
        assert low <= truth * (1 + 1e-9)
        assert truth * (1 - 1e-9) <= high
        assert high - low <= 2e-6 * high


@pytest.mark.parametrize("kind", ["hull", "ellipsoid"])
def test_in_a_wide_domain_it_is_the_distance_from_the_plane(kind: str, tmp_path: Path) -> None:
    corners = 50.0 * np.vstack([np.eye(D), -np.eye(D)])
    wide = geom.hull(corners) if kind == "hull" else geom.ellipsoid(np.ones(D), np.eye(D), 50.0)
    W, b = cloud(2, D, 1), np.array([0.0, 4.0])
    asked = problem(W, b, wide)
    known = Scatter.of(sample(), wide)
    a = W[1] - W[0]
    truth = (a @ known.mean + 4.0) / math.sqrt(a @ known.covariance @ a)
    low, high = ends(measured(asked, 0, sample(), tmp_path))
    assert low <= truth * (1 + 1e-9)
    assert truth * (1 - 1e-9) <= high
    assert high - low <= 2e-6 * high


@pytest.mark.parametrize("kind", ["hull", "ellipsoid"])
def test_a_token_that_wins_at_a_mean_inside_is_hardly_a_surprise(kind: str, tmp_path: Path) -> None:
    points = sample()
    domain = geom.hull(points)
    if kind == "ellipsoid":
        domain = geom.ellipsoid(points.mean(axis=0), np.eye(D))
    asked = problem(cloud(V, D, 5), None, domain)
    values = [measured(asked, token, points, tmp_path) for token in range(V)]
    winner = int((asked.readout.W @ points.mean(axis=0)).argmax())
    low, high = ends(values[winner])
    assert low <= 0.0 <= high <= 1e-9
    assert values[winner].note == "the domain's point nearest to the mean of the sample says it"
    assert all(v.value > 1e-3 for token, v in enumerate(values) if token != winner)


@pytest.mark.parametrize("kind", ["hull", "ellipsoid"])
def test_of_a_sample_on_a_line_every_bound_holds(kind: str, tmp_path: Path) -> None:
    """Across the line the variance is what the shrinkage leaves."""
    points = np.outer(np.linspace(-1.0, 1.0, 30), np.ones(D)) + 0.25
    domain = hull(1, 9) if kind == "hull" else ellipsoid(1, 3, 1.25)
    asked = problem(cloud(V, D, 7), None, domain)
    known = Scatter.of(points, domain)
    assert domain.frame is not None
    seen = 0
    for token in range(V):
        found = measured(asked, token, points, tmp_path)
        if found.value == math.inf:
            continue
        truth = least(asked, token, known)
        low, high = ends(found)
        assert low <= truth * (1 + 1e-6) + 1e-8
        assert truth <= high * (1 + 1e-6) + 1e-8
        assert high - low <= 1e-4 * high + 1e-9
        seen += 1
    assert seen > 3


@pytest.mark.parametrize("scale", [1e-300, 1e-150, 1e150, 1e300])
@pytest.mark.parametrize("kind", ["hull", "ellipsoid"])
def test_no_scale_makes_a_bound_wrong(kind: str, scale: float, tmp_path: Path) -> None:
    """No sampled state that says a token is nearer than the lower end, and none proves less."""
    domain = hull(0, 9, scale=scale) if kind == "hull" else ellipsoid(0, 4, 1.0, scale)
    asked = problem(cloud(V, D, 7), cloud(V, 1, 3)[:, 0] * scale, domain)
    known = Scatter.of(sample(), domain)
    y = domain.fit_all(domain.sample(np.random.default_rng(0), 300))
    for token in range(V):
        found = measured(asked, token, sample(), tmp_path)
        if math.isnan(found.value):
            continue
        low, _ = ends(found)
        for point in y[[asked.margins(token, one).min() > 0.0 for one in y]]:
            with np.errstate(all="ignore"):
                length = known.length(domain.vector(point))
            assert low <= length * (1 + 1e-9)
