"""Toy models of every architecture of the table, by their ``model_type``, as geom builds them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.models.auto import modeling_auto

from geom_plugins.agreement import toy_model
from geom_plugins.agreement.toy_sizes import V
from geom_plugins.architectures.table import ARCHITECTURES
from support.checkpoint_settings import SETTINGS

__all__ = ["V", "build", "forward", "save"]

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

_TELLING: dict[str, dict[str, Any]] = {
    "albert": {"embedding_size": 16},
    "falcon_h1": {"lm_head_multiplier": 0.5},
    "granite": {"logits_scaling": 4.0},
    "granite_swa": {"logits_scaling": 4.0},
    "granitemoe": {"logits_scaling": 4.0},
    "granitemoe_swa": {"logits_scaling": 4.0},
    "granitemoehybrid": {"logits_scaling": 4.0},
    "granitemoeshared": {"logits_scaling": 4.0},
    "hyperclovax": {"logits_scaling": 4.0},
    "phimoe": {"lm_head_bias": True},
    "recurrent_gemma": {"block_types": ["recurrent", "attention"]},
}
"""Settings that leave more to be read wrong than the defaults, or run with fewer layers."""

_CLASSES = {
    "causal": modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    "masked": modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    "seq2seq": modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
}


def build(kind: str, seed: int = 0, **changes: Any) -> transformers.PreTrainedModel:
    """Build a toy model of the architecture; ``changes`` are settings of the toy itself."""
    config = {"model_type": kind} | SETTINGS.get(kind, {}) | _TELLING.get(kind, {})
    name = _CLASSES[ARCHITECTURES[kind].task][kind]
    return toy_model.build(config, name, seed=seed, **changes)


def save(model: transformers.PreTrainedModel, where: Path, **options: Any) -> Path:
    """Save the model as transformers does."""
    return toy_model.save(model, where, **options)


def forward(model: transformers.PreTrainedModel, kind: str) -> torch.Tensor:
    """Return the logits (n, V) of a few fixed tokens."""
    ids = torch.tensor([[5, 9, 30, 8, 77, 41]])
    given = {"decoder_input_ids": ids} if ARCHITECTURES[kind].task == "seq2seq" else {}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model(input_ids=ids, **given).logits[0]
