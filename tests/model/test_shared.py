"""Weights in files: what is sent, what is mapped, and that no file is left behind."""

from __future__ import annotations

import mmap
import os
import pickle
import shutil
import signal
import stat
import subprocess
import sys
from collections import namedtuple
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geom import InputError, Readout
from geom.model import shared as shared_memory
from geom.model.shared import shared

RNG = np.random.default_rng(5)
READOUT = Readout.fold(
    RNG.standard_normal((300, 16)),
    RNG.standard_normal(300),
    norm="layernorm",
    tokens=[f"token {i}" for i in range(300)],
    source="npz:some.npz",
)
Usage = namedtuple("Usage", "total used free")


def mapped_file(array: Any) -> Path:
    """Return the file that the array's memory maps."""
    while not isinstance(array.base, mmap.mmap):
        array = array.base
    return Path(array.filename)


def sent(readout: Readout) -> Readout:
    """Return the readout as another process receives it."""
    arrived = pickle.loads(pickle.dumps(readout))
    assert isinstance(arrived, Readout)
    return arrived


def alike(one: Readout, other: Readout) -> bool:
    pairs = ((one.W, other.W), (one.b, other.b), (one.row_norms, other.row_norms))
    return all(np.array_equal(a, b) for a, b in pairs) and one.norm == other.norm


def test_a_shared_readout_is_the_same_readout(tmp_path: Path) -> None:
    with shared(READOUT, tmp_path) as readout:
        assert alike(readout, READOUT)
        assert (readout.digest, readout.tokens) == (READOUT.digest, READOUT.tokens)
        assert not any(array.flags.writeable for array in (readout.W, readout.b))


def test_what_is_sent_is_the_files_names(tmp_path: Path) -> None:
    with shared(READOUT, tmp_path) as readout:
        assert len(pickle.dumps(readout)) < 1000
        arrived = sent(readout)
        assert alike(arrived, READOUT)
        assert (arrived.source, arrived.domain) == (READOUT.source, READOUT.domain)
        for name in ("W", "b", "row_norms"):
            array = getattr(arrived, name)
            assert mapped_file(array).samefile(mapped_file(getattr(readout, name)))
            assert not array.flags.writeable


def test_the_files_are_numpys_and_for_this_user_alone(tmp_path: Path) -> None:
    with shared(READOUT, tmp_path) as readout:
        file = mapped_file(readout.W)
        assert np.array_equal(np.load(file, allow_pickle=False), READOUT.W)
        assert file.parent.parent == tmp_path
        if os.name == "posix":
            assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("end", [None, ValueError(), KeyboardInterrupt()])
def test_nothing_is_left_however_it_ends(end: BaseException | None, tmp_path: Path) -> None:
    with suppress(ValueError, KeyboardInterrupt), shared(READOUT, tmp_path):
        assert any(tmp_path.iterdir())
        if end is not None:
            raise end
    assert not any(tmp_path.iterdir())


def test_weights_in_a_file_stay_in_that_file(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    with (
        shared(READOUT, tmp_path / "first") as first,
        shared(first, tmp_path / "second") as second,
    ):
        assert mapped_file(sent(second).W).samefile(mapped_file(first.W))
        assert not list(tmp_path.glob("second/*/*.npy"))


def test_some_rows_of_a_file_are_found_there(tmp_path: Path) -> None:
    with shared(READOUT, tmp_path) as readout:
        rows = shared_memory.SharedReadout(readout.W[7:], readout.b[7:])
        arrived = sent(rows)
        assert alike(arrived, rows)
        assert mapped_file(arrived.W).samefile(mapped_file(readout.W))


def test_what_is_not_in_the_file_travels_itself(tmp_path: Path) -> None:
    with shared(READOUT, tmp_path) as readout:
        columns = shared_memory.SharedReadout(readout.W[:, 3:], readout.b)
        for other in (readout.without_bias(), columns):
            assert alike(sent(other), other)
        assert not sent(readout.without_bias()).b.any()


def test_a_map_that_only_this_process_changed_is_not_taken_for_the_file(tmp_path: Path) -> None:
    np.save(tmp_path / "W.npy", READOUT.W)
    private = np.load(tmp_path / "W.npy", mmap_mode="c")
    private[0, 0] = 1e6
    with shared(Readout(private, READOUT.b), tmp_path) as readout:
        assert sent(readout).W[0, 0] == 1e6


def test_the_folder_in_memory_serves_where_only_that_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_memory, "SHM", tmp_path)
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: Usage(0, 0, 1 << 30 if path == tmp_path else 1)
    )
    with shared(READOUT) as readout:
        assert mapped_file(readout.W).parent.parent == tmp_path


def test_no_room_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 1))
    with (
        pytest.raises(InputError, match=r"has no room for the 42\.2 KiB of weights .* TMPDIR"),
        shared(READOUT),
    ):
        pass


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_a_disk_that_fills_up_is_said_in_one_line() -> None:
    with pytest.raises(InputError, match=r"^/dev/full has no room"):
        shared_memory._filed(_Full("/dev/full/geom/W.npy"), READOUT.W)


class _Full(type(Path())):  # its base is the system's type of path
    """A path that opens the device that is always full."""

    def open(self, *arguments: Any, **others: Any) -> Any:
        return Path("/dev/full").open("wb")


def test_a_folder_that_cannot_be_written_to_is_said_in_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"absent: No such file or directory; .* set TMPDIR"),
        shared(READOUT, tmp_path / "absent"),
    ):
        pass


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX locks")
def test_what_a_killed_process_left_is_removed_and_what_another_uses_is_not(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; import numpy as np; "
        "from geom import Readout; from geom.model.shared import shared\n"
        "with shared(Readout.fold(np.eye(3)), Path(sys.argv[1])):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    os.utime(left, (0, 0))
    with shared(READOUT, tmp_path) as used:
        assert not left.exists()
        home = mapped_file(used.W).parent
        os.utime(home, (0, 0))
        with shared(READOUT, tmp_path):
            assert home.exists()
