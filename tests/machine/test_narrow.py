"""Narrow matrices, where per-token numbers outweigh rows: the stated memory is what is used.

The memory used is measured by tracemalloc, which sees NumPy's arrays too, and by the system for a
separate process.
"""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

import geom
from geom import (
    Candidate,
    Detector,
    Domain,
    NoOptions,
    Readout,
    limited_threads,
    own_winners,
    own_winners_memory,
)
from geom.plugins.chosen import Chosen
from geom.progress import watched
from geom.runs.pipeline import execute
from geom.runs.planning import ARRAYS, EXAMINED, plan
from geom.token_spec import parse_tokens

V = 200_000


def used(work: Callable[[], object]) -> int:
    """Return the most bytes that the work held at once."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def narrow(d: int, tokens: int = V) -> Readout:
    return Readout.fold(np.random.default_rng(d).standard_normal((tokens, d)))


def until(stage: str, after: float) -> Callable[[str, float, float, str], None]:
    """Return a watcher that ends the work once this much of the stage is done."""

    def watch(name: str, done: float, total: float, unit: str) -> None:
        if name == stage and done >= after:
            raise KeyboardInterrupt

    return watch


@pytest.mark.parametrize("d", [1, 2, 8])
@pytest.mark.parametrize("memory_mib", [1, 16])
def test_the_winners_of_all_tokens_take_no_more_than_stated(d: int, memory_mib: int) -> None:
    readout = narrow(d)

    def work() -> None:
        with pytest.raises(KeyboardInterrupt), watched(until("self-argmax", 3)):
            own_winners(readout, memory_mib=memory_mib)

    with limited_threads(2):  # each thread takes some
        stated = own_winners_memory(readout, memory_mib)
        assert stated / 6 < used(work) <= stated


@pytest.mark.parametrize(("d", "decay"), [(12, 0.0), (96, 0.0), (96, 1.0)])
def test_the_winners_of_wider_rows_take_no_more_than_stated(d: int, decay: float) -> None:
    """Rows with leading directions are screened, and the others are compared whole."""
    rows = np.random.default_rng(d).standard_normal((20_000, d)) * np.arange(1, d + 1) ** -decay
    readout = Readout.fold(rows)

    def work() -> None:
        with pytest.raises(KeyboardInterrupt), watched(until("self-argmax", 3000)):
            own_winners(readout, memory_mib=1)

    with limited_threads(2):
        stated = own_winners_memory(readout, 1)
        assert stated / 6 < used(work) <= stated


def test_the_winners_of_a_crowd_of_ties_take_no_more_than_stated() -> None:
    """Along the first token's direction, all others tie."""
    rows = np.hstack([np.ones((V, 1)), np.random.default_rng(0).integers(1, 9, (V, 3))])
    rows[0, 1:] = 0.0
    readout = Readout.fold(rows.astype(np.float64))
    peak = used(lambda: own_winners(readout, [0], centre=False, memory_mib=1))
    assert peak <= own_winners_memory(readout, 1)


def test_the_winners_of_a_few_tokens_take_no_more_than_stated() -> None:
    readout = narrow(1)
    peak = used(lambda: own_winners(readout, range(20), memory_mib=1))
    assert peak <= own_winners_memory(readout, 1)


def flags_all(readout: Readout, domain: Domain, options: NoOptions) -> Iterator[Candidate]:
    """Flag every token, and name its winner."""
    for token in range(readout.V):
        yield Candidate(token, 0)


def test_candidates_take_no_more_than_is_stated_for_each_token() -> None:
    readout = narrow(1, 30_000)
    asked = plan(readout, certifiers=())
    record = Detector("all", "flags all", flags_all, NoOptions)
    asked = replace(asked, detectors=(Chosen("detector", record, NoOptions()),))

    def work() -> None:
        with pytest.raises(KeyboardInterrupt):
            execute(asked, progress=until("certify", 0))

    assert used(work) <= readout.V * (ARRAYS + EXAMINED) / 2  # the other half is for printing them
    assert asked.memory >= readout.V * (ARRAYS + EXAMINED)


def test_rows_are_read_and_shown_within_what_is_stated_for_each_token() -> None:
    with geom.run(narrow(1, 9000), tokens="all", certifiers=()) as run:
        assert [row.token_id for row in run.rows()] == list(range(9000))
        assert used(lambda: sorted(run.rows(), key=lambda row: row.rank)) <= 9000 * EXAMINED
        assert used(lambda: sum(1 for _ in run.rows())) <= 4096 * 2 * EXAMINED


def test_all_tokens_are_listed_without_a_set_of_them() -> None:
    assert used(lambda: parse_tokens("all", V)) <= 48 * V


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux states a process's memory in /proc")
@pytest.mark.parametrize("shape", ["400000x1", "100000x8"])
def test_a_run_takes_no_more_than_its_plan_states(shape: str) -> None:
    """The whole process is measured, minus the memory to import geom and audit the demo."""
    rows, d = map(int, shape.split("x"))
    code = f"""
import re
from pathlib import Path
import numpy as np
import geom
from geom.runs.pipeline import execute
from geom.runs.planning import plan

def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

geom.run("demo", tokens="0-300").close()
before = peak()
readout = geom.Readout.fold(np.random.default_rng(0).standard_normal(({rows}, {d})))
asked = plan(readout, tokens="0-9")
execute(asked).close()
print(asked.memory, peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    stated, taken = map(int, done.stdout.split())
    assert taken <= stated
