"""Bounds on probabilities and ranks on the hull of points and on an ellipsoid.

The truth is Clarabel's optimum over the coordinates, logits in exact rationals, and closed forms.
"""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from flint import fmpq, fmpq_mat
from hypothesis import given, settings
from hypothesis import strategies as st

import geom
from geom import Domain, Finding, InputError, Problem, Readout, Weights, judge
from geom.exact.caps import probability_cap
from geom.exact.close import close_rivals
from geom.numbers.rounding import CLAIM
from geom.proofs import (
    Scatter,
    angle_bounds,
    ball_bounds,
    freeing_bounds,
    joined_weights,
    margin_bounds,
    probability_bounds,
    prove_own_directions,
    rank_bounds,
    silencing_bounds,
    surprise_bounds,
)
from support import conic
from support.judging import LARGEST, LEAST
from support.problems import Floats, cloud, problem

KINDS = ["hull", "ellipsoid"]


def drawn(kind: str, seed: int, V: int = 9, d: int = 3, scale: float = 1.0) -> Problem:
    """Return random rows and biases, with a midpoint and twins, on a random domain."""
    W, b = cloud(V, d, seed), cloud(V, 1, seed + 100)[:, 0] / 4
    W[1], b[1] = (W[2] + W[3]) / 2, (b[2] + b[3]) / 2
    W[4], b[4] = W[5], b[5]
    return problem(W, b * scale, domain(kind, seed, d, scale))


def domain(kind: str, seed: int, d: int = 3, scale: float = 1.0) -> Domain:
    if kind == "hull":
        return geom.hull((cloud(5, d, seed + 7) + 0.5) * scale)
    return geom.ellipsoid(cloud(1, d, seed + 7)[0] * scale, cloud(2, d, seed + 8) * scale, 1.25)


def in_coordinates(asked: Problem, token: int) -> tuple[Floats, Floats]:
    """Return the rivals' rows (n, k) and biases (n,), less the token's, over the coordinates."""
    frame = asked.domain.frame
    assert frame is not None
    W, b = asked.readout.W, asked.readout.b
    a, c = np.delete(W, token, axis=0) - W[token], np.delete(b, token) - b[token]
    return a @ frame.axes.T, c if frame.centre is None else c + a @ frame.centre


def exact_logits(asked: Problem, y: Floats) -> list[Fraction]:
    """Return the logits at the exact vector that coordinates stand for."""
    frame = asked.domain.frame
    assert frame is not None
    x = (
        [Fraction(0)] * asked.domain.d
        if frame.centre is None
        else list(map(Fraction, frame.centre))
    )
    for share, axis in zip(y.tolist(), frame.axes.tolist(), strict=True):
        x = [entry + Fraction(share) * Fraction(a) for entry, a in zip(x, axis, strict=True)]
    return [
        sum((Fraction(w) * e for w, e in zip(row, x, strict=True)), Fraction(bias))
        for row, bias in zip(asked.readout.W.tolist(), asked.readout.b.tolist(), strict=True)
    ]


def exact_log_probability(
    asked: Problem, token: int, y: Floats, temperature: float = 1.0
) -> mpmath.mpf:
    logits = exact_logits(asked, y)
    with mpmath.workprec(400):
        T = mpmath.mpf(temperature)
        z = [
            mpmath.mpf(v.numerator) / v.denominator / T for v in (v - logits[token] for v in logits)
        ]
        top = max(z)
        return -(top + mpmath.log(mpmath.fsum(mpmath.exp(v - top) for v in z)))


def points(asked: Problem, n: int, seed: int = 0) -> Floats:
    """Return points of the domain: drawn ones, and its corners or ends of its axes."""
    rng, k, radius = np.random.default_rng(seed), asked.domain.coordinates, asked.domain.radius
    ends = np.vstack([np.eye(k), -np.eye(k)]) * radius
    return asked.domain.fit_all(np.vstack([asked.domain.sample(rng, n), ends]))


# Probabilities


@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
@pytest.mark.parametrize("kind", KINDS)
def test_an_optimum_of_clarabel_is_proven_from_both_sides(kind: str, temperature: float) -> None:
    for seed in range(4):
        asked = drawn(kind, seed)
        for token in (0, 1, 4):
            a, c = in_coordinates(asked, token)
            shape, radius = asked.domain.shape, asked.domain.radius
            true, y = conic.largest_probability(a, c, shape, radius, temperature)
            z = (a @ y + c) / temperature
            lam = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
            ids = np.delete(np.arange(asked.readout.V), token)
            finding = Finding(asked.domain.fit(y), Weights(ids, lam))
            low, high = probability_bounds(asked, token, finding, temperature)
            assert low - 1e-7 <= true <= high + 1e-7
            assert high - low <= 1e-4


@pytest.mark.parametrize("scale", [1.0, 2.0**-300, 2.0**300])
@pytest.mark.parametrize("kind", KINDS)
def test_no_point_is_likelier_than_any_weights_allow(kind: str, scale: float) -> None:
    rng = np.random.default_rng(1)
    for seed in range(4):
        asked = drawn(kind, seed, scale=scale)
        for token in (0, 1, 4):
            ids = np.delete(np.arange(asked.readout.V), token)
            weights = [Weights(ids, rng.exponential(size=ids.size) ** 4) for _ in range(4)]
            caps = [probability_bounds(asked, token, Finding(weights=w), scale)[1] for w in weights]
            for y in points(asked, 3, seed):
                true = exact_log_probability(asked, token, y, scale)
                assert probability_bounds(asked, token, Finding(x=y), scale)[0] <= true
                assert true <= min(caps)


def test_far_from_the_origin_the_rounding_of_large_numbers_is_allowed_for() -> None:
    # Of two tokens the margin at the only point p is -(p + 0.3), exactly, and log p nearly as much.
    far = 2.0**53
    asked = problem([[0.0], [1.0]], [0.0, 0.3], geom.hull([[far]]))
    high = probability_bounds(asked, 0, Finding(weights=Weights(np.array([1]), np.ones(1))))[1]
    assert Fraction(high) >= -Fraction(far) - Fraction(0.3)
    low = probability_bounds(asked, 0, Finding(x=np.ones(1)))[0]
    assert Fraction(low) <= -Fraction(far) - Fraction(0.3)
    assert high - low <= 1000.0


@pytest.mark.parametrize("kind", KINDS)
def test_wider_bounds_on_rounding_enclose_narrower_ones(kind: str) -> None:
    asked = drawn(kind, 3)
    ids = np.arange(1, asked.readout.V)
    finding = Finding(points(asked, 1)[0], Weights(ids, np.ones(ids.size)))
    wide, narrow = (probability_bounds(asked, 0, finding, 1.0, w) for w in (CLAIM, 1.0))
    assert wide[0] < narrow[0] <= narrow[1] < wide[1]


@given(st.integers(0, 2**32 - 1), st.sampled_from(KINDS))
@settings(max_examples=40)
def test_numbers_of_any_size_prove_nothing_false(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    sizes = np.array([0.0, LEAST, 1e-300, 1.0, 1e150, LARGEST])

    def hostile(*shape: int) -> Floats:
        signs = rng.choice([-1.0, 1.0], shape)
        return np.asarray(signs * rng.choice(sizes, shape) * rng.choice([1.0, 0.5], shape))

    found = (
        geom.hull(hostile(3, 2)) if kind == "hull" else geom.ellipsoid(hostile(2), hostile(3, 2))
    )
    asked = problem(hostile(4, 2), hostile(4), found)
    lam = Weights(np.arange(1, 4), np.minimum(np.abs(hostile(3)) + LEAST, LARGEST))
    temperature = float(rng.choice([1e-300, 1.0, 1e300]))
    low, _ = rank_bounds(asked, 0, Finding(weights=lam))
    cap = probability_bounds(asked, 0, Finding(weights=lam), temperature)[1]
    for y in points(asked, 2, seed):
        true = exact_log_probability(asked, 0, y, temperature)
        assert not probability_bounds(asked, 0, Finding(x=y), temperature)[0] > true
        assert cap >= true
        logits = exact_logits(asked, y)
        rank = 1 + sum(logit >= logits[0] for logit in logits[1:])
        assert low <= rank
        assert rank_bounds(asked, 0, Finding(x=y))[1] == rank


@pytest.mark.parametrize("opening", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_no_state_makes_an_unspeakable_token_likelier_than_the_cap_of_its_run(
    kind: str, opening: bool
) -> None:
    seen = 0
    for seed in range(3):
        asked = drawn(kind, seed, V=14)
        with geom.run(
            asked.readout, tokens="all", domain=asked.domain, opening=opening, hardest=0
        ) as run:
            for row in run.rows("unspeakable"):
                cap = row.probability_upper
                assert cap is not None
                assert 0.0 < cap <= 0.5
                a, c = in_coordinates(asked, row.token_id)
                shape, radius = asked.domain.shape, asked.domain.radius
                best = conic.largest_probability(a, c, shape, radius, 1.0)[0]
                assert math.exp(best) <= cap * (1.0 + 1e-6)
                seen += 1
    assert seen > 10


@pytest.mark.parametrize("kind", KINDS)
def test_of_k_equal_tokens_each_has_at_most_one_kth(kind: str) -> None:
    asked = problem(np.ones((5, 3)), None, domain(kind, 0))
    weights = Weights(np.arange(1, 5), np.ones(4))
    low, high = probability_bounds(asked, 0, Finding(points(asked, 1)[0], weights))
    assert low <= -math.log(5.0) <= high
    assert high - low <= 1e-9
    assert probability_cap(asked, 0, weights) == pytest.approx(1 / 5)


def test_a_shift_of_the_norm_counts_once() -> None:
    W, beta = cloud(6, 3, seed=1), np.array([0.5, -1.0, 0.25])
    readout = Readout.fold(W, None, norm="layernorm", beta=beta)
    moved = problem(W, W @ beta, domain("hull", 0))
    asked = Problem(readout, moved.domain)
    finding = Finding(points(asked, 1)[0], Weights(np.arange(1, 6), np.ones(5)))
    for one, other in zip(
        probability_bounds(asked, 0, finding), probability_bounds(moved, 0, finding), strict=True
    ):
        assert one == pytest.approx(other, abs=1e-12)


# Ranks


@pytest.mark.parametrize("ties", ["above", "below"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_rank_at_a_point_is_that_of_its_exact_logits(kind: str, ties: str) -> None:
    for seed in range(4):
        asked = drawn(kind, seed)
        for y in points(asked, 3, seed):
            logits = exact_logits(asked, y)
            for token, own in enumerate(logits):
                others = logits[:token] + logits[token + 1 :]
                above = [z >= own if ties == "above" else z > own for z in others]
                found = rank_bounds(asked, token, Finding(x=y), ties=ties)  # type: ignore[arg-type]
                assert found == (1, 1 + sum(above))


def test_at_the_centre_of_an_ellipsoid_the_rank_is_that_at_its_mean() -> None:
    asked = problem([[1.0], [-1.0]], None, geom.ellipsoid([-2.0], [[0.5]]))
    assert rank_bounds(asked, 0, Finding(x=np.zeros(1))) == (1, 2)
    assert rank_bounds(asked, 1, Finding(x=np.zeros(1))) == (1, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_no_state_has_a_better_rank_than_separate_proofs_allow(kind: str) -> None:
    for seed in range(4):
        asked = drawn(kind, seed)
        pairs = joined_weights(
            [Weights(np.array([2, 3]), np.ones(2)), Weights(np.array([4]), np.ones(1))]
        )
        for ties in ("above", "below"):
            low = rank_bounds(asked, 1, Finding(weights=pairs), ties=ties)[0]  # type: ignore[arg-type]
            assert low >= (2 if ties == "above" else 1)
            for y in points(asked, 40, seed):
                logits = exact_logits(asked, y)
                rivals = [z for t, z in enumerate(logits) if t != 1]
                above = [z >= logits[1] if ties == "above" else z > logits[1] for z in rivals]
                assert low <= 1 + sum(above)


# Surprise


def exact_square(x: list[Fraction], known: Scatter) -> Fraction:
    """Return the squared Mahalanobis length of an exact vector, exactly.

    The covariance is that of the definition, from the points less the mean, which must be exact.
    """
    m, rho = list(map(Fraction, known.mean.tolist())), Fraction(known.shrinkage)
    rows = [list(map(Fraction, row)) for row in known.centred.tolist()]
    n, d = known.centred.shape
    S = [
        [
            (1 - rho) / n * sum((row[i] * row[j] for row in rows), Fraction(0))
            + (rho * Fraction(known.variance) if i == j else 0)
            for j in range(d)
        ]
        for i in range(d)
    ]
    off = [a - b for a, b in zip(x, m, strict=True)]
    inner = fmpq_mat(d, d, [fmpq(e.numerator, e.denominator) for row in S for e in row])
    side = fmpq_mat(d, 1, [fmpq(e.numerator, e.denominator) for e in off])
    found = (side.transpose() * inner.solve(side))[0, 0]
    return Fraction(int(found.p), int(found.q))


def habits(seed: int, scale: float, shrinkage: float | None, flat: bool) -> Scatter:
    """Return a sample whose points less their mean are exact: each point comes with its mirror.

    A flat one lies on a line.
    """
    half = np.round(cloud(4, 3, seed) * 2.0**10) / 2.0**10
    if flat:
        half = np.outer(np.arange(1.0, 5.0), half[0])
    mean = np.round(cloud(1, 3, seed + 1)[0] * 2.0**10) / 2.0**10
    unit = 2.0 ** round(math.log2(scale))
    points = (np.vstack([mean + half, mean - half])) * unit
    known = Scatter.of(points, geom.hull(points), shrinkage)
    assert (known.mean == mean * unit).all()
    return known


@given(
    seed=st.integers(0, 2**20),
    kind=st.sampled_from(KINDS),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    other=st.sampled_from([1e-6, 1.0, 1e6]),
    shrinkage=st.sampled_from([None, 1e-9, 0.1, 1.0]),
    flat=st.booleans(),
)
@settings(max_examples=60)
def test_every_state_that_says_a_token_is_as_far_as_its_bounds_say(
    seed: int, kind: str, scale: float, other: float, shrinkage: float | None, flat: bool
) -> None:
    """Any weights bound the exact length of any point that wins, from below, and it from above."""
    rng = np.random.default_rng(seed)
    asked = drawn(kind, seed, scale=scale)
    known = habits(seed, other, shrinkage, flat)
    token = int(rng.integers(asked.readout.V))
    lows, squares = [0.0], []
    for y in points(asked, 4, seed):
        ids = np.delete(np.arange(asked.readout.V), token)
        lam = np.ldexp(rng.exponential(size=ids.size) ** 4, int(rng.integers(-30, 30)))
        low, high = surprise_bounds(asked, token, Finding(y, Weights(ids, lam)), known)
        alone = surprise_bounds(asked, token, Finding(y), known)[0]
        if low == math.inf:
            continue
        lows += [low, alone]
        logits = exact_logits(asked, y)
        if all(z < logits[token] for j, z in enumerate(logits) if j != token):
            frame = asked.domain.frame
            assert frame is not None
            x = list(asked.domain.exact_vector(y).fractions())
            squares.append(exact_square(x, known))
            assert Fraction(high) ** 2 >= squares[-1]
    assert all(Fraction(low) ** 2 <= square for low in lows for square in squares)


@pytest.mark.parametrize("kind", KINDS)
def test_a_point_alone_proves_how_far_a_domain_is_from_the_mean(kind: str) -> None:
    """At the domain's nearest point both ends are its length, and weights add nothing."""
    known = habits(3, 1.0, 0.1, flat=False)
    far = 8.0 * np.ones(3)
    found = geom.hull([known.mean + far]) if kind == "hull" else None
    if found is None:
        # the ball of a metric around a far centre: its nearest point is on the way to the mean
        root = np.linalg.cholesky(known.covariance).T
        found = geom.ellipsoid(known.mean + far, root, 1.0)
        away = np.linalg.solve(root.T, far)
        y = found.fit(-away / np.linalg.norm(away))
        true = math.sqrt(float(exact_square([Fraction(e) for e in known.mean + far], known))) - 1.0
    else:
        y = np.ones(1)
        true = math.sqrt(float(exact_square([Fraction(e) for e in known.mean + far], known)))
    asked = problem([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], [1.0, 0.0], found)
    low, high = surprise_bounds(asked, 0, Finding(y), known)
    assert low <= true * (1 + 1e-9)
    assert high >= true * (1 - 1e-9)
    assert high - low <= 1e-8 * true


# Questions in coordinates


def rounded_apart() -> Problem:
    """Return a question whose two tokens are equal in rounded coordinates and not in truth.

    Their logits on the line are ``x + 1`` and ``x + 1 + 2**-60``.
    """
    W = np.array([[1.0, 1.0], [1.0, 1.0], [-9.0, 1.0]])
    W[1, 1] = 1.0 + 2.0**-52
    return problem(W, None, geom.ellipsoid([4.0, 2.0**-8], [[1.0, 0.0]], 1.0))


def test_a_proof_is_about_the_question_asked_and_not_about_rounded_rows() -> None:
    exact = rounded_apart()
    asked = exact.in_coordinates
    assert (asked.readout.W[0] == asked.readout.W[1]).all()
    assert asked.readout.b[0] == asked.readout.b[1]
    finding = Finding(np.zeros(1), Weights(np.array([1]), np.ones(1)))
    assert judge(asked, 1, Finding(x=np.zeros(1))).name == "speakable"
    assert judge(asked, 0, finding).name == "unspeakable"
    assert margin_bounds(asked, 0, finding)[1] <= 0.0
    for token in range(3):
        for about in (rank_bounds, probability_bounds):
            assert about(asked, token, finding) == about(exact, token, finding)
    assert rank_bounds(asked, 1, Finding(x=np.zeros(1))) == (1, 1)
    assert np.isneginf(prove_own_directions(asked, np.arange(3))).all()
    ids, y = np.array([0, 1]), np.zeros((2, 1))
    one, other = (close_rivals(p, ids, y, np.zeros(2)) for p in (asked, exact))
    assert one.owner.tolist() == other.owner.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_about_lengths_and_angles_refuses_it_in_either_form(kind: str) -> None:
    exact, nothing = drawn(kind, 0), Finding()
    for asked in (exact, exact.in_coordinates):
        for refused in (angle_bounds, ball_bounds, freeing_bounds, silencing_bounds):
            with pytest.raises(InputError, match=f"is not made for domain {kind}"):
                refused(asked, 0, nothing)  # type: ignore[operator]
