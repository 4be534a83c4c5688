"""Runs edited with Python's own sqlite3: what verify and a run that goes on make of them.

`campaigns/edited_runs.py` edits runs in every way that is known; some tens of its cases are drawn
here. The other tests edit one thing each, and see the one line that names it.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import geom
from campaigns import edited_runs
from geom import MeasureRow, Readout, StoreError, Weights
from support.command import Command
from support.stored_runs import edit

W = np.array(
    [[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [0.25, 0.5], [0.0, 0.0], [1.0, 1.0]]
)
INSIDE, CENTRE, TWIN = 4, 5, 6
READOUT = Readout.fold(
    W, norm="rmsnorm", tokens=[*"abcdefg"], kinds=["normal"] * 6 + ["special"], source="npz:w.npz"
)
MEASURES = (
    "angular-margin",
    "best-rank",
    "chebyshev-radius",
    "logit-bias",
    "max-probability",
    "min-p",
    "perturbation",
)

HELD = ["holds: 3 speakable, 4 unspeakable; fails: 0"]


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("sound") / "run.db"
    with geom.run(READOUT, tokens="all", detectors=["self-argmax"], out=path) as run:
        geom.measure(run, MEASURES, [1, INSIDE])
    return path.read_bytes()


@pytest.fixture
def path(content: bytes, tmp_path: Path) -> Path:
    (tmp_path / "run.db").write_bytes(content)
    return tmp_path / "run.db"


def settings(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    with closing(sqlite3.connect(path)) as connection:
        ((text,),) = connection.execute("SELECT value FROM meta WHERE key = 'settings'")
    known = json.loads(text)
    change(known)
    edit(path, "UPDATE meta SET value = ? WHERE key = 'settings'", json.dumps(known))


def faults(path: Path, readout: Readout = READOUT) -> list[str]:
    with geom.open_run(path) as run:
        return [str(fault) for fault in geom.verify(run, readout).faults]


# The campaign


@pytest.mark.parametrize("number", range(len(edited_runs.EDITS)))
def test_an_edit_is_found_where_it_is_untrue_and_accepted_where_it_is_true(number: int) -> None:
    case = edited_runs.draw(np.random.default_rng([0, number]), number)
    assert case.failure is None, case.kind


def test_there_are_more_edits_than_forty() -> None:
    names = {edit.__name__ for edit in edited_runs.EDITS}
    assert len(names) == len(edited_runs.EDITS) > 40 + len(edited_runs.TRUE)


# One thing each


def test_the_run_as_it_was_made_holds(path: Path) -> None:
    with geom.open_run(path) as run:
        found = geom.verify(run, READOUT)
    assert (found.ok, found.confirmed) == (True, {"speakable": 3, "unspeakable": 4})


EDITS: dict[str, tuple[str, str]] = {
    "a text": (
        "UPDATE tokens SET token = 'z' WHERE token_id = 1",
        """token 1: its text is "z", and the model's tokenizer has "b\"""",
    ),
    "a kind": (
        "UPDATE tokens SET token_kind = 'byte' WHERE token_id = 1",
        """token 1: its text is "b" byte, and the model's tokenizer has "b\"""",
    ),
    "the text of a winner": (
        "UPDATE tokens SET argmax = NULL WHERE token_id = 4",
        """token 4: the text of its winner is -, and the model's tokenizer has "a\"""",
    ),
    "the kind of a winner": (
        "UPDATE tokens SET argmax_kind = 'added' WHERE token_id = 4",
        """token 4: the text of its winner is "a" added, and the model's tokenizer has "a\"""",
    ),
    "a winner": (
        "UPDATE tokens SET argmax_id = 3 WHERE token_id = 4",
        "token 4: argmax_id is 3, and along its own direction 0 wins",
    ),
    "self_argmax": (
        "UPDATE tokens SET self_argmax = 0 WHERE token_id = 1",
        "token 1: self_argmax is False, and along its own direction 1 wins",
    ),
    "a flag that is taken": (
        "UPDATE tokens SET flagged_by = '[]' WHERE token_id = 4",
        "token 4: flagged_by is wrong: self-argmax flags it",
    ),
    "a flag that is made up": (
        """UPDATE tokens SET flagged_by = '["self-argmax"]' WHERE token_id = 1""",
        "token 1: flagged_by is wrong: self-argmax does not flag it",
    ),
    "a detector that is made up": (
        """UPDATE tokens SET flagged_by = '["hull-vertex"]' WHERE token_id = 1""",
        'token 1: flagged_by is not a list of the run\'s detectors: "hull-vertex"',
    ),
    "a twin that is made up": (
        "UPDATE tokens SET note = 'same row and bias as token 2' WHERE token_id = 1",
        "token 1: its note names [2] as its twin, and it has none",
    ),
    "a twin that is hidden": (
        "UPDATE tokens SET note = NULL WHERE token_id = 6",
        "token 6: its note names no token as its twin, and that is token 0",
    ),
    "a verdict whose evidence is kept": (
        "UPDATE tokens SET verdict = 'undecided', proof = NULL, margin_lower = NULL, "
        "margin_upper = NULL, probability_upper = NULL WHERE token_id = 5",
        "token 5: it is called undecided, and its evidence proves it unspeakable",
    ),
    "an endless margin": (
        "UPDATE tokens SET margin_lower = 9e999 WHERE token_id = 1",
        "token 1: ",
    ),
    "a probability of weights": (
        "UPDATE tokens SET probability_upper = 0.01 WHERE token_id = 4",
        "token 4: the stored weights do not prove probability_upper 0.01",
    ),
    "a probability of a twin": (
        "UPDATE tokens SET probability_upper = 0.4999 WHERE token_id = 6",
        "token 6: the stored weights do not prove probability_upper 0.4999",
    ),
    "a probability that is taken": (
        "UPDATE tokens SET probability_upper = NULL WHERE token_id = 4",
        "token 4: it is unspeakable and yet claims no probability_upper of 1/2 or less",
    ),
    "a probability above a half": (
        "UPDATE tokens SET probability_upper = 0.75 WHERE token_id = 4",
        "token 4: it is unspeakable and yet claims no probability_upper of 1/2 or less",
    ),
    "a probability of nothing": (
        "UPDATE tokens SET probability_upper = 0.0 WHERE token_id = 4",
        "token 4: it is unspeakable and yet claims no probability_upper of 1/2 or less",
    ),
    "a probability of a speakable token": (
        "UPDATE tokens SET probability_upper = 0.5 WHERE token_id = 1",
        "token 1: it is speakable, and has a probability_upper as if unspeakable",
    ),
    "a measure": (
        "UPDATE measures SET value = 0.25, error = 0.0 "
        "WHERE token_id = 1 AND measure = 'angular-margin'",
        "token 1: angular-margin: it is 0.25, ± 0.0, and its evidence proves 0.",
    ),
    "a measure of what cannot be said": (
        "UPDATE measures SET value = 1.0 WHERE token_id = 4 AND measure = 'chebyshev-radius'",
        "token 4: chebyshev-radius: it is 1.0, ± 0.0, and its evidence proves 0.0 to 0.0",
    ),
    "a rank that is too bad": (
        "UPDATE measures SET value = 9.0, error = 0.0 WHERE token_id = 4 AND measure = 'best-rank'",
        "token 4: best-rank: it is 9.0, ± 0.0, and its evidence proves ",
    ),
    "a threshold that is too low": (
        "UPDATE measures SET value = 0.5, error = 0.0 WHERE token_id = 1 AND measure = 'min-p'",
        "token 1: min-p: it is 0.5, ± 0.0, and its evidence proves 1.0 to 1.0",
    ),
    "how ties count in a rank": (
        """UPDATE measures SET options = '{"ties": "sideways"}' """
        "WHERE token_id = 4 AND measure = 'best-rank'",
        "token 4: best-rank: option measure.best-rank.ties=sideways: ",
    ),
    "the evidence of a measure": (
        "UPDATE measures SET weights = NULL, indices = NULL "
        "WHERE token_id = 1 AND measure = 'perturbation'",
        "token 1: perturbation: it is ",
    ),
    "a measure called an estimate": (
        "UPDATE measures SET proven = 0 WHERE token_id = 1 AND measure = 'logit-bias'",
        "token 1: logit-bias: it is called an estimate, and its evidence proves ",
    ),
    "a measure without its number": (
        "UPDATE measures SET value = NULL WHERE token_id = 1 AND measure = 'logit-bias'",
        "token 1: logit-bias: it has no number, and its evidence proves ",
    ),
    "a unit": (
        "UPDATE measures SET unit = 'degrees' WHERE token_id = 1 AND measure = 'angular-margin'",
        """token 1: angular-margin: its unit is "degrees", and the measure's is radians""",
    ),
    "the text of a measure": (
        "UPDATE measures SET token = 'z' WHERE token_id = 1 AND measure = 'angular-margin'",
        """token 1: angular-margin: the token's text is "z", and the model's tokenizer has "b\"""",
    ),
    "a measure outside the vocabulary": (
        "UPDATE measures SET token_id = 7 WHERE token_id = 4 AND measure = 'angular-margin'",
        'token 7: "angular-margin" is measured outside the vocabulary',
    ),
    "an option of a measure": (
        """UPDATE measures SET options = '{"gap": -1}' """
        "WHERE token_id = 1 AND measure = 'angular-margin'",
        "token 1: angular-margin: option measure.angular-margin.gap=-1: ",
    ),
    "a row": (
        "DELETE FROM tokens WHERE token_id = 2",
        "it has no row of token 2, asked for by its settings",
    ),
    "rows": (
        "DELETE FROM tokens WHERE verdict = 'unspeakable'",
        "it has no row of tokens 0,4-6, asked for by its settings",
    ),
}


@pytest.mark.parametrize(("statement", "said"), EDITS.values(), ids=EDITS.keys())
def test_one_thing_that_was_edited_is_named_in_one_line(
    statement: str, said: str, path: Path
) -> None:
    edit(path, statement)
    (fault,) = faults(path)
    assert fault.startswith(said)
    assert "\n" not in fault


SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "V": ({"V": 8}, 'its V is "8", and the model\'s is 7'),
    "V as a float": ({"V": 7.0}, ""),
    "tokens": ({"tokens": "0-5"}, "it has a row of token 6, which its settings do not ask for"),
    "tokens in another form": (
        {"tokens": "0,1,2-6"},
        """its tokens are "'0,1,2-6'", which is not a list that a run writes""",
    ),
    "tokens in a file": ({"tokens": "@/etc/passwd"}, """its tokens are "'@/etc/passwd'", which"""),
    "a key": ({"token": "all"}, 'its settings are not those that a run writes: "token"'),
    "detectors": (
        {"detectors": {"self-argmax": {"memory_mib": 0}}},
        "its settings cannot be used: option detector.self-argmax.memory_mib=0: ",
    ),
}


@pytest.mark.parametrize(("change", "said"), SETTINGS.values(), ids=SETTINGS.keys())
def test_a_setting_that_was_edited_is_named(change: dict[str, Any], said: str, path: Path) -> None:
    settings(path, lambda known: known.update(change))
    try:
        found = faults(path)
    except StoreError as error:
        found = [str(error)]
    assert any(fault.startswith(said) for fault in found)


def test_another_domain_than_the_models_own_is_said_first(command: Command, path: Path) -> None:
    np.savez(path.parent / "w.npz", W=W)
    with geom.run("npz:w.npz?norm=rmsnorm", domain="box", tokens="all", out=path.parent / "b.db"):
        pass
    done = command("verify", "b.db")
    assert done.code == 0
    assert (
        "that box(radius=1.0) is the domain to ask about, where the model's own is rmsnorm"
        in (done.out.splitlines()[0])
    )


def test_candidates_are_searched_for_again(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    geom.run(READOUT, out=path).close()
    assert faults(path) == []
    edit(path, "DELETE FROM tokens WHERE token_id = 5")
    assert faults(path) == ["it has no row of token 5, asked for by its settings"]


def test_what_is_not_checked_is_said(path: Path) -> None:
    without = Readout.fold(W, norm="rmsnorm", source="npz:bare.npz")
    with geom.open_run(path, READOUT) as run:
        geom.measure(run, "row-norm", [1])
        found = geom.verify(run, without)
    assert found.ok
    assert found.unchecked == (
        "texts and kinds of tokens, as npz:bare.npz has no tokenizer",
        "the measure row-norm, where it is an estimate",
        "that its own name of the model loads these weights",
        "names of certifiers, times, versions and notes",
    )
    edit(path, "UPDATE measures SET measure = 'distance' WHERE measure = 'row-norm'")
    with geom.open_run(path) as run:
        assert (
            'the measure "distance", which is not installed' in geom.verify(run, READOUT).unchecked
        )


def test_the_command_says_first_what_it_does_not_check(command: Command, path: Path) -> None:
    np.savez("w.npz", W=W)
    done = command("verify", "run.db", "--model", "npz:w.npz?norm=rmsnorm")
    first, second, last = done.out.splitlines()
    assert first.startswith(
        "not checked: texts and kinds of tokens, as npz:w.npz?norm=rmsnorm has "
    )
    assert second == "checked: npz:w.npz?norm=rmsnorm, V = 7, d = 2, domain rmsnorm, tokens all"
    assert (done.code, [last]) == (0, HELD)


# A run that goes on


@pytest.mark.parametrize("tokens", ["all", "0-2,5", "candidates"])
def test_a_run_that_goes_on_notices_rows_that_are_gone(
    tokens: str, command: Command, tmp_path: Path
) -> None:
    np.savez("w.npz", W=W)
    words = ("run", "--model", "npz:w.npz", "--tokens", tokens, "--out", "run.db")
    words = (*words, "--fail-on", "unspeakable")
    assert command(*words).code == 1
    assert command(*words).code == 1
    edit(tmp_path / "run.db", "DELETE FROM tokens WHERE verdict = 'unspeakable'")
    done = command(*words)
    assert (done.code, done.err.count("is an edited or damaged run: it has no row of token")) == (
        2,
        1,
    )
    assert "Traceback" not in done.err


def test_a_run_that_goes_on_notices_rows_too_many(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    geom.run(READOUT, tokens="0-2", out=path).close()
    edit(path, "INSERT INTO tokens (token_id, flagged_by) VALUES (5, '[]')")
    with pytest.raises(StoreError, match="a row of token 5, which its settings do not ask for"):
        geom.run(READOUT, tokens="0-2", out=path)


def test_a_detector_that_cannot_be_asked_again_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    asked = {"detectors": ["random-directions"], "out": path}
    geom.run(READOUT, **asked).close()  # type: ignore[arg-type]
    geom.run(READOUT, **asked).close()  # type: ignore[arg-type]
    with geom.open_run(path) as run:
        assert 'which tokens "random-directions" flags' in geom.verify(run, READOUT).unchecked


# Measures and what proves them


def measured(readout: Readout, domain: str, names: tuple[str, ...]) -> list[MeasureRow]:
    with geom.run(readout, tokens="all", domain=domain) as run:
        found = list(geom.measure(run, names, "all"))
        checked = geom.verify(run, readout)
    assert [str(fault) for fault in checked.faults] == []
    assert not any("measure" in what for what in checked.unchecked)
    return found


@pytest.mark.parametrize("domain", ["layernorm", "rmsnorm", "box", "unbounded"])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_number_that_is_proven_is_proven_again_from_what_a_run_keeps(
    domain: str, biased: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((14, 3))
    rows[-1], rows[-2] = rows[0], rows[:4].mean(axis=0)
    b = rng.standard_normal(14) * 0.5 if biased else None
    names = MEASURES[1:] if domain == "box" and biased else MEASURES
    found = measured(Readout.fold(rows, b), domain, names)
    assert sum(row.proven for row in found) >= 0.7 * len(found)
    assert {math.isinf(row.value) for row in found if row.value is not None} <= {False, True}


def test_a_token_without_rivals_is_proven_again() -> None:
    found = measured(Readout.fold(np.ones((1, 2))), "rmsnorm", MEASURES)
    assert all(row.proven for row in found)


def test_a_share_is_proven_only_where_the_token_wins_nowhere() -> None:
    W = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    with geom.run(Readout.fold(W), tokens="all", domain="rmsnorm") as run:
        found = list(geom.measure(run, "solid-angle", "all"))
        checked = geom.verify(run, Readout.fold(W))
    assert [row.proven for row in found] == [False, False, True]
    assert found[2].value == -math.inf
    assert isinstance(found[2].weights, Weights)
    assert checked.ok


def test_a_share_of_which_all_drawn_points_are_part_is_no_proof() -> None:
    """All but some 2e-9 of directions; of 4,096 drawn all are inside."""
    W = np.zeros((2, 12))
    W[1, 0] = 1.0
    readout = Readout.fold(W, [0.0, -3.3])
    (found,) = geom.measure(readout, "solid-angle", [0], domain="rmsnorm")
    assert (found.value, found.proven) == (0.0, False)
    assert found.error is not None
    assert found.error > 1e-5
