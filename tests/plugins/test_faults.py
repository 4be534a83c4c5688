"""Plugins that leave, raise what `except Exception` misses, or print where results go.

Whatever they do costs a token or the plugin, is said, and ends no run as if it were done.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import geom
from geom import (
    Candidate,
    Certifier,
    Detector,
    Executor,
    Finding,
    InputError,
    Measure,
    Measurement,
    ModelSource,
    NoOptions,
    PluginError,
    Precision,
    PrecisionMargin,
    Readout,
    Reporter,
    hookimpl,
)
from geom.plugins.registry import Origin, Plugins, using
from geom.runs.planning import plan
from support.command import Command, Done, install, separately
from support.places import bare as without_place
from support.plugins import Use, installed_and

SQUARE = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [0.25, 0.5]])
READOUT = Readout.fold(SQUARE)


class OwnExit(BaseException):
    """A stranger's exception, which is not an Exception."""


class Unspeakable(BaseException):
    """An exception whose message leaves, too."""

    def __str__(self) -> str:
        raise SystemExit(0)


EXITS = [SystemExit(0), SystemExit("gone"), GeneratorExit(), OwnExit("own"), Unspeakable()]
WORDS = ["SystemExit: 0", "SystemExit: gone", "GeneratorExit:", "OwnExit: own", "Unspeakable:"]

exits = pytest.mark.parametrize(
    ("leaving", "words"), list(zip(EXITS, WORDS, strict=True)), ids=WORDS
)


class Leaves:
    """Plugins of every kind that raise what they are told to, at work."""

    def __init__(self, leaving: BaseException) -> None:
        self.leaving = leaving

    def leave(self, *_: Any) -> Any:
        raise self.leaving

    def leave_late(self, *_: Any) -> Iterator[Any]:
        yield Candidate(0)
        raise self.leaving

    def some(self, problem: Any, token: int, prior: Finding, options: Any) -> Finding:
        return Finding(x=SQUARE[token]) if token != 2 else self.leave()

    def many(self, problem: Any, tokens: Any, priors: Any, options: Any) -> Iterator[Finding]:
        for token, prior in zip(tokens, priors, strict=True):
            yield self.some(problem, token, prior, options)

    def answer(self, *_: Any) -> Finding:
        return Finding(x=self)  # type: ignore[arg-type]  # it says that it is an array

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise self.leaving

    def lose(self, function: Any, items: Any, options: Any) -> Iterator[Any]:
        yield function(items[0])
        raise self.leaving

    @hookimpl
    def geom_sources(self) -> Iterator[ModelSource[Any]]:
        yield ModelSource("leaving", "", self.leave, NoOptions)

    @hookimpl
    def geom_detectors(self) -> Iterator[Detector[Any]]:
        yield Detector("leaving", "", self.leave, NoOptions)
        yield Detector("leaving-late", "", self.leave_late, NoOptions)
        yield Detector("memory", "", self.leave_late, NoOptions, memory=self.leave)

    @hookimpl
    def geom_certifiers(self) -> Iterator[Certifier[Any]]:
        yield Certifier("leaving", "", self.some, NoOptions)
        yield Certifier("many", "", self.some, NoOptions, certify_many=self.many, batch=9)
        yield Certifier("array", "", self.answer, NoOptions)
        yield Certifier("prepares", "", self.some, NoOptions, prepare=self.leave)
        yield Certifier("memory", "", self.some, NoOptions, memory=self.leave)

    @hookimpl
    def geom_measures(self) -> Iterator[Measure[Any]]:
        yield Measure("leaving", "", self.leave, NoOptions, unit="logits")

    @hookimpl
    def geom_precisions(self) -> Iterator[Precision[Any]]:
        yield Precision("leaving", "", self.leave, NoOptions, roundoff=lambda options: 2.0**-9)
        yield Precision("unsaid", "", right, NoOptions, roundoff=self.leave)
        yield Precision(
            "memory", "", right, NoOptions, roundoff=lambda options: 2.0**-9, memory=self.leave
        )

    @hookimpl
    def geom_reporters(self) -> Iterator[Reporter[Any]]:
        yield Reporter("leaving", "", self.leave, NoOptions, suffix=".txt")

    @hookimpl
    def geom_executors(self) -> Iterator[Executor[Any]]:
        yield Executor("leaving", "", self.leave, NoOptions)
        yield Executor("leaving-late", "", self.lose, NoOptions)
        yield Executor("workers", "", self.lose, NoOptions, workers=self.leave)


def right(readout: Readout, token: int, x: Any, options: Any) -> PrecisionMargin:
    return PrecisionMargin(1.0, token)


@pytest.fixture
def plugins(leaving: BaseException, use: Use) -> Plugins:
    """Geom's own plugins, and one that leaves."""
    found = installed_and(Leaves(leaving))
    use(found)
    return found


def bare(text: str | None) -> str:
    """Return what is said of an exception without its place in this file, which must be said."""
    return without_place(text, "test_faults.py")


def run(**asked: Any) -> geom.Run:
    """Run the chain on every token, or what is asked."""
    chosen = {"tokens": "all", "certifiers": ["maxent"], "opening": False}
    return geom.run(READOUT, **(chosen | asked))


@exits
@pytest.mark.parametrize("certifier", ["leaving", "many"])
def test_a_certifier_that_leaves_costs_its_token(
    certifier: str, leaving: BaseException, words: str, plugins: Plugins
) -> None:
    with run(certifiers=[certifier]) as found:
        rows = {row.token_id: row for row in found.rows()}
    assert [rows[token].verdict for token in (0, 1)] == ["speakable", "speakable"]
    assert (rows[2].verdict, bare(rows[2].note)) == ("undecided", f"{certifier} raised {words}")


@exits
def test_an_answer_that_leaves_when_it_is_looked_at_costs_its_token(
    leaving: BaseException, words: str, plugins: Plugins
) -> None:
    with run(certifiers=["array"]) as found:
        assert {bare(row.note) for row in found.rows()} == {f"array raised {words}"}


@exits
def test_a_certifier_that_leaves_leaves_its_token_to_the_next(
    leaving: BaseException, words: str, plugins: Plugins
) -> None:
    with run(certifiers=["leaving", "maxent"]) as found:
        row = found.row(2)
    assert (row.verdict, bare(row.note)) == ("speakable", f"leaving raised {words}")


@exits
@pytest.mark.parametrize("detector", ["leaving", "leaving-late"])
def test_a_detector_that_leaves_costs_the_detector(
    detector: str, leaving: BaseException, words: str, plugins: Plugins
) -> None:
    with run(detectors=[detector, "self-argmax"], tokens="candidates") as found:
        assert list(map(bare, found.warnings)) == [f"detector {detector} raised {words}"]
        assert [row.token_id for row in found.rows()] == [4]
    with pytest.raises(PluginError, match=f"no detector worked: detector {detector} raised"):
        run(detectors=[detector], tokens="candidates")


@exits
@pytest.mark.parametrize(
    "asked",
    [
        {"certifiers": ["prepares"]},
        {"certifiers": ["memory"]},
        {"detectors": ["memory"]},
        {"executor": "leaving"},
        {"executor": "leaving-late"},
        {"executor": "workers"},
    ],
    ids=str,
)
def test_a_plugin_that_leaves_elsewhere_ends_the_run_as_an_error(
    asked: dict[str, Any], leaving: BaseException, words: str, plugins: Plugins
) -> None:
    ((kind, name),) = asked.items()
    name = name if isinstance(name, str) else name[0]
    with pytest.raises(PluginError, match=f"{kind.removesuffix('s')} {name}.* raised {words}"):
        run(**asked)


@exits
def test_a_source_that_leaves_is_an_error(
    leaving: BaseException, words: str, plugins: Plugins
) -> None:
    with pytest.raises(PluginError, match=f"^source leaving raised {words}"):
        geom.load("leaving:")


@exits
def test_a_model_in_memory_that_leaves_is_an_error(leaving: BaseException, words: str) -> None:
    class Model:
        b_U = np.zeros(3)

        @property
        def W_U(self) -> Any:  # noqa: N802 - TransformerLens's name
            raise leaving

    with pytest.raises(InputError, match=f"^Model cannot be read: {words}"):
        geom.load(Model())


@exits
def test_a_measure_that_leaves_costs_its_numbers(
    leaving: BaseException, words: str, plugins: Plugins
) -> None:
    found = geom.measure(READOUT, ["leaving", "row-norm"], tokens=[0])
    bad, good = found
    assert (bad.value, bare(bad.note)) == (None, f"it raised {words}")
    assert good.value == pytest.approx(2**0.5)


@exits
def test_a_proof_that_leaves_is_a_fault_of_its_number(
    leaving: BaseException, words: str, use: Use, tmp_path: Path
) -> None:
    def leave(*_: Any) -> Any:
        raise leaving

    class Plugin:
        @hookimpl
        def geom_measures(self) -> Iterator[Measure[Any]]:
            claim = Measurement(1.0, 0.0, proven=True, x=SQUARE[0])
            yield Measure("proving", "", lambda *_: claim, NoOptions, unit="logits", bounds=leave)

    use(installed_and(Plugin()))
    with run(out=tmp_path / "run.db") as found:
        geom.measure(found, "proving", tokens=[0])
        faults = geom.verify(found, READOUT).faults
    assert [bare(str(fault)) for fault in faults] == [f"token 0: proving: its proof {words}"]


@exits
def test_a_precision_that_leaves_costs_its_cells(
    leaving: BaseException, words: str, plugins: Plugins
) -> None:
    found = geom.compare(READOUT, [0], ["leaving", "unsaid", "float64"])
    assert set(map(bare, found.notes)) == {
        f"precision leaving raised {words}: token 0",
        f"precision unsaid has no unit roundoff: {words}",
    }
    assert [row.margin is None for row in found] == [False, True, False]
    with pytest.raises(PluginError, match=f"precision memory.* raised {words}"):
        geom.compare(READOUT, [0], ["memory"])


@exits
def test_a_solver_that_leaves_claims_nothing(
    leaving: BaseException, words: str, plugins: Plugins
) -> None:
    found = geom.compare(READOUT, [2], ["float64"], solver="leaving")
    assert [bare(claim.note) for claim in found.claims] == [f"it raised {words}"]


@exits
def test_a_reporter_that_leaves_is_an_error_and_leaves_no_file(
    leaving: BaseException, words: str, plugins: Plugins, tmp_path: Path
) -> None:
    with run() as found:
        for out in (tmp_path / "rows", BytesIO()):
            with pytest.raises(PluginError, match=f"^reporter leaving raised {words}"):
                geom.export(found, "leaving", out)
    assert not list(tmp_path.iterdir())


@exits
def test_options_that_leave_are_an_error(leaving: BaseException, words: str) -> None:
    @dataclass(frozen=True)
    class Options:
        size: int = 1

        def __post_init__(self) -> None:
            if self.size == 2:
                raise leaving

    class Plugin:
        @hookimpl
        def geom_detectors(self) -> Iterator[Detector[Any]]:
            yield Detector("sized", "", lambda *_: [], Options)

    plugins = Plugins()
    plugins.register(Plugin(), "sized", Origin("sized", "1", "sized"))
    given = {("detector", "sized"): {"size": "2"}}
    with using(plugins), pytest.raises(PluginError, match=f"^detector sized, .* raised {words}"):
        plan(READOUT, detectors=["sized"], given=given)


@exits
def test_a_hook_that_leaves_costs_its_plugin(leaving: BaseException, words: str) -> None:
    class Plugin:
        @hookimpl
        def geom_detectors(self) -> Any:
            raise leaving

    plugins = Plugins()
    plugins.register(Plugin(), "bad", Origin("bad", "1", "bad"))
    assert [bare(skipped.reason) for skipped in plugins.skipped] == [words]


def test_an_interrupt_is_the_users_and_passes(use: Use) -> None:
    use(installed_and(Leaves(KeyboardInterrupt())))
    for asked in ({"certifiers": ["leaving"]}, {"detectors": ["leaving"]}):
        with pytest.raises(KeyboardInterrupt):
            run(**asked)


def test_an_executor_that_loses_tokens_is_an_error(use: Use) -> None:
    check_executor(use, lambda f, items, _: [f(items[0][:2])], "nothing for 2-4")


def test_an_executor_that_brings_nonsense_is_an_error(use: Use) -> None:
    check_executor(use, lambda f, items, _: [["nonsense"]], "brought back str, not an Outcome")


def check_executor(use: Use, run_map: Any, said: str) -> None:
    class Plugin:
        @hookimpl
        def geom_executors(self) -> Iterator[Executor[Any]]:
            yield Executor("mine", "", run_map, NoOptions)

    use(installed_and(Plugin()))
    with pytest.raises(PluginError, match=f"executor mine raised .*{said}"):
        run(executor="mine")


def test_what_is_done_twice_is_stored_once(use: Use) -> None:
    class Plugin:
        @hookimpl
        def geom_executors(self) -> Iterator[Executor[Any]]:
            yield Executor("again", "", again, NoOptions)

    def again(function: Any, items: Any, options: Any) -> Iterator[Any]:
        yield list(function(items[0]))[:3]
        yield from map(function, items)

    use(installed_and(Plugin()))
    seen = []
    watch = lambda stage, done, total, unit: seen.append((stage, done, total))  # noqa: E731
    with run(executor="again", progress=watch) as made:
        assert made.counts()["pending"] == 0
    assert [case for case in seen if case[0] == "certify"][-1] == ("certify", 5, 5)


# The command line, in processes of its own


def installed_here(folder: Path, code: str) -> Callable[..., Done]:
    """``geom`` with a plugin of that code, on the square."""
    install(folder, "bad-geom", code)
    np.savez(folder / "square.npz", W=SQUARE)
    return lambda *arguments: separately(*arguments, python_path=folder)


@pytest.mark.parametrize(
    "code",
    ["import sys\nsys.exit(0)", "raise GeneratorExit", "class Own(BaseException): pass\nraise Own"],
)
def test_a_plugin_that_leaves_at_import_is_skipped_and_named(code: str, tmp_path: Path) -> None:
    command = installed_here(tmp_path, code)
    done = command("run", "-m", f"npz:{tmp_path}/square.npz", "--out", str(tmp_path / "run.db"))
    assert done.code == 0
    assert "plugin it of bad-geom 1.5 skipped: " in done.err
    assert re.search("^1 +unspeakable", done.out, re.MULTILINE)


@pytest.mark.parametrize("asked", [("plugins", "it"), ("run", "--detector", "it")])
def test_the_reason_for_a_skipped_plugin_that_is_asked_for_is_said_once(
    asked: tuple[str, ...], tmp_path: Path
) -> None:
    done = installed_here(tmp_path, "def geom_detectors():\n    return []")(*asked)
    assert done.code == 2
    assert done.err.count("it registers nothing") == 1
    assert done.err.endswith("; plugin it was skipped, as said above\n")


LOUD = """
import atexit, ctypes, os, subprocess, sys, threading
from geom import (Candidate, Certifier, Detector, Finding, Measure, Measurement, ModelSource,
                  NoOptions, Precision, PrecisionMargin, Readout, Reporter, hookimpl)

libc = ctypes.CDLL(None)

def shout(where):
    print("LOUD", where)
    sys.__stdout__.write(f"LOUD {where}\\n")
    os.write(1, f"LOUD {where}\\n".encode())
    libc.printf(b"LOUD banner\\n")
    subprocess.run([sys.executable, "-c", "print('LOUD child')"], check=True)

shout("import")
atexit.register(print, "LOUD end")

def load(location, options):
    shout("source")
    return Readout.fold([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [0.25, 0.5]])

def detect(readout, domain, options):
    shout("detector")
    return [Candidate(0)]

def certify(problem, token, prior, options):
    shout("certifier")
    return Finding(x=problem.readout.W[token])

def measure(problem, token, prior, options):
    shout("measure")
    return Measurement(1.0, 0.0)

def margin(readout, token, x, options):
    shout("precision")
    return PrecisionMargin(1.0, token)

def write(run, file, options):
    shout("reporter")
    file.write(b"{}\\n")

@hookimpl
def geom_sources():
    shout("hook")
    yield ModelSource("loud", "", load, NoOptions)

@hookimpl
def geom_detectors():
    yield Detector("loud", "", detect, NoOptions)

@hookimpl
def geom_certifiers():
    yield Certifier("loud", "", certify, NoOptions)

@hookimpl
def geom_measures():
    yield Measure("loud", "", measure, NoOptions, unit="logits")

@hookimpl
def geom_precisions():
    yield Precision("loud", "", margin, NoOptions, roundoff=lambda options: 2.0**-24)

@hookimpl
def geom_reporters():
    yield Reporter("loud", "", write, NoOptions, suffix=".jsonl")
"""
RUN = ("run", "-m", "loud:", "-d", "loud", "-t", "0,1", "-c", "loud", "--opening", "no")
RUN = (*RUN, "--out", "loud.db")


@pytest.mark.skipif(os.name != "posix", reason="the C library is found as POSIX has it")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_standard_output_holds_results_alone_whatever_plugins_print(
    unbuffered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    monkeypatch.chdir(tmp_path)
    command = installed_here(tmp_path, LOUD)
    local = ("--executor", "local", "-o", "executor.local.workers=1")
    measure = ("measure", "-m", "loud:", "--measure", "loud", "-t", "0")
    compare = ("compare", "-m", "loud:", "-p", "loud", "-t", "0")
    for words, places in (
        ((*RUN, *local, "--format", "jsonl"), ("import", "source", "detector", "certifier")),
        (("export", "loud.db", "--format", "loud"), ("import", "hook", "reporter")),
        ((*measure, "--format", "jsonl"), ("source", "measure")),
        ((*compare, "--format", "jsonl"), ("source", "precision")),
    ):
        done = command(*words)
        assert done.code == 0, done.err
        assert done.rows, words
        for place in places:
            assert done.err.count(f"LOUD {place}") >= 3, (words, place)
        for way in ("banner", "child", "end"):
            assert f"LOUD {way}" in done.err, (words, way)
    for words in (("plugins", "--format", "json"), ("doctor", "--format", "json")):
        done = command(*words)
        json.loads(done.out)
        assert "LOUD import" in done.err
    assert "LOUD" not in command("show", "loud.db").out
    assert "LOUD" not in command("plugins").out


def test_in_this_process_it_is_the_same_and_leaves_everything_as_it_was(
    command: Command, use: Use, capfd: pytest.CaptureFixture[str]
) -> None:
    def loud(readout: Readout, domain: Any, options: Any) -> list[Candidate]:
        print("LOUD")
        os.write(1, b"LOUD\n")
        return [Candidate(0)]

    class Plugin:
        @hookimpl
        def geom_detectors(self) -> Iterator[Detector[Any]]:
            yield Detector("loud", "", loud, NoOptions)

    use(installed_and(Plugin()))
    np.savez("square.npz", W=SQUARE)
    done = command("run", "-m", "npz:square.npz", "-d", "loud", "--format", "jsonl")
    assert ([row["token_id"] for row in done.rows], done.err.count("LOUD")) == ([0], 2)
    print("after")
    os.write(1, b"after\n")
    assert capfd.readouterr().out.split() == ["after", "after"]


def test_a_stream_in_memory_gets_the_results_and_nothing_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from geom.cli.display.output import print_line, reserved

    with reserved():
        print("printed")
        print_line("a result")
    print("after")
    assert capsys.readouterr() == ("a result\nafter\n", "printed\n")


LEAVES = """
import sys
from geom import Certifier, Finding, NoOptions, Reporter, hookimpl

def certify(problem, token, prior, options):
    if token == 1:
        sys.exit(0)
    if token == 3:
        raise KeyboardInterrupt
    return Finding(x=problem.readout.W[token])

def write(run, file, options):
    file.write(b"half")
    sys.exit(0)

@hookimpl
def geom_certifiers():
    yield Certifier("leaves", "", certify, NoOptions)

@hookimpl
def geom_reporters():
    yield Reporter("leaves", "", write, NoOptions, suffix=".txt")
"""


@pytest.mark.parametrize("executor", ["serial", "local"])
def test_a_run_says_which_plugins_left_and_goes_on(
    executor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = installed_here(tmp_path, LEAVES)
    words = ("run", "-m", "npz:square.npz", "-c", "leaves", "--format", "jsonl")
    words += ("--opening", "no", "--executor", executor)
    one = () if executor == "serial" else ("-o", "executor.local.workers=1")  # in order
    done = command(*words, "--out", "run.db", "-t", "0-2")
    assert (done.code, [row["verdict"] for row in done.rows]) == (
        0,
        ["speakable", "undecided", "speakable"],
    )
    place = "(bad_geom.py:7)"
    assert f"geom: certifier leaves raised SystemExit: 0 {place}: token 1" in done.err.splitlines()
    interrupt = command(*words, "--out", "other.db", "-t", "2-4", *one)
    assert (interrupt.code, interrupt.out) == (130, "")
    assert "the same command goes on from other.db" in interrupt.err
    with geom.open_run("other.db") as run:
        assert [row.token_id for row in run.rows()] == [2]
    if executor == "serial":
        left = command("export", "run.db", "--format", "leaves", "--out", "rows.txt")
        said = "geom: reporter leaves raised SystemExit: 0\n"
        assert (left.code, without_place(left.err, "bad_geom.py")) == (2, said)
        assert not Path("rows.txt").exists()
        assert command("export", "run.db", "--format", "leaves").code == 2
