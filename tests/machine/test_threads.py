"""Cores and thread pools; threadpoolctl reads from the library how many threads a pool has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from geom import cores, limited_threads
from geom.machine.threads import pool_threads

SEEN = """
import json, os
import numpy, scipy.linalg
from geom import limited_threads
from threadpoolctl import threadpool_info

def pools():
    return {
        owner: pool["num_threads"]
        for pool in threadpool_info()
        for owner in ("numpy", "scipy")
        if owner + ".libs" in pool["filepath"]
    }

seen = [pools()]
with limited_threads(MOST):
    seen.append(pools())
print(json.dumps([*seen, pools()]))
"""


def pools(most: int | None, **variables: str) -> list[dict[str, int]]:
    """Return the threads of NumPy's and SciPy's pools before, in and after `limited_threads`."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS")
    environment = {key: value for key, value in os.environ.items() if key not in names}
    done = subprocess.run(
        [sys.executable, "-c", SEEN.replace("MOST", str(most))],
        env=environment | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    before, within, after = json.loads(done.stdout)
    if set(before) != {"numpy", "scipy"}:
        pytest.skip("NumPy and SciPy share one library here")
    return [before, within, after]


def test_scipy_steps_aside_for_numpy_and_gets_its_threads_back() -> None:
    before, within, after = pools(None, OPENBLAS_NUM_THREADS="2")
    assert within == {"numpy": min(before["numpy"], cores()), "scipy": 1}
    assert after == before


def test_a_product_may_use_the_threads_that_the_user_allows() -> None:
    assert pool_threads() <= cores()
    with limited_threads(1):
        assert pool_threads() == 1


def test_a_limit_is_kept_and_raises_nothing() -> None:
    assert pools(1)[1] == {"numpy": 1, "scipy": 1}
    assert pools(64, OPENBLAS_NUM_THREADS="1")[1] == {"numpy": 1, "scipy": 1}


def containers(tmp_path: Path, groups: str, name: str, text: str) -> int:
    proc, file = tmp_path / "cgroup", tmp_path / "fs" / name
    proc.write_text(groups)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return cores(proc, tmp_path / "fs")


@pytest.fixture
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)


@pytest.mark.usefixtures("_eight_cores")
@pytest.mark.parametrize(
    ("quota", "count"),
    [("300000 100000", 3), ("150000 100000", 2), ("50000 100000", 1), ("max 100000", 8), ("", 8)],
)
def test_a_quota_of_time_is_worth_so_many_cores(quota: str, count: int, tmp_path: Path) -> None:
    assert containers(tmp_path, "0::/job\n", "job/cpu.max", quota) == count


@pytest.mark.usefixtures("_eight_cores")
@pytest.mark.parametrize(("quota", "count"), [("200000", 2), ("-1", 8)])
def test_a_quota_of_version_1_counts(quota: str, count: int, tmp_path: Path) -> None:
    period = tmp_path / "fs" / "cpu" / "cpu.cfs_period_us"
    period.parent.mkdir(parents=True)
    period.write_text("100000\n")
    assert containers(tmp_path, "3:cpu:/\n", "cpu/cpu.cfs_quota_us", quota) == count


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinities")
def test_a_process_that_is_bound_to_one_core_has_one() -> None:
    code = (
        "import os; from geom import cores; "
        "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); print(cores())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
