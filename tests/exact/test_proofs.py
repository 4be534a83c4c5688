"""Each proof by its name: witness, slack, interior, rational."""

from __future__ import annotations

import math

import numpy as np
import pytest

from geom import Finding, Weights, Witness, judge
from support import truth
from support.judging import SQUARE, at, by
from support.problems import problem


def test_a_point_where_the_token_leads_is_the_proof_witness() -> None:
    verdict = judge(problem(SQUARE), 0, at(1.0, 1.0))
    assert (verdict.name, verdict.proof) == ("speakable", "witness")
    assert isinstance(verdict.certificate, Witness)


def test_a_bias_that_outweighs_the_whole_ball_is_the_proof_slack() -> None:
    verdict = judge(problem([[1.0, 0.0], [0.0, 0.0]], [0.0, 9.0], "rmsnorm"), 0, by(w1=1.0))
    assert (verdict.name, verdict.proof) == ("unspeakable", "slack")
    assert isinstance(verdict.certificate, Weights)


def test_weights_all_around_the_token_are_the_proof_interior() -> None:
    W = np.vstack([np.random.default_rng(0).normal(size=(12, 3)), np.zeros(3)])
    question = problem(W)
    verdict = judge(question, 12, Finding(weights=truth.weights(W, np.zeros(13), 12)))
    assert (verdict.name, verdict.proof, verdict.margin_upper) == ("unspeakable", "interior", 0.0)


def test_a_midpoint_of_two_tokens_is_unspeakable_by_the_proof_rational() -> None:
    verdict = judge(problem([[1.0, 4.0], [3.0, 8.0], [2.0, 6.0]]), 2, by(w0=0.5, w1=0.5))
    assert (verdict.name, verdict.proof, verdict.margin_upper) == ("unspeakable", "rational", 0.0)


def test_weights_off_by_a_solvers_tolerance_still_prove_a_midpoint() -> None:
    verdict = judge(problem([[1.0, 4.0], [3.0, 8.0], [2.0, 6.0]]), 2, by(w0=0.5, w1=0.5 + 1e-9))
    assert verdict.proof == "rational"


def test_a_solvers_dust_on_other_tokens_does_not_hide_a_midpoint() -> None:
    W = [[1.0, 4.0], [3.0, 8.0], [2.0, 6.0], [7.0, 1.0], [6.0, -1.0]]  # 3 and 4 on one side
    verdict = judge(problem(W), 2, by(w0=0.5, w1=0.5, w3=1e-13, w4=3e-14))
    assert verdict.proof == "rational"


@pytest.mark.parametrize("domain", ["unbounded", "layernorm", "rmsnorm", "box"])
def test_a_duplicate_is_unspeakable_on_every_domain(domain: str) -> None:
    question = problem([[0.1, 0.7], [0.3, 0.2], [0.1, 0.7]], [0.5, 0.0, 0.5], domain)
    assert judge(question, 0, by(w2=1.0)).name == "unspeakable"
    assert judge(question, 2, by(w0=1.0)).name == "unspeakable"


def test_a_duplicate_with_a_higher_bias_proves_by_how_much() -> None:
    verdict = judge(problem([[1.0], [1.0]], [0.0, 2.0], "box"), 0, by(w1=1.0))
    assert (verdict.name, verdict.margin_upper) == ("unspeakable", pytest.approx(-2.0, rel=1e-14))
    assert verdict.margin_upper is not None
    assert verdict.margin_upper >= -2.0


def test_the_interior_proof_keeps_a_bias_that_the_correction_cannot_use_up() -> None:
    W = np.vstack([np.random.default_rng(1).normal(size=(20, 3)), np.zeros(3)])
    b = np.append(np.ones(20), 0.0)
    verdict = judge(problem(W, b), 20, Finding(weights=truth.weights(W, b, 20)))
    assert verdict.proof == "interior"
    assert verdict.margin_upper == pytest.approx(-1.0, abs=1e-9)


def test_the_interior_proof_fails_where_the_bias_is_against_it() -> None:
    W = np.vstack([np.random.default_rng(1).normal(size=(20, 3)), np.zeros(3)])
    b = np.append(-np.ones(20), 0.0)
    assert not judge(problem(W, b), 20, Finding(weights=truth.weights(W, b, 20))).decided


def test_on_the_layernorm_ball_only_the_part_of_the_rows_off_ones_counts() -> None:
    question = problem([[1.0, 0.0], [0.0, 1.0], [5.5, 5.5]], domain="layernorm")
    assert judge(question, 2, by(w0=0.5, w1=0.5)).name == "unspeakable"
    assert not judge(problem(question.readout.W), 2, by(w0=0.5, w1=0.5)).decided


def test_on_the_layernorm_ball_a_midpoint_may_be_moved_along_ones() -> None:
    W = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [7.5, 7.5, 7.0]]
    verdict = judge(problem(W, domain="layernorm"), 2, by(w0=0.5, w1=0.5 + 1e-9))
    assert verdict.proof == "rational"


def test_a_token_on_a_face_of_the_hull_lifted_by_biases_is_unspeakable() -> None:
    question = problem([[0.0], [3.0], [1.0]], [0.0, 3.0, 1.0])
    verdict = judge(question, 2, by(w0=0.6666, w1=0.3334))
    assert (verdict.name, verdict.proof) == ("unspeakable", "rational")


def test_a_solvers_weight_on_a_token_below_the_face_does_not_hide_it() -> None:
    question = problem([[0.0], [3.0], [1.0], [2.0]], [0.0, 3.0, 1.0, 0.0])
    assert judge(question, 2, by(w0=0.6666, w1=0.3334, w3=1e-6)).proof == "rational"


def test_a_token_just_above_that_face_is_not_called_unspeakable() -> None:
    question = problem([[0.0], [3.0], [1.0]], [0.0, 3.0, math.nextafter(1.0, 2.0)])
    assert not judge(question, 2, by(w0=2 / 3, w1=1 / 3)).decided


def test_a_box_side_where_slack_is_exactly_zero_is_decided_in_rationals() -> None:
    verdict = judge(problem([[1.0, -1.0], [0.0, 0.0]], [0.0, 2.0], "box"), 0, by(w1=1.0))
    assert (verdict.name, verdict.proof) == ("unspeakable", "rational")


@pytest.mark.parametrize("domain", ["rmsnorm", "layernorm"])
def test_a_ball_that_a_bias_just_covers_is_decided_in_rationals(domain: str) -> None:
    along_ones = 7.0 * (domain == "layernorm")
    row = np.array([2.0, 2.0, -2.0, -2.0]) + along_ones
    just, short = (problem([row, [0.0] * 4], [0.0, b], domain) for b in (8.0, 8.0 - 2.0**-50))
    assert judge(just, 0, by(w1=1.0)).proof == "rational"
    assert not judge(short, 0, by(w1=1.0)).decided
