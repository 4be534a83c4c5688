"""The model itself: loaded by transformers where its files are here and memory has room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geom import Agreement, InputError, Readout, check_memory
from geom_plugins.agreement import requirements
from geom_plugins.agreement.verdict import agreement
from geom_plugins.checkpoints.folders import Folder, LocalFolder

if TYPE_CHECKING:
    import torch

    from geom_plugins.agreement.toy_model import Model

_BESIDE = 1.25
"""What loading and running take, of the model's own bytes."""

_WHAT = "the model itself"


def checkpoint_trial(folder: Folder, readout: Readout, *, adapted: bool = False) -> Agreement:
    """Compare a checkpoint's readout with the logits of the whole model.

    Parameters
    ----------
    folder : Folder
        The checkpoint.
    readout : Readout
        Its readout.
    adapted : bool, optional
        Whether an adapter lies on its weights.
    """
    from geom_plugins.agreement.toy_model import head_class
    from geom_plugins.architectures.configuration import read_config

    try:
        if adapted:
            raise InputError(
                "an adapter lies on its weights; merge it with peft, and check the merged model"
            )
        if not isinstance(folder, LocalFolder):
            raise InputError(
                "its weights are on a server, and all of them would be needed; fetch them and give "
                "the folder"
            )
        _need_transformers()
        if not _has_safetensors(folder):
            raise InputError(
                "its weights are not in safetensors files, and others are not loaded here: they "
                "may run code"
            )
        config = read_config(folder)
        if "quantization_config" in config:
            raise InputError("its weights are quantised, and need a library of their own to run")
        name = head_class(config)
        return _compared(name, readout, _numbers(folder), {"pretrained": str(folder.root)})
    except InputError as error:
        return Agreement(_WHAT, agrees=None, note=str(error))


def gguf_trial(path: Path, numbers: int, readout: Readout) -> Agreement:
    """Compare the readout of a GGUF file of ``numbers`` weights with the logits of the whole model.

    transformers dequantises the file to float32, for the architectures that it knows.
    """
    from geom_plugins.agreement.toy_model import head_class

    try:
        _need_transformers()
        name = head_class(_gguf_config(path))
        given = {"pretrained": str(path.parent), "gguf_file": path.name}
        return _compared(name, readout, numbers, given)
    except InputError as error:
        return Agreement(_WHAT, agrees=None, note=str(error))


def _need_transformers() -> None:
    if not requirements.can_build():
        raise InputError(requirements.needs())


def _has_safetensors(folder: LocalFolder) -> bool:
    return folder.has("model.safetensors") or folder.has("model.safetensors.index.json")


def _numbers(folder: LocalFolder) -> int:
    """Return how many numbers the checkpoint holds."""
    from geom_plugins.checkpoints.weights import open_weights

    weights = open_weights(folder)
    return sum(int(np.prod(weights.tensor(name).shape)) for name in weights.names)


def _gguf_config(path: Path) -> Mapping[str, Any]:
    """Return the configuration that transformers makes of a GGUF file's metadata."""
    from transformers import AutoConfig

    from geom_plugins.agreement.toy_model import quiet

    try:
        with quiet():
            config = AutoConfig.from_pretrained(
                str(path.parent),
                gguf_file=path.name,
                trust_remote_code=False,
                local_files_only=True,
            )
    except Exception as error:  # transformers may raise anything over a file
        raise InputError(f"transformers does not read the file: {_line(error)}") from error
    made: dict[str, Any] = config.to_dict()
    return made


def _compared(name: str, readout: Readout, numbers: int, given: Mapping[str, str]) -> Agreement:
    """Load the model and compare its logits with those of the readout."""
    import torch

    from geom_plugins.agreement.model_logits import model_logits

    dtype = _type_with_room(name, numbers)
    model = _loaded(name, dtype, **given)
    logits = model_logits(model, _plain_ids(readout))
    what = f"{_WHAT}, {name} in {str(dtype).removeprefix('torch.')}"
    return agreement(what, readout, logits, torch.finfo(dtype).eps)


def _type_with_room(name: str, numbers: int) -> torch.dtype:
    """Return float32 if the model fits in memory so, else bfloat16. Raises InputError if not."""
    import torch

    try:
        check_memory(int(4 * numbers * _BESIDE), f"{name} in float32")
    except InputError:
        check_memory(int(2 * numbers * _BESIDE), f"{name} in bfloat16")
        return torch.bfloat16
    return torch.float32


def _loaded(name: str, dtype: torch.dtype, pretrained: str, **more: str) -> Model:
    """Load the class from files that are here; every number must be theirs."""
    import transformers

    from geom_plugins.agreement.toy_model import quiet

    try:
        with quiet(), redirect_stderr(StringIO()):  # the reader of GGUF files draws a bar there
            model, info = getattr(transformers, name).from_pretrained(
                pretrained,
                dtype=dtype,
                attn_implementation="eager",
                local_files_only=True,
                use_safetensors=None if more else True,
                output_loading_info=True,
                **more,
            )
    except Exception as error:  # transformers may raise anything over a checkpoint
        raise InputError(f"transformers cannot load it: {_line(error)}") from error
    missing = sorted(info["missing_keys"]) + sorted(map(str, info["mismatched_keys"]))
    if missing:
        raise InputError(
            f"transformers fills {len(missing)} of {name}'s tensors with random numbers, as the "
            f"checkpoint lacks them: {', '.join(missing[:3])}"
        )
    return model.eval()


def _plain_ids(readout: Readout) -> Sequence[int]:
    """Return the ids of ordinary tokens: an image's own would need an image."""
    if readout.kinds is None:
        return range(readout.V // 4, readout.V // 2)
    return [id for id, kind in enumerate(readout.kinds) if kind == "normal"]


def _line(error: Exception) -> str:
    """Return an error's type and message in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
