"""``assert_speakable``: a test fails for a model with dead tokens, and says which."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import geom
from geom import InputError, Readout
from geom.testing import assert_speakable
from support.gated_models import save_model

SQUARE = [[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]
DEAD = Readout.fold([*SQUARE, [0.1, 0.2], [0.3, 0.1]], tokens=["a", "b", "c", "d", " e", "\x1b[2J"])


@pytest.fixture
def model(own_folder: Path) -> str:
    return save_model("toy")


def message(*arguments: object, **named: object) -> str:
    with pytest.raises(AssertionError) as caught:
        assert_speakable(*arguments, **named)  # type: ignore[arg-type]
    return str(caught.value)


def test_a_model_that_can_say_all_passes() -> None:
    assert_speakable(Readout.fold(SQUARE))
    assert_speakable(DEAD, tokens=range(4))


def test_the_message_names_the_tokens() -> None:
    assert message(DEAD) == ('python:\n2 tokens are unspeakable: 4 " e", 5 "\\u001b[2J"')


def test_kinds_are_left_out(model: str) -> None:
    said = message(model)
    assert said.startswith(f"{model}:\n4 tokens are unspeakable: 4 ")
    assert 'is unspeakable: 4 "e" (' in message(model, ignore="special, added,padding")
    assert 'is unspeakable: 4 "e" (' in message(model, ignore=["special", "added", "padding"])
    assert_speakable(model, ignore=["special", "added", "padding"], tokens="0-3,5-6")


def test_padding_that_can_win_fails_if_asked_for(model: str) -> None:
    assert_speakable(model, fail_on="undecided")
    assert "1 token is speakable padding: 7" in message(model, fail_on="speakable-padding")


def test_what_a_baseline_has_passes(model: str) -> None:
    with geom.run(model, out="before.db") as before:
        assert_speakable(model, baseline="before.db")
        assert_speakable(model, baseline=before)


def test_a_run_is_judged_as_it_is(model: str) -> None:
    with geom.run(model, tokens="0-4") as run:
        assert "1 token is unspeakable" in message(run)
        assert len(run) == 5


def test_nothing_proven_is_no_pass() -> None:
    assert "nothing was proven: it has no certifier" in message(DEAD, certifiers=[])
    assert "nothing was proven" in message(
        DEAD, tokens=range(4), certifiers=[], fail_on="undecided"
    )


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ({"ignore": "specials"}, "did you mean 'special'"),
        ({"fail_on": "dead"}, "unknown finding to fail on 'dead'"),
        ({"fail_on": ()}, "watches for nothing"),
        ({"baseline": "absent.db"}, "the baseline absent.db does not exist"),
    ],
)
def test_what_cannot_be_asked_is_an_input_error(named: dict[str, object], why: str) -> None:
    with pytest.raises(InputError, match=why):
        assert_speakable(DEAD, **named)  # type: ignore[arg-type]


def test_pytest_shows_the_tokens_and_not_the_code_of_geom(own_folder: Path) -> None:
    Path("test_model.py").write_text(
        "import geom\nfrom geom.testing import assert_speakable\n\n"
        "def test_it():\n"
        "    rows = [[1, 1], [1, -1], [-1, 1], [-1, -1], [0, 0.5]]\n"
        "    assert_speakable(geom.Readout.fold(rows, tokens=list('abcde')))\n"
    )
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_model.py"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'E       1 token is unspeakable: 4 "e"' in done.stdout
    assert "gate.checks" not in done.stdout
