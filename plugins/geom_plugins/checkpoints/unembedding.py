"""Finds the tensors of a checkpoint's readout, by its configuration and their names."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from geom import InputError
from geom_plugins.checkpoints.architectures import ARCHITECTURES, Architecture, Config
from geom_plugins.checkpoints.folders import Folder

_WRAPPERS = ("", "language_model.", "model.language_model.", "language_model.model.", "model.")
"""The prefixes of tensor names in a language model that is part of a larger model."""

_HEADS = ("lm_head.weight", "embed_out.weight", "output.weight", "head.weight")
_EMBEDDINGS = re.compile(
    r"([a-z_]+\.)*(embed_tokens|wte|word_embeddings|embed_in|embeddings|tok_embeddings)\.weight"
)
_FINAL_NORM = re.compile(
    r"([a-z_]+\.)*(norm|ln_f|norm_f|final_?norm|final_layer_?norm|layer_norm|ln_out)\.weight"
)
_INSIDE = re.compile(r"(^|\.)(layers?|h|blocks?|encoder|embeddings|vision\w*|audio\w*)\.")
"""The names of parts that come before the end of the decoder."""

_QUANTISED = ("qweight", "weight_scale", "weight_scale_inv", "scales", "SCB", "weight.absmax")

_BY_HAND = "give ?unembed=NAME and, for the final norm, &norm=layernorm|rmsnorm|none&gamma=&beta="


@dataclass(frozen=True)
class ByHand:
    """The parts that the user names; they override those of the architecture."""

    unembed: str | None = None
    bias: str | None = None
    gamma: str | None = None
    beta: str | None = None
    norm: Literal["layernorm", "rmsnorm", "none"] | None = None


@dataclass(frozen=True)
class Parts:
    """The names of the readout's tensors, None if it has none; ``plus_one`` belongs to gamma."""

    unembed: str
    bias: str | None
    gamma: str | None
    beta: str | None
    norm: Literal["layernorm", "rmsnorm"] | None
    plus_one: bool = False
    projection: str | None = None
    notes: tuple[str, ...] = ()


def read_config(folder: Folder) -> Config:
    """Read ``config.json``. Raises InputError if it is missing or not a JSON object."""
    if not folder.has("config.json"):
        raise InputError(
            f"{folder.name} has no config.json; give a checkpoint as transformers saves it, or one "
            "file with safetensors:FILE?unembed=NAME"
        )
    content = folder.read("config.json")
    try:
        config = json.loads(content)
    except UnicodeDecodeError as error:  # its message shows a byte of the file
        raise InputError(f"config.json of {folder.name} is damaged: it is not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"config.json of {folder.name} is damaged: {error}") from error
    if not isinstance(config, dict):
        raise InputError(f"config.json of {folder.name} is not a JSON object")
    return config


def find_parts(config: Config, names: Collection[str], where: str, by_hand: ByHand) -> Parts:
    """Find the readout's tensors among ``names``, for the checkpoint called ``where``.

    The table of architectures decides; for an architecture that is not in it, the names that most
    architectures share. Raises InputError, saying what to give by hand, if that is not certain.
    """
    kind, inner = described(config)
    known = ARCHITECTURES.get(kind)
    if by_hand.unembed is not None and by_hand.norm is not None:
        parts = _given(by_hand)
    elif known is not None:
        parts = _tabled(known, inner, names, where, by_hand)
    else:
        parts = _standard(kind, config, names, where, by_hand)
    _refuse_quantised(parts.unembed, names, where)
    return parts


def norm_paths(entry: Architecture, config: Config) -> list[str]:
    """Return the paths the final norm may have in the model that transformers builds."""
    module = entry.final_norm_of(config)
    return [wrapper + stem + module for wrapper in _WRAPPERS for stem in entry.stems]


def described(config: Config) -> tuple[str, Config]:
    """Return ``model_type`` and configuration of the language model, maybe inside a larger one."""
    kind = str(config.get("model_type", ""))
    text = config.get("text_config")
    if kind not in ARCHITECTURES and isinstance(text, dict) and "model_type" in text:
        return str(text["model_type"]), text
    return kind, config


def _tabled(
    entry: Architecture, config: Config, names: Collection[str], where: str, by_hand: ByHand
) -> Parts:
    """Return the parts that the table of architectures gives."""
    stems = [wrapper + stem for wrapper in _WRAPPERS for stem in entry.stems]
    module = entry.final_norm_of(config)
    missing = f"the architecture is {entry.family}"
    gamma = beta = None
    if entry.scale and not _without_affine(config):
        gamma = by_hand.gamma or _legacy(stems, f"{module}.weight", names)
        if gamma is None:
            raise _absent(where, f"the final norm's {module}.weight", missing)
        beta = by_hand.beta or _legacy(stems, f"{module}.bias", names)
        if beta is None and entry.shift:
            raise _absent(where, f"the final norm's {module}.bias", missing)
    head = _first((w + name for w in _WRAPPERS for name in entry.heads), names)
    embed = _first((stem + entry.embed for stem in stems), names)
    unembed = by_hand.unembed or head
    if unembed is None:
        if embed is None:
            raise _absent(where, f"{' or '.join([*entry.heads, entry.embed])}", missing)
        if config.get("tie_word_embeddings") is False:
            raise _absent(where, entry.heads[0], "config.json says that it is not tied")
        unembed = embed
    bias = by_hand.bias or _first((w + name for w in _WRAPPERS for name in entry.head_bias), names)
    projection = entry.projection and _first((stem + entry.projection for stem in stems), names)
    return Parts(
        unembed,
        bias,
        gamma,
        beta,
        None if by_hand.norm == "none" else by_hand.norm or entry.norm,
        entry.plus_one,
        projection,
        tuple(_notes(entry, config, projection)),
    )


def _notes(entry: Architecture, config: Config, projection: str | None) -> Iterable[str]:
    """Describe what the model does between W x + b and its logits."""
    scale = config.get(entry.logit_scale) if entry.logit_scale else None
    if scale is not None:
        if not isinstance(scale, (int, float)) or not scale > 0:
            raise InputError(
                f"{entry.logit_scale} of config.json is {scale!r}: geom reads models whose logits "
                "are scaled by a positive number"
            )
        if scale != 1:
            yield f"the model scales its logits ({entry.logit_scale} {scale:g}); no argmax changes"
    cap = config.get(entry.softcap) if entry.softcap else None
    if cap is not None:
        yield f"the model caps its logits softly at {cap:g}; no argmax changes"
    if projection is not None:
        yield f"{projection} is folded into W, rounded to float64"


def _standard(
    kind: str, config: Config, names: Collection[str], where: str, by_hand: ByHand
) -> Parts:
    """Find the parts by the names most architectures share, for one not in the table."""
    what = f"{kind or 'without model_type'}, which is not an architecture geom knows"
    unembed = by_hand.unembed or _first((w + h for w in _WRAPPERS for h in _HEADS), names)
    tied = ""
    if unembed is None and config.get("tie_word_embeddings") is not False:
        embeddings = [name for name in names if _EMBEDDINGS.fullmatch(name)]
        if len(embeddings) == 1:
            unembed, tied = embeddings[0], " (tied)"
    if unembed is None:
        raise InputError(f"{where} is {what}, and no unembedding is recognised; {_BY_HAND}")
    norms = [n for n in names if _FINAL_NORM.fullmatch(n) and not _INSIDE.search(n)]
    gamma = by_hand.gamma or (norms[0] if len(norms) == 1 else None)
    if gamma is None:
        found = ", ".join(norms) if norms else "none"
        raise InputError(
            f"{where} is {what}, and the final norm is not certain (found: {found}); {_BY_HAND}"
        )
    beta = by_hand.beta or _first([gamma.removesuffix("weight") + "bias"], names)
    norm = by_hand.norm or _kind_of_norm(config, beta)
    if norm is None:
        raise InputError(
            f"{where} is {what}, and config.json does not say which kind of norm {gamma} is; "
            "give ?norm=layernorm or ?norm=rmsnorm"
        )
    bias = by_hand.bias or _first([unembed.removesuffix("weight") + "bias"], names)
    return Parts(
        unembed,
        bias,
        gamma,
        beta,
        None if norm == "none" else norm,
        notes=(
            f"{what}: read by the usual names, {unembed}{tied} after {gamma} as {norm}; a norm "
            "that scales by 1 + weight, or other logits, would go unnoticed",
        ),
    )


def _kind_of_norm(config: Config, beta: str | None) -> Literal["layernorm", "rmsnorm"] | None:
    """Infer the kind of norm from its shift and the names of config.json's settings."""
    keys = [key for key in config if re.search(r"norm\w*_eps|eps\w*", key)]
    if beta is not None:
        return "layernorm"
    if any("rms" in key for key in keys):
        return "rmsnorm"
    return "layernorm" if any("layer_norm" in key for key in keys) else None


def _given(by_hand: ByHand) -> Parts:
    """Return exactly the parts that the user names."""
    assert by_hand.unembed is not None
    norm = None if by_hand.norm == "none" else by_hand.norm
    return Parts(by_hand.unembed, by_hand.bias, by_hand.gamma, by_hand.beta, norm)


def _refuse_quantised(unembed: str, names: Collection[str], where: str) -> None:
    """Raise InputError if the unembedding is stored as integers with scales."""
    stem = unembed.removesuffix("weight")
    found = _first((stem + suffix for suffix in _QUANTISED), names)
    if found is not None:
        raise InputError(
            f"{where}: the unembedding {unembed} is quantised (there is {found}); "
            "give a checkpoint whose unembedding is stored as floats"
        )


def _without_affine(config: Config) -> bool:
    """Return whether the norm has no weight and bias, which OPT's configuration may say."""
    return config.get("layer_norm_elementwise_affine") is False


def _legacy(stems: Iterable[str], name: str, names: Collection[str]) -> str | None:
    """Return a norm's tensor under its present name, or its name in TensorFlow's checkpoints."""
    old = name.replace(".weight", ".gamma").replace(".bias", ".beta")
    stems = list(stems)
    return _first((stem + form for form in (name, old) for stem in stems), names)


def _first(candidates: Iterable[str], names: Collection[str]) -> str | None:
    return next((name for name in candidates if name in names), None)


def _absent(where: str, what: str, why: str) -> InputError:
    return InputError(f"{where} lacks {what} ({why}); {_BY_HAND}")
