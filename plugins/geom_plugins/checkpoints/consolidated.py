"""Checkpoints as Mistral and Meta publish them: ``params.json`` and ``consolidated`` weights.

``params.json`` names what transformers' ``config.json`` names, in words of its own, and the weights
are ``consolidated.safetensors``, its shards, or ``consolidated.00.pth`` and so on. The definition
is the code that comes with the models: ``Transformer`` and ``TransformerArgs`` of
https://github.com/mistralai/mistral-inference and of https://github.com/meta-llama/llama. Both end
in an RMSNorm of ``norm.weight`` and a linear map ``output.weight`` without bias. In Meta's models
of several files every file has a part of the rows of ``output.weight`` (``ColumnParallelLinear``)
and the whole of ``norm.weight``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geom import InputError, SlicedArray
from geom_plugins.checkpoints.folders import Folder
from geom_plugins.checkpoints.weights import Tensor, Weights, weights_of

PARAMS = "params.json"

_NAMES = {
    "output.weight": "lm_head.weight",
    "norm.weight": "model.norm.weight",
    "tok_embeddings.weight": "model.embed_tokens.weight",
}
"""The names of the readout's tensors, and transformers' names for them."""

_VOXTRAL = "mm_whisper_embeddings."
"""The prefix of the embedding in Mistral's models that hear."""

_PARTS = re.compile(r"consolidated\.(\d{2})\.pth")


def has_consolidated(folder: Folder) -> bool:
    """Return whether the folder has ``params.json`` and weights that belong to it."""
    return folder.has(PARAMS) and any(name.startswith("consolidated") for name in folder.entries)


def open_consolidated(folder: Folder) -> tuple[Mapping[str, Any], Weights]:
    """Return the configuration and the weights, both in transformers' words.

    Raises InputError if one of them is damaged, if parts are missing, or if the head is stored in a
    form that is not read.
    """
    params = _params(folder)
    weights = weights_of(folder, "consolidated", ".safetensors") or _of_parts(folder)
    names = {name.removeprefix(_VOXTRAL): name for name in weights.names}
    strange = [name for name in names if re.match(r"(output|norm)\.(?!weight$)", name)]
    if strange:
        raise InputError(
            f"{folder.name} has {strange[0]} beside the readout's own tensors: it is stored in a "
            "form that geom does not read; give a checkpoint whose output.weight is in floats"
        )
    tied = params.get("tied_embeddings", params.get("tie_embeddings", False))
    if not isinstance(tied, bool):
        raise InputError(f"tied_embeddings in {PARAMS} of {folder.name} is {tied!r}, not a bool")
    if "output.weight" not in names and not tied:
        raise InputError(
            f"{folder.name} lacks output.weight, and {PARAMS} does not say that it is tied to the "
            "embedding; fetch the checkpoint again"
        )
    config = {
        "model_type": "mistral",
        "hidden_size": params.get("dim"),
        "vocab_size": params.get("vocab_size"),
        "rms_norm_eps": params.get("norm_eps"),
        "tie_word_embeddings": tied,
    }
    note = f"read as {PARAMS} says: output.weight after norm.weight as rmsnorm"
    if tied:
        names.pop("output.weight", None)
        note = f"read as {PARAMS} says: the tied tok_embeddings.weight after norm.weight as rmsnorm"
    chosen = {ours: names[theirs] for theirs, ours in _NAMES.items() if theirs in names}
    return config, weights.renamed(chosen, note)


def _params(folder: Folder) -> dict[str, Any]:
    try:
        params = json.loads(folder.read(PARAMS))
    except UnicodeDecodeError as error:
        raise InputError(f"{PARAMS} of {folder.name} is damaged: it is not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{PARAMS} of {folder.name} is damaged: {error}") from error
    if not isinstance(params, dict):
        raise InputError(f"{PARAMS} of {folder.name} is not a JSON object")
    if params.get("model_type", "transformer") != "transformer":
        raise InputError(
            f"{folder.name} is {params['model_type']!r} by its {PARAMS}, of which geom reads "
            "transformers alone; give the checkpoint as transformers saves it"
        )
    return params


# Torch's own format, in one part or several


@dataclass(frozen=True)
class _Stacked:
    """The rows of a matrix whose blocks lie in several files, in order."""

    blocks: tuple[Tensor, ...]

    @property
    def dtype(self) -> str:
        """The type of its numbers."""
        return self.blocks[0].dtype

    def as_vector(self) -> SlicedArray:
        """Return it as it is."""
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the whole matrix."""
        return sum(block.shape[0] for block in self.blocks), *self.blocks[0].shape[1:]

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Read a slice of rows."""
        start, stop, step = rows.indices(self.shape[0])
        found, begin = [], 0
        for block in self.blocks:
            end = begin + block.shape[0]
            if start < end and begin < stop:
                found.append(block[max(start - begin, 0) : min(stop, end) - begin])
            begin = end
        return np.concatenate(found)[::step] if found else self.blocks[0][0:0]


def _of_parts(folder: Folder) -> Weights:
    """Open ``consolidated.00.pth`` and the parts that follow it."""
    parts = sorted(name for name in folder.entries if _PARTS.fullmatch(name))
    wanted = [f"consolidated.{n:02}.pth" for n in range(len(parts))]
    if not parts:
        found = next(name for name in folder.entries if name.startswith("consolidated"))
        raise InputError(
            f"{folder.name} has {found}, and neither consolidated.safetensors nor "
            "consolidated.00.pth; fetch the checkpoint again"
        )
    if parts != wanted:
        missing = min(set(wanted) - set(parts))
        raise InputError(
            f"{folder.name} has {len(parts)} parts, and {missing} is missing; fetch it"
        )
    read = partial(_joined, folder, parts)
    tensors = read(parts[0])
    return Weights(folder.name, dict.fromkeys(tensors, parts[0]), read, {parts[0]: tensors})


def _joined(folder: Folder, parts: list[str], _: str) -> Mapping[str, Tensor]:
    """Return the tensors of the readout, whole."""
    from geom_plugins.checkpoints.torch_bin import read_torch

    opened = [read_torch(folder.path(part)) for part in parts]
    first = opened[0]
    out: dict[str, Tensor] = {}
    for name in first:
        if not name.startswith(("output", "norm", "tok_embeddings")):
            continue
        if len(parts) == 1 or name == "norm.weight":
            out[name] = first[name]
        elif name == "output.weight":
            blocks = [part[name] for part in opened if name in part]
            if len(blocks) < len(parts) or len({block.shape[1:] for block in blocks}) > 1:
                raise InputError(
                    f"{folder.name}: the {len(parts)} parts of {name} do not fit together; fetch "
                    "the checkpoint again"
                )
            out[name] = _Stacked(tuple(blocks))
        elif name.startswith("output"):
            out[name] = first[name]
    return out
