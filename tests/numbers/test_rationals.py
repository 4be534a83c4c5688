"""Floats as rationals, compared throughout with Python's own Fractions."""

from __future__ import annotations

import math
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from geom.numbers.rationals import (
    above,
    below,
    differences,
    integer_differences,
    integers,
    null_combination,
    power_of_two,
    root,
    scaled,
    square_sum,
)
from support.truth import Floats, dot, fractions

LARGEST = sys.float_info.max

finite = st.floats(allow_nan=False, allow_infinity=False)
matrices = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=4), elements=finite)
rationals = st.fractions() | st.builds(
    lambda n, e: n * power_of_two(e), st.integers(), st.integers(-1200, 1200)
)


def objects(rows: list[list[int]]) -> NDArray[np.object_]:
    return np.array(rows, dtype=object)


# Integers and one power of two


@given(arrays(np.float64, array_shapes(max_dims=2), elements=finite))
def test_integers_times_their_power_of_two_are_the_floats(values: Floats) -> None:
    mantissas, exponent = integers(values)
    assert mantissas.shape == values.shape
    back = [m * power_of_two(exponent) for m in mantissas.ravel()]
    assert back == fractions(values.ravel())


@given(arrays(np.float64, 3, elements=finite))
def test_the_exponent_is_the_largest_that_works(values: Floats) -> None:
    mantissas, _ = integers(values)
    assert not values.any() or any(m % 2 for m in mantissas)


def test_floats_at_both_ends_of_the_range_meet_in_one_exponent() -> None:
    mantissas, exponent = integers(np.array([LARGEST, -5e-324]))
    assert (mantissas[1], exponent) == (-1, -1074)
    assert mantissas[0] == int(Fraction(LARGEST) * 2**1074)


def test_zeros_are_zeros() -> None:
    assert integers(np.array([0.0, -0.0]))[0].tolist() == [0, 0]


@given(matrices)
def test_a_matrix_is_scaled_exactly(values: Floats) -> None:
    assert scaled(values).fractions() == fractions(values.ravel())


def test_a_vector_is_scaled_to_a_column() -> None:
    column = scaled(np.array([0.5, 3.0]))
    assert (column.mantissas.nrows(), column.mantissas.ncols()) == (2, 1)


@given(matrices)
def test_products_are_exact(values: Floats) -> None:
    rows = [fractions(row) for row in values]
    product = scaled(values) @ scaled(values.T)
    assert product.fractions() == [dot(u, v) for u in rows for v in rows]


@given(matrices)
def test_differences_are_exact(values: Floats) -> None:
    expected = [
        p - q for row in values for p, q in zip(*map(fractions, (row, values[0])), strict=True)
    ]
    assert differences(values, values[0]).fractions() == expected
    mantissas, exponent = integer_differences(values, values[0])
    assert [m * power_of_two(exponent) for m in mantissas.ravel()] == expected


@pytest.mark.parametrize("exponent", [-1074, -1, 0, 1, 2000])
def test_a_power_of_two_is_a_rational(exponent: int) -> None:
    assert power_of_two(exponent) == Fraction(2) ** exponent


def test_a_sum_of_squares_is_exact() -> None:
    assert square_sum([Fraction(1, 3), Fraction(-2)]) == Fraction(37, 9)


# Back to floats, rounded to the safe side


@given(rationals)
def test_a_float_below_is_not_above_and_the_next_is(value: Fraction) -> None:
    low = below(value)
    assert low == -math.inf or Fraction(low) <= value
    following = math.nextafter(low, math.inf)
    assert following == math.inf or Fraction(following) > value


@given(rationals)
def test_a_float_above_is_the_mirror_of_below(value: Fraction) -> None:
    assert above(value) == -below(-value)


@given(finite)
def test_a_float_is_its_own_bound_on_both_sides(value: float) -> None:
    assert below(Fraction(value)) == value == above(Fraction(value))


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        (Fraction(10) ** 400, LARGEST, math.inf),
        (-(Fraction(10) ** 400), -math.inf, -LARGEST),
        (Fraction(LARGEST) + 1, LARGEST, math.inf),
        (Fraction(1, 10**400), 0.0, 5e-324),
        (-Fraction(1, 10**400), -5e-324, 0.0),
    ],
)
def test_bounds_past_the_range_of_float64_stay_true(
    value: Fraction, low: float, high: float
) -> None:
    assert (below(value), above(value)) == (low, high)


@given(rationals.filter(lambda value: value > 0))
def test_a_root_lies_between_its_bounds_which_are_close(value: Fraction) -> None:
    low, high = root(value)
    assert low * low <= value < high * high
    assert high - low <= low / 2**60


@pytest.mark.parametrize("e", [-600, -1, 0, 700])
def test_the_root_of_a_square_is_found_exactly(e: int) -> None:
    assert root(9 * power_of_two(2 * e))[0] == 3 * power_of_two(e)


# Combinations that vanish


lattice = st.integers(1, 3).flatmap(
    lambda d: st.lists(st.lists(st.integers(-3, 3), min_size=d, max_size=d), min_size=1, max_size=7)
)


@given(lattice, st.integers(1, 4))
def test_a_combination_vanishes_exactly_and_has_no_negative_weight(
    rows: list[list[int]], limit: int
) -> None:
    lam = objects(list(range(len(rows), 0, -1)))  # type: ignore[arg-type]
    mu = null_combination(objects(rows), lam, limit)
    assert mu is None or (mu.shape == lam.shape and min(mu) >= 0 and max(mu) > 0)
    assert mu is None or not any(mu @ objects(rows))


def test_weights_that_vanish_already_are_kept_up_to_a_factor() -> None:
    mu = null_combination(objects([[2, 0], [-1, 1], [-1, -1]]), objects([5, 5, 5]), 9)
    assert mu is not None
    assert mu.tolist() == [mu[0]] * 3


def test_weights_that_nearly_vanish_are_corrected() -> None:
    mu = null_combination(objects([[3], [-1]]), objects([1000, 3001]), 9)
    assert mu is not None
    assert mu[1] == 3 * mu[0]


def test_rows_that_are_zero_keep_their_weights() -> None:
    mu = null_combination(objects([[0, 0], [0, 0]]), objects([2, 1]), 9)
    assert mu is not None
    assert mu.tolist() == [2, 1]


@pytest.mark.parametrize("rows", [[[1], [2]], [[1, 0], [0, 1]], [[1]]], ids=repr)
def test_rows_on_one_side_have_no_combination(rows: list[list[int]]) -> None:
    assert null_combination(objects(rows), objects([1] * len(rows)), 9) is None  # type: ignore[list-item]


def test_more_rows_than_twice_the_limit_go_as_one_where_they_cancel() -> None:
    rows = objects([[1], [-1]] * 6)
    lam = objects([7] * 12)  # type: ignore[list-item]
    mu = null_combination(rows, lam, 2)
    assert mu is not None
    assert mu.tolist() == [mu[0]] * 12


def test_more_independent_rows_than_the_limit_are_not_tried() -> None:
    identity = np.vstack([np.eye(4, dtype=int), -np.eye(4, dtype=int)]).astype(object)
    assert null_combination(identity, objects([1] * 8), 3) is None  # type: ignore[list-item]
    assert null_combination(identity, objects([1] * 8), 4) is not None  # type: ignore[list-item]
