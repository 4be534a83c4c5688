"""Readouts that strain float64: they are decided, small close ones in rationals."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import geom
from campaigns import undecided
from geom import Finding, Readout, Weights, judge
from geom.model.domains import box
from geom_plugins.certifiers import highs
from geom_plugins.solvers.grid import Grid, dot
from geom_plugins.solvers.rational_simplex import RationalProgram
from geom_plugins.solvers.rational_simplex import box as walls_of
from support.problems import problem
from support.truth import fractions, largest_margin, margin

CASES = 120
WHOLE = st.integers(-6, 6)


@pytest.mark.parametrize("family", undecided.FAMILIES)
def test_fewer_than_one_in_a_hundred_of_each_family_end_undecided(family: str) -> None:
    kinds: Counter[str] = Counter()
    for number in range(CASES):
        rng = np.random.default_rng([7, number])
        case = undecided.case(family, str(rng.choice(undecided.DOMAINS)), rng)
        assert case.failure is None
        kinds[case.kind] += 1
    assert kinds.total() == CASES
    assert kinds[f"{family} undecided"] <= CASES // 100
    assert min(kinds[f"{family} speakable"], kinds[f"{family} unspeakable"]) > CASES / 10


@pytest.mark.parametrize("opening", [True, False])
@pytest.mark.parametrize("exponent", [1000, 600, -700, -990])
def test_one_power_of_two_on_all_of_a_readout_changes_no_verdict(
    exponent: int, opening: bool
) -> None:
    W = np.random.default_rng(3).standard_normal((20, 3))
    b = np.random.default_rng(4).standard_normal(20)
    plain = geom.run(Readout.fold(W, b), tokens="all", domain="box", opening=opening)
    readout = Readout.fold(np.ldexp(W, exponent), np.ldexp(b, exponent))
    scaled = geom.run(readout, tokens="all", domain="box", opening=opening)
    verdicts = [row.verdict for row in plain.rows()]
    assert [row.verdict for row in scaled.rows()] == verdicts
    assert "undecided" not in verdicts
    assert geom.verify(scaled, readout).ok
    for row in scaled.rows():
        most = largest_margin(readout.W, readout.b, row.token_id, 1.0)
        assert row.margin_lower is None or row.margin_lower <= most
        assert row.margin_upper is None or row.margin_upper >= most


def test_a_readout_of_a_plain_size_or_too_wide_a_range_is_its_own_unit() -> None:
    plain = problem([[1.0], [2.0]], None, "box")
    wide = problem([[1e300], [1e-300]], None, "box")
    assert plain.unit is plain
    assert wide.unit is wide


def test_the_unit_of_a_problem_is_the_same_question_exactly() -> None:
    asked = problem([[3e200], [-5e-50]], [1e190, 0.0], "box")
    assert asked.exponent == 666
    assert asked.unit.unit is asked.unit
    for array, unit in (
        (asked.readout.W, asked.unit.readout.W),
        (asked.readout.b, asked.unit.readout.b),
    ):
        assert fractions(array.ravel()) == [v * 2**666 for v in fractions(unit.ravel())]


def test_rows_that_highs_refuses_as_too_large_are_scaled_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(highs, "decide", lambda problem, token: None)
    W = [[2.0**60, 1], [-(2.0**60), 1], [0, -1], [0, 0], [0.1, 0.2], [0.3, -0.1], [0.1, 0.1]]
    asked = problem(W, [0, 0, 0.1, 0.2, 0.1, 0.3, 0.1], box(2))
    found = [highs.certify(asked, token, Finding(), highs.HighsOptions()) for token in range(7)]
    assert [finding.note for finding in found] == [None] * 7
    verdicts = [judge(asked, token, finding).name for token, finding in enumerate(found)]
    exact = [largest_margin(asked.readout.W, asked.readout.b, token, 1.0) > 0 for token in range(7)]
    assert exact == [True, True, True, False, False, True, False]
    assert verdicts[:4] == ["speakable", "speakable", "speakable", "unspeakable"]


def test_a_tie_at_the_wall_of_a_box_is_proven_in_rationals() -> None:
    # 0.7 (3, -2) + 0.3 (-7, -2) = (0, -2): at x_2 = 1 the biases make up for it exactly
    asked = problem([[0.0, 0.0], [3.0, -2.0], [-7.0, -2.0]], [0.0, 2.0, 2.0], box(2))
    assert largest_margin(asked.readout.W, asked.readout.b, 0, 1.0) == 0
    verdict = judge(asked, 0, Finding(weights=Weights(np.array([1, 2]), np.array([0.7, 0.3]))))
    assert (verdict.name, verdict.proof, verdict.margin_upper) == ("unspeakable", "rational", 0.0)


@pytest.mark.parametrize("nudge", [2.0**-30, 2.0**-40])
def test_a_margin_just_above_a_tie_at_the_wall_is_not_proven_away(nudge: float) -> None:
    asked = problem([[0.0, 0.0], [3.0, -2.0], [-7.0, -2.0]], [nudge, 2.0, 2.0], box(2))
    assert largest_margin(asked.readout.W, asked.readout.b, 0, 1.0) == nudge
    verdict = judge(asked, 0, Finding(weights=Weights(np.array([1, 2]), np.array([0.7, 0.3]))))
    assert verdict.name == "undecided"
    assert verdict.margin_upper is not None
    assert verdict.margin_upper >= nudge


@given(
    st.lists(st.tuples(WHOLE, WHOLE, WHOLE), min_size=2, max_size=8),
    st.fractions(Fraction(1, 4), 3, max_denominator=8),
)
def test_the_rational_simplex_finds_the_largest_margin_exactly(
    rows: list[tuple[int, int, int]], reach: Fraction
) -> None:
    program = RationalProgram([list(row) for row in rows], [1] * len(rows), Fraction(1))
    vertex = program.optimum(walls_of(2, reach))
    assert vertex is not None
    W = [[0, 0], *(row[:2] for row in rows)]
    assert vertex.m == largest_margin(W, [0, *(row[2] for row in rows)], 0, reach)
    assert all(dot(row, [*vertex.x, Fraction(1)]) + vertex.m <= 0 for row in rows)
    assert max(map(abs, vertex.x)) <= reach


def test_many_rows_are_priced_in_part_and_none_is_overlooked() -> None:
    rng = np.random.default_rng(5)
    rows = [[int(v) for v in row] for row in rng.integers(-99, 100, (700, 4))]
    vertex = RationalProgram(rows, [1] * 700, Fraction(1)).optimum(walls_of(3, Fraction(1)))
    assert vertex is not None
    assert max(dot(row, [*vertex.x, Fraction(1)]) for row in rows) == -vertex.m
    assert max(map(abs, vertex.x)) <= 1
    # the multipliers prove the same bound, which by duality happens only at an optimum
    used = dict(zip(vertex.basis, vertex.multipliers, strict=True))
    lam = [used.get(j, Fraction(0)) for j in range(700)]
    r = [dot(lam, column) for column in zip(*rows, strict=True)]
    assert min(used.values()) >= 0
    assert sum(lam) == 1
    assert sum(map(abs, r[:3])) - r[3] == vertex.m


def test_a_point_is_rounded_along_a_wedge_that_no_plain_rounding_enters() -> None:
    # between two rows 2^-60 apart, with more digits than float64 can hold
    row = [3 << 60, 7 << 60, -5 << 60]
    x = [Fraction(1, 3), Fraction(1, 7), Fraction(2, 5)]
    bounds = [([row[0] + 1, *row[1:]], Fraction(1)), ([-v for v in row], Fraction(1))]
    grid = Grid.around(x, 52, common=False)

    def leaves(places: list[int]) -> bool:
        point = [n * Fraction(2) ** k for n, k in zip(places, grid.exponents, strict=True)]
        moved = [p - v for p, v in zip(point, x, strict=True)]
        return any(dot(normal, moved) > room for normal, room in bounds)

    assert leaves(grid.nearest())
    assert not leaves(grid.within(bounds))


@pytest.mark.parametrize("opening", [True, False])
def test_a_token_that_wins_by_a_hair_between_two_others_has_a_witness(opening: bool) -> None:
    W = np.array([[0.3, 0.7, 0.1], [-0.9, 0.2, 0.4], [0.0, 0.0, 0.0], [0.1, -0.6, -0.8]])
    W[2] = W[:2].mean(axis=0)
    W[2, 2] += 2.0**-54
    with geom.run(Readout.fold(W), tokens=[2], domain="box", opening=opening) as run:
        certificate = run.certificate(2)
    assert isinstance(certificate, geom.Witness)
    assert margin(W, np.zeros(4), 2, certificate.x) > 0
