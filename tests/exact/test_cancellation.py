"""Margins that float64 rounds to the wrong sign or beyond its range, against Fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geom import Finding, Weights, judge
from geom.exact import faults
from geom.exact.points import margin_at
from support import truth
from support.judging import LARGEST, LEAST, at, by
from support.problems import problem

CANCEL = [[2.0**53, 1.0], [2.0**53 + 2.0, 1.0]], [1.0, -1.5], np.ones(2)
"""The logits are 2^53 + 2 and 2^53 + 1.5, whose float64 roundings are in the other order."""


@pytest.mark.parametrize(("token", "naive", "exactly"), [(0, -2.0, 0.5), (1, 2.0, -0.5)])
def test_a_sign_that_float64_gets_wrong_is_right(token: int, naive: float, exactly: float) -> None:
    W, b, x = CANCEL
    question = problem(W, b)
    assert question.margins(token, x).min() == naive
    verdict = judge(question, token, Finding(x))
    assert verdict.margin_lower == exactly
    assert verdict.name == ("speakable" if exactly > 0 else "undecided")


def test_a_difference_of_rows_that_float64_loses_is_not_lost() -> None:
    question = problem([[1.0 + 2.0**-52], [1.0]], [2.0**60, 2.0**60])
    assert question.margins(0, np.ones(1)).min() == 0.0
    assert judge(question, 0, at(1.0)).name == "speakable"
    assert not judge(question, 0, by(w1=1.0)).decided


def test_weights_whose_combination_float64_takes_for_zero_prove_nothing() -> None:
    W = [[1.0], [2.0**53], [-(2.0**53)]]
    question = problem(W)
    lam = np.ones(2)
    assert float((lam @ (question.readout.W[1:] - question.readout.W[0]))[0]) != -2.0
    assert judge(question, 0, by(w1=1.0, w2=1.0)).name == "unspeakable"  # 1 lies between them
    beyond = problem([[2.0**53, 1.0], [2.0**53, 0.0], [-(2.0**53), 1.0]])
    assert not judge(beyond, 0, by(w1=1.0, w2=2.0**-60)).decided


def test_a_residual_that_float64_takes_for_zero_is_not_corrected_away() -> None:
    y, s = float.fromhex("0x1.0a7d3da94ecdep+0"), float.fromhex("0x1.043b27b61342fp+0")
    W = np.array([[0.0, 0.0], [1.0, -y], [1.0, 1.0], [-s, s * y]])
    lam = np.array([1.0, 2.0**-53, 1 / s])
    assert lam[0] * W[1, 1] + lam[1] * W[2, 1] + lam[2] * W[3, 1] == 0.0
    assert truth.largest_margin(W, np.zeros(4), 0) > 0
    assert not judge(problem(W), 0, Finding(weights=Weights(np.arange(1, 4), lam))).decided


magnitude = st.integers(-530, 500).map(lambda e: 2.0**e)

wild = st.builds(lambda m, s: m * s, st.floats(-2.0, 2.0, width=32), magnitude)


@given(st.lists(st.tuples(wild, wild, wild), min_size=2, max_size=6), st.tuples(wild, wild))
def test_a_margin_is_that_of_fractions_whatever_the_magnitudes(
    rows: list[tuple[float, float, float]], x: tuple[float, float]
) -> None:
    W, b = np.array(rows)[:, :2], np.array(rows)[:, 2]
    question = problem(W, b)
    for token in range(len(rows)):
        assert margin_at(question, token, np.array(x)) == truth.margin(W, b, token, x)


@given(st.integers(0, 2**32))
def test_a_margin_is_that_of_fractions_where_all_rows_nearly_tie(seed: int) -> None:
    rng = np.random.default_rng(seed)
    W = 1.0 + rng.integers(-2, 3, size=(150, 4)) * 2.0**-52
    x = rng.normal(size=4)
    token = int(rng.integers(150))
    assert margin_at(problem(W), token, x) == truth.margin(W, np.zeros(150), token, x)


@given(st.lists(st.tuples(wild, wild, wild), min_size=3, max_size=6), st.integers(0, 2**32))
def test_no_verdict_is_wrong_whatever_the_magnitudes(
    rows: list[tuple[float, float, float]], seed: int
) -> None:
    W, b = np.array(rows)[:, :2], np.array(rows)[:, 2]
    lam = np.random.default_rng(seed).random(len(rows) - 1)
    for question, radius in [(problem(W, b), None), (problem(W, b, "box"), 1.0)]:
        finding = Finding(np.ones(2), Weights(np.arange(1, len(rows)), lam))
        verdict = judge(question, 0, finding)
        best = truth.largest_margin(W, b, 0, radius)
        assert verdict.name in ("speakable" if best > 0 else "unspeakable", "undecided")
        assert faults(question, 0, finding, verdict) == []


def test_more_rows_than_float64_can_hold_the_logits_of_are_compared_exactly() -> None:
    W = -1e300 * np.arange(200.0)[:, None] / 200
    W[0] = -1e301
    question = problem(W)
    assert not np.isfinite(1e301 * 1e300)
    expected = truth.margin(W, np.zeros(200), 0, [1e300])
    assert margin_at(question, 0, np.array([1e300])) == expected


def test_margins_beyond_float64_on_the_low_side_are_all_compared() -> None:
    W = np.append(-1e300, np.linspace(1e299, 1e300, 150))[:, None]
    expected = truth.margin(W, np.zeros(151), 0, [1e300])
    assert margin_at(problem(W), 0, np.array([1e300])) == expected


def test_a_row_known_only_roughly_is_compared_before_the_many_that_tie() -> None:
    W = np.vstack([[0.0, 1.0], np.zeros((200, 2)), [2.0**60 + 256, -(2.0**60)]])
    assert margin_at(problem(W), 0, np.ones(2)) == -255


def test_a_margin_beyond_the_largest_float_is_bounded_by_it() -> None:
    assert judge(problem([[1e308], [-1e308]], domain="box"), 0, at(1.0)).margin_lower == LARGEST
    assert judge(problem([[1e308], [-1e308]], domain="box"), 1, at(1.0)).margin_lower is None


@pytest.mark.parametrize("scale", [LEAST, 1e-310, 1e-200, 1e200])
def test_rows_of_every_scale_have_their_witnesses_and_midpoints(scale: float) -> None:
    question = problem(np.array([[4.0, 0.0], [0.0, 2.0], [2.0, 1.0]]) * scale)
    verdict = judge(question, 0, at(3.0, -1.0))
    assert verdict.name == "speakable"
    assert verdict.margin_lower is not None
    assert Fraction(verdict.margin_lower) <= Fraction(scale) * 7 / 3
    assert judge(question, 2, by(w0=0.5, w1=0.5)).proof == "rational"
    assert not judge(question, 0, by(w1=0.5, w2=0.5)).decided


def test_a_positive_margin_below_the_least_float_is_left_undecided() -> None:
    verdict = judge(problem([[LEAST], [0.0]], domain="box"), 0, at(0.25))
    assert (verdict.name, verdict.margin_lower) == ("undecided", 0.0)
