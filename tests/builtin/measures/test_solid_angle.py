"""Shares of directions against closed forms, with errors that are as stated."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.special import betainc, ndtr
from scipy.stats import norm

import geom
from geom import Finding, InputError, Problem, Readout
from geom.model.domains import layernorm, rmsnorm, unbounded
from geom_plugins.measures.solid_angle import ShareOptions, share, solid_angle
from geom_plugins.sampling import annealing, ways
from geom_plugins.sampling.annealing import Estimate, annealed, counted
from geom_plugins.sampling.half_spaces import Cone

Floats = NDArray[np.float64]


def silent(error: float, steps: int) -> None:
    """Report nothing."""


def cone(normals: Floats) -> Cone:
    """Return the cone of the x with ``normals @ x < 0``."""
    unit = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    d = normals.shape[1]
    return Cone(unit, d, False, False, np.zeros(d))


def found(normals: Floats, inside: Floats, seed: int = 0, target: float = 0.2) -> Estimate:
    rng = np.random.default_rng(seed)
    return annealed(cone(normals), inside, rng, target, 10**6, silent)


def off(estimate: Estimate, truth: float) -> float:
    """Return how many standard errors the estimate is off."""
    assert estimate.reason is None
    return (estimate.log - truth) / estimate.error


def wedge(d: int, angle: float) -> tuple[Floats, Floats]:
    """Return two half-spaces that leave this angle between them, and a point there."""
    normals, inside = np.zeros((2, d)), np.zeros(d)
    normals[0, 0], normals[1, :2] = -1.0, [math.cos(angle), -math.sin(angle)]
    inside[:2] = math.sin(angle / 2.0), math.cos(angle / 2.0)
    return normals, inside


def token_in(normals: Floats, bias: Sequence[float] | None = None) -> Readout:
    """Return a readout whose token 0 wins where ``normals @ x < 0`` (with ``+ bias``)."""
    W = np.vstack([np.zeros(normals.shape[1]), normals])
    return Readout.fold(W, None if bias is None else np.array([0.0, *bias]))


def measured(readout: Readout, token: int = 0, **options: float) -> float:
    problem = Problem(readout, unbounded(readout.d))
    return solid_angle(problem, token, Finding(), ShareOptions(**options)).value  # type: ignore[arg-type]


# Cones by particles


@pytest.mark.parametrize("d", [2, 3, 10, 40])
def test_an_orthant_is_a_power_of_two(d: int) -> None:
    estimate = found(-np.eye(d), np.ones(d))
    assert abs(off(estimate, -d * math.log(2.0))) < 3.5
    assert estimate.error <= 0.2


def test_an_orthant_of_two_hundred_dimensions_is_ten_to_the_minus_sixty() -> None:
    estimate = found(-np.eye(200), np.ones(200), target=0.7)
    assert abs(off(estimate, -200 * math.log(2.0))) < 3.5


@pytest.mark.parametrize("seed", range(3))
def test_a_cone_of_three_half_spaces_is_a_spherical_triangle(seed: int) -> None:
    edges = np.abs(np.random.default_rng(seed).normal(size=(3, 3))) + 0.3 * np.eye(3)
    edges /= np.linalg.norm(edges, axis=1, keepdims=True)
    a, b, c = edges
    # A. van Oosterom and J. Strackee, IEEE Transactions on Biomedical Engineering 30 (1983)
    above = abs(np.linalg.det(edges))
    below = 1.0 + a @ b + b @ c + c @ a
    truth = 2.0 * math.atan2(above, below) / (4.0 * math.pi)
    faces = np.array([np.cross(b, c), np.cross(c, a), np.cross(a, b)])
    faces *= -np.sign((faces * edges).sum(axis=1, keepdims=True))
    assert abs(off(found(faces, edges.sum(axis=0), seed), math.log(truth))) < 3.5


@pytest.mark.parametrize(("d", "rho"), [(5, 0.5), (12, 0.3), (12, 0.9), (30, 0.5)])
def test_a_cone_of_equal_angles_is_an_integral_over_one_number(d: int, rho: float) -> None:
    # all x_i > 0, every two with correlation rho: x_i = sqrt(rho) z + sqrt(1 - rho) e_i
    spread = math.sqrt(rho / (1.0 - rho))
    truth, _ = quad(lambda z: norm.pdf(z) * ndtr(spread * z) ** d, -12, 12, epsabs=0, limit=200)
    covariance = np.full((d, d), rho) + (1.0 - rho) * np.eye(d)
    normals = -np.linalg.cholesky(covariance)
    inside = np.linalg.solve(-normals, np.ones(d))
    assert abs(off(found(normals, inside), math.log(truth))) < 3.5


@pytest.mark.parametrize(
    ("d", "angle"), [(2, 1e-4), (2, 1e-2), (2, 0.3), (7, 0.05), (7, 2.0), (60, 0.3), (60, 2.0)]
)
def test_two_half_spaces_are_the_angle_between_them(d: int, angle: float) -> None:
    normals, inside = wedge(d, angle)
    assert (normals @ inside).max() < 0.0
    assert abs(off(found(normals, inside), math.log(angle / (2.0 * math.pi)))) < 3.5


def test_errors_are_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "STEPS", 25)  # too few, so that the ways must be made longer
    scores = []
    for seed in range(200):
        d = 3 + seed % 10
        if seed % 2:
            estimate, truth = found(-np.eye(d), np.ones(d), seed, 1.0), -d * math.log(2.0)
        else:
            normals, inside = wedge(d, 0.05)
            estimate, truth = found(normals, inside, seed, 1.0), math.log(0.05 / (2.0 * math.pi))
        scores.append(off(estimate, truth))
    assert np.mean(np.abs(scores) < 2.0) >= 0.91
    assert 0.7 < math.sqrt(np.mean(np.square(scores))) < 1.3


def test_the_error_shrinks_to_what_is_asked() -> None:
    wide, narrow = (found(-np.eye(40), np.ones(40), target=target) for target in (0.3, 0.05))
    assert narrow.error <= 0.05 < wide.error <= 0.3
    assert abs(off(narrow, -40 * math.log(2.0))) < 3.5


def test_without_enough_steps_there_is_no_number() -> None:
    rng = np.random.default_rng(0)
    estimate = annealed(cone(-np.eye(200)), np.ones(200), rng, 0.7, 4000, silent)
    assert math.isnan(estimate.log)
    assert estimate.reason is not None
    assert "4000 steps" in estimate.reason


def test_half_spaces_that_hardly_matter_may_be_left_out_without_harm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(annealing, "FEW", 40)
    rng = np.random.default_rng(5)
    normals = np.vstack([-np.eye(12), -np.abs(rng.normal(size=(300, 12)))])  # all implied
    assert abs(off(found(normals, np.ones(12)), -12 * math.log(2.0))) < 3.5


def test_progress_tells_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[float, int]] = []
    monkeypatch.setattr(annealing, "GROUPS", 4)
    rng = np.random.default_rng(0)
    annealed(cone(-np.eye(8)), np.ones(8), rng, 0.1, 10**6, lambda *now: told.append(now))
    errors = [error for error, _ in told if math.isfinite(error)]
    assert errors[-1] <= 0.1 < errors[0]
    assert [steps for _, steps in told] == sorted(steps for _, steps in told)


# Directions of a token


def test_a_large_share_is_counted() -> None:
    readout = token_in(np.array([[-1.0, 0.0], [0.0, -1.0]]))
    problem = Problem(readout, unbounded(2))
    found = solid_angle(problem, 0, Finding(), ShareOptions())
    assert found.error is not None
    assert found.error < 0.02
    assert abs(found.value - math.log10(0.25)) < 3.0 * found.error


def test_shares_of_a_vocabulary_sum_to_one() -> None:
    rng = np.random.default_rng(3)
    for readout in (
        Readout.fold(rng.normal(size=(6, 3))),
        Readout.fold(rng.normal(size=(6, 4)), norm="layernorm"),
        Readout.fold(rng.normal(size=(6, 4)), 0.5 * rng.normal(size=6), norm="rmsnorm"),
    ):
        problem = Problem(readout, readout.domain)
        total, variance = 0.0, 0.0
        for token in range(6):
            one = share(problem, token, Finding(), ShareOptions(error=0.05))
            total += math.exp(one.log)
            variance += (math.exp(one.log) * one.error) ** 2
        assert abs(total - 1.0) < 3.0 * math.sqrt(variance)


@pytest.mark.parametrize(("d", "height"), [(3, 0.99), (10, 0.8), (40, 0.7), (200, 0.5)])
def test_a_cap_of_the_sphere_is_an_incomplete_beta_function(d: int, height: float) -> None:
    # token 0 wins where x_0 / R > height
    normal = np.zeros((1, d))
    normal[0, 0] = -1.0
    readout = token_in(normal, [height * math.sqrt(d)])
    truth = 0.5 * betainc((d - 1) / 2.0, 0.5, 1.0 - height**2)
    estimate = share(Problem(readout, rmsnorm(d)), 0, Finding(), ShareOptions(error=0.05))
    assert abs(off(estimate, math.log(truth))) < 3.5


def test_after_layernorm_vectors_sum_to_zero() -> None:
    d, height = 30, 0.8
    normal = np.zeros((1, d))
    normal[0, :2] = -1.0, 1.0
    readout = token_in(normal, [height * math.sqrt(2.0 * d)])
    truth = 0.5 * betainc((d - 2) / 2.0, 0.5, 1.0 - height**2)
    estimate = share(Problem(readout, layernorm(d)), 0, Finding(), ShareOptions(error=0.05))
    assert abs(off(estimate, math.log(truth))) < 3.5


@pytest.mark.parametrize("seed", range(3))
def test_particles_agree_with_counting_where_both_can(seed: int) -> None:
    rng = np.random.default_rng(seed)
    readout = Readout.fold(rng.normal(size=(60, 5)), rng.normal(size=60), norm="rmsnorm")
    problem = Problem(readout, readout.domain)
    x = problem.domain.sample(rng, 400_000)
    x *= math.sqrt(5) / np.linalg.norm(x, axis=1, keepdims=True)
    wins = np.bincount(readout.logits(x).argmax(axis=1), minlength=60)
    tokens = np.flatnonzero((wins > 400) & (wins < 5000))
    assert tokens.size >= 3
    for token in tokens[:4].tolist():
        truth = math.log(wins[token] / len(x))
        estimate = share(problem, token, Finding(), ShareOptions(error=0.05))
        total = math.hypot(estimate.error, 1.0 / math.sqrt(wins[token]))
        assert abs(estimate.log - truth) < 3.5 * total


def test_it_is_the_logarithm_of_the_share_to_base_ten() -> None:
    (row,) = geom.measure(token_in(-np.eye(9)), "solid-angle", [0])
    assert row.unit == "log10 fraction"
    assert row.value is not None
    assert row.error is not None
    assert abs(row.value + 9.0 * math.log10(2.0)) < 3.5 * row.error


def test_a_seed_gives_the_same_number_and_another_gives_another() -> None:
    values = [measured(token_in(-np.eye(14)), seed=seed) for seed in (1, 1, 2)]
    assert values[0] == values[1] != values[2]


def test_a_token_that_wins_nowhere_has_no_share() -> None:
    readout = Readout.fold([[0.0, 0.0], [1.0, 0.0], [-1.0, 1.0], [-1.0, -1.0]])
    found = solid_angle(Problem(readout, unbounded(2)), 0, Finding(), ShareOptions())
    assert (found.value, found.error, found.proven) == (-math.inf, 0.0, True)


def test_a_token_without_rivals_has_all() -> None:
    readout = Readout.fold([[1.0, 2.0]])
    found = solid_angle(Problem(readout, unbounded(2)), 0, Finding(), ShareOptions())
    assert (found.value, found.error) == (0.0, 0.0)


def test_a_token_that_wins_inside_the_ball_alone_has_no_number() -> None:
    # its bias makes it win at the centre; on the surface another is always larger
    W = np.vstack([np.zeros(3), 5.0 * np.eye(3), -5.0 * np.eye(3)])
    readout = Readout.fold(W, [1.0, 0, 0, 0, 0, 0, 0], norm="rmsnorm")
    options = ShareOptions(steps=20_000)
    found = solid_angle(Problem(readout, readout.domain), 0, Finding(), options)
    assert math.isnan(found.value)
    assert found.note is not None
    assert "surface" in found.note


@pytest.mark.parametrize("domain", ["box", "unbounded"])
def test_where_there_is_no_sphere_it_says_so(domain: str) -> None:
    readout = Readout.fold(np.eye(3), [1.0, 0.0, 0.0])
    (row,) = geom.measure(readout, "solid-angle", [0], domain=domain)
    assert row.value is None
    assert row.note is not None
    assert row.note.startswith(f"domain {domain} has no sphere of directions")
    problem = Problem(readout, unbounded(3))
    with pytest.raises(InputError):
        share(problem, 0, Finding(), ShareOptions())


def test_counting_leaves_rare_cones_to_the_particles() -> None:
    assert counted(cone(-np.eye(2)), np.random.default_rng(0)).reason is None
    assert counted(cone(-np.eye(12)), np.random.default_rng(0)).reason is not None


def test_a_command_away_with_its_error_shrinking() -> None:
    told: list[str] = []
    rows = geom.measure(
        "demo",
        "solid-angle",
        [100],
        {"measure.solid-angle.error": 0.1},
        progress=lambda stage, done, total, unit: told.append(f"{stage} {unit}"),
    ).rows
    (share,) = rows
    assert share.value is not None
    assert share.value < -3.0
    assert share.error is not None
    assert share.error <= 0.1
    errors = [line for line in told if line.startswith("solid-angle 100 steps, error 0")]
    assert errors
