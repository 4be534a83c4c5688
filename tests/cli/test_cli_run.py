"""``geom run``, flag by flag, on a square's corners and a point inside, whose rows are known."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import geom
from geom.cli import main
from support.command import GEOM, Command, Done, environment, install, separately

SQUARE = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [0.25, 0.5]])
INSIDE = 4
FIELDS = [
    *("token_id", "token", "self_argmax", "argmax_id", "argmax", "flagged_by", "verdict", "proof"),
    *("certifier", "margin_lower", "margin_upper", "seconds", "note", "token_kind"),
    "probability_upper",
]
MODEL = ("--model", "npz:square.npz")
RUN = ("run", *MODEL, "--out", "run.db", "--format", "jsonl")

WAITING = """
import time
from pathlib import Path

from geom import Certifier, Finding, NoOptions, hookimpl

def certify(problem, token, prior, options):
    while token > 0 and not Path("go").exists():
        time.sleep(0.01)
    return Finding(x=problem.readout.W[token])

@hookimpl
def geom_certifiers():
    yield Certifier("waiting", "waits for a file at every token but the first", certify, NoOptions)
"""


@pytest.fixture(autouse=True)
def square(tmp_path: Path) -> Path:
    """Write the square as a file in the test's folder."""
    path = tmp_path / "square.npz"
    np.savez(path, W=SQUARE)
    return path


def examined(done: Done) -> list[int]:
    return [row["token_id"] for row in done.rows]


# Output


def test_all_tokens_are_decided_as_geometry_says(command: Command) -> None:
    done = command(*RUN, "--tokens", "all")
    verdicts = ["unspeakable" if t == INSIDE else "speakable" for t in range(5)]
    assert (done.code, [row["verdict"] for row in done.rows]) == (0, verdicts)


def test_a_jsonl_row_has_the_fields_of_the_contract(command: Command) -> None:
    for row in command(*RUN, "--tokens", "all").rows:
        assert list(row) == FIELDS


def test_a_jsonl_row_says_what_is_known_by_hand(command: Command) -> None:
    (row,) = command(*RUN).rows
    assert row.pop("margin_lower") == row.pop("margin_upper") == 0  # all tie at x = 0
    assert 1 / 5 <= row.pop("probability_upper") <= 1 / 2  # at x = 0 all five are as likely
    assert row.pop("seconds") > 0
    assert row.pop("proof") in ("interior", "rational")
    assert row == {
        "token_id": INSIDE,
        "token": None,
        "self_argmax": False,
        "argmax_id": 0,
        "argmax": None,
        "flagged_by": ["self-argmax"],
        "verdict": "unspeakable",
        "certifier": "shared-step",
        "note": None,
        "token_kind": None,
    }


def test_margins_are_bounds_on_the_closed_form(command: Command) -> None:
    # over the unit ball the corner (1, 1) wins by most along its difference from (1/4, 1/2)
    row = command(*RUN, "--tokens", "0").rows[0]
    largest = float(np.linalg.norm(SQUARE[0] - SQUARE[INSIDE]))
    assert 0 < row["margin_lower"] <= largest
    assert row["margin_upper"] is None or largest <= row["margin_upper"]


def test_the_table_counts_and_names_the_file(command: Command) -> None:
    done = command(*RUN[:-1], "table", "--tokens", "all")
    assert re.search(r"^4 +speakable", done.out, re.MULTILINE)
    assert re.search(r"^1 +unspeakable", done.out, re.MULTILINE)
    assert "geom verify run.db" in done.out


def test_the_table_is_the_default(command: Command) -> None:
    assert re.search(r"^1 +unspeakable", command(*RUN[:-2]).out, re.MULTILINE)


def test_a_long_table_is_cut_with_a_pointer_to_show(command: Command, tmp_path: Path) -> None:
    np.save(tmp_path / "many.npy", np.random.default_rng(0).normal(size=(60, 8)))
    arguments = ("--tokens", "all", "--certifier", "none", "--out", "many.db")
    out = command("run", "--model", "npz:many.npy", *arguments).out
    assert len(re.findall(r"^ *\d+ +- +undecided ", out, re.MULTILINE)) == 40
    assert "20 more: geom show many.db" in out


def test_progress_goes_to_standard_error(command: Command) -> None:
    done = command(*RUN, "--opening", "no")
    assert ("self-argmax" in done.err, "certify" in done.err) == (True, True)
    assert "certify" not in done.out


def test_in_a_process_of_its_own_jsonl_is_all_there_is(square: Path) -> None:
    run = ("run", "--model", f"npz:{square}", "--out", str(square.with_name("run.db")))
    done = separately(*run, "--tokens", "all", "--format", "jsonl")
    assert (done.code, examined(done)) == (0, [0, 1, 2, 3, 4])


def test_the_command_is_installed_as_geom(tmp_path: Path) -> None:
    executable = Path(GEOM[0]).with_name("geom")
    done = subprocess.run([executable, "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"geom \d+\.\d+\S*\n", done.stdout)


# Exit codes


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], 0),
        (["--fail-on", "unspeakable"], 1),
        (["--fail-on", "undecided"], 0),
        (["--fail-on", "unspeakable", "--tokens", "0-3"], 0),
        (["--fail-on", "unspeakable", "--certifier", "none"], 1),
        (["--fail-on", "undecided", "--certifier", "none"], 1),
    ],
)
def test_fail_on_turns_a_verdict_into_the_exit_code(
    arguments: list[str], code: int, command: Command
) -> None:
    done = command(*RUN, *arguments)
    assert (done.code, bool(done.rows)) == (code, True)


def test_fail_on_counts_what_an_earlier_call_decided(command: Command) -> None:
    assert command(*RUN).code == 0
    assert command(*RUN, "--fail-on", "unspeakable").code == 1


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_the_commands(arguments: list[str], command: Command) -> None:
    done = command(*arguments)
    assert (done.code, done.err) == (0, "")
    for name in ("run", "show", "diff", "repair", "export", "verify", "plugins"):
        assert re.search(rf"^  {name} +[A-Z].*\.$", done.out, re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        (
            "run",
            "model detector certifier domain tokens config device executor opening out fail-on "
            "ignore baseline format",
        ),
        ("show", "verdict token"),
        ("diff", "format limit fail-on ignore force"),
        ("repair", "out model tokens margin at-most seed format"),
        ("export", "format out which"),
        ("verify", "model"),
        ("plugins", "format"),
    ],
)
def test_help_of_a_command_lists_its_flags(name: str, flags: str, command: Command) -> None:
    done = command(name, "--help")
    assert done.code == 0
    assert all(f"--{flag} " in done.out for flag in flags.split())


# Which tokens


@pytest.mark.parametrize(
    ("spec", "ids"),
    [
        ("all", [0, 1, 2, 3, 4]),
        ("candidates", [INSIDE]),
        ("3", [3]),
        ("0,2-4", [0, 2, 3, 4]),
        ("2,2,1-2", [1, 2]),
        ("@ids.txt", [0, 1, 3]),
    ],
)
def test_tokens_are_those_asked_for(
    spec: str, ids: list[int], command: Command, tmp_path: Path
) -> None:
    (tmp_path / "ids.txt").write_text("3\n0-1\n")
    assert examined(command(*RUN, "--tokens", spec)) == ids


@pytest.mark.parametrize("spec", ["all", "0-4"])
def test_a_list_of_tokens_needs_no_detector(spec: str, command: Command) -> None:
    assert [row["flagged_by"] for row in command(*RUN, "--tokens", spec).rows] == [[]] * 5


def test_a_detector_beside_a_list_says_what_it_flags(command: Command) -> None:
    done = command(*RUN, "--tokens", "0,4", "--detector", "self-argmax")
    assert [row["flagged_by"] for row in done.rows] == [[], ["self-argmax"]]


def test_detectors_add_up(command: Command) -> None:
    (row,) = command(*RUN, "-d", "random-directions", "-d", "self-argmax").rows
    assert row["flagged_by"] == ["random-directions", "self-argmax"]


# Which certifiers, domains and options


def test_certifier_none_only_detects(command: Command) -> None:
    (row,) = command(*RUN, "--certifier", "none").rows
    assert (row["verdict"], row["proof"], row["certifier"]) == ("undecided", None, None)


def test_the_certifier_that_decided_is_named(command: Command) -> None:
    asked = (*RUN, "-c", "linprog-post", "-c", "highs", "--opening", "no")
    (row,) = command(*asked).rows
    assert (row["verdict"], row["certifier"]) == ("unspeakable", "highs")


def test_the_opening_is_named_where_it_decided(command: Command, tmp_path: Path) -> None:
    np.savez(tmp_path / "square.npz", W=[*SQUARE, SQUARE[2]])
    rows = command(*RUN, "--tokens", "0,2,4", "-c", "highs", "--hardest", "0").rows
    named = [(row["certifier"], row["verdict"]) for row in rows]
    assert named == [
        ("own-direction", "speakable"),
        ("twin", "unspeakable"),
        ("shared-step", "unspeakable"),
    ]
    assert [row["note"] for row in rows] == [None, "same row and bias as token 5", None]


@pytest.mark.parametrize(
    ("written", "flags", "opened"),
    [
        ("", [], True),
        ("", ["--opening", "no"], False),
        ("opening = false", [], False),
        ("opening = false", ["--opening", "yes"], True),
        ("opening = true", ["--opening", "no"], False),
    ],
)
def test_without_an_opening_all_is_left_to_the_chain(
    written: str, flags: list[str], opened: bool, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "geom.toml").write_text(written)
    asked = (*RUN, "-t", "all", "-c", "highs", "--config", "geom.toml", "--hardest", "0")
    rows = command(*asked, *flags).rows
    by_opening = {"own-direction", "shared-step"}
    assert {row["certifier"] for row in rows} == (by_opening if opened else {"highs"})
    with geom.open_run(tmp_path / "run.db") as run:
        assert run.settings["opening"] is opened


@pytest.mark.parametrize(
    ("arguments", "verdict"),
    [
        (["--domain", "unbounded"], "speakable"),
        (["--domain", "box"], "unspeakable"),
        (["--domain", "box", "-o", "domain.box.radius=4"], "speakable"),
        (["--domain", "box", "-o", "domain.box.radius=2"], "unspeakable"),
        (["--domain", "rmsnorm"], "unspeakable"),
        (["--domain", "layernorm"], "unspeakable"),
        (["--domain", "auto"], "speakable"),
        ([], "speakable"),
    ],
)
def test_the_domain_decides_where_a_token_may_win(
    arguments: list[str], verdict: str, command: Command, tmp_path: Path
) -> None:
    # token 1 wins only where x > 3
    np.savez(tmp_path / "square.npz", W=[[1.0], [2.0]], b=[0.0, -3.0])
    (row,) = command(*RUN, "--tokens", "1", *arguments).rows
    assert row["verdict"] == verdict


@pytest.mark.parametrize(("norm", "verdict"), [("none", "speakable"), ("rmsnorm", "unspeakable")])
def test_by_default_the_domain_is_what_the_norm_implies(
    norm: str, verdict: str, command: Command, tmp_path: Path
) -> None:
    np.savez(tmp_path / "line.npz", W=[[1.0], [2.0]], b=[0.0, -3.0])
    model = f"npz:line.npz?norm={norm}"
    (row,) = command("run", "-m", model, "-t", "1", "--out", "line.db", "--format", "jsonl").rows
    assert row["verdict"] == verdict


def test_options_reach_the_plugin(command: Command) -> None:
    # at the one point drawn, one token wins and the others are flagged
    arguments = ("-d", "random-directions", "-o", "detector.random-directions.samples=1")
    assert len(command(*RUN, *arguments, "-c", "none").rows) == 4


# Configuration files


def test_a_configuration_says_what_the_flags_say(command: Command, tmp_path: Path) -> None:
    (tmp_path / "geom.toml").write_text(
        'model = "npz:square.npz"\ndetectors = ["random-directions"]\ncertifiers = ["none"]\n'
        'out = "configured.db"\n\n[detector.random-directions]\nsamples = 1\n'
    )
    done = command("run", "--config", "geom.toml", "--format", "jsonl")
    assert [row["flagged_by"] for row in done.rows] == [["random-directions"]] * 4
    assert (tmp_path / "configured.db").exists()


def test_flags_win_over_the_configuration(command: Command, tmp_path: Path) -> None:
    (tmp_path / "geom.toml").write_text(
        'model = "npz:absent.npz"\ncertifiers = ["none"]\ntokens = "0"\nout = "configured.db"\n'
        "[domain.box]\nradius = 1\n"
    )
    flags = ("--tokens", "4", "--certifier", "highs", "--domain", "box", "--opening", "no")
    (row,) = command(*RUN, "--config", "geom.toml", *flags, "-o", "domain.box.radius=2").rows
    assert (row["token_id"], row["certifier"]) == (INSIDE, "highs")
    assert not (tmp_path / "configured.db").exists()
    with geom.open_run(tmp_path / "run.db") as run:
        assert run.settings["domain"]["size"] == "2"


# Running again


def test_the_same_command_answers_from_the_file(command: Command) -> None:
    first, again = command(*RUN, "--tokens", "all"), command(*RUN, "--tokens", "all")
    assert (again.code, again.rows) == (0, first.rows)
    assert "self-argmax" not in again.err


@pytest.mark.parametrize(
    ("arguments", "difference"),
    [
        (["--tokens", "all"], "tokens"),
        (["--domain", "box"], "domain"),
        (["--certifier", "none"], "certifiers"),
        (["--opening", "no"], "opening"),
        (["--detector", "random-directions"], "detectors"),
        (["-o", "certifier.highs.add=3"], "certifiers"),
        (["--model", "npz:square.npz?layout=dv", "--tokens", "0"], "digest"),
    ],
)
def test_other_settings_to_the_same_file_are_refused(
    arguments: list[str], difference: str, command: Command, tmp_path: Path
) -> None:
    command(*RUN)
    kept = (tmp_path / "run.db").read_bytes()
    asked = RUN if "--model" not in arguments else [word for word in RUN if word not in MODEL]
    done = command(*asked, *arguments)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert (difference in done.err, "give another --out" in done.err) == (True, True)
    assert (tmp_path / "run.db").read_bytes() == kept


def test_without_out_other_settings_have_another_file(command: Command, tmp_path: Path) -> None:
    run = ("run", "--model", "npz:square.npz", "--certifier", "none")
    for arguments in ([], ["--tokens", "all"], ["--domain", "box"], ["-d", "random-directions"]):
        command(*run, *arguments)
    command(*run)
    assert len(list(tmp_path.glob("geom-npz-*.db"))) == 4


def test_a_run_states_what_memory_it_takes_where_that_is_much(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "memory" not in command(*RUN, "--tokens", "0").err
    monkeypatch.setattr("geom.cli.one_model.STATED", 1)
    stated = command(*RUN, "--tokens", "1", "--out", "other.db").err
    assert re.match(r"geom: memory: about [0-9.]+ [KM]iB; [0-9.]+ GiB available\n", stated)


def test_an_interrupted_run_leaves_130_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    install(tmp_path, "waiting-geom", WAITING)
    arguments = (*RUN, "--tokens", "all", "--certifier", "waiting", "--opening", "no")
    arguments += ("--hardest", "0")
    with subprocess.Popen(
        [*GEOM, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(tmp_path),
        text=True,
    ) as process:
        first = wait_for_a_row(tmp_path / "run.db")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "the same command goes on from run.db" in err
    assert "Traceback" not in err
    (tmp_path / "go").touch()
    done = separately(*arguments, python_path=tmp_path)
    assert (done.code, examined(done)) == (0, [0, 1, 2, 3, 4])
    assert done.rows[0]["seconds"] == first


def wait_for_a_row(path: Path) -> float:
    """Return the seconds that the first token took, once the file has them."""
    for _ in range(6000):
        try:
            with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
                query = "SELECT seconds FROM tokens WHERE verdict IS NOT NULL"
                for (seconds,) in connection.execute(query):
                    return float(seconds)
        except sqlite3.OperationalError:
            pass
        finally:
            time.sleep(0.01)
    raise TimeoutError(path)


def test_an_interrupted_run_is_shown_as_unfinished(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> object:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("geom.runs.pipeline._outcomes", interrupt)
        assert command(*RUN, "--tokens", "all", "--opening", "no").code == 130
    assert re.search(r"^5 +not examined yet", command("show", "run.db").out, re.MULTILINE)
    assert len(command(*RUN, "--tokens", "all", "--opening", "no").rows) == 5


# Strangers' plugins


def test_a_broken_plugin_is_one_line_and_the_run_goes_on(square: Path, tmp_path: Path) -> None:
    install(tmp_path, "broken-geom", "raise RuntimeError('the \\x1b[2J moon')")
    run = ("run", "--model", f"npz:{square}", "--out", str(tmp_path / "run.db"))
    done = separately(*run, "--format", "jsonl", python_path=tmp_path)
    (line,) = [line for line in done.err.splitlines() if "broken-geom" in line]
    assert (done.code, len(done.rows)) == (0, 1)
    assert r"the \u001b[2J moon" in line


def test_importing_the_command_line_is_all_that_help_needs() -> None:
    slow = ("numpy", "scipy", "highspy", "pyarrow", "tokenizers")
    code = f"""
import sys
from geom.cli import main
try:
    main(["run", "--help"])
except SystemExit:
    print([name for name in {slow} if name in sys.modules])
"""
    done = subprocess.run([GEOM[0], "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_main_takes_its_arguments_from_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["geom", "plugins", "--format", "json"])
    with pytest.raises(SystemExit) as leaving:
        main()
    assert leaving.value.code == 0
    assert json.loads(capsys.readouterr().out)
