"""Executor ``local`` with real processes, some of which are killed."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from geom import PluginError, Problem, Readout, cores
from geom.cli.display.output import print_line, reserved
from geom.model.shared import shared
from geom.plugins.chosen import Chosen
from geom.plugins.records import never
from geom.plugins.registry import installed
from geom.runs.certification import Link, certify
from geom_plugins.executors.local import LocalOptions, run, workers
from support import TESTS
from support.command import environment
from support.processes import last_a_minute, until

POSIX = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")

Verdicts = list[tuple[int, str, float | None, float | None]]


class UnsendableError(Exception):
    """An exception that cannot be rebuilt from its arguments."""

    def __init__(self, word: str, number: int) -> None:
        super().__init__(f"{word} is {number}")


def square(item: int) -> Iterator[int]:
    yield item * item


def countdown(item: int) -> Iterator[int]:
    yield from range(item, 0, -1)


def die_once(folder: Path, item: int) -> Iterator[int]:
    """Yield the item's square; item 5 kills the first process that has it."""
    if item == 5 and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    yield item * item


def die_at_three(item: list[int]) -> Iterator[int]:
    for value in item:
        if value == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        yield value


class OwnExit(BaseException):
    """An exception that `except Exception` misses."""


RAISED = {2: UnsendableError("two", 2), 3: KeyError("three"), 4: SystemExit(0), 5: OwnExit("own")}


def refuse(item: int) -> Iterator[int]:
    if item in RAISED:
        raise RAISED[item]
    yield item


def interrupt(item: int) -> Iterator[int]:
    if item:
        raise KeyboardInterrupt
    yield item


def print_twice(item: int) -> Iterator[int]:
    print("printed by Python")
    os.write(1, b"written by C\n")
    yield item


def threads_and_map(readout: Readout, item: int) -> Iterator[dict[str, Any]]:
    """Yield the threads of a worker's pools, and the file that its matrix maps."""
    import scipy.linalg  # noqa: F401 - loads its pool before the pools are read
    from threadpoolctl import threadpool_info

    base: Any = readout.W.base
    yield {
        "pid": os.getpid(),
        "inode": os.stat(base.filename).st_ino,
        "map": isinstance(base, np.memmap),
        "threads": {
            owner: pool["num_threads"]
            for pool in threadpool_info()
            for owner in ("numpy", "scipy")
            if f"{owner}.libs" in pool["filepath"]
        },
    }


def verdicts(problem: Problem, chain: Sequence[Link], tokens: list[int]) -> Iterator[Any]:
    for outcome in certify(problem, chain, tokens):
        yield (outcome.token_id, outcome.verdict, outcome.margin_lower, outcome.margin_upper)


def gone(pid: int) -> bool:
    """Return whether a process has ended; an orphan may stay in the process table for a while."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_verdicts_are_the_serial_ones_and_the_matrix_stays_where_it_is() -> None:
    rows = np.random.default_rng(1).standard_normal((400, 6))
    readout = Readout.fold(rows, norm="layernorm")
    highs = replace(installed().get("certifier", "highs"), sees_all=never)
    chain = (Chosen("certifier", highs, highs.options()),)
    batches = [list(range(start, start + 10)) for start in range(0, 60, 10)]
    serial = [
        row for batch in batches for row in verdicts(Problem(readout, readout.domain), chain, batch)
    ]
    with shared(readout) as ours:
        work = partial(verdicts, Problem(ours, ours.domain), chain)
        assert len(pickle.dumps(work)) < 10_000 < readout.W.nbytes
        found = [row for batch in run(work, batches, LocalOptions(workers=2)) for row in batch]
    assert sorted(found) == sorted(serial)
    assert {verdict for _, verdict, _, _ in found} == {"speakable", "unspeakable"}


@pytest.mark.parametrize("threads", [1, 2])
def test_a_worker_maps_the_file_and_has_the_threads_it_is_given(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    with shared(Readout.fold(np.eye(3))) as readout:
        work = partial(threads_and_map, readout)
        ((seen,),) = run(work, [0], LocalOptions(workers=1, threads=threads))
        assert seen["inode"] == os.stat(readout.W.base.filename).st_ino  # type: ignore[union-attr]
    assert seen["map"]
    assert seen["pid"] != os.getpid()
    if set(seen["threads"]) == {"numpy", "scipy"}:
        assert seen["threads"] == {"numpy": min(threads, cores()), "scipy": 1}


def test_nothing_is_begun_for_nothing() -> None:
    assert list(run(square, [], LocalOptions())) == []
    assert not active_children()


def test_as_many_workers_as_cores_unless_told() -> None:
    assert workers(LocalOptions()) == cores()
    assert workers(LocalOptions(workers=7)) == 7


def test_a_result_comes_value_by_value() -> None:
    assert list(run(countdown, [3], LocalOptions(workers=1))) == [[3], [2], [1]]


@POSIX
def test_a_worker_that_is_killed_costs_nothing_but_time(tmp_path: Path) -> None:
    found = list(run(partial(die_once, tmp_path), range(12), LocalOptions(workers=2)))
    assert (tmp_path / "died").exists()
    assert sorted(found) == [[item * item] for item in range(12)]


@POSIX
def test_an_item_that_kills_every_worker_is_named() -> None:
    items = [[1, 2], [3, 4], [5, 6]]
    results = run(die_at_three, items, LocalOptions(workers=1))
    assert [next(results), next(results)] == [[1], [2]]
    with pytest.raises(
        PluginError, match=r"item \[3, 4\] ended its process 3 times.*SIGKILL"
    ) as why:
        next(results)
    assert "\n" not in str(why.value)


@POSIX
def test_what_an_item_brought_before_it_killed_its_worker_is_not_lost() -> None:
    results = run(die_at_three, [[1, 2, 3]], LocalOptions(workers=1))
    found = []
    with pytest.raises(PluginError, match="ended its process 3 times"):
        found.extend(results)
    assert found[:2] == [[1], [2]]
    assert {value for (value,) in found} == {1, 2}


def test_what_the_function_raises_is_raised_here() -> None:
    with pytest.raises(RuntimeError, match="UnsendableError: two is 2"):
        list(run(refuse, [2], LocalOptions(workers=1)))
    with pytest.raises(KeyError, match="three") as raised:
        list(run(refuse, [3], LocalOptions(workers=1)))
    assert "in refuse" in "".join(raised.value.__notes__)


@pytest.mark.parametrize(("item", "said"), [(4, "SystemExit: 0"), (5, "OwnExit: own")])
def test_what_would_end_a_process_is_raised_here_as_an_error(item: int, said: str) -> None:
    with pytest.raises(RuntimeError, match=said):
        list(run(refuse, [1, item], LocalOptions(workers=1)))


def test_an_interrupt_of_the_functions_own_is_an_interrupt() -> None:
    with pytest.raises(KeyboardInterrupt):
        list(run(interrupt, [1], LocalOptions(workers=1)))


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_workers_print_to_standard_error_while_standard_output_is_reserved(
    unbuffered: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with reserved():
        assert list(run(print_twice, [1], LocalOptions(workers=1))) == [[1]]
        print_line("a result")
    out, err = capfd.readouterr()
    assert out == "a result\n"
    assert sorted(err.splitlines()) == ["printed by Python", "written by C"]


def test_a_function_that_cannot_be_sent_is_refused_before_anything_begins() -> None:
    with pytest.raises(PluginError, match=r"cannot send the work function .* use executor serial"):
        list(run(lambda item: item, [1], LocalOptions()))
    assert not active_children()


def test_an_item_that_cannot_be_sent_is_named() -> None:
    with pytest.raises(PluginError, match=r"cannot send item <.*lock.*> to another process"):
        list(run(square, [threading.Lock()], LocalOptions(workers=1)))


def test_whoever_stops_listening_ends_the_workers(tmp_path: Path) -> None:
    results = run(partial(last_a_minute, tmp_path), range(9), LocalOptions(workers=2))
    assert next(results) == [0]
    assert until(lambda: any(tmp_path.iterdir()))
    started = time.monotonic()
    results.close()  # type: ignore[attr-defined]  # it is a generator
    assert time.monotonic() - started < 5.0
    pids = [int(file.name) for file in tmp_path.iterdir()]
    assert all(map(gone, pids))


SCRIPT = """
import sys
from functools import partial
from pathlib import Path
from support.processes import last_a_minute
from geom_plugins.executors.local import LocalOptions, run

if __name__ == "__main__":
    try:
        print("begun", flush=True)
        list(run(partial(last_a_minute, Path(sys.argv[1])), range(1, 9), LocalOptions(workers=2)))
    except KeyboardInterrupt:
        print("interrupted")
"""


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Yield a process that has just begun, alone in its group, and its workers' folder.

    The two workers will be busy for a minute.
    """
    script, folder = tmp_path / "script.py", tmp_path / "pids"
    script.write_text(SCRIPT)
    folder.mkdir()
    here = TESTS
    process = subprocess.Popen(
        [sys.executable, str(script), str(folder)],
        env=environment(here),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        yield process, folder
    finally:
        process.kill()
        process.communicate()


def busy(folder: Path) -> list[int]:
    """Return the two workers, once both are at work."""
    assert until(lambda: len(list(folder.iterdir())) == 2)
    return [int(file.name) for file in folder.iterdir()]


@POSIX
def test_a_killed_process_takes_its_workers_with_it(
    begun: tuple[subprocess.Popen[str], Path],
) -> None:
    process, pids = begun[0], busy(begun[1])
    process.kill()
    assert until(lambda: all(map(gone, pids)), seconds=5.0)


@POSIX
def test_ctrl_c_is_for_the_process_and_not_for_its_workers(
    begun: tuple[subprocess.Popen[str], Path],
) -> None:
    process, pids = begun[0], busy(begun[1])
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=10) == ("interrupted\n", "")
    assert until(lambda: all(map(gone, pids)), seconds=5.0)


@POSIX
def test_ctrl_c_does_not_reach_workers_that_are_still_beginning(
    begun: tuple[subprocess.Popen[str], Path],
) -> None:
    time.sleep(0.2)  # a worker's imports take longer; but the test must hold at any moment
    os.killpg(begun[0].pid, signal.SIGINT)
    assert begun[0].communicate(timeout=10) == ("interrupted\n", "")


def test_a_script_that_does_not_guard_its_work_is_told(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from geom import PluginError\n"
        "from geom_plugins.executors.local import LocalOptions, run\n"
        "try:\n"
        "    list(run(abs, [1], LocalOptions(workers=1)))\n"
        "except PluginError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert "3 processes ended before they did anything" in done.stdout
    assert "if __name__ == '__main__'" in done.stdout
