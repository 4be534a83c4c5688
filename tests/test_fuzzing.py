"""Every reader on files that are damaged at random, and on archives that claim too much."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import geom
from fuzzing import TARGETS, Target, feed, files
from geom import InputError

Damage = Callable[[np.random.Generator, bytes], bytes]

INPUTS = 300
"""Damaged files a reader."""

NUMBERS = [b"\xff" * 8, b"\x00" * 8, b"\x7f" + b"\xff" * 7, b"\x00\x00\x00\x80", b"9" * 12, b"-1"]


def flip(rng: np.random.Generator, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        out[rng.integers(len(out))] ^= 1 << int(rng.integers(8))
    return bytes(out)


def cut(rng: np.random.Generator, data: bytes) -> bytes:
    return data[: rng.integers(len(data))]


def repeat(rng: np.random.Generator, data: bytes) -> bytes:
    a, b = sorted(rng.integers(len(data), size=2))
    return data[:b] + data[a:b] + data[b:]


def leave_out(rng: np.random.Generator, data: bytes) -> bytes:
    a = int(rng.integers(len(data)))
    return data[:a] + data[a + int(rng.integers(1, 40)) :]


def lie(rng: np.random.Generator, data: bytes) -> bytes:
    """An extreme number in place of some bytes."""
    number = NUMBERS[rng.integers(len(NUMBERS))]
    at = int(rng.integers(len(data)))
    return data[:at] + number + data[at + len(number) :]


DAMAGES: list[Damage] = [flip, cut, repeat, leave_out, lie]


@pytest.mark.parametrize("target", TARGETS, ids=[target.name for target in TARGETS])
def test_a_damaged_file_is_read_or_refused_in_one_line(target: Target) -> None:
    rng = np.random.default_rng(0)
    refused = 0
    with files(target) as (folder, sound):
        for i in range(INPUTS):
            refused += not feed(target, folder, DAMAGES[i % len(DAMAGES)](rng, sound))
        assert feed(target, folder, sound)
    assert refused > INPUTS / 10


class Zeros(io.RawIOBase):
    """So many zero bytes, that are never in memory at once."""

    def __init__(self, count: int) -> None:
        self.left = count

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        taken = min(self.left, size if size >= 0 else 1 << 20)
        self.left -= taken
        return bytes(taken)


def test_an_archive_that_unpacks_to_more_than_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = 3_000_000
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (rows, 8)}
    )
    path = tmp_path / "bomb.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("W.npy", "w", force_zip64=True) as file,
    ):
        file.write(header.getvalue())
        zeros = Zeros(rows * 64)
        while part := zeros.read(1 << 20):
            file.write(part)
    assert path.stat().st_size < 1_000_000
    monkeypatch.setattr("geom.memory.available", lambda: 100_000_000)
    with pytest.raises(InputError, match=r"array 'W' of .*bomb.npz takes 183.1 MiB of memory and"):
        geom.load(f"npz:{path}")
