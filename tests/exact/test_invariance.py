"""Changes of a question that leave its verdicts unchanged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from geom import Weights, judge
from geom.model import domains
from geom.model.problem import Problem
from support.judging import both
from support.problems import problem
from support.truth import Floats

small = st.lists(st.tuples(*[st.integers(-3, 3)] * 3), min_size=3, max_size=5)


def table(rows: list[tuple[int, int, int]]) -> tuple[Floats, Floats]:
    return np.array(rows, dtype=float)[:, :2], np.array(rows, dtype=float)[:, 2]


@given(small, st.tuples(*[st.integers(-(2**20), 2**20)] * 3), st.sampled_from(["box", "unbounded"]))
def test_a_shift_of_all_rows_and_all_biases_changes_nothing(
    rows: list[tuple[int, int, int]], shift: tuple[int, int, int], domain: str
) -> None:
    W, b = table(rows)
    question, shifted = problem(W, b, domain), problem(W + shift[:2], b + shift[2], domain)
    finding = both(question, 0, 1.0 if domain == "box" else None)
    before, after = judge(question, 0, finding), judge(shifted, 0, finding)
    assert (before.name, before.proof) == (after.name, after.proof)
    assert (before.margin_lower, before.margin_upper) == (after.margin_lower, after.margin_upper)


@given(small, st.randoms(use_true_random=False), st.sampled_from(["box", "unbounded"]))
def test_permuting_the_tokens_permutes_the_verdicts(
    rows: list[tuple[int, int, int]], random: object, domain: str
) -> None:
    W, b = table(rows)
    new = list(range(len(rows)))
    random.shuffle(new)  # type: ignore[attr-defined]
    order = np.argsort(new)
    question, permuted = problem(W, b, domain), problem(W[order], b[order], domain)
    finding = both(question, 0, 1.0 if domain == "box" else None)
    assert finding.weights is not None
    names = np.array(new)[finding.weights.indices]
    after = judge(
        permuted, new[0], replace(finding, weights=Weights(names, finding.weights.values))
    )
    before = judge(question, 0, finding)
    assert (before.name, before.proof) == (after.name, after.proof)
    assert (before.margin_lower, before.margin_upper) == (after.margin_lower, after.margin_upper)


@given(small, st.integers(-40, 40))
def test_without_a_bias_the_radius_of_a_domain_changes_no_verdict(
    rows: list[tuple[int, int, int]], e: int
) -> None:
    W, _ = table(rows)
    question = problem(W, domain="box")
    scaled = Problem(question.readout, domains.box(2, 2.0**e))
    finding = both(question, 0, 1.0)
    assert finding.x is not None
    before, after = (
        judge(question, 0, finding),
        judge(scaled, 0, replace(finding, x=finding.x * 2.0**e)),
    )
    assert (before.name, before.proof) == (after.name, after.proof)


@given(small, st.integers(1, 2), st.sampled_from(["box", "unbounded"]))
def test_a_duplicate_of_another_token_flips_no_verdict(
    rows: list[tuple[int, int, int]], j: int, domain: str
) -> None:
    W, b = table(rows)
    question = problem(W, b, domain)
    doubled = problem(np.vstack([W, W[j]]), np.append(b, b[j]), domain)
    finding = both(question, 0, 1.0 if domain == "box" else None)
    before = judge(question, 0, finding)
    assume(before.decided)
    after = judge(doubled, 0, finding)
    assert (before.name, before.margin_lower) == (after.name, after.margin_lower)
