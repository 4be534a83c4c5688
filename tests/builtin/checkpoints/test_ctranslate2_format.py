"""The reader of CTranslate2's files, on files written as its own writer writes them."""

from __future__ import annotations

import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from geom import InputError
from geom_plugins.checkpoints.ctranslate2_format import Model, read_model
from geom_plugins.checkpoints.spans import LocalFile
from support.ctranslate2_files import string, variable, written

ARRAYS = {
    "decoder/embeddings/weight": np.arange(6, dtype=np.float16).reshape(3, 2) / 8,
    "decoder/layer_0/linear/weight": np.zeros((40, 60), dtype=np.int8),  # more than a glance
    "decoder/layer_norm/beta": np.array([0.5, 7.0], dtype=ml_dtypes.bfloat16),
    "decoder/layer_norm/gamma": np.array([0.1, -3.0], dtype=np.float32),
    "decoder/num_heads": np.int16(8).reshape(()),
    "decoder/pre_norm": np.array([1, -1], dtype=np.int8),
}
ALIASES = [("decoder/projection/weight", "decoder/embeddings/weight")]
SOUND = written([variable(*item) for item in ARRAYS.items()], ALIASES)
W = variable("W", np.ones((2, 3), dtype=np.float32))


def read(path: Path, content: bytes) -> Model:
    path.write_bytes(content)
    return read_model(LocalFile(path))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.bin"


def test_variables_and_aliases_are_read(path: Path) -> None:
    found = read(path, SOUND)
    assert (found.specification, found.revision) == ("WhisperSpec", 3)
    assert list(found.variables) == [*ARRAYS, "decoder/projection/weight"]
    for name, array in ARRAYS.items():
        if array.ndim:
            assert found.variable(name)[:].dtype == array.dtype
            assert np.array_equal(found.variable(name)[:], array)
    assert found.variable("decoder/num_heads").number() == 8
    assert found.variables["decoder/projection/weight"] is found.variables[ALIASES[0][1]]


@pytest.mark.parametrize("version", [2, 3, 4, 5])
def test_older_versions_have_no_aliases_or_name_types_by_their_width(
    version: int, path: Path
) -> None:
    arrays = {name: a for name, a in ARRAYS.items() if a.dtype.name in ("float32", "int8", "int16")}
    parts = [variable(name, array, version) for name, array in arrays.items()]
    aliases = [("scale", "decoder/layer_norm/gamma")]
    found = read(path, written(parts, aliases, version=version))
    assert list(found.variables) == [*arrays, *(["scale"] if version >= 3 else [])]
    for name, array in arrays.items():
        if array.ndim:
            assert found.variable(name)[:].dtype == array.dtype
            assert np.array_equal(found.variable(name)[:], array)


def test_a_part_of_the_rows_is_read_alone(path: Path) -> None:
    found = read(path, SOUND).variable("decoder/embeddings/weight")
    assert np.array_equal(found[1:], ARRAYS["decoder/embeddings/weight"][1:])


def test_a_missing_variable_is_named_with_the_nearest(path: Path) -> None:
    with pytest.raises(InputError, match=r"has no variable 'decoder/embedding/weight'; it has dec"):
        read(path, SOUND).variable("decoder/embedding/weight")


@pytest.mark.parametrize("size", range(4, len(SOUND), 97))
def test_a_file_that_is_cut_short_is_refused(size: int, path: Path) -> None:
    with pytest.raises(InputError, match=r"is cut short|it claims"):
        read(path, SOUND[:size])


@pytest.mark.parametrize(
    ("damaged", "why"),
    [
        (struct.pack("<I", 1) + SOUND[4:], "says version 1"),
        (struct.pack("<I", 7) + SOUND[4:], "says version 7"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"", "is cut short"),
        (SOUND + b"\0", "1 bytes after"),
        (written([W, W]), "two variables 'W'"),
        (written([W], [("W", "W")]), "two variables 'W'"),
        (written([W], [("head", "V")]), "alias of 'V'"),
        (written([W.replace(b"\x00" + struct.pack("<I", 24), b"\x06" + bytes(4))]), "type 6"),
        (written([W.replace(struct.pack("<I", 24), struct.pack("<I", 20))]), "20 bytes or numbers"),
        (written([W.replace(b"W\0", b"WW")]), "zero byte"),
        (written([W.replace(b"W\0", b"\xff\0")]), "not UTF-8"),
        (written([W.replace(struct.pack("<I", 3), b"\xff" * 4)]), "24 bytes or numbers"),
        (written([string("W") + b"\xff" + bytes(2000)]), "255 dimensions"),
        (written([])[:-8] + b"\xff" * 8, "claims 4294967295 variables"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(damaged: bytes, why: str, path: Path) -> None:
    with pytest.raises(InputError, match=why) as refused:
        read(path, damaged)
    assert "\n" not in str(refused.value)
