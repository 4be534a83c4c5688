"""``gguf:``: blocks decoded by hand, logits of transformers' models, files that lie."""

from __future__ import annotations

import struct
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFReader, GGUFWriter
from gguf.quants import dequantize, quantize
from numpy.typing import NDArray

import geom
from geom import InputError
from geom_plugins.checkpoints.gguf_format import open_gguf
from support.command import Command
from support.toy_models import build, forward

RNG = np.random.default_rng(5)
RMS = {"llama.attention.layer_norm_rms_epsilon": 1e-5}
V, D = 23, 256
EXACT = ("F32", "F16", "BF16")
BLOCKS = [kind for kind in gguf.GGML_QUANT_SIZES if gguf.GGML_QUANT_SIZES[kind][0] > 1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


def drawn(*shape: int) -> NDArray[np.float32]:
    return RNG.normal(size=shape).astype(np.float32)


def parts(W: NDArray[Any] | None = None) -> dict[str, NDArray[Any]]:
    W = drawn(V, D) if W is None else W
    return {"output.weight": W, "output_norm.weight": drawn(D)}


def write(
    path: Path,
    tensors: dict[str, NDArray[Any]],
    settings: dict[str, Any] = RMS,
    arch: str = "llama",
    kinds: dict[str, Kind] | None = None,
    tokens: Callable[[GGUFWriter], None] | None = None,
    **options: Any,
) -> None:
    """A file by the gguf package's writer; ``kinds`` say what bytes stand for."""
    writer = GGUFWriter(path, arch, **options)
    for key, value in settings.items():
        add = writer.add_string if isinstance(value, str) else writer.add_float32
        (writer.add_uint32 if isinstance(value, int) else add)(key, value)
    if tokens is not None:
        tokens(writer)
    for name, array in tensors.items():
        writer.add_tensor(name, array, raw_dtype=(kinds or {}).get(name))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def random_blocks(kind: Kind, rows: int, width: int = D) -> NDArray[np.uint8]:
    """Bytes of blocks of any type, such that no scale is infinite."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    return RNG.integers(0, 0x3C, (rows, width // block * size), np.uint8)


# Numbers as they are stored


def half(data: bytes) -> np.float32:
    return np.float32(struct.unpack("<e", data)[0])


def by_hand_q8_0(block: bytes) -> list[np.float32]:
    """A scale and 32 signed bytes."""
    return [half(block[:2]) * np.float32(q) for q in struct.unpack("<32b", block[2:])]


def by_hand_q4_0(block: bytes) -> list[np.float32]:
    """A scale and 16 bytes: low halves are the first 16 numbers, high ones the others, less 8."""
    nibbles = [byte & 15 for byte in block[2:]] + [byte >> 4 for byte in block[2:]]
    return [half(block[:2]) * np.float32(q - 8) for q in nibbles]


def by_hand_q6_k(block: bytes) -> list[np.float32]:
    """256 numbers of 6 bits, less 32: 4 low bits, 2 high bits, a scale for every 16, a scale."""
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
    """256 numbers of 4 bits in eight parts, each with a scale and a minimum of 6 bits."""
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


def test_the_dequantised_matrix_is_never_whole_beside_W(path: Path) -> None:  # noqa: N802
    rows = 16384
    write(path, parts(random_blocks(Kind.Q4_K, rows)), kinds={"output.weight": Kind.Q4_K})
    geom.load(f"gguf:{path}")  # what is imported is not counted
    tracemalloc.start()
    readout = geom.load(f"gguf:{path}")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert readout.W.nbytes < peak < readout.W.nbytes + (24 << 20)


# Which tensors


@pytest.mark.parametrize("absent", ["output.weight", "token_embd.weight"])
def test_the_output_is_tied_only_where_it_has_no_tensor(path: Path, absent: str) -> None:
    tensors = {"output.weight": drawn(V, 8), "token_embd.weight": drawn(V, 8)}
    del tensors[absent]
    write(path, tensors | {"output_norm.weight": np.ones(8, np.float32)})
    np.testing.assert_array_equal(geom.load(f"gguf:{path}").W, *tensors.values())


def test_both_there_the_output_wins(path: Path) -> None:
    W = drawn(V, 8)
    norm = np.ones(8, np.float32)
    write(
        path,
        {"token_embd.weight": drawn(V, 8), "output.weight": W, "output_norm.weight": norm},
    )
    np.testing.assert_array_equal(geom.load(f"gguf:{path}").W, W)


@pytest.mark.parametrize(
    ("epsilons", "shift", "norm"),
    [
        (["layer_norm_rms_epsilon"], False, "rmsnorm"),
        (["layer_norm_rms_epsilon"], True, "rmsnorm"),
        (["layer_norm_epsilon"], False, "layernorm"),
        (["layer_norm_epsilon"], True, "layernorm"),
        (["layer_norm_rms_epsilon", "layer_norm_epsilon"], False, "rmsnorm"),
        (["layer_norm_rms_epsilon", "layer_norm_epsilon"], True, "layernorm"),
    ],
)
def test_the_metadata_tell_the_norm(
    path: Path, epsilons: list[str], shift: bool, norm: str
) -> None:
    tensors = parts() | ({"output_norm.bias": drawn(D)} if shift else {})
    write(path, tensors, {f"nemotron.attention.{name}": 1e-5 for name in epsilons}, "nemotron")
    readout = geom.load(f"gguf:{path}")
    assert readout.norm == norm
    assert readout.has_bias == shift
    if shift:
        W = tensors["output.weight"].astype(np.float64)
        np.testing.assert_allclose(readout.b, W @ tensors["output_norm.bias"], atol=1e-12)


def test_parts_given_by_hand_are_all_there_is(path: Path) -> None:
    tensors = {name: drawn(V, 8) for name in ("a", "output.weight")}
    vectors = {"output.bias": drawn(V), "output_norm.weight": drawn(8), "g": drawn(8)}
    write(path, tensors | vectors, {}, "bert")
    readout = geom.load(f"gguf:{path}?unembed=a&norm=layernorm&gamma=g")
    np.testing.assert_array_equal(readout.W, np.float64(tensors["a"]) * vectors["g"])
    assert (readout.norm, readout.has_bias) == ("layernorm", False)


def test_a_part_given_by_hand_leaves_the_others(path: Path) -> None:
    vectors = {"output.bias": drawn(V), "other": drawn(V), "output_norm.weight": drawn(8)}
    W = drawn(V, 8)
    write(path, {"output.weight": W} | vectors)
    readout = geom.load(f"gguf:{path}?bias=other")
    np.testing.assert_array_equal(readout.b, vectors["other"])
    np.testing.assert_array_equal(readout.W, np.float64(W) * vectors["output_norm.weight"])
    assert not geom.load(f"gguf:{path}?bias=no").has_bias
    assert geom.load(f"gguf:{path}?norm=layernorm").norm == "layernorm"


@pytest.mark.parametrize(
    ("arch", "name"), [("t5", "dec.output_norm.weight"), ("lfm2", "token_embd_norm.weight")]
)
def test_final_norms_of_another_name_are_found(path: Path, arch: str, name: str) -> None:
    tensors = {"token_embd.weight": drawn(V, 8), name: drawn(8)}
    write(path, tensors, {f"{arch}.attention.layer_norm_rms_epsilon": 1e-5}, arch)
    W = np.float64(tensors["token_embd.weight"]) * tensors[name]
    np.testing.assert_array_equal(geom.load(f"gguf:{path}").W, W)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("logit_scale", 0.0625, ("the model scales its logits (logit_scale 0.0625)",)),
        ("logit_scale", 1.0, ()),
        ("final_logit_softcapping", 30.0, ("the model caps its logits softly at 30",)),
    ],
)
def test_what_happens_to_the_logits_is_noted(
    path: Path, key: str, value: float, says: tuple[str, ...]
) -> None:
    write(path, parts(), RMS | {f"llama.{key}": value})
    notes = geom.load(f"gguf:{path}").notes
    assert notes == tuple(f"{line}; no argmax changes" for line in says)


# Models of transformers, turned into GGUF tensors

MODELS = {
    "llama": ("llama", "LLAMA", {}),
    "llama-tied": ("llama", "LLAMA", {"tie_word_embeddings": True}),
    "gpt2": ("gpt2", "GPT2", {}),
    "phi": ("phi", "PHI2", {}),
    "gpt_neox": ("gpt_neox", "GPTNEOX", {}),
    "gemma": ("gemma", "GEMMA", {"tie_word_embeddings": True}),
    "cohere": ("cohere", "COMMAND_R", {}),
    "olmo": ("olmo", "OLMO", {}),
    "mamba": ("mamba", "MAMBA", {}),
    "nemotron": ("nemotron", "NEMOTRON", {}),
}
NORMS = {
    "gpt2": "transformer.ln_f",
    "phi": "model.final_layernorm",
    "gpt_neox": "gpt_neox.final_layer_norm",
    "mamba": "backbone.norm_f",
}
LAYERNORM = ("gpt2", "phi", "gpt_neox", "cohere", "olmo", "nemotron")
PLUS_ONE = ("gemma", "nemotron")
"""Their converter adds one to the weights of norms."""


@pytest.mark.parametrize("case", MODELS)
def test_readout_makes_the_models_logits(case: str, path: Path) -> None:
    kind, name, changes = MODELS[case]
    model = build(kind, **changes)
    module = model.get_submodule(NORMS.get(kind, "model.norm"))
    arch = getattr(gguf.MODEL_ARCH, name)
    names = gguf.get_tensor_name_map(arch, 2)
    tensors = {}
    tied = model.config.tie_word_embeddings
    for own, tensor in model.state_dict().items():
        mapped = names.get_name(own, try_suffixes=(".weight", ".bias"))
        if mapped is None or (tied and own == "lm_head.weight"):
            continue
        plus = 1 if kind in PLUS_ONE and own.endswith("norm.weight") else 0
        tensors[mapped] = (tensor + plus).numpy()
    assert ("output.weight" in tensors) != tied
    label = gguf.MODEL_ARCH_NAMES[arch]
    epsilon = "layer_norm" if kind in LAYERNORM else "layer_norm_rms"
    settings = {f"{label}.attention.{epsilon}_epsilon": 1e-5}
    scale = 1.0
    if kind == "cohere":
        scale = model.config.logit_scale
        settings[f"{label}.logit_scale"] = scale
    write(path, tensors, settings, label)

    caught: list[torch.Tensor] = []
    hook = module.register_forward_pre_hook(lambda _, given: caught.append(given[0][0].detach()))
    logits = forward(model, kind).double().numpy() / scale
    hook.remove()
    h = caught[0].double().numpy()
    if kind in LAYERNORM:
        h = h - h.mean(-1, keepdims=True)
    x = h / np.sqrt((h**2).mean(-1, keepdims=True) + _epsilon(module))
    readout = geom.load(f"gguf:{path}")
    np.testing.assert_allclose(readout.logits(x), logits, rtol=0, atol=1e-5 * np.abs(logits).max())
    assert readout.norm == ("layernorm" if kind in LAYERNORM else "rmsnorm")


def _epsilon(module: torch.nn.Module) -> float:
    """OLMo's is a constant."""
    return float(getattr(module, "eps", None) or getattr(module, "variance_epsilon", 1e-5))


# Tokens


def vocabulary(sort: str, pieces: list[str | bytes], types: list[int]) -> Callable[..., None]:
    def add(writer: GGUFWriter) -> None:
        writer.add_tokenizer_model(sort)
        writer.add_token_list(pieces)
        writer.add_token_scores([0.5] * len(pieces))
        writer.add_token_types(types)
        writer.add_token_merges(["a b", "c d", "é f"])

    return add


@pytest.mark.parametrize(
    ("sort", "pieces", "types", "texts", "kinds"),
    [
        (
            "gpt2",
            ["Ġthe", "Ċ", "é", "â", "<|end|>", " Ġ", "[PAD6]", "[PAD3]"],
            [1, 1, 1, 1, 3, 4, 5, 5],
            [" the", "\n", "\\xe9", "\\xe2", "<|end|>", " Ġ", None, "[PAD3]"],
            "normal normal byte byte special added padding unused",
        ),
        (
            "llama",
            ["<unk>", "<s>", "<0x0A>", "\u2581the", "<0xE9>", "é", "\u2581\u2581"],
            [2, 3, 6, 1, 6, 1, 4],
            ["<unk>", "<s>", "\n", " the", "\\xe9", "é", "\u2581\u2581"],
            "special special byte normal byte normal added",
        ),
        (
            "rwkv",
            ["<s>", "\\n", "\\xe9", "\\xc3\\xa9", "the \\\\", "\\'"],
            [3, 1, 1, 1, 1, 1],
            ["<s>", "\n", "\\xe9", "é", "the \\", "'"],
            "special normal byte normal normal normal",
        ),
        ("none", ["Ġa", "\u2581b"], [1, 1], ["Ġa", "\u2581b"], "normal normal"),
        ("llama", [b"\xff", "a"], [1, 1], ["\\xff", "a"], "normal normal"),
    ],
)
def test_tokens_are_what_the_vocabulary_decodes(
    path: Path,
    sort: str,
    pieces: list[str | bytes],
    types: list[int],
    texts: list[str | None],
    kinds: str,
) -> None:
    W = {"output.weight": drawn(V, 8), "output_norm.weight": drawn(8)}
    write(path, W, tokens=vocabulary(sort, pieces, types))
    readout = geom.load(f"gguf:{path}")
    rest = V - len(pieces)
    assert readout.tokens == (*texts, *[None] * rest)
    assert readout.kinds == (*kinds.split(), *["padding"] * rest)


def test_tokens_beyond_the_rows_are_told(path: Path) -> None:
    W = {"output.weight": drawn(3, 8), "output_norm.weight": drawn(8)}
    write(path, W, tokens=vocabulary("none", list("abcde"), [1] * 5))
    readout = geom.load(f"gguf:{path}")
    assert readout.tokens == ("a", "b", "c")
    assert readout.notes == ("the tokenizer has 2 tokens beyond the 3 rows",)


def test_a_file_without_tokens_has_none(path: Path) -> None:
    write(path, parts())
    readout = geom.load(f"gguf:{path}")
    assert (readout.tokens, readout.kinds) == (None, None)


# Split models


@pytest.fixture
def split(tmp_path: Path) -> list[Path]:
    """The three parts of a model, settings in the first, the output in the last."""
    path = tmp_path / "split.gguf"
    tensors = {"token_embd.weight": drawn(V, 8)}
    tensors |= {f"blk.{i}.attn_norm.weight": drawn(8) for i in range(4)}
    write(
        path,
        tensors | {"output_norm.weight": drawn(8), "output.weight": drawn(V, 8)},
        split_max_tensors=3,
    )
    return sorted(tmp_path.glob("split-*.gguf"))


def test_tensors_are_found_in_whichever_part_holds_them(split: list[Path]) -> None:
    assert len(split) == 3
    stored = {t.name: t.data for file in split for t in GGUFReader(file).tensors}
    expected = np.float64(stored["output.weight"]) * stored["output_norm.weight"]
    for file in split:
        readout = geom.load(f"gguf:{file}")
        np.testing.assert_array_equal(readout.W, expected)
        assert readout.norm == "rmsnorm"


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_missing_part_is_named(split: list[Path], gone: int) -> None:
    split[gone].unlink()
    message = refusal(split[gone - 1])
    assert "one of 3 parts" in message
    assert split[gone].name in message


def test_a_part_under_another_name_is_refused(split: list[Path], path: Path) -> None:
    split[1].rename(path)
    assert "NAME-00001-of-00003.gguf" in refusal(path)


def test_parts_that_changed_names_are_refused(split: list[Path], path: Path) -> None:
    split[0].rename(path)
    split[1].rename(split[0])
    path.rename(split[1])
    assert "counted from 0" in refusal(split[2])


# What is refused, in one line


def refusal(path: Path, query: str = "") -> str:
    with pytest.raises(InputError) as caught:
        geom.load(f"gguf:{path}{query}")
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_location_is_needed() -> None:
    with pytest.raises(InputError, match="names no file"):
        geom.load("gguf:")


def test_a_missing_file_and_a_folder_are_refused(path: Path, tmp_path: Path) -> None:
    assert "does not exist" in refusal(path)
    assert "is a folder" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it is empty"),
        (b"GG", "does not begin as one"),
        (b"PK\3\4 and more", "does not begin as one"),
        (b"version https://git-lfs", "git lfs pull"),
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
    assert "no GGUF file, or a damaged one" in message
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
        ("qwen3", {"qwen3.pooling_type": 3}, "a model of embeddings"),
        ("llama", {}, "no epsilon of llama's norms"),
        ("llama", RMS | {"llama.logit_scale": -2.0}, "llama.logit_scale of"),
        ("llama", RMS | {"llama.logit_scale": float("nan")}, "llama.logit_scale of"),
        ("llama", RMS | {"llama.logit_scale": "x"}, "llama.logit_scale of"),
        ("llama", RMS | {"general.type": "adapter"}, "is of the type adapter"),
        ("clip", {}, "an encoder of images"),
        ("llama", RMS | {"general.alignment": 24}, "no power of two"),
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
    assert "pip install 'geom-unembed[gguf]'" in refusal(path)


# The command line


def test_a_run_on_a_quantised_file(path: Path, command: Command) -> None:
    raw = quantize(drawn(V, 32), Kind.Q8_0)
    W = dequantize(raw, Kind.Q8_0)
    write(
        path,
        {"token_embd.weight": raw, "output_norm.weight": np.ones(32, np.float32)},
        kinds={"token_embd.weight": Kind.Q8_0},
        tokens=vocabulary("llama", [f"\u2581t{i}" for i in range(V)], [1] * V),
    )
    done = command("run", "--model", f"gguf:{path}", "--tokens", "0-5", "--format", "jsonl")
    assert done.code == 0
    assert [row["token"] for row in done.rows] == [f" t{i}" for i in range(6)]
    winners = (W.astype(np.float64) @ W.T).argmax(0)
    assert [row["argmax_id"] for row in done.rows] == winners[:6].tolist()
    assert {row["verdict"] for row in done.rows} == {"speakable"}  # 23 rows in 32 dimensions


def test_a_damaged_file_leaves_with_2_and_one_line(path: Path, command: Command) -> None:
    path.write_bytes(b"GGUF")
    done = command("run", "--model", f"gguf:{path}")
    assert (done.code, done.out) == (2, "")
    assert "ends too early" in done.err
    assert "Traceback" not in done.err
