"""``ct2:`` on files written by its definition, and on toy models that CTranslate2 converted."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

import geom
from geom import InputError, Readout
from support.ctranslate2_files import convert, save

V, D = 11, 6
RNG = np.random.default_rng(0)


def drawn(*shape: int) -> NDArray[np.float32]:
    return RNG.standard_normal(shape).astype(np.float32)


HEAD = {"decoder/projection/weight": drawn(V, D)}
NORM = {"decoder/layer_norm/gamma": drawn(D), "decoder/layer_norm/beta": drawn(D)}
RMS = {"decoder/layer_norm/gamma": drawn(D)}


def load(where: Path, arrays: dict[str, Any], query: str = "", **options: Any) -> Readout:
    options = {"kind": "TransformerDecoderSpec"} | options
    return geom.load(f"ct2:{save(where / 'model', arrays, **options)}{query}")


def refusal(where: Path, arrays: dict[str, Any], **options: Any) -> str:
    with pytest.raises(InputError) as refused:
        load(where, arrays, **options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


# By the definition


def test_a_shift_makes_the_norm_layernorm(tmp_path: Path) -> None:
    bias = drawn(V)
    found = load(tmp_path, HEAD | NORM | {"decoder/projection/bias": bias})
    W, (gamma, beta) = HEAD["decoder/projection/weight"], NORM.values()
    assert found.norm == "layernorm"
    assert np.array_equal(found.W, W.astype(np.float64) * gamma)
    exact = [
        Fraction(float(bias[t]))
        + sum(
            (Fraction(w) * Fraction(h) for w, h in zip(W[t].tolist(), beta.tolist(), strict=True)),
            Fraction(0),
        )
        for t in range(V)
    ]
    assert found.exact_biases(np.arange(V)) == exact


def test_a_norm_without_shift_is_rmsnorm(tmp_path: Path) -> None:
    found = load(tmp_path, HEAD | RMS)
    W, (gamma,) = HEAD["decoder/projection/weight"], RMS.values()
    assert found.norm == "rmsnorm"
    assert np.array_equal(found.W, W.astype(np.float64) * gamma)


@pytest.mark.parametrize(("flag", "plus"), [(1, 1.0), (0, 0.0)])
def test_a_norm_may_scale_by_one_more(flag: int, plus: float, tmp_path: Path) -> None:
    name = "decoder/layer_norm/layer_norm_use_residual"
    found = load(tmp_path, HEAD | RMS | {name: np.int8(flag)})
    scale = np.float32(plus) + RMS["decoder/layer_norm/gamma"]
    assert np.array_equal(found.W, HEAD["decoder/projection/weight"].astype(np.float64) * scale)


def test_by_hand_it_may_be_said_whether_the_norm_scales_by_one_more(tmp_path: Path) -> None:
    flag = {"decoder/layer_norm/layer_norm_use_residual": np.int8(1)}
    gamma = RMS["decoder/layer_norm/gamma"]
    W = HEAD["decoder/projection/weight"].astype(np.float64)
    found = load(tmp_path, HEAD | RMS, "?gamma_plus_one=yes")
    assert np.array_equal(found.W, W * (np.float32(1) + gamma))
    found = load(tmp_path, HEAD | RMS | flag, "?gamma_plus_one=no")
    assert np.array_equal(found.W, W * gamma)


@pytest.mark.parametrize("name", ["decoder/pre_norm", "pre_norm"])
def test_layers_that_end_in_norms_end_the_model_in_the_last_ones(name: str, tmp_path: Path) -> None:
    last = {"decoder/layer_10/ffn/layer_norm/gamma": drawn(D)}
    last |= {"decoder/layer_10/ffn/layer_norm/beta": drawn(D)}
    other = {"decoder/layer_9/ffn/layer_norm/gamma": drawn(D)}
    found = load(tmp_path, HEAD | other | last | {name: np.int8(0)}, kind="TransformerSpec")
    gamma = last["decoder/layer_10/ffn/layer_norm/gamma"]
    assert found.norm == "layernorm"
    assert np.array_equal(found.W, HEAD["decoder/projection/weight"].astype(np.float64) * gamma)


def test_a_model_may_have_no_final_norm(tmp_path: Path) -> None:
    found = load(tmp_path, HEAD | {"decoder/pre_norm": np.int8(1)})
    assert (found.norm, found.notes) == (None, ("the model has no final norm",))


@pytest.mark.parametrize("kind", ["TransformerBase", "TransformerBig"])
def test_the_translators_of_older_versions_are_read(kind: str, tmp_path: Path) -> None:
    for version in (2, 3, 5):
        found = load(tmp_path, HEAD | NORM, kind=kind, version=version, revision=2)
        assert found.norm == "layernorm"


def test_an_embedding_used_again_brings_its_scale(tmp_path: Path) -> None:
    q, scale = RNG.integers(-127, 128, (V, D)).astype(np.int8), np.abs(drawn(V)) + 1
    arrays = {"decoder/embeddings/weight": q, "decoder/embeddings/weight_scale": scale}
    aliases = [("decoder/projection/weight", "decoder/embeddings/weight")]
    found = load(tmp_path, arrays | RMS, aliases=aliases)
    assert found.rows.nbytes == V * (D + 4)  # as it is stored
    W = q.astype(np.float32) * (np.float32(1) / scale)[:, None]
    assert np.array_equal(found.W, W.astype(np.float64) * RMS["decoder/layer_norm/gamma"])
    assert found.notes == (
        "decoder/projection/weight is int8, dequantised to float32 as CTranslate2 defines",
    )


@pytest.mark.parametrize("stored", [True, False])
def test_int16_has_one_scale_which_is_1000_unless_stored(stored: bool, tmp_path: Path) -> None:
    q = RNG.integers(-1024, 1025, (V, D)).astype(np.int16)
    scale = {"decoder/projection/weight_scale": np.float32(341.5)} if stored else {}
    found = load(tmp_path, {"decoder/projection/weight": q} | scale | RMS)
    W = q.astype(np.float32) * (np.float32(1) / np.float32(341.5 if stored else 1000))
    assert np.array_equal(found.W, W.astype(np.float64) * RMS["decoder/layer_norm/gamma"])


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_is_read_without_loss(kind: Any, tmp_path: Path) -> None:
    arrays = {name: array.astype(kind) for name, array in (HEAD | RMS).items()}
    W, gamma = (array.astype(np.float64) for array in arrays.values())
    assert np.array_equal(load(tmp_path, arrays).W, W * gamma)


def test_a_projection_before_the_head_is_folded(tmp_path: Path) -> None:
    P = drawn(D, 8)
    arrays = HEAD | {"decoder/layer_norm/gamma": drawn(8), "decoder/project_out/weight": P}
    found = load(tmp_path, arrays)
    W = HEAD["decoder/projection/weight"].astype(np.float64) @ P.astype(np.float64)
    np.testing.assert_allclose(found.W, W * arrays["decoder/layer_norm/gamma"], rtol=1e-13)
    refused = refusal(tmp_path, arrays | {"decoder/project_out/bias": drawn(D)})
    assert "adds decoder/project_out/bias" in refused


def test_a_scale_and_a_cap_of_the_logits_are_told(tmp_path: Path) -> None:
    scale = {"decoder/scale_outputs": np.float32(0.25)}
    cap = {"decoder/final_logit_softcapping": np.float32(30)}
    assert load(tmp_path, HEAD | RMS | scale | cap).notes == (
        "the model scales its logits (scale_outputs 0.25); no argmax changes",
        "the model caps its logits softly at 30; no argmax changes",
    )
    refused = refusal(tmp_path, HEAD | RMS | scale | {"decoder/projection/bias": drawn(V)})
    assert "scale_outputs scales what the projection takes by 0.25, beside a bias" in refused
    refused = refusal(tmp_path, HEAD | RMS | {"decoder/scale_outputs": np.float32(-1)})
    assert "by -1, by a number that is not positive" in refused


def test_what_keeps_tokens_from_being_emitted_is_told(tmp_path: Path) -> None:
    where = save(tmp_path / "model", HEAD | NORM)
    (where / "config.json").write_text(json.dumps({"suppress_ids": [1, 2, 7]}))
    (where / "vmap.txt").write_text("")
    assert geom.load(f"ct2:{where}").notes == (
        "config.json suppresses 3 tokens while decoding, whatever their logits (suppress_ids)",
        "vmap.txt leaves only some tokens to each input; the run asks about all of them",
    )


def test_parts_may_be_given_by_hand(tmp_path: Path) -> None:
    arrays = {"head": drawn(V, D), "norm/gamma": drawn(D)}
    arrays |= {"norm/layer_norm_use_residual": np.int8(1)}
    query = "?unembed=head&norm=rmsnorm&gamma=norm/gamma"
    found = load(tmp_path, arrays, query, kind="OwnSpec")
    scale = np.float32(1) + arrays["norm/gamma"]
    assert np.array_equal(found.W, arrays["head"].astype(np.float64) * scale)


@pytest.mark.parametrize(
    ("arrays", "options", "says"),
    [
        (HEAD, {"kind": "TransformerEncoderSpec"}, "an encoder, stored without a head"),
        (HEAD, {"kind": "Wav2Vec2Spec"}, "an encoder of sound, without a decoder"),
        (HEAD, {"kind": "OwnSpec"}, "is a OwnSpec, which is not a specification geom knows"),
        (HEAD, {"kind": "TransformerSpec", "revision": 1}, "first revision of TransformerSpec"),
        (RMS, {}, "has no decoder/projection/weight; give ?unembed="),
        (HEAD | {"decoder/pre_norm": np.int8(0)}, {}, "but no decoder/layer_0/ffn/layer_norm"),
        (HEAD | {"decoder/projection/weight_zero": drawn(2)}, {}, "is quantised by AWQ"),
        ({"decoder/projection/weight": np.ones((V, D), np.int32)}, {}, "is quantised by AWQ"),
        ({"decoder/projection/weight": np.ones((V, D), np.int8)}, {}, "weight_scale is missing"),
        (
            {
                "decoder/projection/weight": np.ones((V, D), np.int8),
                "decoder/projection/weight_scale": np.ones(D, np.float32),
            },
            {},
            "shape (6,), which is not a scale",
        ),
        (
            {
                "decoder/projection/weight": np.ones((V, D), np.int8),
                "decoder/projection/weight_scale": np.zeros(V, np.float32),
            },
            {},
            "has a scale that is not positive",
        ),
    ],
)
def test_what_is_not_certain_is_refused(
    arrays: dict[str, Any], options: dict[str, Any], says: str, tmp_path: Path
) -> None:
    assert says in refusal(tmp_path, arrays, **options)


def test_hf_says_which_source_reads_it(tmp_path: Path) -> None:
    where = save(tmp_path / "model", HEAD | NORM)
    (where / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(InputError, match=r"it has model\.bin: CTranslate2's file, .* as ct2:"):
        geom.load(f"hf:{where}")


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no model\.bin; give the folder that a converter"):
        geom.load(f"ct2:{tmp_path}")
    with pytest.raises(InputError, match=r"names no model; write ct2:DIRECTORY"):
        geom.load("ct2:")


# The texts


def test_the_vocabulary_names_the_rows(tmp_path: Path) -> None:
    where = save(tmp_path / "model", HEAD | NORM)
    pieces = ["<unk>", "<s>", "</s>", "▁the", "▁a", "re", "<0x0A>", "▁of", "▁in"]
    (where / "target_vocabulary.json").write_text(json.dumps(pieces))
    (where / "source_vocabulary.json").write_text(json.dumps(["other"] * V))
    found = geom.load(f"ct2:{where}")
    expected = ["<unk>", "<s>", "</s>", " the", " a", "re", "\n", " of", " in", None, None]
    assert [found.text(t) for t in range(V)] == expected
    assert [found.kind(t) for t in (0, 3, 6, 9)] == ["special", "normal", "byte", "padding"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a\nb\r\n\xe2\x96\x81c", ["a", "b\r", "▁c"]),
        (b"a\r\nb\r\n", ["a", "b"]),
    ],
)
def test_lines_may_end_in_a_carriage_return_of_their_own(
    content: bytes, expected: list[str], tmp_path: Path
) -> None:
    where = save(tmp_path / "model", HEAD | NORM)
    (where / "shared_vocabulary.txt").write_bytes(content)
    found = geom.load(f"ct2:{where}")
    texts = [found.text(t) for t in range(len(expected))]
    assert [(text or "").replace(" ", "▁") for text in texts] == expected


def test_a_damaged_vocabulary_leaves_the_texts_out(tmp_path: Path) -> None:
    where = save(tmp_path / "model", HEAD | NORM)
    (where / "vocabulary.json").write_text("{}")
    found = geom.load(f"ct2:{where}")
    assert found.tokens is None
    assert "token texts are left out: vocabulary.json is not a tokenizer file" in found.notes[0]


def test_a_tokenizer_beside_it_says_more_if_it_has_the_same_pieces(tmp_path: Path) -> None:
    where = save(tmp_path / "model", HEAD | NORM)
    model = {"vocab": {"a": 0, "Ġb": 1, "c": 2}}
    added = [{"id": 3, "content": "<|go|>", "special": False}]
    whole = {"model": model, "added_tokens": added, "decoder": {"type": "ByteLevel"}}
    (where / "tokenizer.json").write_text(json.dumps(whole))
    assert geom.load(f"ct2:{where}").text(1) == " b"
    (where / "vocabulary.json").write_text(json.dumps(["a", "Ġb", "c", "<|go|>"]))
    found = geom.load(f"ct2:{where}")
    assert (found.text(1), found.kind(3)) == (" b", "added")
    (where / "vocabulary.json").write_text(json.dumps(["Ġb", "a", "c", "<|go|>"]))
    found = geom.load(f"ct2:{where}")
    assert (found.text(1), found.kind(3)) == ("a", "special")


# Against the library


IDS = [5, 9, 30, 8, 77, 41]

FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "llama": {},
    "mistral": {},
    "qwen2": {},
    "qwen3": {},
    "gemma": {},
    "gemma2": {},
    "gemma3_text": {},
    "bloom": {},
    "falcon": {},
    "gpt_bigcode": {},
    "opt": {},
    "t5": {},
    "mt5": {},
    "umt5": {},
    "marian": {},
    "bart": {"normalize_before": False},
    "mbart": {"normalize_before": True},
    "pegasus": {"normalize_before": True, "normalize_embedding": False},
}
"""The families that the converter takes, with the settings that it misses in new configurations."""


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_converted_model_has_the_logits_of_transformers(kind: str, tmp_path: Path) -> None:
    """The rows of ``hf:`` make the model's logits, as ``test_architectures.py`` shows."""
    pytest.importorskip("ctranslate2")
    from support import toy_models

    model = toy_models.build(kind)
    original = geom.load(f"hf:{toy_models.save(model, tmp_path / 'hf')}")
    for name, value in FAMILIES[kind].items():
        setattr(model.config, name, value)
    found = geom.load(f"ct2:{convert(model, tmp_path / 'ct2')}")
    kept = found.V
    assert kept == original.V - (kind == "marian")  # the row of the padding is dropped
    assert found.norm == original.norm
    assert np.array_equal(found.W, original.W[:kept])
    assert found.exact_biases(np.arange(kept)) == original.exact_biases(np.arange(kept))


@pytest.mark.parametrize("kind", ["whisper", "m2m_100"])
def test_whisper_and_nllb_end_in_their_decoders_norm(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("ctranslate2")
    torch = pytest.importorskip("torch")
    import transformers

    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
    layers = {"encoder_layers": 1, "decoder_layers": 2, "pad_token_id": 1, "bos_token_id": 2}
    sizes = {"vocab_size": 97, "d_model": 32, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}
    config = transformers.AutoConfig.for_model(kind, **sizes, **layers, **heads)
    task = "SpeechSeq2Seq" if kind == "whisper" else "Seq2SeqLM"
    model = getattr(transformers, f"AutoModelFor{task}").from_config(config).eval()
    norm = model.model.decoder.layer_norm
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias):
            tensor.copy_(torch.randn(32))
    found = geom.load(f"ct2:{convert(model, tmp_path / 'ct2')}")
    head = model.get_output_embeddings().weight.detach().double().numpy()
    gamma, beta = (t.detach().double().numpy() for t in (norm.weight, norm.bias))
    assert found.norm == "layernorm"
    assert np.array_equal(found.W, head * gamma)
    np.testing.assert_allclose(found.b, head @ beta, rtol=0, atol=1e-12)


@pytest.mark.parametrize("changes", [{}, {"do_layer_norm_before": False}])
def test_opts_projection_and_last_norm_are_found(changes: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("ctranslate2")
    from support import toy_models

    model = toy_models.build("opt", word_embed_proj_dim=12, **changes)
    original = geom.load(f"hf:{toy_models.save(model, tmp_path / 'hf')}")
    found = geom.load(f"ct2:{convert(model, tmp_path / 'ct2')}")
    assert (found.norm, found.d) == ("layernorm", model.config.hidden_size)
    assert np.array_equal(found.W, original.W)
    assert np.array_equal(found.b, original.b)


@pytest.mark.parametrize(
    ("kind", "stored"),
    [
        *(("gpt2", stored) for stored in (None, "float16", "bfloat16", "int16", "int8")),
        *(("llama", stored) for stored in (None, "int8_float16")),
        *(("gemma", stored) for stored in ("float32", "int8_bfloat16")),
    ],
)
def test_the_librarys_own_logits_come_from_points_of_the_domain(
    kind: str, stored: str | None, tmp_path: Path
) -> None:
    """Some x of the domain's border must give them: a wrong scale or norm would leave none."""
    ctranslate2 = pytest.importorskip("ctranslate2")
    from support import toy_models

    where = convert(toy_models.build(kind), tmp_path / "ct2", stored)
    generator = ctranslate2.Generator(str(where), device="cpu", compute_type="float32")
    words = [[f"t{n}" for n in IDS]]
    logits = np.array(generator.forward_batch(words))[0].astype(np.float64)
    found = geom.load(f"ct2:{where}")
    x, *_ = np.linalg.lstsq(found.W, (logits - found.b).T, rcond=None)
    near = 1e-5 * np.abs(logits).max()
    assert np.abs(found.logits(x.T) - logits).max() < near
    assert np.abs((x**2).sum(axis=0) / found.d - 1).max() < 1e-4
    if found.norm == "layernorm":
        assert np.abs(x.sum(axis=0)).max() < 1e-3


# Without the prefix


@pytest.mark.parametrize("config", [True, False])
def test_a_folder_whose_only_weights_are_model_bin_needs_no_prefix(
    config: bool, tmp_path: Path
) -> None:
    folder = save(tmp_path / "model", HEAD | NORM, kind="TransformerDecoderSpec")
    if config:  # as a folder of transformers has it
        (folder / "config.json").write_text("{}", encoding="utf-8")
    found = geom.load(str(folder))
    assert found.source.name == "ct2"
    assert found.digest == geom.load(f"ct2:{folder}").digest


@pytest.mark.parametrize("other", ["model.safetensors", "pytorch_model-00001-of-00002.bin"])
def test_a_folder_with_other_weights_is_not_taken_for_ctranslate2s(
    other: str, tmp_path: Path
) -> None:
    folder = save(tmp_path / "model", HEAD | NORM, kind="TransformerDecoderSpec")
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / other).write_bytes(b"")
    with pytest.raises(InputError) as refused:
        geom.load(str(folder))
    assert "CTranslate2" not in str(refused.value)


def test_a_model_bin_of_torch_is_not_taken_for_ctranslate2s(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.bin").write_bytes(b"PK\x03\x04" + bytes(30))
    with pytest.raises(InputError, match="geom does not know which source reads it"):
        geom.load(str(folder))
