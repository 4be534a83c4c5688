"""A model's own logits, the vectors that reach its readout, and changes to its checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import geom
from geom import Readout
from geom_plugins.architectures.table import ARCHITECTURES
from support.toy_models import forward

Floats = NDArray[np.float64]

_SCALED = {
    "cohere": lambda config: config.logit_scale,
    "cohere2": lambda config: config.logit_scale,
    "granite": lambda config: 1 / config.logits_scaling,
    "granitemoe": lambda config: 1 / config.logits_scaling,
    "granitemoehybrid": lambda config: 1 / config.logits_scaling,
    "falcon_h1": lambda config: config.lm_head_multiplier,
    "t5": lambda config: config.d_model**-0.5 if config.scale_decoder_outputs else 1.0,
    "umt5": lambda config: config.d_model**-0.5 if config.tie_word_embeddings else 1.0,
}
"""The factor that a model applies to its logits, from its modelling code."""

_CAPPED = {
    "gemma2": "final_logit_softcapping",
    "vaultgemma": "final_logit_softcapping",
    "recurrent_gemma": "logits_soft_cap",
    "t5gemma": "final_logit_softcapping",
}


def normalised(h: torch.Tensor, norm: str, eps: float) -> Floats:
    """Apply a final norm without its scale and shift, in float64."""
    x = h.double()
    if norm == "layernorm":
        x = x - x.mean(-1, keepdim=True)
    return (x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt()).numpy()


def before_the_norm(model: Any, kind: str, path: str) -> tuple[Floats, Floats]:
    """Return the vectors that reach geom's readout, and the model's logits W x + b for them."""
    caught: list[torch.Tensor] = []
    module = model.get_submodule(path)
    hook = module.register_forward_pre_hook(lambda _, given: caught.append(given[0].detach()))
    logits = forward(model, kind).double().numpy()
    hook.remove()
    eps = getattr(module, "eps", None) or getattr(module, "variance_epsilon", None) or 1e-5
    x = normalised(caught[-1].reshape(-1, caught[-1].shape[-1]), ARCHITECTURES[kind].norm, eps)
    if (
        kind in _CAPPED
        and (cap := getattr(model.config.get_text_config(decoder=True), _CAPPED[kind])) is not None
    ):
        logits = cap * np.arctanh(logits / cap)
    return x, logits / _SCALED.get(kind, lambda config: 1.0)(model.config)


def norm_path(model: Any, kind: str) -> str:
    """Return the path of the final norm in the model."""
    entry = ARCHITECTURES[kind]
    return entry.stems[0] + entry.final_norm_of(model.config.to_dict())


def check(model: Any, kind: str, where: Path, query: str = "", path: str | None = None) -> Readout:
    """Check that the readout of the saved model gives the model's own logits.

    ``path`` is that of the final norm in the model, if the language model is part of a larger one.
    """
    x, logits = before_the_norm(model, kind, path or norm_path(model, kind))
    readout = geom.load(f"hf:{where}{query}")
    assert (readout.V, readout.norm) == (logits.shape[1], ARCHITECTURES[kind].norm)
    np.testing.assert_allclose(readout.logits(x), logits, rtol=0, atol=1e-5 * np.abs(logits).max())
    assert readout.domain.name == readout.norm
    return readout


def rename(where: Path, renamed: Any, more: dict[str, torch.Tensor] | None = None) -> None:
    """Rename tensors of a checkpoint, or drop those renamed to None, and add some."""
    path = where / "model.safetensors"
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = {renamed(name): tensor for name, tensor in load_file(path).items()}
    tensors.pop(None, None)
    save_file(tensors | (more or {}), path, metadata=metadata)


def reconfigure(where: Path, **changes: Any) -> None:
    """Change config.json."""
    path = where / "config.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | changes))
