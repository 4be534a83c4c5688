"""Folding against exact rationals."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geom import InputError, Readout
from geom.model.folding import exact_product

SIZES = st.tuples(st.integers(1, 5), st.integers(1, 40), st.integers(1, 4))


def rationals(A: np.ndarray, B: np.ndarray) -> list[list[Fraction]]:
    """Return the product without any rounding."""
    left = [[Fraction(float(a)) for a in row] for row in A]
    right = [[Fraction(float(b)) for b in column] for column in B.T]
    return [
        [sum((a * b for a, b in zip(row, column, strict=True)), Fraction()) for column in right]
        for row in left
    ]


def rounded(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """Return the exact product, rounded once to float64."""
    return np.array([[float(entry) for entry in row] for row in rationals(A, B)])


@settings(deadline=None)
@given(SIZES, st.integers(0, 2**32 - 1), st.sampled_from([np.float16, np.float32]))
def test_product_of_stored_weights_is_the_exact_one_rounded_once(
    sizes: tuple[int, int, int], seed: int, dtype: type
) -> None:
    m, k, n = sizes
    rng = np.random.default_rng(seed)
    A, B = (
        (rng.standard_normal(shape) * 2.0 ** rng.integers(-12, 4, shape)).astype(dtype)
        for shape in ((m, k), (k, n))
    )
    A, B = A.astype(np.float64), B.astype(np.float64)
    product = exact_product(A, B)
    np.testing.assert_array_max_ulp(product, rounded(A, B), maxulp=1)
    np.testing.assert_allclose(product, rounded(A, B), rtol=2**-52)


def test_what_cancels_in_the_sum_leaves_the_small_part() -> None:
    A = np.array([[2.0**40, 1.0, -(2.0**40), 2.0**-30]])
    B = np.array([[2.0**20], [2.0**-20], [2.0**20], [3.0]])
    assert exact_product(A, B).tolist() == [[2.0**-20 + 3 * 2.0**-30]]
    assert (A @ B).tolist() != exact_product(A, B).tolist()


@settings(deadline=None)
@given(
    arrays(np.float64, (3, 6), elements=st.floats(-1e6, 1e6, allow_subnormal=False)),
    arrays(np.float64, (6, 2), elements=st.floats(-1e6, 1e6, allow_subnormal=False)),
)
@example(np.full((3, 6), 2.0**-622), np.full((6, 2), 2.0**-622))
@example(np.full((3, 6), 2.0**-538), np.full((6, 2), 2.0**-537))
def test_product_of_any_doubles_errs_by_one_rounding_of_the_sum_of_magnitudes(
    A: np.ndarray, B: np.ndarray
) -> None:
    product = exact_product(A, B)
    exact = rationals(A, B)
    magnitudes = rationals(abs(A), abs(B))
    _, above = np.frexp([np.abs(A).max(), np.abs(B).max()])
    lost = Fraction(2) ** (int(above.sum()) - 1068)  # underflows, of some sixty scaled products
    lost += Fraction(2) ** -1075  # half of the smallest double: what is returned is one
    for i in range(3):
        for j in range(2):
            error = abs(Fraction(float(product[i, j])) - exact[i][j])
            slack = Fraction(2) ** -53 * abs(exact[i][j]) + Fraction(2) ** -95 * magnitudes[i][j]
            assert error <= slack + lost


def test_columns_may_come_in_any_order_of_summation() -> None:
    rng = np.random.default_rng(0)
    A, B = (rng.standard_normal(s).astype(np.float32).astype(float) for s in ((4, 300), (300, 5)))
    order = rng.permutation(300)
    assert (exact_product(A, B) == exact_product(A[:, order], B[order])).all()


@pytest.mark.parametrize("norm", ["layernorm", "rmsnorm"])
def test_a_projection_stands_between_norm_and_readout(norm: str) -> None:
    rng = np.random.default_rng(1)
    E, P = rng.standard_normal((7, 3)).astype("f4"), rng.standard_normal((3, 5)).astype("f4")
    gamma, beta, b = (rng.standard_normal(n).astype("f4") for n in (5, 5, 7))
    readout = Readout.fold(E, b, norm=norm, gamma=gamma, beta=beta, projection=P)  # type: ignore[arg-type]
    x = rng.standard_normal(5)
    want = E.astype(float) @ (P.astype(float) @ (gamma * x + beta)) + b
    np.testing.assert_allclose(readout.logits(x), want, rtol=1e-13)
    scaled = (P.astype(float) * gamma).astype(float)
    np.testing.assert_array_max_ulp(readout.W, rounded(E.astype(float), scaled), maxulp=1)


def test_a_product_that_overflows_is_refused_with_its_row() -> None:
    with pytest.raises(InputError, match="row 1 of W overflows"):
        Readout.fold(np.array([[1.0], [1e300]]), projection=np.array([[1e300, 1.0]]))


@pytest.mark.parametrize("shape", [(2, 5), (4,), (3, 0)])
def test_a_projection_that_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"projection has shape .*: W needs \(3, d\)"):
        Readout.fold(np.ones((4, 3)), projection=np.ones(shape))
