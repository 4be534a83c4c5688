"""A stored verdict is confirmed by its evidence, and an edited verdict is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geom import Finding, Verdict, Weights, judge
from geom.exact import faults
from geom.model import domains
from geom.model.problem import Problem
from support import truth
from support.judging import SQUARE, both, by, verdicts
from support.problems import problem


def line() -> tuple[Problem, Finding]:
    """Return a token between two others on a box, with a point and weights from HiGHS."""
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
    assert faults(problem(SQUARE), 0, Finding(), claim) == ["'obvious' is not a verdict"]


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
