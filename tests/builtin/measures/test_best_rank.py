"""``best-rank`` against the corners of all planes, Qhull, sampled states, and known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from geom import Finding, Measurement, Problem, Readout, Weights
from geom.model.domains import box, layernorm, unbounded
from geom.proofs import joined_weights, rank_bounds, separate_weights
from geom_plugins.measures.best_rank import BestRankOptions, best_rank, proven
from support import arrangements
from support.problems import cloud, problem

Floats = NDArray[np.float64]

SHAPES = ["rmsnorm", "layernorm", "box", "unbounded"]


def measured(
    asked: Problem, token: int = 0, prior: Finding | None = None, **options: object
) -> Measurement:
    return best_rank(asked, token, prior or Finding(), BestRankOptions(**options))  # type: ignore[arg-type]  # any option


def whole(V: int, d: int, seed: int, size: int = 1000) -> NDArray[np.int64]:
    """Draw rows of whole numbers."""
    return np.random.default_rng(seed).integers(-size, size + 1, (V, d))


def differences(rows: NDArray[np.int64], token: int) -> list[list[int]]:
    return (np.delete(rows, token, axis=0) - rows[token]).tolist()


def ends(found: Measurement) -> tuple[float, float]:
    """Return the proven lower bound on the best rank, and the best rank found."""
    assert found.proven
    assert found.error is not None
    return found.value - found.error, found.value


def encloses(found: Measurement, truth: int) -> int:
    """Check a measurement; return how far the ends are from the truth together."""
    low, high = ends(found)
    assert low <= truth <= high
    return int(high - low)


# Enumerations


@pytest.mark.parametrize("d", [2, 3])
def test_without_biases_the_ends_enclose_the_rank_at_the_best_corner(d: int) -> None:
    rows = whole(20, d, d)
    asked = problem(rows.astype(float), None, "rmsnorm")
    apart, exact = 0, 0
    for token in range(20):
        truth = arrangements.best_rank(differences(rows, token))
        found = measured(asked, token)
        apart += encloses(found, truth)
        exact += found.value == truth
    assert exact >= 16
    assert apart <= 20


def test_where_entries_sum_to_zero_three_dimensions_are_two() -> None:
    rows = whole(20, 3, 5)
    asked = Problem(Readout.fold(rows.astype(float)), layernorm(3))
    for token in range(20):
        flat = [[p - r, q - r] for p, q, r in differences(rows, token)]
        encloses(measured(asked, token), arrangements.best_rank(flat))


@pytest.mark.parametrize("radius", [1, 8])
def test_with_biases_the_ends_enclose_the_best_rank_in_a_box(radius: int) -> None:
    rows = whole(18, 3, 7)
    asked = Problem(Readout.fold(rows[:, :2].astype(float), rows[:, 2]), box(2, float(radius)))
    walls = [[s, 0, -radius] for s in (1, -1)] + [[0, s, -radius] for s in (1, -1)]
    exact = 0
    for token in range(18):
        truth = arrangements.best_rank(differences(rows, token), walls)
        found = measured(asked, token)
        encloses(found, truth)
        exact += found.value == truth
    assert exact >= 14


def test_with_biases_the_ends_enclose_the_best_rank_in_the_plane() -> None:
    rows = whole(18, 3, 9)
    asked = Problem(Readout.fold(rows[:, :2].astype(float), rows[:, 2]), unbounded(2))
    for token in range(18):
        truth = arrangements.best_rank(differences(rows, token), [[0, 0, -1]])
        encloses(measured(asked, token), truth)


def test_on_a_line_both_ends_are_the_rank() -> None:
    rows = whole(30, 1, 3, 10**6)
    asked = problem(rows.astype(float), None, "rmsnorm")
    order = rows[:, 0].argsort().argsort()
    for token in range(30):
        found = measured(asked, token)
        assert (found.value, found.error) == (1 + min(order[token], 29 - order[token]), 0.0)


@pytest.mark.parametrize("d", [2, 3])
def test_without_the_rivals_above_qhull_makes_the_token_a_corner(d: int) -> None:
    W = cloud(30, d, 4)
    asked = problem(W, None, "rmsnorm")
    for token in range(30):
        found = measured(asked, token)
        assert found.x is not None
        logits = W @ found.x
        kept = np.flatnonzero(logits <= logits[token])
        assert kept.size == 31 - found.value
        if kept.size > d + 1:
            assert token in kept[ConvexHull(W[kept]).vertices]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("biased", [False, True])
def test_no_state_has_a_better_rank_than_the_lower_end(shape: str, biased: bool) -> None:
    W, b = cloud(60, 5, 6), cloud(60, 1, 7)[:, 0] * biased
    asked = problem(W, b, shape)
    rng = np.random.default_rng(8)
    points = asked.domain.sample(rng, 20_000) * (
        rng.exponential(4.0, (20_000, 1)) if shape == "unbounded" else 1.0
    )
    logits = points @ W.T + b
    hard = 0
    for token in range(0, 60, 4):
        low, high = ends(measured(asked, token))
        seen = (logits >= logits[:, [token]]).sum(axis=1).min()
        assert low <= seen
        assert high <= seen + 4
        hard += low > 1
    assert hard


# Known answers


@pytest.mark.parametrize("shape", SHAPES)
def test_each_twin_takes_a_rank(shape: str) -> None:
    W = np.vstack([np.eye(3), np.eye(3)[:1], np.eye(3)[:1]])
    found = measured(problem(W, None, shape), 0)
    assert (found.value, found.error, found.proven) == (3.0, 0.0, True)
    assert found.weights is not None
    assert sorted(found.weights.indices.tolist()) == [3, 4]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_token_that_wins_somewhere_is_first(shape: str) -> None:
    found = measured(problem(np.eye(4), None, shape), 2)
    assert (found.value, found.error) == (1.0, 0.0)
    assert found.x is not None
    assert found.x.argmax() == 2


def test_the_middle_of_a_cross_is_behind_one_end_of_each_bar() -> None:
    d = 4
    W = np.vstack([np.eye(d), -np.eye(d), np.zeros((1, d))])
    found = measured(problem(W, None, "rmsnorm"), 2 * d)
    assert (found.value, found.error) == (1.0 + d, 0.0)


def test_the_mean_of_a_simplex_is_behind_one_corner() -> None:
    W = np.vstack([np.eye(4), np.full((1, 4), 0.25)])
    found = measured(problem(W, None, "rmsnorm"), 4)
    assert (found.value, found.error) == (2.0, 0.0)


def test_biases_alone_put_tokens_in_their_order() -> None:
    W, b = np.zeros((6, 2)), np.arange(6.0)
    for shape in SHAPES:
        for token in range(6):
            found = measured(problem(W, b, shape), token)
            assert (found.value, found.error) == (6.0 - token, 0.0)


def test_if_ties_count_as_below_twins_are_first_and_the_shorter_still_is_not() -> None:
    W = np.array([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])
    b = np.array([0.0, 0.0, 0.0, -0.5])
    asked = problem(W, b, "rmsnorm")
    assert ends(measured(asked, 0)) == (2.0, 2.0)
    assert ends(measured(asked, 0, ties="below")) == (1.0, 1.0)
    assert ends(measured(asked, 3)) == (2.0, 2.0)
    assert ends(measured(asked, 3, ties="below")) == (2.0, 2.0)
    low = problem(W, [0.0, 0.0, 0.0, -9.0], "rmsnorm")
    assert ends(measured(low, 3)) == ends(measured(low, 3, ties="below")) == (4.0, 4.0)


def test_without_biases_no_rival_is_strictly_above_at_zero() -> None:
    asked = problem(np.vstack([np.eye(3), -np.eye(3), np.zeros((1, 3))]), None, "rmsnorm")
    found = measured(asked, 6, ties="below")
    assert (found.value, found.error, found.note) == (1.0, 0.0, "at x = 0")


def test_alone_in_its_vocabulary_it_is_first() -> None:
    found = measured(problem([[1.0, 2.0]], [3.0], "rmsnorm"))
    assert (found.value, found.error, found.note) == (1.0, 0.0, "it has no rival")


def test_the_limit_bounds_the_lower_end_and_nothing_else() -> None:
    W = np.vstack([np.eye(4), -np.eye(4), np.zeros((1, 4))])
    asked = problem(W, None, "rmsnorm")
    for limit in range(4):
        low, high = ends(measured(asked, 8, limit=limit))
        assert (low, high) == (1.0 + limit, 5.0)


# Proofs


def test_the_proofs_in_one_set_of_weights_come_apart_again() -> None:
    parts = [
        Weights(np.array([3, 1]), np.array([0.25, 0.75])),
        Weights(np.array([7]), np.array([1e-300])),
        Weights(np.array([2, 5, 9]), np.array([1.0, 0.0, 1.0])),
    ]
    again = separate_weights(joined_weights(parts))
    assert [part.indices.tolist() for part in again] == [[1, 3], [7], [2, 9]]
    assert [(part.values / part.values[0]).tolist() for part in again] == [
        [1.0, 1 / 3],
        [1.0],
        [1.0, 1.0],
    ]


def test_two_proofs_with_a_rival_in_common_count_for_nothing() -> None:
    W = np.vstack([np.eye(2), -np.eye(2), np.zeros((1, 2))])
    asked = problem(W, None, "rmsnorm")
    apart = Weights(np.array([0, 2, 1, 3]), np.array([1.0, 1.0, 2.0, 2.0]))
    assert rank_bounds(asked, 4, Finding(weights=apart)) == (3, 5)
    shared = Weights(np.array([0, 2, 0, 2]), np.array([1.0, 1.0, 2.0, 2.0]))
    assert rank_bounds(asked, 4, Finding(weights=shared)) == (1, 5)
    one = Weights(np.array([0, 2, 1]), np.array([1.0, 1.0, 2.0]))
    assert rank_bounds(asked, 4, Finding(weights=one)) == (2, 5)


def test_a_tie_at_the_point_counts_as_it_is_told_to() -> None:
    asked = problem([[1.0, 0.0], [1.0, 1e-300], [0.0, 1.0]], [0.0, 0.0, -1.0], "unbounded")
    x = np.array([1.0, 0.0])  # the second row ties there
    assert rank_bounds(asked, 0, Finding(x))[1] == 2
    assert rank_bounds(asked, 0, Finding(x), ties="below")[1] == 1
    up = np.array([1.0, 1.0])  # and is higher by 1e-300 here
    assert rank_bounds(asked, 0, Finding(up), ties="below")[1] == 2


def test_a_point_outside_the_domain_proves_nothing() -> None:
    asked = problem(np.eye(3), None, "rmsnorm")
    assert rank_bounds(asked, 0, Finding(np.array([5.0, 0.0, 0.0]))) == (1, 3)
    assert rank_bounds(asked, 0, Finding(np.array([math.nan, 0.0, 0.0]))) == (1, 3)


@given(st.integers(0, 2**32 - 1), st.sampled_from(SHAPES), st.sampled_from(["above", "below"]))
def test_whoever_chose_point_and_weights_the_ends_do_not_cross(
    seed: int, shape: str, ties: str
) -> None:
    rng = np.random.default_rng(seed)
    d, V = int(rng.integers(1, 4)), int(rng.integers(2, 10))
    scale = 2.0 ** int(rng.choice([-1000, -60, 0, 60, 900]))
    W = rng.integers(-2, 3, (V, d)) * scale
    b = rng.integers(-2, 3, V) * scale if rng.integers(2) else None
    asked = problem(W, b, shape)
    own = ends(measured(asked, ties=ties))
    lows, highs = [own[0]], [own[1]]
    for _ in range(4):
        x = asked.domain.fit(rng.standard_normal(d))
        ids = 1 + rng.permutation(V - 1)
        weights = Weights(ids.astype(np.int64), rng.integers(1, 4, V - 1).astype(float))
        low, high = rank_bounds(asked, 0, Finding(x, weights), ties=ties)  # type: ignore[arg-type]  # drawn
        lows.append(low)
        highs.append(high)
    assert max(lows) <= min(highs)


def test_what_is_kept_proves_the_number_again() -> None:
    for shape in SHAPES:
        asked = problem(cloud(40, 4, 1), cloud(40, 1, 2)[:, 0], shape)
        for token in range(0, 40, 5):
            found = measured(asked, token)
            evidence = Finding(found.x, found.weights)
            low, high = proven(asked, token, evidence, BestRankOptions(), 1.0)
            assert ends(found)[0] <= low <= high <= ends(found)[1]
