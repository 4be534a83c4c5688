"""``safetensors:FILE``: a readout from named tensors of one safetensors file."""

from __future__ import annotations

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
        raise InputError(f"{path} does not exist; give a local safetensors file")
    try:
        with safe_open(path, framework="numpy") as file:
            known = list(file.keys())
            for name in names:
                if name not in known:
                    near = get_close_matches(name, known, n=1) or known[:8]
                    raise InputError(f"{path} has no tensor {name!r}; it has {', '.join(near)}")
            return {name: _exact(file.get_tensor(name)) for name in names}
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no safetensors file, or a damaged one: {error}") from error


def _exact(tensor: NDArray[Any]) -> NDArray[Any]:
    """Types that NumPy does not know by itself (bfloat16, float8) widened to float32."""
    return tensor if tensor.dtype.kind in "fiu" else tensor.astype(np.float32)


@hookimpl
def geom_sources() -> Iterator[ModelSource[SafetensorsOptions]]:
    """The hook."""
    yield ModelSource(
        "safetensors", "named tensors of one safetensors file", load, SafetensorsOptions
    )
