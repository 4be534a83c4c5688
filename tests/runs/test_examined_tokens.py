"""Which tokens a run examines: those named, listed or flagged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import geom
from geom import (
    InputError,
    Readout,
)
from support.square_runs import CENTRE, READOUT, SQUARE, ids


def test_by_default_a_run_decides_the_tokens_that_do_not_win_their_own_direction() -> None:
    with geom.run(READOUT) as run:
        (row,) = run.rows()
        assert (row.token_id, row.verdict, row.flagged_by) == (
            CENTRE,
            "unspeakable",
            ("self-argmax",),
        )
        assert (row.self_argmax, row.argmax_id) == (False, 0)
        assert (run.path, run.warnings, run.settings["tokens"]) == (None, [], "candidates")


@pytest.mark.parametrize(
    ("spec", "examined"),
    [
        ("all", [0, 1, 2, 3, 4]),
        ("3,0-1,1", [0, 1, 3]),
        ([4, 0, 4], [0, 4]),
        (range(2), [0, 1]),
        (np.array([2, 1]), [1, 2]),
    ],
)
def test_tokens_can_be_named_without_a_detector(spec: Any, examined: list[int]) -> None:
    with geom.run(READOUT, tokens=spec, certifiers=[]) as run:
        rows = list(run.rows())
        assert ids(rows) == examined
        assert {row.flagged_by for row in rows} == {()}
        assert run.settings["detectors"] == {}


def test_tokens_can_be_listed_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "tokens.txt").write_text("4\n0\n")
    with geom.run(READOUT, tokens=f"@{tmp_path}/tokens.txt", certifiers=[]) as run:
        assert ids(run.rows()) == [0, CENTRE]
        assert run.settings["tokens"] == "0,4"


def test_a_detector_beside_a_list_of_tokens_says_what_it_flags() -> None:
    with geom.run(READOUT, tokens="3-4", detectors=["self-argmax"], certifiers=[]) as run:
        assert [row.flagged_by for row in run.rows()] == [(), ("self-argmax",)]


@pytest.mark.parametrize("spec", ["5", "-1", "2-1", "a", "", [], [5], [-1], "@/nowhere"])
def test_tokens_outside_the_vocabulary_are_refused(spec: Any) -> None:
    with pytest.raises(InputError):
        geom.run(READOUT, tokens=spec, certifiers=[])


def test_candidates_need_a_detector() -> None:
    with pytest.raises(InputError, match="name one, or the tokens to examine"):
        geom.run(READOUT, detectors=[])


def test_texts_of_tokens_are_stored() -> None:
    readout = Readout.fold(SQUARE, tokens=["a", "b", None, "d", "e"])
    with geom.run(readout, tokens="all", certifiers=[]) as run:
        assert [row.token for row in run.rows()] == ["a", "b", None, "d", "e"]
        assert run.row(CENTRE).argmax == "a"
