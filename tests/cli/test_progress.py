"""Progress as people see it: bars at a terminal, and lines in a file, in which nothing is lost."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from geom import Detector, NoOptions
from geom.cli.display.lookout import Lookout
from geom.cli.display.messages import say
from geom.cli.display.progress import _Lines, bars, forewarning
from geom.cli.display.stages import Stages
from geom.plugins.at_work import at_work, looked_on, plugins_at_work
from geom.plugins.chosen import Chosen
from geom.progress import report_progress, track_progress, watched
from support.command import GEOM, Command, environment, install
from support.terminal import Screen, drawn

Sleep = Callable[[float], None]


@pytest.fixture
def square(tmp_path: Path) -> Path:
    """Write a square's corners and its centre as a file in the test's folder."""
    np.save(path := tmp_path / "square.npy", [[1, 1], [-1, 1], [-1, -1], [1, -1], [0, 0]])
    return path


@pytest.fixture
def sleep(monkeypatch: pytest.MonkeyPatch) -> Sleep:
    """Return a function that advances the clock of stages, which stands still otherwise."""
    now = [0.0]
    monkeypatch.setattr("geom.cli.display.stages.monotonic", lambda: now[0])

    def pass_(seconds: float) -> None:
        now[0] += seconds

    return pass_


# Without a terminal


@pytest.fixture
def said(capfd: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    """Return a function that returns the lines on standard error so far."""
    return lambda: capfd.readouterr().err.splitlines()


def lasting(sleep: Sleep, seconds: float, n: int, stage: str = "certify") -> None:
    for _ in track_progress(range(n), stage, n):
        sleep(seconds / n)


def test_a_stage_has_a_line_at_its_beginning_at_every_tenth_and_at_its_end(
    sleep: Sleep, said: Callable[[], list[str]]
) -> None:
    with bars() as watcher, watched(watcher):
        lasting(sleep, 200.0, 40)
    lines = said()
    assert lines[0] == "geom: certify: 0 of 40 tokens"
    assert lines[1] == "geom: certify: 4 of 40 tokens, 10 %, 0:00:20, about 0:03:00 left"
    assert [re.findall(r"(\d+) %", line) for line in lines[1:-1]] == [
        [str(percent)] for percent in range(10, 100, 10)
    ]
    assert lines[-1] == "geom: certify: 40 tokens in 0:03:20"


def test_a_short_stage_has_one_line(sleep: Sleep, said: Callable[[], list[str]]) -> None:
    with bars() as watcher, watched(watcher):
        lasting(sleep, 0.9, 1000)
        lasting(sleep, 0.9, 1000)  # and none when it comes back
    assert said() == ["geom: certify: 0 of 1000 tokens"]


def test_a_stage_says_no_more_than_a_line_a_second(
    sleep: Sleep, said: Callable[[], list[str]]
) -> None:
    with bars() as watcher, watched(watcher):
        lasting(sleep, 3.0, 3000)
    assert len(said()) <= 1 + 3 + 1


def test_a_stage_that_comes_back_is_heard_of_if_it_lasts(
    sleep: Sleep, said: Callable[[], list[str]]
) -> None:
    with bars() as watcher, watched(watcher):
        lasting(sleep, 0.0, 8)
        lasting(sleep, 16.0, 8)
    assert said()[1] == "geom: certify: 1 of 8 tokens, 12 %, 0:00:02, about 0:00:14 left"


def test_a_stage_without_work_says_nothing(said: Callable[[], list[str]]) -> None:
    with bars() as watcher, watched(watcher):
        assert list(track_progress([], "certify", 0)) == []
    assert said() == []


def test_the_parts_of_a_stage_have_lines_only_if_they_last(
    sleep: Sleep, said: Callable[[], list[str]]
) -> None:
    with bars() as watcher, watched(watcher):
        for token in track_progress(range(3), "measure", 3, "numbers"):
            lasting(sleep, 40.0 if token == 2 else 5.0, 20, f"solid-angle {token}")
    lines = said()
    assert [line for line in lines if "solid-angle 0" in line or "solid-angle 1" in line] == []
    assert lines[-2] == "geom: solid-angle 2: 20 tokens in 0:00:40"
    assert lines[-1] == "geom: measure: 3 numbers in 0:00:50"


def test_a_part_that_says_nothing_of_its_end_ends_with_the_outer_step(
    sleep: Sleep, said: Callable[[], list[str]]
) -> None:
    with bars() as watcher, watched(watcher):
        for token in track_progress(range(2), "measure", 2, "numbers"):
            for step in range(3):  # of at most 1000
                report_progress(f"solid-angle {token}", step, 1000, "steps")
            sleep(2.0)
        lasting(sleep, 3.0, 2, "exact")
    assert "geom: exact: 0 of 2 tokens" in said()


def early(sleep: Sleep) -> Iterator[int]:
    for token in range(3):
        sleep(1.0)
        yield token
    raise ValueError("no more")


def test_a_stage_that_ends_early_does_not_claim_the_rest(
    sleep: Sleep, said: Callable[[], list[str]]
) -> None:
    with bars() as watcher, watched(watcher):
        work = track_progress(early(sleep), "certify", 10)
        with pytest.raises(ValueError, match="no more"):
            list(work)
        lasting(sleep, 2.0, 2, "exact")
    lines = said()
    assert "geom: certify: ended at 3 of 10 tokens in 0:00:03" in lines
    assert "geom: exact: 0 of 2 tokens" in lines  # the stage that failed is over


def test_a_loop_that_is_left_tells_any_watcher_what_was_done() -> None:
    told: list[tuple[float, float]] = []
    with watched(lambda stage, done, total, unit: told.append((done, total))):
        for token in track_progress(range(10), "certify", 10):
            if token == 2:
                break
    assert told == [(0, 10), (1, 10), (2, 10), (2, 2)]


def test_more_than_the_total_raises_the_total() -> None:
    told: list[tuple[float, float]] = []
    with watched(lambda stage, done, total, unit: told.append((done, total))):
        assert list(track_progress("abc", "certify", 1)) == ["a", "b", "c"]
    assert told == [(0, 1), (1, 1), (2, 2), (3, 3)]


def test_a_total_that_grows_is_followed(sleep: Sleep, said: Callable[[], list[str]]) -> None:
    with bars() as watcher:
        for done, total in ((0, 10), (5, 10), (6, 100), (10, 100), (100, 100)):
            watcher("walk", done, total, "steps")
            sleep(5.0)
    shown = [re.search(r"(\d+ of \d+|\d+) steps", line) for line in said()]
    assert [found and found[1] for found in shown] == [
        "0 of 10",
        "5 of 10",
        "10 of 100",
        "100",
    ]


def test_bytes_are_shown_as_such(sleep: Sleep, said: Callable[[], list[str]]) -> None:
    with bars() as watcher:
        for done in (0, 1_000_000, 2_000_000):
            watcher("fetch", done, 2_000_000, "bytes")
            sleep(2.0)
    assert said() == [
        "geom: fetch: 0 bytes of 2.0 MB",
        "geom: fetch: 1.0 MB of 2.0 MB, 50 %, 0:00:02, about 0:00:02 left",
        "geom: fetch: 2.0 MB in 0:00:04",
    ]


@pytest.mark.parametrize("total", [np.inf, np.nan, -1.0])
def test_no_report_of_a_plugin_can_end_the_work(
    sleep: Sleep, total: float, said: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def work() -> None:
        with bars() as watcher:
            for done in (0.0, 3.0, np.nan, np.inf, -1.0):
                watcher("walk", done, total, "steps")
                sleep(2.0)

    work()
    assert all(line.startswith("geom: walk: ") for line in said())
    with drawn(monkeypatch):
        work()


def test_colours_that_are_forced_make_no_terminal_of_a_file(
    said: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with bars() as watcher, watched(watcher):
        list(track_progress("ab", "certify", 2))
    assert said() == ["geom: certify: 0 of 2 tokens"]


def test_no_line_of_a_jsonl_run_acts_on_a_terminal(command: Command, square: Path) -> None:
    run = ("run", "--model", f"npz:{square}", "--tokens", "all", "--opening", "no")
    done = command(*run, "--format", "jsonl")
    assert len(done.rows) == 5
    assert "geom: certify: 0 of 5 tokens\n" in done.err
    assert done.err.replace("\n", "").isprintable()


# At a terminal


def names(screen: Screen) -> list[str]:
    """Return the first word of each line on the screen."""
    return [line.split()[0] for line in screen.lines]


def test_a_stage_that_comes_back_has_its_old_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    with drawn(monkeypatch) as screen, bars() as watcher, watched(watcher):
        for _ in range(3):
            list(track_progress("abc", "read", 3, "rows"))
            list(track_progress("abcd", "certify", 4))
    assert names(screen) == ["read", "certify"]
    assert screen.lines[1].endswith(" 4 tokens 0:00:00")
    assert screen.cursor_shown


def test_times_of_a_stage_that_comes_back_add_up(
    monkeypatch: pytest.MonkeyPatch, sleep: Sleep
) -> None:
    with drawn(monkeypatch) as screen, bars() as watcher, watched(watcher):
        for _ in range(3):
            lasting(sleep, 8.0, 4, "read")
    assert screen.lines[0].endswith("4 tokens 0:00:24")


def test_the_bar_of_a_part_goes_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with drawn(monkeypatch) as screen, bars() as watcher, watched(watcher):
        for token in track_progress(range(3), "measure", 3, "numbers"):
            list(track_progress("abc", f"solid-angle {token}", 3, "steps"))
    assert names(screen) == ["measure"]


def test_a_stage_that_ends_early_stays_where_it_was(
    monkeypatch: pytest.MonkeyPatch, sleep: Sleep
) -> None:
    with drawn(monkeypatch) as screen, bars() as watcher, watched(watcher):
        for token in track_progress(range(10), "certify", 10):
            sleep(1.0)
            if token == 3:
                break
        lasting(sleep, 60.0, 3, "exact")
    assert re.fullmatch(r"certify .* 3/10 tokens 0:00:04", screen.lines[0])


def test_messages_stand_above_the_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    long = "the model's own words " * 9
    with drawn(monkeypatch) as screen:
        say("first")
        with bars() as watcher, watched(watcher):
            for token in track_progress(range(3), "certify", 3):
                say(f"note {token}")
                print(f"a plugin prints {token}", file=sys.stderr)
            say(long)
            sys.stderr.write("no line end")
        say("last")
    lines = screen.lines
    assert lines[0] == "geom: first"
    for token in range(3):
        assert f"geom: note {token}" in lines
        assert f"a plugin prints {token}" in lines
    assert "no line end" in lines
    assert sum("━" in line for line in lines) == 1
    assert lines[-2].startswith("certify ")
    assert lines[-1] == "geom: last"
    assert long.strip() in " ".join(" ".join(lines).split())  # its lines end between words


def test_a_bar_gives_way_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    with drawn(monkeypatch, columns=44) as screen, bars() as watcher, watched(watcher):
        for _ in track_progress(range(300), "own direction", 300):
            say("a note")
    (line,) = [line for line in screen.lines if "note" not in line]
    assert re.fullmatch(r"own direction ━+ 300 tokens 0:00:\d\d", line)  # however slow it is


def test_a_stage_of_a_plugin_does_not_act_on_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with drawn(monkeypatch) as screen, bars() as watcher:
        watcher("[red]x[/red]\x1b[2J\u202e", 1.0, 2.0, "\x1b[2J")
    assert screen.lines[0].startswith(r"[red]x[/red]\u001b[2J\u202e ")
    assert b"\x1b[2J" not in screen.received


def test_a_dumb_terminal_has_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    with drawn(monkeypatch) as screen:
        monkeypatch.setenv("TERM", "dumb")
        with bars() as watcher, watched(watcher):
            list(track_progress("ab", "certify", 2))
    assert screen.received == b"geom: certify: 0 of 2 tokens\r\n"


WAITING = """
import time
from geom import Certifier, Finding, NoOptions, hookimpl

def certify(problem, token, prior, options):
    if token == 3:
        print("waiting", flush=True)
        time.sleep(60)
    return Finding()

@hookimpl
def geom_certifiers():
    yield Certifier("waiting", "waits", certify, NoOptions)
"""


def test_the_message_of_an_interruption_is_the_last_and_below_the_bars(
    tmp_path: Path, square: Path
) -> None:
    install(tmp_path, "waiting-geom", WAITING)
    run = ("run", "--model", f"npz:{square}", "--tokens", "all", "--certifier", "waiting")
    run += ("--opening", "no")
    screen = Screen(80, 24)
    with subprocess.Popen(
        [*GEOM, *run, "--out", "run.db"],
        stdin=screen.slave,
        stdout=screen.slave,
        stderr=screen.slave,
        env=environment(tmp_path) | {"TERM": "xterm"},
        cwd=tmp_path,
    ) as process:
        while b"waiting\r" not in screen.received and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
    screen.hang_up()
    assert screen.lines[0] == "waiting"
    assert re.fullmatch(r"certify +━.* 3/5 tokens +0:00:0\d", screen.lines[-3])
    assert " ".join(" ".join(screen.lines[-2:]).split()) == (
        "geom: interrupted while certifier waiting was at work; the same command goes on from "
        "run.db"
    )
    assert screen.cursor_shown


def test_two_models_have_each_stage_once_below_their_names(tmp_path: Path, square: Path) -> None:
    screen = Screen(100, 60)
    np.save(tmp_path / "triangle.npy", np.load(square)[:3])
    models = ["npz:square.npy", "npz:triangle.npy"]
    named = [part for model in models for part in ("--model", model)]
    done = subprocess.run(
        [
            *(*GEOM, "run", *named, "--tokens", "all", "--opening", "no"),
            *("--out", "runs", "--format", "jsonl"),
        ],
        stdin=screen.slave,
        stdout=subprocess.PIPE,
        stderr=screen.slave,
        env=environment(tmp_path) | {"TERM": "xterm"},
        cwd=tmp_path,
        timeout=60,
        check=True,
    )
    screen.hang_up()
    assert len(done.stdout.splitlines()) == 5 + 3
    first, second = (
        screen.lines.index(f"geom: {model} ({place} of 2)") for place, model in enumerate(models, 1)
    )
    for lines in (screen.lines[first:second], screen.lines[second:]):
        assert sum(line.startswith("certify ") for line in lines) == 1


# A plugin that may never end


ENDLESS = """
import time
from geom import Detector, NoOptions, hookimpl

def detect(readout, domain, options):
    print("begun", flush=True)
    while True:
        time.sleep(0.01)
    yield

@hookimpl
def geom_detectors():
    yield Detector("endless", "never ends", detect, NoOptions)
"""


def test_ctrl_c_names_the_plugin_that_was_at_work(tmp_path: Path, square: Path) -> None:
    install(tmp_path, "endless-geom", ENDLESS)
    with subprocess.Popen(
        [*GEOM, "run", "-m", f"npz:{square}", "-d", "endless", "--out", "run.db"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(tmp_path),
        cwd=tmp_path,
        text=True,
    ) as process:
        assert process.stderr is not None
        before = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, after = process.communicate(timeout=60)
    assert (process.returncode, before) == (130, "begun\n")
    assert after.splitlines()[-1] == (
        "geom: interrupted while detector endless was at work; the same command goes on from run.db"
    )


def test_the_plugin_at_work_is_named_while_nothing_advances(
    sleep: Sleep, said: Callable[[], list[str]]
) -> None:
    with looked_on():
        stages = Stages(_Lines())
        lookout = Lookout(stages, plugins_at_work(), say)
        with at_work("executor local"), at_work("certifier mine"):
            for _ in range(9):
                lookout.look()
                sleep(5)
        sleep(1000)
        lookout.look()  # none is at work
    assert said() == [
        f"geom: certifier mine is at work, and nothing has advanced for 0:00:{seconds}"
        for seconds in (15, 30)
    ]


def test_what_advances_is_not_named(sleep: Sleep, said: Callable[[], list[str]]) -> None:
    with looked_on(), at_work("certifier mine"):
        stages = Stages(_Lines())
        lookout = Lookout(stages, plugins_at_work(), say)
        for done in range(1, 9):
            sleep(9)
            stages.report("certify", done, 100, "tokens")
            lookout.look()
    assert not any("at work" in line for line in said())


@pytest.mark.parametrize(
    ("total", "unit", "told"),
    [
        (101, "numbers", ["101 numbers take about 0:01:41: --tokens measures fewer, --limit"]),
        (12, "numbers", ["12 numbers take about 0:00:12: --tokens"]),
        (11, "numbers", []),
        (101, "rows", []),
    ],
)
def test_a_long_measurement_is_foretold_once(total: int, unit: str, told: list[str]) -> None:
    """A number takes a second, so 12 leave 11 seconds after the first."""
    seconds, seen = [0.0], list[float]()
    lines: list[str] = []

    def reported(stage: str, done: float, total: float, unit: str) -> None:
        seen.append(done)

    watch = forewarning(reported, lines.append, lambda: seconds[0])
    for done in range(total + 1):
        seconds[0] = float(done)
        watch("measure far", done, total, unit)
    assert seen == list(range(total + 1))
    assert len(lines) == len(told)
    assert all(line.startswith(start) for line, start in zip(lines, told, strict=True))


def test_a_plugin_is_at_work_only_until_it_yields() -> None:
    seen: list[str | None] = []
    asked = Chosen("detector", Detector("mine", "", yields, NoOptions), NoOptions())
    with looked_on():
        for item in asked.draw(
            lambda record, options: record.detect(None, None, options), "detect"
        ):
            seen += [item, plugins_at_work().name]
    assert seen == ["detector mine", None]


def yields(*_: object) -> Iterator[str | None]:
    yield plugins_at_work().name
