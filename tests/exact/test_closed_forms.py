"""Margins on bounded domains, against closed forms derived here."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from geom import Finding, judge
from geom.exact.points import margin_below
from support import truth
from support.judging import at, by
from support.problems import problem


@pytest.mark.parametrize("domain", ["layernorm", "rmsnorm", "box"])
@pytest.mark.parametrize("gap", [-3.0, 0.0, 0.75])
@pytest.mark.parametrize("d", [2, 3, 7])
def test_two_tokens_have_the_margin_of_the_closed_form(domain: str, gap: float, d: int) -> None:
    rng = np.random.default_rng(d)
    W = rng.integers(-8, 9, size=(2, d)).astype(float)
    question = problem(W, [gap, 0.0], domain)
    a = W[0] - W[1]
    if domain == "layernorm":
        a = a - a.mean()
    x = np.sign(a) if domain == "box" else a * (math.sqrt(d) / np.linalg.norm(a))
    seen = judge(question, 0, replace(by(w1=1.0), x=question.domain.fit(x)))
    assert seen.margin_lower is not None
    assert seen.margin_upper is not None
    difference = truth.fractions(W[0] - W[1])
    if domain == "box":  # the l1 norm, and b_t - b_j
        best = sum(map(abs, difference)) + Fraction(gap)
        assert Fraction(seen.margin_lower) <= best <= Fraction(seen.margin_upper)
    else:  # sqrt(d) |P(w_t - w_j)| + b_t - b_j: its square is rational
        square = truth.dot(difference, difference)
        square -= sum(difference) ** 2 / d if domain == "layernorm" else 0
        low, high = (Fraction(m) - Fraction(gap) for m in (seen.margin_lower, seen.margin_upper))
        assert low * low <= d * square <= high * high
    assert seen.margin_upper - seen.margin_lower < 1e-9 * abs(a).sum() * d


@pytest.mark.parametrize(
    ("w", "c", "x", "best"),
    [
        ([2.0, 0.0, -1.0], [0.0, 0.0, 0.0], 1.0, Fraction(2)),
        ([1.0, 0.0, 2.0], [1.0, 0.0, 1.5], -0.75, Fraction(1, 4)),  # x + 1 > 0 and x < -1/2
        ([0.0, 1.0, -1.0], [0.25, 0.0, 0.0], 0.0, Fraction(1, 4)),
        ([0.0, 3.0, -1.0], [0.25, 0.0, 0.0], 0.0, Fraction(1, 4)),
    ],
)
def test_one_dimension_solved_by_hand(
    w: list[float], c: list[float], x: float, best: Fraction
) -> None:
    W = np.array(w)[:, None]
    question = problem(W, c, "box")
    assert truth.largest_margin(W, c, 0, 1.0) == best
    verdict = judge(question, 0, Finding(np.array([x]), truth.weights(W, c, 0, 1.0)))
    assert verdict.margin_lower == best
    assert verdict.margin_upper == pytest.approx(float(best), rel=1e-9)


def test_on_the_layernorm_ball_of_one_dimension_only_the_bias_counts() -> None:
    question = problem([[5.0], [-5.0]], [0.0, 1.0], "layernorm")
    assert judge(question, 1, at(0.0)).margin_lower == 1.0
    assert judge(question, 0, by(w1=1.0)).margin_upper == pytest.approx(-1.0, rel=1e-12)


def test_unbounded_without_bias_margins_are_those_on_the_unit_ball() -> None:
    verdict = judge(problem([[3.0, 4.0], [0.0, 0.0]]), 0, replace(by(w1=1.0), x=np.ones(2) * 1e9))
    assert verdict.margin_lower == pytest.approx(7 / math.sqrt(2), rel=1e-15)
    assert verdict.margin_lower is not None
    assert Fraction(verdict.margin_lower) ** 2 <= Fraction(49, 2)
    assert verdict.margin_upper == pytest.approx(5.0, rel=1e-9)
    assert verdict.margin_upper is not None
    assert verdict.margin_upper >= 5.0


def test_unbounded_with_a_bias_weights_that_prove_nothing_bound_nothing() -> None:
    verdict = judge(problem([[3.0, 4.0], [0.0, 0.0]], [0.0, 1.0]), 0, by(w1=1.0))
    assert (verdict.name, verdict.margin_upper) == ("undecided", None)


def test_a_negative_margin_is_rounded_down_too() -> None:
    lower = margin_below(problem([[0.0, 0.0], [1.0, 1.0], [2.0, 1.0]]), 0, np.array([1.0, 2.0]))
    assert lower == pytest.approx(-4 / math.sqrt(5), rel=1e-15)
    assert Fraction(lower) ** 2 >= Fraction(16, 5)
