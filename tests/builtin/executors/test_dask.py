"""Executor ``dask`` on real schedulers and workers, some of which are killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

import geom
from geom import InputError, PluginError
from geom_plugins.executors.dask_cluster import DaskOptions, run, workers
from support import TESTS
from support.command import GEOM, Command
from support.processes import until as until_within

until = partial(until_within, seconds=60.0)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and 127.0.0.2")


class Sent:
    """An object that leaves a file in a folder wherever it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return arrived, (self.folder,)


def arrived(folder: Path) -> Sent:
    (folder / f"{os.getpid()}-{time.monotonic_ns()}").touch()
    return Sent(folder)


def where(sent: Sent, item: int) -> Iterator[Any]:
    """Yield the worker's address, and the item."""
    from distributed import get_worker

    time.sleep(0.05)
    yield get_worker().ip, item


def square(item: int) -> Iterator[int]:
    yield item * item


def last(folder: Path, item: int) -> Iterator[int]:
    """Yield the item's square after a while; a file names the process that has it."""
    (folder / f"{os.getpid()}").touch()
    time.sleep(0.3)
    yield item * item


def die(item: int) -> Iterator[int]:
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    yield item


def refuse(item: int) -> Iterator[int]:
    yield item
    raise KeyError(f"no {item}")


class Cluster:
    """A scheduler and workers, each in its own process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self.workers = 0
        self.file = folder / "scheduler.json"
        self.scheduler = self._begin("scheduler", "--port", "0", "--host", "127.0.0.1")
        assert until(lambda: self.file.exists() and self.file.read_text())
        self.address = json.loads(self.file.read_text())["address"]

    def _begin(self, what: str, *arguments: str) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", f"distributed.cli.dask_{what}", *arguments]
        anywhere = ["--dashboard-address", "127.0.0.1:0"]  # two schedulers may run side by side
        known = [str(Path(__file__).parent), str(TESTS), os.environ.get("PYTHONPATH", "")]
        with (self.folder / f"{what}.log").open("ab") as log:
            process = subprocess.Popen(
                [*words, "--scheduler-file", str(self.file), "--no-dashboard", *anywhere],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(known)},
            )
        self.processes.append(process)
        return process

    def worker(self, host: str = "127.0.0.1") -> psutil.Process:
        """Start another worker, which its nanny restarts when it is killed."""
        nanny = psutil.Process(
            self._begin("worker", "--host", host, "--nthreads", "1", "--nworkers", "1").pid
        )
        self.workers += 1
        assert until(lambda: self._known() == self.workers)
        return nanny

    def _known(self) -> int:
        """Return the number of workers that the scheduler knows."""
        from distributed import Client

        with Client(self.address) as client:
            return len(client.scheduler_info(n_workers=-1)["workers"])

    def managed(self) -> bool:
        """Return whether the scheduler's memory manager runs, as it does from the start."""
        from distributed import Client

        with Client(self.address) as client:
            return bool(client.amm.running())

    def end(self) -> None:
        for process in reversed(self.processes):
            for child in children(process.pid):
                child.kill()
            process.kill()
            process.wait()


def children(pid: int) -> list[psutil.Process]:
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def grandchildren(nanny: psutil.Process) -> list[psutil.Process]:
    """Return the workers of a nanny, without the resource tracker that Python starts."""
    return [child for child in children(nanny.pid) if "spawn_main" in " ".join(child.cmdline())]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    folder = tmp_path / "cluster"
    folder.mkdir()
    found = Cluster(folder)
    yield found
    found.end()


def verdicts(found: geom.Run) -> dict[int, Any]:
    return {row.token_id: (row.verdict, row.margin_lower, row.margin_upper) for row in found.rows()}


def test_verdicts_are_the_serial_ones() -> None:
    words: dict[str, Any] = {"tokens": "90-130", "certifiers": ["highs"]}
    options = {"executor.dask.workers": 2}
    with (
        geom.run("demo", **words) as serial,
        geom.run("demo", executor="dask", options=options, **words) as spread,
    ):
        assert verdicts(spread) == verdicts(serial)
        assert {verdict for verdict, _, _ in verdicts(spread).values()} == {
            *("speakable", "unspeakable"),
        }


def test_two_hosts_share_the_work_and_each_gets_the_readout_once(
    cluster: Cluster, tmp_path: Path
) -> None:
    hosts = ["127.0.0.1", "127.0.0.2"]
    for host in hosts:
        cluster.worker(host)
    marks = tmp_path / "marks"
    marks.mkdir()
    options = DaskOptions(scheduler=cluster.address, workers=2)
    found = [seen for part in run(partial(where, Sent(marks)), range(40), options) for seen in part]
    assert sorted(item for _, item in found) == list(range(40))
    assert {host for host, _ in found} == set(hosts)
    pids = Counter(file.name.partition("-")[0] for file in marks.iterdir())
    assert len(pids) <= 3  # two workers, and this process or the scheduler
    assert max(pids.values()) == 1
    assert cluster.managed()


@pytest.mark.parametrize("killed", [1, 2])
def test_workers_that_are_killed_cost_nothing_but_time(
    killed: int, cluster: Cluster, tmp_path: Path
) -> None:
    nannies = [cluster.worker(), cluster.worker("127.0.0.2")]
    marks = tmp_path / "marks"
    marks.mkdir()
    results = run(
        partial(last, marks), range(30), DaskOptions(scheduler=cluster.address, workers=2)
    )
    found = [next(results), next(results)]
    for nanny in nannies[:killed]:
        for worker in grandchildren(nanny):
            worker.kill()
    found += results
    assert {value for part in found for value in part} == {item * item for item in range(30)}
    assert len(list(marks.iterdir())) > killed  # a surviving worker finished


@pytest.mark.parametrize("count", [1, 3])
def test_an_item_that_kills_every_worker_is_named(count: int) -> None:
    with pytest.raises(PluginError, match=r"executor dask: .*item 3.* if memory is short") as why:
        list(run(die, [3], DaskOptions(workers=count)))
    assert "\n" not in str(why.value)


def test_what_the_function_raises_is_raised_here(cluster: Cluster) -> None:
    cluster.worker()
    with pytest.raises(KeyError, match="no 2"):
        list(run(refuse, [2], DaskOptions(scheduler=cluster.address)))


def test_a_scheduler_that_dies_leaves_a_run_that_the_same_command_finishes(
    cluster: Cluster, command: Command, tmp_path: Path
) -> None:
    cluster.worker()
    words = ["run", "-c", "highs", "-t", "100-219", "--opening", "no", "--executor"]
    there = f"executor.dask.scheduler={cluster.address}"
    process = subprocess.Popen(
        [*GEOM, *words, "dask", "-o", there, "-o", "executor.dask.wait=3", "--out", "cut.db"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert until(lambda: Path("cut.db").exists() and begun("cut.db"))
    cluster.scheduler.kill()
    out, err = process.communicate(timeout=100)
    assert (process.returncode, out) == (2, "")
    assert "executor dask lost its scheduler" in err.splitlines()[-1]
    with geom.open_run("cut.db") as cut:
        assert 0 < len(cut.pending()) < 120
    assert command(*words, "serial", "--out", "cut.db").code == 0
    assert command(*words, "serial", "--out", "whole.db").code == 0
    with geom.open_run("cut.db") as cut, geom.open_run("whole.db") as whole:
        assert verdicts(cut) == verdicts(whole)


def begun(path: str) -> bool:
    try:
        with geom.open_run(path) as run:
            return any(True for _ in run.rows())
    except geom.StoreError:  # the file is being created
        return False


def test_nobody_at_the_address_is_one_line(command: Command) -> None:
    nobody = ["-o", "executor.dask.scheduler=tcp://127.0.0.1:9", "-o", "executor.dask.wait=0.5"]
    asked = ("run", "-t", "5", "-c", "highs", "--opening", "no", "--executor", "dask")
    done = command(*asked, *nobody)
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[-1].startswith(
        "geom: executor dask: no scheduler answers at 'tcp://127.0.0.1:9': start one with"
    )


def test_a_scheduler_without_workers_is_one_line(cluster: Cluster) -> None:
    with pytest.raises(InputError, match="has no worker; start one with dask worker tcp://"):
        list(run(square, [1], DaskOptions(scheduler=cluster.address, wait=0.5)))


def test_without_distributed_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=re.escape(geom.install_command("dask"))):
        list(run(square, [1], DaskOptions()))


def test_nothing_is_begun_for_nothing() -> None:
    assert list(run(square, [], DaskOptions(scheduler="tcp://127.0.0.1:9"))) == []


def test_work_is_cut_for_the_workers_there_are() -> None:
    assert workers(DaskOptions(workers=7)) == 7
    assert workers(DaskOptions()) == geom.cores()
    assert workers(DaskOptions(scheduler="tcp://127.0.0.1:9")) > geom.cores()
