"""``safetensors:FILE``: a readout from named tensors of one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from geom import InputError, ModelSource, Readout, hookimpl

_TYPES = ("F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8")


@dataclass(frozen=True)
class SafetensorsOptions:
    """Which tensors are what."""

    unembed: Annotated[str, Meta(description="name of the unembedding, (V, d)")] = "lm_head.weight"
    bias: Annotated[str | None, Meta(description="name of its bias, (V,)")] = None
    gamma: Annotated[str | None, Meta(description="name of the final norm's scale, (d,)")] = None
    beta: Annotated[str | None, Meta(description="name of the final norm's shift, (d,)")] = None
    norm: Annotated[Literal["layernorm", "rmsnorm", "none"], Meta(description="the final norm")] = (
        "none"
    )


def load(location: str, options: SafetensorsOptions) -> Readout:
    """The readout in a local safetensors file, of which only the named tensors are read.

    Raises InputError where the file is missing or damaged, or a tensor is not in it.
    """
    if not location:
        raise InputError("model safetensors: names no file; write safetensors:FILE.safetensors")
    names = (options.bias, options.gamma, options.beta)
    tensors = read_tensors(Path(location), [options.unembed, *filter(None, names)])
    b, gamma, beta = (None if name is None else tensors[name] for name in names)
    return Readout.fold(
        tensors[options.unembed],
        b,
        norm=None if options.norm == "none" else options.norm,
        gamma=gamma,
        beta=beta,
    )


def read_tensors(path: Path, names: list[str]) -> dict[str, NDArray[Any]]:
    """The named tensors of a safetensors file, as arrays of a type that holds them exactly."""
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"{path} {problem}; give a local safetensors file")
    try:
        with safe_open(path, framework="numpy") as file:
            known = list(file.keys())
            for name in names:
                if name not in known:
                    near = ", ".join(get_close_matches(name, known, n=1) or known[:8]) or "none"
                    raise InputError(f"{path} has no tensor {name!r}; it has {near}")
            return {name: _tensor(path, file, name) for name in names}
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} is no safetensors file, or a damaged one: {error}") from error


def _tensor(path: Path, file: Any, name: str) -> NDArray[Any]:
    """One tensor; bfloat16, which NumPy does not know, is widened to float32."""
    found = file.get_slice(name)
    kind = found.get_dtype()
    if kind == "BF16":
        high = _bytes(path, name).view("<u2").astype(np.uint32)
        return (high << 16).view(np.float32).reshape(found.get_shape())
    if kind not in _TYPES:
        raise InputError(f"tensor {name!r} of {path} is {kind}: give {', '.join(_TYPES)} or BF16")
    return np.asarray(file.get_tensor(name))


def _bytes(path: Path, name: str) -> NDArray[np.uint8]:
    """A tensor's bytes. The file is 8 bytes of the header's length, the header in JSON, the data.

    The header has been checked by the library.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        begin, end = json.loads(file.read(length))[name]["data_offsets"]
    return np.fromfile(path, np.uint8, end - begin, offset=8 + length + begin)


@hookimpl
def geom_sources() -> Iterator[ModelSource[SafetensorsOptions]]:
    """The hook."""
    yield ModelSource(
        "safetensors", "named tensors of one safetensors file", load, SafetensorsOptions
    )
