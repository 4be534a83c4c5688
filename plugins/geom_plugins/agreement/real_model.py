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
    try:
        return _compared(load_checkpoint(folder, adapted=adapted), readout)
    except InputError as error:
        return Agreement(_WHAT, agrees=None, note=str(error))


def gguf_trial(path: Path, numbers: int, readout: Readout) -> Agreement:
    """Compare the readout of a GGUF file of ``numbers`` weights with the logits of the whole model.

    transformers dequantises the file to float32, for the architectures that it knows.
    """
    try:
        return _compared(load_gguf(path, numbers), readout)
    except InputError as error:
        return Agreement(_WHAT, agrees=None, note=str(error))


def load_checkpoint(
    folder: Folder, *, adapted: bool = False, attention: str | None = "eager"
) -> Model:
    """Load the model of a checkpoint on this machine, in float32 or, if need be, bfloat16.

    ``attention`` is transformers' name of the code for it, None for its own choice. Raises
    InputError, which does not name the checkpoint, if it cannot be loaded.
    """
    from geom_plugins.agreement.toy_model import head_class
    from geom_plugins.architectures.configuration import read_config

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
    dtype = _type_with_room(name, _numbers(folder))
    return _loaded(name, dtype, attention, str(folder.root))


def load_gguf(path: Path, numbers: int, attention: str | None = "eager") -> Model:
    """Load the model of a GGUF file of ``numbers`` weights, as `load_checkpoint` does."""
    from geom_plugins.agreement.toy_model import head_class

    _need_transformers()
    name = head_class(_gguf_config(path))
    dtype = _type_with_room(name, numbers)
    return _loaded(name, dtype, attention, str(path.parent), gguf_file=path.name)


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


def _compared(model: Model, readout: Readout) -> Agreement:
    """Compare the logits of a model with those of the readout."""
    import torch

    from geom_plugins.agreement.model_logits import model_logits

    logits = model_logits(model, _plain_ids(readout))
    name, dtype = type(model).__name__, model.dtype
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


def _loaded(
    name: str, dtype: torch.dtype, attention: str | None, pretrained: str, **more: str
) -> Model:
    """Load the class from files that are here; every number must be theirs."""
    import transformers

    from geom_plugins.agreement.toy_model import quiet

    try:
        with quiet(), redirect_stderr(StringIO()):  # the reader of GGUF files draws a bar there
            model, info = getattr(transformers, name).from_pretrained(
                pretrained,
                dtype=dtype,
                attn_implementation=attention,
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
