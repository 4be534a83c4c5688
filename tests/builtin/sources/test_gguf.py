"""``gguf:``: the tensors that make the readout, tokens, split models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFReader
from gguf.quants import dequantize, quantize

import geom
from support.command import Command
from support.gguf_files import RMS, D, V, drawn, parts, refusal, vocabulary, write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


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


def test_by_hand_a_norm_may_multiply_by_1_plus_its_weight(path: Path) -> None:
    W, gamma = drawn(V, 8), drawn(8)
    write(path, {"output.weight": W, "output_norm.weight": gamma})
    folded = np.float64(W) * (np.float32(1) + gamma)
    np.testing.assert_array_equal(geom.load(f"gguf:{path}?gamma_plus_one=yes").W, folded)


@pytest.mark.parametrize("name", ["output.scale", "output.input_scale", "output.weight_scales"])
def test_what_lies_under_the_outputs_name_is_never_passed_over(path: Path, name: str) -> None:
    for other in ("output.weight", "token_embd.weight"):
        tensors = {other: drawn(V, 8), name: drawn(1)}
        write(path, tensors | {"output_norm.weight": drawn(8)})
        assert f"has {name} beside its output tensor" in refusal(path)


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


# Tokens


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
    """Write a model in three parts, with settings in the first and the output in the last."""
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
