"""``safetensors:FILE_OR_URL``: a readout from named tensors of one safetensors file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from geom import InputError, ModelSource, Readout, hookimpl, parse_address
from geom_plugins.checkpoints.scales import PLUS_ONE, YesNo, scale_of

if TYPE_CHECKING:
    from geom_plugins.checkpoints.folders import LocalFolder
    from geom_plugins.checkpoints.safetensors_format import Tensor


@dataclass(frozen=True)
class SafetensorsOptions:
    """The names of the tensors. If none is given, a ``config.json`` beside the file tells them."""

    unembed: Annotated[
        str | None, Meta(description="name of the unembedding, (V, d); lm_head.weight")
    ] = None
    bias: Annotated[str | None, Meta(description="name of its bias, (V,)")] = None
    gamma: Annotated[str | None, Meta(description="name of the final norm's scale, (d,)")] = None
    beta: Annotated[str | None, Meta(description="name of the final norm's shift, (d,)")] = None
    norm: Annotated[
        Literal["layernorm", "rmsnorm", "none"] | None, Meta(description="the final norm; none")
    ] = None
    gamma_plus_one: Annotated[YesNo | None, Meta(description=PLUS_ONE)] = None
    download: Annotated[
        str | None, Meta(description="ignored; the Hub's pages put ?download=true after addresses")
    ] = None


def load(location: str, options: SafetensorsOptions) -> Readout:
    """Load the readout of a safetensors file, local or on a server; only named tensors are read.

    A file on this machine with a ``config.json`` beside it is read by that, as the checkpoint's
    folder is, unless an option names a tensor or the norm.

    Raises InputError if the file is not available or is damaged, if a tensor is not in it, or if
    the file and the ``config.json`` do not belong together.
    """
    from geom_plugins.checkpoints.locations import open_file
    from geom_plugins.checkpoints.safetensors_format import find, read_header
    from geom_plugins.checkpoints.weights import Weights
    from geom_plugins.quantised.matrix import notes_of, open_matrix

    if not location:
        raise InputError("model safetensors: names no file; write safetensors:FILE.safetensors")
    file = open_file(location)
    tensors = read_header(file)
    folder = _with_config(location)
    if folder is not None and _is_plain(options):
        return _by_config(location, folder)
    weights = Weights(file.name, dict.fromkeys(tensors, file.name), lambda _: tensors)
    unembed = options.unembed or "lm_head.weight"
    W = open_matrix(weights, unembed)
    names = (options.bias, options.gamma, options.beta)
    b, gamma, beta = chosen = [
        None if name is None else find(tensors, name, file.name) for name in names
    ]
    # in file order, so that a server that ignores ranges sends the file no more than once
    for tensor in sorted(filter(None, (tensors.get(unembed), *chosen)), key=_begin):
        file.span(tensor.begin, tensor.end)
    return Readout.fold(
        W,
        b,
        norm=None if options.norm == "none" else options.norm,
        gamma=scale_of(gamma, options.gamma_plus_one == "yes"),
        beta=beta,
        notes=(*notes_of(W), *(() if folder is None else (_BY_HAND,))),
    )


_BY_HAND = "config.json beside the file is not read: its options say what the readout is"


def _with_config(location: str) -> LocalFolder | None:
    """Return the folder of a file on this machine, if it has a ``config.json``."""
    from geom_plugins.checkpoints.folders import LocalFolder

    path = parse_address(location).path
    if path is None or not (path.parent / "config.json").is_file():
        return None
    return LocalFolder(path.parent)


def _is_plain(options: SafetensorsOptions) -> bool:
    """Return whether no option says what is in the file."""
    return options == SafetensorsOptions(download=options.download)


def _by_config(location: str, folder: LocalFolder) -> Readout:
    """Load the readout by the ``config.json`` beside the file."""
    from geom_plugins.sources.hf import load_beside

    try:
        readout = load_beside(folder, Path(location).name)
    except InputError as error:
        raise InputError(
            f"{location} lies beside a config.json, and cannot be read by it: {error}; or name its "
            "tensors, as in ?unembed=lm_head.weight&norm=none"
        ) from error
    note = "read by the config.json beside the file, as its folder is"
    return replace(readout, notes=(note, *readout.notes))


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
