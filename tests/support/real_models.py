"""The real models, as other programs read their files and as geom does; fetched once."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import real_weights
from gguf import GGUFReader, dequantize
from numpy.typing import NDArray

import geom
from geom import Readout

Array = NDArray[Any]


@dataclass(frozen=True)
class Real:
    """A model: what geom takes, what geom reads, and the arrays as another library reads them."""

    location: str
    readout: Readout
    W: Array
    gamma: Array
    beta: Array | None

    @property
    def folder(self) -> Path:
        """The folder of its files."""
        path = Path(self.location.partition(":")[2].partition("?")[0])
        return path if path.is_dir() else path.parent

    @cached_property
    def losers(self) -> list[int]:
        """The tokens that, as geom says, do not win along their own direction."""
        winners = geom.own_winners(self.readout)
        return np.flatnonzero(winners != np.arange(self.readout.V)).tolist()

    @cached_property
    def twins(self) -> list[int]:
        """The tokens whose row in the file, and so its bias, is another token's too."""
        _, which, counts = np.unique(self.W, axis=0, return_inverse=True, return_counts=True)
        return np.flatnonzero(counts[which.reshape(-1)] > 1).tolist()

    def saved(self, folder: Path) -> list[str]:
        """Write the arrays as the checker for strangers takes them; return its arguments."""
        words: list[str] = []
        for option, array in (("", self.W), ("--gamma", self.gamma), ("--beta", self.beta)):
            if array is not None:
                file = f"{option.removeprefix('--') or 'W'}.npy"
                np.save(folder / file, array)
                words += filter(None, (option, file))
        return words


def smollm2() -> Real:
    """Return SmolLM2, its arrays read by the package gguf."""
    location = real_weights.fetch("smollm2")
    tensors = {
        tensor.name: dequantize(tensor.data, tensor.tensor_type)
        for tensor in GGUFReader(location.removeprefix("gguf:")).tensors
        if tensor.name in ("token_embd.weight", "output_norm.weight")
    }
    W, gamma = tensors["token_embd.weight"], tensors["output_norm.weight"]
    return Real(location, geom.load(location), W, gamma, None)


WHISPER = {
    "decoder/embeddings/weight": (51865, 512),
    "decoder/layer_norm/gamma": (512,),
    "decoder/layer_norm/beta": (512,),
}
"""The variables of Whisper's readout, float16 in CTranslate2's file, and their shapes."""


def whisper() -> Real:
    """Return Whisper, its arrays found in the file by what comes before their numbers.

    As ``model_spec.py`` of CTranslate2 writes it, that is the name, a zero byte, the number of
    dimensions, these, the type (4) and the size in bytes.
    """
    location = real_weights.fetch("whisper")
    data = (Path(location.removeprefix("ct2:")) / "model.bin").read_bytes()
    arrays = []
    for name, shape in WHISPER.items():
        count = prod(shape)
        head = struct.pack(f"<B{len(shape)}IBI", len(shape), *shape, 4, 2 * count)
        start = data.index(name.encode() + b"\0" + head) + len(name) + 1 + len(head)
        arrays.append(np.frombuffer(data, "<f2", count, start).reshape(shape))
    return Real(location, geom.load(location), *arrays)
