"""Measures on the hull of points and on an ellipsoid: the number, or a refusal by name.

The truth is the exact value of a matrix game, Clarabel on the coordinates, or a sum by hand.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

import geom
from geom import Domain, Finding, Problem, measure
from geom.plugins.registry import installed
from geom.proofs import rank_bounds
from geom_plugins.measures.best_rank import BestRankOptions, best_rank
from geom_plugins.measures.logit_bias import LogitBiasOptions, logit_bias
from geom_plugins.measures.max_probability import MaxProbabilityOptions, max_probability
from geom_plugins.measures.max_probability import proven as probability_proven
from geom_plugins.measures.min_p import MinPOptions, min_p
from support import conic, games
from support.problems import Floats, cloud, ends, problem
from support.stored_runs import edit

V, D = 10, 3


def drawn(seed: int, domain: Domain, bias: float = 0.5) -> Problem:
    """Return random rows and biases, with a midpoint and twins."""
    W, b = cloud(V, D, seed), cloud(V, 1, seed + 100)[:, 0] * bias
    W[1], b[1] = (W[2] + W[3]) / 2, (b[2] + b[3]) / 2
    W[4], b[4] = W[5], b[5]
    return problem(W, b, domain)


def ellipsoid(seed: int, k: int = 2) -> Domain:
    return geom.ellipsoid(cloud(1, D, seed + 7)[0], cloud(k, D, seed + 8), 1.25)


def hull(seed: int) -> Domain:
    return geom.hull(cloud(5, D, seed + 7) + 0.5)


def in_coordinates(asked: Problem, token: int) -> tuple[Floats, Floats]:
    """Return the rivals' rows (n, k) and biases (n,), less the token's, over an ellipsoid's y."""
    frame = asked.domain.frame
    assert frame is not None
    assert frame.centre is not None
    W, b = asked.readout.W, asked.readout.b
    a, c = np.delete(W, token, axis=0) - W[token], np.delete(b, token) - b[token]
    return a @ frame.axes.T, c + a @ frame.centre


def logits(asked: Problem, y: Floats) -> Floats:
    return np.asarray(asked.readout.W @ asked.domain.vector(y) + asked.readout.b)


# max-probability


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_the_largest_probability_on_an_ellipsoid_is_the_optimum_of_clarabel(
    k: int, temperature: float
) -> None:
    for seed in range(2):
        asked = drawn(seed, ellipsoid(seed, k))
        for token in (0, 1, 4):
            found = max_probability(
                asked, token, Finding(), MaxProbabilityOptions(temperature, 1e-6)
            )
            low, high = ends(found)
            a, c = in_coordinates(asked, token)
            true = conic.largest_probability(a, c, "ball", 1.25, temperature)[0] / math.log(10.0)
            assert low - 1e-6 <= true <= high + 1e-6
            assert high - low <= 1e-6
            evidence = Finding(found.x, found.weights)
            options = MaxProbabilityOptions(temperature)
            again = probability_proven(asked, token, evidence, options, 1.0)
            assert low <= again[0] <= again[1] <= high


def test_of_two_tokens_on_an_ellipsoid_it_is_a_logistic_function() -> None:
    mean, L, radius = np.array([1.0, -2.0]), np.array([[2.0, 1.0], [0.0, 0.5]]), 3.0
    asked = problem([[1.0, 0.5], [0.0, 2.0]], [0.0, 4.0], geom.ellipsoid(mean, L, radius))
    apart = np.array([1.0, -1.5])
    largest = apart @ mean - 4.0 + radius * np.linalg.norm(L @ apart)
    low, high = ends(max_probability(asked, 0, Finding(), MaxProbabilityOptions(gap=1e-9)))
    assert low - 1e-12 <= -math.log10(1.0 + math.exp(-largest)) <= high + 1e-12


def over_points(asked: Problem, token: int) -> tuple[Floats, Floats]:
    """Return the rivals' rows (n, k) and biases (n,), less the token's, over a hull's shares."""
    frame = asked.domain.frame
    assert frame is not None
    W, b = asked.readout.W, asked.readout.b
    a, c = np.delete(W, token, axis=0) - W[token], np.delete(b, token) - b[token]
    return a @ frame.axes.T, c


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("n", [2, 5, 12])
def test_the_largest_probability_on_a_hull_is_the_optimum_of_clarabel(
    n: int, temperature: float
) -> None:
    for seed in range(2):
        asked = drawn(seed, geom.hull(cloud(n, D, seed + 7) + 0.5))
        for token in (0, 1, 4):
            found = max_probability(
                asked, token, Finding(), MaxProbabilityOptions(temperature, 1e-6)
            )
            low, high = ends(found)
            a, c = over_points(asked, token)
            true = conic.largest_probability(a, c, "simplex", 1.0, temperature)[0] / math.log(10.0)
            assert low - 1e-6 <= true <= high + 1e-6
            assert high - low <= 1e-6
            assert found.x is not None
            assert asked.domain.contains(found.x)
            evidence = Finding(found.x, found.weights)
            options = MaxProbabilityOptions(temperature)
            again = probability_proven(asked, token, evidence, options, 1.0)
            assert low <= again[0] <= again[1] <= high


def test_at_one_point_it_is_the_softmax_there() -> None:
    point = np.array([0.5, -1.0, 2.0])
    asked = drawn(0, geom.hull(point[None]))
    z = asked.readout.W @ point + asked.readout.b
    shares = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
    for token in range(V):
        low, high = ends(max_probability(asked, token, Finding(), MaxProbabilityOptions(gap=1e-9)))
        assert low - 1e-12 <= math.log10(shares[token]) <= high + 1e-12
        assert high - low <= 1e-9


def test_between_two_points_two_tokens_are_likeliest_at_one_of_them() -> None:
    asked = problem([[1.0, 0.5], [0.0, 2.0]], [0.0, 4.0], geom.hull([[1.0, -2.0], [-3.0, 1.0]]))
    leads = [np.array([1.0, -1.5]) @ point - 4.0 for point in asked.domain.frame.axes]  # type: ignore[union-attr]
    for token, lead in ((0, max(leads)), (1, -min(leads))):
        low, high = ends(max_probability(asked, token, Finding(), MaxProbabilityOptions(gap=1e-9)))
        assert low - 1e-12 <= -math.log10(1.0 + math.exp(-lead)) <= high + 1e-12
        assert high - low <= 1e-9


# min-p and logit-bias


def test_on_a_hull_the_threshold_is_the_exponential_of_the_exact_game() -> None:
    for seed in range(2):
        asked = drawn(seed, geom.hull(cloud(3, D, seed + 7) + 0.5))
        points = asked.domain.frame.axes  # type: ignore[union-attr]
        for token in range(6):
            payoffs = games.payoffs(asked.readout.W, asked.readout.b, token, points)
            value = games.value(payoffs)
            low, high = ends(min_p(asked, token, Finding(), MinPOptions()))
            true = min(1.0, math.exp(value))
            assert low * (1 - 1e-12) <= true <= high * (1 + 1e-12)
            assert high - low <= 1e-4
            low, high = ends(logit_bias(asked, token, Finding(), LogitBiasOptions()))
            assert Fraction(low) <= -value <= Fraction(high)


def test_on_an_ellipsoid_the_threshold_is_the_exponential_of_clarabels_margin() -> None:
    for seed in range(2):
        asked = drawn(seed, ellipsoid(seed))
        for token in range(6):
            a, c = in_coordinates(asked, token)
            true = min(1.0, math.exp(conic.largest_margin(a, c, "ball", 1.25)))
            low, high = ends(min_p(asked, token, Finding(), MinPOptions()))
            assert low - 1e-7 <= true <= high + 1e-7
            assert high - low <= 1e-4


@pytest.mark.parametrize("domain", [geom.hull([[1.0], [3.0]]), geom.ellipsoid([2.0], [[1.0]])])
def test_without_biases_tokens_need_not_tie_on_a_domain_that_keeps_away_from_zero(
    domain: Domain,
) -> None:
    # Of rows 1 and -1 the second is behind by 2 x, and x is at least 1.
    asked = problem([[1.0], [-1.0]], None, domain)
    found = min_p(asked, 1, Finding(), MinPOptions())
    low, high = ends(found)
    assert low <= math.exp(-2.0) * (1 + 1e-12)
    assert high >= math.exp(-2.0) * (1 - 1e-12)
    assert high - low <= 1e-5
    assert "tie" not in str(found.note)
    low, high = ends(logit_bias(asked, 1, Finding(), LogitBiasOptions()))
    assert low <= 2.0 <= high


def test_biases_that_rounding_makes_equal_are_no_tie() -> None:
    # All logits are 4 + 2^-8 at the centre but for the 2^-60 by which token 0 is always behind 1.
    W = np.array([[1.0, 1.0], [1.0, 1.0 + 2.0**-52], [-9.0, 10241.0]])
    asked = problem(W, None, geom.ellipsoid([4.0, 2.0**-8], [[1.0, 0.0]], 1.0))
    assert asked.in_coordinates.homogeneous
    found = logit_bias(asked, 0, Finding(), LogitBiasOptions())
    low, high = ends(found)
    assert Fraction(low) <= Fraction(1, 2**60) <= Fraction(high)
    low, high = ends(logit_bias(asked, 1, Finding(), LogitBiasOptions()))
    assert Fraction(low) <= -Fraction(1, 2**60) <= Fraction(high)


# best-rank


@pytest.mark.parametrize("bias", [0.0, 0.5])
@pytest.mark.parametrize("k", [1, 2])
def test_no_state_of_an_ellipsoid_has_a_better_rank_than_the_lower_end(k: int, bias: float) -> None:
    rng = np.random.default_rng(0)
    for seed in range(3):
        asked = drawn(seed, ellipsoid(seed, k), bias)
        y = asked.domain.fit_all(asked.domain.sample(rng, 4000))
        z = asked.readout.W @ asked.domain.vectors(y)[0].T + asked.readout.b[:, None]
        for token in range(V):
            found = best_rank(asked, token, Finding(), BestRankOptions())
            low, _ = ends(found)
            above = z >= z[token]
            assert low <= int(above.sum(axis=0).min())
            assert found.x is None or asked.domain.contains(found.x)
            if found.x is not None:
                at = logits(asked, found.x)
                assert found.value == 1 + int((np.delete(at, token) >= at[token] - 1e-12).sum())
    assert best_rank(asked, 4, Finding(), BestRankOptions()).value != 1.0


def test_on_a_line_both_ends_are_the_rank() -> None:
    # x is from 1 to 3: of rows 3, 2, 1 without biases the order there is always the same
    asked = problem([[3.0], [2.0], [1.0]], None, geom.ellipsoid([2.0], [[1.0]]))
    found = [ends(best_rank(asked, token, Finding(), BestRankOptions())) for token in range(3)]
    assert found == [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]


@pytest.mark.parametrize("ties", ["above", "below"])
@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_no_mixture_has_a_better_rank_than_the_lower_end(
    n: int, ties: Literal["above", "below"]
) -> None:
    rng = np.random.default_rng(1)
    for seed in range(2):
        asked = drawn(seed, geom.hull(cloud(n, D, seed + 7) + 0.5), bias=seed / 2)
        y = np.vstack([asked.domain.fit_all(asked.domain.sample(rng, 4000)), np.eye(n)])
        z = asked.readout.W @ asked.domain.vectors(y)[0].T + asked.readout.b[:, None]
        for token in range(V):
            found = best_rank(asked, token, Finding(), BestRankOptions(ties=ties))
            low, _ = ends(found)
            above = z >= z[token] if ties == "above" else z > z[token]
            assert low <= int(above.sum(axis=0).min()) + (ties == "below")
            if found.x is not None:
                assert asked.domain.contains(found.x)
                again = rank_bounds(asked, token, Finding(found.x, found.weights), ties=ties)
                assert again == (low, found.value) or found.value == 1.0


@pytest.mark.parametrize("ties", ["above", "below"])
def test_at_one_point_both_ends_are_the_rank_there(ties: Literal["above", "below"]) -> None:
    point = [1.0, -2.0]  # logits 1, -2, -1, -1 and 3
    asked = problem(
        [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 1.0], [3.0, 0.0]], None, geom.hull([point])
    )
    ranks = [2, 5, 4, 4, 1] if ties == "above" else [2, 5, 3, 3, 1]
    for token, rank in enumerate(ranks):
        found = best_rank(asked, token, Finding(), BestRankOptions(ties=ties))
        assert (found.value, found.error) == (rank, 0.0)


def test_between_two_points_the_rank_is_that_of_some_interval_between_crossings() -> None:
    # Along the segment logits are linear, so the order changes only where two of them cross.
    for seed in range(6):
        asked = drawn(seed, geom.hull(cloud(2, D, seed + 7) + 0.5))
        first, last = exact_logits_at_points(asked)
        for token in range(V):
            slopes = [
                (first[j] - first[token], last[j] - last[token]) for j in range(V) if j != token
            ]
            crossings = {a / (a - c) for a, c in slopes if a != c and 0 < a / (a - c) < 1}
            stops = sorted({Fraction(0), Fraction(1), *crossings})
            places = [*stops, *((a + c) / 2 for a, c in pairwise(stops))]
            rank = min(1 + sum(a * (1 - s) + c * s >= 0 for a, c in slopes) for s in places)
            found = best_rank(asked, token, Finding(), BestRankOptions())
            low, _ = ends(found)
            assert low <= rank <= found.value


def exact_logits_at_points(asked: Problem) -> list[list[Fraction]]:
    """Return the exact logits at each point of a hull."""
    return [
        [
            sum((Fraction(w) * Fraction(e) for w, e in zip(row, p, strict=True)), Fraction(bias))
            for row, bias in zip(asked.readout.W.tolist(), asked.readout.b.tolist(), strict=True)
        ]
        for p in asked.domain.frame.axes.tolist()  # type: ignore[union-attr]
    ]


# Refusals, and runs


@pytest.mark.parametrize("kind", ["hull", "ellipsoid"])
def test_what_is_not_made_for_such_a_domain_says_so_by_name(kind: str) -> None:
    asked = drawn(0, hull(0) if kind == "hull" else ellipsoid(0))
    (row,) = measure(asked.readout, "perturbation", "0", domain=asked.domain)
    assert row.value is None
    assert f"perturbation is not made for domain {kind}: measure it on" in str(row.note)


REFUSED = {
    "detector": {"hull-vertex", "reflections"},
    "certifier": {"linprog-post"},
    "measure": {
        "angular-margin",
        "chebyshev-radius",
        "perturbation",
        "solid-angle",
    },
}
"""What refuses a hull and an ellipsoid: measures of lengths and angles, detectors whose steps are
put back into a ball, and the blog post's program, which is kept as it was."""

NEEDS = {"replay": "a whole network", "surprise": "a sample", "unused-cosine": "unused rows"}
"""What needs more than this readout."""


@pytest.mark.parametrize("kind", ["hull", "ellipsoid"])
def test_these_refuse_it_in_one_line_with_a_remedy_and_all_others_serve_it(
    kind: str, tmp_path: Path
) -> None:
    asked = drawn(0, hull(0) if kind == "hull" else ellipsoid(0))
    readout, domain = asked.readout, asked.domain
    sample = tmp_path / "sample.npy"
    np.save(sample, cloud(9, D, seed=1))
    options = {"surprise": {"measure.surprise.activations": str(sample)}}
    refused: dict[str, set[str]] = {"detector": set(), "certifier": set(), "measure": set()}
    for item in installed().listed():
        name = item.record.name
        if item.kind not in refused or (name in NEEDS and name not in options):
            continue
        try:
            if item.kind == "measure":
                (row,) = measure(readout, name, "0", options.get(name), domain=domain)
                if row.value is None and "is not made for" in str(row.note):
                    raise geom.InputError(str(row.note))
            elif item.kind == "detector":
                geom.run(readout, detectors=[name], certifiers=[], domain=domain).close()
            else:
                geom.run(readout, certifiers=[name], tokens="all", domain=domain).close()
        except geom.InputError as error:
            refused[item.kind].add(name)
            said = str(error)
            assert f"{name} is not made for domain {kind}: " in said
            assert re.search(r": (use|measure it on|name) ", said), said
            assert "\n" not in said
    assert refused == REFUSED


@pytest.mark.parametrize("kind", ["hull", "ellipsoid"])
def test_verify_proves_them_again_and_finds_an_edit(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    asked = drawn(0, hull(0) if kind == "hull" else ellipsoid(0))
    names = ["min-p", "max-probability", "best-rank", "surprise"]
    np.save(tmp_path / "sample.npy", cloud(9, D, seed=1))
    given = {"measure.surprise.activations": str(tmp_path / "sample.npy")}
    geom.run(asked.readout, tokens="all", domain=asked.domain, out=path).close()
    with geom.open_run(path) as run:
        run.find_readout = lambda run: asked.readout
        table = measure(run, names, "all", given)
        assert all(row.proven for row in table)
        assert sum(row.measure == "surprise" and 0.0 < row.value < 9e9 for row in table) > 2
        assert geom.verify(run, asked.readout).ok
    for name in names:
        edit(
            path, "UPDATE measures SET value = value + 0.4 WHERE measure = ? AND value < 9e9", name
        )
        with geom.open_run(path) as run:
            faults = [str(fault) for fault in geom.verify(run, asked.readout).faults]
        assert any(name in fault for fault in faults)


def test_top_k_drops_on_an_ellipsoid_what_is_behind_two_rivals_everywhere() -> None:
    asked = problem([[3.0], [2.0], [1.0]], None, geom.ellipsoid([2.0], [[1.0]]))
    with geom.run(asked.readout, tokens="all", domain=asked.domain) as run:
        assert [row.token_id for row in geom.unsampleable(run, "top-k=1")] == [1, 2]
        run.find_readout = lambda run: asked.readout
        measure(run, ["best-rank", "max-probability", "min-p"], "all")
        assert [row.token_id for row in geom.unsampleable(run, "top-k=2")] == [2]
        # token 1 is behind token 0 by at least 1: its largest probability is below 1 / (1 + e)
        assert [row.token_id for row in geom.unsampleable(run, "min-p=0.5")] == [1, 2]
        assert 1 in [row.token_id for row in geom.unsampleable(run, "top-p=0.2")]
