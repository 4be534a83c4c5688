"""The campaigns, some cases of each; and that they would find what they look for."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import campaign
import domains
import forged
import judge
import numpy as np
import pytest
import readers
import winners
from campaign import Case
from hostile import rivals
from suprema import Floats, Rivals

from geom import Finding, Verdict, Weights
from geom.model import domains as known
from support import conic, truth
from support.problems import cloud, problem

Draw = Callable[[np.random.Generator, int], Case]

CAMPAIGNS: list[tuple[Draw, int]] = [
    (judge.draw, 400),
    (forged.draw, 300),
    (domains.draw, 200),
    (winners.draw, 40),
    (readers.draw, 44),
]


def cases(draw: Draw, count: int) -> list[Case]:
    return [draw(np.random.default_rng([0, number]), number) for number in range(count)]


NAMES = [draw.__module__ for draw, _ in CAMPAIGNS]


@pytest.mark.parametrize(("draw", "count"), CAMPAIGNS, ids=NAMES)
def test_some_cases_of_a_campaign_hold(draw: Draw, count: int) -> None:
    assert [case for case in cases(draw, count) if case.failure is not None] == []


# The truths, against others


def exact(W: Floats, b: Floats, domain: known.Domain, token: int) -> Rivals:
    return Rivals.of(W, [Fraction(v) for v in b], domain, token, len(set(b.tolist())) == 1)


@pytest.mark.parametrize("seed", range(40))
def test_the_largest_margin_is_that_of_another_simplex_method(seed: int) -> None:
    rng = np.random.default_rng(seed)
    V, d = int(rng.integers(2, 8)), int(rng.integers(1, 5))
    whole = seed % 2 == 0
    W = rng.integers(-3, 4, (V, d)).astype(float) if whole else rng.normal(size=(V, d))
    b = rng.integers(-2, 3, V).astype(float) if whole else rng.normal(size=V)
    other = truth.largest_margin(W, b, 0, 0.5)
    asked = exact(W, b, known.box(d, 0.5), 0)
    assert asked.program.value == other
    assert asked.at_most(other)
    assert not asked.at_most(other - Fraction(1, 10**40))
    assert asked.shown(asked.ids, asked.program.lam, other)
    free, other = exact(W, b, known.unbounded(d), 0).program.value, truth.largest_margin(W, b, 0)
    assert other >= 1 if free is None or free >= 1 else free == other


@pytest.mark.parametrize("seed", range(40))
def test_on_a_ball_it_is_that_of_an_interior_point_method(seed: int) -> None:
    rng = np.random.default_rng(seed)
    V, d = int(rng.integers(3, 9)), int(rng.integers(2, 5))
    W, b = rng.normal(size=(V, d)), rng.normal(size=V)
    for domain in (known.rmsnorm(d), known.layernorm(d)):
        a, c = np.delete(W, 0, axis=0) - W[0], np.delete(b, 0) - b[0]
        if domain.zero_sum:
            a -= a.mean(axis=1, keepdims=True)
        other = conic.largest_margin(a, c, "ball", np.sqrt(d))
        asked = exact(W, b, domain, 0)
        assert asked.at_most(Fraction(other + 1e-7))
        assert not asked.at_most(Fraction(other - 1e-7))


# What a campaign looks for, it finds


def test_a_false_proof_by_nan_is_found() -> None:
    asked = problem([[0.0], [10.0], [-1.0]], [-1e308, 1e308, -1.7e308], "unbounded")
    evidence = Finding(weights=Weights(np.array([1, 2]), np.array([0.1, 1.0])))
    claim = Verdict("unspeakable", "interior", certificate=evidence.weights, margin_upper=0.0)
    assert [*judge.proven(rivals(asked, 0), evidence, claim)] != []
    assert [*forged.untrue(rivals(asked, 0), evidence, claim)] != []


def test_a_verdict_that_is_turned_round_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def turned(*arguments: Any) -> Verdict:
        return Verdict("unspeakable", "slack", margin_upper=0.0)

    monkeypatch.setattr(judge, "judge", turned)
    monkeypatch.setattr(judge, "faults", lambda *arguments: [])
    assert sum(case.failure is not None for case in cases(judge.draw, 100)) > 20


@pytest.mark.parametrize("ulps", [1, -1])
def test_a_bound_one_unit_too_good_is_found(ulps: int) -> None:
    W, b = cloud(5, 2, 3), np.arange(5.0)
    asked = exact(W, b, known.box(2), 0)
    value = asked.program.value
    assert value is not None
    x = np.array([float(v) for v in asked.program.x])
    lam = np.array([float(Fraction(v, max(asked.program.lam))) for v in asked.program.lam])
    evidence = Finding(x, Weights(np.array(asked.ids), lam))
    lower, upper = float(asked.margin(x.tolist())), float(value)
    lower, upper = np.nextafter([lower, upper], [ulps * np.inf, -ulps * np.inf]).tolist()
    claim = Verdict("undecided", margin_lower=lower, margin_upper=upper)
    assert ([*judge.proven(asked, evidence, claim)] != []) == (ulps == 1)


@pytest.mark.parametrize(("lower", "upper"), [(2.0, 1.0), (1.0, 1 - 1e-6)])
def test_bounds_of_measures_that_are_too_good_are_found(
    monkeypatch: pytest.MonkeyPatch, lower: float, upper: float
) -> None:
    def better(ask: domains.Ask) -> domains.Ask:
        def asked(*arguments: Any) -> tuple[float, float]:
            low, high = ask(*arguments)
            return low * lower, high * upper

        return asked

    measures = [(name, better(ask), check) for name, ask, check in domains.MEASURES]
    monkeypatch.setattr(domains, "MEASURES", measures)
    found = [case.kind.split()[0] for case in cases(domains.draw, 400) if case.failure]
    assert {name: found.count(name) > 2 for name, _, _ in measures} == dict.fromkeys(
        ["angles", "balls", "silencing", "freeing"], True
    )


def test_a_campaign_names_its_failures_and_ends_with_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def draw(rng: np.random.Generator, number: int) -> Case:
        return Case("odd" if number % 2 else "even", "three" if number == 3 else None)

    monkeypatch.setattr("sys.argv", ["counting", "--cases", "5", "--workers", "1", "--seed", "7"])
    with pytest.raises(SystemExit) as ended:
        campaign.main("counting", draw, cases=9)
    lines = capsys.readouterr().out.splitlines()
    assert ended.value.code == 1
    assert lines[0] == "counting --seed 7 --case 3: three"
    assert lines[1].split() == ["3", "even"]
    assert lines[-1].startswith("counting: 5 cases, 1 failures, seed 7")
