"""What a folder without readable weights has instead, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from geom_plugins.checkpoints.folders import Folder

_OTHERS: Sequence[tuple[str, str]] = (
    (
        r"model\.safetensors/|pytorch_model\.bin/",
        "a folder, not a file; give the file itself, or convert the folder's pieces with the "
        "script zero_to_fp32.py if DeepSpeed saved them",
    ),
    (
        r"global_step\d+/|zero_to_fp32\.py|zero_pp_rank.*|bf16_zero_pp_rank.*",
        "a checkpoint of DeepSpeed, cut into pieces; gather them with the script zero_to_fp32.py "
        "that lies beside them",
    ),
    (
        r".*\.distcp|pytorch_model_fsdp_\d+/|distcp/|\.metadata",
        "a checkpoint of torch.distributed, cut into pieces; gather them with `python -m "
        "torch.distributed.checkpoint.format_utils dcp_to_torch`, or with `accelerate "
        "merge-weights`",
    ),
    (
        r"checkpoint-\d+/",
        "the folder of a training run; give one of the checkpoints in it",
    ),
    (r"tf_model.*\.h5", "TensorFlow's format; convert it with transformers 4 (from_tf=True)"),
    (r"flax_model.*\.msgpack", "Flax's format; convert it with transformers 4 (from_flax=True)"),
    (r".*\.gguf", "a GGUF file; give it as gguf:"),
    (r"adapter_model\..*", "an adapter's weights; its adapter_config.json is missing"),
    (r"diffusion_pytorch_model.*", "a diffusion model, which has no readout over a vocabulary"),
    (r".*\.onnx|onnx/", "an ONNX model; give its file as onnx:FILE?unembed=NAME"),
    (r".*\.safetensors", "a file of another name; give it as safetensors:"),
    (
        r"model\.bin",
        "CTranslate2's file, if its converter wrote it; give the folder as ct2:, or rename it "
        "to pytorch_model.bin if torch wrote it",
    ),
    (r".*\.(bin|pt|pth|ckpt)", "a file of another name; rename it to pytorch_model.bin"),
)
"""The names of what people have instead of weights, with the cause and the remedy."""


def without_weights(folder: Folder) -> str:
    """Return the message for a folder that has no weights in a format that is read."""
    line = f"{folder.name} has neither model.safetensors nor pytorch_model.bin, nor their shards; "
    for pattern, remedy in _OTHERS:
        for entry in sorted(folder.entries):
            if re.fullmatch(pattern, entry):
                return f"{line}it has {entry.rstrip('/')}: {remedy}"
    return f"{line}give a checkpoint that transformers saved, or one file with safetensors:FILE"
