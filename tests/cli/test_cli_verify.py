"""``geom verify``: runs as they were made, and runs forged with Python's own sqlite3."""

from __future__ import annotations

import io
import re
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import ArrayLike

import geom
from geom import Readout
from support.command import GEOM, Command

SQUARE = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [0.25, 0.5]])
INSIDE = 4


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a run of every token of the square: corners that can be said, and a point inside."""
    monkeypatch.chdir(tmp_path)
    np.savez("square.npz", W=SQUARE)
    path = tmp_path / "run.db"
    geom.run("npz:square.npz", tokens="all", opening=False, out=path).close()
    return path


def forge(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute(statement, values).rowcount > 0


def blob(array: ArrayLike) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


# Honest runs


def test_an_honest_run_holds(command: Command, run: Path) -> None:
    done = command("verify", "run.db")
    assert (done.code, done.out.splitlines()) == (
        0,
        [
            "not checked: names of certifiers, times, versions and notes",
            "checked: npz:square.npz, V = 5, d = 2, domain unbounded, tokens all",
            "holds: 4 speakable, 1 unspeakable; fails: 0",
        ],
    )
    assert "verify" in done.err


def test_an_honest_run_holds_with_the_same_weights_elsewhere(command: Command, run: Path) -> None:
    Path("square.npz").unlink()
    np.save("elsewhere.npy", SQUARE.T)
    done = command("verify", "run.db", "--model", "npz:elsewhere.npy?layout=dv")
    assert (done.code, "fails: 0" in done.out) == (0, True)


def test_a_run_without_a_verdict_does_not_hold(command: Command, run: Path) -> None:
    geom.run("npz:square.npz", tokens="all", certifiers=[], out="none.db").close()
    done = command("verify", "none.db")
    assert (done.code, done.out.splitlines()[2:]) == (
        1,
        [
            "BAD  no token has a verdict: there is nothing that could hold",
            "holds: nothing; undecided: 5; fails: 1",
        ],
    )


def test_a_run_whose_tokens_were_never_known_does_not_hold(command: Command, run: Path) -> None:
    forge(run, "DELETE FROM meta WHERE key = 'planned'")
    done = command("verify", "run.db")
    assert (done.code, "interrupted before its tokens were known" in done.out) == (1, True)


def test_a_run_of_candidates_of_which_there_are_none_holds(command: Command, run: Path) -> None:
    np.savez("corners.npz", W=SQUARE[:4])
    geom.run("npz:corners.npz", out="none.db").close()
    done = command("verify", "none.db")
    assert (done.code, done.out.splitlines()[-1]) == (0, "holds: nothing; fails: 0")
    geom.run("npz:corners.npz", detectors=["random-directions"], out="guess.db").close()
    done = command("verify", "guess.db")
    assert (done.code, "BAD  no token has a verdict" in done.out) == (1, True)
    assert 'which tokens "random-directions" flags' in done.out.splitlines()[0]


def test_what_is_not_examined_yet_is_counted(command: Command, run: Path) -> None:
    forge(run, "UPDATE tokens SET verdict = NULL WHERE token_id IN (0, 1)")
    done = command("verify", "run.db")
    assert (done.code, "BAD  not examined yet: 2; " in done.out) == (1, True)


def test_no_solver_is_called(run: Path) -> None:
    code = "import sys; sys.modules |= dict.fromkeys(['highspy', 'scipy', 'scipy.optimize'])\n"
    code += "from geom.cli import main; main(['verify', 'run.db'])"
    done = subprocess.run([GEOM[0], "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout[-9:]) == (0, "fails: 0\n")


def test_an_interrupt_leaves_130(
    command: Command, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("geom.exact.faults", interrupt)
    done = command("verify", "run.db")
    assert (done.code, done.err.splitlines()[-1]) == (130, "geom: interrupted")


# Forged runs


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        ("UPDATE tokens SET verdict = 'unspeakable', proof = 'interior' WHERE token_id = 0", ()),
        ("UPDATE tokens SET verdict = 'speakable', proof = 'witness' WHERE token_id = 4", ()),
        ("UPDATE tokens SET margin_lower = 1e3 WHERE token_id = 0", ()),
        ("UPDATE tokens SET margin_upper = -1e3 WHERE token_id = 4", ()),
        ("UPDATE evidence SET data = ? WHERE token_id = 0 AND kind = 'witness'", ([-1.0, -1.0],)),
        ("UPDATE evidence SET data = ? WHERE token_id = 0 AND kind = 'witness'", ([np.nan, 1.0],)),
        ("UPDATE evidence SET data = ? WHERE token_id = 0 AND kind = 'witness'", ([1.0],)),
        ("UPDATE evidence SET data = ? WHERE token_id = 4 AND name = 'values'", ([0.0, 0.0],)),
        ("UPDATE evidence SET data = ? WHERE token_id = 4 AND name = 'indices'", ([7, 8, 9],)),
        ("UPDATE evidence SET data = x'00' WHERE token_id = 0 AND kind = 'witness'", ()),
        ("DELETE FROM evidence WHERE token_id = 4", ()),
    ],
)
def test_a_forged_token_is_named_and_the_rest_holds(
    statement: str, values: tuple[ArrayLike, ...], command: Command, run: Path
) -> None:
    forge(run, statement, *map(blob, values))
    done = command("verify", "run.db")
    bad = re.findall(r"^BAD  token (\d+): .+$", done.out, re.MULTILINE)
    assert (done.code, f"fails: {len(bad)}" in done.out) == (1, True)
    assert set(bad) == {"4" if "token_id = 4" in statement else "0"}


def test_every_forged_token_is_named(command: Command, run: Path) -> None:
    forge(run, "UPDATE tokens SET margin_lower = 1e3 WHERE token_id IN (1, 2)")
    done = command("verify", "run.db")
    assert done.code == 1
    assert re.findall(r"^BAD  token (\d+): ", done.out, re.MULTILINE) == ["1", "2"]
    assert done.out.splitlines()[-1] == "holds: 2 speakable, 1 unspeakable; fails: 2"


def test_a_certificate_of_another_token_proves_nothing(command: Command, run: Path) -> None:
    forge(run, "DELETE FROM evidence WHERE token_id = 1")
    forge(run, "UPDATE evidence SET token_id = 1 WHERE token_id = 0 AND kind = 'witness'")
    done = command("verify", "run.db")
    assert (done.code, "holds: 2 speakable, 1 unspeakable; " in done.out) == (1, True)


def test_a_token_outside_the_vocabulary_is_a_fault(command: Command, run: Path) -> None:
    forge(run, "UPDATE tokens SET token_id = 77 WHERE token_id = 4")
    done = command("verify", "run.db")
    assert (done.code, "BAD  token 77: " in done.out) == (1, True)


# Other weights


@pytest.mark.parametrize("factor", [2.0, 1.0 + 2.0**-52])
def test_other_weights_confirm_nothing(factor: float, command: Command, run: Path) -> None:
    np.savez("square.npz", W=SQUARE * factor)
    done = command("verify", "run.db")
    (bad,) = done.out.splitlines()
    assert done.code == 1
    assert bad.startswith("BAD  the run was made with other weights than npz:square.npz")


def test_the_weights_can_be_named(command: Command, run: Path) -> None:
    np.savez("other.npz", W=SQUARE[::-1])
    done = command("verify", "run.db", "--model", "npz:other.npz")
    assert (done.code, "other weights than npz:other.npz" in done.out) == (1, True)


def test_a_swapped_digest_does_not_make_other_weights_pass(command: Command, run: Path) -> None:
    np.savez("square.npz", W=SQUARE[::-1])
    with geom.open_run(run) as opened:
        digest = opened.settings["digest"]
    statement = "UPDATE meta SET value = replace(value, ?, ?) WHERE key = 'settings'"
    forge(run, statement, digest, geom.load("npz:square.npz").digest)
    done = command("verify", "run.db")
    assert (done.code, "BAD  token 4: " in done.out) == (1, True)


def test_weights_that_are_gone_are_named(command: Command, run: Path) -> None:
    Path("square.npz").unlink()
    done = command("verify", "run.db")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "square.npz does not exist" in done.err


def test_a_run_made_in_python_asks_for_its_weights(command: Command, run: Path) -> None:
    geom.run(Readout.fold(SQUARE), tokens="all", out="python.db").close()
    done = command("verify", "python.db")
    assert (done.code, "made from arrays in Python" in done.err) == (2, True)
    assert command("verify", "python.db", "--model", "npz:square.npz").code == 0


def test_nothing_in_a_forged_run_acts_on_the_terminal(command: Command, run: Path) -> None:
    forge(run, "UPDATE meta SET value = ? WHERE key = 'model'", '"npz:\\u001b[2J"')
    done = command("verify", "run.db")
    assert (done.code, "\x1b" in done.out + done.err) == (2, False)
