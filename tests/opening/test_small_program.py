"""The largest margin over few rivals, against Clarabel and by the conditions of an optimum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geom.opening.small_program import SmallProgram, simplex_minimum, vanishing
from support import conic
from support.truth import Floats


def solved(A: Floats, c: Floats, radius: float, pieces: int = 1) -> SmallProgram:
    """Return the program of the margins ``A x + c``, whose rivals join in some pieces."""
    program = SmallProgram(radius)
    start = 0
    for part in np.array_split(np.arange(len(A)), pieces):
        program.add(A[:start] @ A[part].T, A[part] @ A[part].T, c[part])
        start += len(part)
        program.solve()
    for _ in range(10):
        program.solve()
    assert program.lam.min() >= 0.0
    assert program.lam.sum() == pytest.approx(1.0, abs=1e-12)
    return program


def bound(A: Floats, c: Floats, radius: float, lam: Floats) -> float:
    """Return what the weights prove: no point of the ball has a larger margin."""
    return radius * float(np.linalg.norm(lam @ A)) + float(c @ lam)


def check(A: Floats, c: Floats, radius: float, pieces: int = 1) -> SmallProgram:
    """Compare with Clarabel, to a millionth of the scale.

    With biases, a token that cannot win may have more rivals with weight than there are dimensions.
    Their products are singular then, and only the sign of the bound is asked for.
    """
    program = solved(A, c, radius, pieces)
    truth = conic.largest_margin(-A, -c, "ball", radius)
    found = bound(A, c, radius, program.lam)
    scale = radius * np.linalg.norm(A, axis=1).max() + np.abs(c).max()
    assert found >= truth - 1e-9 * scale
    if truth > 0.0 or not c.any():
        assert found == pytest.approx(truth, abs=2e-6 * scale)
    assert (found < 0.0) == (truth < 0.0) or abs(truth) < 1e-4 * scale
    return program


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("biased", [False, True])
def test_the_bound_is_the_largest_margin(seed: int, biased: bool) -> None:
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(1, 60)), int(rng.integers(1, 12))
    A = rng.normal(size=(n, d)) + rng.normal(size=d) * float(rng.choice([0.0, 1.0, 3.0]))
    c = rng.normal(size=n) * float(rng.choice([1e-3, 1.0, 30.0])) if biased else np.zeros(n)
    check(A, c, float(rng.choice([0.1, 1.0, d**0.5, 100.0])))


@pytest.mark.parametrize("pieces", [2, 5, 30])
def test_rivals_may_join_one_after_the_other(pieces: int) -> None:
    rng = np.random.default_rng(3)
    A, c = rng.normal(size=(30, 6)) + 1.0, rng.normal(size=30)
    check(A, c, 2.0, pieces)


def test_one_rival_has_all_the_weight() -> None:
    program = check(np.array([[3.0, 4.0]]), np.array([0.5]), 2.0)
    assert program.lam.tolist() == [1.0]


def test_equal_rivals_share_their_weight() -> None:
    A = np.repeat(np.array([[1.0, 0.0], [0.0, 1.0]]), 5, axis=0)
    program = check(A, np.zeros(10), 1.0)
    assert program.lam[:5].sum() == pytest.approx(0.5, abs=1e-9)
    assert (program.lam < 0.3).all()


@pytest.mark.parametrize("seed", range(4))
def test_a_token_inside_the_hull_has_a_bound_of_zero(seed: int) -> None:
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(80, 5))
    program = check(A, np.zeros(80), 3.0)
    assert np.linalg.norm(program.lam @ A) <= 1e-6


def test_inside_the_hull_with_biases_the_bound_is_below_zero() -> None:
    rng = np.random.default_rng(5)
    A = rng.normal(size=(80, 5))
    program = check(A, -1.0 - rng.random(80), 3.0)
    assert bound(A, program.c, 3.0, program.lam) < 0.0


def test_rows_of_zeros_leave_the_biases() -> None:
    c = np.array([2.0, -1.5, 0.25])
    program = check(np.zeros((3, 4)), c, 1.0)
    assert program.lam.tolist() == [0.0, 1.0, 0.0]


def test_some_rows_of_zeros_bound_the_margin_by_their_biases() -> None:
    A = np.vstack([np.zeros((2, 3)), np.eye(3)])
    check(A, np.array([0.25, 0.75, 0.0, 0.0, 0.0]), 2.0)
    check(A, np.zeros(5), 2.0)


@pytest.mark.parametrize("scale", [1e-120, 1e-12, 1e12, 1e120])
def test_the_scale_of_rows_and_biases_changes_no_weights(scale: float) -> None:
    rng = np.random.default_rng(6)
    A, c = rng.normal(size=(20, 4)) + 1.0, rng.normal(size=20)
    plain, scaled = solved(A, c, 2.0), solved(A * scale, c * scale, 2.0)
    assert bound(A, c, 2.0, scaled.lam) == pytest.approx(bound(A, c, 2.0, plain.lam), rel=1e-6)


@given(
    seed=st.integers(0, 2**32), n=st.integers(1, 14), rank=st.integers(0, 6), linear=st.booleans()
)
def test_with_independent_rows_the_conditions_of_an_optimum_hold(
    seed: int, n: int, rank: int, linear: bool
) -> None:
    rng = np.random.default_rng(seed)
    root = rng.integers(-3, 4, (n, rank)) * 1.0
    K = root @ root.T + np.diag(rng.integers(1, 4, n))
    q = rng.integers(-3, 4, n) * float(linear)
    start = np.zeros(n)
    start[: rng.integers(1, n + 1)] = 1.0
    ridge = 1e-13 * max(1.0, float(np.diagonal(K).max()))
    lam = simplex_minimum(K, q, start, ridge)
    assert lam.min() >= 0.0
    assert lam.sum() == pytest.approx(1.0, abs=1e-12)
    slope = K @ lam + q
    level = float(lam @ slope)  # no rival lies below it, so no exchange of weight lowers the sum
    assert slope.min() >= level - 1e-6 * (1.0 + np.abs(K).max() + np.abs(q).max())


def test_weights_near_a_vanishing_sum_are_moved_to_it() -> None:
    rng = np.random.default_rng(7)
    A = rng.normal(size=(9, 4))
    A[-1] = -A[:-1].sum(axis=0)
    lam = np.full(9, 1.0 / 9.0) + 1e-4 * rng.normal(size=9)
    moved = vanishing(A, lam)
    assert np.abs(moved @ A).max() <= 1e-14
    assert moved.sum() == pytest.approx(1.0, abs=1e-14)
    assert np.abs(moved - lam).max() < 1e-3


@pytest.mark.parametrize("A", [np.array([[1.0, 0.0], [2.0, 0.0]]), np.zeros((2, 2))])
def test_weights_that_cannot_vanish_stay(A: Floats) -> None:
    lam = np.array([0.25, 0.75])
    assert vanishing(A, lam) is lam
