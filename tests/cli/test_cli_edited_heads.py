"""``?cast``, ``?new`` and ``?rows`` on the command line: run, go on, show, verify, export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import geom
from support.command import Command

W = np.concatenate([np.eye(4), -np.eye(4), [[0.1, 0.1, 0.0, 0.0]], [[0.1, 0.11, 0, 0]]])
"""Eight corners, and two rows inside whose 8-bit forms are equal to no other."""

SPEAKABLE = [2.0, 2.0, 0.0, 0.0]


@pytest.fixture(autouse=True)
def weights(own_folder: Path) -> None:
    np.savez("w.npz", W=W.astype(np.float32))
    rows = np.array([SPEAKABLE], np.float32)
    safetensors.numpy.save_file({"ids": np.array([8]), "rows": rows}, "rows.safetensors")


@pytest.mark.parametrize(
    ("query", "V", "unspeakable"),
    [
        ("cast=int8-row", 10, {8, 9}),
        ("new=2&init=mean", 12, {8, 9, 10, 11}),
        ("new=1&init=copy:0", 11, {0, 8, 9, 10}),
        ("rows=rows.safetensors", 10, {9}),
        ("new=1&init=zeros&rows=rows.safetensors&cast=bfloat16", 11, {9, 10}),
    ],
)
def test_a_run_names_the_head_it_is_of_and_everything_finds_it_again(
    query: str, V: int, unspeakable: set[int], command: Command
) -> None:
    model = f"npz:w.npz?{query}"
    done = command(
        "run", "--model", model, "--tokens", "all", "--out", "run.db", "--format", "jsonl"
    )
    assert done.code == 0
    found = {row["token_id"] for row in done.rows if row["verdict"] == "unspeakable"}
    assert (len(done.rows), found) == (V, unspeakable)
    checked = command("verify", "run.db")
    assert checked.code == 0
    assert f"checked: {model}, V = {V}," in checked.out
    again = command("run", "--model", model, "--tokens", "all", "--out", "run.db")
    assert again.code == 0
    shown = command("show", "run.db")
    assert shown.code == 0
    assert model in shown.out
    assert geom.load(model).notes[-1] in " ".join(shown.out.split())
    other = command("run", "--model", "npz:w.npz", "--tokens", "all", "--out", "run.db")
    assert other.code == 2
    assert command("verify", "run.db", "--model", "npz:w.npz").code == 1


def test_runs_of_one_model_in_several_formats_have_files_of_their_own(command: Command) -> None:
    for query in ("", "?cast=bfloat16", "?cast=int8-row", "?new=1"):
        assert command("run", "--model", f"npz:w.npz{query}", "--tokens", "all").code == 0
    assert len(list(Path().glob("*.db"))) == 4


def test_the_options_may_be_given_as_other_options_are(command: Command) -> None:
    done = command(
        "run", "-m", "npz:w.npz", "-o", "source.npz.cast=int8-row", "-t", "all", "--out", "run.db"
    )
    assert done.code == 0
    assert "npz:w.npz?cast=int8-row" in done.out
    assert command("verify", "run.db").code == 0


def test_a_cast_that_is_not_possible_is_one_line(command: Command) -> None:
    done = command("run", "--model", "npz:w.npz?cast=q8_0", "--out", "run.db")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "rows of 4 numbers do not fill blocks of 32" in done.err
    assert not Path("run.db").exists()


def test_what_is_done_in_python_can_be_verified_later(command: Command) -> None:
    readout = geom.load("npz:w.npz")
    geom.run(readout.cast("int8-row"), tokens="all", out="cast.db").close()
    geom.run(readout.with_new_rows(1, "normal:3", 7), tokens="all", out="new.db").close()
    geom.run(readout.without_bias(), tokens="all", out="bare.db").close()
    for name in ("cast.db", "new.db", "bare.db"):
        assert command("verify", name).code == 0
    geom.run(readout.with_rows([8], [SPEAKABLE]), tokens="all", out="rows.db").close()
    done = command("verify", "rows.db")
    assert done.code == 2
    assert "made from arrays in Python: name its weights" in done.err
    assert command("verify", "rows.db", "-m", "npz:w.npz?rows=rows.safetensors").code == 0
