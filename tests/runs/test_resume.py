"""Runs that are killed, interrupted, out of space or begun twice, and go on: real processes."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import geom
from geom import Readout
from geom.store import open_file
from support.command import GEOM, Command, Done, environment, install

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")

PROGRAM = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
from geom import Candidate, Certifier, Detector, Executor, Finding, NoOptions, Readout, hookimpl
from geom.runs.pipeline import execute
from geom.runs.planning import plan
from geom.plugins.registry import Origin, Plugins, using

folder, V, last_words, alarm_after, alarm_in, held = (
    Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), float(sys.argv[5]),
    sys.argv[6])
said = 0

def say(line):
    global said
    with (folder / "log.txt").open("a") as log:
        log.write(f"{line}\\n")
    if str(line) == last_words:
        os.kill(os.getpid(), signal.SIGKILL)
    if said == alarm_after:
        signal.setitimer(signal.ITIMER_REAL, alarm_in)
    said += 1
    while str(line) == held and not (folder / "go").exists():
        time.sleep(0.01)

def detect(readout, domain, options):
    say("detect")
    return [Candidate(token) for token in range(readout.V)]

def certify(problem, token, prior, options):
    say(token)
    time.sleep(0.004 if alarm_after >= 0 else 0)
    return Finding(x=problem.readout.W[token], weights=None, note=f"seen {token}")

class Plugin:
    @hookimpl
    def geom_detectors(self):
        yield Detector("all", "", detect, NoOptions)

    @hookimpl
    def geom_certifiers(self):
        yield Certifier("mortal", "", certify, NoOptions)

    @hookimpl
    def geom_executors(self):
        yield Executor("serial", "", lambda function, items, options: map(function, items),
                       NoOptions)

plugins = Plugins()
plugins.register(Plugin(), "mortal", Origin("tests", "0", "tests"))
angle = np.arange(V) * (2 * np.pi / V)
readout = Readout.fold(np.column_stack([np.cos(angle), np.sin(angle)]))
with using(plugins):
    asked = plan(readout, detectors=["all"], certifiers=["mortal"], opening=False)
execute(asked, folder / "run.db").close()
"""


def begin(
    folder: Path,
    last_words: str = "",
    V: int = 7,
    alarm: tuple[int, float] = (-1, 0.0),
    held: str = "",
) -> subprocess.Popen[str]:
    """The program above in a process of its own.

    It kills itself after its last words; or some seconds after it has said so many, wherever it
    then is: the signal of the alarm ends it with nothing run, as a kill would. The line that it is
    held at is its last until there is a file `go`.
    """
    folder.mkdir(exist_ok=True)
    words = [str(folder), str(V), last_words, str(alarm[0]), str(alarm[1]), held]
    arguments = [sys.executable, "-c", PROGRAM, *words]
    return subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)


def call(
    folder: Path, last_words: str = "", V: int = 7, alarm: tuple[int, float] = (-1, 0.0)
) -> int:
    """Its exit code."""
    process = begin(folder, last_words, V, alarm)
    process.communicate(timeout=120)
    return process.returncode


def rows_and_evidence(path: Path) -> list[tuple[dict[str, Any], list[float]]]:
    with open_file(path) as run:
        return [
            (row.as_dict() | {"seconds": None}, run.evidence(row.token_id).x.tolist())
            for row in run.rows()
        ]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    assert call(folder) == 0
    assert len(rows_and_evidence(folder / "run.db")) == 7
    return folder / "run.db"


@pytest.mark.parametrize("token", [0, 3, 6])
def test_a_kill_loses_the_token_in_hand_and_the_same_call_goes_on(
    token: int, tmp_path: Path, uninterrupted: Path
) -> None:
    assert call(tmp_path, last_words=str(token)) == -signal.SIGKILL
    with open_file(tmp_path / "run.db") as run:
        assert [row.token_id for row in run.rows()] == list(range(token))
        assert run.pending() == list(range(token, 7))
    assert call(tmp_path) == 0
    assert rows_and_evidence(tmp_path / "run.db") == rows_and_evidence(uninterrupted)
    asked = (tmp_path / "log.txt").read_text().split()
    assert asked == ["detect", *map(str, range(token + 1)), *map(str, range(token, 7))]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["log.txt", "run.db"]


def test_a_kill_while_candidates_are_sought_loses_nothing_else(
    tmp_path: Path, uninterrupted: Path
) -> None:
    assert call(tmp_path, last_words="detect") == -signal.SIGKILL
    assert call(tmp_path) == 0
    assert rows_and_evidence(tmp_path / "run.db") == rows_and_evidence(uninterrupted)


def test_a_finished_run_asks_nobody_again(uninterrupted: Path) -> None:
    log = uninterrupted.parent / "log.txt"
    before = log.read_text()
    assert call(uninterrupted.parent) == 0
    assert log.read_text() == before


@POSIX
def test_twenty_kills_at_any_moment_cost_a_token_each_at_most(tmp_path: Path) -> None:
    V, kills, chance = 400, 20, random.Random(6)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert call(whole, V=V) == 0
    log = killed / "log.txt"
    for _ in range(kills):
        alarm = (chance.randrange(12), chance.uniform(1e-6, 0.02))
        assert call(killed, V=V, alarm=alarm) == -signal.SIGALRM
    with open_file(killed / "run.db") as run:
        assert 0 < len(run.pending()) < V
    assert call(killed, V=V) == 0
    assert rows_and_evidence(killed / "run.db") == rows_and_evidence(whole / "run.db")
    asked = Counter(log.read_text().split())
    assert set(asked) == {"detect", *map(str, range(V))}
    assert asked.total() - len(asked) <= kills
    assert sorted(file.name for file in killed.iterdir()) == ["log.txt", "run.db"]


@POSIX
@pytest.mark.parametrize("executor", ["serial", "local"])
def test_ctrl_c_on_the_command_leaves_a_run_that_the_same_command_finishes(
    executor: str, command: Command, tmp_path: Path
) -> None:
    words = ("run", "-c", "highs", "-t", "100-219", "--opening", "no")
    words = (*words, "--executor", executor, "--out")
    process = subprocess.Popen(
        [*GEOM, *words, "cut.db"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(Path(__file__).parent),
    )
    assert wait_for_rows(tmp_path / "cut.db", 3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert "the same command goes on from cut.db" in err
    left = geom.open_run("cut.db").pending()
    assert 0 < len(left) < 120
    assert command(*words, "cut.db").code == 0
    assert command(*words, "whole.db").code == 0
    assert verdicts("cut.db") == verdicts("whole.db")


STOPS = """
import time
from pathlib import Path

from geom import Certifier, Finding, NoOptions, hookimpl

def certify(problem, token, prior, options):
    while token % 10 == 9 and not Path("go").exists():
        time.sleep(0.01)
    return Finding(x=problem.readout.W[token])

def certify_many(problem, tokens, priors, options):
    for token, prior in zip(tokens, priors):
        yield certify(problem, token, prior, options)

def look(problem, token, prior, options):
    return Finding(note="seen")

@hookimpl
def geom_certifiers():
    yield Certifier("stops", "waits for a file at every tenth token", certify, NoOptions,
                    certify_many=certify_many, batch=256)
    yield Certifier("looks", "at what others found", look, NoOptions, verifies=True)
"""
"""Each batch of tokens stops at the first whose id ends in 9."""


@POSIX
@pytest.mark.parametrize("chain", [("stops",), ("stops", "looks")])
@pytest.mark.parametrize("executor", ["serial", "local", "dask"])
def test_a_kill_in_the_middle_of_a_batch_keeps_each_token_that_was_done(
    executor: str, chain: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    install(tmp_path, "stops-geom", STOPS)
    angle = np.arange(200) * (2 * np.pi / 200)
    np.save("circle.npy", np.column_stack([np.cos(angle), np.sin(angle)]))
    certifiers = [word for name in chain for word in ("-c", name)]
    workers = [] if executor == "serial" else ["-o", f"executor.{executor}.workers=1"]
    words = [*GEOM, "run", "-m", "npz:circle.npy", "-t", "all", "--opening", "no", "--hardest", "0"]
    words += certifiers
    words += ["--executor", executor, *workers, "--out", "run.db"]
    process = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(tmp_path),
        start_new_session=True,
    )
    try:
        assert wait_for_rows(tmp_path / "run.db", 9)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
    with open_file(tmp_path / "run.db") as run:
        stored = list(run.rows())
        assert [row.token_id for row in stored] == list(range(9))
        assert all((row.note == "looks: seen") == ("looks" in chain) for row in stored)
    (tmp_path / "go").touch()
    again = subprocess.run(words, env=environment(tmp_path), capture_output=True, check=False)
    assert again.returncode == 0, again.stderr
    with open_file(tmp_path / "run.db") as run:
        assert run.counts()["speakable"] == 200
        assert list(run.rows())[:9] == stored


def wait_for_rows(path: Path, count: int, seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if path.exists():
            try:
                with open_file(path) as run:
                    if sum(run.counts().values()) - run.counts()["pending"] >= count:
                        return True
            except geom.StoreError:  # it is being made
                pass
        time.sleep(0.01)
    return False


def verdicts(path: str) -> dict[int, tuple[Any, ...]]:
    with geom.open_run(path) as run:
        return {row.token_id: (row.verdict, row.certifier) for row in run.rows()}


def test_of_two_processes_on_one_run_the_second_is_refused(tmp_path: Path) -> None:
    first = begin(tmp_path, held="3")
    try:
        assert wait_for_rows(tmp_path / "run.db", 1)
        second = begin(tmp_path)
        _, err = second.communicate(timeout=120)
        assert second.returncode == 1  # the program has no command line that would make it 2
        assert "StoreError" in err
        assert "run.db: another process is writing it" in err
    finally:
        (tmp_path / "go").touch()
        first.communicate(timeout=120)
    assert first.returncode == 0
    asked = (tmp_path / "log.txt").read_text().split()
    assert asked == ["detect", *map(str, range(7))]
    with open_file(tmp_path / "run.db") as run:
        assert run.pending() == []


def test_the_command_says_so_in_one_line(command: Command, tmp_path: Path) -> None:
    first = begin(tmp_path, held="3")
    try:
        assert wait_for_rows(tmp_path / "run.db", 1)
        done = command("run", "--out", "run.db")
    finally:
        (tmp_path / "go").touch()
        first.communicate(timeout=120)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "run.db: another process is writing it: wait for it, or give another --out" in done.err


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system in memory with room for a few hundred kilobytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount")
    if done.returncode != 0:
        pytest.skip("mounting needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(
    small: Path, command: Command
) -> None:
    (small / "ballast").write_bytes(bytes(150_000))
    words = ("run", "--certifier", "highs", "--hardest", "0", "--out", str(small / "run.db"))
    full = command(*words)
    assert (full.code, full.out) == (2, "")
    assert full.err.splitlines()[-1].startswith(f"geom: {small / 'run.db'}: ")
    assert "free some space and run the same command again" in full.err
    with open_file(small / "run.db") as run:
        stored = list(run.rows())
        assert 0 < len(stored) < 413
        assert run.certificate(stored[0].token_id) is not None
    (small / "ballast").unlink()
    subprocess.run(["mount", "-o", "remount,size=20m", str(small)], check=True)
    assert command(*words).code == 0
    with open_file(small / "run.db") as run:
        assert run.pending() == []
        assert [row for row in run.rows() if row.token_id in {r.token_id for r in stored}] == stored


def test_a_folder_that_cannot_be_written_to_is_one_line(command: Command, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        folder = Path("/proc")  # root writes everywhere else
    else:
        folder = tmp_path / "closed"
        folder.mkdir(mode=0o500)
    done: Done = command("run", "--tokens", "5", "--out", str(folder / "run.db"))
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert re.search(r"run\.db: .*give an --out in a folder you can write to", done.err)


def test_weights_that_have_changed_are_refused_by_their_digest(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    geom.run(Readout.fold(np.eye(3)), tokens="all", out=path).close()
    before = path.read_bytes()
    with pytest.raises(geom.StoreError, match=r"other settings \(digest differ.*another --out"):
        geom.run(Readout.fold(2 * np.eye(3)), tokens="all", out=path)
    assert path.read_bytes() == before
