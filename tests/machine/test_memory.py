"""Available memory: the machine's figure, made-up control groups, and ``ulimit -v``."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from geom import InputError
from geom.machine import memory

GIB = 1 << 30
NOWHERE = Path("/nowhere")


def tree(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def left(tmp_path: Path, groups: str, files: Mapping[str, str]) -> int:
    """Return the memory left if ``/proc/self/cgroup`` and the folders of the groups say this."""
    proc, root = tmp_path / "cgroup", tmp_path / "fs"
    proc.write_text(groups)
    tree(root, files)
    return memory.available(proc, root)


@pytest.fixture(autouse=True)
def _much_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    class Free:
        available = 64 * GIB

    monkeypatch.setattr(psutil, "virtual_memory", Free)


def test_without_control_groups_the_machine_says_what_is_free() -> None:
    assert memory.available(NOWHERE, NOWHERE) == 64 * GIB


def test_a_container_leaves_its_limit_less_what_it_uses(tmp_path: Path) -> None:
    files = {"memory.max": f"{4 * GIB}\n", "memory.current": f"{GIB}\n"}
    assert left(tmp_path, "0::/\n", files) == 3 * GIB


def test_cached_files_count_as_free_and_shared_memory_does_not(tmp_path: Path) -> None:
    files = {
        "memory.max": f"{4 * GIB}\n",
        "memory.current": f"{3 * GIB}\n",
        "memory.stat": f"anon 7\nshmem {GIB}\nactive_file {GIB}\ninactive_file 5\n",
    }
    assert left(tmp_path, "0::/\n", files) == 2 * GIB + 5


def test_the_strictest_group_on_the_way_up_counts(tmp_path: Path) -> None:
    files = {
        "outer/memory.max": f"{2 * GIB}\n",
        "outer/memory.current": f"{GIB}\n",
        "outer/inner/memory.max": "max\n",
        "outer/inner/memory.current": "0\n",
    }
    assert left(tmp_path, "0::/outer/inner\n", files) == GIB


def test_groups_of_version_1_count(tmp_path: Path) -> None:
    files = {
        "memory/job/memory.limit_in_bytes": f"{3 * GIB}\n",
        "memory/job/memory.usage_in_bytes": f"{2 * GIB}\n",
        "memory/job/memory.stat": "inactive_file 1\ntotal_inactive_file 9\n",
        "memory/memory.limit_in_bytes": "9223372036854771712\n",
        "memory/memory.usage_in_bytes": "5\n",
    }
    assert left(tmp_path, "5:cpuset:/\n4:memory:/job\n0::/\n", files) == GIB + 9


def test_both_versions_at_once_count(tmp_path: Path) -> None:
    files = {
        "unified/job/memory.max": f"{GIB}\n",
        "unified/job/memory.current": "0\n",
        "memory/memory.limit_in_bytes": f"{2 * GIB}\n",
        "memory/memory.usage_in_bytes": "0\n",
    }
    assert left(tmp_path, "4:memory:/\n0::/job\n", files) == GIB


@pytest.mark.parametrize("path", ["/docker/0123456789ab", "/../../elsewhere"])
def test_a_path_outside_of_the_container_means_the_groups_in_sight(
    path: str, tmp_path: Path
) -> None:
    files = {"memory.max": f"{GIB}\n", "memory.current": "0\n"}
    assert left(tmp_path, f"0::{path}\n", files) == GIB


def test_a_full_group_leaves_nothing_and_not_less(tmp_path: Path) -> None:
    files = {"memory.max": "5\n", "memory.current": "7\n"}
    assert left(tmp_path, "0::/\n", files) == 0


@pytest.mark.parametrize("content", ["", "much\n"])
def test_a_file_that_makes_no_sense_limits_nothing(content: str, tmp_path: Path) -> None:
    files = {"memory.max": content, "memory.current": "0\n", "memory.stat": "rubbish"}
    assert left(tmp_path, "rubbish\n0::/\n", files) == 64 * GIB


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux only")
def test_ulimit_counts() -> None:
    code = (
        "import resource; from geom.machine import memory; import psutil; "
        "used = psutil.Process().memory_info().vms; "
        "resource.setrlimit(resource.RLIMIT_AS, (used + (300 << 20), resource.RLIM_INFINITY)); "
        "before = memory.available(); kept = bytearray(100 << 20); "
        "print(before >> 20, memory.available() >> 20)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert 250 <= before <= 300
    assert 95 <= before - after <= 105


def test_what_cannot_fit_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 3 * GIB)
    with pytest.raises(InputError) as refused:
        memory.check_memory(
            256000 * 3584 * 8, "W of 256000 x 3584 as float64", "take a larger machine"
        )
    assert str(refused.value) == (
        "W of 256000 x 3584 as float64 takes 6.8 GiB of memory and only 2.7 GiB is available: "
        "take a larger machine"
    )


def test_a_tenth_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 1000)
    memory.check_memory(900, "W")
    with pytest.raises(
        InputError, match=r"W takes 901 bytes of memory and only 900 bytes is available: "
    ):
        memory.check_memory(901, "W")


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        (50257 * 768 * 8, "294.5 MiB"),
        (256000 * 3584 * 8, "6.8 GiB"),
        (5 << 50, "5120.0 TiB"),
    ],
)
def test_numbers_of_bytes_are_for_people(count: int, words: str) -> None:
    assert memory.describe(count) == words
