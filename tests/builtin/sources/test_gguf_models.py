"""``gguf:``: logits of transformers' models, converted to GGUF tensors."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

import geom
from support.gguf_files import write
from support.toy_models import build, forward


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


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
"""The architectures whose converter adds one to the weights of norms."""


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
    """Return the module's epsilon, which for OLMo is a constant."""
    return float(getattr(module, "eps", None) or getattr(module, "variance_epsilon", 1e-5))
