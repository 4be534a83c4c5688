"""Readouts of one token, of fewer tokens than dimensions, and of flat or equal rows."""

from __future__ import annotations

from itertools import product

import numpy as np

from geom import Finding, judge
from geom.exact.points import margin_at
from support import truth
from support.judging import LARGEST, at, speakable, verdicts
from support.problems import problem


def test_a_token_without_rivals_has_every_margin() -> None:
    verdict = judge(problem([[1.0, 2.0]]), 0, at(0.0, 0.0))
    assert (verdict.name, verdict.margin_lower) == ("speakable", LARGEST)
    assert margin_at(problem([[1.0, 2.0]]), 0, np.zeros(2)) is None


def test_fewer_tokens_than_dimensions_are_all_speakable() -> None:
    W = np.random.default_rng(0).normal(size=(5, 9))
    assert speakable(verdicts(problem(W))) == set(range(5))


def test_rows_in_a_plane_of_a_larger_space_are_decided_as_in_the_plane() -> None:
    flat = np.array(list(product([-2.0, 0.0, 2.0], repeat=2)))
    W = flat @ np.array([[1.0, 2.0, -1.0, 3.0], [0.0, 1.0, 4.0, -2.0]])
    assert speakable(verdicts(problem(W))) == {0, 2, 6, 8}


def test_dead_dimensions_do_not_stop_the_interior_proof() -> None:
    W = np.zeros((13, 6))
    W[:12, [1, 4]] = np.random.default_rng(2).normal(size=(12, 2))
    W[:, 2] = 1.5
    verdict = judge(problem(W), 12, Finding(weights=truth.weights(W, np.zeros(13), 12)))
    assert verdict.proof == "interior"


def test_rows_that_are_all_equal_are_all_unspeakable() -> None:
    assert speakable(verdicts(problem(np.full((4, 3), 0.1)))) == set()


def test_the_origin_is_a_witness_of_the_highest_bias() -> None:
    question = problem([[1.0], [2.0], [3.0]], [0.0, 0.5, 0.25])
    assert judge(question, 1, at(0.0)).margin_lower == 0.25
    assert judge(question, 2, at(0.0)).margin_lower == -0.25
