"""``hf:DIR_OR_HUB_ID``: the readout of a checkpoint as transformers saves it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from geom import ModelSource, Readout, hookimpl


@dataclass(frozen=True)
class HfOptions:
    """The parts that config.json does not give, or gives wrongly."""

    revision: Annotated[str | None, Meta(description="branch, tag or commit of a Hub id")] = None
    unembed: Annotated[str | None, Meta(description="name of the unembedding, (V, d)")] = None
    bias: Annotated[str | None, Meta(description="name of its bias, (V,)")] = None
    gamma: Annotated[str | None, Meta(description="name of the final norm's scale, (d,)")] = None
    beta: Annotated[str | None, Meta(description="name of the final norm's shift, (d,)")] = None
    norm: Annotated[
        Literal["layernorm", "rmsnorm", "none"] | None, Meta(description="the final norm")
    ] = None


def load(location: str, options: HfOptions) -> Readout:
    """Load the readout of a checkpoint directory or a Hub id, reading only the readout's tensors.

    Raises InputError if the location has no checkpoint, or if its readout is not certain.
    """
    from geom_plugins.checkpoints.locations import open_folder
    from geom_plugins.checkpoints.token_texts import read_tokens
    from geom_plugins.checkpoints.unembedding import ByHand, find_parts, read_config
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


def _plus_one(gamma: NDArray[Any]) -> NDArray[np.float32]:
    """Return 1 + weight, added in float32 as in the models."""
    return np.float32(1) + gamma.astype(np.float32)


@hookimpl
def geom_sources() -> Iterator[ModelSource[HfOptions]]:
    yield ModelSource(
        "hf",
        "a checkpoint of transformers: a directory or a Hub id",
        load,
        HfOptions,
        reads="checkpoint",
    )
