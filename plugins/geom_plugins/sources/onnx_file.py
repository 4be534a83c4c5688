"""``onnx:FILE``: the readout of an ONNX model, by the name of its unembedding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta
from numpy.typing import NDArray

from geom import InputError, ModelSource, Readout, SlicedArray, check_memory, hookimpl
from geom_plugins.checkpoints.scales import PLUS_ONE, YesNo, scale_of

if TYPE_CHECKING:
    from geom_plugins.checkpoints.onnx_format import Initialiser, Model
    from geom_plugins.checkpoints.onnx_graph import Layout, Use

Norm = Literal["layernorm", "rmsnorm", "none"]

_SHOWN = 5
"""How many names an error lists."""


@dataclass(frozen=True)
class OnnxOptions:
    """The names of the initialisers, and what the graph does not tell."""

    unembed: Annotated[str | None, Meta(description="name of the unembedding")] = None
    layout: Annotated[
        Literal["vd", "dv"] | None,
        Meta(description="vd: one row per token; dv: one column per token"),
    ] = None
    bias: Annotated[str | None, Meta(description="name of its bias, (V,)")] = None
    gamma: Annotated[str | None, Meta(description="name of the final norm's scale, (d,)")] = None
    beta: Annotated[str | None, Meta(description="name of the final norm's shift, (d,)")] = None
    norm: Annotated[Norm | None, Meta(description="the final norm")] = None
    gamma_plus_one: Annotated[YesNo, Meta(description=PLUS_ONE)] = "no"


def load(location: str, options: OnnxOptions) -> Readout:
    """Load the readout of a local ONNX file, with what it keeps in files beside it.

    The graph says how the matrix lies, which bias is added and, if it is one operator, which norm
    comes before; options override it. Raises InputError if the file is missing or damaged, if a
    tensor is quantised, or if the norm or the layout is not certain.
    """
    from geom_plugins.checkpoints.locations import local_path
    from geom_plugins.checkpoints.onnx_format import open_onnx
    from geom_plugins.checkpoints.onnx_graph import find_use

    if not location:
        raise InputError("model onnx: names no file; write onnx:FILE.onnx?unembed=NAME")
    model = open_onnx(local_path(location))
    if options.unembed is None:
        raise InputError(_without_name(model))
    matrix = model.tensor(options.unembed)
    by_hand = options.layout is not None and options.norm is not None
    use = None if by_hand else find_use(model, options.unembed)
    layout = options.layout or _layout(model, options.unembed, use)
    norm: Norm | None = options.norm or (None if use is None else use.norm)
    if norm is None:
        raise InputError(
            f"{model.name}: no norm that is one operator comes before {options.unembed}; give "
            "&norm=layernorm|rmsnorm|none and, for the norm, &gamma=NAME&beta=NAME"
        )
    from_graph = use if use is not None and options.norm is None else None
    gamma = options.gamma or (None if from_graph is None else from_graph.gamma)
    beta = options.beta or (None if from_graph is None else from_graph.beta)
    bias = options.bias or (None if use is None else use.bias)
    b, scale, shift = (
        None if name is None else _vector(model, name) for name in (bias, gamma, beta)
    )
    return Readout.fold(
        _rows(matrix, layout),
        b,
        norm=None if norm == "none" else norm,
        gamma=scale_of(scale, options.gamma_plus_one == "yes"),
        beta=shift,
        notes=tuple(_notes(options, use, bias)),
    )


def _layout(model: Model, name: str, use: Use | None) -> Layout:
    if use is None:
        raise InputError(
            f"{model.name} multiplies nothing with {name}, so the graph does not say how it lies; "
            "give &layout=vd (one row per token) or &layout=dv"
        )
    return use.layout


def _rows(matrix: Initialiser, layout: Layout) -> SlicedArray:
    """Return the matrix with one row per token; columns are turned in memory."""
    if layout == "vd" or len(matrix.shape) != 2:
        return matrix
    size = matrix.end - matrix.begin
    check_memory(2 * size, f"{matrix.name} of {' x '.join(map(str, matrix.shape))}, transposed")
    out: NDArray[Any] = matrix[:].T.copy()
    out.flags.writeable = False
    return out


def _vector(model: Model, name: str) -> NDArray[Any]:
    """Return a vector, which some programs store with further axes of length 1."""
    found = model.tensor(name)
    if max(found.shape, default=1) != prod(found.shape):
        raise InputError(f"{name} of {model.name} has shape {found.shape}, and is not a vector")
    return found.filed()[:].reshape(-1) if found.shape else found.filed().mapped().reshape(-1)


def _without_name(model: Model) -> str:
    """Say which matrices the unembedding may be, or which operators hide it."""
    from geom_plugins.checkpoints.onnx_graph import likely_heads, quantised_by

    found = likely_heads(model)[:_SHOWN]
    line = f"model onnx: name the unembedding of {model.name}, &unembed=NAME"
    if found:
        shown = (f"{one.name} ({' x '.join(map(str, one.shape))})" for one in found)
        line += f"; the longest matrices in products are {', '.join(shown)}"
    hidden = quantised_by(model)
    if hidden:
        line += f"; others are quantised, by {', '.join(hidden)}, which geom does not read"
    return line


def _notes(options: OnnxOptions, use: Use | None, bias: str | None) -> Iterator[str]:
    if use is None:
        return
    if options.norm is None:
        names = " and ".join(name for name in (use.gamma, use.beta) if name is not None)
        yield f"the graph puts {use.norm} with {names} before {options.unembed}"
    if bias is not None and options.bias is None:
        yield f"the graph adds {bias} after {options.unembed}"
    if use.after:
        yield (
            f"after the product the graph goes on with {', '.join(use.after)}, which geom does not "
            "read: an argmax that they change would go unnoticed"
        )


@hookimpl
def geom_sources() -> Iterator[ModelSource[OnnxOptions]]:
    yield ModelSource(
        "onnx",
        "an ONNX model: onnx:FILE?unembed=NAME",
        load,
        OnnxOptions,
        reads="file",
        suffixes=(".onnx",),
    )
