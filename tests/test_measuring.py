"""`geom.measure`: every measure on every token, stored in a run, whatever the plugins do."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from msgspec import Meta

import geom
from geom import (
    Finding,
    InputError,
    Measure,
    Measurement,
    NoOptions,
    Problem,
    Readout,
    StoreError,
    hookimpl,
)
from geom.cli.display.progress import bars
from geom.plugins.registry import Origin, Plugins
from support.command import Command
from support.places import bare
from support.plugins import Use, installed_and


def line_that(begins: str) -> int:
    """Return the first line of this file that begins so, from 1."""
    lines = Path(__file__).read_text().splitlines()
    return next(i for i, text in enumerate(lines, 1) if text.strip().startswith(begins))


BOOM = line_that("raise ValueError")
ASKED = line_that("def measure(problem: Problem, token")

W = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0], [0.1, 0.1], [0.2, 0.0]])


@dataclass(frozen=True)
class Times:
    """The options of a measure, with one factor."""

    times: Annotated[float, Meta(description="a factor")] = 1.0


@dataclass
class Brought:
    """Measures that the tests define, with a record of the calls to each."""

    asked: list[tuple[str, int]] = field(default_factory=list)
    priors: dict[int, Finding] = field(default_factory=dict)

    def norm(self, problem: Problem, token: int, prior: Finding, options: Times) -> Measurement:
        self.asked.append(("norm", token))
        self.priors[token] = prior
        row = problem.readout.W[token]
        return Measurement(float(np.abs(row).sum()) * options.times, 0.5, proven=True, x=row)

    @hookimpl
    def geom_measures(self) -> Iterable[Measure[Any]]:
        def answer(name: str, make: Callable[[], Any]) -> Measure[Any]:
            def measure(problem: Problem, token: int, prior: Finding, options: NoOptions) -> Any:
                self.asked.append((name, token))
                return make()

            return Measure(name, "", measure, NoOptions, unit="units")

        def broken() -> Any:
            raise ValueError("boom\nand more")

        def refused() -> Any:
            raise InputError("no rows: give some")

        yield Measure("norm", "", self.norm, Times, unit="row units")
        yield answer("none", lambda: Measurement(math.nan, note="chains\ndid not mix"))
        yield answer("far", lambda: Measurement(-math.inf, 0.0, proven=True))
        yield answer("broken", broken)
        yield answer("refused", refused)
        yield answer("number", lambda: 3.0)
        yield answer("negative", lambda: Measurement(1.0, -1.0))
        yield answer("pointed", lambda: Measurement(1.0, x=np.zeros(7)))


@pytest.fixture
def brought(use: Use) -> Brought:
    own = Brought()
    use(installed_and(own))
    return own


@pytest.fixture
def run(tmp_path: Path) -> Iterator[geom.Run]:
    with geom.run(Readout.fold(W), certifiers=["highs"], out=tmp_path / "toy.db") as done:
        yield done


def test_every_measure_is_taken_of_every_token(brought: Brought) -> None:
    found = geom.measure(Readout.fold(W), ["norm", "far"], "0,4-5")
    assert [(row.token_id, row.measure, row.value) for row in found] == [
        (0, "norm", 1.0),
        (0, "far", -math.inf),
        (4, "norm", 0.2),
        (4, "far", -math.inf),
        (5, "norm", 0.2),
        (5, "far", -math.inf),
    ]
    first = next(iter(found))
    assert (first.error, first.unit, first.proven, first.note) == (0.5, "row units", True, None)
    assert first.x is not None
    assert first.x.tolist() == [1.0, 0.0]


def test_candidates_are_the_default(brought: Brought, run: geom.Run) -> None:
    flagged = [row.token_id for row in run.rows() if row.flagged_by]
    assert flagged == [4, 5]
    assert [row.token_id for row in geom.measure(Readout.fold(W), "norm")] == flagged
    assert [row.token_id for row in geom.measure(run, "norm")] == flagged


def test_all_of_a_run_is_what_it_examined(brought: Brought, run: geom.Run) -> None:
    assert [row.token_id for row in geom.measure(run, "norm", "all")] == [4, 5]
    assert [row.token_id for row in geom.measure(run, "norm", "0-2")] == [0, 1, 2]


def test_a_measure_sees_what_the_run_found(brought: Brought, run: geom.Run) -> None:
    geom.measure(run, "norm", [0, 4])
    assert brought.priors[0].x is None
    assert brought.priors[4].weights is not None


def test_a_witness_that_is_not_stored_is_rebuilt_for_it(brought: Brought, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    readout = Readout.fold(rng.normal(size=(300, 60)))
    with geom.run(readout, tokens="all", out=tmp_path / "large.db") as run:
        token = min(run.recipes())
        assert run.evidence(token).x is None
        geom.measure(run, "norm", [token])
        x = brought.priors[token].x
        assert x is not None
        assert int((readout.W @ x).argmax()) == token


def test_what_is_measured_stays_in_the_run(brought: Brought, run: geom.Run) -> None:
    geom.measure(run, ["norm", "none", "far"], [1, 4])
    assert run.path is not None
    with geom.open_run(run.path) as again:
        kept = again.measured()
    assert list(kept) == [1, 4]
    assert list(kept[1]) == ["far", "none", "norm"]
    norm, none, far = (kept[4][name] for name in ("norm", "none", "far"))
    assert (norm.value, norm.error, norm.unit, norm.proven) == (0.2, 0.5, "row units", True)
    assert norm.x is not None
    assert norm.x.tolist() == [0.1, 0.1]
    assert (none.value, none.note) == (None, "chains did not mix")
    assert (far.value, far.error) == (-math.inf, 0.0)


def test_nothing_is_measured_twice_unless_its_options_change(
    brought: Brought, run: geom.Run
) -> None:
    first = list(geom.measure(run, ["norm", "none"], [0, 1]))
    again = list(geom.measure(run, ["norm", "none"], [0, 1, 2]))
    assert len(brought.asked) == 6
    assert [row.as_dict() for row in again[:4]] == [row.as_dict() for row in first]
    (other,) = geom.measure(run, "norm", [0], {"measure.norm.times": 3})
    assert other.value == 3.0
    assert len(brought.asked) == 7
    assert run.measured()[0]["norm"].value == 3.0


def test_an_interruption_loses_the_number_in_hand_alone(brought: Brought, run: geom.Run) -> None:
    def stop(stage: str, done: float, total: float, unit: str) -> None:
        if stage == "measure norm" and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        geom.measure(run, "norm", range(6), progress=stop)
    assert list(run.measured()) == [0, 1, 2]
    geom.measure(run, "norm", range(6))
    assert len(brought.asked) == 6


def test_a_measure_that_fails_costs_its_own_numbers(brought: Brought, run: geom.Run) -> None:
    names = ["broken", "refused", "number", "negative", "pointed", "norm"]
    place = f"(test_measuring.py:{ASKED})"
    found = {row.measure: row for row in geom.measure(run, names, [0])}
    assert {name: row.note for name, row in found.items()} == {
        "broken": f"it raised ValueError: boom (test_measuring.py:{BOOM})",
        "refused": "no rows: give some",
        "number": f"it raised TypeError: it returned float, not a Measurement {place}",
        "negative": f"it raised ValueError: its error is -1.0 {place}",
        "pointed": f"it raised ValueError: its point is not a vector of 2 finite numbers {place}",
        "norm": None,
    }
    assert [name for name, row in found.items() if row.value is not None] == ["norm"]
    assert list(run.measured()[0]) == ["norm"]  # a failed measure is tried again


def test_notes_are_told_once_with_their_tokens(brought: Brought) -> None:
    found = geom.measure(Readout.fold(W), ["none", "norm", "broken"], "0-2,5")
    assert found.notes() == [
        "none of tokens 0-2,5: chains did not mix",
        f"broken of tokens 0-2,5: it raised ValueError: boom (test_measuring.py:{BOOM})",
    ]


def test_measurements_become_a_data_frame(brought: Brought) -> None:
    frame = geom.measure(Readout.fold(W), ["norm", "far"], [0, 1]).to_pandas()
    assert frame.shape == (4, 10)
    assert frame.value.tolist() == [1.0, -math.inf, 1.0, -math.inf]


def test_a_run_in_memory_keeps_them_too(brought: Brought) -> None:
    with geom.run(Readout.fold(W), certifiers=()) as run:
        geom.measure(run, "norm", [3])
        assert run.measured()[3]["norm"].value == 1.0


def test_what_cannot_be_asked_is_refused(brought: Brought, run: geom.Run) -> None:
    readout = Readout.fold(W)
    refusals: list[tuple[Any, str]] = [
        (lambda: geom.measure(readout, []), "no measure is named: give some of "),
        (lambda: geom.measure(readout, "norn"), "did you mean 'norm'?"),
        (lambda: geom.measure(readout, ["norm", "norm"]), "norm is named twice"),
        (lambda: geom.measure(readout, "norm", [9]), "outside the vocabulary"),
        (lambda: geom.measure(readout, "norm", "x"), "is neither an id nor a range"),
        (lambda: geom.measure(run, "norm", domain="box"), "a run has its own domain"),
        (
            lambda: geom.measure(readout, "norm", [0], {"measure.far.x": 1}),
            "options are given for measure far, which has no part",
        ),
        (lambda: geom.measure(readout, "norm", [0], {"measure.norm.x": 1}), "unknown option"),
    ]
    for ask, said in refusals:
        with pytest.raises(InputError) as refusal:
            ask()
        assert said in str(refusal.value)
        assert "\n" not in str(refusal.value)
    assert brought.asked == []


def test_a_damaged_measurement_is_one_line(brought: Brought, run: geom.Run) -> None:
    geom.measure(run, "norm", [0])
    assert run.path is not None
    for column, value in {"options": "[", "value": "many", "x": b"\x93NUMPY"}.items():
        with closing(sqlite3.connect(run.path)) as connection, connection:
            (before,) = connection.execute(f"SELECT {column} FROM measures").fetchone()
            connection.execute(f"UPDATE measures SET {column} = ?", (value,))
        with pytest.raises(StoreError) as refusal:
            run.measured()
        assert "damaged" in str(refusal.value)
        with closing(sqlite3.connect(run.path)) as connection, connection:
            connection.execute(f"UPDATE measures SET {column} = ?", (before,))
    assert run.measured()[0]["norm"].value == 1.0


# Many tokens at once


@dataclass
class Batched:
    """A measure of many tokens at once, whose answers take time; ``sizes`` are those of batches."""

    seconds: float = 1.0
    fails_at: int = -1
    short: bool = False
    now: float = 0.0
    sizes: list[int] = field(default_factory=list)

    def many(
        self, problem: Problem, tokens: Sequence[int], priors: Sequence[Finding], options: NoOptions
    ) -> Iterator[Measurement]:
        assert len(priors) == len(tokens)
        self.sizes.append(len(tokens))
        for token in tokens[: len(tokens) - self.short]:
            self.now += self.seconds
            if token == self.fails_at:
                raise ValueError("boom")
            yield Measurement(float(token))

    def one(self, *arguments: Any) -> Measurement:
        raise AssertionError("many are asked for at once")

    @hookimpl
    def geom_measures(self) -> Iterable[Measure[Any]]:
        yield Measure("id", "", self.one, NoOptions, unit="ids", measure_many=self.many, batch=64)


@pytest.fixture
def batched(use: Use, monkeypatch: pytest.MonkeyPatch) -> Batched:
    own = Batched()
    use(installed_and(own))
    monkeypatch.setattr("geom.measuring.perf_counter", lambda: own.now)
    return own


def cross(n: int) -> Readout:
    return Readout.fold(np.vstack([np.eye(n // 2), -np.eye(n // 2)]))


@pytest.mark.parametrize(("seconds", "largest"), [(0.0, 64), (0.4, 25), (2.0, 5), (60.0, 1)])
def test_a_batch_is_as_large_as_ten_seconds_allow(
    batched: Batched, seconds: float, largest: int
) -> None:
    batched.seconds = seconds
    found = geom.measure(cross(200), "id", "all")
    assert [row.value for row in found] == list(range(200))
    assert batched.sizes[0] == 1
    assert all(b <= 4 * a for a, b in pairwise(batched.sizes))
    assert max(batched.sizes) == largest
    assert {round(row.seconds, 9) for row in found} == {seconds}


def test_what_a_batch_has_yielded_is_kept_when_it_is_stopped(
    batched: Batched, tmp_path: Path
) -> None:
    batched.fails_at = 12
    with geom.run(cross(20), tokens="all", out=tmp_path / "cross.db") as run:
        found = {row.token_id: row for row in geom.measure(run, "id", "all")}
        assert batched.sizes == [1, 4, 10, 5]
        kept = [token for token in range(20) if token not in (12, 13, 14)]
        assert sorted(run.measured()) == kept
        notes = {bare(found[token].note, "test_measuring.py") for token in (12, 13, 14)}
        assert notes == {"it raised ValueError: boom"}
        batched.fails_at = -1
        assert [row.value for row in geom.measure(run, "id", "all")] == list(range(20))
        assert sum(batched.sizes[4:]) == 3


def test_a_batch_with_too_few_answers_leaves_the_rest_without_a_number(batched: Batched) -> None:
    batched.short = True
    found = list(geom.measure(cross(4), "id", "0-1"))
    assert [row.value for row in found] == [None, None]
    note = bare(found[0].note, "test_measuring.py")
    assert note == "it raised ValueError: 0 measurements for 1 token"


# How far it has come


def test_the_time_left_is_that_of_the_measure_under_way(
    use: Use, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]

    def lasting(name: str, seconds: float) -> Measure[Any]:
        def measure(*arguments: Any) -> Measurement:
            now[0] += seconds
            return Measurement(1.0)

        return Measure(name, "", measure, NoOptions, unit="units")

    class Both:
        @hookimpl
        def geom_measures(self) -> Iterable[Measure[Any]]:
            yield from (lasting("cheap", 0.01), lasting("dear", 60.0))

    use(installed_and(Both()))
    monkeypatch.setattr("geom.cli.display.stages.monotonic", lambda: now[0])
    with bars() as watcher:
        geom.measure(Readout.fold(W), ["cheap", "dear"], "0-5", progress=watcher)
    lines = capfd.readouterr().err.splitlines()
    assert lines[:3] == [
        "geom: measure cheap: 0 of 6 numbers",
        "geom: measure dear: 0 of 6 numbers",
        "geom: measure dear: 1 of 6 numbers, 16 %, 0:01:00, about 0:05:00 left",
    ]
    assert lines[-1] == "geom: measure dear: 6 numbers in 0:06:00"


def test_numbers_that_a_run_has_already_promise_no_speed(brought: Brought, run: geom.Run) -> None:
    reports: list[tuple[str, float, float]] = []
    geom.measure(run, "norm", [0, 1, 2, 3])
    geom.measure(
        run, "norm", range(6), progress=lambda *report: reports.append((report[0], *report[1:3]))
    )
    assert reports == [("measure norm", float(done), 2) for done in range(3)]


# The command line


@pytest.fixture
def model(tmp_path: Path) -> str:
    np.savez(tmp_path / "toy.npz", W=W)
    return "npz:toy.npz"


def test_a_row_is_as_the_contract_has_it(command: Command, model: str, brought: Brought) -> None:
    done = command(
        "measure",
        "-m",
        model,
        "--measure",
        "norm",
        "--measure",
        "none",
        "-t",
        "4",
        "--format",
        "jsonl",
    )
    assert done.code == 0
    assert done.rows == [
        {
            "token_id": 4,
            "token": None,
            "measure": "norm",
            "value": 0.2,
            "error": 0.5,
            "unit": "row units",
        },
        {
            "token_id": 4,
            "token": None,
            "measure": "none",
            "value": None,
            "error": None,
            "unit": "units",
        },
    ]
    assert "geom: none of token 4: chains did not mix\n" in done.err


def test_an_infinite_value_is_null(command: Command, model: str, brought: Brought) -> None:
    done = command("measure", "-m", model, "--measure", "far", "-t", "0", "--format", "jsonl")
    assert [row["value"] for row in done.rows] == [None]


def test_a_table_shows_values_with_their_errors(
    command: Command, model: str, brought: Brought
) -> None:
    done = command("measure", "-m", model, "--measure", "norm", "--measure", "far", "-t", "0,4")
    assert "norm, row units" in done.out
    lines = [line.split() for line in done.out.splitlines()]
    assert ["0", "-", "0.5", "..", "1.5", "-inf"] in lines
    assert ["4", "-", "-0.3", "..", "0.701", "-inf"] in lines
    assert "±: a proven radius; ..: proven ends; ~: a standard error" in done.out


def test_show_and_export_have_what_was_measured(
    command: Command, model: str, brought: Brought
) -> None:
    command("run", "-m", model, "--out", "toy.db")
    before = command("export", "toy.db").rows
    assert all("measures" not in row for row in before)
    assert command("measure", "toy.db", "--measure", "norm", "--measure", "none").code == 0
    assert "-0.3 .. 0.701" in command("show", "toy.db").out
    assert "-0.3 .. 0.701 row units" in command("show", "toy.db", "--token", "4").out
    assert (
        "none            - units (chains did not mix)"
        in command("show", "toy.db", "--token", "4").out
    )
    rows = command("export", "toy.db").rows
    assert rows[0]["measures"] == {
        "none": {"value": None, "error": None, "unit": "units"},
        "norm": {"value": 0.2, "error": 0.5, "unit": "row units"},
    }
    assert [{k: v for k, v in row.items() if k != "measures"} for row in rows] == before
    header, first, *_ = command("export", "toy.db", "--format", "csv").out.splitlines()
    assert header.endswith(",none,none error,norm,norm error")
    assert first.endswith(",,,0.2,0.5")
    assert command("export", "toy.db", "--format", "parquet", "--out", "toy.parquet").code == 0
    import pyarrow.parquet

    table = pyarrow.parquet.read_table("toy.parquet")
    assert table.column("norm").to_pylist() == [0.2, 0.2]
    assert table.column("none error").to_pylist() == [None, None]


def test_progress_goes_to_standard_error(command: Command, model: str, brought: Brought) -> None:
    done = command("measure", "-m", model, "--measure", "norm", "-t", "0-5", "--format", "jsonl")
    assert len(done.rows) == 6
    assert "geom: measure norm: 0 of 6 numbers\n" in done.err


def test_without_a_name_the_quick_ones_are_measured_and_the_others_named_with_their_price(
    command: Command, own_folder: Path
) -> None:
    np.save("W.npy", W)
    done = command("measure", "-m", "W.npy", "-t", "0-2", "--format", "jsonl")
    assert {row["measure"] for row in done.rows} == {
        "row-norm",
        "centroid-distance",
        "unused-cosine",
    }
    assert "geom: these cost next to nothing a number; name others with --measure" in done.err
    assert "geom: solid-angle: 0.01 to 7 of a product W W^T\n" in done.err
    assert "geom: row-norm:" not in done.err
    named = command("measure", "-m", "W.npy", "-t", "0-2", "--measure", "row-norm")
    assert "next to nothing" not in named.err
    quick = geom.measure("W.npy", tokens=[0])
    assert [row.measure for row in quick] == ["centroid-distance", "row-norm", "unused-cosine"]


def test_without_a_quick_measure_one_has_to_be_named(use: Use) -> None:
    plugins = Plugins()
    plugins.register(Brought(), "brought", Origin("toy", "1.0", "toy"))
    use(plugins)
    with pytest.raises(InputError, match="no measure is named: give some of broken, far, "):
        geom.measure(Readout.fold(W))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.db", "--measure", "norm"], "none.db does not exist"),
        (["--measure", "nrom", "-t", "1"], "did you mean 'norm'?"),
        (["--measure", "norm", "-t", "1-"], "is neither an id nor a range"),
        (["toy.db", "--measure", "norm", "--domain", "box"], "a run has its own domain"),
    ],
)
def test_bad_input_is_one_line(
    command: Command, model: str, brought: Brought, arguments: list[str], said: str
) -> None:
    command("run", "-m", model, "--out", "toy.db")
    done = command("measure", *arguments)
    assert done.code == 2
    assert said in done.err
    assert done.out == ""
    assert "Traceback" not in done.err


def test_a_run_that_cannot_be_written_is_one_line(
    command: Command, model: str, brought: Brought
) -> None:
    command("run", "-m", model, "--out", "toy.db")
    with closing(sqlite3.connect("toy.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        done = command("measure", "toy.db", "--measure", "norm")
    assert done.code == 2
    assert "another process is writing it" in done.err
    assert json.dumps(done.out) == '""'


class Settling:
    """A measure that settles for a factor, or for something that is no options."""

    def __init__(self, settled: Any) -> None:
        self.settled = settled

    @hookimpl
    def geom_measures(self) -> Iterable[Measure[Times]]:
        def measure(problem: Problem, token: int, prior: Finding, options: Times) -> Measurement:
            return Measurement(options.times)

        yield Measure("settling", "", measure, Times, unit="units", settle=lambda *_: self.settled)


def test_a_run_keeps_the_options_that_a_measure_settles_for(use: Use, run: geom.Run) -> None:
    use(installed_and(Settling(Times(7.0))))
    (row,) = geom.measure(run, "settling", [1])
    assert (row.value, row.options) == (7.0, {"times": 7.0})


def test_settling_for_no_options_is_the_plugins_fault(use: Use) -> None:
    use(installed_and(Settling(3)))
    with pytest.raises(geom.PluginError, match="it settled for int, not a Times"):
        geom.measure(Readout.fold(W), "settling", [1])
