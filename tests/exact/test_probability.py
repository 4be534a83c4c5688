"""Bounds on the largest probability, against closed forms, Clarabel, and mpmath at 400 bits."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp, mpf

from geom import Finding, Problem, Readout, Weights, judge
from geom.model.domains import box, layernorm, rmsnorm, unbounded
from geom.numbers import exponentials
from geom.proofs import probability_bounds
from support import conic
from support.problems import cloud, problem, rivals
from support.truth import Floats, dot, fractions

SHAPES = ["rmsnorm", "layernorm", "box", "unbounded"]
TEMPERATURES = (0.25, 1.0, 3.0)


def exact_log_probability(asked: Problem, token: int, x: Floats, temperature: float) -> mpf:
    """Return the logarithm of the token's probability at x, at 400 bits, shift and all."""
    readout, point = asked.readout, fractions(x)
    biases = readout.exact_biases(np.arange(readout.V))
    with mp.workprec(400):
        logits = [dot(fractions(row), point) + b for row, b in zip(readout.W, biases, strict=True)]
        T = mpf(temperature)
        z = [mpf(v.numerator) / v.denominator / T for v in (v - logits[token] for v in logits)]
        top = max(z)
        return -(top + mp.log(mp.fsum(mp.exp(v - top) for v in z)))


def optimum(asked: Problem, token: int, temperature: float) -> tuple[Finding, float]:
    """Return Clarabel's best point, moved into the domain, the softmax there, and its optimum.

    On all of R^d only weights whose r nearly vanishes prove anything, and Newton's method takes
    Clarabel's point that far.
    """
    a, c = rivals(asked, token)
    shape, radius = asked.domain.shape, asked.domain.radius
    value, x = conic.largest_probability(a, c, shape, radius, temperature)
    for _ in range(5):
        z = (a @ x + c) / temperature
        lam = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        if shape == "all":
            r = lam @ a
            x = x - temperature * np.linalg.solve((a.T * lam) @ a - np.outer(r, r), r)
    ids = np.delete(np.arange(asked.readout.V), token)
    return Finding(asked.domain.fit(x), Weights(ids, lam)), value


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("bias", [0.0, 0.5])
@pytest.mark.parametrize("domain", ["rmsnorm", "layernorm", "box"])
def test_an_optimum_of_clarabel_is_proven_from_both_sides(
    domain: str, bias: float, temperature: float
) -> None:
    for seed in range(6):
        asked = problem(cloud(12, 4, seed), bias * cloud(12, 1, seed + 50)[:, 0], domain)
        for token in (0, 1):
            found, value = optimum(asked, token, temperature)
            low, high = probability_bounds(asked, token, found, temperature)
            assert low <= high
            assert low == pytest.approx(value, abs=1e-5)
            assert high == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_an_optimum_on_all_of_space_is_proven_for_a_token_inside_the_hull(
    temperature: float,
) -> None:
    rng = np.random.default_rng(3)
    for V in (9, 40):
        W = np.vstack([0.1 * rng.standard_normal(3), rng.standard_normal((V, 3))])
        b = np.append(0.0, rng.standard_normal(V))
        asked = problem(W, b, "unbounded")
        found, value = optimum(asked, 0, temperature)
        low, high = probability_bounds(asked, 0, found, temperature)
        assert low == pytest.approx(value, abs=1e-6)
        assert high == pytest.approx(value, abs=1e-6)


# Closed forms


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize(("domain", "reach"), [(rmsnorm, 10.0), (box, 7.0)])
def test_of_two_tokens_the_likelier_is_a_logistic_function(
    domain: Callable[[int], object], reach: float, temperature: float
) -> None:
    # the rows differ by (3, 4) in two dimensions, |x| <= sqrt(2) or |x_i| <= 1
    asked = problem([[3.0, 4.0], [0.0, 0.0]], [0.0, 2.0], domain(2))  # type: ignore[arg-type]
    reach = 5.0 * math.sqrt(2.0) if domain is rmsnorm else reach
    x = asked.domain.fit(np.array([3.0, 4.0]) / 5 * 10 if domain is rmsnorm else np.ones(2))
    finding = Finding(x, Weights(np.array([1]), np.array([7.0])))
    low, high = probability_bounds(asked, 0, finding, temperature)
    true = -math.log1p(math.exp((2.0 - reach) / temperature))
    assert low == pytest.approx(true, abs=1e-7)
    assert high == pytest.approx(true, abs=1e-7)
    assert low <= high


@pytest.mark.parametrize("d", [2, 5, 30])
def test_a_corner_of_a_regular_simplex_has_its_closed_form(d: int) -> None:
    # d + 1 unit vectors with products -1/d, in the space of d + 1 coordinates with sum zero
    W = (np.eye(d + 1) - 1.0 / (d + 1)) * math.sqrt((d + 1) / d)
    asked = Problem(Readout.fold(W), layernorm(d + 1))
    x = asked.domain.fit(100.0 * W[0])
    finding = Finding(x, Weights(np.arange(1, d + 1), np.ones(d)))
    low, high = probability_bounds(asked, 0, finding)
    true = -math.log1p(d * math.exp(-math.sqrt(d + 1) * (1.0 + 1.0 / d)))
    assert low == pytest.approx(true, abs=1e-8)
    assert high == pytest.approx(true, abs=1e-8)


@pytest.mark.parametrize("domain", SHAPES)
@pytest.mark.parametrize("k", [2, 3, 7])
def test_of_k_equal_tokens_each_has_at_most_one_kth(k: int, domain: str) -> None:
    W = np.vstack([np.tile([[0.3, -1.7, 0.4]], (k, 1)), cloud(5, 3, 1)])
    asked = problem(W, np.append(np.full(k, 0.25), np.zeros(5)), domain)
    twins = Weights(np.arange(1, k), np.ones(k - 1))
    for temperature in TEMPERATURES:
        _, high = probability_bounds(asked, 0, Finding(weights=twins), temperature)
        assert high == pytest.approx(-math.log(k), abs=1e-12)
        assert high >= -math.log(k) - 1e-15
    if k == 2:
        assert probability_bounds(asked, 0, Finding(weights=twins))[1] == -math.log(2.0)


@pytest.mark.parametrize("domain", SHAPES)
def test_the_mean_of_v_rows_has_one_in_v_plus_1_at_every_temperature(domain: str) -> None:
    rows = np.random.default_rng(0).integers(-50, 51, (16, 3)).astype(float)  # the mean is exact
    asked = problem(np.vstack([rows.mean(axis=0), rows]), None, domain)
    even = Weights(np.arange(1, 17), np.ones(16))
    for temperature in (1e-9, 1e-3, 1.0, 1e3):
        low, high = probability_bounds(asked, 0, Finding(np.zeros(3), even), temperature)
        assert low == pytest.approx(-math.log(17.0), abs=1e-11)
        assert high == pytest.approx(-math.log(17.0), abs=1e-8)
        assert low <= high


def test_a_token_without_rivals_is_certain() -> None:
    assert probability_bounds(problem([[1.0, 2.0]]), 0, Finding()) == (0.0, 0.0)


def test_a_token_that_wins_on_all_of_space_comes_as_near_to_certain_as_you_like() -> None:
    asked = problem(np.eye(3), [0.0, 50.0, 0.0], "unbounded")
    assert probability_bounds(asked, 0, Finding(np.array([1.0, 0.0, 0.0]))) == (0.0, 0.0)
    short = probability_bounds(asked, 0, Finding(np.array([1.0, 1.0, 0.0])))
    assert short[0] < -49.0
    assert short[1] == 0.0


# What no finding may do


def test_nothing_is_proven_of_nothing_and_of_what_is_no_point_and_no_weights() -> None:
    asked = problem(np.eye(3), [1.0, 0.0, 0.0], "rmsnorm")
    outside = np.array([5.0, 0.0, 0.0])
    own = Weights(np.array([0, 1]), np.ones(2))
    for finding in (Finding(), Finding(outside, own), Finding(np.full(3, np.nan))):
        assert probability_bounds(asked, 0, finding) == (-math.inf, 0.0)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_a_temperature_is_a_finite_number_above_zero(temperature: float) -> None:
    with pytest.raises(ValueError, match="finite number above 0"):
        probability_bounds(problem(np.eye(2)), 0, Finding(), temperature)


@given(st.integers(0, 2**32 - 1), st.sampled_from(SHAPES), st.sampled_from(TEMPERATURES))
def test_no_point_is_above_what_any_weights_allow(
    seed: int, domain: str, temperature: float
) -> None:
    rng = np.random.default_rng(seed)
    V, d = int(rng.integers(2, 10)), int(rng.integers(1, 5))
    W = rng.integers(-3, 4, (V, d)) * rng.choice([1.0, 1e-3, 40.0])
    b = rng.integers(-3, 4, V) * rng.choice([0.0, 1.0])
    gamma, beta = np.exp(rng.standard_normal(d)), rng.standard_normal(d) * rng.choice([0.0, 1.0])
    norm = {"layernorm": layernorm, "rmsnorm": rmsnorm, "box": box, "unbounded": unbounded}
    asked = Problem(Readout.fold(W, b, gamma=gamma, beta=beta), norm[domain](d))
    lows, highs = [], []
    for _ in range(4):
        x = asked.domain.fit(rng.standard_normal(d) * rng.choice([0.0, 1.0, 5.0]))
        weights = Weights(np.arange(1, V), rng.exponential(size=V - 1) ** 3)
        low, high = probability_bounds(asked, 0, Finding(x, weights), temperature)
        assert low <= high <= 0.0
        if (low, high) != (0.0, 0.0):
            at_x = exact_log_probability(asked, 0, x, temperature)
            assert mpf(low) <= at_x
            assert low >= float(at_x) - 1e-9 * (1.0 + abs(low))
        lows.append(low)
        highs.append(high)
    assert max(lows) <= min(highs)


def test_above_a_half_a_token_is_speakable_and_what_is_unspeakable_has_at_most_a_half() -> None:
    W = np.random.default_rng(5).integers(-3, 4, (12, 2)).astype(float)
    for domain in SHAPES:
        asked = problem(W, None, domain)
        for token in range(12):
            for other in range(12):
                weights = None if other == token else Weights(np.array([other]), np.ones(1))
                finding = Finding(asked.domain.fit(W[token] + W[other]), weights)
                low, high = probability_bounds(asked, token, finding)
                verdict = judge(asked, token, finding).name
                if low > -math.log(2.0):
                    assert verdict == "speakable"
                if verdict == "unspeakable":
                    assert high <= math.nextafter(-math.log(2.0), 0.0)


@pytest.mark.parametrize("exponent", [-1000, -600, 0, 300, 900])
def test_rows_of_any_size_have_the_probabilities_of_their_temperature(exponent: int) -> None:
    W, b = np.ldexp(cloud(8, 3, 2), exponent), np.ldexp(cloud(8, 1, 4)[:, 0], exponent)
    asked, plain = problem(W, b, "rmsnorm"), problem(cloud(8, 3, 2), cloud(8, 1, 4)[:, 0])
    plain = Problem(plain.readout, rmsnorm(3))
    found, _ = optimum(plain, 0, 1.0)
    hot = math.ldexp(1.0, exponent)
    expected = probability_bounds(plain, 0, found)
    assert probability_bounds(asked, 0, found, hot) == pytest.approx(expected, rel=1e-12)
    low, high = probability_bounds(asked, 0, found)
    assert low <= high
    if exponent >= 300:
        assert low == -math.inf or low < -1e80 or low > -1e-9


def test_the_logarithm_of_a_probability_may_be_far_below_what_floats_hold() -> None:
    asked = problem([[0.0], [1.0], [-1.0]], [-1e300, 0.0, 0.0], "rmsnorm")
    finding = Finding(np.zeros(1), Weights(np.array([1, 2]), np.ones(2)))
    low, high = probability_bounds(asked, 0, finding)
    assert low == pytest.approx(-1e300)
    assert high == pytest.approx(-1e300)
    assert low <= high


def test_a_shift_of_the_final_norm_is_part_of_the_point() -> None:
    # at x = -s all tie, which the rounded biases alone cannot show
    rng = np.random.default_rng(1)
    rows, beta = rng.integers(-8, 9, (8, 4)).astype(float), np.array([0.3, -0.1, 0.7, -0.9])
    W = np.vstack([rows.mean(axis=0), rows])
    readout = Readout.fold(W, beta=beta, gamma=np.array([3.0, 0.7, 1.1, 1.0]), norm="rmsnorm")
    even = Weights(np.arange(1, 9), np.ones(8))
    for domain in (rmsnorm(4), unbounded(4)):
        _, high = probability_bounds(Problem(readout, domain), 0, Finding(weights=even))
        assert high == pytest.approx(-math.log(9.0), abs=1e-10)
    for x in (np.zeros(4), rng.standard_normal(4) / 4):
        low, _ = probability_bounds(Problem(readout, rmsnorm(4)), 0, Finding(x))
        true = exact_log_probability(Problem(readout, rmsnorm(4)), 0, x, 1.0)
        assert mpf(low) <= true
        assert low == pytest.approx(float(true), abs=1e-9)


def test_wider_bounds_on_rounding_enclose_narrower_ones() -> None:
    asked = problem(cloud(30, 5, 8), cloud(30, 1, 9)[:, 0], "layernorm")
    for token in range(10):
        found, _ = optimum(asked, token, 1.0)
        low, high = probability_bounds(asked, token, found, widen=1.0)
        wide = probability_bounds(asked, token, found, widen=1e6)
        assert wide[0] < low <= high < wide[1]


# Exponentials and logarithms


def test_exponentials_and_logarithms_are_within_their_bounds() -> None:
    rng = np.random.default_rng(0)
    v = np.concatenate([-rng.uniform(0, 700, 500), -(10.0 ** rng.uniform(-300, 2, 500)), [0, -700]])
    w = np.concatenate([rng.uniform(0, 2, 500), 2.0 ** rng.uniform(-1022, 1023, 500), [1.0]])
    logs, errors = exponentials.log(w)
    with mp.workprec(200):
        for x, y in zip(v.tolist(), exponentials.exp(v).tolist(), strict=True):
            assert abs(mpf(y) / mp.exp(mpf(x)) - 1) <= exponentials.EXP_ERROR
        for x, y, error in zip(w.tolist(), logs.tolist(), errors.tolist(), strict=True):
            assert abs(mpf(y) - mp.log(mpf(x))) <= error
