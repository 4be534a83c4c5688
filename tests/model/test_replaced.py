"""Rows in the place of others, from arrays and from files, whole and damaged."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import geom
from geom import InputError, Readout
from geom.machine import memory
from geom.model.row_file import RowFile
from geom.model.source import PYTHON
from support.fuzzing import cut, flip

V, D = 20, 4
RNG = np.random.default_rng(0)
W = RNG.standard_normal((V, D)).astype(np.float32)
IDS = np.array([3, 17, 5])
ROWS = RNG.standard_normal((3, D)).astype(np.float32)


def patched(rows: NDArray[Any] = ROWS, W: NDArray[Any] = W) -> NDArray[Any]:
    out = W.copy()
    out[IDS] = rows
    return out


# Arrays


def test_the_rows_are_those_of_the_head_before_the_norm_is_folded_in() -> None:
    parts: dict[str, Any] = {
        "gamma": np.full(D, 1.25),
        "beta": np.arange(4.0),
        "norm": "layernorm",
    }
    readout = Readout.fold(W, np.arange(20.0), **parts)
    b = np.arange(20.0)
    assert readout.with_rows(IDS, ROWS).digest == Readout.fold(patched(), b, **parts).digest
    b[IDS] = [9.0, 8.0, 7.0]
    other = readout.with_rows(IDS, ROWS, [9.0, 8.0, 7.0])
    assert other.digest == Readout.fold(patched(), b, **parts).digest
    assert other.notes == ("3 rows were replaced",)
    assert (readout.rows[:] == W.astype(np.float64) * 1.25).all()  # as it was


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64, np.int16])
def test_rows_keep_the_type_of_the_head(dtype: Any) -> None:
    held, rows = np.rint(W * 8).astype(dtype), np.rint(ROWS * 8).astype(dtype)
    readout = Readout.fold(held).with_rows(IDS, rows.astype(np.float64))
    assert readout.head.stored.lines.dtype == dtype
    assert readout.digest == Readout.fold(patched(rows, held)).digest


def test_packed_rows_are_unpacked_for_others() -> None:
    readout = Readout.fold(RNG.standard_normal((V, 32))).cast("q4_1")
    row = RNG.standard_normal((1, 32)).astype(np.float32)
    other = readout.with_rows([2], row)
    assert (other.rows[2] == row).all()
    assert (other.rows[3:] == readout.rows[3:]).all()
    assert other.head.stored.lines.dtype == np.float32


@pytest.mark.parametrize(
    ("ids", "rows", "bias", "words"),
    [
        ([3, 3, 5], ROWS, None, "ids holds 3 twice"),
        ([3, 20, 5], ROWS, None, "ids holds 20: the head has the ids 0 to 19"),
        ([3, -1, 5], ROWS, None, "ids holds -1: the head has the ids 0 to 19"),
        ([0.5, 1.0, 2.0], ROWS, None, "ids is float64 of shape (3,): give integers"),
        ([[3, 17, 5]], ROWS, None, "ids is int64 of shape (1, 3): give integers"),
        ([], ROWS[:0], None, "at least one"),
        ([3, 17], ROWS, None, "rows has shape (3, 4)"),
        (IDS, ROWS[:, :3], None, "rows has shape (3, 3): the head needs (3, 4)"),
        (IDS, ROWS[0], None, "rows has shape (4,)"),
        (IDS, ROWS * np.nan, None, "rows[(0, 0)] is nan"),
        (IDS, ROWS.astype(complex), None, "rows has dtype complex128"),
        (IDS, ROWS.astype(np.float64) / 3, None, "the row of id 3 holds"),
        (IDS, ROWS, [1.0, 2.0, 3.0], "bias is given, and the head has none"),
    ],
)
def test_what_does_not_fit_the_head_is_refused(ids: Any, rows: Any, bias: Any, words: str) -> None:
    readout = Readout.fold(W)
    with pytest.raises(InputError) as caught:
        readout.with_rows(ids, np.asarray(rows, np.asarray(rows).dtype), bias)
    assert words in str(caught.value)


def test_a_number_that_the_type_does_not_hold_is_named() -> None:
    half = Readout.fold(W.astype(np.float16))
    rows = ROWS.astype(np.float16).astype(np.float64)
    assert half.with_rows(IDS, rows).rows[17].tolist() == rows[1].tolist()
    for value in (0.1, 1e6, 1e-9):
        rows[1, 2] = value
        with pytest.raises(InputError, match=r"the row of id 17 holds .* at 2, .* float16"):
            half.with_rows(IDS, rows)


def test_what_was_replaced_in_python_has_no_name_and_what_was_cast_has() -> None:
    demo = geom.load("demo")
    row = demo.head.numbers(slice(0, 1))
    assert demo.with_rows([5], row).source == PYTHON
    assert str(demo.cast("q8_0").source) == "demo?cast=q8_0"
    assert demo.cast("q8_0").cast("q4_0").source == PYTHON
    assert demo.cast("q8_0").with_new_rows(1).source == PYTHON
    both = demo.with_new_rows(2, "copy:7").cast("q8_0").without_bias()
    assert str(both.source) == "demo?new=2&init=copy:7&init_seed=0&cast=q8_0&bias=no"
    assert geom.load(both.source).digest == both.digest


# Files


def write(name: str = "rows.safetensors", **tensors: NDArray[Any]) -> Path:
    safetensors.numpy.save_file(tensors, name)
    return Path(name)


pytestmark = pytest.mark.usefixtures("own_folder")


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint16])
def test_the_rows_of_a_file_take_the_place_of_others(dtype: Any, kind: Any) -> None:
    np.save("W.npy", W)
    write(ids=IDS.astype(kind), rows=ROWS.astype(dtype))
    readout = geom.load("npz:W.npy?rows=rows.safetensors")
    assert readout.digest == Readout.fold(patched()).digest
    assert str(readout.source) == "npz:W.npy?rows=rows.safetensors"
    assert readout.notes == ("3 rows were replaced by those of rows.safetensors",)


def test_a_file_may_change_biases_and_new_rows_and_is_read_before_a_cast() -> None:
    wide = RNG.standard_normal((V, 32)).astype(np.float32)
    np.savez("w.npz", W=wide, b=np.zeros(V))
    write(ids=np.array([3, 20]), rows=wide[:2], bias=np.array([1.0, 2.0]))
    readout = geom.load("npz:w.npz?new=1&init=zeros&rows=rows.safetensors&cast=q8_0")
    by_hand = np.concatenate([wide, wide[1:2]])
    by_hand[3] = wide[0]
    b = np.zeros(V + 1)
    b[[3, 20]] = 1.0, 2.0
    assert readout.digest == Readout.fold(by_hand, b).cast("q8_0").digest
    assert [note.split(" ")[0] for note in readout.notes] == ["1", "2", "the"]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, ml_dtypes.bfloat16])
def test_what_geom_writes_is_read_by_safetensors_and_by_geom(dtype: Any) -> None:
    rows = ROWS.astype(dtype)
    for bias in (None, np.arange(3.0)):
        data = RowFile(IDS, rows, bias).packed({"made by": "a test"})
        Path("out.safetensors").write_bytes(data)
        theirs = dict(safetensors.deserialize(data))
        assert theirs["ids"]["data"] == IDS.tobytes()
        assert theirs["rows"]["data"] == rows.tobytes()
        assert theirs["rows"]["shape"] == [3, D]
        assert ("bias" in theirs) == (bias is not None)
        again = RowFile.read(Path("out.safetensors"), 1 << 20)
        assert again.rows.dtype == dtype
        np.testing.assert_array_equal(again.rows, rows)
        np.testing.assert_array_equal(again.ids, IDS)


def refused(query: str) -> str:
    np.save("W.npy", W)
    with pytest.raises(InputError) as caught:
        geom.load(f"npz:W.npy?rows={query}")
    return str(caught.value)


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("", "names no file"),
        ("missing.safetensors", "does not exist"),
        (".", "is a folder"),
        ("https://127.0.0.1/rows.safetensors", "give a file on this machine"),
        ("file:///etc/passwd", "file:// is not a protocol"),
        ("W.npy", "does not hold rows: it does not begin with a header's length"),
    ],
)
def test_only_a_file_on_this_machine_holds_rows(location: str, words: str) -> None:
    assert words in refused(location)


def raw(header: Any, data: bytes = b"", length: int | None = None) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = (len(text) if length is None else length).to_bytes(8, "little")
    Path("raw.safetensors").write_bytes(size + text + data)


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b"secret words", "malformed"),
        ({"secret": entry("F32", [1], 0, 4)}, "its tensors are not ids, rows and bias"),
        ({"ids": entry("I64", [1], 0, 8)}, "its tensors are not ids, rows and bias"),
        ({"ids": 5, "rows": 6}, "object"),
        (
            {"ids": entry("I64", [1], 0, 8), "rows": entry("F32", [1, 4], 8, 1 << 60)},
            "claim 1152921504606846976 bytes",
        ),
        (
            {"ids": entry("I64", [1], 0, 8), "rows": entry("F32", [1, 5], 8, 24)},
            "rows has 16 bytes, which is not what its shape needs",
        ),
        (
            {"ids": entry("I64", [1], -8, 0), "rows": entry("F32", [1, 4], 8, 24)},
            "ids lies outside it",
        ),
        (
            {"ids": entry("I64", [-1, -1], 0, 8), "rows": entry("F32", [1, 4], 8, 24)},
            "ids lies outside it",
        ),
        (
            {"ids": entry("I64", [1], 0, 8), "rows": entry("Q9", [1, 4], 8, 24)},
            "rows is Q9",
        ),
        (
            {"ids": entry("F32", [2], 0, 8), "rows": entry("F32", [2, 2], 8, 24)},
            "ids is float32",
        ),
        (
            {"ids": entry("I64", [1], 0, 8), "rows": entry("F32", [4], 8, 24)},
            "rows has shape (4,)",
        ),
    ],
)
def test_a_header_that_does_not_fit_is_refused_in_one_line(header: Any, words: str) -> None:
    raw(header, bytes(24))
    message = refused("raw.safetensors")
    assert words in message
    assert "secret" not in message


def test_a_file_too_short_too_long_or_too_large_is_refused() -> None:
    good = {"ids": entry("I64", [1], 0, 8), "rows": entry("F32", [1, 4], 8, 24)}
    for data in (bytes(23), bytes(25)):
        raw(good, data)
        assert "its tensors need 24 bytes" in refused("raw.safetensors")
    raw(good, bytes(24), length=1 << 40)
    assert "header's length" in refused("raw.safetensors")
    many = 10 * V
    raw({"ids": entry("I64", [1], 0, 8), "rows": entry("F32", [many, 4], 8, 8 + 16 * many)})
    assert "rows of this head take" in refused("raw.safetensors")


def test_rows_that_do_not_fit_in_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    np.save("W.npy", W)
    write(ids=IDS, rows=ROWS)
    monkeypatch.setattr(memory, "usable", lambda: 40)
    with pytest.raises(InputError, match=r"the rows of rows.safetensors takes"):
        RowFile.read(Path("rows.safetensors"), 1 << 20)


@given(st.integers(0, 2**32))
def test_a_damaged_file_is_read_or_refused(seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = RowFile(IDS, ROWS).packed()
    data = flip(rng, data) if rng.random() < 0.8 else cut(rng, data)
    Path("damaged.safetensors").write_bytes(data)
    with suppress(InputError):
        found = RowFile.read(Path("damaged.safetensors"), 1 << 16)
        Readout.fold(W).with_rows(found.ids, found.rows, found.bias)
