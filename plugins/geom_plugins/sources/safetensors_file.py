"""``safetensors:FILE_OR_URL``: a readout from named tensors of one safetensors file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from geom import InputError, ModelSource, Readout, hookimpl
from geom_plugins.checkpoints.scales import PLUS_ONE, YesNo, scale_of

if TYPE_CHECKING:
    from geom_plugins.checkpoints.safetensors_format import Tensor


@dataclass(frozen=True)
class SafetensorsOptions:
    """The names of the tensors."""

    unembed: Annotated[str, Meta(description="name of the unembedding, (V, d)")] = "lm_head.weight"
    bias: Annotated[str | None, Meta(description="name of its bias, (V,)")] = None
    gamma: Annotated[str | None, Meta(description="name of the final norm's scale, (d,)")] = None
    beta: Annotated[str | None, Meta(description="name of the final norm's shift, (d,)")] = None
    norm: Annotated[Literal["layernorm", "rmsnorm", "none"], Meta(description="the final norm")] = (
        "none"
    )
    gamma_plus_one: Annotated[YesNo, Meta(description=PLUS_ONE)] = "no"
    download: Annotated[
        str | None, Meta(description="ignored; the Hub's pages put ?download=true after addresses")
    ] = None


def load(location: str, options: SafetensorsOptions) -> Readout:
    """Load the readout of a safetensors file, local or on a server; only named tensors are read.

    Raises InputError if the file is not available or is damaged, or if a tensor is not in it.
    """
    from geom_plugins.checkpoints.locations import open_file
    from geom_plugins.checkpoints.safetensors_format import find, read_header
    from geom_plugins.checkpoints.weights import Weights
    from geom_plugins.quantised.matrix import notes_of, open_matrix

    if not location:
        raise InputError("model safetensors: names no file; write safetensors:FILE.safetensors")
    file = open_file(location)
    tensors = read_header(file)
    weights = Weights(file.name, dict.fromkeys(tensors, file.name), lambda _: tensors)
    W = open_matrix(weights, options.unembed)
    names = (options.bias, options.gamma, options.beta)
    b, gamma, beta = chosen = [
        None if name is None else find(tensors, name, file.name) for name in names
    ]
    # in file order, so that a server that ignores ranges sends the file no more than once
    for tensor in sorted(filter(None, (tensors.get(options.unembed), *chosen)), key=_begin):
        file.span(tensor.begin, tensor.end)
    return Readout.fold(
        W,
        b,
        norm=None if options.norm == "none" else options.norm,
        gamma=scale_of(gamma, options.gamma_plus_one == "yes"),
        beta=beta,
        notes=notes_of(W),
    )


def _begin(tensor: Tensor) -> int:
    return tensor.begin


@hookimpl
def geom_sources() -> Iterator[ModelSource[SafetensorsOptions]]:
    yield ModelSource(
        "safetensors",
        "named tensors of a safetensors file or URL",
        load,
        SafetensorsOptions,
        reads="file",
        suffixes=(".safetensors",),
    )
