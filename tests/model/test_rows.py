"""Rows in their own type: the same numbers, digests and products as those of a float64 matrix."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from gguf.quants import dequantize, quantize
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import geom
from geom import InputError, Problem, Readout
from geom.machine import memory
from geom.model import rows as rows_module
from geom.model.rows import Rows
from geom.model.shared import shared
from geom.model.stored import Stored
from geom_plugins.checkpoints.torch_bin import read_torch
from support.gguf_files import write
from support.truth import fractions

V, D = 700, 32
RNG = np.random.default_rng(11)
DRAWN = RNG.standard_normal((V, D)) * np.exp2(RNG.integers(-4, 4, (V, 1)))
GAMMA = RNG.standard_normal(D).astype(np.float32)
TYPES: dict[str, Any] = {
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float32": np.float32,
    "float64": np.float64,
    "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8_e5m2": ml_dtypes.float8_e5m2,
    "int8": np.int8,
    ">f4": ">f4",
}
IDS = (
    slice(None),
    slice(3, 9),
    slice(600, 5000),
    slice(-2, None),
    slice(9, 3),
    slice(None, None, 7),
    slice(None, None, -1),
    slice(650, None, -70),
    np.array([5, 5, 0, V - 1, -1]),
    np.zeros(0, dtype=np.int64),
    np.arange(V) % 3 == 0,
)


def drawn(kind: str) -> NDArray[Any]:
    return (DRAWN.astype(np.float32) * (10 if kind == "int8" else 1)).astype(TYPES[kind])


def whole(W: NDArray[Any], gamma: NDArray[Any]) -> NDArray[np.float64]:
    """Return the float64 matrix, with ml_dtypes's and NumPy's own conversions."""
    return np.asarray(W.astype(np.float64) * gamma.astype(np.float64))


@pytest.fixture(params=[False, True], ids=["large", "small"])
def kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have products keep the whole matrix, or go block by block, with blocks of few rows."""
    monkeypatch.setattr(rows_module, "KEPT", 1 << 29 if request.param else 0)
    monkeypatch.setattr(Rows.blocks, "__defaults__", (D * 19,))
    monkeypatch.setattr(rows_module, "BLOCK", D * 19)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.usefixtures("kept")
def test_rows_of_every_type_are_those_of_the_float64_matrix(kind: str) -> None:
    W = drawn(kind)
    readout, expected = Readout.fold(W, gamma=GAMMA), whole(W, GAMMA)
    assert readout.rows.nbytes == W.nbytes
    for ids in IDS:
        np.testing.assert_array_equal(readout.rows[ids], expected[ids], strict=True)
    for one in (0, 5, V - 1, -1, np.int64(7)):
        np.testing.assert_array_equal(readout.rows[int(one)], expected[one], strict=True)
    assert readout.digest == Readout(expected, np.zeros(V)).digest
    assert readout.rows.largest == np.abs(expected).max()
    np.testing.assert_allclose(readout.rows.mean, expected.mean(axis=0), rtol=1e-12, atol=1e-15)
    assert readout.rows.nbytes == W.nbytes  # nothing of it kept float64
    np.testing.assert_array_equal(readout.row_norms, Readout(expected, np.zeros(V)).row_norms)
    np.testing.assert_array_equal(readout.W, expected)
    assert readout.W is readout.W


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.usefixtures("kept")
def test_products_are_those_of_the_float64_matrix(kind: str) -> None:
    W = drawn(kind)
    readout, expected = Readout.fold(W, RNG.standard_normal(V), gamma=GAMMA), whole(W, GAMMA)
    rows = readout.rows
    x, X, lam = (RNG.standard_normal(n) for n in (D, (5, D), (3, V)))
    for found, wanted in (
        (rows @ x, expected @ x),
        (rows @ X.T, expected @ X.T),
        (lam @ rows, lam @ expected),
        (lam[0] @ rows, lam[0] @ expected),
        (readout.logits(x), expected @ x + readout.b),
        (readout.logits(X), X @ expected.T + readout.b),
        (np.asarray(rows), expected),
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-11, strict=True)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["float16", "bfloat16", "float32", "int8"]))
def test_a_row_is_the_exact_product_of_the_weights_and_the_scale(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    W = (rng.standard_normal((3, 4)) * 2.0 ** rng.integers(-6, 6, (3, 4))).astype(np.float32)
    W, gamma = W.astype(TYPES[kind]), rng.standard_normal(4).astype(np.float32)
    exactly = [
        Fraction(float(w)) * Fraction(float(g))
        for row in W
        for w, g in zip(row, gamma, strict=True)
    ]
    assert fractions(Readout.fold(W, gamma=gamma).rows[:].ravel()) == exactly


def test_half_of_all_bits_are_widened_without_loss() -> None:
    for kind in (np.float16, ml_dtypes.bfloat16):
        words = np.arange(2**16, dtype=np.uint16).view(kind)
        with np.errstate(invalid="ignore"):
            numbers = words[np.isfinite(words.astype(np.float64))].reshape(-1, 64)
        np.testing.assert_array_equal(
            Readout.fold(numbers).rows[:], numbers.astype(np.float64), strict=True
        )


@pytest.mark.parametrize("kind", [Kind.Q8_0, Kind.Q4_1, Kind.Q5_0, Kind.BF16, Kind.F16], ids=str)
def test_a_quantised_tensor_stays_in_its_blocks(kind: Kind, tmp_path: Path) -> None:
    lines = quantize(DRAWN.astype(np.float32), kind)
    tensors = {"output.weight": lines, "output_norm.weight": GAMMA}
    write(tmp_path / "m.gguf", tensors, kinds={"output.weight": kind})
    readout = geom.load(f"gguf:{tmp_path}/m.gguf")
    expected = whole(dequantize(lines, kind), GAMMA)
    assert readout.rows.nbytes == lines.nbytes
    for ids in IDS:
        np.testing.assert_array_equal(readout.rows[ids], expected[ids], strict=True)
    assert readout.digest == Readout(expected, np.zeros(V)).digest
    with shared(readout, tmp_path) as sent:
        arrived = pickle.loads(pickle.dumps(sent))
        np.testing.assert_array_equal(arrived.rows[:], expected)


def test_the_digest_of_half_precision_is_that_of_the_bytes_of_float64() -> None:
    W = drawn("bfloat16")
    content = f"geom readout {V} {D}\n".encode()
    content += (whole(W, GAMMA) + 0.0).astype("<f8").tobytes() + bytes(8 * V)
    assert Readout.fold(W, gamma=GAMMA).digest == hashlib.sha256(content).hexdigest()


# What is held


def test_an_array_that_somebody_can_write_to_is_copied_in_its_type() -> None:
    W = drawn("float16")
    readout = Readout.fold(W)
    view = W[:]
    view.flags.writeable = False
    other = Readout.fold(view)  # its base can be written to
    before = readout.digest
    W[:] = 0
    for made in (readout, other):
        again = Readout.fold(made.rows.stored.lines)
        assert again.digest == before
        assert again.rows.stored.lines is made.rows.stored.lines  # nobody can write to it


def test_without_bias_and_scaled_readouts_share_the_rows() -> None:
    W = (drawn("float32") * np.float32(2.0**100)).astype(np.float64) * 2.0**200
    readout = Readout.fold(W, RNG.standard_normal(V) * 2.0**290, norm="rmsnorm")
    assert readout.without_bias().rows is readout.rows
    problem = Problem(readout, readout.domain)
    unit = problem.unit.readout
    assert problem.exponent > 256
    assert unit.rows.stored is readout.rows.stored
    assert (np.ldexp(unit.rows[:], problem.exponent) == readout.rows[:]).all()
    assert unit.rows.largest == np.ldexp(readout.rows.largest, -problem.exponent)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_that_are_not_finite_make_no_readout(bad: float) -> None:
    W = drawn("float32")
    W[600, 3] = bad
    with pytest.raises(InputError, match=rf"W\[\(600, 3\)\] is {bad}"):
        Readout(Rows(Stored(W, D)), np.zeros(V))


def test_pickled_rows_are_those_of_the_type_they_have() -> None:
    readout = Readout.fold(drawn("bfloat16"), gamma=GAMMA)
    assert readout.W.nbytes == 8 * V * D
    packed = pickle.dumps(readout.rows)
    assert len(packed) < 2 * V * D + 4096
    assert not pickle.loads(packed).stored.lines.flags.writeable
    np.testing.assert_array_equal(pickle.loads(packed)[:], readout.W)


def test_twins_are_found_in_every_type() -> None:
    W = drawn("bfloat16")
    W[[3, 600]] = W[40]
    W[9] = -W[40]
    W[[11, 12]] = 0.0
    W[12, 0] = -0.0
    readout = Readout.fold(W, gamma=GAMMA)
    assert [readout.twins(t) for t in (3, 9, 11, 40)] == [[40, 600], [], [12], [3, 600]]
    large = Readout.fold(np.array([[1e200, 1.0], [1e200, 1.0], [1e200, 2.0]]))
    assert [large.twins(t) for t in range(3)] == [[1], [0], []]


def test_the_whole_matrix_is_refused_if_it_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    readout = Readout.fold(drawn("float16"))
    monkeypatch.setattr(memory, "available", lambda: 8 * V * D)
    assert readout.logits(np.ones(D)).shape == (V,)  # block by block
    with pytest.raises(InputError, match=r"W of 700 x 32 as float64 takes 175.0 KiB .*rows\["):
        _ = readout.W


def test_rows_that_do_not_fit_are_refused_before_they_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    W = drawn("float16")
    monkeypatch.setattr(memory, "available", lambda: 1000)
    with pytest.raises(InputError, match=r"W of 700 x 32 as float16 takes 43.8 KiB of memory"):
        Readout.fold(W)


def test_a_run_over_blocks_decides_as_one_over_a_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    W = drawn("bfloat16")
    W[7] = 0.25 * (W[1].astype(np.float32) + W[2].astype(np.float32))
    with geom.run(Readout(whole(W, GAMMA), np.zeros(V), norm="rmsnorm"), tokens="0-40") as run:
        expected = [(row.token_id, row.verdict) for row in run.rows()]
    monkeypatch.setattr(rows_module, "KEPT", 0)
    with geom.run(Readout.fold(W, gamma=GAMMA, norm="rmsnorm"), tokens="0-40") as run:
        assert [(row.token_id, row.verdict) for row in run.rows()] == expected


# Rows in files


def saved_npy(folder: Path, W: NDArray[Any]) -> str:
    np.save(folder / "W.npy", W)
    return f"npz:{folder}/W.npy"


def saved_npz(folder: Path, W: NDArray[Any]) -> str:
    np.savez(folder / "m.npz", other=np.arange(3), W=W)
    return f"npz:{folder}/m.npz"


def saved_safetensors(folder: Path, W: NDArray[Any]) -> str:
    from safetensors.numpy import save_file

    save_file({"other": np.arange(3), "W": W}, folder / "m.safetensors")
    return f"safetensors:{folder}/m.safetensors?unembed=W"


def saved_gguf(folder: Path, W: NDArray[Any]) -> str:
    tensors = {"output.weight": quantize(W, Kind.Q8_0), "output_norm.weight": np.ones(D, "f4")}
    write(folder / "m.gguf", tensors, kinds={"output.weight": Kind.Q8_0})
    return f"gguf:{folder}/m.gguf"


SAVED = (saved_npy, saved_npz, saved_safetensors, saved_gguf)


@pytest.fixture
def nothing_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "usable", lambda: 80_000)


@pytest.mark.parametrize("save", SAVED)
@pytest.mark.usefixtures("nothing_is_small")
def test_a_large_array_of_a_file_is_mapped_and_sent_by_its_place(
    save: Callable[[Path, NDArray[Any]], str], tmp_path: Path
) -> None:
    W = drawn("float32")
    readout = geom.load(save(tmp_path, W))
    source = readout.rows.stored.source
    assert source is not None
    assert source.filed.path.parent == tmp_path
    assert not readout.rows.stored.lines.flags.writeable
    if save is not saved_gguf:
        np.testing.assert_array_equal(readout.rows[:], W.astype(np.float64))
    (tmp_path / "shared").mkdir()
    with shared(readout, tmp_path / "shared") as sent:
        assert not list(tmp_path.glob("shared/*/W.npy"))
        arrived = pickle.loads(pickle.dumps(sent))
        assert arrived.rows.stored.source.stamp == source.stamp
        np.testing.assert_array_equal(arrived.rows[:], readout.rows[:])
    by_value = pickle.loads(pickle.dumps(readout.rows))
    assert by_value.stored.source is None
    np.testing.assert_array_equal(by_value[:], readout.rows[:])


@pytest.mark.parametrize("save", SAVED)
@pytest.mark.usefixtures("nothing_is_small")
def test_a_mapped_file_that_is_written_to_ends_the_run(
    save: Callable[[Path, NDArray[Any]], str], tmp_path: Path
) -> None:
    readout = geom.load(save(tmp_path, drawn("float32")))
    source = readout.rows.stored.source
    assert source is not None
    with source.filed.path.open("r+b") as file:
        file.seek(source.filed.offset)
        file.write(b"\1")
    os.utime(source.filed.path, ns=(0, 0))
    reads = (lambda: readout.rows[3], lambda: readout.digest, lambda: readout.rows @ np.ones(D))
    for read in reads:
        with pytest.raises(InputError, match="changed while it was in use"):
            read()


@pytest.mark.parametrize("save", SAVED)
def test_a_small_array_of_a_file_does_not_change_with_it(
    save: Callable[[Path, NDArray[Any]], str], tmp_path: Path
) -> None:
    address = save(tmp_path, drawn("float32"))
    readout = geom.load(address)
    rows = readout.rows[:]
    for file in tmp_path.iterdir():
        os.truncate(file, 10)
    assert readout.rows.stored.source is None
    assert (readout.rows[:] == rows).all()


@pytest.mark.usefixtures("nothing_is_small")
def test_a_mapped_file_without_its_name_is_sent_as_a_copy(tmp_path: Path) -> None:
    W = drawn("float32")
    readout = geom.load(saved_safetensors(tmp_path, W))
    (tmp_path / "m.safetensors").unlink()
    (tmp_path / "shared").mkdir()
    with shared(readout, tmp_path / "shared") as sent:
        assert [file.stat().st_size for file in tmp_path.glob("shared/*/W.npy")] == [128 + W.nbytes]
        arrived = pickle.loads(pickle.dumps(sent))
        np.testing.assert_array_equal(arrived.rows[:], W.astype(np.float64))


class Live:
    """A model in memory whose numbers are of one type."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.W_U = torch.tensor(DRAWN.T).to(dtype)
        self.b_U = torch.zeros(V, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_a_model_of_torch_keeps_its_type(dtype: torch.dtype, tmp_path: Path) -> None:
    live = Live(dtype)
    torch.save({"W": live.W_U.T.contiguous()}, tmp_path / "W.bin")
    for readout in (geom.load(live), Readout.fold(read_torch(tmp_path / "W.bin")["W"])):
        assert readout.rows.nbytes == V * D * dtype.itemsize
        np.testing.assert_array_equal(readout.rows[:], live.W_U.T.double().numpy())


@pytest.mark.parametrize("save", [saved_npz, saved_npy])
@pytest.mark.usefixtures("nothing_is_small")
def test_columns_and_packed_archives_are_read_into_memory(
    save: Callable[[Path, NDArray[Any]], str], tmp_path: Path
) -> None:
    W = drawn("float16")
    np.savez_compressed(tmp_path / "packed.npz", W=W)
    packed = geom.load(f"npz:{tmp_path}/packed.npz")
    by_columns = geom.load(save(tmp_path, np.asfortranarray(W)))
    transposed = geom.load(save(tmp_path, np.ascontiguousarray(W.T)) + "?layout=dv")
    for readout in (packed, by_columns, transposed):
        assert readout.rows.stored.source is None
        np.testing.assert_array_equal(readout.rows[:], W.astype(np.float64))


@pytest.mark.usefixtures("nothing_is_small")
def test_a_flipped_bit_in_a_large_archive_is_found(tmp_path: Path) -> None:
    address = saved_npz(tmp_path, drawn("float32"))
    with (tmp_path / "m.npz").open("r+b") as file:
        file.seek(5000)
        byte = file.read(1)
        file.seek(5000)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(InputError, match="CRC"):
        geom.load(address)


@pytest.mark.usefixtures("nothing_is_small")
def test_a_map_given_in_python_stays_mapped_if_its_file_is_the_same(tmp_path: Path) -> None:
    W = drawn("float32")
    np.save(tmp_path / "W.npy", W)
    mapped = np.load(tmp_path / "W.npy", mmap_mode="r")
    readout = Readout.fold(mapped, gamma=GAMMA)
    assert readout.rows.stored.source is not None
    np.testing.assert_array_equal(readout.rows[:], whole(W, GAMMA))
    np.save(tmp_path / "new.npy", W + 1)
    os.replace(tmp_path / "new.npy", tmp_path / "W.npy")
    np.testing.assert_array_equal(readout.rows[:], whole(W, GAMMA))
    with pytest.raises(InputError, match="mapped from a file that has changed"):
        Readout.fold(mapped)


# Memory


def test_loading_takes_the_memory_of_the_checkpoint(tmp_path: Path) -> None:
    W = np.ones((40_000, 256), dtype=np.float16)
    W[:, 0] = np.arange(40_000) % 100
    addresses = [saved_safetensors(tmp_path, W), saved_npz(tmp_path, W)]
    for address in addresses:
        geom.load(address)  # imports first, so that they are not counted
        tracemalloc.start()
        readout = geom.load(address)
        for _, block in readout.rows.blocks():
            assert block.shape[1] == 256
        assert readout.digest
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert readout.rows.nbytes == W.nbytes
        assert peak < W.nbytes + (8 << 20)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_that_maps_takes_next_to_nothing_of_its_own(tmp_path: Path) -> None:
    address = saved_safetensors(tmp_path, np.ones((200_000, 256), dtype=np.float16))
    code = (
        "import sys, geom; from geom.machine import memory; memory.is_small = lambda need: False\n"
        "from geom.model import rows; rows.KEPT = 0\n"
        "def own(): return next(int(line.split()[1]) << 10 for line in open('/proc/self/status')"
        " if line.startswith('RssAnon'))\n"
        "geom.load('demo').digest; before = own(); readout = geom.load(sys.argv[1])\n"
        "readout.digest; readout.row_norms; print(own() - before, readout.rows.nbytes)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, address], capture_output=True, text=True, check=True
    )
    grown, held = map(int, done.stdout.split())
    assert held == 200_000 * 256 * 2
    assert grown < 32 << 20
