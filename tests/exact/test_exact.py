"""What `geom.exact` calls proven, against truth from elsewhere.

Truth: Qhull up to eight dimensions, a simplex method in Fractions (`truth.largest_margin`), margins
in Fractions, closed forms derived in the tests, and lattices where the answer is plain to see.
Certificates come from HiGHS through SciPy or are written by hand; `exact` itself calls no solver.
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from geom import Finding, Readout, Verdict, Weights, Witness, judge
from geom.exact import faults
from geom.exact.points import margin_at, margin_below
from geom.exact.weights import prove_unspeakable
from geom.model import domains
from geom.model.domains import Domain
from geom.model.problem import Problem
from support import truth
from support.truth import Floats

LEAST = 5e-324
LARGEST = sys.float_info.max
SQUARE = [[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]


def problem(W: ArrayLike, b: ArrayLike | None = None, domain: str = "unbounded") -> Problem:
    readout = Readout.fold(W, b)
    return Problem(readout, domains.named(domain, readout.d, None))


def at(*x: float) -> Finding:
    return Finding(x=np.array(x))


def by(**values: float) -> Finding:
    """Weights as ``by(w3=0.5)``: one half on token 3."""
    ids = [int(name[1:]) for name in values]
    return Finding(weights=Weights(np.array(ids, dtype=np.int64), np.array([*values.values()])))


def both(question: Problem, token: int, radius: float | None = None) -> Finding:
    """HiGHS's best point, in the domain, and best weights."""
    W, b = question.readout.W, question.readout.b
    x = truth.point(W, b, token, 1e3 if radius is None else radius)
    return Finding(question.domain.fit(x), truth.weights(W, b, token, radius))


def verdicts(question: Problem, radius: float | None = None) -> dict[int, Verdict]:
    """What is proven of every token from HiGHS's certificates, each re-checked."""
    out = {}
    for token in range(question.readout.V):
        finding = both(question, token, radius)
        out[token] = judge(question, token, finding)
        assert faults(question, token, finding, out[token]) == []
    return out


def speakable(found: dict[int, Verdict]) -> set[int]:
    """The tokens proven speakable, where every other one is proven unspeakable."""
    assert all(verdict.decided for verdict in found.values())
    return {token for token, verdict in found.items() if verdict.name == "speakable"}


def cloud(d: int, seed: int) -> tuple[Floats, Floats]:
    """Rows in general position, half of them well inside, and biases."""
    rng = np.random.default_rng([d, seed])
    W = rng.normal(size=(8 + 5 * d, d))
    W[::2] *= 0.3
    return W, rng.normal(size=len(W))


# The truth of these tests, checked against a second source


@pytest.mark.parametrize("seed", range(5))
def test_the_exact_simplex_agrees_with_qhull(seed: int) -> None:
    rng = np.random.default_rng(seed)
    W, b = rng.normal(size=(9, 2)), rng.normal(size=9)
    free = {t for t in range(9) if truth.largest_margin(W, b, t) > 0}
    boxed = {t for t in range(9) if truth.largest_margin(W, b, t, 0.5) > 0}
    assert (free, boxed) == (truth.upper_hull_tokens(W, b), truth.box_tokens(W, b, 0.5))


# Qhull


@pytest.mark.parametrize("d", range(1, 9))
def test_speakable_tokens_are_the_vertices_of_the_hull(d: int) -> None:
    W, _ = cloud(d, seed=0)
    assert speakable(verdicts(problem(W))) == truth.hull_tokens(W)


@pytest.mark.parametrize("d", range(1, 9))
def test_with_a_bias_they_are_the_vertices_of_the_lifted_upper_hull(d: int) -> None:
    W, b = cloud(d, seed=1)
    assert speakable(verdicts(problem(W, b))) == truth.upper_hull_tokens(W, b)


@pytest.mark.parametrize("d", range(1, 7))
def test_on_a_box_they_are_the_facets_of_the_greatest_logit(d: int) -> None:
    W, b = cloud(d, seed=2)
    question = Problem(Readout.fold(W, b), domains.box(d, 0.5))
    assert speakable(verdicts(question, 0.5)) == truth.box_tokens(W, b, 0.5)


@pytest.mark.parametrize("domain", ["rmsnorm", "box"])
def test_without_a_bias_a_bounded_domain_has_the_same_speakable_tokens(domain: str) -> None:
    W, _ = cloud(4, seed=3)
    assert speakable(verdicts(problem(W, domain=domain))) == truth.hull_tokens(W)


@pytest.mark.parametrize("d", [2, 3, 5])
def test_on_the_layernorm_ball_they_are_the_vertices_of_the_projected_hull(d: int) -> None:
    W, _ = cloud(d, seed=4)
    basis = np.linalg.svd(np.ones((1, d)))[2][1:]
    found = {}
    question = problem(W, domain="layernorm")
    for token in range(len(W)):
        x = truth.point(W @ basis.T, np.zeros(len(W)), token) @ basis
        weights = truth.weights(W @ basis.T, np.zeros(len(W)), token)
        found[token] = judge(question, token, Finding(question.domain.fit(x), weights))
    assert speakable(found) == truth.hull_tokens(W @ basis.T)


@pytest.mark.parametrize("scale", [1e-100, 1e-30, 1e30, 1e100])
def test_the_scale_of_the_weights_does_not_matter(scale: float) -> None:
    W, _ = cloud(3, seed=5)
    question = problem(W * scale)
    found = {t: judge(question, t, both(problem(W), t)) for t in range(len(W))}
    assert speakable(found) == truth.hull_tokens(W)


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


# Each proof by name


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
    W = [[1.0, 4.0], [3.0, 8.0], [2.0, 6.0], [7.0, 1.0], [6.0, -1.0]]  # both on one side
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


# Closed forms on bounded domains


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


# Shapes at the edge


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


# Rounding: where float64 has the sign wrong


CANCEL = [[2.0**53, 1.0], [2.0**53 + 2.0, 1.0]], [1.0, -1.5], np.ones(2)
"""Logits 2^53 + 2 and 2^53 + 1.5, whose float64 roundings are in the other order."""


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


# Forged points


@pytest.mark.parametrize(
    "x",
    [
        np.array([1.0, np.nan]),
        np.array([np.inf, 0.0]),
        np.array([1.0, 1.0, 1.0]),
        np.array([[1.0, 1.0]]),
        np.array(1.0),
        np.array([]),
        np.array([1.0, 1.0], dtype=np.float32),
        np.array([1, 1]),
        np.array([1.0, 1.0]).astype(">f8"),
        np.ma.masked_array([1.0, 9.0], [False, True]),
        [1.0, 1.0],
    ],
    ids=repr,
)
def test_what_is_no_float64_point_proves_nothing(x: object) -> None:
    question = problem(SQUARE, domain="box")
    verdict = judge(question, 0, Finding(x))  # type: ignore[arg-type]
    assert (verdict.name, verdict.margin_lower) == ("undecided", None)
    assert "the point" in (verdict.note or "")


@pytest.mark.parametrize(
    ("domain", "x"),
    [
        ("box", [math.nextafter(1.0, 2.0), 0.0]),
        ("rmsnorm", [1.0, math.nextafter(1.0, 2.0)]),
        ("layernorm", [math.nextafter(1.0, 2.0), -math.nextafter(1.0, 2.0)]),
        ("layernorm", [0.5, -math.nextafter(0.5, 0.0)]),
        ("layernorm", [LEAST, 0.0]),
    ],
)
def test_a_point_one_ulp_outside_the_domain_proves_nothing(domain: str, x: list[float]) -> None:
    verdict = judge(problem([[1.0, 0.0], [-1.0, 0.0]], domain=domain), 0, at(*x))
    assert (verdict.name, verdict.margin_lower) == ("undecided", None)
    assert "not in the domain" in (verdict.note or "")


@pytest.mark.parametrize(
    ("domain", "x"),
    [("box", [1.0, -1.0]), ("rmsnorm", [1.0, -1.0]), ("layernorm", [1.0, -1.0])],
)
def test_a_point_on_the_border_of_the_domain_is_in_it(domain: str, x: list[float]) -> None:
    assert judge(problem([[1.0, 0.0], [-1.0, 0.0]], domain=domain), 0, at(*x)).decided


def test_a_point_where_another_token_ties_is_no_witness() -> None:
    verdict = judge(problem(SQUARE), 0, at(1.0, 0.0))
    assert (verdict.name, verdict.margin_lower) == ("undecided", 0.0)


def test_a_witness_of_another_token_is_none_of_this_one() -> None:
    assert not judge(problem(SQUARE), 1, at(1.0, 1.0)).decided


# Forged weights


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
        ([0, 1], [0.5], "one value an index"),
        ([[0, 1]], [[0.5, 0.5]], "one value an index"),
        ([], [], "one value an index"),
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


# What is stored is checked again


def line() -> tuple[Problem, Finding]:
    """A token between two others on a box, with a point and weights from HiGHS."""
    question = problem([[0.0], [2.0], [-3.0]], [0.5, 0.0, 0.0], "box")
    return question, both(question, 0, 1.0)


def test_a_verdict_that_was_judged_is_confirmed() -> None:
    question, finding = line()
    assert faults(question, 0, finding, judge(question, 0, finding)) == []


def test_a_raised_margin_lower_is_refused() -> None:
    question, finding = line()
    verdict = judge(question, 0, finding)
    assert verdict.margin_lower is not None
    raised = replace(verdict, margin_lower=math.nextafter(verdict.margin_lower, 1.0))
    assert "margin_lower" in faults(question, 0, finding, raised)[0]


def test_a_lowered_margin_upper_is_refused() -> None:
    question, finding = line()
    verdict = judge(question, 0, finding)
    assert verdict.margin_upper is not None
    lowered = replace(verdict, margin_upper=verdict.margin_upper - 1e-9)
    assert "margin_upper" in faults(question, 0, finding, lowered)[0]


@pytest.mark.parametrize("bound", ["margin_lower", "margin_upper"])
def test_a_bound_that_is_no_number_is_refused(bound: str) -> None:
    question, finding = line()
    claim = replace(judge(question, 0, finding), **{bound: math.nan})
    assert bound in faults(question, 0, finding, claim)[0]


def test_a_speakable_token_called_unspeakable_is_refused() -> None:
    question, finding = line()
    claim = replace(judge(question, 0, finding), name="unspeakable", proof="slack")
    assert "no stored weights prove it unspeakable" in faults(question, 0, finding, claim)


def test_an_unspeakable_token_called_speakable_is_refused() -> None:
    question = problem([[1.0], [3.0], [2.0]])
    finding = replace(by(w0=0.5, w1=0.5), x=np.ones(1))
    verdict = judge(question, 2, finding)
    assert faults(question, 2, finding, verdict) == []
    claim = replace(verdict, name="speakable", proof="witness")
    assert "no stored point proves it speakable" in faults(question, 2, finding, claim)


@pytest.mark.parametrize("lower", [None, 0.0, -1.0])
def test_a_speakable_token_must_claim_a_positive_margin(lower: float | None) -> None:
    question, finding = line()
    claim = replace(judge(question, 0, finding), margin_lower=lower)
    found = faults(question, 0, finding, claim)
    assert found == ["it is speakable and yet claims no margin_lower above zero"]


@pytest.mark.parametrize("upper", [None, 5.0])
def test_an_unspeakable_token_must_claim_that_its_margin_is_not_positive(
    upper: float | None,
) -> None:
    question, finding = problem([[1.0], [3.0], [2.0]]), by(w0=0.5, w1=0.5)
    claim = replace(judge(question, 2, finding), margin_upper=upper)
    found = faults(question, 2, finding, claim)
    assert found == ["it is unspeakable and yet claims no margin_upper of zero or less"]


@pytest.mark.parametrize("proof", ["witness", "slack", "interior", "magic", None])
def test_a_proof_of_another_name_is_refused(proof: str | None) -> None:
    question = problem([[1.0, 0.0], [3.0, 1.0], [2.0, 0.5]])
    finding = by(w0=0.5, w1=0.5)
    claim = replace(judge(question, 2, finding), proof=proof)
    assert "no stored weights prove it unspeakable" in faults(question, 2, finding, claim)


@pytest.mark.parametrize("proof", ["slack", None])
def test_a_witness_under_another_name_is_refused(proof: str | None) -> None:
    question, finding = line()
    claim = replace(judge(question, 0, finding), proof=proof)
    assert faults(question, 0, finding, claim) == ["no stored point proves it speakable"]


def test_an_undecided_token_that_names_a_proof_is_refused() -> None:
    claim = Verdict("undecided", "slack")
    assert "names a proof" in faults(problem(SQUARE), 0, Finding(), claim)[0]


def test_a_verdict_that_is_none_of_the_three_is_refused() -> None:
    claim = replace(judge(problem(SQUARE), 0, Finding()), name="obvious")  # type: ignore[arg-type]
    assert faults(problem(SQUARE), 0, Finding(), claim) == ["'obvious' is no verdict"]


@pytest.mark.parametrize("token", [0, 2])
def test_missing_evidence_is_refused(token: int) -> None:
    question = problem([[1.0], [3.0], [2.0]], [0.0, 0.0, 0.0], "box")
    finding = Finding(np.full(1, -1.0), truth.weights(question.readout.W, np.zeros(3), token, 1.0))
    verdict = judge(question, token, finding)
    assert verdict.decided
    assert len(faults(question, token, Finding(), verdict)) == 3


def test_evidence_with_a_flaw_is_named_where_the_claim_falls_with_it() -> None:
    question, finding = line()
    verdict = judge(question, 0, finding)
    forged = replace(finding, x=np.array([1.5]))
    found = faults(question, 0, forged, verdict)
    assert found[0] == "the point is not in the domain box(radius=1.0)"
    assert "no stored point proves it speakable" in found


def test_evidence_with_a_flaw_on_which_nothing_rests_is_no_fault() -> None:
    question = problem([[1.0], [3.0], [2.0]], domain="box")
    finding = replace(by(w0=0.5, w1=0.5), x=np.array([1.5]))
    verdict = judge(question, 2, finding)
    assert verdict.name == "unspeakable"
    assert faults(question, 2, finding, verdict) == []


@pytest.mark.parametrize("token", range(4))
def test_a_run_is_not_confirmed_by_other_weights(token: int) -> None:
    W = np.array([[4.0, 0.0], [0.0, 4.0], [-4.0, -4.0], [0.25, 0.5]])
    other = problem(W[[1, 2, 3, 0]])
    found = verdicts(problem(W))
    assert faults(other, token, both(problem(W), token), found[token]) != []


any_weight = st.floats(0.0, 1.0) | st.floats(0.0, allow_infinity=False) | st.floats()


@given(
    st.lists(st.tuples(*[st.integers(-3, 3)] * 3), min_size=2, max_size=5),
    st.lists(any_weight, min_size=5, max_size=5),
    st.tuples(st.floats(), st.floats()) | st.tuples(*[st.floats(-1.0, 1.0)] * 2),
    st.sampled_from(["unbounded", "layernorm", "rmsnorm", "box"]),
)
def test_whatever_is_found_the_verdict_is_right_and_confirmed(
    rows: list[tuple[int, int, int]],
    values: list[float],
    x: tuple[float, float],
    domain: str,
) -> None:
    W, b = np.array(rows, dtype=float)[:, :2], np.array(rows, dtype=float)[:, 2]
    question = problem(W, b, domain)
    others = np.arange(1, len(rows))
    finding = Finding(np.array(x), Weights(others, np.array(values[: len(rows) - 1])))
    verdict = judge(question, 0, finding)
    assert faults(question, 0, finding, verdict) == []
    if domain in ("unbounded", "box"):
        best = truth.largest_margin(W, b, 0, 1.0 if domain == "box" else None)
        assert verdict.name in ("speakable" if best > 0 else "unspeakable", "undecided")


@given(st.integers(0, 2**32), st.integers(-60, 10))
def test_a_verdict_at_the_edge_of_slack_and_interior_is_confirmed(seed: int, e: int) -> None:
    rng = np.random.default_rng(seed)
    W = np.vstack([rng.normal(size=(14, 3)), np.zeros(3)])
    b = np.append(rng.normal(size=14) * 2.0**e, 0.0)
    question = problem(W, b, "rmsnorm")
    weights = truth.weights(W, b, 14)
    finding = Finding(weights=replace(weights, values=weights.values + 1e-17 * rng.random(14)))
    assert faults(question, 14, finding, judge(question, 14, finding)) == []


@pytest.mark.parametrize("seed", range(20))
def test_a_claim_holds_in_another_order_of_summation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    question = problem(rng.normal(size=(400, 6)) * [1, 1, 1, 1, 1, 1e-9], rng.normal(size=400))
    bounded = Problem(question.readout, domains.box(6, 1e-9))
    ids, lam = np.arange(1, 400), rng.random(399)
    claim = judge(bounded, 0, Finding(weights=Weights(ids, lam)))
    order = rng.permutation(399)
    reordered = Finding(weights=Weights(ids[order], lam[order]))
    assert claim.margin_upper is not None
    assert faults(bounded, 0, reordered, claim) == []


# What leaves verdicts as they are


small = st.lists(st.tuples(*[st.integers(-3, 3)] * 3), min_size=3, max_size=5)


def table(rows: list[tuple[int, int, int]]) -> tuple[Floats, Floats]:
    return np.array(rows, dtype=float)[:, :2], np.array(rows, dtype=float)[:, 2]


@given(small, st.tuples(*[st.integers(-(2**20), 2**20)] * 3), st.sampled_from(["box", "unbounded"]))
def test_a_shift_of_all_rows_and_all_biases_changes_nothing(
    rows: list[tuple[int, int, int]], shift: tuple[int, int, int], domain: str
) -> None:
    W, b = table(rows)
    question, shifted = problem(W, b, domain), problem(W + shift[:2], b + shift[2], domain)
    finding = both(question, 0, 1.0 if domain == "box" else None)
    before, after = judge(question, 0, finding), judge(shifted, 0, finding)
    assert (before.name, before.proof) == (after.name, after.proof)
    assert (before.margin_lower, before.margin_upper) == (after.margin_lower, after.margin_upper)


@given(small, st.randoms(use_true_random=False), st.sampled_from(["box", "unbounded"]))
def test_permuting_the_tokens_permutes_the_verdicts(
    rows: list[tuple[int, int, int]], random: object, domain: str
) -> None:
    W, b = table(rows)
    new = list(range(len(rows)))
    random.shuffle(new)  # type: ignore[attr-defined]
    order = np.argsort(new)
    question, permuted = problem(W, b, domain), problem(W[order], b[order], domain)
    finding = both(question, 0, 1.0 if domain == "box" else None)
    assert finding.weights is not None
    names = np.array(new)[finding.weights.indices]
    after = judge(
        permuted, new[0], replace(finding, weights=Weights(names, finding.weights.values))
    )
    before = judge(question, 0, finding)
    assert (before.name, before.proof) == (after.name, after.proof)
    assert (before.margin_lower, before.margin_upper) == (after.margin_lower, after.margin_upper)


@given(small, st.integers(-40, 40))
def test_without_a_bias_the_radius_of_a_domain_changes_no_verdict(
    rows: list[tuple[int, int, int]], e: int
) -> None:
    W, _ = table(rows)
    question = problem(W, domain="box")
    scaled = Problem(question.readout, domains.box(2, 2.0**e))
    finding = both(question, 0, 1.0)
    assert finding.x is not None
    before, after = (
        judge(question, 0, finding),
        judge(scaled, 0, replace(finding, x=finding.x * 2.0**e)),
    )
    assert (before.name, before.proof) == (after.name, after.proof)


@given(small, st.integers(1, 2), st.sampled_from(["box", "unbounded"]))
def test_a_duplicate_of_another_token_flips_no_verdict(
    rows: list[tuple[int, int, int]], j: int, domain: str
) -> None:
    W, b = table(rows)
    question = problem(W, b, domain)
    doubled = problem(np.vstack([W, W[j]]), np.append(b, b[j]), domain)
    finding = both(question, 0, 1.0 if domain == "box" else None)
    before = judge(question, 0, finding)
    assume(before.decided)
    after = judge(doubled, 0, finding)
    assert (before.name, before.margin_lower) == (after.name, after.margin_lower)
