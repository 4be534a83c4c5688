"""A path that is not a file, or not the expected kind, is neither waited for nor shown."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import geom
from geom import InputError
from support.command import Command
from support.strangers import READERS, SECRET, checkpoint, refused

pytestmark = pytest.mark.usefixtures("work")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def unix_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # keeps its address short
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)


def folder(path: Path) -> None:
    path.mkdir()


MAKERS = (pipe, device, unix_socket, folder)


def prepared(name: str) -> Path:
    """Return the path of the file, in a folder in which all else is sound."""
    if name.startswith("model/"):
        checkpoint(Path("model"))
        Path(name).unlink()
    return Path(name)


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_is_refused_at_once(
    name: str, make: Callable[[Path], None], command: Command
) -> None:
    make(prepared(name))
    started = time.monotonic()
    refused(command(*READERS[name]))
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json"])
@pytest.mark.parametrize("make", [pipe, unix_socket], ids=["pipe", "socket"])
def test_a_tokenizer_that_is_no_file_is_not_waited_for(
    name: str, make: Callable[[Path], None], command: Command
) -> None:
    checkpoint(Path("model"))
    make(Path("model") / name)
    assert command("run", "-m", "hf:model", "-t", "0", "--out", "run.db").code == 0


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("file").write_bytes(b"x")
    looked = os.stat("file")
    Path("file").unlink()
    os.mkfifo("file")
    monkeypatch.setattr(Path, "stat", lambda *_, **__: looked)
    with pytest.raises(InputError, match="file is a pipe, not a file"):
        geom.open_regular(Path("file"))


@pytest.mark.parametrize("name", READERS)
def test_nothing_of_another_file_is_shown(name: str, command: Command) -> None:
    prepared(name).write_text(SECRET)
    line = refused(command(*READERS[name]))
    for piece in re.findall(r"\w{4,}", SECRET):
        assert piece not in line
    for start in (SECRET[:4], "root", SECRET.encode()[:8].hex()):
        assert start not in line
    assert str(int.from_bytes(SECRET.encode()[:8], "little")) not in line


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model.safetensors.index.json", "tokenizer.json", "vocab.txt"]
)
@pytest.mark.parametrize("content", [SECRET.encode(), b"\xff\xfe" + SECRET.encode("utf-16-le")])
def test_nothing_of_another_file_beside_a_checkpoint_is_shown(
    name: str, content: bytes, command: Command
) -> None:
    model = checkpoint(Path("model"))
    if "model." in name or name.endswith("bin"):
        (model / "model.safetensors").unlink()
    (model / name).write_bytes(content)
    done = command("run", "-m", "hf:model", "-t", "0", "--out", "run.db")
    for piece in ("root", "hunter2", "correct", "horse", "0xff"):
        assert piece not in done.err


@pytest.mark.parametrize("content", [b"hunter2 = 3\nhunter2 = 4\n", b"[hunter2]\n[hunter2]\n"])
def test_a_damaged_configuration_is_told_by_its_place(content: bytes, command: Command) -> None:
    Path("geom.toml").write_bytes(content)
    line = refused(command("run", "--config", "geom.toml"))
    assert re.search(r"geom\.toml is not TOML \(at line \d, column \d+\); give a TOML file", line)
