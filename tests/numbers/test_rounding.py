"""Bounds on rounding: float64's errors, measured in Fractions, stay below them."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geom.numbers.rounding import TINY, UP, U, dot_error, gamma, norm_above
from support.truth import Floats, dot, fractions

entries = st.floats(-1e150, 1e150) | st.floats(-1e-150, 1e-150) | st.floats(-2, 2)
vectors = st.integers(1, 12).flatmap(lambda d: arrays(np.float64, d, elements=entries))
pairs = st.integers(1, 12).flatmap(lambda d: arrays(np.float64, (2, d), elements=entries))


@pytest.mark.parametrize("n", [1, 2, 768, 10**6])
def test_gamma_is_above_highams(n: int) -> None:
    exactly = Fraction(n) * Fraction(U) / (1 - Fraction(n) * Fraction(U))
    assert exactly < Fraction(gamma(n)) < exactly * Fraction(UP) ** 2


@given(vectors)
def test_a_norm_is_bounded_from_above(x: Floats) -> None:
    bound = float(norm_above(x))
    square = dot(fractions(x), fractions(x))
    assert bound == np.inf or square <= Fraction(bound) ** 2


@given(arrays(np.float64, (3, 5), elements=st.floats(-2, 2)))
def test_a_bound_on_a_norm_is_tight(rows: Floats) -> None:
    exactly = np.sqrt([float(dot(fractions(row), fractions(row))) for row in rows])
    assert np.allclose(norm_above(rows, axis=-1), exactly, rtol=1e-11, atol=1e-150)


def test_a_norm_past_the_range_of_float64_is_bounded_by_infinity() -> None:
    assert norm_above(np.array([1e200])) == np.inf


@pytest.mark.parametrize("x", [1e-170, 5e-324])
def test_squares_that_underflow_do_not_shrink_the_bound(x: float) -> None:
    assert x * x == 0.0
    assert norm_above(np.full(4, x)) >= 2 * x


@given(pairs, entries)
def test_a_dot_product_is_off_by_less_than_the_bound(pair: Floats, b: float) -> None:
    w, x = pair
    computed = float(w @ x) + b
    bound = dot_error(norm_above(w), float(norm_above(x)), np.array(b), w.size)
    error = abs(Fraction(computed) - dot(fractions(w), fractions(x)) - Fraction(b))
    assert bound == np.inf or error <= Fraction(float(bound))


@given(pairs, entries)
def test_the_bound_holds_in_the_worst_order_of_summation(pair: Floats, b: float) -> None:
    w, x = pair
    total = 0.0
    for term in sorted((w * x).tolist(), key=abs, reverse=True):
        total += term
    bound = dot_error(norm_above(w), float(norm_above(x)), np.array(b), w.size)
    error = abs(Fraction(total + b) - dot(fractions(w), fractions(x)) - Fraction(b))
    assert bound == np.inf or error <= Fraction(float(bound))


def test_products_that_underflow_are_within_the_bound() -> None:
    w, x = np.full(8, 2.0**-530), np.full(8, -(2.0**-546))
    assert float(w @ x) == 0.0
    bound = dot_error(norm_above(w), float(norm_above(x)), np.zeros(()), 8)
    assert Fraction(float(bound)) >= 8 * Fraction(2) ** -1076


def test_tiny_is_the_least_normal_float() -> None:
    assert np.finfo(np.float64).smallest_normal == TINY
