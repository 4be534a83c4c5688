"""The shared Newton step against its formula, and what it must survive."""

from __future__ import annotations

import numpy as np
import pytest

from geom import Problem, Readout
from geom.model import domains
from geom.opening.shared_step import shared_directions, whitening
from support.problems import cloud, problem


@pytest.mark.parametrize("domain", ["rmsnorm", "box", "unbounded"])
def test_directions_are_whitened_rows(domain: str) -> None:
    W = cloud(120, 8, seed=1) @ np.diag(2.0 ** np.arange(8)) + 5.0
    steps = shared_directions(problem(W, domain=domain), np.arange(120))
    centred = W - W.mean(axis=0)
    expected = np.linalg.solve(centred.T @ centred / 120, centred.T).T
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert steps == pytest.approx(expected, abs=1e-5)  # for a billionth added to the diagonal


def test_on_a_domain_of_sum_zero_they_are_whitened_there() -> None:
    W = cloud(120, 8, seed=2) @ np.diag(2.0 ** np.arange(8))
    steps = shared_directions(problem(W, domain="layernorm"), np.arange(120))
    basis = np.linalg.svd(np.ones((1, 8)))[2][1:]
    inner = (W - W.mean(axis=0)) @ basis.T
    expected = np.linalg.solve(inner.T @ inner / 120, inner.T).T @ basis
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert steps == pytest.approx(expected, abs=1e-5)
    assert steps.sum(axis=1) == pytest.approx(np.zeros(120), abs=1e-12)


def test_they_win_for_nearly_every_token_in_many_dimensions() -> None:
    W = np.random.default_rng(3).normal(size=(2000, 60)) @ np.diag(np.linspace(0.1, 3.0, 60))
    steps = shared_directions(problem(W), np.arange(2000))
    assert (np.argmax(steps @ W.T, axis=1) == np.arange(2000)).mean() > 0.99


def test_some_tokens_have_the_directions_they_have_among_all() -> None:
    asked = problem(cloud(50, 4, seed=4))
    some = np.array([7, 3, 48])
    assert (shared_directions(asked, some) == shared_directions(asked, np.arange(50))[some]).all()


def test_the_mean_row_has_no_direction() -> None:
    W = np.vstack([np.eye(3), -np.eye(3), np.zeros((1, 3))])
    steps = shared_directions(problem(W), np.arange(7))
    assert steps[6].tolist() == [0.0, 0.0, 0.0]
    assert np.linalg.norm(steps[:6], axis=1) == pytest.approx(np.ones(6))


@pytest.mark.parametrize("d", [1, 3])
def test_equal_rows_have_no_direction(d: int) -> None:
    steps = shared_directions(problem(np.full((5, d), 2.5)), np.arange(5))
    assert not steps.any()


@pytest.mark.parametrize("scale", [5e-324, 1e-200, 1e160, 1e308])
@pytest.mark.parametrize("domain", ["layernorm", "unbounded"])
def test_directions_are_of_length_one_or_zero_at_any_scale(scale: float, domain: str) -> None:
    W = np.random.default_rng(5).choice([-1.0, 0.0, 1.0], (40, 4)) * scale
    steps = shared_directions(problem(W, domain=domain), np.arange(40))
    lengths = np.linalg.norm(steps, axis=1)
    assert np.isfinite(steps).all()
    assert (np.abs(lengths - 1.0) < 1e-12).sum() + (lengths == 0.0).sum() == 40


def test_one_inverse_serves_all_problems_of_a_readout_with_the_same_sums() -> None:
    readout = Readout.fold(cloud(30, 4, seed=6))
    asked = [Problem(readout, domains.named(name, 4, None)) for name in domains.NAMES[1:]]
    layernorm, *rest = (whitening(item) for item in asked)
    assert all(item is rest[0] for item in rest)
    assert layernorm is not rest[0]
