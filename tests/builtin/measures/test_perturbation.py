"""``perturbation`` against closed forms, Clarabel, Qhull, and the verdict that it changes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.spatial import ConvexHull

from geom import Finding, Measurement, Problem, Weights, judge
from geom.proofs import freeing_bounds, silencing_bounds
from geom_plugins.measures.perturbation import PerturbationOptions, perturbation
from geom_plugins.solvers.maximum_entropy import Effort, search
from support import conic
from support.problems import cloud, ends, problem, rivals
from support.truth import hull_tokens

Floats = NDArray[np.float64]

SHAPES = ["rmsnorm", "layernorm", "box", "unbounded"]


def measured(asked: Problem, token: int = 0, **options: int) -> Measurement:
    return perturbation(asked, token, Finding(), PerturbationOptions(**options))


def verdict(asked: Problem, token: int) -> str:
    found = search(asked, token, Finding(), Effort())
    return judge(asked, token, found).name


# Silencing a speakable token


@pytest.mark.parametrize("domain", SHAPES)
@pytest.mark.parametrize("biased", [False, True])
def test_silencing_takes_what_clarabel_finds(domain: str, biased: bool) -> None:
    W, b = cloud(30, 4, 1), cloud(30, 1, 2)[:, 0] if biased else None
    asked = problem(W, b, domain)
    shape = asked.domain.shape if biased and asked.domain.bounded else "all"
    seen = 0
    for token in range(30):
        if verdict(asked, token) != "speakable":
            continue
        low, high = ends(measured(asked, token))
        a, c = rivals(asked, token)
        if (c < 0.0).all():
            assert (low, high) == (math.inf, math.inf)
            continue
        truth = conic.least_change(a, c, shape, asked.domain.radius if shape != "all" else 0.0)
        assert low - 1e-7 <= truth <= high + 1e-7
        if domain != "box" or not biased:
            assert high - low <= 1e-4 * high
        seen += 1
    assert seen > 4


@pytest.mark.parametrize("n", [3, 5, 12])
def test_the_vertex_of_a_polygon_is_silenced_by_its_height_over_its_neighbours(n: int) -> None:
    turns = 2.0 * math.pi * np.arange(n) / n
    asked = problem(np.column_stack([np.cos(turns), np.sin(turns)]), None, "unbounded")
    low, high = ends(measured(asked))
    assert low - 1e-12 <= 1.0 - math.cos(2.0 * math.pi / n) <= high + 1e-12
    assert high - low <= 1e-5


@pytest.mark.parametrize("domain", ["rmsnorm", "layernorm", "box"])
def test_less_leaves_it_speakable_whatever_the_direction(domain: str) -> None:
    W, b = cloud(25, 3, 3), 0.5 * cloud(25, 1, 4)[:, 0]
    asked = problem(W, b, domain)
    rng = np.random.default_rng(0)
    tried = 0
    for token in range(25):
        if verdict(asked, token) != "speakable":
            continue
        low, _ = ends(measured(asked, token))
        if math.isinf(low):
            continue
        for _ in range(8):
            change = rng.standard_normal(3)
            if asked.domain.zero_sum:
                change -= change.mean()
            moved = W.copy()
            moved[token] += 0.999 * low * change / np.linalg.norm(change)
            assert verdict(problem(moved, b, domain), token) == "speakable"
            tried += 1
    assert tried > 20


@pytest.mark.parametrize("domain", SHAPES)
def test_a_little_more_than_the_upper_end_silences(domain: str) -> None:
    """The row is changed against the best direction, which without biases is the shortest way."""
    W = cloud(25, 3, 5)
    asked = problem(W, None, domain)
    tried = 0
    for token in range(25):
        if verdict(asked, token) != "speakable":
            continue
        found = measured(asked, token)
        assert found.x is not None
        x = found.x - found.x.mean() if domain == "layernorm" else found.x
        moved = W.copy()
        moved[token] -= (1.0 + 1e-4) * ends(found)[1] * x / np.linalg.norm(x)
        assert verdict(problem(moved, None, domain), token) == "unspeakable"
        tried += 1
    assert tried > 5


def test_the_largest_bias_wins_at_zero_whatever_its_row() -> None:
    for domain in SHAPES:
        found = measured(problem(np.eye(3), [1.0, 0.0, 0.0], domain))
        assert (found.value, found.error) == (math.inf, 0.0)
        assert found.note is not None
        assert "x = 0" in found.note


def test_alone_in_its_vocabulary_nothing_silences_it() -> None:
    found = measured(problem([[1.0, 2.0]], None, "rmsnorm"))
    assert (found.value, found.note) == (math.inf, "it has no rival")


# Freeing an unspeakable token


def depth(points: Floats, inner: Floats) -> float:
    """Return the distance from a point inside the hull to its nearest facet."""
    equations = ConvexHull(points).equations
    return float(-(equations[:, :-1] @ inner + equations[:, -1]).max())


@pytest.mark.parametrize("domain", SHAPES)
@pytest.mark.parametrize("seed", range(2))
def test_freeing_without_biases_takes_the_way_to_the_nearest_facet(seed: int, domain: str) -> None:
    d = 4 if domain == "layernorm" else 3
    W = cloud(40, d, seed)
    asked = problem(W, None, domain)
    basis = np.eye(d)
    if domain == "layernorm":
        basis = np.linalg.qr(np.column_stack([np.ones(d), np.eye(d)[:, : d - 1]]))[0][:, 1:]
    flat, near, seen = W @ basis, 0, 0
    for token in sorted(set(range(40)) - hull_tokens(flat)):
        low, high = ends(measured(asked, token, starts=8))
        truth = depth(np.delete(flat, token, axis=0), flat[token])
        assert 0.0 < low <= truth * (1.0 + 1e-9)
        assert truth <= high * (1.0 + 1e-9)
        near += high <= truth * (1.0 + 1e-6)
        seen += 1
    assert seen > 5
    assert near >= 0.8 * seen


@pytest.mark.parametrize("domain", ["rmsnorm", "box", "unbounded"])
def test_freeing_with_biases_takes_the_least_of_a_fine_grid(domain: str) -> None:
    W, b = cloud(25, 2, 7), 0.5 * cloud(25, 1, 8)[:, 0]
    asked = problem(W, b, domain)
    turns = np.linspace(0.0, 2.0 * math.pi, 720, endpoint=False)
    u = np.column_stack([np.cos(turns), np.sin(turns)])
    longest = {"box": 1.0 / np.abs(u).max(axis=1), "rmsnorm": math.sqrt(2.0), "unbounded": 1e6}
    lengths = np.geomspace(1e-2, 1.0 if domain != "unbounded" else 1e6, 300)[:, None, None]
    grid = (u * np.reshape(longest[domain], (-1, 1)) * lengths).reshape(-1, 2)
    near, seen = 0, 0
    for token in range(25):
        if verdict(asked, token) != "unspeakable":
            continue
        a, c = rivals(asked, token)

        def lacks(x: Floats, a: Floats = a, c: Floats = c) -> Floats:
            size = np.linalg.norm(x, axis=-1)
            inside = size <= math.sqrt(2.0) if domain == "rmsnorm" else np.abs(x).max(axis=-1) <= 1
            value = (x @ a.T + c).max(axis=-1) / np.maximum(size, 1e-9)
            return np.where(inside | (domain == "unbounded"), value, np.inf)

        best = grid[np.argsort(lacks(grid))[:3]]
        truth = min(minimize(lacks, x, method="Nelder-Mead", tol=1e-9).fun for x in best)
        low, high = ends(measured(asked, token, starts=8))
        assert low <= truth * (1.0 + 1e-6)
        assert high >= truth * (1.0 - 1e-2)
        near += high <= truth * (1.0 + 1e-2)
        seen += 1
    assert seen > 5
    assert near >= 0.8 * seen


@pytest.mark.parametrize("domain", SHAPES)
@pytest.mark.parametrize("biased", [False, True])
def test_a_little_more_than_the_upper_end_frees_and_less_than_the_lower_does_not(
    domain: str, biased: bool
) -> None:
    W, b = cloud(20, 3, 9), 0.3 * cloud(20, 1, 10)[:, 0] if biased else None
    asked = problem(W, b, domain)
    rng = np.random.default_rng(1)
    tried = 0
    for token in range(20):
        if verdict(asked, token) != "unspeakable":
            continue
        found = measured(asked, token)
        low, high = ends(found)
        assert found.x is not None
        moved = W.copy()
        moved[token] += (1.0 + 1e-4) * high * found.x / np.linalg.norm(found.x)
        assert judge(problem(moved, b, domain), token, Finding(found.x)).name == "speakable"
        for _ in range(4):
            change = rng.standard_normal(3)
            moved = W.copy()
            moved[token] += 0.999 * low * change / np.linalg.norm(change)
            assert verdict(problem(moved, b, domain), token) != "speakable"
        tried += 1
    assert tried > 3


@pytest.mark.parametrize("domain", SHAPES)
def test_a_twin_and_a_token_on_a_face_are_freed_by_next_to_nothing(domain: str) -> None:
    W = np.vstack([np.eye(4), -np.eye(4), np.eye(4)[:1], [[0.5, 0.5, 0.0, 0.0]]])
    for token in (0, 8, 9):
        low, high = ends(measured(problem(W, None, domain), token))
        assert low == 0.0
        assert high <= 1e-7


def test_more_starts_do_not_make_the_upper_end_worse() -> None:
    asked = problem(cloud(60, 5, 11), None, "rmsnorm")
    W = asked.readout.W
    for token in sorted(set(range(60)) - hull_tokens(W))[:4]:
        _, few = ends(measured(asked, token, starts=1))
        _, many = ends(measured(asked, token, starts=12))
        assert depth(np.delete(W, token, axis=0), W[token]) <= many * (1.0 + 1e-9)
        assert many <= few * (1.0 + 1e-9)


# The bounds, for any evidence


def integers(seed: int) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    d, V = int(rng.integers(1, 4)), int(rng.integers(2, 10))
    return rng.integers(-3, 4, (V, d)).astype(float), rng.integers(-3, 4, V).astype(float)


@given(st.integers(0, 2**32 - 1), st.sampled_from(SHAPES), st.booleans())
def test_whatever_point_and_weights_are_given_the_bounds_hold(
    seed: int, domain: str, biased: bool
) -> None:
    """Two proofs of one number cannot cross, whoever chose the point and the weights."""
    W, b = integers(seed)
    asked = problem(W, b if biased else None, domain)
    rng = np.random.default_rng(seed)
    name = verdict(asked, 0)
    bounds = {"speakable": silencing_bounds, "unspeakable": freeing_bounds}.get(name)
    if bounds is None:
        return
    lows, highs = [], []
    for _ in range(6):
        x = asked.domain.fit(rng.standard_normal(asked.readout.d))
        ids = np.arange(1, len(W))
        low, high = bounds(asked, 0, Finding(x, Weights(ids, rng.exponential(size=ids.size))))
        assert 0.0 <= low <= high
        lows.append(low)
        highs.append(high)
    assert max(lows) <= min(highs)
    own = measured(asked)
    if own.proven and own.error is not None and math.isfinite(own.error):
        assert own.value - own.error <= min(highs)
        assert own.value + own.error >= max(lows)


@pytest.mark.parametrize("bounds", [silencing_bounds, freeing_bounds])
def test_what_is_no_point_and_what_are_no_weights_prove_nothing(bounds: object) -> None:
    asked = problem(cloud(9, 2, 0), cloud(9, 1, 1)[:, 0], "rmsnorm")
    bad = Weights(np.array([0, 1]), np.array([0.5, 0.5]))
    for x in (np.array([9.0, 9.0]), np.array([np.nan, 0.0]), np.ones(3), np.zeros(2)):
        assert bounds(asked, 0, Finding(x, bad)) == (0.0, math.inf)  # type: ignore[operator]


def test_in_a_box_weights_that_leave_no_room_silence_without_any_change() -> None:
    asked = problem([[0.0, 0.0], [0.1, 0.2]], [0.0, 5.0], "box")
    weights = Weights(np.array([1]), np.ones(1))
    assert silencing_bounds(asked, 0, Finding(weights=weights)) == (0.0, 0.0)
    less = problem([[0.0, 0.0], [4.0, 3.0]], [0.0, 5.0], "box")
    low, high = silencing_bounds(less, 0, Finding(weights=weights))
    assert low == 0.0
    assert math.sqrt(2.0) <= high <= math.sqrt(2.0) + 1e-10  # (4 - 1) + (3 - 1) = 5
