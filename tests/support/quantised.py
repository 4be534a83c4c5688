"""Checkpoints of toy models whose head is stored quantised."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from geom_plugins.checkpoints.torch_bin import _DTYPES, Tensor
from geom_plugins.checkpoints.weights import Weights

STORED = Path(__file__).parent.parent / "builtin" / "quantised" / "stored"

_KINDS = {"F8_E4M3": torch.float8_e4m3fn, "BF16": torch.bfloat16}

Tensors = dict[str, torch.Tensor]


def weights_of(tensors: Mapping[str, torch.Tensor]) -> Weights:
    """Return tensors in memory as those of a checkpoint."""
    held = {
        name: Tensor(
            name,
            _DTYPES[str(value.dtype).removeprefix("torch.")],
            tuple(value.shape),
            "the file",
            value,
        )
        for name, value in tensors.items()
    }
    return Weights("the checkpoint", dict.fromkeys(held, "the file"), lambda _: held)


def weights_of_floats(names: Iterable[str]) -> Weights:
    """Return matrices of these names in float32."""
    return weights_of({name: torch.ones(16, 32) for name in names})


def cases(library: str) -> list[str]:
    """Return the names of the cases that a library has made."""
    with safe_open(STORED / f"{library}.safetensors", "pt") as file:
        return list(json.loads(file.metadata()["configs"]))


def case(library: str, name: str) -> tuple[Tensors, dict[str, Any], NDArray[np.float32]]:
    """Return a case's tensors by their names in a module, its config, and what they stand for."""
    with safe_open(STORED / f"{library}.safetensors", "pt") as file:
        config = json.loads(file.metadata()["configs"])[name]
        tensors = {}
        for key in list(file.keys()):
            if key.startswith(f"{name}."):
                child, _, kind = key.removeprefix(f"{name}.").partition(":")
                found = file.get_tensor(key)
                tensors[child] = found.view(_KINDS[kind]) if kind else found
    return tensors, config, tensors.pop("dequantised").numpy()


def model_of(W: NDArray[Any]) -> LlamaForCausalLM:
    """Return a toy model with random weights and this head, in float32."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=W.shape[0],
        hidden_size=W.shape[1],
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=16,
        pad_token_id=None,
        bos_token_id=0,
        eos_token_id=1,
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        model.lm_head.weight.copy_(torch.from_numpy(np.asarray(W, np.float32)))
        model.model.norm.weight.copy_(torch.rand(W.shape[1]) + 0.5)
    return model


def save(
    model: LlamaForCausalLM,
    folder: Path,
    head: Tensors,
    config: Mapping[str, Any],
    module: str = "lm_head",
) -> Path:
    """Save a model with these tensors in the place of a module's weight."""
    folder.mkdir(exist_ok=True)
    tensors = {key: value for key, value in model.state_dict().items() if key != f"{module}.weight"}
    if module != "lm_head":
        del tensors["lm_head.weight"]
    tensors |= {f"{module}.{child}": value.clone().contiguous() for child, value in head.items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    about = model.config.to_dict() | config
    (folder / "config.json").write_text(json.dumps(about, default=str))
    return folder


def logits_of(model: LlamaForCausalLM) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return vectors after the final norm, before its scale, and the model's logits for them."""
    with torch.no_grad():
        out = model(torch.arange(6)[None] % model.config.vocab_size, output_hidden_states=True)
        x = out.hidden_states[-1] / model.model.norm.weight
    return x[0].double().numpy(), out.logits[0].numpy()
