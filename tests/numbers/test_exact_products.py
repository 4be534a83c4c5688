"""Exact products of matrices, against sums of fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from geom.numbers.exact_products import BLOCK, exact_products
from support.problems import Floats

LARGEST, LEAST = np.finfo(np.float64).max, 5e-324


def summed(left: Floats, right: Floats) -> list[list[Fraction]]:
    return [
        [
            sum((Fraction(a) * Fraction(b) for a, b in zip(row, column, strict=True)), Fraction(0))
            for column in right.T.tolist()
        ]
        for row in left.tolist()
    ]


def drawn(rng: np.random.Generator, shape: tuple[int, int], spread: int) -> Floats:
    """Return floats with exponents from ``-spread`` to ``spread``, a fifth of them zero."""
    values = np.ldexp(rng.standard_normal(shape), rng.integers(-spread, spread + 1, shape))
    return np.asarray(values * (rng.random(shape) < 0.8))


@pytest.mark.parametrize("spread", [0, 3, 60, 1000])
def test_no_entry_is_rounded(spread: int) -> None:
    rng = np.random.default_rng(spread)
    for _ in range(30):
        n, m, d = rng.integers(1, 9, 3).tolist()
        left, right = drawn(rng, (n, m), spread), drawn(rng, (m, d), spread)
        found = [row.fractions() for row in exact_products(left, right)]
        assert found == summed(left, right)


def test_the_ends_of_the_floats_are_met() -> None:
    rng = np.random.default_rng(0)
    ends = [0.0, -0.0, LEAST, -LEAST, LARGEST, -LARGEST, 1.0, 2.0**-1022]
    for _ in range(30):
        left, right = rng.choice(ends, (2, 6)), rng.choice(ends, (6, 3))
        found = [row.fractions() for row in exact_products(left, right)]
        assert found == summed(left, right)


def test_a_sum_of_as_many_products_as_a_hull_has_points_is_exact() -> None:
    # All bits of all slices are ones, so every sum is as large as it can be.
    for m in (1, 2, 4096, 4097):
        left, right = np.full((1, m), 2.0 - 2.0**-52), np.full((m, 2), LARGEST)
        (row,) = exact_products(left, right)
        assert row.fractions() == [m * Fraction(2.0 - 2.0**-52) * Fraction(LARGEST)] * 2


def test_rows_come_in_order_across_blocks() -> None:
    left = np.arange(1.0, 2 * BLOCK + 4.0)[:, None] * [[1.0, 0.0]]
    rows = list(exact_products(left, np.array([[1.0, 0.5], [3.0, 7.0]])))
    assert [row.fractions()[0] for row in rows] == list(range(1, 2 * BLOCK + 4))


def test_of_no_rows_or_no_columns_nothing_is_left() -> None:
    assert list(exact_products(np.zeros((0, 3)), np.ones((3, 2)))) == []
    assert [row.fractions() for row in exact_products(np.zeros((1, 3)), np.ones((3, 2)))] == [
        [0, 0]
    ]
