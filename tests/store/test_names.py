"""Tokens of a run by id or text, lists of them in an order, and what a run says of itself."""

from __future__ import annotations

import numpy as np
import pytest

import geom
from geom import InputError, Readout
from geom.store import Run

SQUARE = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [0.1, 0.0], [4.0, 0.1]])
"""Corners 0 to 3, a point of their hull, and a row that beats two corners along their direction."""

TEXTS = ("north", "south", " east", "<|west|>", "inside", "north")


def texts(run: Run, rows: object) -> list[int]:
    frame = rows.to_pandas() if isinstance(rows, geom.Ranking) else rows
    return list(frame["token_id"])  # type: ignore[index]


@pytest.fixture
def run() -> Run:
    return geom.run(Readout.fold(SQUARE, tokens=TEXTS), tokens="all")


def test_rows_and_certificates_are_found_by_text(run: Run) -> None:
    for name, token in (("inside", 4), ("east", 2), ('"<|west|>"', 3), ("1", 1), ("south", 1)):
        assert run.row(name) == run.row(token)
        found, expected = run.certificate(name), run.certificate(token)
        assert type(found) is type(expected)
    assert isinstance(run.certificate("inside"), geom.Weights)
    assert run.row(np.int64(4)).token == "inside"


def test_a_text_of_several_tokens_asks_for_an_id(run: Run) -> None:
    with pytest.raises(InputError, match=r"2 tokens .* 'north': give one of the ids 0, 5"):
        run.row("north")


def test_a_text_that_nobody_has_names_those_that_hold_it(run: Run) -> None:
    with pytest.raises(InputError, match=r"no token examined.*: did you mean .<\|west\|>.\?"):
        run.certificate("wes")


def test_a_text_that_wins_in_the_place_of_another_was_passed_over() -> None:
    """Along its own direction, 9 loses to the corner east, which no detector flags."""
    W = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [0.9, 0.0]])
    flagged = geom.run(Readout.fold(W, tokens=["east", "west", "north", "south", "near"]))
    assert [(row.token, row.argmax) for row in flagged] == [("near", "east")]
    said = 'token 0 "east" was not examined in this run: passed over by self-argmax: it wins along'
    for ask in (flagged.row, flagged.named, flagged.certificate):
        with pytest.raises(InputError, match=f"{said}.*; geom run --tokens 0 proves it"):
            ask("east")
    with pytest.raises(InputError, match=r'has the text .EAST.: did you mean "east"'):
        flagged.row("EAST")
    with pytest.raises(InputError, match="no token examined in this run has the text 'west'"):
        flagged.row("west")


def test_an_id_without_a_row_says_why() -> None:
    readout = Readout.fold(SQUARE[:5], tokens=TEXTS[:5])
    flagged = geom.run(readout)
    over = (
        "passed over by self-argmax: it wins along its own direction; geom run --tokens 1 proves it"
    )
    for ask in (lambda: flagged.row(1), lambda: flagged.row("1"), lambda: flagged.named("1")):
        with pytest.raises(InputError, match=f"token 1 was not examined in this run: {over}"):
            ask()
    for token in (5, -1, 99999):
        with pytest.raises(InputError, match=f"no token {token} in this run: ids are 0 to 4"):
            flagged.row(token)
    with pytest.raises(InputError, match="not in the list that was asked for"):
        geom.run(readout, tokens=["inside"]).row(1)


def test_a_run_counts_the_hard_and_those_that_no_detector_flagged(run: Run) -> None:
    hard = sum(row.hard for row in run)
    plain = sum(row.verdict == "speakable" for row in run) - hard
    assert hard
    assert repr(run) == f"<Run in memory: {hard} hard, {plain} speakable, 1 unspeakable>"
    flagged = geom.run(Readout.fold(SQUARE))
    rest = len(SQUARE) - len(flagged)
    assert repr(flagged) == f"<Run in memory: {hard} hard, 1 unspeakable, {rest} not flagged>"
    assert f"{rest} not flagged, passed over by self-argmax" in flagged._repr_html_()


def test_a_run_in_which_nothing_is_flagged_says_what_that_means() -> None:
    corners = geom.run(Readout.fold(SQUARE[:4], noun="class"))
    said = "none of 4 classes flagged: each wins along its own direction"
    assert repr(corners) == f"<Run in memory: {said}>"
    own = geom.own_winners(corners.problem.readout)
    assert own.tolist() == [0, 1, 2, 3]


def test_a_detector_that_failed_has_passed_over_nothing() -> None:
    from geom.store.unexamined import passed_over

    settings = {"tokens": "candidates", "detectors": {"self-argmax": {}, "hull-vertex": {}}}
    failed = passed_over(settings, ["detector self-argmax raised ValueError: no (x.py:3)"])
    assert failed is not None
    assert failed.because() == ""
    works = passed_over(settings, ["detector hull-vertex raised ValueError: no (x.py:3)"])
    assert works is not None
    assert works.because() == ": each wins along its own direction"


def test_a_frame_lists_a_verdict_in_an_order(run: Run) -> None:
    ranked = run.ranking()
    assert texts(run, run.to_pandas()) == list(range(6))
    assert texts(run, run.to_pandas(sort="hardness")) == [row.token_id for row in ranked]
    assert texts(run, run.to_pandas(sort=None)) == list(range(6))
    assert texts(run, run.to_pandas(sort="-id")) == [5, 4, 3, 2, 1, 0]
    assert texts(run, run.to_pandas(sort="-token_id")) == [5, 4, 3, 2, 1, 0]
    hard = run.to_pandas(verdict="hard", sort="hardness")
    assert texts(run, hard) == [row.token_id for row in ranked if row.hard]
    assert hard["hard"].all()
    assert set(hard["verdict"]) == {"hard"}
    by_margin = run.to_pandas(verdict="speakable", sort="margin_lower")["margin_lower"]
    assert by_margin.is_monotonic_increasing
    assert not by_margin.empty
    assert hard["margin_lower"].is_monotonic_increasing
    geom.measure(run, "row-norm", "all")
    norms = np.linalg.norm(SQUARE, axis=1)
    longest = run.to_pandas(sort="-row-norm")["token_id"]
    assert (np.diff(norms[longest]) <= 0).all()
    with pytest.raises(InputError, match="unknown sort key 'hardnes'"):
        run.to_pandas(sort="hardnes")
    with pytest.raises(InputError, match="unknown verdict"):
        run.to_pandas(verdict="tough")


def test_a_ranking_is_a_list_and_a_table_in_a_notebook(run: Run) -> None:
    ranked = run.ranking()
    assert list(ranked) == ranked.rows
    assert len(ranked) == 6
    assert texts(run, ranked) == [row.token_id for row in ranked.rows]
    assert "hard" in ranked.to_pandas()
    shown = ranked._repr_html_()
    assert shown.index("&quot;inside&quot;") < shown.index("&quot;south&quot;")
    assert ranked.about in shown
