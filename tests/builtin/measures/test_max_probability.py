"""``max-probability`` against Clarabel's exponential cone, closed forms, and what others prove."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import geom
from geom import Finding, Measurement, Problem, Readout, Weights, judge
from geom.model.domains import box, layernorm, rmsnorm
from geom.proofs import probability_bounds
from geom_plugins.measures.max_probability import (
    MaxProbabilityOptions,
    max_probabilities,
    max_probability,
    proven,
)
from geom_plugins.solvers import likeliest_point
from geom_plugins.solvers.maximum_entropy import Effort, search
from support import conic
from support.problems import Floats, cloud, ends, problem, rivals
from support.stored_runs import edit

SHAPES = ["rmsnorm", "layernorm", "box", "unbounded"]
TEMPERATURES = (0.3, 1.0, 4.0)


def options(temperature: float = 1.0, gap: float = 1e-3) -> MaxProbabilityOptions:
    return MaxProbabilityOptions(temperature, gap)


def measured(asked: Problem, token: int = 0, temperature: float = 1.0) -> Measurement:
    return max_probability(asked, token, Finding(), options(temperature, 1e-6))


def by_clarabel(asked: Problem, token: int, temperature: float) -> float:
    a, c = rivals(asked, token)
    domain = asked.domain
    return conic.largest_probability(a, c, domain.shape, domain.radius, temperature)[0]


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("bias", [0.0, 0.5])
@pytest.mark.parametrize("domain", ["rmsnorm", "layernorm", "box"])
def test_on_random_problems_it_is_the_optimum_of_clarabel(
    domain: str, bias: float, temperature: float
) -> None:
    for seed in range(6):
        asked = problem(cloud(15, 4, seed), bias * cloud(15, 1, seed + 50)[:, 0], domain)
        for token in range(3):
            low, high = ends(measured(asked, token, temperature))
            true = by_clarabel(asked, token, temperature) / math.log(10.0)
            assert low - 1e-6 <= true <= high + 1e-6
            assert high - low <= 1e-6


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("bias", [0.0, 0.5])
def test_on_all_of_space_it_is_the_optimum_of_clarabel_inside_the_hull(
    bias: float, temperature: float
) -> None:
    rng = np.random.default_rng(1)
    for _ in range(6):
        W = np.vstack([0.1 * rng.standard_normal(3), rng.standard_normal((14, 3))])
        asked = problem(W, bias * rng.standard_normal(15), "unbounded")
        low, high = ends(measured(asked, 0, temperature))
        true = by_clarabel(asked, 0, temperature) / math.log(10.0)
        assert low - 1e-6 <= true <= high + 1e-6
        assert high - low <= 1e-6


@pytest.mark.parametrize("domain", [rmsnorm(40), layernorm(40), box(40)])
def test_more_rivals_than_a_matrix_is_made_of_change_nothing(domain: object) -> None:
    W = cloud(600, 40, 7) / 3.0
    asked = problem(W, cloud(600, 1, 8)[:, 0], domain)  # type: ignore[arg-type]
    low, high = ends(measured(asked))
    true = by_clarabel(asked, 0, 1.0) / math.log(10.0)
    assert low - 1e-6 <= true <= high + 1e-6
    assert high - low <= 1e-6


# Closed forms


def test_of_two_tokens_it_is_a_logistic_function() -> None:
    asked = problem([[3.0, 4.0], [0.0, 0.0]], [0.0, 2.0], "rmsnorm")
    low, high = ends(measured(asked))
    true = -math.log1p(math.exp(2.0 - 5.0 * math.sqrt(2.0))) / math.log(10.0)
    assert low <= true <= high
    assert high - low <= 1e-6


def test_a_corner_of_a_regular_simplex_has_its_closed_form() -> None:
    d = 12
    W = (np.eye(d + 1) - 1.0 / (d + 1)) * math.sqrt((d + 1) / d)
    low, high = ends(measured(Problem(Readout.fold(W), layernorm(d + 1))))
    true = -math.log1p(d * math.exp(-math.sqrt(d + 1) * (1.0 + 1.0 / d))) / math.log(10.0)
    assert low - 1e-12 <= true <= high + 1e-12


@pytest.mark.parametrize("domain", SHAPES)
@pytest.mark.parametrize("k", [2, 5])
def test_k_equal_tokens_share_a_probability(k: int, domain: str) -> None:
    W = np.vstack([np.tile([[30.0, 0.0, 0.0]], (k, 1)), -np.eye(3)])
    found = measured(problem(W, None, domain))
    assert found.value == pytest.approx(-math.log10(k), abs=1e-5)
    assert ends(found)[1] >= -math.log10(k) - 1e-15


@pytest.mark.parametrize("domain", SHAPES)
def test_the_mean_of_v_rows_has_one_in_v_plus_1(domain: str) -> None:
    rows = np.random.default_rng(0).integers(-50, 51, (16, 3)).astype(float)  # the mean is exact
    for temperature in TEMPERATURES:
        found = measured(
            problem(np.vstack([rows.mean(axis=0), rows]), None, domain), 0, temperature
        )
        assert found.value == pytest.approx(-math.log10(17.0), abs=1e-9)


def test_alone_in_its_vocabulary_a_token_is_certain() -> None:
    found = measured(problem([[1.0, 2.0]], [3.0], "rmsnorm"))
    assert (found.value, found.error, found.note) == (0.0, 0.0, "it has no rival")


def test_on_all_of_space_a_token_that_wins_without_biases_is_as_good_as_certain() -> None:
    asked = problem(np.eye(3), [0.0, 50.0, 0.0], "unbounded")
    found = measured(asked)
    assert (found.value, found.error, found.proven) == (0.0, 0.0, True)
    assert found.note == "it wins by any margin far out"
    assert proven(asked, 0, Finding(found.x), options(), 1.0) == (0.0, 0.0)


# What it agrees with


@pytest.mark.parametrize("domain", SHAPES)
def test_above_a_half_it_is_speakable_and_unspeakable_it_has_at_most_a_half(domain: str) -> None:
    W = np.vstack([np.random.default_rng(2).integers(-3, 4, (25, 2)), [[0, 0]]]).astype(float)
    asked = problem(W, None, domain)
    found = max_probabilities(asked, list(range(26)), [Finding()] * 26, options())
    names = []
    for token, item in enumerate(found):
        low, high = ends(item)
        finding = search(asked, token, Finding(), Effort())
        names.append(judge(asked, token, finding).name)
        if low > -math.log10(2.0):
            assert names[-1] != "unspeakable"
        if names[-1] == "unspeakable":
            assert low <= -math.log10(2.0)
            assert high <= -math.log10(2.0) + 1e-3
    assert {"speakable", "unspeakable"} <= set(names)


def test_a_higher_temperature_makes_the_likeliest_less_likely() -> None:
    asked = problem(cloud(40, 5, 3), None, "rmsnorm")
    for token in range(5):
        values = [measured(asked, token, temperature).value for temperature in (0.5, 1.0, 2.0)]
        assert values == sorted(values, reverse=True)


def test_many_at_once_are_measured_as_each_alone() -> None:
    asked = problem(cloud(40, 5, 4), cloud(40, 1, 5)[:, 0], "layernorm")
    tokens = [7, 3, 20]
    together = list(max_probabilities(asked, tokens, [Finding()] * 3, options()))
    for token, found in zip(tokens, together, strict=True):
        alone = max_probability(asked, token, Finding(), options())
        assert abs(found.value - alone.value) <= 1e-3
        assert found.error is not None
        assert found.error <= 1e-3 / math.log(10.0)


def test_the_evidence_proves_the_number_again_and_not_a_better_one() -> None:
    asked = problem(cloud(40, 5, 6), cloud(40, 1, 7)[:, 0], "box")
    for token in range(5):
        found = max_probability(asked, token, Finding(), options())
        low, high = proven(asked, token, Finding(found.x, found.weights), options(), 1.0)
        assert ends(found)[0] <= low <= high <= ends(found)[1]
        assert high - low >= 0.5 * (ends(found)[1] - ends(found)[0]) - 1e-9


def test_a_prior_finding_helps_where_a_search_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = problem(np.vstack([np.zeros(4), cloud(30, 4, 8)]), None, "rmsnorm")
    best = measured(asked)
    monkeypatch.setattr(likeliest_point, "ROUNDS", 0)
    prior = Finding(best.x, best.weights)
    alone = max_probability(asked, 0, Finding(), options(gap=1e-5))
    helped = max_probability(asked, 0, prior, options(gap=1e-5))
    assert alone.note == "the search ended before its bounds were as close as asked"
    assert helped.note is None
    assert ends(helped)[0] >= ends(alone)[0]


@pytest.mark.parametrize("exponent", [-900, 900])
def test_rows_of_any_size_are_measured_at_their_temperature(exponent: int) -> None:
    W, b = cloud(20, 3, 9), cloud(20, 1, 10)[:, 0]
    asked = problem(np.ldexp(W, exponent), np.ldexp(b, exponent), "rmsnorm")
    hot = max_probability(asked, 0, Finding(), options(math.ldexp(1.0, exponent), 1e-6))
    assert hot.value == pytest.approx(measured(problem(W, b, "rmsnorm")).value, abs=1e-6)
    cold = max_probability(asked, 0, Finding(), options())
    assert cold.proven or cold.note is not None


def test_a_token_far_below_the_others_has_a_logarithm_all_the_same() -> None:
    asked = problem([[0.0], [1.0], [-1.0]], [-5000.0, 0.0, 0.0], "rmsnorm")
    found = measured(asked)
    assert found.value == pytest.approx(-(5000.0 + math.log(2.0)) / math.log(10.0), abs=1e-6)


def random_weights(V: int, seed: int) -> Weights:
    return Weights(np.arange(1, V), np.random.default_rng(seed).exponential(size=V - 1))


@pytest.mark.parametrize("domain", SHAPES)
def test_no_weights_and_no_points_contradict_it(domain: str) -> None:
    asked = problem(cloud(9, 3, 11), cloud(9, 1, 12)[:, 0], domain)
    low, high = ends(measured(asked))
    points: list[Floats] = [asked.domain.fit(x) for x in cloud(50, 3, 13)]
    for seed, x in enumerate(points):
        known = probability_bounds(asked, 0, Finding(x, random_weights(9, seed)))
        assert known[0] / math.log(10.0) <= high
        assert known[1] / math.log(10.0) >= low


@pytest.mark.parametrize(
    "change",
    [
        "value = value + 0.01",
        "error = error / 2",
        "x = NULL",
        'options = \'{"gap": 0.001, "temperature": 0.9}\'',
    ],
)
def test_verify_proves_a_stored_one_again_and_finds_an_edit(change: str, tmp_path: Path) -> None:
    readout = Readout.fold(cloud(30, 4, 14), cloud(30, 1, 15)[:, 0], norm="layernorm")
    path = tmp_path / "run.db"
    with geom.run(readout, tokens="all", out=path) as run:
        found = geom.measure(run, "max-probability", range(6))
        assert all(row.proven for row in found)
        hardest = min(found, key=lambda row: row.value or 0.0).token_id
    with geom.open_run(path) as run:
        assert not geom.verify(run, readout).faults
    edit(path, f"UPDATE measures SET {change} WHERE token_id = ?", hardest)
    with geom.open_run(path) as run:
        (fault,) = geom.verify(run, readout).faults
    assert (fault.token, fault.reason[:16]) == (hardest, "max-probability:")
