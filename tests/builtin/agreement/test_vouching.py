"""Guesses about an architecture outside the table are tried on a toy model, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import geom
from geom import InputError
from geom_plugins.agreement.model_logits import model_logits
from geom_plugins.agreement.toy_model import build, save
from geom_plugins.agreement.toy_sizes import TEXT_IDS
from geom_plugins.agreement.verdict import agreement
from geom_plugins.architectures.table import ARCHITECTURES


@pytest.fixture
def unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take some architectures out of the table, as if they were new."""
    for kind in ("llama", "qwen3_5_text"):
        monkeypatch.delitem(ARCHITECTURES, kind)


def checkpoint(kind: str, where: Path, **config: Any) -> Path:
    save(build({"model_type": kind}), where)
    path = where / "config.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | config))
    return where


@pytest.mark.usefixtures("unknown")
def test_a_guess_that_its_toy_confirms_is_read_and_says_so(tmp_path: Path) -> None:
    model = build({"model_type": "llama"})
    readout = geom.load(f"hf:{save(model, tmp_path)}")
    assert agreement("it", readout, model_logits(model, TEXT_IDS)).agrees
    assert "guessed: " in readout.notes[0]
    assert readout.notes[1].startswith("the guesses were tried on a toy LlamaForCausalLM of")


@pytest.mark.usefixtures("unknown")
def test_a_guess_that_its_toy_contradicts_is_refused_with_what_is_wrong(tmp_path: Path) -> None:
    where = checkpoint("qwen3_5_text", tmp_path)
    with pytest.raises(InputError, match=r"a toy Qwen3_5ForCausalLM does not agree: .*1 \+ weight"):
        geom.load(f"hf:{where}")


@pytest.mark.usefixtures("unknown")
def test_a_guess_put_right_by_hand_is_tried_again(tmp_path: Path) -> None:
    model = build({"model_type": "qwen3_5_text"})
    readout = geom.load(f"hf:{save(model, tmp_path)}?gamma_plus_one=yes")
    assert agreement("it", readout, model_logits(model, TEXT_IDS)).agrees
    assert "the guesses were tried on a toy Qwen3_5ForCausalLM" in readout.notes[1]


@pytest.mark.usefixtures("unknown", "no_toys")
def test_without_transformers_a_guess_is_read_and_called_one(tmp_path: Path) -> None:
    readout = geom.load(f"hf:{checkpoint('llama', tmp_path)}")
    assert "guessed: the final norm is rmsnorm" in readout.notes[0]
    assert readout.notes[1].startswith("these guesses were not tried")


def test_what_transformers_does_not_know_is_refused_and_the_remedy_works(tmp_path: Path) -> None:
    where = checkpoint("llama", tmp_path, model_type="unheard-of")
    with pytest.raises(InputError, match="it was not tried: transformers has no class") as caught:
        geom.load(f"hf:{where}")
    query = str(caught.value).rpartition("for example ")[2]
    by_hand = geom.load(f"hf:{where}{query}")
    checkpoint("llama", where)
    np.testing.assert_array_equal(by_hand.W, geom.load(f"hf:{where}").W)


@pytest.mark.usefixtures("unknown")
def test_a_toy_that_is_read_in_another_way_vouches_for_nothing(tmp_path: Path) -> None:
    """The toy has a head of its own, and the checkpoint lacks it."""
    from safetensors.torch import load_file, save_file

    where = checkpoint("llama", tmp_path)
    tensors = load_file(where / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, where / "model.safetensors")
    config = json.loads((where / "config.json").read_bytes())
    del config["tie_word_embeddings"]
    (where / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="read in another way than the checkpoint"):
        geom.load(f"hf:{where}")


@pytest.mark.usefixtures("unknown")
def test_an_architecture_in_the_table_costs_no_toy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = checkpoint("mistral", tmp_path)
    monkeypatch.setattr("geom_plugins.agreement.vouching.toy_trial", None)
    assert geom.load(f"hf:{where}").norm == "rmsnorm"
