"""``geom export``: the rows of a run, read back with json, csv and pyarrow."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

import geom
from geom import Readout
from support.command import Command, install, separately

W = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [0.25, 0.5]])
TEXTS = [" ünï", "two\nlines", None, 'a,"b"', "日本"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Write a run with both verdicts, tokens that need quoting, and one without a text."""
    path = tmp_path / "run.db"
    options: dict[str, Any] = {"tokens": "all", "detectors": ["self-argmax", "random-directions"]}
    geom.run(Readout.fold(W, tokens=TEXTS), out=path, **options).close()
    return path


def rows(path: Path) -> list[dict[str, Any]]:
    with geom.open_run(path) as run:
        return [row.as_dict() for row in run.rows()]


def test_jsonl_to_standard_output_is_the_default(command: Command, run: Path) -> None:
    done = command("export", "run.db")
    assert (done.code, done.err, done.rows) == (0, "", rows(run))


def test_jsonl_is_utf8_and_one_line_a_token(command: Command, run: Path) -> None:
    command("export", "run.db", "--out", "rows.jsonl")
    lines = Path("rows.jsonl").read_bytes().decode("utf-8").split("\n")
    assert [json.loads(line) for line in lines[:-1]] == rows(run)
    assert (len(lines), lines[-1], "日本" in lines[4]) == (6, "", True)


def test_csv_says_the_same_in_text(command: Command, run: Path) -> None:
    out = command("export", "run.db", "--format", "csv").out
    found = list(csv.DictReader(io.StringIO(out, newline="")))
    expected = [
        {
            name: " ".join(value) if name == "flagged_by" else "" if value is None else str(value)
            for name, value in row.items()
        }
        for row in rows(run)
    ]
    assert found == expected


def test_parquet_holds_the_same_values_with_their_types(command: Command, run: Path) -> None:
    done = command("export", "run.db", "--format", "parquet", "--out", "rows.parquet")
    table = pyarrow.parquet.read_table("rows.parquet")
    assert (done.code, done.out, table.to_pylist()) == (0, "", rows(run))
    assert [str(field.type) for field in table.schema] == [
        *("int64", "string", "bool", "int64", "string", "list<element: string>", "string"),
        *("string", "string", "double", "double", "double", "string", "string"),
        "double",
    ]


# along (9, 2.9) the row (10, 0) scores a little higher, and the last row is a mean of two
HARD = np.array([[10.0, 0.0], [9.0, 2.9], [-10.0, 0.0], [0.0, -8.0], [-5.0, -4.0]])
PICKED = {"speakable": [0, 1, 2, 3], "unspeakable": [4], "undecided": [], "hard": [1]}


@pytest.fixture
def hard(tmp_path: Path) -> Path:
    """Write a run with a token that is hard to speak."""
    path = tmp_path / "run.db"
    detail = {"detector.self-argmax.centre": False}
    geom.run(
        Readout.fold(HARD), detectors=["self-argmax"], options=detail, tokens="all", out=path
    ).close()
    return path


@pytest.mark.parametrize("verdict", PICKED)
def test_every_format_of_rows_picks_a_verdict(verdict: str, command: Command, hard: Path) -> None:
    def exported(format: str, *more: str) -> str:
        done = command("export", "run.db", "--format", format, "--verdict", verdict, *more)
        assert (done.code, done.err) == (0, "")
        return done.out

    proofs = [] if verdict == "unspeakable" else ["certificate"]  # its weights are made exact
    for format in ("jsonl", *proofs):
        lines = [json.loads(line) for line in exported(format).splitlines()]
        assert [line["token_id"] for line in lines] == PICKED[verdict]
    out = io.StringIO(exported("csv"), newline="")
    assert [int(row["token_id"]) for row in csv.DictReader(out)] == PICKED[verdict]
    exported("parquet", "--out", "rows.parquet")
    table = pyarrow.parquet.read_table("rows.parquet")
    assert table.column("token_id").to_pylist() == PICKED[verdict]


def test_hard_is_a_verdict_in_columns_and_a_speakable_one_in_jsonl(
    command: Command, hard: Path
) -> None:
    columns = ["speakable", "hard", "speakable", "speakable", "unspeakable"]
    out = io.StringIO(command("export", "run.db", "--format", "csv").out, newline="")
    assert [row["verdict"] for row in csv.DictReader(out)] == columns
    command("export", "run.db", "--format", "parquet", "--out", "rows.parquet")
    table = pyarrow.parquet.read_table("rows.parquet")
    assert table.column("verdict").to_pylist() == columns
    found = [(row["verdict"], row["self_argmax"]) for row in command("export", "run.db").rows]
    assert found[1] == ("speakable", False)
    assert {verdict for verdict, _ in found} == {"speakable", "unspeakable"}


@pytest.mark.parametrize("arguments", [["export", "run.db"], ["show", "run.db"]])
def test_a_verdict_that_does_not_exist_is_refused(
    arguments: list[str], command: Command, run: Path
) -> None:
    done = command(*arguments, "--verdict", "easy")
    assert (done.code, done.out) == (2, "")
    assert "speakable, unspeakable, undecided or hard" in done.err


@pytest.mark.parametrize("name", ["jsonl", "csv"])
def test_a_file_and_standard_output_get_the_same_bytes(
    name: str, command: Command, run: Path
) -> None:
    done = command("export", "run.db", "--format", name, "--out", "rows")
    assert done.out == ""
    assert Path("rows").read_bytes().decode() == command("export", "run.db", "--format", name).out


def test_in_a_process_of_its_own_it_is_the_same(run: Path) -> None:
    assert separately("export", str(run)).rows == rows(run)


def test_a_file_that_is_there_is_replaced(command: Command, run: Path) -> None:
    Path("rows.jsonl").write_text("x" * 100_000)
    assert command("export", "run.db", "--out", "rows.jsonl").code == 0
    assert len(Path("rows.jsonl").read_text(encoding="utf-8").splitlines()) == 5


@pytest.mark.parametrize("out", ["absent/rows.jsonl", "."])
def test_a_file_that_cannot_be_written_is_named(out: str, command: Command, run: Path) -> None:
    done = command("export", "run.db", "--out", out)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert done.err.startswith(f"geom: {out}: ")
    assert [path.name for path in Path().iterdir()] == ["run.db"]


def test_a_damaged_run_leaves_an_earlier_export_alone(command: Command, run: Path) -> None:
    Path("rows.jsonl").write_text("precious")
    run.write_bytes(run.read_bytes()[:5000])
    assert command("export", "run.db", "--out", "rows.jsonl").code == 2
    assert Path("rows.jsonl").read_text() == "precious"


def test_an_unknown_format_is_answered_with_the_nearest(command: Command, run: Path) -> None:
    done = command("export", "run.db", "--format", "parqet")
    assert (done.code, "did you mean 'parquet'?" in done.err) == (2, True)


def test_parquet_is_no_text_and_wants_a_file(command: Command, run: Path) -> None:
    done = command("export", "run.db", "--format", "parquet")
    assert (done.code, done.out, "--out FILE.parquet" in done.err) == (2, "", True)


def test_without_pyarrow_parquet_says_what_to_install(
    command: Command, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = command("export", "run.db", "--format", "parquet", "--out", "rows.parquet")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert geom.install_command("report") in done.err
    assert [path.name for path in Path().iterdir()] == ["run.db"]


def test_lists_take_options(command: Command, run: Path) -> None:
    done = command(
        *("export", "run.db", "--format", "logit-bias"),
        *("-o", "reporter.logit-bias.verdict=unspeakable", "-o", "reporter.logit-bias.bias=-3"),
    )
    assert (done.code, done.out, done.err) == (0, '{"4": -3}\n', "")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("reporter.tokens.which=hard", "give unusable|padding|notable|all"),
        ("reporter.jsonl.verdict=dead", "reporter jsonl, which has no part in this run"),
        ("reporter.tokens.verdict=dead", "give speakable|unspeakable|undecided|hard"),
        ("reporter.tokens.what=all", "option of reporter tokens"),
        ("reporter.csv.which=all", "reporter csv, which has no part in this run"),
        ("which=all", "write KIND.NAME.OPTION=VALUE"),
    ],
)
def test_options_that_fit_nothing_are_refused(
    option: str, words: str, command: Command, run: Path
) -> None:
    done = command("export", "run.db", "--format", "tokens", "-o", option)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert words in done.err


def test_a_reporter_that_breaks_is_one_line(run: Path, tmp_path: Path) -> None:
    install(
        tmp_path,
        "broken-reporter",
        "from geom import NoOptions, Reporter, hookimpl\n"
        "def write(run, file, options):\n    raise KeyError('no such thing')\n"
        "@hookimpl\ndef geom_reporters():\n"
        "    yield Reporter('broken', 'breaks', write, NoOptions, suffix='.txt')\n",
    )
    done = separately("export", str(run), "--format", "broken", python_path=tmp_path)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "reporter broken raised KeyError" in done.err


def test_a_reporter_that_prints_what_it_should_write_is_warned_of(
    command: Command, run: Path, tmp_path: Path
) -> None:
    code = """
from geom import NoOptions, Reporter, hookimpl

def write(run, file, options):
    print("a report")

@hookimpl
def geom_reporters():
    yield Reporter("printed", "", write, NoOptions, suffix=".txt")
"""
    install(tmp_path, "printing-geom", code)
    asked = ("export", str(run), "--format", "printed", "--out", "r.txt")
    done = separately(*asked, python_path=tmp_path)
    assert (done.code, done.out) == (0, "")
    assert done.err == "a report\ngeom: reporter printed wrote nothing: r.txt is empty\n"
