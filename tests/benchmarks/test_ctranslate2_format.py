"""The reader of CTranslate2's files, on files written as its own writer writes them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from ctranslate2_format import read_variables
from numpy.typing import NDArray

TYPES = [np.float32, np.int8, np.int16, np.int32, np.float16]

ARRAYS = {
    "decoder/embeddings/weight": np.arange(6, dtype=np.float16).reshape(3, 2) / 8,
    "decoder/layer_norm/gamma": np.array([0.1, -3.0], dtype=np.float32),
    "decoder/num_heads": np.int16(8).reshape(()),
    "decoder/pre_norm": np.array([1, -1], dtype=np.int8),
}
ALIASES = [("decoder/projection/weight", "decoder/embeddings/weight")]


def string(text: str) -> bytes:
    return struct.pack("<H", len(text.encode()) + 1) + text.encode() + b"\0"


def variable(name: str, array: NDArray[np.generic]) -> bytes:
    shape = struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
    kind = struct.pack("<BI", TYPES.index(array.dtype.type), array.nbytes)
    return string(name) + shape + kind + array.tobytes()


def written(variables: Sequence[bytes], aliases: Sequence[tuple[str, str]] = ()) -> bytes:
    """Return a file of version 6, as CTranslate2's ``model_spec.py`` writes it."""
    head = struct.pack("<I", 6) + string("WhisperSpec") + struct.pack("<I", 3)
    names = [string(alias) + string(name) for alias, name in aliases]
    counts = [struct.pack("<I", len(part)) for part in (variables, names)]
    return b"".join([head, counts[0], *variables, counts[1], *names])


SOUND = written([variable(*item) for item in ARRAYS.items()], ALIASES)
W = variable("W", np.ones((2, 3), dtype=np.float32))


def test_variables_and_aliases_are_read(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(SOUND)
    found = read_variables(tmp_path / "model.bin")
    assert list(found) == [*ARRAYS, "decoder/projection/weight"]
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)
    assert found["decoder/projection/weight"] is found["decoder/embeddings/weight"]


@pytest.mark.parametrize("size", range(4, len(SOUND), 7))
def test_a_file_that_is_cut_short_is_refused(size: int, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(SOUND[:size])
    with pytest.raises(ValueError, match="is cut short"):
        read_variables(tmp_path / "model.bin")


@pytest.mark.parametrize(
    ("damaged", "why"),
    [
        (struct.pack("<I", 5) + SOUND[4:], "version 5"),
        (SOUND + b"\0", "1 bytes after"),
        (written([W, W]), "two variables 'W'"),
        (written([W], [("W", "W")]), "two variables 'W'"),
        (written([W], [("head", "V")]), "alias of 'V'"),
        (written([W.replace(b"\x00" + struct.pack("<I", 24), b"\x05" + bytes(4))]), "type 5"),
        (written([W.replace(struct.pack("<I", 24), struct.pack("<I", 20))]), "20 bytes, not those"),
        (written([W.replace(b"W\0", b"WW")]), "zero byte"),
        (written([W.replace(b"W\0", b"\xff\0")]), "not UTF-8"),
        (written([W.replace(struct.pack("<I", 3), b"\xff" * 4)]), "24 bytes, not those"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(
    damaged: bytes, why: str, tmp_path: Path
) -> None:
    (tmp_path / "model.bin").write_bytes(damaged)
    with pytest.raises(ValueError, match=why):
        read_variables(tmp_path / "model.bin")
