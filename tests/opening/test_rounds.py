"""Rounds of small programs: what they find, judged by `geom.exact`, Qhull and Clarabel."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

from geom import Finding, Problem, Verdict, judge
from geom.numbers.arrays import Ids
from geom.opening import rounds
from geom.opening.rounds import Goal, find
from geom.opening.small_program import SmallProgram
from support import conic, truth
from support.judging import speakable
from support.problems import cloud, problem, rivals
from support.truth import Floats

DOMAINS = ("layernorm", "rmsnorm", "box", "unbounded")


def found(asked: Problem, goal: Goal, points: Floats | None = None) -> dict[int, Finding]:
    """Ask about every token, from random points or these; each is answered once."""
    V, d = asked.readout.V, asked.readout.d
    if points is None:
        points = asked.domain.fit_all(np.random.default_rng(0).normal(size=(V, d)))
    answers = list(find(asked, np.arange(V), points.__getitem__, goal))
    assert sorted(best.token for best in answers) == list(range(V))
    return {best.token: Finding(best.x, best.weights) for best in answers}


def verdicts(asked: Problem, findings: dict[int, Finding]) -> dict[int, Verdict]:
    return {token: judge(asked, token, finding) for token, finding in findings.items()}


@pytest.mark.parametrize("d", range(1, 8))
def test_without_a_bias_the_vertices_of_the_hull_win(d: int) -> None:
    W = cloud(30 + 12 * d, d, seed=d)
    W[::2] *= 0.25
    asked = problem(W)
    assert speakable(verdicts(asked, found(asked, Goal()))) == truth.hull_tokens(W)


@pytest.mark.parametrize("group", [1, 7, 256])
def test_tokens_may_wait_for_others(group: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "GROUP", group)
    W = cloud(60, 3, seed=9)
    asked = problem(W, domain="rmsnorm")
    assert speakable(verdicts(asked, found(asked, Goal()))) == truth.hull_tokens(W)


@pytest.mark.parametrize("added", [1, 4])
def test_few_rivals_may_join_at_a_time(added: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "ADDED", added)
    W = cloud(60, 3, seed=10)
    asked = problem(W, domain="rmsnorm")
    assert speakable(verdicts(asked, found(asked, Goal()))) == truth.hull_tokens(W)


@pytest.mark.parametrize("domain", ["layernorm", "rmsnorm"])
@pytest.mark.parametrize("biased", [False, True])
def test_asked_for_a_gap_its_bounds_enclose_the_largest_margin(domain: str, biased: bool) -> None:
    """Without biases they come as close as was asked."""
    W = cloud(80, 6, seed=11)
    W[::2] *= 0.5
    b = 0.3 * cloud(80, 1, seed=12)[:, 0] if biased else None
    asked = problem(W, b, domain)
    done = 0
    for token, finding in found(asked, Goal(enough=math.inf, gap=1e-3)).items():
        most = conic.largest_margin(*rivals(asked, token), "ball", asked.domain.radius)
        verdict = judge(asked, token, finding)
        assert verdict.margin_lower is None or verdict.margin_lower <= most + 1e-7
        assert verdict.margin_upper is None or verdict.margin_upper >= most - 1e-7
        if most > 1e-3 and not biased:
            assert verdict.margin_lower is not None
            assert verdict.margin_upper is not None
            assert verdict.margin_upper - verdict.margin_lower <= 2e-3 * most
            done += 1
    assert done > 20 or biased


def test_a_point_that_is_good_enough_ends_a_search() -> None:
    W = cloud(80, 6, seed=13)
    asked = problem(W, domain="rmsnorm")
    points = asked.domain.fit_all(1e3 * (W - W.mean(axis=0)))
    for token, finding in found(asked, Goal(), points).items():
        margin = asked.margins(token, points[token]).min()
        if margin > 1e-3:
            assert finding.x is not None
            assert (finding.x == points[token]).all()
            assert finding.weights is None


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_crowd_of_nearly_equal_rows_is_decided(domain: str) -> None:
    rng = np.random.default_rng(14)
    W = np.vstack([rng.normal(size=(60, 5)), 0.3 + 1e-4 * rng.normal(size=(60, 5))])
    asked = problem(W, domain=domain)
    inside = W
    if domain == "layernorm":
        inside = W @ np.linalg.svd(np.ones((1, 5)))[2][1:].T
    assert speakable(verdicts(asked, found(asked, Goal()))) == truth.hull_tokens(inside)


def test_points_and_weights_are_those_of_the_domain() -> None:
    asked = problem(cloud(40, 4, seed=15), 0.1 * cloud(40, 1, seed=16)[:, 0], "layernorm")
    for token, finding in found(asked, Goal(enough=math.inf, gap=1e-3)).items():
        assert finding.x is not None
        assert asked.domain.contains(finding.x)
        weights = finding.weights
        if weights is not None:
            assert token not in weights.indices
            assert weights.values.min() >= 0.0
            assert np.unique(weights.indices).size == weights.indices.size


@pytest.mark.parametrize("exponent", [-1000, -300, 300, 1000])
def test_a_readout_of_any_scale_is_decided_as_a_plain_one(exponent: int) -> None:
    W = cloud(40, 3, seed=17)
    asked = problem(np.ldexp(W, exponent), domain="rmsnorm")
    assert speakable(verdicts(asked, found(asked, Goal()))) == truth.hull_tokens(W)


def test_rounds_end_when_there_have_been_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "ROUNDS", 0)
    asked = problem(cloud(60, 4, seed=18), domain="rmsnorm")
    assert all(finding.weights is None for finding in found(asked, Goal()).values())


def test_no_tokens_have_no_answers() -> None:
    asked = problem(cloud(9, 2, seed=19))
    none = np.zeros(0, dtype=np.int64)
    assert list(find(asked, none, np.zeros((0, 2)).__getitem__, Goal())) == []


def test_rivals_without_weight_leave_a_program_that_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rounds, "SUPPORT", 6)
    monkeypatch.setattr(rounds, "ADDED", 3)
    sizes: list[int] = []
    solve = SmallProgram.solve

    def watch(program: SmallProgram) -> None:
        sizes.append(program.c.size)
        solve(program)

    monkeypatch.setattr(SmallProgram, "solve", watch)
    W = cloud(200, 3, seed=20)
    asked = problem(W, domain="rmsnorm")
    assert speakable(verdicts(asked, found(asked, Goal()))) == truth.hull_tokens(W)
    goal = Goal(enough=math.inf, gap=1e-3)
    for token, verdict in verdicts(asked, found(asked, goal)).items():
        if token in truth.hull_tokens(W):
            assert verdict.margin_lower is not None
            assert verdict.margin_upper is not None
            assert verdict.margin_upper - verdict.margin_lower <= 2e-3 * verdict.margin_upper
    assert max(sizes) == 9


def test_no_more_than_a_group_asks_for_its_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "GROUP", 7)
    asked = problem(cloud(60, 3, seed=21), domain="rmsnorm")
    seen: list[int] = []

    def points(tokens: Ids) -> Floats:
        seen.extend(tokens.tolist())
        assert len(tokens) <= 7
        return asked.domain.fit_all(np.random.default_rng(0).normal(size=(len(tokens), 3)))

    assert len(list(find(asked, np.arange(60), points, Goal()))) == 60
    assert seen == list(range(60))


def test_the_memory_stated_is_enough() -> None:
    """Rounds until the bounds meet, for more tokens than share a product."""
    asked = problem(cloud(3000, 60, seed=22), domain="rmsnorm")
    points = asked.domain.fit_all(np.random.default_rng(0).normal(size=(100, 60)))
    list(find(asked, np.arange(1), points.__getitem__, Goal()))  # prepares the rows
    tracemalloc.start()
    list(find(asked, np.arange(100), points.__getitem__, Goal(enough=math.inf, gap=1e-3)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= rounds.memory(asked.readout)
