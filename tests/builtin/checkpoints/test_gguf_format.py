"""GGUF numbers: blocks decoded by hand and by the gguf package."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from gguf.quants import dequantize, quantize
from numpy.typing import NDArray

import geom
from geom import InputError
from geom_plugins.checkpoints.gguf_format import open_gguf
from support.gguf_files import RNG, D, V, drawn, parts, write

EXACT = ("F32", "F16", "BF16")
BLOCKS = [kind for kind in gguf.GGML_QUANT_SIZES if gguf.GGML_QUANT_SIZES[kind][0] > 1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


def random_blocks(kind: Kind, rows: int, width: int = D) -> NDArray[np.uint8]:
    """Draw the bytes of blocks of any type, without infinite scales."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    return RNG.integers(0, 0x3C, (rows, width // block * size), np.uint8)


def half(data: bytes) -> np.float32:
    return np.float32(struct.unpack("<e", data)[0])


def by_hand_q8_0(block: bytes) -> list[np.float32]:
    """Decode a scale and 32 signed bytes."""
    return [half(block[:2]) * np.float32(q) for q in struct.unpack("<32b", block[2:])]


def by_hand_q4_0(block: bytes) -> list[np.float32]:
    """Decode a scale and 16 bytes: 16 numbers in low halves, then 16 in high ones, minus 8."""
    nibbles = [byte & 15 for byte in block[2:]] + [byte >> 4 for byte in block[2:]]
    return [half(block[:2]) * np.float32(q - 8) for q in nibbles]


def by_hand_q6_k(block: bytes) -> list[np.float32]:
    """Decode 256 numbers of 6 bits, minus 32: 4 low bits, 2 high bits, a scale per 16, a scale."""
    low, high = block[:128], block[128:192]
    scales, d = struct.unpack("<16b", block[192:208]), half(block[208:])
    out = []
    for i in range(256):
        part, rest = divmod(i, 128)
        quarter, at = divmod(rest, 32)
        bits = low[64 * part + 32 * (quarter % 2) + at] >> (4 * (quarter // 2)) & 15
        bits |= (high[32 * part + at] >> (2 * quarter) & 3) << 4
        out.append(d * np.float32(scales[i // 16]) * np.float32(bits - 32))
    return out


def by_hand_q4_k(block: bytes) -> list[np.float32]:
    """Decode 256 numbers of 4 bits in eight parts, each with a scale and a minimum of 6 bits."""
    d, least = half(block[:2]), half(block[2:4])
    packed, nibbles = block[4:16], block[16:]
    out = []
    for i in range(256):
        part, at = divmod(i, 32)
        if part < 4:
            scale, minimum = packed[part] & 63, packed[part + 4] & 63
        else:
            scale = packed[part + 4] & 15 | packed[part - 4] >> 6 << 4
            minimum = packed[part + 4] >> 4 | packed[part] >> 6 << 4
        bits = nibbles[32 * (part // 2) + at] >> (4 * (part % 2)) & 15
        out.append(d * np.float32(scale) * np.float32(bits) - least * np.float32(minimum))
    return out


@pytest.mark.parametrize(
    ("kind", "by_hand", "scales"),
    [
        (Kind.Q8_0, by_hand_q8_0, [0]),
        (Kind.Q4_0, by_hand_q4_0, [0]),
        (Kind.Q6_K, by_hand_q6_k, [208]),
        (Kind.Q4_K, by_hand_q4_k, [0, 2]),
    ],
)
def test_blocks_are_what_the_layout_says(
    path: Path, kind: Kind, by_hand: Callable[[bytes], list[np.float32]], scales: list[int]
) -> None:
    block, size = gguf.GGML_QUANT_SIZES[kind]
    raw = RNG.integers(0, 256, (V, D // block * size), np.uint8)
    blocks = raw.reshape(-1, size)
    for at in scales:
        halves = RNG.normal(size=len(blocks)).astype("<f2")
        blocks[:, at : at + 2] = halves.view(np.uint8).reshape(-1, 2)
    write(path, parts(raw), kinds={"output.weight": kind})
    expected = np.array([by_hand(bytes(one)) for one in blocks]).reshape(V, D)
    tensor = open_gguf(path).tensor("output.weight")
    assert tensor.shape == (V, D)
    np.testing.assert_array_equal(tensor[:], expected)


@pytest.mark.parametrize("kind", BLOCKS, ids=lambda kind: kind.name)
def test_every_type_is_dequantised_as_the_package_does_or_refused(path: Path, kind: Kind) -> None:
    raw = random_blocks(kind, V)
    write(path, parts(raw), kinds={"output.weight": kind})
    try:
        expected = dequantize(raw, kind)
    except NotImplementedError:
        with pytest.raises(InputError, match=rf"'output.weight' of .* is {kind.name}, which"):
            geom.load(f"gguf:{path}")
        return
    readout = geom.load(f"gguf:{path}?unembed=output.weight&norm=none")
    np.testing.assert_array_equal(readout.W, expected)
    assert readout.notes == (
        f"output.weight is {kind.name}, dequantised to float32 as llama.cpp defines",
    )


def test_the_types_that_cannot_be_read_are_few() -> None:
    refused = []
    for kind in BLOCKS:
        try:
            dequantize(random_blocks(kind, 1), kind)
        except NotImplementedError:
            refused.append(kind.name)
    assert {*refused} <= {"Q8_1", "Q8_K", "Q1_0"}


@pytest.mark.parametrize(
    "name", [*EXACT, "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "TQ1_0", "TQ2_0", "MXFP4"]
)
def test_logits_are_those_of_the_numbers_stored(path: Path, name: str) -> None:
    kind = Kind[name]
    numbers = drawn(V, D)
    raw = quantize(numbers, kind)
    given = parts(raw) | {"output.bias": drawn(V)}
    write(path, given, kinds={"output.weight": kind})
    W = dequantize(raw, kind).astype(np.float64)
    if name in EXACT:
        np.testing.assert_allclose(W, numbers, rtol=2.0**-8)
    x = RNG.normal(size=(4, D))
    expected = (x * given["output_norm.weight"]) @ W.T + given["output.bias"]
    readout = geom.load(f"gguf:{path}")
    np.testing.assert_allclose(readout.logits(x), expected, rtol=1e-12, atol=1e-11)
    assert readout.norm == "rmsnorm"
    assert (readout.notes == ()) == (name in EXACT)


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "i1", "i2", "i4", "i8"])
def test_plain_numbers_come_as_they_are(path: Path, dtype: str) -> None:
    W = (100 * drawn(V, 6)).astype(dtype)
    write(path, {"output.weight": W})
    tensor = open_gguf(path).tensor("output.weight")
    np.testing.assert_array_equal(tensor[:], W)
    np.testing.assert_array_equal(tensor[5:9], W[5:9])
    np.testing.assert_array_equal(tensor[3:3], W[3:3])
    assert tensor[:].dtype == W.dtype


def test_rows_are_read_a_slice_at_a_time(path: Path) -> None:
    raw = random_blocks(Kind.Q5_K, V)
    write(path, {"w": raw, "v": raw[0]}, kinds={"w": Kind.Q5_K, "v": Kind.Q5_K})
    model = open_gguf(path)
    whole = dequantize(raw, Kind.Q5_K)
    np.testing.assert_array_equal(model.tensor("w")[7:19:2], whole[7:19:2])
    np.testing.assert_array_equal(model.tensor("w")[4:4], whole[4:4])
    np.testing.assert_array_equal(model.tensor("v")[5:40], whole[0, 5:40])


def test_blocks_stay_blocks_and_are_dequantised_a_few_at_a_time(path: Path) -> None:
    rows = 16384
    write(path, parts(random_blocks(Kind.Q4_K, rows)), kinds={"output.weight": Kind.Q4_K})
    geom.load(f"gguf:{path}")  # imports first, so that they are not counted
    tracemalloc.start()
    readout = geom.load(f"gguf:{path}")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert readout.rows.nbytes == rows * 144
    assert peak < readout.rows.nbytes + (8 << 20)
