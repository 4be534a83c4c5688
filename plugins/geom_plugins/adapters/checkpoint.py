"""A checkpoint as it is opened: its base, and the adapter on it if there is one.

A folder with ``adapter_config.json`` is an adapter, as it is for transformers: on the weights that
lie beside it, if it is a folder on this machine that has them, else on the base that it names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from geom import InputError, parse_address
from geom_plugins.adapters.application import Adapter, Arrays, of_weights
from geom_plugins.adapters.configuration import CONFIG, AdapterConfig, read_adapter_config
from geom_plugins.adapters.pieces import is_adapted, parsed
from geom_plugins.architectures.configuration import read_config
from geom_plugins.architectures.named_parts import Parts
from geom_plugins.architectures.record import Config
from geom_plugins.checkpoints.consolidated import has_consolidated, open_consolidated
from geom_plugins.checkpoints.folders import Folder, LocalFolder, leads_out
from geom_plugins.checkpoints.hub import HubFolder
from geom_plugins.checkpoints.hub_addresses import written_place
from geom_plugins.checkpoints.locations import open_folder
from geom_plugins.checkpoints.shards import shard_names
from geom_plugins.checkpoints.weights import Weights, lone_weights, open_weights, weights_of
from geom_plugins.checkpoints.wrappers import unwrapped

Use = Literal["yes", "merged", "no"]

_TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "tekken.json")
"""The files by which a folder has a tokenizer of its own."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint: ``folder`` has the weights, ``tokens`` the tokenizer."""

    folder: Folder
    config: Config
    weights: Weights
    tokens: Folder
    adapter: Adapter | None
    notes: tuple[str, ...]

    def applied(self, parts: Parts, arrays: Arrays) -> tuple[Arrays, tuple[str, ...]]:
        """Return the arrays with the adapter on them, and all notes on how they were read."""
        if self.adapter is None:
            return arrays, self.notes
        arrays, notes = self.adapter.applied(parts, arrays)
        return arrays, (*self.notes, *notes)


def open_checkpoint(
    location: str, revision: str | None, base: str | None, use: Use = "yes"
) -> Checkpoint:
    """Open the checkpoint at a location, with the adapter that lies there unless ``use`` is no.

    ``base`` is the location of the adapter's base, if the user names it. Raises InputError if there
    is no checkpoint, and if an adapter's base is not certain.
    """
    folder = open_folder(location, revision)
    if not folder.has(CONFIG) or use == "no":
        if base is not None:
            raise InputError(f"{folder.name} is not read as an adapter: leave out ?base=")
        return _plain(folder, (), use)
    if base is None and _has_model(folder) and not _has_adapter(folder):
        return _plain(folder, (), use)
    config = read_adapter_config(folder)
    under = _base(folder, config, base)
    if under is not folder and under.has(CONFIG):
        raise InputError(
            f"{under.name}, the base of {folder.name}, is an adapter itself; merge it first, and "
            "give the merged checkpoint as ?base="
        )
    beside = (
        f"{CONFIG} lies beside the weights, and transformers puts the adapter on them: so does "
        "geom; ?adapter=no reads the weights alone"
    )
    note = beside if under is folder else f"the base of {folder.name} is {under.name}"
    if under is not folder and _has_model(folder):
        note += "; its own weights are not read, nor by transformers: ?adapter=no reads them"
    opened = _plain(under, (note,))
    if opened.adapter is not None:
        raise InputError(
            f"{under.name} has tensors of an adapter already; merge it with peft first"
        )
    weights = _adapter_weights(folder)
    has_tokenizer = any(folder.has(name) for name in _TOKENIZERS)
    return Checkpoint(
        under,
        opened.config,
        opened.weights,
        folder if has_tokenizer else under,
        of_weights(folder.name, config, weights, use == "merged"),
        opened.notes + weights.notes,
    )


def open_beside(folder: LocalFolder, file: str) -> Checkpoint:
    """Open the checkpoint that a safetensors file makes with the ``config.json`` beside it.

    Raises InputError if the folder's weights are other files, and as `open_checkpoint` does.
    """
    if not _has_model(folder):
        weights = lone_weights(folder, file)
        return Checkpoint(folder, read_config(folder), weights, folder, None, weights.notes)
    opened = open_checkpoint(str(folder.root), None, None)
    own = set(opened.weights.files.values())
    if file not in own:
        raise InputError(f"the weights of that folder are {', '.join(sorted(own)[:3])}")
    return opened


def places(location: str, revision: str | None, base: str | None) -> Iterator[str]:
    """Yield the places besides the location that `open_checkpoint` opens."""
    if base is not None:
        yield base
        return
    path = parse_address(location).path
    if path is None or not path.is_dir():
        return
    folder = open_folder(location, revision)
    if folder.has(CONFIG) and not _has_model(folder):
        config = read_adapter_config(folder)
        named = _named_base(folder, config)
        yield str(named.root) if isinstance(named, LocalFolder) else named.name


def _plain(folder: Folder, notes: tuple[str, ...], use: Use = "yes") -> Checkpoint:
    """Open a checkpoint that is no adapter's folder, or read without its adapter."""
    if has_consolidated(folder) and not _has_model(folder):
        config, weights = open_consolidated(folder)
        return Checkpoint(folder, config, weights, folder, None, notes + weights.notes)
    config = read_config(folder)
    weights = open_weights(folder)
    adapter = None
    if is_adapted(weights.names):
        weights, adapter = _split(folder, weights, use == "merged")
        notes += ("the weights have an adapter in them that was not merged",)
        if use == "no":
            adapter = None
    return Checkpoint(folder, config, weights, folder, adapter, notes + weights.notes)


def _split(folder: Folder, weights: Weights, merged: bool) -> tuple[Weights, Adapter]:
    """Part the tensors of a whole model with an adapter in it into the base's and the adapter's."""
    base: dict[str, str] = {}
    rest: dict[str, str] = {}
    for name in weights.names:
        piece = parsed(name)
        own = f"{piece.module}.{piece.leaf}" if piece.leaf else piece.module
        if piece.kind in ("plain", "base") or (piece.kind == "unknown" and own not in base):
            if own in base:
                raise InputError(
                    f"{folder.name} has both {base[own]} and {name}; merge the adapter with peft "
                    "(merge_and_unload) and save that"
                )
            base[own] = name
        if piece.kind not in ("plain", "base"):
            rest[name] = name
    config = read_adapter_config(folder) if folder.has(CONFIG) else None
    return weights.renamed(base), of_weights(folder.name, config, weights.renamed(rest), merged)


def _adapter_weights(folder: Folder) -> Weights:
    for suffix in (".safetensors", ".bin"):
        found = weights_of(folder, "adapter_model", suffix)
        if found is not None:
            names, note = unwrapped(found.names, folder.name)
            return found if note is None else found.renamed(names, note)
    raise InputError(
        f"{folder.name} has {CONFIG}, and neither adapter_model.safetensors nor adapter_model.bin; "
        "fetch it again, or read the weights beside it with ?adapter=no"
    )


def _has_adapter(folder: Folder) -> bool:
    """Return whether the folder has the weights of an adapter alone."""
    return any(name.startswith("adapter_model") for name in folder.entries)


def _has_model(folder: Folder) -> bool:
    """Return whether the folder has the configuration and the weights of a whole model."""
    if not folder.has("config.json"):
        return False
    for stem, suffix in (("model", ".safetensors"), ("pytorch_model", ".bin")):
        whole = f"{stem}{suffix}"
        if folder.has(whole) or folder.has(f"{whole}.index.json"):
            return True
        if shard_names(folder, stem, suffix):
            return True
    return False


def _base(folder: Folder, config: AdapterConfig, base: str | None) -> Folder:
    """Return the folder of the adapter's base."""
    if base is not None:
        return open_folder(base, None)
    if isinstance(folder, LocalFolder) and _has_model(folder):
        return folder
    return _named_base(folder, config)


def _named_base(folder: Folder, config: AdapterConfig) -> Folder:
    """Return the base that the adapter itself names.

    Anybody may have written that name. So it is a folder inside the adapter's own, or an id of the
    Hub, and never another place on this machine.
    """
    name = config.base
    remedy = "give it by hand, as ?base=DIRECTORY_OR_HUB_ID"
    if name is None:
        raise InputError(f"{folder.name} is an adapter that does not name its base; {remedy}")
    inside = name.removeprefix("./").rstrip("/")
    if isinstance(folder, LocalFolder) and not leads_out(inside):
        place = folder.root / inside
        if place.is_dir() and place.resolve().is_relative_to(folder.root.resolve()):
            return LocalFolder(place)
    written = written_place(name)
    single = not leads_out(name) and "/" not in name and "@" not in name
    if not single and (written is None or written.inside or written.revision or leads_out(name)):
        raise InputError(
            f"{folder.name} is an adapter on {name!r}, a place on the machine that it was made on; "
            f"{remedy}"
        )
    if Path(name).is_dir():
        raise InputError(
            f"{folder.name} is an adapter on {name!r}, which is a directory here and may be an id "
            f"of the Hub; {remedy}"
        )
    return HubFolder(name, config.base_revision)
