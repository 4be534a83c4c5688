"""Comparisons from Python: the truth is by construction, or by Python's own fractions.

In `border` token 0 is ahead of token 1 by a power of two that each arithmetic either can or cannot
see beside 1; the other token is far off.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import geom
from geom import (
    Certifier,
    Comparison,
    Finding,
    InputError,
    NoOptions,
    PrecisionMargin,
    Problem,
    Readout,
    Weights,
)
from geom.plugins.registry import installed, using
from support.plugins import Use
from support.precisions import (
    DOUBLE,
    HALF,
    NAMES,
    RATIONAL,
    SHIFTED,
    SINGLE,
    USUAL,
    only,
    precision,
)

SQUARE = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0], [0.25, 0.25]])
ONE = [1.0, 0.0]


@pytest.fixture(autouse=True)
def usual(use: Use) -> None:
    use(only(*USUAL))


def border(bits: int, sign: float = 1.0) -> Readout:
    """Token 0 beats token 1 at (1, 0) by 2^-bits, or loses by it."""
    ahead, behind = 1.0 + 2.0**-bits, 1.0
    rows = [ahead, behind] if sign > 0 else [behind, ahead]
    return Readout.fold([[rows[0], 0.0], [rows[1], 0.0], [-1.0, 0.0]])


def agreeing(comparison: Comparison) -> list[str]:
    return [row.precision for row in comparison if row.agrees]


def refusal(*arguments: Any, **more: Any) -> str:
    with pytest.raises(InputError) as caught:
        geom.compare(*arguments, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Rows


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(
    ("bits", "right"), [(8, NAMES), (10, NAMES), (13, NAMES[1:]), (23, NAMES[1:]), (30, NAMES[2:])]
)
def test_a_precision_is_right_where_its_roundoff_says(
    bits: int, right: list[str], sign: float
) -> None:
    compared = geom.compare(border(bits, sign), [0], at=ONE)
    assert agreeing(compared) == right
    assert [row.sign for row in compared] == [sign if n in right else 0.0 for n in NAMES]
    assert compared.points[0].margin == Fraction(int(sign), 2**bits)
    assert compared.least() == {0: right[0]}


def test_rows_go_token_by_token_from_coarse_to_fine() -> None:
    compared = geom.compare(Readout.fold(SQUARE), [2, 0], ["rational", "half", "double"])
    pairs = [(row.token_id, row.precision) for row in compared]
    assert pairs == [(t, name) for t in (0, 2) for name in ("half", "double", "rational")]
    assert (len(compared), list(compared.precisions.values())) == (6, [2.0**-11, 2.0**-53, 0.0])


def test_a_row_says_margin_winner_and_text() -> None:
    readout = Readout.fold(SQUARE, tokens=[*"abcd", None])
    (row,) = geom.compare(readout, "3", ["double"], at=[2.0, 1.0])
    assert row.as_dict() == {
        "token_id": 3,
        "token": "d",
        "precision": "double",
        "margin": -3.0,
        "argmax_id": 0,
        "sign": -1,
        "agrees": True,
    }


@given(
    st.lists(st.floats(-4, 4, width=32), min_size=10, max_size=10),
    st.lists(st.floats(-4, 4, width=32), min_size=2, max_size=2),
)
def test_the_truth_is_that_of_fractions(values: list[float], x: list[float]) -> None:
    with using(only(RATIONAL)):
        compared = geom.compare(Readout.fold(np.reshape(values, (5, 2))), "all", at=[x] * 5)
    assert all(row.agrees for row in compared)
    for point, row in zip(compared.points, compared, strict=True):
        assert row.margin == float(point.margin)


def test_no_precision_has_a_part_in_the_truth(use: Use) -> None:
    use(only(precision("liar", lambda *_: PrecisionMargin(-1.0, 1, 0.0), 0.0)))
    (row,) = geom.compare(border(8), [0], at=ONE)
    assert (row.sign, row.agrees) == (-1, False)


def test_overflow_is_an_answer_and_a_wrong_one() -> None:
    readout = Readout.fold([[300.0, 300.0], [300.0, 200.0]])
    compared = geom.compare(readout, [0], at=[300.0, 1.0])
    half = compared.cell(0, "half")
    assert half.margin is not None
    assert math.isnan(half.margin)
    assert (half.sign, half.agrees, half.as_dict()["margin"]) == (None, False, None)
    assert json.dumps(half.as_dict(), allow_nan=False)
    assert compared.notes == ()


def test_an_error_radius_decides_what_is_proven(use: Use) -> None:
    use(only(SHIFTED, RATIONAL, SINGLE))
    near = geom.compare(border(8), [0], at=ONE)
    assert {row.precision: row.proven for row in near} == {
        "shifted": False,
        "single": False,
        "rational": True,
    }
    assert geom.compare(border(8), [2], at=ONE).cell(2, "shifted").proven


def test_options_reach_a_precision(use: Use) -> None:
    use(only(SHIFTED))
    compared = geom.compare(border(8), [0], at=ONE, options={"precision.shifted.by": -1})
    assert compared.cell(0, "shifted").margin == 2.0**-8 - 1.0


def test_candidates_are_what_was_flagged() -> None:
    readout = Readout.fold(np.vstack([SQUARE, [0.1, 0.0], [0.0, -0.1]]))
    with geom.run(readout, tokens="all", certifiers=()) as run:
        wanted = [row.token_id for row in run.rows() if not row.self_argmax]
    assert 0 < len(wanted) < 7
    with geom.run(readout, certifiers=["highs"]) as audit:
        for subject in (readout, audit):
            points = geom.compare(subject, "candidates", ["double"]).points
            assert [point.token_id for point in points] == wanted


def test_the_box_may_have_a_radius_of_its_own() -> None:
    options = {"domain.box.radius": 3.0}
    readout = Readout.fold(SQUARE, [1.0, 0.0, 0.0, 0.0, 0.0])
    near = geom.compare(readout, [0], ["double"], domain="box").points[0]
    far = geom.compare(readout, [0], ["double"], domain="box", options=options).points[0]
    assert far.x.tolist() == (3.0 * near.x).tolist()
    assert "no part" in refusal(readout, [0], options=options)
    with geom.run(readout, certifiers=()) as run:
        assert "a run has its own domain" in refusal(run, "all", options=options)


def test_a_precision_cannot_change_the_point(use: Use) -> None:
    def scribble(readout: Readout, token: int, x: Any, options: Any) -> PrecisionMargin:
        x[0] = 9.0
        return PrecisionMargin(0.0, 0)

    use(only(precision("scribbler", scribble, 0.5), RATIONAL))
    compared = geom.compare(border(8), [0], at=ONE)
    assert "scribbler raised ValueError" in compared.notes[0]
    assert compared.cell(0, "rational").agrees


# The least precision


def test_luck_of_a_coarse_precision_does_not_count(use: Use) -> None:
    lucky = precision("lucky", lambda *_: PrecisionMargin(1.0, 0), 0.5)
    use(only(lucky, *USUAL))
    compared = geom.compare(border(13), [0], at=ONE)
    assert agreeing(compared) == ["lucky", "single", "double", "rational"]
    assert compared.least() == {0: "single"}


def test_where_none_is_right_there_is_no_least() -> None:
    assert geom.compare(border(13), [0], ["half"], at=ONE).least() == {0: None}


# Precisions that fail


@pytest.mark.parametrize(
    "answer",
    [
        lambda *_: 1 / 0,
        lambda *_: None,
        lambda *_: PrecisionMargin(0.0, 99),
        lambda *_: PrecisionMargin("much", 0),  # type: ignore[arg-type]
    ],
)
def test_a_precision_that_fails_costs_its_own_cells(answer: Any, use: Use) -> None:
    use(only(precision("bad", answer, 2.0**-30), *USUAL))
    compared = geom.compare(border(10), [0, 1], at=[ONE, ONE])
    bad = [compared.cell(token, "bad") for token in (0, 1)]
    assert [(row.margin, row.sign, row.agrees) for row in bad] == [(None, None, False)] * 2
    assert all(row.agrees for row in compared if row.precision != "bad")
    assert compared.least() == {0: "half", 1: "half"}
    (note,) = compared.notes
    assert note.startswith("precision bad raised ")
    assert note.endswith("token 0 and 1 more")


def test_a_precision_without_a_roundoff_comes_first_and_is_named(
    use: Use,
) -> None:
    use(only(precision("odd", RATIONAL.margin, math.nan), DOUBLE, HALF))
    compared = geom.compare(border(8), [0], at=ONE)
    assert list(compared.precisions) == ["odd", "half", "double"]
    assert "precision odd has no unit roundoff" in compared.notes[0]
    assert compared.cell(0, "odd").agrees


# Points


def test_a_readout_is_taken_along_own_directions() -> None:
    readout = Readout.fold(SQUARE)
    problem = Problem(readout, readout.domain)
    for point in geom.compare(readout, "all").points:
        assert (point.x == geom.proofs.own_direction(problem, point.token_id)).all()
        assert point.origin == "own direction"


def test_the_domain_sets_how_long_they_are() -> None:
    compared = geom.compare(Readout.fold(SQUARE), [0], domain="box")
    assert np.abs(compared.points[0].x).max() == pytest.approx(1.0)


def test_a_run_is_taken_at_its_certificates(tmp_path: Path) -> None:
    # along (9, 2.9) the row (10, 0) is a little higher: token 1 needs a witness of its own
    rows = [[10.0, 0.0], [9.0, 2.9], [-10.0, 0.0], [0.0, -8.0], [0.1, 0.1]]
    readout = Readout.fold(rows)
    path = tmp_path / "run.db"
    geom.run(readout, tokens="1,4", opening=False, out=path).close()
    with geom.open_run(path, readout) as run:
        witness = run.certificate(1)
        assert isinstance(witness, geom.Witness)
        compared = geom.compare(run)
        kept = run.evidence(4).x
    hard, inside = compared.points
    assert (hard.origin, hard.sign) == ("witness", 1)
    assert (hard.x == witness.x).all()
    assert inside.sign <= 0
    if kept is None:
        assert inside.origin == "own direction"
    else:
        assert inside.origin == "best point"
        assert (inside.x == kept).all()


def test_a_witness_that_is_not_stored_is_rebuilt(tmp_path: Path) -> None:
    angles = 2 * np.pi * np.arange(300) / 300
    readout = Readout.fold(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    with geom.run(readout, tokens="all", hardest=0) as run:
        assert run.recipes() == frozenset(range(300))
        compared = geom.compare(run, "7", ["rational"])
        witness = run.certificate(7)
    assert isinstance(witness, geom.Witness)
    assert (compared.points[0].x == witness.x).all()
    assert compared.points[0].sign == 1


def test_a_large_run_is_cut_to_those_nearest_the_border() -> None:
    angles = np.concatenate([[0.0, 1e-4], np.linspace(0.2, 6.0, 40)])
    readout = Readout.fold(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    with geom.run(readout, tokens="all") as run:
        compared = geom.compare(run)
        everything = geom.compare(run, "all", ["double"])
    assert len(compared.points) == 20
    assert {0, 1} <= {point.token_id for point in compared.points}
    assert "the 20 of 42 tokens nearest the border" in compared.notes[0]
    assert (len(everything), everything.notes) == (42, ())


def test_given_points_belong_to_the_tokens_as_listed() -> None:
    points = np.array([[2.0, 0.0], [0.0, 3.0]], dtype=np.float32)
    for tokens in ("2,1", [2, 1]):
        compared = geom.compare(Readout.fold(SQUARE), tokens, ["double"], at=points)
        assert [(p.token_id, p.x.tolist()) for p in compared.points] == [
            (2, [2.0, 0.0]),
            (1, [0.0, 3.0]),
        ]


def test_a_file_lists_them_in_its_own_order(tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("3 1\n0\n")
    spec = f"@{tmp_path / 'ids'}"
    compared = geom.compare(Readout.fold(SQUARE), spec, ["double"], at=np.eye(3)[:, :2])
    assert [point.token_id for point in compared.points] == [3, 1, 0]


# Borderline


def wheel(gaps: list[float]) -> Readout:
    """Pairs of rows far from each other, a pair apart by a gap along its own direction."""
    angles = 2 * np.pi * np.arange(len(gaps)) / len(gaps)
    rows = [
        size * np.array([np.cos(a), np.sin(a)])
        for a, gap in zip(angles, gaps, strict=True)
        for size in (1.0 + gap, 1.0)
    ]
    return Readout.fold(np.array(rows))


GAPS = [1e-3, 2.0**-22, 1e-9, 2.0**-15]


def test_borderline_takes_what_float32_may_not_tell() -> None:
    chosen = geom.compare(wheel(GAPS), "borderline", ["double"])
    assert [point.token_id for point in chosen.points] == [2, 3, 4, 5]
    assert all(abs(point.relative) <= 8 * 2.0**-23 for point in chosen.points)


@pytest.mark.parametrize("size", [2.0**-30, 2.0**30])
def test_the_border_does_not_move_with_the_size_of_the_weights(size: float) -> None:
    readout = Readout.fold(size * wheel(GAPS).W)
    chosen = geom.compare(readout, "borderline", ["double"])
    assert [point.token_id for point in chosen.points] == [2, 3, 4, 5]


@pytest.mark.parametrize(
    ("multiple", "ids"), [(1, [4, 5]), (1000, [2, 3, 4, 5, 6, 7]), (1e5, list(range(8)))]
)
def test_a_multiple_widens_the_border(multiple: float, ids: list[int]) -> None:
    chosen = geom.compare(wheel(GAPS), "borderline", ["double"], multiple=multiple)
    assert [point.token_id for point in chosen.points] == ids


@pytest.mark.parametrize(("n", "ids"), [(2, [4, 5]), (4, [2, 3, 4, 5]), (99, list(range(8)))])
def test_the_nearest_can_be_counted(n: int, ids: list[int]) -> None:
    chosen = geom.compare(wheel(GAPS), f"borderline={n}", ["double"])
    assert [point.token_id for point in chosen.points] == ids


def test_where_none_is_borderline_the_nearest_is_named() -> None:
    compared = geom.compare(Readout.fold(SQUARE * [[1], [1], [1], [1], [0.5]]), "borderline")
    assert (len(compared), compared.points) == (0, ())
    assert "no token's relative margin is within 8 epsilons" in compared.notes[0]


def test_a_block_boundary_loses_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geom.comparison.points._BLOCK_BYTES", 8 * 8 * 3)  # three tokens at a time
    chosen = geom.compare(wheel(GAPS), "borderline=4", ["double"])
    assert [point.token_id for point in chosen.points] == [2, 3, 4, 5]


# Solvers


def test_a_solver_is_shown_for_what_it_is() -> None:
    """The post's program calls a token feasible whose rows and twin are the same."""
    readout = Readout.fold([*SQUARE[:4], [1.0, 0.0]])
    compared = geom.compare(readout, [0], domain="box", solver="linprog-post")
    (point,), (claim,) = compared.points, compared.claims
    assert point.origin == "linprog-post"
    assert point.margin <= 0  # its twin has the same logit everywhere
    assert (claim.direction, claim.inside, claim.verdict) == (True, True, "undecided")
    assert "feasible at margin 1e-07" in str(claim)


def bring_certifier(use: Use, answer: Any) -> None:
    use(only(*USUAL))
    plugins = installed()

    class Plugin:
        @geom.hookimpl
        def geom_certifiers(self) -> Any:
            yield Certifier("stub", "", answer, NoOptions)

    origin = geom.plugins.registry.Origin("the-tests", "3.2", "tests")
    plugins.register(Plugin(), "certifier", origin)


def test_weights_are_shown_with_the_bound_that_they_claim(use: Use) -> None:
    weights = Weights(np.array([0, 1, 2, 3]), np.array([2.0, 2.0, 2.0, 2.0]))
    bring_certifier(use, lambda *_: Finding(weights=weights))
    readout = Readout.fold([*SQUARE[:4], [0.0, 0.0]], [1.0, 1.0, 1.0, 1.0, 0.25])
    compared = geom.compare(readout, [4], solver="stub")
    (claim,) = compared.claims
    assert (claim.bound, claim.residual, claim.verdict) == (-0.75, 0.0, "unspeakable")
    assert str(claim) == (
        "token 4: stub returned weights that claim a margin <= -0.75 and leave 0; that proves it "
        "unspeakable"
    )
    assert len(compared) == 0


def test_a_direction_outside_the_domain_is_compared_as_it_is(
    use: Use,
) -> None:
    bring_certifier(use, lambda *_: Finding(x=np.array([50.0, 0.0])))
    compared = geom.compare(Readout.fold(SQUARE), [0], ["double"], solver="stub", domain="box")
    (row,) = compared
    assert (row.margin, compared.claims[0].inside) == (37.5, False)
    assert "a direction outside the domain" in str(compared.claims[0])


@pytest.mark.parametrize(
    "answer",
    [
        lambda *_: 1 / 0,
        lambda *_: None,
        lambda *_: Finding(x=np.array([np.nan, 0.0])),
        lambda *_: Finding(x=np.zeros(5)),
        lambda *_: Finding(weights=Weights(np.array([77]), np.array([1.0]))),
        lambda *_: Finding(),
    ],
)
def test_a_solver_that_returns_no_direction_costs_nothing_else(answer: Any, use: Use) -> None:
    bring_certifier(use, answer)
    compared = geom.compare(Readout.fold(SQUARE), [0, 4], solver="stub")
    assert (len(compared), len(compared.claims)) == (0, 2)
    assert all(claim.verdict == "undecided" for claim in compared.claims)


# Tables


def test_a_comparison_becomes_a_data_frame() -> None:
    pytest.importorskip("pandas")
    frame = geom.compare(border(13), [0, 1], at=[ONE, ONE]).to_pandas()
    assert frame.shape == (8, 8)
    assert list(frame.columns[:3]) == ["token_id", "token", "precision"]
    right = frame[frame.agrees].groupby("token_id").precision.agg(list).to_dict()
    assert right == {0: NAMES[1:], 1: NAMES[1:]}


def test_without_pandas_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    compared = geom.compare(border(8), [0], at=ONE)
    with pytest.raises(InputError, match="pip install pandas"):
        compared.to_pandas()


# Refusals


def test_what_cannot_be_asked_is_refused() -> None:
    readout = Readout.fold(SQUARE)
    assert "no id is named" in refusal(readout)
    assert "outside the vocabulary" in refusal(readout, [7])
    assert "borderline=20" in refusal(readout, "borderline=0")
    assert "a number above zero" in refusal(readout, "borderline", multiple=-1.0)
    assert "leave it out" in refusal(readout, "all", multiple=2.0)
    assert "did you mean 'double'" in refusal(readout, [0], ["duoble"])
    assert "named twice" in refusal(readout, [0], ["half", "half"])
    assert "unknown domain" in refusal(readout, [0], domain="sphere")
    assert "unknown certifier" in refusal(readout, [0], solver="nobody")
    assert "leave one of them out" in refusal(readout, [0], at=ONE, solver="highs")
    assert "no part in this" in refusal(readout, [0], options={"certifier.highs.tolerance": 1})
    assert "unknown option" in refusal(readout, [0], options={"precision.half.digits": 1})
    assert "one token" in refusal(Readout.fold([[1.0]]), [0])


@pytest.mark.parametrize(
    ("tokens", "at", "said"),
    [
        ([0], [1.0], "points have shape (1,): for 1 token give (2,) or (1, 2)"),
        ([0, 1], [1.0, 0.0], "for 2 tokens give (2, 2)"),
        ([0], np.zeros((1, 1, 2)), "points have shape (1, 1, 2)"),
        ([0], [1, 0], "give float32 or float64"),
        ([0], np.zeros(2, dtype=np.float16), "give float32 or float64"),
        ([0], ["a", "b"], "give float32 or float64"),
        ([0], [np.nan, 0.0], "give finite numbers"),
        ([0, 0], np.eye(2), "id 0 is listed twice"),
        (None, [1.0, 0.0], "list the id"),
        ("borderline", [1.0, 0.0], "list the id"),
    ],
)
def test_points_that_do_not_fit_are_refused(tokens: Any, at: Any, said: str) -> None:
    assert said in refusal(Readout.fold(SQUARE), tokens, at=at)


def test_what_is_at_odds_is_refused_before_a_model_is_loaded() -> None:
    missing = "npz:none.npz"
    assert "no id is named" in refusal(missing)
    assert "unknown precision" in refusal(missing, [0], ["quadruple"])
    assert "unknown certifier" in refusal(missing, [0], solver="nobody")
    assert "none.npz" in refusal(missing, [0])


def test_a_run_has_its_own_tokens_and_domain() -> None:
    with geom.run(Readout.fold(SQUARE), tokens=[0, 4]) as run:
        assert "was not examined" in refusal(run, [1])
        assert "its own domain" in refusal(run, domain="box")


def test_a_precision_that_would_not_fit_is_refused(use: Use) -> None:
    large = dataclasses.replace(SINGLE, memory=lambda readout, options: 2**60 * readout.V)
    use(only(DOUBLE, large))
    assert "precision single, not counting the weights, takes 5242880.0 TiB" in refusal(
        Readout.fold(SQUARE), [0]
    )
    assert len(geom.compare(Readout.fold(SQUARE), [0], ["double"])) == 1


def test_without_any_precision_there_is_nothing_to_compare(use: Use) -> None:
    use(only())
    assert "no precision to compare" in refusal(Readout.fold(SQUARE), [0])


def test_progress_is_told() -> None:
    seen: dict[str, tuple[float, float]] = {}
    geom.compare(
        border(8),
        "borderline=2",
        progress=lambda stage, done, total, unit: seen.update({stage: (done, total)}),
    )
    assert seen == {"borderline": (3, 3), "exact": (2, 2), "compare": (8, 8)}
