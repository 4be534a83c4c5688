"""``hf:DIR_OR_HUB_ID``: the readout of a checkpoint as transformers saves it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from geom import InputError, ModelSource, Readout, hookimpl, parse_address

if TYPE_CHECKING:
    from geom_plugins.checkpoints.architectures import Config
    from geom_plugins.checkpoints.folders import Folder


@dataclass(frozen=True)
class HfOptions:
    """What config.json does not tell, or tells wrongly."""

    revision: Annotated[str | None, Meta(description="branch, tag or commit of a Hub id")] = None
    unembed: Annotated[str | None, Meta(description="name of the unembedding, (V, d)")] = None
    bias: Annotated[str | None, Meta(description="name of its bias, (V,)")] = None
    gamma: Annotated[str | None, Meta(description="name of the final norm's scale, (d,)")] = None
    beta: Annotated[str | None, Meta(description="name of the final norm's shift, (d,)")] = None
    norm: Annotated[
        Literal["layernorm", "rmsnorm", "none"] | None, Meta(description="the final norm")
    ] = None


def load(location: str, options: HfOptions) -> Readout:
    """The readout of a checkpoint directory or of a Hub id; only its own tensors are read.

    Raises InputError where the location has no checkpoint, or one whose readout is not certain.
    """
    from geom_plugins.checkpoints.token_texts import read_tokens
    from geom_plugins.checkpoints.unembedding import ByHand, find_parts
    from geom_plugins.checkpoints.weights import open_weights

    folder = open_folder(location, options.revision)
    config = read_config(folder)
    weights = open_weights(folder)
    by_hand = ByHand(options.unembed, options.bias, options.gamma, options.beta, options.norm)
    parts = find_parts(config, weights.names, folder.name, by_hand)
    W = weights.tensor(parts.unembed)
    named = (parts.bias, parts.gamma, parts.beta, parts.projection)
    b, gamma, beta, projection = (
        None if name is None else weights.tensor(name)[:] for name in named
    )
    tokens = read_tokens(folder, W.shape[0])
    return Readout.fold(
        W,
        None if b is None else b.reshape(-1),
        norm=parts.norm,
        gamma=_plus_one(gamma) if parts.plus_one and gamma is not None else gamma,
        beta=beta,
        projection=projection,
        tokens=tokens and tokens.texts,
        kinds=tokens and tokens.kinds,
        notes=parts.notes + (tokens.notes if tokens else ()),
    )


def open_folder(location: str, revision: str | None) -> Folder:
    """Where the checkpoint's files are: a directory where there is one, else the Hub."""
    from geom_plugins.checkpoints.folders import LocalFolder

    if not location:
        raise InputError("model hf: names no checkpoint; write hf:DIRECTORY or hf:OWNER/NAME")
    path = parse_address(location).path
    if path is None:
        raise InputError(
            f"model hf: takes no {location.partition('://')[0]}:// address; write hf:DIRECTORY or "
            "hf:OWNER/NAME"
        )
    if path.is_file():
        raise InputError(f"{path} is a file; give its directory, or safetensors:{path}")
    if path.is_dir():
        if revision is not None:
            raise InputError(f"{path} is a directory, and has no revision {revision!r}")
        return LocalFolder(path)
    from geom_plugins.checkpoints.hub import HubFolder

    return HubFolder(location, revision)


def read_config(folder: Folder) -> Config:
    """``config.json``. Raises InputError where it is missing or no JSON object."""
    if not folder.has("config.json"):
        raise InputError(
            f"{folder.name} has no config.json; give a checkpoint as transformers saves it, or one "
            "file with safetensors:FILE?unembed=NAME"
        )
    content = folder.read("config.json")
    try:
        config = json.loads(content)
    except UnicodeDecodeError as error:  # whose words show a byte of it
        raise InputError(f"config.json of {folder.name} is damaged: it is not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"config.json of {folder.name} is damaged: {error}") from error
    if not isinstance(config, dict):
        raise InputError(f"config.json of {folder.name} is no JSON object")
    return config


def _plus_one(gamma: NDArray[Any]) -> NDArray[np.float32]:
    """1 + weight, summed in float32 as the models do it."""
    return np.float32(1) + gamma.astype(np.float32)


@hookimpl
def geom_sources() -> Iterator[ModelSource[HfOptions]]:
    yield ModelSource(
        "hf", "a checkpoint of transformers: a directory or a Hub id", load, HfOptions, "checkpoint"
    )
