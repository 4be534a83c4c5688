"""``chebyshev-radius`` against closed forms, Clarabel, SciPy's programs, and sampled balls."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linprog

from geom import Finding, Measurement, Problem, Readout, Weights, judge
from geom.model.domains import Domain
from geom.proofs import angle_bounds, ball_bounds
from geom_plugins.measures.chebyshev_radius import ChebyshevRadiusOptions, chebyshev_radius
from support import conic
from support.problems import cloud, ends, problem, rivals
from support.truth import margin

Floats = NDArray[np.float64]

BOUNDED = ["rmsnorm", "layernorm", "box"]


def measured(asked: Problem, token: int = 0, prior: Finding | None = None) -> Measurement:
    return chebyshev_radius(asked, token, prior or Finding(), ChebyshevRadiusOptions())


def is_close(found: Measurement, truth: float) -> None:
    low, high = ends(found)
    assert low - 1e-7 <= truth <= high + 1e-7
    assert high - low <= 4e-6 * max(abs(truth), 1e-3)


@pytest.mark.parametrize("domain", BOUNDED)
@pytest.mark.parametrize("bias", [0.0, 1.5])
@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_radius_that_clarabel_finds(seed: int, bias: float, domain: str) -> None:
    asked = problem(cloud(30, 4, seed), bias * cloud(30, 1, seed + 50)[:, 0], domain)
    positive = 0
    for token in range(0, 30, 2):
        a, c = rivals(asked, token)
        truth = max(0.0, conic.largest_ball(a, c, asked.domain.shape, asked.domain.radius))
        is_close(measured(asked, token), truth)
        positive += truth > 1e-6
    assert 0 < positive < 15


@pytest.mark.parametrize("seed", range(3))
def test_in_a_box_it_is_what_the_papers_linear_program_finds(seed: int) -> None:
    asked = problem(cloud(25, 3, seed), cloud(25, 1, seed + 9)[:, 0], "box")
    walls = np.vstack([np.eye(3), -np.eye(3)])
    for token in range(25):
        a, c = rivals(asked, token)
        rows = np.vstack([a, walls])
        lengths = np.linalg.norm(rows, axis=1)
        free = [(None, None)] * 3 + [(0.0, None)]
        found = linprog([0, 0, 0, -1], np.c_[rows, lengths], np.append(-c, np.ones(6)), bounds=free)
        is_close(measured(asked, token), -found.fun if found.status == 0 else 0.0)


@pytest.mark.parametrize("d", [1, 2, 5, 30])
def test_in_an_orthant_and_a_half_space_of_a_ball(d: int) -> None:
    # token 0 wins where all x_i > 0: the ball about the diagonal that touches all the planes
    orthant = measured(problem(np.vstack([np.zeros(d), -np.eye(d)]), None, "rmsnorm"))
    sine, R = 1 / math.sqrt(d), math.sqrt(d)
    is_close(orthant, R * sine / (1 + sine))
    assert orthant.x is not None
    assert np.allclose(orthant.x, R / (1 + sine) / math.sqrt(d), rtol=1e-3)
    is_close(measured(problem(np.vstack([np.zeros(d), -np.eye(d)[0]]), None, "rmsnorm")), R / 2)


@pytest.mark.parametrize("b", [-1.0, -0.25, 0.0, 0.25, 0.9])
def test_between_two_rivals_on_a_line(b: float) -> None:
    # logits x, -x and b at |x| <= 1: token 2 wins where |x| < b, token 0 where x > max(b, 0)
    W = [[1.0], [-1.0], [0.0]]
    for domain in ("box", "rmsnorm"):
        is_close(measured(problem(W, [0.0, 0.0, b], domain), 2), max(b, 0.0))
        is_close(measured(problem(W, [0.0, 0.0, b], domain), 0), (1 - max(b, 0.0)) / 2)
    is_close(measured(problem(W, [0.0, 0.0, b], "unbounded"), 2), max(b, 0.0))
    assert measured(problem(W, [0.0, 0.0, b], "unbounded"), 0).value == math.inf


@pytest.mark.parametrize("seed", range(3))
def test_on_all_of_space_it_is_finite_where_the_region_is(seed: int) -> None:
    asked = problem(cloud(40, 2, seed), 2.0 * cloud(40, 1, seed + 50)[:, 0], "unbounded")
    finite = 0
    for token in range(40):
        found = measured(asked, token)
        if found.value == math.inf:
            continue
        a, c = rivals(asked, token)
        truth = max(0.0, conic.largest_ball(a, c, "all", 0.0))
        is_close(found, truth)
        finite += truth > 0.0
    assert finite > 0


@pytest.mark.parametrize("domain", BOUNDED)
@pytest.mark.parametrize("bias", [0.0, 1.0])
def test_the_ball_is_in_the_domain_and_wins_up_to_its_border(bias: float, domain: str) -> None:
    asked = problem(cloud(40, 5, 1), bias * cloud(40, 1, 2)[:, 0], domain)
    rng, radius = np.random.default_rng(0), asked.domain.radius
    for token in range(0, 40, 3):
        found = measured(asked, token)
        if found.value == 0.0:
            continue
        assert found.x is not None
        u = rng.standard_normal((500, 5))
        u -= u.mean(axis=1, keepdims=True) if asked.domain.zero_sum else 0.0
        u /= np.linalg.norm(u, axis=1, keepdims=True)
        inside = found.x + ends(found)[0] * (1 - 1e-9) * u
        order = np.inf if domain == "box" else 2
        assert (np.linalg.norm(inside, order, axis=1) <= radius).all()
        assert (np.argmax(inside @ asked.readout.W.T + asked.readout.b, axis=1) == token).all()
        a, c = rivals(asked, token)
        lengths = np.linalg.norm(a, axis=1)
        nearest = (-(a @ found.x + c) / lengths).min()
        wall = radius - np.linalg.norm(found.x, order)
        assert min(nearest, wall) == pytest.approx(found.value, rel=1e-5)


def test_a_domain_of_ones_own_that_leans_against_its_walls() -> None:
    W, b = cloud(20, 4, 3), cloud(20, 1, 4)[:, 0]
    readout = Readout.fold(W, b)
    asked = Problem(readout, Domain("leant", 4, "box", Fraction(2), zero_sum=True))
    for token in range(20):
        low, high = ends(measured(asked, token))
        a, c = rivals(asked, token)
        # in coordinates of the plane: x = basis @ z
        basis = np.linalg.svd(np.eye(4) - 0.25)[0][:, :3]
        walls = np.vstack([basis, -basis])
        rows = np.vstack([a @ basis, walls])
        lengths = np.linalg.norm(rows, axis=1)
        free = [(None, None)] * 3 + [(0.0, None)]
        right = np.append(-c, np.full(8, 2.0))
        found = linprog([0, 0, 0, -1], np.c_[rows, lengths], right, bounds=free)
        truth = -found.fun if found.status == 0 else 0.0
        assert low - 1e-7 <= truth <= high + 1e-7


def test_without_biases_it_follows_from_the_angular_margin() -> None:
    from geom_plugins.measures.angular_margin import AngularMarginOptions, angular_margin

    asked = problem(cloud(40, 6, 5), None, "layernorm")
    for token in range(40):
        angle = angular_margin(asked, token, Finding(), AngularMarginOptions()).value
        sine = math.sin(angle)
        assert measured(asked, token).value == pytest.approx(
            math.sqrt(6) * sine / (1 + sine), rel=1e-5, abs=1e-12
        )


@pytest.mark.parametrize("domain", [*BOUNDED, "unbounded"])
def test_an_unspeakable_token_has_no_ball(domain: str) -> None:
    W = np.vstack([cloud(20, 3, 6), np.zeros(3)])
    found = measured(problem(W, None, domain), 20)
    assert (found.value, found.error, found.note) == (0.0, 0.0, "unspeakable")
    twins = problem(np.vstack([np.eye(3), np.eye(3)[:1]]), [0.0, 0.0, 0.0, -0.5], domain)
    assert measured(twins, 3).value == 0.0
    assert measured(twins, 0).value > 0.0


@pytest.mark.parametrize("domain", [*BOUNDED, "unbounded"])
def test_without_a_rival_it_is_the_whole_domain(domain: str) -> None:
    asked = problem(cloud(1, 9, 0), None, domain)
    low, high = ends(measured(asked)) if asked.domain.bounded else (math.inf, math.inf)
    assert low <= asked.domain.radius <= high
    assert measured(asked).value == pytest.approx(asked.domain.radius)
    assert measured(asked).note == "it has no rival"


@pytest.mark.parametrize("domain", BOUNDED)
def test_a_token_that_wins_everywhere_has_the_whole_domain(domain: str) -> None:
    asked = problem(cloud(8, 4, 0), [100.0, *[0.0] * 7], domain)
    assert measured(asked).value == pytest.approx(asked.domain.radius, rel=1e-9)


def test_what_proves_nothing_leaves_the_bounds_as_they_are() -> None:
    asked = problem(cloud(10, 3, 7), cloud(10, 1, 8)[:, 0], "layernorm")
    none = ball_bounds(asked, 0, Finding())
    assert none == (0.0, pytest.approx(math.sqrt(3)))
    assert none[1] >= math.sqrt(3)
    others = np.arange(1, 10)
    outside, off = np.array([9.0, -9.0, 0.0]), np.array([0.5, 0.5, 0.5])
    for x in (outside, off, np.array([np.nan, 0.0, 0.0]), np.zeros(2)):
        assert ball_bounds(asked, 0, Finding(x)) == none
    for weights in (
        Weights(others, -np.ones(9)),
        Weights(np.arange(9), np.ones(9)),
        Weights(others, np.zeros(9)),
    ):
        assert ball_bounds(asked, 0, Finding(weights=weights)) == none


@given(st.integers(0, 10**6), st.sampled_from([*BOUNDED, "unbounded"]), st.booleans())
def test_bounds_hold_of_exact_integers_whatever_the_evidence(
    seed: int, domain: str, biased: bool
) -> None:
    """Any centre's radius, in rationals, is at most any weights' upper bound."""
    rng = np.random.default_rng(seed)
    V, d = int(rng.integers(2, 8)), int(rng.integers(1, 5))
    W = rng.integers(-4, 5, (V, d)).astype(float)
    asked = problem(W, rng.integers(-2, 3, V).astype(float) if biased else None, domain)
    x = asked.domain.fit(rng.integers(-8, 9, d) / 8.0)
    lam = rng.integers(0, 4, V - 1).astype(float)
    low, high = ball_bounds(asked, 0, Finding(x, Weights(np.arange(1, V), lam)))
    only, _ = ball_bounds(asked, 0, Finding(x))
    _, cap = ball_bounds(asked, 0, Finding(weights=Weights(np.arange(1, V), lam)))
    assert only <= cap
    assert low <= high
    if only > 0.0:
        for j in range(1, V):
            a = [Fraction(v) for v in W[j] - W[0]]
            mean = sum(a) / d if asked.domain.zero_sum else Fraction(0)
            square = sum((v - mean) ** 2 for v in a)
            least = margin_of(asked, j, x)
            assert least > 0
            assert Fraction(only) ** 2 * square <= least**2


def margin_of(asked: Problem, j: int, x: Floats) -> Fraction:
    """Return by how much token 0 beats j at x, in rationals."""
    W, b = asked.readout.W[[0, j]], asked.readout.b[[0, j]]
    return margin(W, b, 0, x)


@pytest.mark.parametrize("scale", [1e-100, 1e-30, 1e30, 1e100])
def test_units_of_the_rows_change_nothing(scale: float) -> None:
    W, b = cloud(20, 4, 11), cloud(20, 1, 12)[:, 0]
    for token in (0, 3, 7):
        plain = measured(problem(W, b, "rmsnorm"), token)
        scaled = measured(problem(W * scale, b * scale, "rmsnorm"), token)
        assert scaled.value == pytest.approx(plain.value, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("bounds", [ball_bounds, angle_bounds])
@pytest.mark.parametrize("exponent", [-560, 0, 522])
def test_squares_that_overflow_or_underflow_loosen_bounds_and_do_not_break_them(
    exponent: int, bounds: Callable[[Problem, int, Finding], tuple[float, float]]
) -> None:
    """If long rows nearly cancel, their lengths overflow while the length of their sum does not."""
    W = np.ldexp([[0.0, 0.0], [1.0, -(2.0**-27)], [-1.0, -(2.0**-27)]], exponent)
    found = Finding(np.array([0.0, 1.0]), Weights(np.array([1, 2]), np.ones(2)))
    low, high = bounds(problem(W, None, "rmsnorm"), 0, found)
    angle = math.atan(2.0**-27)
    radius = math.sin(angle) * math.sqrt(2) / (1 + math.sin(angle))
    truth = angle if bounds is angle_bounds else radius
    assert low <= truth * (1 + 1e-15)
    assert high >= truth * (1 - 1e-15)
    assert exponent != 0 or high <= truth * (1 + 1e-6)


@pytest.mark.parametrize("domain", BOUNDED)
def test_a_twin_of_a_lower_bias_alone_leaves_the_whole_domain(domain: str) -> None:
    asked = problem([[1.0, 2.0]] * 3, [0.0, -1.0, -2.0], domain)
    assert measured(asked).value == pytest.approx(math.sqrt(2) if domain != "box" else 1.0)
    assert measured(problem([[1.0, 2.0]] * 3, [0.0, -1.0, -2.0], "unbounded")).value == math.inf


def test_it_starts_from_what_a_run_proved() -> None:
    asked = problem(cloud(30, 4, 13), None, "rmsnorm")
    token = max(range(30), key=lambda j: measured(asked, j).value)
    fresh = measured(asked, token)
    assert fresh.x is not None
    again = measured(asked, token, Finding(fresh.x))
    assert again.value == pytest.approx(fresh.value, rel=1e-5)
    assert again.x is not None
    assert judge(asked, token, Finding(again.x)).name == "speakable"


def test_an_unproven_hull_gives_a_bound_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from geom_plugins.measures import chebyshev_radius as module

    asked = problem(cloud(12, 2, 1), None, "rmsnorm")
    real = module.settled

    def unsettled(*given: object) -> object:
        found, verdict = real(*given)  # type: ignore[arg-type]
        return Finding(found.x), replace(verdict, name="undecided")

    monkeypatch.setattr(module, "settled", unsettled)
    found = measured(asked, 0)
    assert found.note == "undecided whether it is speakable"
    assert found.proven
