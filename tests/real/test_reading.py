"""The readouts of the real models are those that transformers, torch and tokenizers have."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

import geom
from geom import Readout
from support.real_models import Real

SAID = "Gravity is a force that"


def check_texts(readout: Readout, decode: Callable[[int], str]) -> None:
    """Compare every text with the tokenizer's, except of tokens that are not whole text alone."""
    whole = [token for token in range(readout.V) if readout.kind(token) != "byte"]
    assert len(whole) > 0.95 * readout.V
    assert [readout.text(token) for token in whole] == [decode(token) for token in whole]


def test_every_number_is_the_files(real: Real) -> None:
    V, d = real.W.shape
    assert (real.readout.V, real.readout.d) == (V, d)
    for start in range(0, V, 4096):
        part = slice(start, start + 4096)
        expected = real.W[part].astype(np.float64) * real.gamma.astype(np.float64)
        assert np.array_equal(real.readout.rows[part], expected)
    if real.beta is not None:
        for token in (0, 124, 50257, V - 1):
            products = zip(real.W[token].tolist(), real.beta.tolist(), strict=True)
            bias = sum((Fraction(w) * Fraction(h) for w, h in products), Fraction(0))
            assert real.readout.exact_biases(np.array([token])) == [bias]


def test_smollm2_has_the_logits_of_transformers(
    smollm2: Real, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": smollm2.folder}
    where["gguf_file"] = smollm2.location.rpartition("/")[2]
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(**where)
    normed = []
    model.model.norm.register_forward_hook(lambda _, __, out: normed.append(out))
    with torch.no_grad():
        logits = model(tokenizer(SAID, return_tensors="pt").input_ids).logits[0]
    x = normed[0][0].numpy().astype(np.float64) / smollm2.gamma
    ours = smollm2.readout.logits(x)
    assert np.abs(ours - logits.numpy()).max() < 1e-4  # float32's, of logits up to 30
    assert (ours.argmax(axis=1) == logits.numpy().argmax(axis=1)).all()
    assert (np.abs((x**2).mean(axis=1) - 1.0) < 1e-6).all()  # on the sphere that bounds the domain
    check_texts(smollm2.readout, tokenizer.decode)


def test_whisper_has_the_logits_of_torchs_norm_and_product(whisper: Real) -> None:
    torch = pytest.importorskip("torch")
    assert whisper.beta is not None
    W, gamma, beta = (
        torch.from_numpy(array.astype(np.float64))
        for array in (whisper.W, whisper.gamma, whisper.beta)
    )
    hidden = torch.randn(20, 512, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    norm = torch.nn.functional.layer_norm
    theirs = norm(hidden, (512,), gamma, beta) @ W.T
    ours = whisper.readout.logits(norm(hidden, (512,)).numpy())
    assert np.abs(ours - theirs.numpy()).max() < 1e-10


def test_whisper_has_the_texts_of_its_tokenizer(whisper: Real) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(whisper.folder / "tokenizer.json"))
    check_texts(whisper.readout, lambda token: tokenizer.decode([token], skip_special_tokens=False))
    assert whisper.readout.kind(124) == "byte"
    assert whisper.readout.kind(50257) == "special"


def test_the_check_tells_smollm2s_own_readout_from_a_wrong_one(smollm2: Real) -> None:
    (right,) = geom.check(smollm2.location)
    assert right.compared == "the model itself, LlamaForCausalLM in float32"
    assert (right.agrees, right.note) == (True, None)
    assert right.difference is not None
    assert right.difference < 1e-5
    by_hand = f"{smollm2.location}?unembed=token_embd.weight&gamma=output_norm.weight"
    for query, fault in [
        ("norm=layernorm", "the norm is RMSNorm"),
        ("norm=rmsnorm&gamma_plus_one=yes", "the norm's scale or shift is another"),
    ]:
        (wrong,) = geom.check(f"{by_hand}&{query}")
        assert wrong.agrees is False
        assert fault in (wrong.note or "")
