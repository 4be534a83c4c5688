"""Weights that prove nothing: of another type, of another token, at the ends of float64."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from geom import Finding, Readout, Weights, judge
from geom.exact.weights import prove_unspeakable
from geom.model import domains
from geom.model.domains import Domain
from geom.model.problem import Problem
from support import truth
from support.judging import LEAST, at, by
from support.problems import problem


@pytest.mark.parametrize(
    ("indices", "values", "why"),
    [
        ([0, 1], [0.5, -0.5], ">= 0"),
        ([0, 1], [0.5, -LEAST], ">= 0"),
        ([0, 1], [0.5, np.nan], ">= 0"),
        ([0, 1], [0.5, np.inf], ">= 0"),
        ([0, 1], [0.0, 0.0], ">= 0"),
        ([0, 2], [0.5, 0.5], "itself"),
        ([2], [1.0], "itself"),
        ([0, 0], [0.5, 0.5], "twice"),
        ([0, 3], [0.5, 0.5], "outside"),
        ([-1, 0], [0.5, 0.5], "outside"),
        ([0, 2**40], [0.5, 0.5], "outside"),
        ([0, 1], [0.5], "one value per index"),
        ([[0, 1]], [[0.5, 0.5]], "one value per index"),
        ([], [], "one value per index"),
    ],
)
def test_forged_weights_prove_nothing(indices: list[int], values: list[float], why: str) -> None:
    question = problem([[1.0, 4.0], [3.0, 8.0], [2.0, 6.0]])
    weights = Weights(np.array(indices, dtype=np.int64), np.array(values, dtype=np.float64))
    verdict = judge(question, 2, Finding(weights=weights))
    assert (verdict.name, verdict.margin_upper) == ("undecided", None)
    assert why in (verdict.note or "")


@pytest.mark.parametrize(
    ("indices", "values"),
    [
        (np.array([0, 1], dtype=np.int32), np.array([0.5, 0.5])),
        (np.array([0.0, 1.0]), np.array([0.5, 0.5])),
        (np.array([0, 1]), np.array([0.5, 0.5], dtype=np.float32)),
        (np.array([0, 1]), np.array([1, 1])),
        ([0, 1], [0.5, 0.5]),
    ],
    ids=["int32", "float ids", "float32", "integers", "lists"],
)
def test_weights_of_another_type_prove_nothing(indices: object, values: object) -> None:
    question = problem([[1.0, 4.0], [3.0, 8.0], [2.0, 6.0]])
    weights = Weights(indices, values)  # type: ignore[arg-type]
    assert "int64" in (judge(question, 2, Finding(weights=weights)).note or "")


def test_weights_of_another_token_prove_nothing() -> None:
    W = np.array([[4.0, 0.0], [0.0, 4.0], [-4.0, -4.0], [0.0, 0.0], [3.0, 2.0]])
    inside = truth.weights(W, np.zeros(5), 3)
    assert judge(problem(W), 3, Finding(weights=inside)).decided
    kept = inside.indices != 4
    moved = Weights(inside.indices[kept], inside.values[kept])
    assert not judge(problem(W), 4, Finding(weights=moved)).decided


@pytest.mark.parametrize("domain", ["unbounded", "layernorm", "rmsnorm", "box"])
@pytest.mark.parametrize("scale", [LEAST, 1e-310, 1e-300, 1e-160, 1e160, 1e300, 1e307])
def test_the_scale_of_weights_neither_makes_nor_breaks_a_proof(domain: str, scale: float) -> None:
    W = np.array([[4.0, 0.0, 0.0], [0.0, 2.0, 0.0], [2.0, 1.0, 0.0], [2.1, 1.1, 0.0]])
    question = problem(W, domain=domain)
    assert judge(question, 2, by(w0=scale, w1=scale)).name == "unspeakable"
    assert not judge(question, 3, by(w0=scale, w1=scale)).decided


@pytest.mark.parametrize("tiny", [LEAST, 1e-300, 1e-200])
@pytest.mark.parametrize("domain", ["unbounded", "layernorm", "rmsnorm", "box"])
def test_products_that_underflow_are_not_taken_for_zero(domain: str, tiny: float) -> None:
    question = problem(np.array([[1.0, 0.0], [0.0, 0.0]]) * 0.25, domain=domain)
    speakable = judge(question, 0, replace(by(w1=tiny), x=question.domain.fit(np.array([1.0, -1]))))
    assert speakable.name == "speakable"
    assert prove_unspeakable(question, 0, Weights(np.array([1]), np.array([tiny])))[0] is None


@pytest.mark.parametrize("tiny", [LEAST, 1e-300, 1e-200])
def test_rows_that_underflow_are_not_taken_for_equal(tiny: float) -> None:
    question = problem([[tiny, 0.0], [0.0, 0.0]], domain="box")
    assert prove_unspeakable(question, 0, Weights(np.array([1]), np.array([1.0])))[0] is None
    assert judge(question, 0, at(1.0, 0.0)).name == "speakable"


@pytest.mark.parametrize("radius", [LEAST, 1e-310, 1e-160])
def test_a_box_so_small_that_margins_underflow_proves_nothing_by_it(radius: float) -> None:
    question = Problem(Readout.fold([[0.25], [0.0]]), domains.box(1, radius))
    assert prove_unspeakable(question, 0, Weights(np.array([1]), np.array([1.0])))[0] is None


def test_a_ball_whose_radius_no_float_holds_is_not_taken_for_a_point() -> None:
    speck = Domain("speck", 1, "ball", Fraction(1, 10**700))
    question = Problem(Readout.fold([[0.25], [0.0]]), speck)
    assert prove_unspeakable(question, 0, Weights(np.array([1]), np.array([1.0])))[0] is None


def test_a_margin_bound_divided_by_many_weights_does_not_reach_zero() -> None:
    W = np.full((3000, 1), 1.0)
    W[0] = 1.0 + 2.0**-52
    question = Problem(Readout.fold(W), domains.box(1, 1e-307))
    weights = Weights(np.arange(1, 3000), np.ones(2999))
    assert prove_unspeakable(question, 0, weights)[0] is None


def test_a_zero_weight_on_a_row_that_overflows_hides_no_coordinate() -> None:
    W = np.zeros((10, 2))
    W[1:9, 0] = [1, -1, 2, -2, 3, -3, 4, -4]
    W[:, 1] = [-1.5e308, *[1e307] * 8, 1.5e308]
    weights = Weights(np.arange(1, 10), np.append(np.ones(8), 0.0))
    question = problem(W)
    assert judge(question, 0, at(0.0, -1.0)).name == "speakable"
    assert prove_unspeakable(question, 0, weights)[0] is None


def test_rows_whose_difference_overflows_prove_nothing_wrong() -> None:
    W = [[1.7e308, 0.0], [-1.7e308, 1.0], [-1.7e308, -1.0], [-1.7e308, 0.5]]
    question = problem(W, domain="rmsnorm")
    assert not judge(question, 0, by(w1=1.0, w2=1.0, w3=1.0)).decided
    assert judge(question, 3, by(w1=0.75, w2=0.25)).name == "unspeakable"


@pytest.mark.parametrize("n", [3, 9])
def test_a_support_too_small_or_too_flat_for_a_right_inverse_proves_nothing(n: int) -> None:
    W = np.zeros((n + 1, 3))
    W[1:, 0], W[1:, 1] = 1.0, np.arange(n)
    question = problem(W)
    lam = Weights(np.arange(1, n + 1), np.ones(n))
    assert not judge(question, 0, Finding(weights=lam)).decided


def test_a_correction_larger_than_the_weights_is_no_proof() -> None:
    W = np.array([[0.0, 0.0], [1.0, 0.1], [-1.0, 0.1], [0.0, 1.0], [0.5, 0.3]])
    assert not judge(problem(W), 0, by(w1=1.0, w2=1.0, w3=1e-3, w4=0.5)).decided


def test_a_support_too_large_for_rationals_is_left_undecided() -> None:
    W = np.vstack([np.ones(300), 300.0 * np.eye(300)])
    weights = Weights(np.arange(1, 301), np.ones(300))
    assert not judge(problem(W), 0, Finding(weights=weights)).decided
