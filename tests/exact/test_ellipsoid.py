"""Ellipsoids: verdicts against closed forms, and against Clarabel on the ball of coordinates."""

from __future__ import annotations

import math

import numpy as np
import pytest

import geom
from geom import Finding, Problem, Weights, judge, measure
from geom.exact import faults
from geom_plugins.certifiers import highs
from geom_plugins.solvers.maximum_entropy import Effort, search
from support import conic
from support.problems import cloud, problem

OPTIONS = {
    "maxent": lambda asked, t: search(asked, t, Finding(), Effort()),
    "highs": lambda asked, t: highs.certify(asked, t, Finding(), highs.HighsOptions()),
}


def certified(asked: Problem, token: int, name: str) -> Finding:
    """Return what a certifier finds, asked as a run asks it."""
    return OPTIONS[name](asked.in_coordinates, token)


@pytest.mark.parametrize("name", OPTIONS)
def test_of_two_tokens_the_closed_form_decides(name: str) -> None:
    for seed in range(6):
        W, b = cloud(2, 4, seed), cloud(2, 1, seed + 50)[:, 0]
        mean, factor, radius = cloud(1, 4, seed + 9)[0], cloud(3, 4, seed + 20), 0.75
        asked = problem(W, b, geom.ellipsoid(mean, factor, radius))
        apart = W[0] - W[1]
        largest = apart @ mean + b[0] - b[1] + radius * np.linalg.norm(factor @ apart)
        finding = certified(asked, 0, name)
        verdict = judge(asked, 0, finding)
        assert verdict.name == ("speakable" if largest > 0 else "unspeakable")
        assert faults(asked, 0, finding, verdict) == []
        (row,) = measure_of(asked)
        assert row == pytest.approx(-largest, rel=1e-9)


def measure_of(asked: Problem) -> list[float]:
    table = measure(asked.readout, "logit-bias", "0", domain=asked.domain)
    return [row.value for row in table if row.value is not None]


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("name", OPTIONS)
def test_verdicts_are_clarabels_on_the_ball_of_coordinates(name: str, k: int) -> None:
    W, b = cloud(12, 3, seed=k), cloud(12, 1, seed=7)[:, 0]
    mean, factor = cloud(1, 3, seed=5)[0] / 2, cloud(k, 3, seed=6)
    asked = problem(W, b, geom.ellipsoid(mean, factor, 1.5))
    for token in range(12):
        a, c = np.delete(W, token, 0) - W[token], np.delete(b, token) - b[token]
        largest = conic.largest_margin(a @ factor.T, c + a @ mean, "ball", 1.5)
        finding = certified(asked, token, name)
        verdict = judge(asked, token, finding)
        assert abs(largest) > 1e-6
        assert verdict.name == ("speakable" if largest > 0 else "unspeakable")
        if verdict.margin_lower is not None:
            assert verdict.margin_lower <= largest + 1e-6
        if verdict.margin_upper is not None:
            assert verdict.margin_upper >= largest - 1e-6


def test_a_point_beyond_the_radius_proves_nothing() -> None:
    asked = problem([[1.0], [-1.0]], None, geom.ellipsoid([0.0], [[1.0]], 2.0))
    assert judge(asked, 0, Finding(x=np.array([2.0]))).name == "speakable"
    assert judge(asked, 0, Finding(x=np.array([math.nextafter(2.0, 3.0)]))).name == "undecided"


def test_a_token_that_only_ties_at_the_far_end_is_unspeakable_exactly() -> None:
    # margin of 0 over 1 is 2 (x - 3), and x goes up to 1 + 2
    asked = problem([[1.0], [-1.0]], [-6.0, 0.0], geom.ellipsoid([1.0], [[1.0]], 2.0))
    verdict = judge(asked, 0, Finding(weights=Weights(np.array([1]), np.ones(1))))
    assert (verdict.name, verdict.proof) == ("unspeakable", "rational")
    wider = problem([[1.0], [-1.0]], [-6.0, 0.0], geom.ellipsoid([1.0], [[1.0]], 2.0 + 2**-50))
    assert judge(wider, 0, Finding(weights=Weights(np.array([1]), np.ones(1)))).proof is None


def test_a_flat_ellipsoid_asks_only_about_its_plane() -> None:
    # only the first coordinate varies, so the rows' second entries count at the centre alone
    W = np.array([[1.0, -5.0], [-1.0, 0.0], [0.0, 5.0]])
    flat = problem(W, None, geom.ellipsoid([0.0, 1.0], [[1.0, 0.0]], 3.0))
    for name in OPTIONS:
        found = [judge(flat, t, certified(flat, t, name)).name for t in range(3)]
        assert found == ["unspeakable", "unspeakable", "speakable"]


def test_the_measures_that_need_lengths_or_angles_refuse_it_by_name() -> None:
    readout = geom.load("demo")
    domain = geom.ellipsoid(np.zeros(readout.d), np.eye(readout.d), 1.0)
    for name in ("angular-margin", "chebyshev-radius", "perturbation", "solid-angle"):
        (row,) = measure(readout, name, "0", domain=domain)
        assert row.value is None
        assert str(row.note).startswith(f"{name} is not made for domain ellipsoid")
