"""``logit-bias`` against closed forms, exact rationals, Clarabel, and the verdicts it changes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geom import Finding, Measurement, Problem, Readout, Weights, judge
from geom.model.domains import box, layernorm, rmsnorm, unbounded
from geom.proofs import margin_bounds
from geom_plugins.measures.logit_bias import LogitBiasOptions, logit_bias
from geom_plugins.solvers.maximum_entropy import Effort, search
from support import conic
from support.problems import cloud, ends, problem, rivals
from support.truth import margin

Floats = NDArray[np.float64]

SHAPES = ["rmsnorm", "layernorm", "box", "unbounded"]


def measured(asked: Problem, token: int = 0, prior: Finding | None = None) -> Measurement:
    return logit_bias(asked, token, prior or Finding(), LogitBiasOptions())


def clarabel(asked: Problem, token: int) -> float:
    """Return minus the largest margin over the domain."""
    domain = asked.domain
    radius = domain.radius if domain.bounded else 0.0
    return -conic.largest_margin(*rivals(asked, token), domain.shape, radius)


@pytest.mark.parametrize("domain", ["rmsnorm", "layernorm", "box"])
@pytest.mark.parametrize("seed", range(4))
def test_it_is_minus_the_largest_margin_that_clarabel_finds(seed: int, domain: str) -> None:
    asked = problem(cloud(30, 4, seed), 1.5 * cloud(30, 1, seed + 50)[:, 0], domain)
    signs = set()
    for token in range(0, 30, 3):
        low, high = ends(measured(asked, token))
        truth = clarabel(asked, token)
        assert low - 1e-7 <= truth <= high + 1e-7
        assert high - low <= 4e-6 * max(abs(truth), 1e-3)
        signs.add(truth > 0.0)
    assert signs == {True, False}


@pytest.mark.parametrize("seed", range(4))
def test_on_all_of_space_an_unspeakable_token_lacks_its_height_under_the_hull(seed: int) -> None:
    W, b = cloud(40, 2, seed), cloud(40, 1, seed + 50)[:, 0]
    asked = problem(W, b, "unbounded")
    finite = 0
    for token in range(40):
        found = measured(asked, token)
        if found.value == -math.inf:
            assert found.note is not None
            assert "far enough out" in found.note
            continue
        low, high = ends(found)
        truth = clarabel(asked, token)
        assert low - 1e-6 <= truth <= high + 1e-6
        assert high - low <= 1e-5
        finite += 1
    assert finite > 20


@pytest.mark.parametrize("domain", ["rmsnorm", "layernorm", "box"])
def test_that_much_and_a_little_more_lets_it_win_and_a_little_less_does_not(domain: str) -> None:
    W, b = cloud(25, 3, 9), cloud(25, 1, 10)[:, 0]
    asked = problem(W, b, domain)
    for token in range(25):
        low, high = ends(measured(asked, token))
        for bias, name in ((low - 1e-4, "unspeakable"), (high + 1e-4, "speakable")):
            added = b.copy()
            added[token] += bias
            changed = problem(W, added, domain)
            found = search(changed, token, Finding(), Effort())
            assert judge(changed, token, found).name == name


@pytest.mark.parametrize("domain", ["rmsnorm", "box"])
def test_between_two_rivals_on_a_line_it_is_known_by_heart(domain: str) -> None:
    # logits x, -x and b at |x| <= 1: token 2 is b below the lower of the other two
    for b in (-2.0, 0.0, 0.5):
        found = measured(problem([[1.0], [-1.0], [0.0]], [0.0, 0.0, b], domain), 2)
        assert found.value == pytest.approx(-b, abs=1e-12)
    found = measured(problem([[1.0], [-1.0], [0.0]], [0.0, 0.0, 0.0], domain), 0)
    assert found.value == pytest.approx(-1.0, abs=1e-6)


@pytest.mark.parametrize("domain", SHAPES)
def test_a_twin_lacks_what_its_bias_is_lower_by(domain: str) -> None:
    W = np.vstack([np.eye(3), np.eye(3)[:1]])
    found = measured(problem(W, [0.0, 0.0, 0.0, -0.75], domain), 3)
    low, high = ends(found)
    assert low <= 0.75 <= high
    assert high - low <= 1e-5


@pytest.mark.parametrize("domain", SHAPES)
def test_without_biases_an_unspeakable_token_ties_at_zero(domain: str) -> None:
    W = np.vstack([np.eye(3), -np.eye(3), [[0.1, 0.1, 0.0]]])
    found = measured(problem(W, None, domain), 6)
    assert (found.value, found.error, found.proven) == (0.0, 0.0, True)
    assert found.note is not None
    assert "tie at x = 0" in found.note
    assert measured(problem(W, None, domain), 0).value < -0.3


def test_without_biases_it_grows_with_the_radius() -> None:
    W = cloud(30, 4, 2)
    for domain, by in ((box, 3.0), (rmsnorm, None)):
        readout = Readout.fold(W)
        one = measured(Problem(readout, domain(4) if by is None else box(4, 1.0)))
        if by is not None:
            other = measured(Problem(readout, box(4, by)))
            assert other.value == pytest.approx(by * one.value, rel=1e-5)
        assert one.value < 0.0


def test_alone_in_its_vocabulary_it_wins_whatever_is_taken_from_it() -> None:
    found = measured(problem([[1.0, 2.0]], [3.0], "rmsnorm"))
    assert (found.value, found.note) == (-math.inf, "it has no rival")


def test_the_point_is_where_the_margin_is_that_large() -> None:
    W, b = cloud(30, 4, 3), cloud(30, 1, 4)[:, 0]
    for domain in ("rmsnorm", "layernorm", "box"):
        for token in range(10):
            found = measured(problem(W, b, domain), token)
            assert found.x is not None
            assert float(-margin(W, b, token, found.x)) <= ends(found)[1]


def test_what_a_run_found_can_only_help() -> None:
    asked = problem(cloud(30, 4, 5), cloud(30, 1, 6)[:, 0], "layernorm")
    for token in range(10):
        fresh = measured(asked, token)
        prior = search(asked, token, Finding(), Effort())
        again = measured(asked, token, prior)
        assert again.error is not None
        assert abs(again.value - fresh.value) <= ends(fresh)[1] - ends(fresh)[0] + again.error


def integers(seed: int) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    d, V = int(rng.integers(1, 4)), int(rng.integers(2, 10))
    return rng.integers(-3, 4, (V, d)).astype(float), rng.integers(-3, 4, V).astype(float)


@given(st.integers(0, 2**32 - 1), st.sampled_from(SHAPES))
def test_whatever_point_and_weights_are_given_the_bounds_hold(seed: int, domain: str) -> None:
    """Two proofs of one number cannot cross, whoever chose the point and the weights."""
    W, b = integers(seed)
    asked = problem(W, b, domain)
    rng = np.random.default_rng(seed)
    lows, highs = [], []
    for _ in range(6):
        x = asked.domain.fit(rng.standard_normal(asked.readout.d))
        ids = np.arange(1, len(W))
        finding = Finding(x, Weights(ids, rng.exponential(size=ids.size)))
        low, high = margin_bounds(asked, 0, finding)
        assert low <= high
        if x is not None and low > -math.inf:
            assert low >= float(margin(W, b, 0, x)) - 1e-9 or asked.homogeneous
        lows.append(low)
        highs.append(high)
    assert max(lows) <= min(highs)
    own = measured(asked)
    if own.proven and own.error is not None and math.isfinite(own.error) and own.value > -math.inf:
        assert -own.value - own.error <= min(highs)
        assert -own.value + own.error >= max(lows)


@pytest.mark.parametrize("domain", SHAPES)
def test_nothing_is_proven_of_nothing(domain: str) -> None:
    low, high = margin_bounds(problem(np.eye(3), [1.0, 0.0, 0.0], domain), 0, Finding())
    assert (low, high) == (-math.inf, math.inf)


def test_on_all_of_space_the_margin_of_a_speakable_token_has_no_end() -> None:
    asked = Problem(Readout.fold(np.eye(3)), unbounded(3))
    found = search(asked, 0, Finding(), Effort())
    assert margin_bounds(asked, 0, found) == (math.inf, math.inf)
    assert margin_bounds(asked, 0, Finding()) == (0.0, math.inf)


def test_weights_of_few_rivals_are_made_exact_by_rationals() -> None:
    # token 0 is at the middle of an edge, 0.5 below it
    W = [[0.0, 1.0 / 3.0], [1.0 / 3.0, 1.0 / 3.0], [-1.0 / 3.0, 1.0 / 3.0], [0.0, -1.0]]
    asked = problem(W, [-0.5, 0.0, 0.0, 0.0], "unbounded")
    weights = Weights(np.array([1, 2]), np.array([0.4999999, 0.5000001]))
    low, high = margin_bounds(asked, 0, Finding(weights=weights))
    assert low == -math.inf
    assert -0.5 <= high <= -0.5 + 1e-6
    flat = Problem(asked.readout, layernorm(2))
    assert margin_bounds(flat, 0, Finding(weights=weights))[1] <= -0.4


def test_without_rivals_there_is_no_end_and_with_too_many_no_rationals() -> None:
    assert margin_bounds(problem([[1.0]], [0.0], "rmsnorm"), 0, Finding()) == (math.inf, math.inf)
    # a simplex with too many corners for rationals, and weights that do not balance
    d = 3000
    rng = np.random.default_rng(0)
    W = np.vstack([np.zeros(d), rng.standard_normal((900, d))])
    asked = problem(W, np.arange(901.0), "unbounded")
    weights = Weights(np.arange(1, 901), np.ones(900))
    assert margin_bounds(asked, 0, Finding(weights=weights))[1] == math.inf
