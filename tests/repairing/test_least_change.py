"""The shortest vector under linear conditions, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from geom.repairing.least_change import least_change


def test_one_condition_is_met_along_its_normal() -> None:
    D = least_change(np.array([[3.0, 4.0]]), np.array([10.0]))
    assert D is not None
    np.testing.assert_allclose(D, [1.2, 1.6], rtol=1e-12)


def test_a_condition_that_is_met_already_moves_nothing() -> None:
    D = least_change(np.array([[3.0, 4.0], [1.0, 0.0]]), np.array([0.0, -1.0]))
    assert D is not None
    assert not D.any()


def test_what_may_not_be_gained_turns_the_change() -> None:
    # D_0 + D_1 >= 1 and D_0 <= 0: all of it along the second axis
    D = least_change(np.array([[1.0, 1.0], [-1.0, 0.0]]), np.array([1.0, 0.0]))
    assert D is not None
    np.testing.assert_allclose(D, [0.0, 1.0], atol=1e-12)


@pytest.mark.parametrize("normal", [[1.0, 0.0], [0.0, 0.0]])
def test_conditions_that_exclude_each_other_have_no_change(normal: list[float]) -> None:
    assert least_change(np.array([normal, [-1.0, 0.0]]), np.array([1.0, 0.0])) is None


@pytest.mark.parametrize("seed", range(5))
def test_the_conditions_of_an_optimum_hold(seed: int) -> None:
    # D is optimal if and only if it is a non-negative combination of the conditions it meets
    rng = np.random.default_rng(seed)
    G, h = rng.standard_normal((12, 30)), rng.standard_normal(12)
    D = least_change(G, h)
    assert D is not None
    assert (h - 1e-9 <= G @ D).all()
    tight = np.abs(G @ D - h) < 1e-7
    lam = np.linalg.lstsq(G[tight].T, D, rcond=None)[0]
    assert (lam > -1e-9).all()
    np.testing.assert_allclose(lam @ G[tight], D, atol=1e-8)
