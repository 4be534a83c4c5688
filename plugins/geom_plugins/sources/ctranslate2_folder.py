"""``ct2:DIR_OR_HUB_ID``: the readout of a model converted for CTranslate2."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from geom import InputError, ModelSource, Readout, hookimpl
from geom_plugins.checkpoints.scales import PLUS_ONE, YesNo, scale_of

if TYPE_CHECKING:
    from geom_plugins.checkpoints.ctranslate2_format import Model
    from geom_plugins.checkpoints.folders import Folder

Norm = Literal["layernorm", "rmsnorm", "none"]

_DECODERS = (
    "TransformerSpec",
    "TransformerBase",
    "TransformerBig",
    "TransformerDecoderSpec",
    "WhisperSpec",
)
"""The specifications with CTranslate2's usual decoder: translators, language models, Whisper."""

_SOUND = "an encoder of sound, without a decoder"
_HEADLESS = {
    "TransformerEncoderSpec": "an encoder, stored without a head over the vocabulary",
    "Wav2Vec2Spec": _SOUND,
    "Wav2Vec2BertSpec": _SOUND,
    "WavLMSpec": _SOUND,
}

_DECODER = "decoder"
_LAST_LAYER = re.compile(rf"{_DECODER}/layer_(\d+)/.*")

_BY_HAND = "give ?unembed=NAME&norm=layernorm|rmsnorm|none and, for the norm, &gamma=NAME&beta=NAME"


@dataclass(frozen=True)
class CTranslate2Options:
    """The parts that the specification does not give."""

    revision: Annotated[str | None, Meta(description="branch, tag or commit of a Hub id")] = None
    unembed: Annotated[str | None, Meta(description="name of the unembedding, (V, d)")] = None
    bias: Annotated[str | None, Meta(description="name of its bias, (V,)")] = None
    gamma: Annotated[str | None, Meta(description="name of the final norm's scale, (d,)")] = None
    beta: Annotated[str | None, Meta(description="name of the final norm's shift, (d,)")] = None
    norm: Annotated[Norm | None, Meta(description="the final norm")] = None
    gamma_plus_one: Annotated[YesNo | None, Meta(description=f"{PLUS_ONE}; as the model says")] = (
        None
    )


@dataclass(frozen=True)
class _Parts:
    """The names of the readout's variables, None if it has none."""

    unembed: str
    bias: str | None
    gamma: str | None
    beta: str | None
    norm: Norm
    projection: str | None = None
    notes: tuple[str, ...] = ()


def load(location: str, options: CTranslate2Options) -> Readout:
    """Load the readout of a converted model: a directory or a Hub id with ``model.bin``.

    Matrices in int8 and int16 are dequantised to float32 as CTranslate2 does it. Raises InputError
    if there is no such model, if it is damaged, or if its readout is not certain.
    """
    from geom_plugins.checkpoints.ctranslate2_format import read_model
    from geom_plugins.checkpoints.ctranslate2_tokens import read_tokens
    from geom_plugins.checkpoints.locations import open_folder

    if not location:
        raise InputError("model ct2: names no model; write ct2:DIRECTORY or ct2:OWNER/NAME")
    folder = open_folder(location, options.revision)
    if not folder.has("model.bin"):
        raise InputError(
            f"{folder.name} has no model.bin; give the folder that a converter of CTranslate2 wrote"
        )
    model = replace(read_model(folder.open("model.bin")), name=folder.name)
    config = _config(folder)
    parts = _given(options) or _found(model, options)
    W = model.matrix(parts.unembed)
    b, gamma, beta = (
        None if name is None else model.variable(name)[:]
        for name in (parts.bias, parts.gamma, parts.beta)
    )
    plus_one = options.gamma_plus_one == "yes" or (
        options.gamma_plus_one is None and _adds_one(model, parts.gamma, beta)
    )
    tokens = read_tokens(folder, config, W.shape[0])
    return Readout.fold(
        W,
        b,
        norm=None if parts.norm == "none" else parts.norm,
        gamma=scale_of(gamma, plus_one),
        beta=beta,
        projection=None if parts.projection is None else model.matrix(parts.projection)[:],
        tokens=tokens and tokens.texts,
        kinds=tokens and tokens.kinds,
        notes=(
            *_quantised(model, parts),
            *parts.notes,
            *_remarks(folder, config),
            *(tokens.notes if tokens else ()),
        ),
    )


def _config(folder: Folder) -> Mapping[str, Any]:
    """Return ``config.json``, which the older versions of the format do not have."""
    from geom_plugins.architectures.configuration import read_config

    return read_config(folder) if folder.has("config.json") else {}


# Which variables


def _given(options: CTranslate2Options) -> _Parts | None:
    """Return exactly the parts that the user names, or None if they are not enough."""
    if options.unembed is None or options.norm is None:
        return None
    return _Parts(options.unembed, options.bias, options.gamma, options.beta, options.norm)


def _found(model: Model, options: CTranslate2Options) -> _Parts:
    """Find the parts of CTranslate2's own decoder, as ``src/layers/transformer.cc`` reads them."""
    _refuse_others(model)
    unembed = options.unembed or f"{_DECODER}/projection/weight"
    if unembed not in model.variables:
        raise InputError(f"{model.name} has no {unembed}; {_BY_HAND}")
    gamma = options.gamma or _final_scale(model)
    beta = options.beta or (gamma and _there(model, gamma.removesuffix("gamma") + "beta"))
    norm = options.norm or ("none" if gamma is None else "rmsnorm" if beta is None else "layernorm")
    bias = options.bias or _there(model, unembed.removesuffix("weight") + "bias")
    projection = _there(model, f"{_DECODER}/project_out/weight")
    if f"{_DECODER}/project_out/bias" in model.variables:
        raise InputError(
            f"{model.name} adds {_DECODER}/project_out/bias between norm and projection, which "
            f"geom does not read; {_BY_HAND}"
        )
    notes = tuple(_scaling(model, bias))
    if gamma is None:
        notes += ("the model has no final norm",)
    if projection is not None:
        notes += (f"{projection} is folded into W, rounded to float64",)
    return _Parts(unembed, bias, gamma, beta, norm, projection, notes)


def _refuse_others(model: Model) -> None:
    """Raise InputError for a model whose output layer is not that of the usual decoder."""
    kind = model.specification
    if kind in _HEADLESS:
        raise InputError(
            f"{model.name} is a {kind}, {_HEADLESS[kind]}; to examine one of its matrices anyway, "
            f"{_BY_HAND}"
        )
    if kind not in _DECODERS:
        raise InputError(
            f"{model.name} is a {kind}, which is not a specification geom knows "
            f"({', '.join(_DECODERS)}); {_BY_HAND}"
        )
    if kind.startswith("Transformer") and kind != _DECODERS[3] and model.revision == 1:
        raise InputError(
            f"{model.name} is of the first revision of {kind}, whose variables have other names; "
            "convert the model again"
        )


def _final_scale(model: Model) -> str | None:
    """Return the scale of the last norm before the output, None without one.

    It is the decoder's own norm or, where layers end in their norms, that of the last layer.
    """
    own = _there(model, f"{_DECODER}/layer_norm/gamma")
    flags = [
        model.variables[name].number()
        for name in (f"{_DECODER}/pre_norm", "pre_norm")  # older revisions have one for all
        if name in model.variables
    ]
    if own is not None or not flags or flags[0]:
        return own
    layers = [int(found[1]) for name in model.variables if (found := _LAST_LAYER.fullmatch(name))]
    name = f"{_DECODER}/layer_{max(layers, default=0)}/ffn/layer_norm/gamma"
    if name not in model.variables:
        raise InputError(f"{model.name} has layers that end in their norms, but no {name}")
    return name


def _there(model: Model, name: str) -> str | None:
    return name if name in model.variables else None


def _scaling(model: Model, bias: str | None) -> Iterable[str]:
    """Describe what the model does between the norm and its logits."""
    name = f"{_DECODER}/scale_outputs"
    if name in model.variables:
        scale = model.variables[name].number()
        if not 0 < scale < np.inf or bias is not None:
            why = "beside a bias" if bias is not None else "by a number that is not positive"
            raise InputError(
                f"{model.name}: {name} scales what the projection takes by {scale:g}, {why}, which "
                "geom does not read; give the checkpoint that it was converted from"
            )
        if scale != 1:
            yield f"the model scales its logits (scale_outputs {scale:g}); no argmax changes"
    cap = f"{_DECODER}/final_logit_softcapping"
    if cap in model.variables:
        value = model.variables[cap].number()
        if not 0 < value < np.inf:
            raise InputError(f"{model.name}: {cap} is {value:g}, which is not a cap of logits")
        yield f"the model caps its logits softly at {value:g}; no argmax changes"


def _adds_one(model: Model, gamma: str | None, beta: NDArray[Any] | None) -> bool:
    """Return whether the norm scales by 1 + gamma, which CTranslate2's norms without shift may."""
    if gamma is None:
        return False
    name = gamma.removesuffix("gamma") + "layer_norm_use_residual"
    return beta is None and name in model.variables and model.variables[name].number() != 0


# What a reader should know


def _quantised(model: Model, parts: _Parts) -> Iterator[str]:
    for name in (parts.unembed, parts.projection):
        if name is not None and model.variable(name).is_quantised:
            kind = np.dtype(model.variable(name).dtype).name
            yield f"{name} is {kind}, dequantised to float32 as CTranslate2 defines"


def _remarks(folder: Folder, config: Mapping[str, Any]) -> Iterator[str]:
    """Describe what keeps a program from emitting tokens that the readout can win."""
    suppressed = config.get("suppress_ids")
    if isinstance(suppressed, list) and suppressed:
        yield (
            f"config.json suppresses {len(suppressed)} tokens while decoding, whatever their "
            "logits (suppress_ids)"
        )
    if folder.has("vmap.txt"):
        yield "vmap.txt leaves only some tokens to each input; the run asks about all of them"


_OTHERS = ("*.safetensors", "pytorch_model*.bin", "*.gguf", "*.pth")
"""Files of weights beside which a ``model.bin`` does not make a folder CTranslate2's."""


def claims(folder: Path) -> bool:
    """Return whether a folder's only weights are a ``model.bin`` of CTranslate2's format."""
    from geom_plugins.checkpoints.ctranslate2_format import is_model

    model = folder / "model.bin"
    if not model.is_file() or any(any(folder.glob(pattern)) for pattern in _OTHERS):
        return False
    try:
        with model.open("rb") as file:
            return is_model(file.read(4))
    except OSError:
        return False


@hookimpl
def geom_sources() -> Iterator[ModelSource[CTranslate2Options]]:
    yield ModelSource(
        "ct2",
        "a model converted for CTranslate2: a directory or a Hub id",
        load,
        CTranslate2Options,
        reads="checkpoint",
        claims=claims,
    )
