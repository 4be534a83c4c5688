"""Every reader on files that are damaged at random, and on archives that claim too much."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

import geom
from geom import InputError
from support.fuzzing import DAMAGES, TARGETS, Target, feed, files

INPUTS = 300
"""The number of damaged files for each reader."""


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
    """A stream of zero bytes that are never in memory all at once."""

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
    monkeypatch.setattr("geom.machine.memory.available", lambda: 100_000_000)
    with pytest.raises(InputError, match=r"array 'W' of .*bomb.npz takes 183.1 MiB of memory and"):
        geom.load(f"npz:{path}")
