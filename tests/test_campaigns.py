"""The campaigns: a few cases of each, and that each finds the faults it looks for."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from campaigns import campaign, domains, forged, judge, openings, probabilities, readers, winners
from campaigns.campaign import Case
from campaigns.hostile import rivals
from geom import Finding, Verdict, Weights
from geom.model import domains as known
from support.problems import cloud, problem

Draw = Callable[[np.random.Generator, int], Case]

CAMPAIGNS: list[tuple[Draw, int]] = [
    (judge.draw, 400),
    (forged.draw, 300),
    (domains.draw, 200),
    (probabilities.draw, 200),
    (openings.draw, 200),
    (winners.draw, 40),
    (readers.draw, 44),
]


def cases(draw: Draw, count: int) -> list[Case]:
    return [draw(np.random.default_rng([0, number]), number) for number in range(count)]


NAMES = [draw.__module__ for draw, _ in CAMPAIGNS]


@pytest.mark.parametrize(("draw", "count"), CAMPAIGNS, ids=NAMES)
def test_some_cases_of_a_campaign_hold(draw: Draw, count: int) -> None:
    assert [case for case in cases(draw, count) if case.failure is not None] == []


# A campaign finds the faults it looks for


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
    asked = rivals(problem(W, b, known.box(2)), 0)
    value = asked.program.value
    assert value is not None
    x = np.array([float(v) for v in asked.program.x])
    lam = np.array([float(Fraction(v, max(asked.program.lam))) for v in asked.program.lam])
    evidence = Finding(x, Weights(np.array(asked.ids), lam))
    lower, upper = float(asked.margin(x.tolist())), float(value)
    lower, upper = np.nextafter([lower, upper], [ulps * np.inf, -ulps * np.inf]).tolist()
    claim = Verdict("undecided", margin_lower=lower, margin_upper=upper)
    assert ([*judge.proven(asked, evidence, claim)] != []) == (ulps == 1)


@pytest.mark.parametrize(("lower", "upper"), [(1e-9, 0.0), (0.0, -1e-9)])
def test_bounds_on_probabilities_that_are_too_good_are_found(
    monkeypatch: pytest.MonkeyPatch, lower: float, upper: float
) -> None:
    def better(*arguments: Any) -> tuple[float, float]:
        low, high = probabilities_bounds(*arguments)
        return low + lower * abs(low), high + upper * abs(high) if high < 0.0 else high

    probabilities_bounds = probabilities.probability_bounds
    monkeypatch.setattr(probabilities, "probability_bounds", better)
    monkeypatch.setattr(probabilities, "problem", lambda rng: None)  # ordinary ones alone
    found = cases(probabilities.draw, 300)
    assert sum(case.failure is not None for case in found) > 5


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
