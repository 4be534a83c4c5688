"""Networks of transformers: a checkpoint's, a GGUF file's, or a model in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from geom import InputError, Network
from geom_plugins.agreement.real_model import load_checkpoint
from geom_plugins.checkpoints.folders import Folder, LocalFolder

if TYPE_CHECKING:
    from geom import Readout
    from geom_plugins.architectures.record import Config
    from geom_plugins.networks.stage import Stage

T = TypeVar("T")


def checkpoint_network(folder: Folder, *, adapted: bool = False) -> Network:
    """Load the network of a checkpoint on this machine.

    Raises InputError, which does not name the checkpoint, if it cannot be run or has no tokenizer.
    """
    from geom_plugins.networks.texts import read_tokenizer

    model = load_checkpoint(folder, adapted=adapted, attention=None)
    assert isinstance(folder, LocalFolder)  # or it would not have been loaded
    return model_network(model, read_tokenizer(str(folder.root)))


def gguf_network(path: Path, model: Any) -> Network:
    """Return the network of a GGUF file's model, with the tokenizer that transformers makes of it.

    Raises InputError if it makes none.
    """
    from geom_plugins.networks.texts import read_tokenizer

    return model_network(model, read_tokenizer(str(path.parent), gguf_file=path.name))


def is_model(model: object) -> bool:
    """Return whether an object is a model of transformers, without importing it."""
    return any(kind.__name__ == "PreTrainedModel" for kind in type(model).__mro__)


def live_network(
    model: Any, tokenizer: object | None, load: Callable[[str], Readout]
) -> Network | None:
    """Return the network of a model of transformers in memory, None for another object.

    If the caller gives no tokenizer, it is the one that the model carries, or else that of the
    checkpoint it was loaded from. ``load`` loads the readout of a checkpoint. Raises InputError if
    there is no tokenizer.
    """
    if not is_model(model):
        return None
    if tokenizer is None:
        tokenizer = getattr(model, "tokenizer", None) or _tokenizer_by_name(model)
    return replace(model_network(model, tokenizer), readout=partial(_readout_by_name, model, load))


def _tokenizer_by_name(model: Any) -> Any:
    """Return the tokenizer of the checkpoint that a model names. Raises InputError if it cannot."""
    from geom_plugins.networks.texts import read_tokenizer

    return _by_name(model, "tokenizer", read_tokenizer, "tokenizer=...")


def _readout_by_name(model: Any, load: Callable[[str], Readout]) -> Readout:
    """Load the readout of the checkpoint that a model names. Raises InputError if it cannot."""
    return _by_name(model, "readout", load, "readout=geom.load(...)")


def _by_name(model: Any, part: str, read: Callable[[str], T], remedy: str) -> T:
    """Read a part of the checkpoint that a model names; ``remedy`` is the argument for it."""
    name, kind = model.name_or_path, type(model).__name__
    if not name:
        raise InputError(
            f"a {kind} in memory that names no checkpoint comes without its {part}: give {remedy}"
        )
    try:
        return read(name)
    except InputError as error:
        raise InputError(f"the {kind} has no {part}: {error}, or give {remedy}") from error


def model_network(model: Any, tokenizer: Any) -> Network:
    """Return the network of a loaded model. Raises InputError for one that is not run here."""
    import torch

    from geom_plugins.networks.final_norm import architecture
    from geom_plugins.networks.texts import encoder, opening

    name, config = type(model).__name__, model.config.to_dict()
    if architecture(config, name).task == "seq2seq":
        raise InputError(f"a {name} has an encoder, whose input a text alone does not give")
    stage = model_stage(model, config, name)
    unit = torch.finfo(model.dtype).eps
    return Network(
        name=f"{type(model).__name__} in {stage.dtype}",
        layer=stage.norm.path,
        window=_window(model, tokenizer),
        encode=encoder(tokenizer),
        states=stage.vectors,
        logits=stage.logits,
        start=opening(tokenizer),
        unit=unit,
        versions={name: version(name) for name in ("transformers", "torch")},
    )


def model_stage(model: Any, config: Config, where: str) -> Stage:
    """Return a loaded model, ready to be run to its final norm or from there.

    ``config`` is what its ``config.json`` holds. Raises InputError if the norm is not known.
    """
    import torch

    from geom_plugins.networks.final_norm import architecture, find_norm
    from geom_plugins.networks.stage import Stage

    encodes = architecture(config, where).task == "seq2seq"

    def run(ids: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = model(
            input_ids=ids, **({"decoder_input_ids": ids} if encodes else {})
        ).logits
        return found

    norm = find_norm(model, config, where)
    return Stage(run, norm, model.device, str(model.dtype).removeprefix("torch."))


def _window(model: Any, tokenizer: Any) -> int:
    """Return how many ids the model takes at once, as its configuration and tokenizer say."""
    config = model.config.get_text_config()
    given = (
        getattr(config, name, None)
        for name in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
    )
    said = [n for n in [*given, tokenizer.model_max_length] if isinstance(n, int) and n > 0]
    return int(min([*said, np.iinfo(np.int64).max]))
