"""Files that geom writes: whole, and never over a run, through a link or over another's file."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import geom
from geom import InputError, Readout
from geom.files.replacing import COMPANIONS, replacing
from support.command import Command

POSIX = pytest.mark.skipif(os.name != "posix", reason="needs POSIX links and pipes")

SQUARE = Readout.fold([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [0.25, 0.5]])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the test's folder, with a run, another database and a file of the user's."""
    monkeypatch.chdir(tmp_path)
    make_run("run.db")
    make_run("run.html")
    (tmp_path / "mine").write_text("mine")
    np.savez(tmp_path / "W.npz", W=SQUARE.W)
    return tmp_path


def make_run(name: str) -> None:
    geom.run(SQUARE, tokens="all", detectors=["self-argmax"], out=name).close()


def contents(folder: Path) -> dict[str, bytes | str]:
    """Return the bytes of each file, and the target of each link."""
    return {
        path.name: os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in folder.iterdir()
        if path.is_symlink() or path.is_file()
    }


def linked(name: str, to: str) -> Callable[[], None]:
    return lambda: os.symlink(to, name)


PLACES: dict[str, Callable[[], None]] = {
    "run.db": lambda: None,
    "run.html": lambda: None,
    "hard": lambda: os.link("run.db", "hard"),
    "to-run": linked("to-run", "run.db"),
    "to-mine": linked("to-mine", "mine"),
    "to-nothing": linked("to-nothing", "absent"),
    "to-null": linked("to-null", "/dev/null"),
    "folder": lambda: os.mkdir("folder"),
    "pipe": lambda: os.mkfifo("pipe"),
    "/dev/null": lambda: None,
    **{f"run.db{suffix}": lambda: None for suffix in COMPANIONS},
}
"""Places where a file must not be written, and how to make them."""

WRITERS = {
    "export": lambda out: ("export", "run.db", "--out", out),
    "certificate": lambda out: ("export", "run.db", "--format", "certificate", "--out", out),
    "parquet": lambda out: ("export", "run.db", "--format", "parquet", "--out", out),
    "report": lambda out: ("report", "run.db", "--model", "npz:W.npz", "--out", out),
}


@POSIX
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("writer", WRITERS)
def test_nothing_is_written_over_what_is_not_geoms_to_replace(
    writer: str, place: str, folder: Path, command: Command
) -> None:
    PLACES[place]()
    before = contents(folder)
    done = command(*WRITERS[writer](place))
    said = done.err.splitlines()[-1]
    assert (done.code, said.startswith(f"geom: {place}")) == (2, True)
    assert "give another --out" in said or "give a file's name" in said
    assert contents(folder) == before


@POSIX
@pytest.mark.parametrize("place", PLACES)
def test_the_same_holds_in_python(place: str, folder: Path) -> None:
    PLACES[place]()
    before = contents(folder)
    with geom.open_run("run.db") as run, pytest.raises(InputError):
        geom.export(run, "csv", place)
    assert contents(folder) == before


@POSIX
@pytest.mark.parametrize("kind", ["run", "link"])
def test_a_plot_is_drawn_over_neither_a_run_nor_a_link(
    kind: str, folder: Path, command: Command
) -> None:
    if kind == "run":
        make_run("plot.svg")
    else:
        os.symlink("mine", "plot.svg")
    before = contents(folder)
    words = ("compare", "--model", "npz:W.npz", "--tokens", "0", "--precision", "float32")
    done = command(*words, "--out", "plot.svg")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    with pytest.raises(InputError):
        geom.compare(SQUARE, [0], ["float32"]).plot("plot.svg")
    assert contents(folder) == before


def test_a_report_does_not_take_the_place_of_the_run_it_is_of(
    folder: Path, command: Command
) -> None:
    before = contents(folder)
    done = command("report", "run.html", "--model", "npz:W.npz")
    assert (done.code, "run.html exists and is not a report of geom" in done.err) == (2, True)
    assert contents(folder) == before


def test_a_report_whose_name_nobody_gave_replaces_reports_alone(
    folder: Path, command: Command
) -> None:
    make_run("k.db")
    report = ("report", "k.db", "--model", "npz:W.npz")
    assert command(*report).code == 0
    first = Path("k.html").read_bytes()
    Path("k.html").write_bytes(first + b"<!-- older -->")
    assert command(*report).code == 0
    assert Path("k.html").read_bytes() == first
    Path("k.html").write_text("<!doctype html><p>My diary")
    done = command(*report)
    assert (done.code, done.out) == (2, "")
    assert "k.html exists and is not a report of geom: name another --out" in done.err
    assert Path("k.html").read_text() == "<!doctype html><p>My diary"
    assert command(*report, "--out", "k.html").code == 0  # the user gave its name


@POSIX
def test_what_stands_at_out_part_is_left_alone(folder: Path, command: Command) -> None:
    Path("rows.part").write_text("mine")
    os.symlink("mine", "csv.part")
    for name in ("rows", "csv"):
        assert command("export", "run.db", "--format", "csv", "--out", name).code == 0
    assert Path("rows.part").read_text() == Path("mine").read_text() == "mine"
    assert os.readlink("csv.part") == "mine"
    assert Path("rows").read_bytes() == Path("csv").read_bytes() != b""


def test_a_hard_link_to_what_is_replaced_keeps_what_it_had(folder: Path, command: Command) -> None:
    os.link("mine", "other")
    assert command("export", "run.db", "--out", "mine").code == 0
    assert Path("other").read_text() == "mine"
    assert len(Path("mine").read_text().splitlines()) == 5


# The mechanism


@contextmanager
def masked(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@POSIX
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0, 0o666)])
def test_a_new_file_has_the_permissions_of_any_new_file(
    mask: int, mode: int, tmp_path: Path
) -> None:
    with masked(mask), replacing(tmp_path / "new") as file:
        file.write(b"whole")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == mode


@POSIX
def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "private"
    path.write_text("before")
    path.chmod(0o600)
    with masked(0o022), replacing(path) as file:
        file.write(b"whole")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"whole", 0o600)


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_what_fails_leaves_what_was_there_and_nothing_else(
    failure: type[BaseException], tmp_path: Path
) -> None:
    path = tmp_path / "kept"
    path.write_text("before")

    def fail() -> None:
        with replacing(path) as file:
            file.write(b"half")
            assert path.read_text() == "before"
            raise failure

    with pytest.raises(failure):
        fail()
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("kept", "before")]


def test_a_file_that_its_writer_closes_is_whole(tmp_path: Path) -> None:
    with replacing(tmp_path / "closed") as file:
        file.write(b"whole")
        file.close()
    assert (tmp_path / "closed").read_bytes() == b"whole"


def test_a_run_that_came_meanwhile_is_not_written_over(folder: Path) -> None:
    def write() -> None:
        with replacing(folder / "late.db") as file:
            file.write(b"rows")
            make_run("late.db")

    with pytest.raises(InputError, match="is a run, or another database"):
        write()
    with geom.open_run("late.db") as run:
        assert len(list(run.rows())) == 5
    assert not list(folder.glob(".geom-*"))


@POSIX
def test_a_disk_that_is_full_is_one_line_and_leaves_nothing(folder: Path) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with geom.open_run("run.db") as run:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        try:
            with pytest.raises(InputError, match=r"^rows: File too large; give a file"):
                geom.export(run, "jsonl", "rows")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(folder.glob("rows*"))
    assert not list(folder.glob(".geom-*"))


def test_a_name_as_long_as_can_be_is_written(tmp_path: Path) -> None:
    with replacing(tmp_path / ("n" * 255)) as file:
        file.write(b"whole")
    assert (tmp_path / ("n" * 255)).read_bytes() == b"whole"


@POSIX
def test_a_socket_is_no_place_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as end:
        end.bind("socket")
        with pytest.raises(InputError, match="socket: it is a socket"), replacing(Path("socket")):
            pass


# The file of a run


RUN = ("run", "--model", "npz:W.npz", "--tokens", "all", "--certifier", "maxent", "--out")


@POSIX
@pytest.mark.parametrize(
    "place", ["to-mine", "to-nothing", "to-null", "folder", "pipe", "/dev/null", "mine", "W.npz"]
)
def test_a_run_is_begun_neither_through_a_link_nor_over_another_file(
    place: str, folder: Path, command: Command
) -> None:
    PLACES.get(place, lambda: None)()
    before = contents(folder)
    done = command(*RUN, place)
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[-1].startswith(f"geom: {folder / place}")
    assert contents(folder) == before


@POSIX
def test_a_run_goes_on_by_a_link_to_it(folder: Path, command: Command) -> None:
    assert command(*RUN, "one.db").code == 0
    os.symlink("one.db", "link.db")
    assert command(*RUN, "link.db").code == 0
    assert Path("link.db").is_symlink()


@pytest.mark.parametrize("suffix", COMPANIONS)
def test_a_run_costs_no_other_run_of_a_name_it_needs(
    suffix: str, folder: Path, command: Command
) -> None:
    make_run(f"k{suffix}")
    before = contents(folder)
    done = command(*RUN, "k")
    assert (done.code, f"k{suffix} exists, and the run needs that name" in done.err) == (2, True)
    assert contents(folder) == before
    done = command(*RUN, f"run.db{suffix}")
    assert (done.code, "belongs to the run" in done.err) == (2, True)
    assert contents(folder) == before


@POSIX
@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_lock_is_taken_neither_through_a_link_nor_over_a_file(
    kind: str, folder: Path, command: Command
) -> None:
    if kind == "link":
        os.symlink("mine", "k.db-lock")
    else:
        Path("k.db-lock").write_text("notes on a lock")
    before = contents(folder)
    done = command(*RUN, "k.db")
    assert (done.code, "k.db-lock exists" in done.err) == (2, True)
    assert contents(folder) == before


# A new plugin's package


def test_a_plugin_that_cannot_be_written_whole_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Path, text: str, **options: str) -> int:
        if self.name == "README.md":
            raise OSError(28, "No space left on device")
        return self.write_bytes(text.encode())

    monkeypatch.setattr(Path, "write_text", fails)
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match="No space left on device"):
        geom.new_plugin("detector", "mine", tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]


@POSIX
def test_a_plugin_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    os.symlink("elsewhere", tmp_path / "mine")
    with pytest.raises(InputError, match="already exists"):
        geom.new_plugin("detector", "mine", tmp_path)
    assert not list((tmp_path / "elsewhere").iterdir())
