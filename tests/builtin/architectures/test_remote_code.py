"""Models whose code is not in transformers: a Llama's body with the head that their code defines.

Only the final norm and the head matter. All of these end in a plain RMSNorm, as Llama does, and
Baichuan 2 divides the rows of its head by their lengths, with `torch.nn.functional.normalize`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import geom
from geom import InputError
from support.own_logits import before_the_norm, reconfigure, rename
from support.toy_models import build, save

QWEN = {"model.norm": "transformer.ln_f", "model.embed_tokens": "transformer.wte"}
TELECHAT = {"model.norm": "transformer.ln_f", "model.embed_tokens": "transformer.word_embeddings"}


@pytest.mark.parametrize(("kind", "names"), [("qwen", QWEN), ("telechat", TELECHAT)])
def test_rmsnorm_behind_a_layer_norm_epsilon(
    kind: str, names: dict[str, str], tmp_path: Path
) -> None:
    model = build("llama", tie_word_embeddings=False)
    where = save(model, tmp_path)

    def renamed(name: str) -> str:
        stem, _, last = name.rpartition(".")
        return f"{names.get(stem, stem)}.{last}"

    rename(where, renamed)
    (where / "config.json").write_text(f'{{"model_type": "{kind}", "layer_norm_epsilon": 1e-5}}')
    x, logits = before_the_norm(model, "llama", "model.norm")
    readout = geom.load(f"hf:{where}")
    assert readout.norm == "rmsnorm"
    np.testing.assert_allclose(readout.logits(x), logits, rtol=0, atol=1e-5 * np.abs(logits).max())


def test_baichuan_2_divides_the_rows_of_its_head_by_their_lengths(tmp_path: Path) -> None:
    model = build("llama", tie_word_embeddings=False, vocab_size=125_696, hidden_size=8, head_dim=2)
    where = save(model, tmp_path)
    reconfigure(where, model_type="baichuan")
    with torch.no_grad():
        model.lm_head.weight.copy_(torch.nn.functional.normalize(model.lm_head.weight))
    x, logits = before_the_norm(model, "llama", "model.norm")
    readout = geom.load(f"hf:{where}")
    np.testing.assert_allclose(readout.logits(x), logits, rtol=0, atol=1e-5 * np.abs(logits).max())
    assert readout.notes[0].startswith("the head divides each row of W by its length")


def test_baichuan_1_does_not(tmp_path: Path) -> None:
    model = build("llama", tie_word_embeddings=False, vocab_size=64_000, hidden_size=8, head_dim=2)
    where = save(model, tmp_path)
    reconfigure(where, model_type="baichuan")
    x, logits = before_the_norm(model, "llama", "model.norm")
    readout = geom.load(f"hf:{where}")
    np.testing.assert_allclose(readout.logits(x), logits, rtol=0, atol=1e-5 * np.abs(logits).max())


def test_a_baichuan_of_neither_vocabulary_is_refused(tmp_path: Path) -> None:
    where = save(build("llama", tie_word_embeddings=False), tmp_path)
    reconfigure(where, model_type="baichuan")
    with pytest.raises(InputError, match="vocabulary of 331 is neither that of Baichuan 1 nor"):
        geom.load(f"hf:{where}")


CHATGLM = {
    "model.norm": "transformer.encoder.final_layernorm",
    "model.embed_tokens": "transformer.embedding.word_embeddings",
    "lm_head": "transformer.output_layer",
}


def test_chatglm_2_ends_in_an_output_layer(tmp_path: Path) -> None:
    model = build("llama", tie_word_embeddings=False)
    where = save(model, tmp_path)

    def renamed(name: str) -> str:
        stem, _, last = name.rpartition(".")
        return f"{CHATGLM.get(stem, stem)}.{last}"

    rename(where, renamed)
    (where / "config.json").write_text('{"model_type": "chatglm", "rmsnorm": true}')
    x, logits = before_the_norm(model, "llama", "model.norm")
    readout = geom.load(f"hf:{where}")
    assert readout.norm == "rmsnorm"
    np.testing.assert_allclose(readout.logits(x), logits, rtol=0, atol=1e-5 * np.abs(logits).max())


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ('{"model_type": "chatglm", "position_encoding_2d": true}', "does not say rmsnorm true"),
        ('{"model_type": "chatglm", "rmsnorm": true, "post_layer_norm": false}', "no final norm"),
    ],
)
def test_a_chatglm_that_ends_otherwise_is_refused(config: str, why: str, tmp_path: Path) -> None:
    where = save(build("llama", tie_word_embeddings=False), tmp_path)
    (where / "config.json").write_text(config)
    with pytest.raises(InputError, match=why):
        geom.load(f"hf:{where}")
