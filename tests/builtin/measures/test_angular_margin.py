"""``angular-margin`` against closed forms, a fine grid, exact rationals and Clarabel."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

import geom
from geom import Finding, InputError, Measurement, Weights
from geom.exact import lengths
from geom.model.domains import box, layernorm, rmsnorm, unbounded
from geom.proofs import angle_bounds
from geom_plugins.measures.angular_margin import AngularMarginOptions, angular_margin
from support import conic
from support.problems import cloud, problem
from support.truth import dot, fractions, hull_tokens

Floats = NDArray[np.float64]


def measured(
    W: ArrayLike,
    b: ArrayLike | None = None,
    domain: str | geom.Domain = "unbounded",
    token: int = 0,
    prior: Finding | None = None,
) -> Measurement:
    asked = problem(W, b, domain)
    return angular_margin(asked, token, prior or Finding(), AngularMarginOptions())


def holds(found: Measurement, truth: float, slack: float = 1e-14) -> bool:
    assert found.proven
    assert found.error is not None
    assert found.error <= 1e-6 * max(found.value, 1e-3)
    return abs(found.value - truth) <= found.error + slack


@pytest.mark.parametrize("n", [3, 4, 5, 8, 17, 100])
def test_the_vertex_of_a_regular_polygon_has_half_the_angle_between_its_neighbours(n: int) -> None:
    turns = 2.0 * math.pi * np.arange(n) / n
    W = np.column_stack([np.cos(turns), np.sin(turns)])
    for domain in ("unbounded", "rmsnorm", "box"):
        assert holds(measured(W, None, domain), math.pi / n)


@pytest.mark.parametrize("d", [1, 2, 3, 7, 30, 120])
def test_an_orthant_has_the_angle_from_its_diagonal_to_its_walls(d: int) -> None:
    W = np.vstack([np.zeros(d), -np.diag(np.arange(1.0, d + 1.0))])
    assert holds(measured(W), math.asin(1.0 / math.sqrt(d)))


@pytest.mark.parametrize("angle", [1e-9, 1e-4, 0.3, 1.5])
def test_two_half_spaces_have_half_the_angle_that_is_left_between_them(angle: float) -> None:
    a = np.array([[0.0, 1.0, 0.0], [0.0, -math.cos(angle), -math.sin(angle)]])
    found = measured(np.vstack([np.zeros(3), a]))
    exact = (math.pi - math.acos(float(np.clip(a[0] @ a[1], -1.0, 1.0)))) / 2.0
    if angle > 1e-8:
        assert holds(found, exact, 1e-15 / angle)
    assert found.value == pytest.approx(math.atan2(math.sin(angle), 1 + math.cos(angle)), rel=1e-6)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_against_one_rival_it_is_a_right_angle_and_against_none_all_angles(d: int) -> None:
    assert holds(measured(cloud(2, d, 0)), math.pi / 2.0)
    assert holds(measured(cloud(1, d, 0)), math.pi)


@pytest.mark.parametrize("domain", ["rmsnorm", "layernorm"])
@pytest.mark.parametrize("cosine", [-0.999, -0.5, 0.0, 0.3, 0.999])
def test_with_a_bias_one_rival_leaves_a_cap(cosine: float, domain: str) -> None:
    w = np.array([3.0, 1.0, -1.0, 5.0])
    length = np.linalg.norm(w - w.mean()) if domain == "layernorm" else np.linalg.norm(w)
    b = np.array([0.0, 2.0 * float(length) * cosine])
    found = measured(np.vstack([w, np.zeros(4)]), b, domain)
    assert holds(found, math.acos(cosine), 1e-12)


@pytest.mark.parametrize("apart", [0.1, 0.7, 1.4])
@pytest.mark.parametrize("cosine", [-0.6, 0.0, 0.4])
def test_between_two_caps_of_one_size_it_is_what_reaches_past_the_middle(
    apart: float, cosine: float
) -> None:
    a = -np.array([[math.cos(apart), math.sin(apart)], [math.cos(apart), -math.sin(apart)]])
    W = np.vstack([np.zeros(2), 2.0 * a])
    b = np.array([0.0, 1.0, 1.0]) * cosine * 2.0 * math.sqrt(2.0)
    found = measured(W, b, "rmsnorm")
    if math.acos(cosine) > apart:
        assert holds(found, math.acos(cosine) - apart, 1e-12)
    else:
        assert found.value - (found.error or 0.0) <= 0.0


def test_a_rival_that_always_loses_at_full_length_does_not_count() -> None:
    W = np.array([[0.0, 0.0], [1.0, 0.0], [0.1, 0.1]])
    assert holds(measured(W, [0.0, 0.0, -9.0], "rmsnorm"), math.pi / 2.0)
    assert holds(measured(W, [0.0, -8.0, -9.0], "rmsnorm"), math.pi)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("d", [2, 3, 6])
def test_without_bias_clarabel_finds_the_same_sine(d: int, seed: int) -> None:
    W = cloud(30, d, seed)
    for token in range(0, 30, 5):
        a = np.delete(W, token, axis=0) - W[token]
        a /= np.linalg.norm(a, axis=1)[:, None]
        sine = conic.largest_margin(a, np.zeros(29), "ball", 1.0)
        found = measured(W, None, "rmsnorm", token)
        assert (found.value > 0.0) == (token in hull_tokens(W))
        assert holds(found, math.asin(max(sine, 0.0)), 1e-7)


@pytest.mark.parametrize("seed", range(8))
def test_with_bias_clarabel_finds_no_direction_of_a_larger_angle(seed: int) -> None:
    """At the upper end no point of the ball is in all the caps, each shrunk by that angle."""
    d = 4
    W, b = cloud(25, d, seed), 2.0 * cloud(25, 1, 50 + seed)[:, 0]
    checked = 0
    for token in range(25):
        found = measured(W, b, "rmsnorm", token)
        assert found.error is not None
        if found.value - found.error <= 0.0:
            continue
        a, c = np.delete(W, token, axis=0) - W[token], np.delete(b, token) - b[token]
        size = np.linalg.norm(a, axis=1)
        cosine = c / (math.sqrt(d) * size)
        phi = np.arccos(np.clip(cosine, -1.0, 1.0))[cosine > -1.0]
        n = -(a / size[:, None])[cosine > -1.0]
        m = found.value + found.error + 1e-6
        assert (m > phi).any() or conic.largest_margin(-n, np.cos(phi - m), "ball", 1.0) < 0.0
        assert found.error <= 1e-6
        checked += 1
    assert checked > 5


@pytest.mark.parametrize("seed", range(10))
def test_on_a_circle_with_bias_it_is_half_the_widest_winning_arc(seed: int) -> None:
    W, b = cloud(9, 2, seed), 0.8 * cloud(9, 1, 100 + seed)[:, 0]
    turns = np.linspace(0.0, 2.0 * math.pi, 200_000, endpoint=False)
    points = math.sqrt(2.0) * np.column_stack([np.cos(turns), np.sin(turns)])
    winners = (points @ W.T + b).argmax(axis=1)
    for token in range(9):
        won = np.flatnonzero(winners != token)
        widest = float(np.diff(np.append(won, won[0] + turns.size)).max() - 1)
        half = widest / turns.size * math.pi
        found = measured(W, b, "rmsnorm", token)
        assert found.error is not None
        assert found.value - found.error <= half + 1e-4
        assert half <= found.value + found.error + 1e-4
        if half > 1e-3:
            assert found.value - found.error >= half - 1e-4  # the direction found is the best
        if found.error > 1e-6:  # the sphere is not convex, but the ball of the program is
            assert found.note is not None
            assert "full length" in found.note


@pytest.mark.parametrize("domain", ["rmsnorm", "layernorm"])
@pytest.mark.parametrize("biased", [False, True])
def test_any_turn_by_less_wins_and_some_turn_by_more_does_not(domain: str, biased: bool) -> None:
    rng = np.random.default_rng(3)
    d = 5
    W, b = cloud(40, d, 7), 0.3 * cloud(40, 1, 8)[:, 0] if biased else None
    asked = problem(W, b, domain)
    token = 11
    found = angular_margin(asked, token, Finding(), AngularMarginOptions())
    assert found.x is not None
    assert found.error is not None
    assert found.value > 0.01
    u = found.x / np.linalg.norm(found.x)
    aside = rng.standard_normal((100_000, d))
    if domain == "layernorm":
        aside -= aside.mean(axis=1, keepdims=True)
    aside -= (aside @ u)[:, None] * u
    aside /= np.linalg.norm(aside, axis=1)[:, None]

    def wins(angle: float) -> NDArray[np.bool_]:
        x = math.sqrt(d) * (math.cos(angle) * u + math.sin(angle) * aside)
        return np.asarray((x @ W.T + asked.readout.b).argmax(axis=1) == token)

    assert wins(found.value - found.error - 1e-9).all()
    assert not wins(found.value + 0.02).all()


def test_on_the_layernorm_domain_only_rows_without_their_mean_count() -> None:
    W = cloud(30, 5, seed=4)
    basis = np.linalg.qr(np.column_stack([np.ones(5), np.eye(5)[:, :4]]))[0][:, 1:]
    for token in range(8):
        ours, flat = measured(W, None, "layernorm", token), measured(W @ basis, token=token)
        assert ours.error is not None
        assert flat.error is not None
        assert abs(ours.value - flat.value) <= ours.error + flat.error + 1e-12


def test_far_out_biases_do_not_count() -> None:
    W, b = cloud(20, 3, 1), cloud(20, 1, 2)[:, 0]
    for token in range(20):
        assert measured(W, b, token=token).value == measured(W, token=token).value


@pytest.mark.parametrize("domain", ["unbounded", "rmsnorm", "layernorm", "box"])
def test_twins_and_tokens_on_a_face_have_no_angle_at_all(domain: str) -> None:
    W = np.vstack([np.eye(4), -np.eye(4), np.eye(4)[:1], [[0.5, 0.5, 0.0, 0.0]], np.zeros((1, 4))])
    for token in (0, 8, 9, 10):
        found = measured(W, None, domain, token)
        assert (found.value, found.error, found.proven) == (0.0, 0.0, True)
        assert found.note == "unspeakable"
    assert measured(W, None, domain, 1).value > 0.1


def test_a_token_of_the_largest_bias_has_an_angle_where_it_wins_at_full_length() -> None:
    W = np.vstack([np.zeros(3), np.eye(3), -np.eye(3)])
    for bias, wins in ((0.5, False), (1.5, True)):
        found = measured(W, [bias, *np.zeros(6)], "rmsnorm")
        assert found.error is not None
        assert (found.value - found.error > 0.0) == wins
        if not wins:
            assert found.note is not None
            assert "full length" in found.note
        else:  # the best direction is a diagonal, 1 from each of three walls of height 1.5
            truth = math.acos(-1.5 / math.sqrt(3)) - math.acos(-1 / math.sqrt(3))
            assert found.value - found.error == pytest.approx(truth, abs=1e-6)
            assert found.value + found.error >= truth


def test_what_a_run_found_is_where_it_starts_and_changes_nothing() -> None:
    W = cloud(30, 4, 5)
    for token in range(10):
        fresh = measured(W, None, "rmsnorm", token)
        again = measured(W, None, "rmsnorm", token, Finding(x=fresh.x))
        assert fresh.error is not None
        assert abs(again.value - fresh.value) <= fresh.error + (again.error or 0.0)


def integers(seed: int) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    d, V = int(rng.integers(1, 4)), int(rng.integers(2, 10))
    return rng.integers(-3, 4, (V, d)).astype(float), rng.integers(-3, 4, V).astype(float)


@given(st.integers(0, 2**32 - 1))
def test_the_lower_end_is_no_more_than_exact_rationals_give_at_the_direction(seed: int) -> None:
    W, _ = integers(seed)
    for token in range(len(W)):
        found = measured(W, None, "rmsnorm", token)
        assert found.error is not None
        if found.x is None:
            assert found.value - found.error <= 0.0
            continue
        x, own = fractions(found.x), fractions(W[token])
        squares = []
        for j in set(range(len(W))) - {token}:
            a = [p - q for p, q in zip(fractions(W[j]), own, strict=True)]
            assert dot(a, x) < 0
            squares.append(dot(a, x) ** 2 / (dot(a, a) * dot(x, x)))
        low = Fraction(math.sin(found.value - found.error)) * Fraction(1 - 2.0**-50)
        assert low * low <= min(squares)


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_whatever_weights_and_direction_are_given_the_bounds_hold(seed: int, biased: bool) -> None:
    """Two proofs of one number cannot cross, whoever chose the direction and the weights."""
    rng = np.random.default_rng(seed)
    W, b = integers(seed)
    asked = problem(W, b if biased else None, rmsnorm(W.shape[1]))
    token = int(rng.integers(len(W)))
    others = np.delete(np.arange(len(W)), token)
    lows, highs = [], []
    for _ in range(8):
        x = rng.standard_normal(W.shape[1])
        lam = rng.exponential(size=others.size) ** 3
        low, high = angle_bounds(asked, token, Finding(x, Weights(others, lam)))
        lows.append(low)
        highs.append(high)
    found = angular_margin(asked, token, Finding(), AngularMarginOptions())
    assert found.error is not None
    assert max(lows) <= min(highs)
    assert max(lows) <= found.value + found.error
    assert found.value - found.error <= min(highs)


@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e30, 1e140])
def test_scales_change_no_angle(scale: float) -> None:
    W = cloud(12, 3, 6)
    for token in range(12):
        truth, found = measured(W, token=token), measured(scale * W, token=token)
        assert found.error is not None
        assert abs(found.value - truth.value) <= found.error + (truth.error or 0.0) + 1e-12


def test_nonsense_proves_nothing() -> None:
    asked = problem(np.vstack([np.eye(2), -np.eye(2)]), None, layernorm(2))
    full = angle_bounds(asked, 0, Finding())
    assert full[0] == 0.0
    assert full[1] > math.pi
    bad = Weights(np.array([0, 1]), np.array([0.5, 0.5]))
    for x in (np.zeros(2), np.array([1.0, 2.0]), np.array([np.nan, 1.0]), np.ones(3)):
        assert angle_bounds(asked, 0, Finding(x, bad)) == full


def test_weights_of_rivals_that_never_or_always_win() -> None:
    W = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    full = angle_bounds(problem(W, [0.0, -9.0, -9.0], "rmsnorm"), 0, Finding())
    both = Weights(np.array([1, 2]), np.ones(2))
    never = problem(W, [0.0, -9.0, -8.0], "rmsnorm")
    assert angle_bounds(never, 0, Finding(weights=both)) == full
    always = problem(W, [0.0, 9.0, 8.0], "rmsnorm")
    assert angle_bounds(always, 0, Finding(weights=both)) == (0.0, 0.0)
    one = problem(W, [0.0, math.sqrt(2.0), -9.0], "rmsnorm")  # wins except opposite itself
    assert angle_bounds(one, 0, Finding(weights=both))[1] <= 1e-7


def test_blocks_of_rivals_change_no_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    W, b = cloud(40, 3, 8), cloud(40, 1, 9)[:, 0]
    asked = problem(W, b, "rmsnorm")
    rng = np.random.default_rng(0)
    findings = [
        Finding(rng.standard_normal(3), Weights(np.arange(1, 40), rng.exponential(size=39)))
        for _ in range(20)
    ]
    whole = [angle_bounds(asked, 0, finding) for finding in findings]
    monkeypatch.setattr(lengths, "BLOCK", 12)
    for finding, (low, high) in zip(findings, whole, strict=True):
        assert angle_bounds(asked, 0, finding) == (low, pytest.approx(high, rel=1e-12))


def test_a_rival_met_head_on_does_not_hide_another_that_is_a_little_nearer() -> None:
    R, turned = math.sqrt(2.0), np.array([0.0, 1.0])
    a = -np.column_stack([np.cos(turned), np.sin(turned)])
    b = [0.0, R * math.cos(0.5), R * math.cos(1.5 - 1e-6)]
    asked = problem(np.vstack([np.zeros(2), a]), b, "rmsnorm")
    low, _ = angle_bounds(asked, 0, Finding(np.array([1.0, 0.0])))
    assert low == pytest.approx(0.5 - 1e-6, abs=1e-12)


def test_of_rivals_too_alike_for_float64_the_nearest_counts() -> None:
    turns = 1.0 + 3e-13 * np.arange(400)
    W = np.vstack([np.zeros(2), np.column_stack([np.cos(turns), np.sin(turns)])])
    x = -np.array([math.cos(1.0), math.sin(1.0)]) + 0.5 * np.array([-math.sin(1.0), math.cos(1.0)])
    low, _ = angle_bounds(problem(W, None, "unbounded"), 0, Finding(x))
    truth = []
    for row in W[1:]:
        a, u = fractions(row), fractions(x)
        sine = dot(a, u) ** 2 / (dot(a, a) * dot(u, u))
        truth.append(math.asin(math.sqrt(sine)))
    assert low <= min(truth) + 1e-15
    assert low == pytest.approx(min(truth), abs=1e-15)


def test_a_box_with_biases_has_no_full_length() -> None:
    with pytest.raises(InputError, match="choose another domain"):
        measured(np.eye(2), [0.0, 1.0], box(2))
    assert measured(np.eye(2), None, box(2)).value > 0.1
    assert measured(np.eye(2), [0.0, 1.0], unbounded(2)).value > 0.1
