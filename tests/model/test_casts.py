"""Casts of a head: against gguf's own bytes, ml_dtypes' own numbers, and rational numbers."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import gguf
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import geom
from geom import InputError, Readout
from geom.machine import memory
from geom.model.casts import CASTS
from geom.model.packing import Blocks, to_odd
from geom.model.stored import Stored
from support.truth import Floats

RNG = np.random.default_rng(0)
V, D = 300, 64

BLOCKS = ["q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]
FLOATS = {
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float8-e4m3": ml_dtypes.float8_e4m3fn,
}


def drawn() -> NDArray[np.float32]:
    """Rows of many sizes, some of a few whole numbers, so that halves and equal sizes occur."""
    rng = np.random.default_rng(1)
    W = rng.standard_normal((V, D)) * 10.0 ** rng.integers(-6, 3, (V, 1))
    W[:40] = rng.integers(-8, 9, (40, D))
    W[40:60] = rng.integers(-127, 128, (20, D)) / 2
    W[60] = 0.0
    W[61] = -3.0
    W[62, ::2] = 0.0
    return W.astype(np.float32)


def cast(W: Any, name: str, **parts: Any) -> Readout:
    return Readout.fold(W, **parts).cast(name)


# ggml's blocks


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_are_those_of_the_package_gguf_to_the_last_byte(name: str) -> None:
    W = drawn()
    kind = gguf.GGMLQuantizationType[name.upper()]
    packed = gguf.quants.quantize(W, kind)
    readout = cast(W, name)
    np.testing.assert_array_equal(readout.head.stored.lines, packed)
    assert readout.rows.nbytes == packed.nbytes
    np.testing.assert_array_equal(readout.W, gguf.quants.dequantize(packed, kind))


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("own", ["float16", "bfloat16"])
def test_rows_of_half_precision_are_packed_as_the_same_numbers_in_float32(
    name: str, own: str
) -> None:
    W = drawn()[:150].astype(FLOATS[own])
    kind = gguf.GGMLQuantizationType[name.upper()]
    packed = gguf.quants.quantize(W.astype(np.float32), kind)
    np.testing.assert_array_equal(cast(W, name).W, gguf.quants.dequantize(packed, kind))


@pytest.mark.parametrize("name", ["q8_0", "q4_0"])
def test_a_head_that_is_cast_twice_to_a_type_with_a_middle_is_the_same_head(name: str) -> None:
    once = cast(drawn(), name)
    assert once.cast(name).digest == once.digest


def test_rows_that_do_not_fill_blocks_are_refused_with_what_is_possible() -> None:
    with pytest.raises(InputError, match=r"rows of 40 numbers do not fill blocks of 32.*int8-row"):
        cast(drawn()[:, :40], "q8_0")


@pytest.mark.parametrize("name", BLOCKS)
def test_a_scale_that_overflows_float16_is_refused_with_its_row(name: str) -> None:
    W = drawn()
    W[123, 5] = 1e9
    with pytest.raises(InputError, match=r"row 123 of W .* overflows float16"):
        cast(W, name)


@pytest.mark.parametrize("name", BLOCKS)
def test_rows_too_small_for_a_scale_become_zero(name: str) -> None:
    W = np.full((2, 32), 1e-40, np.float32)
    W[1] = np.float32(1e-12)
    W[1, ::2] *= -1
    assert not cast(W, name).W.any()


# Rows with a scale


@pytest.mark.parametrize(
    ("name", "largest", "codes"),
    [
        ("int8-row", 127, np.arange(-127.0, 128.0)),
        (
            "float8-e4m3-row",
            448,
            np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).astype(np.float64),
        ),
    ],
)
def test_a_row_takes_the_code_nearest_to_each_number_over_its_scale(
    name: str, largest: int, codes: Floats
) -> None:
    W = drawn()
    readout = cast(W, name)
    known = np.unique(codes[np.isfinite(codes)])
    for row, got in zip(W[::7], readout.rows[::7], strict=True):
        scale = np.float32(np.abs(row.astype(np.float64)).max() / largest)
        if scale == 0:
            assert not got.any()
            continue
        steps = np.clip(row.astype(np.float64) / np.float64(scale), -largest, largest)
        off = np.abs(got / np.float64(scale) - steps)
        assert np.isin(got, known * np.float64(scale)).all()
        np.testing.assert_array_equal(off, np.abs(known[:, None] - steps).min(axis=0))


def test_the_numbers_of_a_row_are_codes_times_the_scale_without_rounding() -> None:
    readout = cast(drawn(), "int8-row")
    line = readout.head.stored.lines[5]
    scale = Fraction(float(line[:4].view("<f4")[0]))
    codes = line[4:].view(np.int8).tolist()
    assert [Fraction(x) for x in readout.rows[5].tolist()] == [code * scale for code in codes]


def test_a_row_beyond_float32_has_no_scale() -> None:
    with pytest.raises(InputError, match="row 1 of W has a scale that overflows float32"):
        cast(np.array([[1.0, 2.0], [1e300, 1.0]]), "int8-row")


# Short floats


@pytest.mark.parametrize("name", FLOATS)
def test_floats_are_rounded_as_their_library_rounds_float32(name: str) -> None:
    W = drawn()
    if name == "float8-e4m3":
        W = np.clip(W, -448, 448)
    expected = W.astype(FLOATS[name])
    readout = cast(W, name)
    assert readout.head.stored.lines.dtype == expected.dtype
    np.testing.assert_array_equal(readout.W, expected.astype(np.float64))


@pytest.mark.parametrize("name", FLOATS)
def test_float64_is_rounded_once(name: str) -> None:
    """Just beside the middle of two neighbours, where rounding to float32 first lands on it."""
    size = np.dtype(FLOATS[name]).itemsize
    with np.errstate(invalid="ignore"):
        words = np.arange(256**size, dtype=f"u{size}").view(FLOATS[name]).astype(np.float64)
    known = np.unique(words[np.isfinite(words)])
    known = known[(known > 2.0**-12) & (known < 200.0)]
    middles = (known[1:] + known[:-1]) / 2
    for beside, nearest in ((1 + 1e-12, known[1:]), (1 - 1e-12, known[:-1])):
        assert (cast((middles * beside)[:, None], name).W[:, 0] == nearest).all()


@given(st.floats(-3e38, 3e38, width=64))
def test_rounding_to_odd_keeps_which_side_of_float32_a_number_is_on(x: float) -> None:
    got = to_odd(np.array([x]))
    if float(got[0]) != x:
        assert got.view(np.uint32)[0] & 1
        assert abs(Fraction(float(got[0])) - Fraction(x)) < Fraction(
            float(np.spacing(np.abs(got[0])))
        )


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_a_number_beyond_the_type_is_refused_by_its_place(name: str) -> None:
    W = drawn().astype(np.float64)
    W[200, 7] = -3.5e38
    with pytest.raises(InputError, match=rf"W\[200, 7\] is -3.5e\+38, beyond .* {name}"):
        cast(W, name)


def test_a_number_that_rounds_to_the_largest_is_not_beyond_the_type() -> None:
    assert cast(np.array([[65519.0]]), "float16").W == 65504.0
    with pytest.raises(InputError, match="beyond"):
        cast(np.array([[65520.0]]), "float16")


def test_float8_saturates_and_says_so() -> None:
    W = drawn()
    W[200, 7], W[201, 8] = -1e6, 449
    readout = cast(W, "float8-e4m3")
    assert readout.rows[200][7] == -448.0
    assert readout.rows[201][8] == 448.0
    beyond = int((np.abs(W) > 448).sum())
    assert readout.notes[-1].endswith(f"no scale; {beyond} numbers beyond 448 became 448")


# What a cast leaves, and what it says


def test_a_cast_rounds_the_rows_before_the_norm_is_folded_in() -> None:
    W, b = drawn()[100:], RNG.standard_normal(200)
    gamma, beta = RNG.random(D) + 0.5, RNG.standard_normal(D)
    parts = {"b": b, "gamma": gamma, "beta": beta, "norm": "layernorm"}
    readout = cast(W, "bfloat16", **parts)
    by_hand = Readout.fold(W.astype(ml_dtypes.bfloat16), **parts)
    assert readout.digest == by_hand.digest != Readout.fold(W, **parts).digest
    assert readout.shift is not None
    assert readout.norm == "layernorm"


def test_a_scale_of_zero_and_a_projection_do_not_hide_the_heads_own_rows() -> None:
    """In both cases no shift is kept, and the biases hold it already."""
    W, b, beta = drawn()[100:], RNG.standard_normal(200), RNG.standard_normal(D)
    zero = np.ones(D)
    zero[3] = 0.0
    P = RNG.standard_normal((D, 8)).astype(np.float32)
    for parts in (
        {"b": b, "gamma": zero, "beta": beta},
        {"b": b, "projection": P, "gamma": np.full(8, 0.7), "beta": beta[:8]},
        {"gamma": zero.astype(np.float32)},
    ):
        by_hand = Readout.fold(W.astype(np.float16), **parts)
        assert cast(W, "float16", **parts).digest == by_hand.digest
        bare = Readout.fold(W, **parts).without_bias().cast("float16")
        assert bare.digest == by_hand.without_bias().digest


def test_float64_rows_are_cast_as_they_came_though_a_scale_was_folded_in() -> None:
    W = RNG.standard_normal((9, 4))
    gamma = np.array([1 / 3, 7.0, 0.1, 1.0])
    by_hand = Readout.fold(W.astype(np.float16), gamma=gamma)
    assert cast(W, "float16", gamma=gamma).digest == by_hand.digest


def test_rows_that_were_folded_by_hand_cannot_be_unfolded() -> None:
    folded = Readout.fold(drawn(), gamma=np.full(D, 3.0), beta=np.ones(D))
    by_hand = Readout(folded.W, folded.b, shift=folded.shift)
    with pytest.raises(InputError, match=r"own rows are not known.*Readout\.fold"):
        by_hand.cast("float16")


def test_a_readout_of_plain_arrays_has_them_as_its_head() -> None:
    W, b = RNG.standard_normal((9, 4)), RNG.standard_normal(9)
    readout = Readout(W, b).cast("float16")
    assert (W.astype(np.float16) == readout.W).all()
    assert (readout.b == b).all()


def test_a_cast_keeps_texts_and_kinds_and_adds_a_note() -> None:
    kinds = ["normal", "added"] * 150
    readout = Readout.fold(
        drawn(), tokens=[str(i) for i in range(V)], kinds=kinds, notes=("a note",), source="npz:w"
    )
    other = readout.cast("q8_0")
    assert (other.tokens, other.kinds) == (readout.tokens, readout.kinds)
    assert str(other.source) == "npz:w?cast=q8_0"
    assert other.notes[0] == "a note"
    changed = int((other.W != readout.W).any(axis=1).sum())
    assert other.notes[1:] == (f"the head was rounded to q8_0: {changed} of {V} rows changed",)


def test_a_cast_to_the_type_that_the_head_has_changes_nothing_and_says_so() -> None:
    readout = Readout.fold(drawn().astype(np.float16))
    other = readout.cast("float16")
    assert other.digest == readout.digest
    assert other.notes == (f"the head was rounded to float16: 0 of {V} rows changed",)


@pytest.mark.parametrize("name", CASTS)
def test_every_cast_is_of_any_source(name: str) -> None:
    readout = geom.load(f"demo?cast={name}")
    plain = geom.load("demo")
    assert readout.digest == plain.cast(name).digest
    assert (readout.digest == plain.digest) == (name == "float16")  # the demo is in float16
    assert str(readout.source) == f"demo?cast={name}"


def test_an_unknown_cast_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match=r"unknown cast 'q8_1': did you mean 'q\d_\d'"):
        geom.load("demo?cast=q8_1")


@pytest.mark.parametrize(("name", "share"), [("q4_0", 4.5 / 32), ("float16", 16 / 32)])
def test_a_cast_takes_the_memory_of_the_new_format(
    name: str, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    readout = Readout.fold(drawn())
    need = int(4 * V * D * share)
    monkeypatch.setattr(memory, "usable", lambda: need)
    assert readout.cast(name).rows.nbytes == need
    monkeypatch.setattr(memory, "usable", lambda: need - 1)
    with pytest.raises(InputError, match=f"W of {V} x {D} in {name} takes"):
        readout.cast(name)


def test_packed_rows_travel_to_other_processes_as_bytes() -> None:
    import pickle

    readout = cast(drawn(), "q5_1")
    sent = pickle.dumps(readout.rows)
    assert len(sent) < readout.rows.nbytes + 4096
    np.testing.assert_array_equal(pickle.loads(sent)[:], readout.W)


def test_blocks_of_several_rows_are_rounded_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    W = drawn()
    whole = cast(W, "q5_0")
    monkeypatch.setattr("geom.model.casts._READ", 7 * D)
    assert cast(W, "q5_0").digest == whole.digest
    W[299, 0] = 1e30
    with pytest.raises(InputError, match="row 299 of W"):
        cast(W, "q5_0")


def test_a_stored_head_is_read_without_a_copy() -> None:
    lines = Blocks(8).pack(drawn().astype(np.float64))
    held = Stored(lines, D, Blocks(8).unpack)
    readout = Readout.fold(held)
    assert readout.head.stored is held
    assert readout.digest == cast(drawn(), "q8_0").digest
