"""Rows beyond the tokenizer: every run asks whether they can win, and says so."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import geom
from geom import Readout, TokenKind
from support.command import Command

# a square, a token at its centre, and two padding rows: one beyond a corner, one at the centre
W = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [0.1, 0.2], [9.0, 0.0], [0.2, 0]])
KINDS: list[TokenKind] = [*["normal"] * 5, "padding", "padding"]  # type: ignore[list-item]
TEXTS = ["a", "b", "c", "d", "e", None, None]
OUTSIDE, INSIDE = 5, 6


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "run.db"
    geom.run(Readout.fold(W, kinds=KINDS, tokens=TEXTS), out=path).close()
    return path


def test_a_run_of_candidates_asks_of_the_padding_rows_too(run: Path) -> None:
    """The one outside wins along its own direction, so no detector flags it."""
    with geom.open_run(run) as opened:
        rows = {row.token_id: row for row in opened}
        assert rows[OUTSIDE].verdict == "speakable"
        assert rows[OUTSIDE].flagged_by == ()
        assert rows[INSIDE].verdict == "unspeakable"
        assert [row.token_id for row in rows.values() if row.undecodable] == [OUTSIDE]
        assert geom.verify(opened, Readout.fold(W, kinds=KINDS, tokens=TEXTS)).ok


def test_a_run_of_a_list_asks_of_the_listed_rows_alone() -> None:
    with geom.run(Readout.fold(W, kinds=KINDS), tokens="0-4") as run:
        assert [row.token_id for row in run] == [0, 1, 2, 3, 4]


def test_a_run_goes_on_with_the_same_rows(run: Path) -> None:
    with geom.run(Readout.fold(W, kinds=KINDS, tokens=TEXTS), out=run) as again:
        assert {row.token_id for row in again if row.token_kind == "padding"} == {OUTSIDE, INSIDE}


def test_measures_and_comparisons_take_what_is_flagged_alone() -> None:
    readout = Readout.fold(W, kinds=KINDS, tokens=TEXTS)
    found = geom.measure(readout, ["row-norm"])
    flagged = np.flatnonzero(geom.own_winners(readout) != np.arange(len(W))).tolist()
    assert OUTSIDE not in flagged
    assert [row.token_id for row in found.rows] == flagged


def test_the_table_counts_those_that_can_win(command: Command, run: Path) -> None:
    out = command("show", "run.db").out
    assert re.search(r"^ *2  padding +of them", out, re.MULTILINE)
    assert re.search(r"^ *1  speakable padding +of these: .* no tokenizer decodes", out, re.M)
    geom.run(Readout.fold(W[[0, 1, 2, 3, 4, 6]], kinds=KINDS[:-1]), out="none.db").close()
    assert "speakable padding" not in command("show", "none.db").out


def test_the_summary_counts_them(run: Path) -> None:
    assert geom.summarise([run]).models[0].padding == 1


def test_the_table_of_several_runs_says_so(command: Command, run: Path) -> None:
    out = command("show", "run.db", "run.db").out
    assert "speakable padding, which no tokenizer decodes: 1 in 1, 1 in 2\n" in out


def test_the_report_and_the_notebook_say_so(run: Path) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("plotly")
    with geom.open_run(run) as opened:
        assert "1 of them speakable padding" in opened._repr_html_()
        geom.export(opened, "html", run.with_suffix(".html"))
    page = run.with_suffix(".html").read_text(encoding="utf-8")
    assert "1 padding row can win (5): a sampler may pick ids that no tokenizer decodes" in page
