"""Tokens on faces, edges and vertices, whose verdicts are obvious."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geom import Finding, Readout, Weights, judge
from geom.model import domains
from geom.model.problem import Problem
from support import truth
from support.judging import both, by, speakable, verdicts
from support.problems import problem

# Lattices: tokens on faces, edges and vertices


@pytest.mark.parametrize("d", [1, 2, 3])
def test_of_a_lattice_cube_only_the_corners_are_speakable(d: int) -> None:
    W = np.array(list(product([-1.0, 0.0, 1.0], repeat=d)))
    corners = set(np.flatnonzero(np.abs(W).sum(axis=1) == d).tolist())
    assert speakable(verdicts(problem(W))) == corners


@pytest.mark.parametrize("d", [1, 2, 4, 6])
def test_of_a_cross_polytope_the_vertices_are_speakable_and_not_the_centre(d: int) -> None:
    W = np.vstack([np.eye(d), -np.eye(d), np.zeros(d)])
    assert speakable(verdicts(problem(W))) == set(range(2 * d))


@pytest.mark.parametrize("k", [2, 3, 4])
def test_the_centre_of_a_face_of_a_cross_polytope_is_unspeakable(k: int) -> None:
    W = np.vstack([12 * np.eye(4), -12 * np.eye(4), 12 * np.eye(4)[:k].sum(axis=0) / k])
    question = problem(W)
    verdict = judge(question, 8, both(question, 8))
    assert (verdict.name, verdict.proof) == ("unspeakable", "rational")


@pytest.mark.parametrize(("step", "name"), [(1, "speakable"), (0, "unspeakable")])
@pytest.mark.parametrize("d", [1, 2, 4])
def test_a_token_on_a_facet_is_told_from_one_2_to_the_minus_40_above(
    d: int, step: int, name: str
) -> None:
    token = np.full(d, 1.0 / d) + step * 2.0**-40
    question = problem(np.vstack([np.eye(d), -np.eye(d), token]))
    weights = Weights(np.arange(d), np.full(d, 1.0 / d))
    assert judge(question, 2 * d, Finding(np.ones(d), weights)).name == name


@pytest.mark.parametrize("d", [1, 2, 4])
def test_a_token_2_to_the_minus_40_below_a_facet_is_unspeakable(d: int) -> None:
    token = np.full(d, 1.0 / d) - 2.0**-40
    question = problem(np.vstack([np.eye(d), -np.eye(d), token]))
    values = np.append(token, d * 2.0**-41)
    values[0] += d * 2.0**-41
    verdict = judge(question, 2 * d, Finding(np.ones(d), Weights(np.arange(d + 1), values)))
    assert verdict.name == "unspeakable"


lattices = st.integers(1, 3).flatmap(
    lambda d: st.lists(st.tuples(*[st.integers(-2, 2)] * d), min_size=2, max_size=7)
)


@given(lattices, st.booleans())
def test_every_token_of_an_integer_lattice_is_decided_rightly(
    rows: list[tuple[int, ...]], biased: bool
) -> None:
    b = [-sum(e * e for e in row) // 2 for row in rows] if biased else [0] * len(rows)
    expected = {t for t in range(len(rows)) if truth.largest_margin(rows, b, t) > 0}
    assert speakable(verdicts(problem(rows, b))) == expected


@given(
    st.lists(st.tuples(*[st.integers(-3, 3)] * 3), min_size=2, max_size=6),
    st.sampled_from([0.5, 1.0, 2.0]),
)
def test_on_a_box_no_verdict_is_wrong_and_only_the_border_is_undecided(
    rows: list[tuple[int, int, int]], radius: float
) -> None:
    W, b = np.array(rows, dtype=float)[:, :2], np.array(rows, dtype=float)[:, 2]
    question = Problem(Readout.fold(W, b), domains.box(2, radius))
    for token, verdict in verdicts(question, radius).items():
        best = truth.largest_margin(W, b, token, radius)
        assert verdict.name in ("speakable" if best > 0 else "unspeakable", "undecided")
        assert verdict.decided or best == 0
        assert verdict.margin_lower is not None
        assert verdict.margin_upper is not None
        assert Fraction(verdict.margin_lower) <= best <= Fraction(verdict.margin_upper)


# Biases that make every token a Voronoi site


@pytest.mark.parametrize("d", [1, 2, 5])
def test_with_voronoi_biases_every_distinct_row_is_speakable(d: int) -> None:
    W = np.unique(np.random.default_rng(d).integers(-9, 10, size=(40, d)).astype(float), axis=0)
    question = problem(W, -(W * W).sum(axis=1) / 2)
    for token, x in enumerate(W):
        nearest = min(((W[j] - x) ** 2).sum() / 2 for j in range(len(W)) if j != token)
        verdict = judge(question, token, Finding(x))
        assert (verdict.name, verdict.margin_lower) == ("speakable", nearest)


def test_a_doubled_voronoi_site_is_unspeakable_by_its_twin() -> None:
    question = problem([[1.0, 2.0], [1.0, 2.0], [0.0, 0.0]], [-2.5, -2.5, 0.0])
    assert judge(question, 0, by(w1=1.0)).name == "unspeakable"
