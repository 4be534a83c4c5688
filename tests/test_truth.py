"""The tests' own sources of truth: each proves itself, or agrees with an independent one."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from support import conic, truth
from support.suprema import Floats, Place, Rivals

HALF = Fraction(1, 2)


def rivals(W: Floats, b: Floats, place: Place) -> Rivals:
    return Rivals.of(W, [Fraction(v) for v in b.tolist()], place, 0, homogeneous=False)


def drawn(seed: int) -> tuple[Floats, Floats]:
    """Draw rows and biases, whole or not."""
    rng = np.random.default_rng(seed)
    V, d = int(rng.integers(2, 8)), int(rng.integers(1, 5))
    if seed % 2 == 0:
        return rng.integers(-3, 4, (V, d)).astype(float), rng.integers(-2, 3, V).astype(float)
    return rng.normal(size=(V, d)), rng.normal(size=V)


@pytest.mark.parametrize("zero_sum", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_the_largest_margin_on_a_box_is_shown_by_its_own_point_and_weights(
    seed: int, zero_sum: bool
) -> None:
    W, b = drawn(seed)
    asked = rivals(W, b, Place("box", HALF, zero_sum))
    best = asked.program
    assert best.value is not None
    assert max(map(abs, best.x)) <= HALF
    assert not zero_sum or sum(best.x) == 0
    assert truth.margin(W, b, 0, best.x) == best.value
    assert asked.shown(asked.ids, best.lam, best.value)
    assert asked.at_most(best.value)
    assert not asked.at_most(best.value - Fraction(1, 10**40))


@pytest.mark.parametrize("zero_sum", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_on_all_of_space_it_is_that_of_a_large_box_or_a_direction_shows_that_it_has_no_end(
    seed: int, zero_sum: bool
) -> None:
    W, b = drawn(seed)
    asked = rivals(W, b, Place("all", None, zero_sum))
    best = asked.program
    if best.value is None:
        assert not zero_sum or sum(best.x) == 0
        assert truth.margin(W, np.zeros(len(W)), 0, best.x) > 0
    else:
        assert rivals(W, b, Place("box", Fraction(10**9), zero_sum)).program.value == best.value
        assert asked.shown(asked.ids, best.lam, best.value)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_above_zero_for_the_tokens_that_qhull_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    W, b = rng.normal(size=(9, 2)), rng.normal(size=9)
    free = {t for t in range(9) if truth.largest_margin(W, b, t) > 0}
    boxed = {t for t in range(9) if truth.largest_margin(W, b, t, 0.5) > 0}
    assert (free, boxed) == (truth.upper_hull_tokens(W, b), truth.box_tokens(W, b, 0.5))


@pytest.mark.parametrize("zero_sum", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_on_a_ball_it_is_that_of_an_interior_point_method(seed: int, zero_sum: bool) -> None:
    rng = np.random.default_rng(seed)
    V, d = int(rng.integers(3, 9)), int(rng.integers(2, 5))
    W, b = rng.normal(size=(V, d)), rng.normal(size=V)
    a, c = np.delete(W, 0, axis=0) - W[0], np.delete(b, 0) - b[0]
    if zero_sum:
        a -= a.mean(axis=1, keepdims=True)
    other = conic.largest_margin(a, c, "ball", np.sqrt(d))
    asked = rivals(W, b, Place("ball", Fraction(d), zero_sum))
    assert asked.at_most(Fraction(other + 1e-7))
    assert not asked.at_most(Fraction(other - 1e-7))
