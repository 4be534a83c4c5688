"""Headers, names and archives that claim too much are refused at once."""

from __future__ import annotations

import json
import struct
import time
import zipfile
from pathlib import Path

import pytest
from safetensors.numpy import save_file

from support.command import Command
from support.strangers import READERS, W, checkpoint, refused

pytestmark = pytest.mark.usefixtures("work")


def test_a_header_of_600_000_tensors_is_refused_at_once(command: Command) -> None:
    one = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    text = json.dumps({f"t{i}": one for i in range(600_000)}).encode()
    Path("W.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    started = time.monotonic()
    line = refused(command(*READERS["W.safetensors"]))
    assert "its header has 600000 tensors, and geom reads up to 200000" in line
    assert time.monotonic() - started < 10


def test_a_name_of_10_mb_is_cut_short(command: Command) -> None:
    name = "hunter2" * 1_500_000
    save_file({name: W}, "W.safetensors")
    line = refused(command(*READERS["W.safetensors"]))
    assert "has no tensor 'lm_head.weight'; it has hunter2" in line
    assert len(line) < 2100


def test_an_archive_of_400_000_names_is_refused_at_once(command: Command) -> None:
    with zipfile.ZipFile("W.npz", "w") as archive:
        archive.writestr("W.npy", b"")
    data = Path("W.npz").read_bytes()
    entry = data[data.index(b"PK\1\2") : data.index(b"PK\5\6")]
    many = 400_000
    listed = entry * many
    start = len(data[: data.index(b"PK\1\2")])
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, start, 0)
    record = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, many, many, len(listed), start)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, start + len(listed), 1)
    Path("W.npz").write_bytes(data[:start] + listed + record + locator + end)
    with zipfile.ZipFile("W.npz") as whole:
        assert len(whole.namelist()) == many
    started = time.monotonic()
    assert "MiB of names; save fewer arrays" in refused(command(*READERS["W.npz"]))
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (struct.pack("<2Q", 10**9, 0), "claims 1000000000 tensors, and geom reads up to"),
        (struct.pack("<2Q", 0, 10**9), "claims 1000000000 settings, and geom reads up to"),
        (
            struct.pack("<2QQ", 0, 1, 1) + b"k" + struct.pack("<2IQ", 9, 8, 10**10),
            "claims 10000000000 strings in 'k', and geom reads up to",
        ),
        (
            struct.pack("<2QQ", 0, 1, 1) + b"k" + struct.pack("<IQ", 8, 10**11),
            "its header has more than 256 MiB",
        ),
    ],
)
def test_a_gguf_file_with_a_hole_is_refused_at_once(
    header: bytes, reason: str, command: Command
) -> None:
    with Path("W.gguf").open("wb") as file:
        file.write(b"GGUF" + struct.pack("<I", 3) + header)
        file.truncate(1 << 38)  # a sparse file: nothing is on the disk
    started = time.monotonic()
    assert reason in refused(command(*READERS["W.gguf"]))
    assert time.monotonic() - started < 10


def test_a_file_that_should_be_small_is_not_read_whole(command: Command) -> None:
    checkpoint(Path("model"))
    with Path("model/config.json").open("wb") as file:
        file.truncate(1 << 38)
    assert "has more than 256 MiB" in refused(command(*READERS["model/config.json"]))
