"""The tensors of a checkpoint folder by name, independent of the files that hold them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from typing import Protocol

import msgspec

from geom import InputError, SlicedArray
from geom_plugins.checkpoints.absence import without_weights
from geom_plugins.checkpoints.folders import Folder, inner
from geom_plugins.checkpoints.safetensors_format import read_header
from geom_plugins.checkpoints.shards import shard_names
from geom_plugins.checkpoints.wrappers import unwrapped


class Tensor(SlicedArray, Protocol):
    """A tensor of a file, read by slices of its first axis."""

    @property
    def dtype(self) -> str:
        """The type of its numbers, as safetensors names it."""

    def as_vector(self) -> SlicedArray:
        """Return it as it is, but a single number as a vector of one."""


_Reader = Callable[[str], Mapping[str, Tensor]]

_FORMATS = (("model", ".safetensors"), ("pytorch_model", ".bin"))
"""The stems and suffixes of the files that transformers saves, in the order in which it looks."""


class _Index(msgspec.Struct):
    """``model.safetensors.index.json``: which shard holds which tensor."""

    weight_map: dict[str, str]


@dataclass(frozen=True)
class Weights:
    """Tensors by name; a file is opened when one of its tensors is first needed.

    ``files`` says which file holds which tensor; ``where`` is the name for messages. ``stored``
    gives the names that tensors have in their files, if those differ. ``notes`` are for the reader.
    """

    where: str
    files: Mapping[str, str]
    read: _Reader
    _opened: dict[str, Mapping[str, Tensor]] = field(default_factory=dict)
    stored: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> Collection[str]:
        """The names of all tensors."""
        return self.files.keys()

    def tensor(self, name: str) -> Tensor:
        """Return the tensor of that name.

        Raises InputError, with the nearest name, if there is no such tensor, and if it is empty.
        """
        if name not in self.files:
            near = get_close_matches(name, self.files, n=1) or list(self.files)[:8]
            raise InputError(
                f"{self.where} has no tensor {name!r}; it has {', '.join(near) or 'none'}"
            )
        file = self.files[name]
        if file not in self._opened:
            self._opened[file] = self.read(file)
        tensors, stored = self._opened[file], self.stored.get(name, name)
        if stored not in tensors:
            raise InputError(
                f"{self.where}: the index puts tensor {stored!r} in {file}, which lacks it; "
                "fetch the checkpoint again"
            )
        found = tensors[stored]
        if 0 in found.shape:
            raise InputError(
                f"tensor {stored!r} of {file} in {self.where} is empty, of shape {found.shape}: "
                "DeepSpeed ZeRO-3 left only its name there; gather the weights with the script "
                "zero_to_fp32.py that it saves beside them, or save with "
                "stage3_gather_16bit_weights_on_model_save"
            )
        return found

    def renamed(self, names: Mapping[str, str], note: str | None = None) -> Weights:
        """Return the same tensors under other names: ``names`` gives the old name of each."""
        return Weights(
            self.where,
            {new: self.files[old] for new, old in names.items()},
            self.read,
            self._opened,
            {new: self.stored.get(old, old) for new, old in names.items()},
            self.notes if note is None else (*self.notes, note),
        )


def open_weights(folder: Folder) -> Weights:
    """Open the weights of a checkpoint: safetensors, whole or in shards, else torch's own format.

    Names that wrappers of training lengthened are shortened again. Raises InputError, saying what
    there is instead, if the folder has neither, and if an index is damaged or shards are missing.
    """
    for stem, suffix in _FORMATS:
        found = weights_of(folder, stem, suffix)
        if found is not None:
            names, note = unwrapped(found.names, folder.name)
            return found if note is None else found.renamed(names, note)
    raise InputError(without_weights(folder))


def lone_weights(folder: Folder, file: str) -> Weights:
    """Open one safetensors file as all the weights of a checkpoint; names as in `open_weights`."""
    tensors = _safetensors(folder, file)
    read = partial(_safetensors, folder)
    found = Weights(folder.name, dict.fromkeys(tensors, file), read, {file: tensors})
    names, note = unwrapped(found.names, folder.name)
    return found if note is None else found.renamed(names, note)


def weights_of(folder: Folder, stem: str, suffix: str) -> Weights | None:
    """Open the weights in ``STEM.SUFFIX``, or in its shards, by their index or by their names.

    Returns None if there is no such file. Raises InputError as `open_weights` does.
    """
    read = partial(_safetensors if suffix == ".safetensors" else _torch, folder)
    whole = f"{stem}{suffix}"
    if folder.has(whole):
        tensors = read(whole)
        return Weights(folder.name, dict.fromkeys(tensors, whole), read, {whole: tensors})
    if folder.has(f"{whole}.index.json"):
        return Weights(folder.name, _index(folder, f"{whole}.index.json"), read)
    shards = shard_names(folder, stem, suffix)
    if not shards:
        return None
    opened = {shard: read(shard) for shard in shards}
    files: dict[str, str] = {}
    for shard, tensors in opened.items():
        twice = files.keys() & tensors.keys()
        if twice:
            name = min(twice)
            raise InputError(
                f"{folder.name}: {shard} has tensor {name!r}, and so has {files[name]}; there is "
                "no index to say which is meant: fetch the checkpoint again, with its index"
            )
        files |= dict.fromkeys(tensors, shard)
    note = f"there is no {whole}.index.json: all {len(shards)} shards are read by their names"
    return Weights(folder.name, files, read, dict(opened), notes=(note,))


def _safetensors(folder: Folder, file: str) -> Mapping[str, Tensor]:
    return read_header(folder.open(file))


def _torch(folder: Folder, file: str) -> Mapping[str, Tensor]:
    from geom_plugins.checkpoints.torch_bin import read_torch

    return read_torch(folder.path(file))


def _index(folder: Folder, file: str) -> Mapping[str, str]:
    try:
        index = msgspec.json.decode(folder.read(file), type=_Index)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InputError(f"{file} of {folder.name} is damaged: {error}; fetch it again") from error
    for name in set(index.weight_map.values()):
        inner(name, f"{file} of {folder.name}")
    return index.weight_map
