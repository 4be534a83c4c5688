"""The hull of points: what its coefficients prove, against games solved in exact rationals."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull

import geom
from geom import Domain, Finding, Problem, Readout, Verdict, Weights, judge
from geom.exact import faults
from geom.exact.bulk import prove_points
from geom.exact.close import margins_below
from geom.exact.points import margin_at
from geom.proofs import margin_bounds
from geom_plugins.certifiers import highs
from geom_plugins.solvers.maximum_entropy import Effort, search
from support import games
from support.judging import LARGEST, LEAST, at, by
from support.problems import cloud, problem

CERTIFIERS = {
    "maxent": lambda asked, t: search(asked, t, Finding(), Effort()),
    "highs": lambda asked, t: highs.certify(asked, t, Finding(), highs.HighsOptions()),
}

HULLS = {
    "five points in space": cloud(5, 3, seed=1),
    "a triangle in space": cloud(3, 3, seed=2),
    "a single point": cloud(1, 3, seed=3),
    "points on a line": np.array([[t + 0.5, 0.25 - 2 * t, t / 2] for t in (-2, -0.5, 1, 3)]),
    "points that occur twice": np.repeat(cloud(2, 3, seed=4), 2, axis=0),
    "a triangle around the origin": np.array([[2.0, 0, 0], [-1, 2, 0], [-1, -2, 0]]),
}


def rows(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and biases: token 4 is the middle of 0 and 1, 5 the twin of 2."""
    W, b = cloud(7, 3, seed), cloud(7, 1, seed + 100)[:, 0] / 4
    W[4], b[4] = (W[0] + W[1]) / 2, (b[0] + b[1]) / 2
    W[5], b[5] = W[2], b[2]
    return W, b


@pytest.mark.parametrize("points", HULLS.values(), ids=HULLS)
@pytest.mark.parametrize("certifier", CERTIFIERS.values(), ids=CERTIFIERS)
def test_every_token_gets_the_verdict_of_the_exact_game(certifier, points) -> None:
    for seed in range(2):
        W, b = rows(seed)
        asked = problem(W, b, geom.hull(points))
        for token in range(len(W)):
            value = games.value(games.payoffs(W, b, token, points))
            finding = certifier(asked, token)
            verdict = judge(asked, token, finding)
            assert verdict.name == ("speakable" if value > 0 else "unspeakable")
            assert faults(asked, token, finding, verdict) == []
            low, high = margin_bounds(asked, token, finding)
            assert low <= value <= high


@pytest.mark.parametrize("points", HULLS.values(), ids=HULLS)
def test_the_largest_margin_is_the_value_of_the_game(points) -> None:
    W, b = rows(7)
    asked = problem(W, b, geom.hull(points))
    for token in range(len(W)):
        value = games.value(games.payoffs(W, b, token, points))
        for finding in (
            search(asked, token, Finding(), Effort(largest=True, gap=1e-9)),
            highs.certify(asked, token, Finding(), highs.HighsOptions(largest=True, gap=1e-9)),
        ):
            low, high = margin_bounds(asked, token, finding)
            assert low <= value <= high
            assert high - low <= 1e-6


def test_in_a_hull_around_the_origin_the_corners_of_the_rows_are_speakable() -> None:
    W = cloud(40, 2, seed=5)
    W -= W[ConvexHull(W).vertices].mean(axis=0)
    angles = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    asked = problem(W, None, geom.hull(np.column_stack([np.cos(angles), np.sin(angles)])))
    found = {t for t in range(40) if judge(asked, t, CERTIFIERS["highs"](asked, t)).name[0] == "s"}
    assert found == set(ConvexHull(W).vertices.tolist())


def test_a_middle_of_two_tokens_is_unspeakable_by_their_weights() -> None:
    W, b = rows(0)
    asked = problem(W, b, geom.hull(HULLS["five points in space"]))
    verdict = judge(asked, 4, by(w0=0.5, w1=0.5))
    assert (verdict.name, verdict.margin_upper) == ("unspeakable", 0.0)


def test_a_tie_at_the_best_corner_is_unspeakable_though_the_rows_differ() -> None:
    # Token 0 is beaten nowhere on the second axis, but ties with token 1 at every point of a hull
    # that lies in the plane x_2 = 0: weights there do not vanish, and only their sum does.
    W = np.array([[1.0, 1.0], [1.0, -3.0], [-5.0, 0.0]])
    asked = problem(W, None, geom.hull(np.array([[1.0, 0.0], [3.0, 0.0]])))
    verdict = judge(asked, 0, by(w1=1.0))
    assert (verdict.name, verdict.proof) == ("unspeakable", "rational")
    lifted = problem(W, None, geom.hull(np.array([[1.0, 0.0], [3.0, 2.0**-1000]])))
    assert judge(lifted, 0, by(w1=1.0)).name == "undecided"
    assert judge(lifted, 0, at(0.0, 1.0)).name == "speakable"


def test_weights_that_fail_at_one_point_prove_nothing() -> None:
    W = np.array([[1.0, 0.0], [0.0, 1.0]])
    points = np.vstack([np.tile([0.0, 1.0], (50, 1)), [[1.0, 0.0]]])
    assert judge(problem(W, None, geom.hull(points)), 0, by(w1=1.0)).name == "undecided"
    assert judge(problem(W, None, geom.hull(points[:50])), 0, by(w1=1.0)).name == "unspeakable"


# Points


@pytest.mark.parametrize(
    "shares",
    [
        [1.5, -0.5, 0.0],
        [0.5, 0.25, 0.0],
        [0.5, 0.5, LEAST],
        [0.5, 0.5, -LEAST],
        [0.5, 0.5, 2.0**-53],
        [1.0, np.nan, 0.0],
        [np.inf, 0.0, 0.0],
        [0.0, 0.0, 0.0],
        [0.5, 0.5],
    ],
)
def test_shares_that_are_no_mixture_prove_nothing(shares: list[float]) -> None:
    asked = problem([[1.0, 0.0], [-1.0, 0.0]], None, geom.hull([[1.0, 0], [2.0, 0], [3.0, 1]]))
    x = np.array(shares)
    assert not asked.domain.contains(x)
    verdict = judge(asked, 0, Finding(x=x))
    assert (verdict.name, verdict.margin_lower) == ("undecided", None)
    claim = Verdict("speakable", "witness", margin_lower=0.5)
    assert faults(asked, 0, Finding(x=x), claim)


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=40))
def test_any_numbers_are_moved_to_a_mixture(values: list[float]) -> None:
    domain = geom.hull(np.ones((len(values), 2)))
    y = domain.fit(np.array(values))
    assert domain.contains(y)
    assert domain.contains_all(y[None]).all()
    assert sum(map(Fraction, y.tolist())) == 1


def test_points_drawn_from_a_hull_are_mixtures() -> None:
    domain = geom.hull(cloud(30, 4, seed=0))
    assert domain.contains_all(domain.fit_all(domain.sample(np.random.default_rng(0), 100))).all()


def exact_margin(asked: Problem, token: int, y: np.ndarray) -> Fraction:
    """Return the margin at the exact combination, by plain rational arithmetic."""
    frame = asked.domain.frame
    assert frame is not None
    start = np.zeros(asked.domain.d) if frame.centre is None else frame.centre
    x = [
        sum((Fraction(s) * Fraction(e) for s, e in zip(y, column, strict=True)), Fraction(c))
        for column, c in zip(frame.axes.T.tolist(), start.tolist(), strict=True)
    ]
    W, b = asked.readout.W.tolist(), asked.readout.b.tolist()
    logits = [
        sum((Fraction(u) * v for u, v in zip(w, x, strict=True)), Fraction(bias))
        for w, bias in zip(W, b, strict=True)
    ]
    return logits[token] - max(logits[:token] + logits[token + 1 :])


@pytest.mark.parametrize("scale", [1.0, 2.0**-500, 2.0**500])
@pytest.mark.parametrize("kind", ["hull", "ellipsoid"])
def test_a_margin_is_that_at_the_exact_combination(kind: str, scale: float) -> None:
    W, points = cloud(6, 3, seed=8), cloud(5, 3, seed=9) * scale
    domain = geom.hull(points) if kind == "hull" else geom.ellipsoid(points[0], points, 2.0)
    asked = problem(W, cloud(6, 1, seed=1)[:, 0] * scale, domain)
    for y in domain.fit_all(domain.sample(np.random.default_rng(3), 12)):
        for token in range(6):
            true = exact_margin(asked, token, y)
            assert margin_at(asked, token, y) == true
            below = judge(asked, token, Finding(x=y)).margin_lower
            assert below is not None
            assert Fraction(below) <= true
            assert (below > 0) == (true > 0)
            (bulk,) = prove_points(asked, np.array([token]), y[None])
            (close,) = margins_below(asked, np.array([token]), y[None])
            assert not bulk > true
            assert close <= true


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_numbers_of_any_size_prove_nothing_false(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = np.array([0.0, LEAST, 1e-300, 1.0, 1e150, LARGEST])

    def hostile(*shape: int) -> np.ndarray:
        signs = rng.choice([-1.0, 1.0], shape)
        return signs * rng.choice(sizes, shape) * rng.choice([1.0, 0.5], shape)

    W, b, points = hostile(4, 2), hostile(4), hostile(3, 2)
    asked = problem(W, b, geom.hull(points))
    lam = np.abs(hostile(3)) + LEAST
    for token in range(4):
        value = games.value(games.payoffs(W, b, token, points))
        others = np.delete(np.arange(4), token)
        y = asked.domain.fit(rng.dirichlet(np.ones(3)))
        verdict = judge(asked, token, Finding(y, Weights(others, np.minimum(lam, LARGEST))))
        if verdict.decided:
            assert verdict.name == ("speakable" if value > 0 else "unspeakable")
        assert verdict.margin_lower is None or Fraction(verdict.margin_lower) <= value
        assert verdict.margin_upper is None or Fraction(verdict.margin_upper) >= value


def test_a_readout_with_one_token_speaks_it() -> None:
    asked = problem([[1.0, 2.0]], None, geom.hull(np.ones((3, 2))))
    for certify in CERTIFIERS.values():
        assert judge(asked, 0, certify(asked, 0)).name == "speakable"


# Domains of one's own


def test_a_hull_is_equal_to_one_of_the_same_points() -> None:
    points = cloud(4, 2, seed=0)
    assert geom.hull(points) == geom.hull(points.astype(np.float32))
    assert hash(geom.hull(points)) == hash(geom.hull(points.copy()))
    assert geom.hull(points) != geom.hull(points[::-1])


def test_a_shift_of_the_norm_counts_once() -> None:
    W, beta, points = cloud(6, 3, seed=1), np.array([0.5, -1.0, 0.25]), cloud(4, 3, seed=2)
    readout = Readout.fold(W, None, norm="layernorm", beta=beta)
    asked = Problem(readout, geom.hull(points))
    plain = problem(W, W @ beta, geom.hull(points))
    for token in range(6):
        verdict = judge(asked, token, CERTIFIERS["maxent"](asked, token))
        assert verdict.name == judge(plain, token, CERTIFIERS["maxent"](plain, token)).name


@pytest.mark.parametrize("name", ["rmsnorm", "auto", "hul1", "ellipsoid"])
def test_a_hull_cannot_have_the_name_of_another_domain(name: str) -> None:
    hull = geom.hull(cloud(3, 2, seed=0))
    own = Domain(name, 2, "simplex", Fraction(1), frame=hull.frame)
    with pytest.raises(geom.InputError):
        geom.run(Readout.fold(cloud(4, 2, seed=1)), domain=own)


def test_which_points_are_mixtures_is_decided_exactly_for_many_at_once() -> None:
    step, n = 2.0**-52, 4096
    asked = geom.hull(np.ones((n, 1)))
    even = np.full(n, 1.0 / n)
    rows = np.tile(even, (9, 1))
    rows[1, 0] += step  # more than 1
    rows[2, 0] -= step  # less than 1
    rows[3, :2] += [-2 * even[0], 2 * even[0]]  # a share below zero
    rows[4, :2] += [step, -step]
    rows[5, :2] += [step / 2**9, -step / 2**9]  # finer than the grid, the sum is 1
    rows[6, :2] += [step / 2**9, -step / 2**10]  # finer than the grid, the sum is not 1
    rows[7, 3] = np.nan
    rows[8] = 2.0**40  # a sum beyond 2**63 steps
    inside = asked.contains_all(rows).tolist()
    truth = [
        bool(np.isfinite(row).all())
        and min(row.tolist()) >= 0
        and sum(map(Fraction, row.tolist())) == 1
        for row in rows
    ]
    assert inside == truth == [True, False, False, False, True, True, False, False, False]
    assert [asked.contains(row) for row in rows] == truth
