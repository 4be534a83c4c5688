"""``gguf:``: files that are damaged or that lie are refused in one line."""

from __future__ import annotations

import struct
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from gguf.quants import quantize

import geom
from geom import InputError
from support.gguf_files import RMS, D, V, drawn, parts, refusal, vocabulary, write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


def test_a_location_is_needed() -> None:
    with pytest.raises(InputError, match="names no file"):
        geom.load("gguf:")


def test_a_missing_file_and_a_folder_are_refused(path: Path, tmp_path: Path) -> None:
    assert "does not exist" in refusal(path)
    assert "is a folder" in refusal(tmp_path)


def test_a_pointer_of_git_lfs_is_named_as_one(path: Path) -> None:
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    assert "is a pointer of Git LFS, not the file itself: run git lfs pull" in refusal(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it is empty"),
        (b"GG", "does not begin with GGUF"),
        (b"PK\3\4 and more", "does not begin with GGUF"),
        (b"GGUF", "ends too early"),
        (b"GGUF" + struct.pack("<I", 1) + bytes(16), "version 1"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0), "1152921504606846976 tensors"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**63), "9223372036854775808 settings"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**40) + bytes(40), "ends too early"),
        (b"GGUF" + struct.pack("<IQQQ4sII", 3, 0, 1, 4, b"name", 77, 0), "unknown type, 77"),
        (b"GGUF" + struct.pack("<IQQQ4sIIQ", 3, 0, 1, 4, b"name", 9, 9, 1), "unknown type, 9"),
        (
            b"GGUF" + struct.pack("<IQQQ4sIIQ", 3, 0, 1, 4, b"name", 9, 8, 2**62),
            "4611686018427387904 strings in 'name'",
        ),
        (b"GGUF" + struct.pack("<IQQQ4sIIQ", 3, 0, 1, 4, b"name", 9, 4, 2**62), "too early"),
        (b"GGUF" + struct.pack("<IQQQ4sII", 3, 1, 0, 4, b"name", 9, 0) + bytes(40), "9 dimensions"),
        (
            b"GGUF" + struct.pack("<IQQQ4sIQQIQ", 3, 1, 0, 4, b"name", 2, 2**40, 2**40, 0, 0),
            "'name' lies outside",
        ),
        (
            b"GGUF" + struct.pack("<IQQQ4sIQQIQ", 3, 1, 0, 4, b"name", 2, 31, 2, 8, 0),
            "Q8_0 in blocks of 32, its rows have 31",
        ),
    ],
)
def test_a_damaged_file_is_told_by_its_damage(path: Path, content: bytes, says: str) -> None:
    path.write_bytes(content)
    tracemalloc.start()
    message = refusal(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "is not a GGUF file, or is damaged" in message
    assert says in message
    assert peak < 8 << 20


def test_a_huge_count_of_tokens_is_refused(path: Path) -> None:
    key = b"tokenizer.ggml.token_type"
    for kind in (5, 8):
        array = struct.pack(f"<IQQQ{len(key)}sIIQ", 3, 0, 1, len(key), key, 9, kind, 2**61)
        path.write_bytes(b"GGUF" + array + bytes(64))
        assert "damaged" in refusal(path)


def test_a_tensor_of_a_type_to_come_is_refused_only_when_it_is_wanted(path: Path) -> None:
    write(path, {"output.weight": drawn(V, 8), "output_norm.weight": drawn(8), "q": drawn(1, 4)})
    whole = path.read_bytes()
    at = whole.index(struct.pack("<Q1sIQQI", 1, b"q", 2, 4, 1, 0)) + 29
    path.write_bytes(whole[:at] + struct.pack("<I", 999) + whole[at + 4 :])
    assert geom.load(f"gguf:{path}").V == V
    assert "of ggml's type 999" in refusal(path, "?unembed=q")


def test_a_big_endian_file_is_refused_with_the_remedy(path: Path) -> None:
    write(path, parts(), endianess=gguf.GGUFEndian.BIG)
    assert "gguf-convert-endian" in refusal(path)


def test_a_file_cut_anywhere_is_refused(path: Path) -> None:
    pieces = [f"t{i}" for i in range(9)]
    write(
        path,
        {"output_norm.weight": drawn(8), "output.weight": drawn(V, 8)},
        tokens=vocabulary("llama", pieces, [1] * 9),
    )
    whole = path.read_bytes()
    for length in [*range(len(whole) - V * 32, 0, -7), len(whole) - 1]:
        path.write_bytes(whole[:length])
        assert "damaged" in refusal(path)


def test_a_header_damaged_anywhere_ends_in_a_readout_or_one_line(path: Path) -> None:
    write(
        path,
        {"output_norm.weight": drawn(8), "output.weight": drawn(V, 8)},
        tokens=vocabulary("gpt2", ["a", "b"], [1, 1]),
    )
    whole = path.read_bytes()
    refused = 0
    for at in range(len(whole) - V * 32):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            assert geom.load(f"gguf:{path}").d == 8
        except InputError:
            refused += 1
    assert refused > 200


def test_names_that_come_twice_are_refused(path: Path) -> None:
    write(path, {"a": drawn(2, 2), "b": drawn(2, 2)})
    whole = path.read_bytes()
    one, two = (struct.pack("<Q1s", 1, name) for name in (b"a", b"b"))
    path.write_bytes(whole.replace(two, one))
    assert "'a' twice" in refusal(path)


@pytest.mark.parametrize(
    ("arch", "settings", "says"),
    [
        ("bert", {"bert.attention.layer_norm_epsilon": 1e-5}, "is bert, an encoder"),
        ("t5encoder", {}, "is t5encoder, an encoder"),
        ("qwen3", {"qwen3.pooling_type": 3}, "an embedding model"),
        ("llama", {}, "no epsilon of llama's norms"),
        ("llama", RMS | {"llama.logit_scale": -2.0}, "llama.logit_scale of"),
        ("llama", RMS | {"llama.logit_scale": float("nan")}, "llama.logit_scale of"),
        ("llama", RMS | {"llama.logit_scale": "x"}, "llama.logit_scale of"),
        ("llama", RMS | {"general.type": "adapter"}, "has the type 'adapter'"),
        ("clip", {}, "an encoder of images"),
        ("llama", RMS | {"general.alignment": 24}, "not a power of two"),
    ],
)
def test_what_has_no_certain_readout_is_refused(
    path: Path, arch: str, settings: dict[str, Any], says: str
) -> None:
    write(path, {"token_embd.weight": drawn(V, 8), "output_norm.weight": drawn(8)}, settings, arch)
    assert says in refusal(path)


@pytest.mark.parametrize(
    ("tensors", "query", "says"),
    [
        ({"output_norm.weight": (8,)}, "", "neither output.weight nor token_embd.weight"),
        ({"output.weight": (V, 8)}, "", "no output_norm.weight"),
        ({"output.weight": (V, 8)}, "?unembed=ouput.weight&norm=none", "it has output.weight"),
        ({"output.weight": (V, 8), "output_norm.weight": (7,)}, "", "gamma has shape (7,)"),
        ({"output.weight": (2, V, 8), "output_norm.weight": (8,)}, "", "W has shape (2, 23, 8)"),
        (
            {"output.weight": (V, 8), "output_norm.weight": (8,), "output.scale": (1,)},
            "",
            "output.scale",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    path: Path, tensors: dict[str, tuple[int, ...]], query: str, says: str
) -> None:
    write(path, {name: drawn(*shape) for name, shape in tensors.items()})
    assert says in refusal(path, query)


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "int64"])
def test_integers_without_scales_are_refused(path: Path, kind: str) -> None:
    write(path, parts(np.ones((V, D), kind)))
    assert "integers without scales" in refusal(path)


def test_a_scale_that_is_no_number_is_told_by_its_place(path: Path) -> None:
    raw = quantize(drawn(V, D), Kind.Q8_0)
    raw[4, 34:36] = 0xFF  # the scale of the fifth row's second block
    write(path, parts(raw), kinds={"output.weight": Kind.Q8_0})
    assert "W[(4, 32)] is nan" in refusal(path)


def test_without_the_package_the_extra_is_named(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(path, parts())
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert geom.install_command("gguf") in refusal(path)
