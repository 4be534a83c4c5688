"""``hf:DIR_OR_HUB_ID``: the readout of a checkpoint as transformers saves it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from geom import InputError, ModelSource, Network, Readout, SlicedArray, check_memory, hookimpl
from geom_plugins.checkpoints.scales import PLUS_ONE, YesNo, scale_of

if TYPE_CHECKING:
    from geom import Agreement
    from geom_plugins.adapters.checkpoint import Checkpoint
    from geom_plugins.agreement.vouching import Vouch
    from geom_plugins.checkpoints.folders import Folder, LocalFolder
    from geom_plugins.checkpoints.weights import Weights


@dataclass(frozen=True)
class HfOptions:
    """The parts that config.json does not give, or gives wrongly."""

    revision: Annotated[str | None, Meta(description="branch, tag or commit of a Hub id")] = None
    base: Annotated[
        str | None, Meta(description="the base of an adapter: a directory or a Hub id")
    ] = None
    adapter: Annotated[
        Literal["yes", "merged", "no"],
        Meta(description="whether an adapter is read, and as peft loads it or merges it"),
    ] = "yes"
    unembed: Annotated[str | None, Meta(description="name of the unembedding, (V, d)")] = None
    bias: Annotated[str | None, Meta(description="name of its bias, (V,)")] = None
    gamma: Annotated[str | None, Meta(description="name of the final norm's scale, (d,)")] = None
    beta: Annotated[str | None, Meta(description="name of the final norm's shift, (d,)")] = None
    norm: Annotated[
        Literal["layernorm", "rmsnorm", "none"] | None, Meta(description="the final norm")
    ] = None
    gamma_plus_one: Annotated[YesNo | None, Meta(description=PLUS_ONE)] = None


def load(location: str, options: HfOptions) -> Readout:
    """Load the readout of a checkpoint directory or a Hub id, reading only the readout's tensors.

    If an architecture is not in the table and transformers is installed, what is guessed about it
    is tried on a toy model. Raises InputError if the location has no checkpoint, or if its readout
    is not certain.
    """
    from geom_plugins.adapters.checkpoint import open_checkpoint
    from geom_plugins.agreement.vouching import vouched

    opened = open_checkpoint(location, options.revision, options.base, options.adapter)
    return _read(opened, options, partial(vouched, read=partial(_toy, options)))


def load_beside(folder: LocalFolder, file: str) -> Readout:
    """Load the readout of a safetensors file by the ``config.json`` beside it, as `load` does.

    Raises InputError if they do not belong together, or if the readout is not certain.
    """
    from geom_plugins.adapters.checkpoint import open_beside
    from geom_plugins.agreement.vouching import vouched

    options = HfOptions()
    opened = open_beside(folder, file)
    return _read(opened, options, partial(vouched, read=partial(_toy, options)))


def check(location: str, options: HfOptions) -> Iterator[Agreement]:
    """Compare the readout with a toy model of the same class, and with the model itself."""
    from geom_plugins.adapters.checkpoint import open_checkpoint
    from geom_plugins.agreement.real_model import checkpoint_trial
    from geom_plugins.agreement.toy_trial import toy_trial

    opened = open_checkpoint(location, options.revision, options.base, options.adapter)
    readout = _read(opened, options)
    yield toy_trial(opened.config, readout.notes, partial(_toy, options))
    yield checkpoint_trial(opened.folder, readout, adapted=opened.adapter is not None)


def network(location: str, options: HfOptions) -> Network:
    """Load the network of a checkpoint on this machine, by transformers.

    Raises InputError if it cannot be run, or has no tokenizer.
    """
    from geom_plugins.adapters.checkpoint import open_checkpoint
    from geom_plugins.networks.transformers_networks import checkpoint_network

    opened = open_checkpoint(location, options.revision, options.base, options.adapter)
    try:
        return checkpoint_network(opened.folder, adapted=opened.adapter is not None)
    except InputError as error:
        raise InputError(f"{opened.folder.name} cannot be run: {error}") from error


def live(model: object, tokenizer: object) -> Network | None:
    """Return the network of a model of transformers in memory."""
    from geom_plugins.networks.transformers_networks import live_network

    return live_network(model, tokenizer, lambda name: load(name, HfOptions()))


def tokenized(readout: Readout, tokenizer: object) -> Readout | None:
    """Return the readout with the tokens of a tokenizer of transformers in memory."""
    from geom_plugins.networks.live_tokenizers import live_tokens

    tokens = live_tokens(tokenizer, readout.V)
    if tokens is None:
        return None
    return replace(
        readout, tokens=tokens.texts, kinds=tokens.kinds, notes=readout.notes + tokens.notes
    )


def _toy(options: HfOptions, where: Path) -> Readout:
    """Read a toy model as the checkpoint is read."""
    from geom_plugins.adapters.checkpoint import open_checkpoint

    return _read(open_checkpoint(str(where), None, None), options)


def _read(opened: Checkpoint, options: HfOptions, vouch: Vouch | None = None) -> Readout:
    """Read the readout of a checkpoint's files; ``vouch`` says more about what is guessed."""
    from geom_plugins.adapters.application import Arrays
    from geom_plugins.architectures.parts import ByHand, find_parts
    from geom_plugins.checkpoints.token_texts import read_tokens
    from geom_plugins.quantised.matrix import notes_of, open_matrix

    folder, config, weights = opened.folder, opened.config, opened.weights
    by_hand = ByHand(
        options.unembed,
        options.bias,
        options.gamma,
        options.beta,
        options.norm,
        None if options.gamma_plus_one is None else options.gamma_plus_one == "yes",
    )
    parts = find_parts(config, weights.names, folder.name, by_hand, partial(_form, folder, weights))
    notes = parts.notes
    if vouch is not None and parts.guesses:
        notes = (*notes, vouch(config, parts, folder.name))
    stored = open_matrix(weights, parts.unembed, config)
    named = (parts.bias, parts.gamma, parts.beta)
    b, gamma, beta = (None if name is None else weights.tensor(name)[:] for name in named)
    projection = None
    if parts.projection is not None:
        projection = open_matrix(weights, parts.projection, config)
    arrays, remarks = opened.applied(parts, Arrays(stored, b, gamma, beta))
    W, b, gamma, beta = arrays.W, arrays.b, arrays.gamma, arrays.beta
    tokens = read_tokens(opened.tokens, W.shape[0])
    return Readout.fold(
        _unit_rows(W, parts.unembed) if parts.unit_rows else W,
        None if b is None else b.reshape(-1),
        norm=parts.norm,
        gamma=scale_of(gamma, parts.plus_one),
        beta=beta,
        projection=projection,
        tokens=tokens and tokens.texts,
        kinds=tokens and tokens.kinds,
        notes=remarks + notes + notes_of(stored) + (tokens.notes if tokens else ()),
    )


def _form(folder: Folder, weights: Weights) -> str | None:
    """Return what the first file of weights calls its format: ``pt``, ``mlx``, or None."""
    from geom_plugins.checkpoints.safetensors_format import read_format

    file = next(iter(weights.files.values()), "")
    return read_format(folder.open(file)) if file.endswith(".safetensors") else None


def _unit_rows(W: SlicedArray, name: str) -> NDArray[np.float64]:
    """Return the rows of W, each divided by its length, rounded to float64."""
    V, d = W.shape
    check_memory(16 * V * d, f"{name}, whose rows are divided by their lengths,")
    rows = np.asarray(W[:]).astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.maximum(lengths, 1e-12)  # the least length in torch.nn.functional.normalize
    return rows


def _places(location: str, options: HfOptions) -> Iterable[str]:
    """Return the place of an adapter's base."""
    from geom_plugins.adapters.checkpoint import places

    if options.adapter == "no":
        return ()
    return places(location, options.revision, options.base)


@hookimpl
def geom_sources() -> Iterator[ModelSource[HfOptions]]:
    yield ModelSource(
        "hf",
        "a checkpoint of transformers: a directory or a Hub id",
        load,
        HfOptions,
        reads="checkpoint",
        places=_places,
        check=check,
        network=network,
        live=live,
        tokenized=tokenized,
        folders=("config.json", "adapter_config.json", "params.json", "snapshots"),
        hub_ids=True,
    )
