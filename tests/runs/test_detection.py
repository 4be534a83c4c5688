"""What a run keeps of detectors' flags and witnesses, and what happens to a detector that fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import geom
from geom import (
    Candidate,
    Domain,
    InputError,
    PluginError,
    Readout,
    Run,
    Witness,
    WitnessedToken,
)
from geom.model import domains
from geom.runs.pipeline import execute
from support.places import bare
from support.square_runs import (
    CENTRE,
    READOUT,
    Given,
    boom,
    detected,
    detector,
    flags,
    ids,
    planned,
)

# Detectors


def test_every_detector_that_flags_a_token_is_named_in_order() -> None:
    first, second = detector(flags(Candidate(1)), "first"), detector(flags(Candidate(1)), "second")
    with detected(second, first) as run:
        assert run.row(1).flagged_by == ("second", "first")


def test_what_a_detector_saw_of_the_winner_is_kept() -> None:
    with detected(detector(flags(Candidate(1, 3), Candidate(2)))) as run:
        assert [(row.argmax_id, row.self_argmax) for row in run.rows()] == [(3, False), (2, True)]


def test_a_detector_may_count_in_numpy() -> None:
    candidates = [Candidate(np.int64(2), np.int32(3)), Candidate(np.uint8(1))]
    with detected(detector(flags(*candidates))) as run:
        assert [(row.token_id, row.argmax_id) for row in run.rows()] == [(1, 1), (2, 3)]


def test_a_detector_that_raises_is_a_warning_and_the_others_count() -> None:
    with detected(detector(boom, "bad"), detector(flags(Candidate(3)), "good")) as run:
        assert ids(run.rows()) == [3]
        (warning,) = run.warnings
        place = "support/square_runs.py"
        assert bare(warning, place) == "detector bad raised ValueError: boom and more"


@pytest.mark.parametrize(
    "candidates",
    [
        [Candidate(5)],
        [Candidate(-1)],
        [Candidate(2**70)],
        [Candidate(0, 5)],
        [Candidate(0, -1)],
        [Candidate(1), Candidate(0), Candidate(1)],
        [Candidate(0.5)],
        [Candidate("0")],
        [Candidate(None)],
        [0],
        [None],
        None,
    ],
)
def test_a_detector_that_flags_nonsense_is_one_that_raises(candidates: Any) -> None:
    bad = detector(lambda readout, domain, options: candidates, "bad")
    with detected(bad, detector(flags(Candidate(3)), "good")) as run:
        assert [(row.token_id, row.flagged_by) for row in run.rows()] == [(3, ("good",))]
        (warning,) = run.warnings
        assert warning.startswith("detector bad raised ")


def test_where_no_detector_works_there_is_no_run_of_candidates() -> None:
    bad = [detector(boom, "bad"), detector(flags(Candidate(9)), "worse")]
    with pytest.raises(PluginError, match=r"detector bad .*; detector worse "):
        detected(*bad)
    with detected(*bad, tokens="0") as run:
        assert (ids(run.rows()), len(run.warnings)) == ([0], 2)


@pytest.mark.parametrize("failure", [InputError, KeyboardInterrupt, ValueError])
def test_a_run_that_ends_before_its_tokens_are_known_leaves_no_file(
    failure: type[BaseException], tmp_path: Path
) -> None:
    def fails(readout: Readout, domain: Domain, options: Any) -> list[Candidate]:
        raise failure("for the test")

    asked = planned(Given((detector(fails),)), detectors=["stub"])
    with pytest.raises((InputError, KeyboardInterrupt, PluginError), match="for the test"):
        execute(asked, tmp_path / "run.db")
    assert list(tmp_path.iterdir()) == []


def test_a_detector_that_flags_nothing_is_no_failure() -> None:
    with detected(detector(flags())) as run:
        assert (list(run.rows()), run.warnings, run.planned) == ([], [], True)


# Witnesses that detectors bring


EAST = np.array([1.0, 0.0])


def bringing(*items: Candidate | WitnessedToken, tokens: str = "candidates", **asked: Any) -> Run:
    plugin = Given((detector(lambda *_: iter(items)),))
    where = domains.rmsnorm(2)
    chosen = {"detectors": ["stub"], "domain": where, "tokens": tokens, "opening": False}
    return execute(planned(plugin, **(chosen | {"hardest": 0} | asked)))


def test_a_witness_that_holds_is_stored_under_the_detectors_name() -> None:
    run = bringing(WitnessedToken(0, EAST), Candidate(CENTRE))
    assert [(r.token_id, r.verdict, r.flagged_by, r.certifier) for r in run.rows()] == [
        (0, "speakable", (), "stub"),
        (CENTRE, "unspeakable", ("stub",), "maxent"),
    ]
    found = run.certificate(0)
    assert isinstance(found, Witness)
    assert found.x.tolist() == [1.0, 0.0]
    assert geom.verify(run, READOUT).ok


def test_a_witness_that_is_the_own_direction_is_not_stored() -> None:
    run = bringing(WitnessedToken(1))
    assert run.recipes() == {1}
    assert run.row(1).certifier == "own-direction"
    assert run.row(1).margin_lower == pytest.approx(2**0.5, rel=1e-4)


@pytest.mark.parametrize(
    "item",
    [
        WitnessedToken(CENTRE, EAST),
        WitnessedToken(CENTRE),
        WitnessedToken(0, -EAST),
        WitnessedToken(0, 2.0 * EAST),
        WitnessedToken(0, np.full(2, np.nan)),
        WitnessedToken(0, np.ones(3)),
        WitnessedToken(0, "east"),  # type: ignore[arg-type]
    ],
)
def test_a_witness_that_does_not_hold_flags_its_token(item: WitnessedToken) -> None:
    run = bringing(item)
    (row,) = run.rows()
    assert (row.token_id, row.flagged_by, row.certifier) == (item.token, ("stub",), "maxent")
    assert row.verdict == ("unspeakable" if item.token == CENTRE else "speakable")


def test_a_witness_that_float32_cannot_settle_is_settled() -> None:
    near = np.array([2**-40, -(2.0**-41)])
    run = bringing(WitnessedToken(0, near))
    assert (run.row(0).verdict, run.row(0).certifier) == ("speakable", "stub")


def test_witnesses_of_tokens_that_were_not_asked_for_are_left_out() -> None:
    run = bringing(WitnessedToken(0, EAST), WitnessedToken(1), tokens=f"1,{CENTRE}")
    assert [row.token_id for row in run.rows()] == [1, CENTRE]


@pytest.mark.parametrize(
    "items", [[WitnessedToken(5, EAST)], [WitnessedToken(-1)], [WitnessedToken(0), Candidate(0)]]
)
def test_a_detector_that_names_no_token_or_one_twice_is_broken(items: list[Any]) -> None:
    with pytest.raises(PluginError, match="no detector worked"):
        bringing(*items)
