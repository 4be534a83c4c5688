"""Verdicts on rows in general position, against Qhull in up to eight dimensions."""

from __future__ import annotations

import numpy as np
import pytest

from geom import Finding, Readout, judge
from geom.model import domains
from geom.model.problem import Problem
from support import truth
from support.judging import both, speakable, verdicts
from support.problems import problem
from support.truth import Floats


def cloud(d: int, seed: int) -> tuple[Floats, Floats]:
    """Draw rows in general position, half of them well inside, and biases."""
    rng = np.random.default_rng([d, seed])
    W = rng.normal(size=(8 + 5 * d, d))
    W[::2] *= 0.3
    return W, rng.normal(size=len(W))


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
