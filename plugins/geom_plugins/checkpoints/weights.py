"""The tensors of a checkpoint folder by name, independent of the files that hold them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial

import msgspec

from geom import InputError, SlicedArray
from geom_plugins.checkpoints.folders import Folder, inner
from geom_plugins.checkpoints.safetensors_format import read_header

_Reader = Callable[[str], Mapping[str, SlicedArray]]


class _Index(msgspec.Struct):
    """``model.safetensors.index.json``: which shard holds which tensor."""

    weight_map: dict[str, str]


@dataclass(frozen=True)
class Weights:
    """Tensors by name; a file is opened when one of its tensors is first needed.

    ``files`` says which file holds which tensor; ``where`` is the name for messages.
    """

    where: str
    files: Mapping[str, str]
    read: _Reader
    _opened: dict[str, Mapping[str, SlicedArray]] = field(default_factory=dict)

    @property
    def names(self) -> Collection[str]:
        """The names of all tensors."""
        return self.files.keys()

    def tensor(self, name: str) -> SlicedArray:
        """Return the tensor of that name. Raises InputError, with the nearest name, without one."""
        if name not in self.files:
            near = get_close_matches(name, self.files, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InputError(f"{self.where} has no tensor {name!r}{hint}")
        file = self.files[name]
        if file not in self._opened:
            self._opened[file] = self.read(file)
        tensors = self._opened[file]
        if name not in tensors:
            raise InputError(
                f"{self.where}: the index puts tensor {name!r} in {file}, which lacks it; "
                "fetch the checkpoint again"
            )
        return tensors[name]


def open_weights(folder: Folder) -> Weights:
    """Open the weights of a checkpoint: safetensors, whole or in shards, else torch's own format.

    Raises InputError if the folder has neither, or if the index is damaged.
    """
    safetensors, torch = partial(_safetensors, folder), partial(_torch, folder)
    for stem, read in (("model.safetensors", safetensors), ("pytorch_model.bin", torch)):
        if folder.has(stem):
            tensors = read(stem)
            return Weights(folder.name, dict.fromkeys(tensors, stem), read, {stem: tensors})
        if folder.has(f"{stem}.index.json"):
            return Weights(folder.name, _index(folder, f"{stem}.index.json"), read)
    raise InputError(
        f"{folder.name} has neither model.safetensors nor pytorch_model.bin, nor an index of their "
        "shards; give a checkpoint that transformers saved, or one file with safetensors:FILE"
    )


def _safetensors(folder: Folder, file: str) -> Mapping[str, SlicedArray]:
    return read_header(folder.open(file))


def _torch(folder: Folder, file: str) -> Mapping[str, SlicedArray]:
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
