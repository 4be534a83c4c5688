"""The post's linear program: the effect of its slip, and that its answer is never a verdict."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from geom import Finding, InputError, Problem, Readout
from geom.model.domains import box, layernorm, rmsnorm, unbounded
from geom.plugins.chosen import Chosen
from geom.plugins.options import validate
from geom.runs.certification import certify
from geom_plugins.certifiers.linprog_post import PostOptions, geom_certifiers
from geom_plugins.certifiers.linprog_post import certify as ask

(RECORD,) = geom_certifiers()
MENDED = PostOptions(margin=1e-3, own_row=False)


def rows(seed: int, V: int = 40, d: int = 3) -> NDArray[np.float64]:
    """Draw random rows, a quarter of them close to the middle."""
    W = np.random.default_rng(seed).normal(size=(V, d))
    W[-V // 4 :] *= 0.3
    return W


def vertices(W: NDArray[np.float64]) -> set[int]:
    """Return the rows on the hull by Qhull: without a bias, the speakable tokens."""
    return set(ConvexHull(W).vertices.tolist())


def feasible(problem: Problem, options: PostOptions) -> set[int]:
    """Return the tokens for which the solver claims a solution of the program."""
    tokens = range(problem.readout.V)
    return {t for t in tokens if ask(problem, t, Finding(), options).x is not None}


@pytest.mark.parametrize("margin", [2e-7, 1e-3, 1.0])
def test_with_its_own_row_every_token_is_infeasible_above_the_tolerance(margin: float) -> None:
    W = rows(1)
    assert len(vertices(W)) > 5
    assert feasible(Problem(Readout.fold(W), box(3)), PostOptions(margin=margin)) == set()


def test_longest_row_by_far_is_infeasible_too() -> None:
    W = np.vstack([[50.0, 50.0, 50.0], rows(2)])
    found = ask(Problem(Readout.fold(W), box(3)), 0, Finding(), PostOptions(margin=1e-3))
    assert found.x is None
    assert found.note == (
        "historical: the post's program calls it infeasible (HiGHS status 2); that proves nothing"
    )


@pytest.mark.parametrize("seed", range(5))
def test_without_its_own_row_it_agrees_with_qhull(seed: int) -> None:
    W = rows(seed)
    assert feasible(Problem(Readout.fold(W), box(3)), MENDED) == vertices(W)


@pytest.mark.parametrize("options", [PostOptions(), PostOptions(margin=1e-3), MENDED])
@pytest.mark.parametrize("seed", range(3))
def test_its_word_is_never_a_verdict(options: PostOptions, seed: int) -> None:
    W = rows(seed)
    problem = Problem(Readout.fold(W), box(3))
    speakable = vertices(W)
    for outcome in certify(problem, [Chosen("certifier", RECORD, options)], range(len(W))):
        assert outcome.verdict in ("speakable", "undecided")
        assert outcome.verdict == "undecided" or outcome.token_id in speakable
        assert outcome.evidence.weights is None
        assert outcome.note is not None
        assert outcome.note.startswith("linprog-post: historical: the post's program")


def test_mended_program_finds_witnesses_that_exact_arithmetic_proves() -> None:
    W = rows(3)
    problem = Problem(Readout.fold(W), box(3))
    outcomes = list(certify(problem, [Chosen("certifier", RECORD, MENDED)], range(len(W))))
    proven = {o.token_id for o in outcomes if o.verdict == "speakable"}
    assert proven == vertices(W)
    assert {o.certifier for o in outcomes if o.verdict == "speakable"} == {"linprog-post"}


def test_below_the_tolerance_it_calls_a_token_inside_the_hull_feasible() -> None:
    """The token is the middle of a cube; exact arithmetic does not confirm the program's answer."""
    corners = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)], dtype=float)
    problem = Problem(Readout.fold(np.vstack([np.zeros(3), corners])), box(3))
    options = PostOptions(margin=1e-9)
    assert ask(problem, 0, Finding(), options).x is not None
    (outcome,) = certify(problem, [Chosen("certifier", RECORD, options)], [0])
    assert outcome.verdict == "undecided"


def test_bias_that_silences_a_token_counts_only_when_asked_for() -> None:
    """Token 0 sticks out of the hull, but its bias is lower than the box can make up for."""
    W = np.array([[2.0, 0.0], [0.0, 1.0], [0.0, -1.0], [-1.0, 0.0]])
    problem = Problem(Readout.fold(W, [-9.0, 0.0, 0.0, 0.0]), box(2))
    mended = PostOptions(margin=1e-3, own_row=False)
    assert ask(problem, 0, Finding(), mended).x is not None
    assert ask(problem, 0, Finding(), PostOptions(margin=1e-3, own_row=False, bias=True)).x is None
    (outcome,) = certify(problem, [Chosen("certifier", RECORD, mended)], [0])
    assert outcome.verdict == "undecided"


def test_bias_makes_a_token_inside_the_hull_speakable_when_asked_for() -> None:
    W = np.array([[0.0, 0.0], [1.0, 0.0], [-1.0, 1.0], [-1.0, -1.0]])
    problem = Problem(Readout.fold(W, [0.5, 0.0, 0.0, 0.0]), box(2))
    assert ask(problem, 0, Finding(), PostOptions(margin=1e-3, own_row=False)).x is None
    options = PostOptions(margin=1e-3, own_row=False, bias=True)
    (outcome,) = certify(problem, [Chosen("certifier", RECORD, options)], [0])
    assert outcome.verdict == "speakable"


def test_point_outside_another_domain_is_fitted_into_it_and_said_so() -> None:
    W = rows(1)
    token = min(vertices(W))
    for domain in (layernorm(3), box(3, 0.5)):
        found = ask(Problem(Readout.fold(W), domain), token, Finding(), MENDED)
        assert found.x is not None
        assert domain.contains(found.x)
        assert found.note is not None
        assert found.note.endswith(f"its point was fitted into the domain {domain}")
    for domain in (rmsnorm(3), unbounded(3)):  # they contain the whole box
        found = ask(Problem(Readout.fold(W), domain), token, Finding(), MENDED)
        assert found.note is not None
        assert "fitted" not in found.note


def test_note_says_when_the_own_row_was_left_out() -> None:
    W = rows(1)
    found = ask(Problem(Readout.fold(W), box(3)), min(vertices(W)), Finding(), MENDED)
    assert found.note == (
        "historical: the post's program without its own row calls it feasible at margin 0.001"
    )


def test_defaults_are_the_posts_and_a_margin_must_be_positive() -> None:
    assert RECORD.name == "linprog-post"
    assert not RECORD.verifies
    assert validate("certifier", RECORD, {}) == PostOptions(1e-7, bias=False, own_row=True)
    with pytest.raises(InputError, match=r"certifier\.linprog-post\.margin=0"):
        validate("certifier", RECORD, {"margin": 0})
