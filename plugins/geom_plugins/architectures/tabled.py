"""The parts of a readout whose architecture is in the table."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from typing import Any

from geom import InputError
from geom_plugins.architectures.configuration import LanguageModel
from geom_plugins.architectures.heads import PREFIXES, head_of, under
from geom_plugins.architectures.multimodal import WRAPPERS
from geom_plugins.architectures.named_parts import BY_HAND, ByHand, Parts, lacks
from geom_plugins.architectures.record import Architecture, Config


def tabled(
    entry: Architecture,
    model: LanguageModel,
    names: Collection[str],
    where: str,
    by_hand: ByHand,
    mlx: bool,
) -> Parts:
    """Return the parts of an architecture of the table.

    ``mlx`` says whether MLX's tools wrote the checkpoint. Raises InputError if a part is missing,
    or if a tensor under a head's name is none of the parts.
    """
    try:
        return _tabled(entry, model, names, where, by_hand, mlx)
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise InputError(
            f"config.json of {where} lacks a setting that the readout of {entry.family} depends "
            f"on, or has a strange one: {error}; {BY_HAND}"
        ) from error


def _tabled(
    entry: Architecture,
    model: LanguageModel,
    names: Collection[str],
    where: str,
    by_hand: ByHand,
    mlx: bool,
) -> Parts:
    config = model.config
    larger = WRAPPERS.get(model.larger)
    if larger is not None and not larger.scales:
        entry = replace(entry, logit_scale=None)
    reason = None if entry.refused is None else entry.refused(config)
    if reason is not None:
        raise InputError(f"{where} is {entry.family}, and {reason}; {BY_HAND}")
    gamma, beta = _norm(entry, config, names, where, by_hand)
    head = _head(entry, names, where) if by_hand.unembed is None else None
    unembed = by_hand.unembed or head or _embedding(entry, model.tied, names, where)
    bias = by_hand.bias or _one(
        (prefix + name for prefix in PREFIXES for name in entry.head_bias), names
    )
    if by_hand.unembed is None:
        _refuse_strays(entry, unembed, head, bias, names, where)
    projection = None
    if entry.projection is not None:
        projection = _one((f"{stem}{entry.projection}.weight" for stem in _stems(entry)), names)
    plus_one, added = _plus_one(entry, where, by_hand, mlx)
    guesses = tuple(_guesses(entry, model, unembed, head or by_hand.unembed))
    guessed = (f"guessed: {'; '.join(guesses)}",) if guesses else ()
    unit_rows = entry.unit_rows is not None and entry.unit_rows(config)
    return Parts(
        unembed,
        bias,
        gamma,
        beta,
        None if by_hand.norm == "none" else by_hand.norm or entry.norm,
        plus_one,
        projection,
        (*guessed, *added, *_notes(entry, config, projection, unit_rows)),
        unit_rows,
        guesses,
    )


def _stems(entry: Architecture) -> list[str]:
    """Return the prefixes of the language model's own tensors, each once."""
    return list(dict.fromkeys(prefix + stem for prefix in PREFIXES for stem in entry.stems))


def _norm(
    entry: Architecture, config: Config, names: Collection[str], where: str, by_hand: ByHand
) -> tuple[str | None, str | None]:
    """Return the names of the norm's scale and shift."""
    module, family = entry.final_norm_of(config), f"the architecture is {entry.family}"
    scaled = entry.scale and config.get("layer_norm_elementwise_affine") is not False
    gamma = by_hand.gamma or _either_form(entry, f"{module}.weight", names, where)
    beta = by_hand.beta or _either_form(entry, f"{module}.bias", names, where)
    if gamma is None and scaled:
        raise lacks(where, f"the final norm's {module}.weight", family)
    if beta is None and entry.shift and scaled:
        raise lacks(where, f"the final norm's {module}.bias", family)
    for found, given, has in ((gamma, by_hand.gamma, scaled), (beta, by_hand.beta, entry.shift)):
        if found is not None and given is None and has is False:
            raise InputError(
                f"{where} has {found}, and the final norm of {entry.family} uses none; {BY_HAND}"
            )
    return gamma, beta


def _either_form(entry: Architecture, name: str, names: Collection[str], where: str) -> str | None:
    """Return a norm's tensor under its present name, or its name in TensorFlow's checkpoints."""
    old = name.replace(".weight", ".gamma").replace(".bias", ".beta")
    last = name.rpartition(".")[2]
    forms = [name, old, *(f"{module}.{last}" for module in entry.stored_norms)]
    found = [stem + form for form in forms for stem in _stems(entry) if stem + form in names]
    if len(found) > 1:
        raise InputError(f"{where} has several final norms, {' and '.join(found)}; {BY_HAND}")
    return found[0] if found else None


def _head(entry: Architecture, names: Collection[str], where: str) -> str | None:
    """Return the plain weight of the head's module, None if the file has no such module."""
    found = under((prefix + head for prefix in PREFIXES for head in entry.heads), names)
    modules = [
        module
        for module, tensors in found.items()
        if not all(_is_beside(entry, name) for name in tensors)
    ]
    if len(modules) > 1:
        raise InputError(f"{where} has several heads, {' and '.join(modules)}; {BY_HAND}")
    return f"{modules[0]}.weight" if modules else None


def _is_beside(entry: Architecture, name: str) -> bool:
    """Return whether a tensor under a head's name is a bias or comes before the final norm."""
    modules = (*entry.beside, *entry.stored_norms)
    parts = [*entry.head_bias, *(f"{module}." for module in modules)]
    if isinstance(entry.final_norm, str):
        parts.append(f"{entry.final_norm}.")
    return name.startswith(tuple(prefix + part for prefix in PREFIXES for part in parts))


def _embedding(entry: Architecture, tied: bool | None, names: Collection[str], where: str) -> str:
    """Return the weight of the embedding that the head is tied to."""
    modules = [stem + embed for embed in entry.embed for stem in _stems(entry)]
    found = next(iter(under(modules, names)), None)
    if found is None:
        wanted = " or ".join(f"{name}.weight" for name in (*entry.heads, *entry.embed))
        raise lacks(where, wanted, f"the architecture is {entry.family}")
    if tied is False:
        raise lacks(
            where,
            f"{entry.heads[0]}.weight",
            f"head and embedding of {entry.family} are two matrices unless config.json says "
            "tie_word_embeddings true",
        )
    return f"{found}.weight"


def _refuse_strays(
    entry: Architecture,
    unembed: str,
    head: str | None,
    bias: str | None,
    names: Collection[str],
    where: str,
) -> None:
    """Raise InputError for a tensor that seems to belong to a head and is none of the parts."""
    module = unembed.removesuffix(".weight")
    own = tuple(f"{prefix}{name}." for prefix in PREFIXES for name in entry.heads)
    for name in names:
        if head_of(name) is None and not name.startswith(own):
            continue
        if name == bias or _is_beside(entry, name):
            continue
        if name.startswith(f"{module}.") and name != f"{module}.bias":
            continue  # a form of the unembedding, which is read or refused as that
        raise InputError(
            f"{where} has {name}, and geom knows no such part of the head of {entry.family}, "
            f"which it would read from {unembed}; {BY_HAND}"
        )


def _guesses(
    entry: Architecture, model: LanguageModel, unembed: str, head: str | None
) -> Iterator[str]:
    """Say what nothing in the checkpoint tells."""
    if model.larger and model.larger not in WRAPPERS:
        yield (
            f"{model.larger}, which is not an architecture geom knows, ends as the {entry.family} "
            "in it does"
        )
    if head is None and model.tied is None:
        yield f"the head is {unembed}, as there is no other and no flag says so"


def _plus_one(
    entry: Architecture, where: str, by_hand: ByHand, mlx: bool
) -> tuple[bool, tuple[str, ...]]:
    """Return whether 1 is to be added to the norm's scale, and a note if it is not as usual."""
    if by_hand.gamma_plus_one is not None:
        return by_hand.gamma_plus_one, ()
    if not entry.plus_one or not mlx or entry.mlx == "keeps":
        return entry.plus_one, ()
    if entry.mlx == "adds":
        return False, ("MLX's converter has added the 1 of 1 + weight to the final norm's scale",)
    raise InputError(
        f"{where} was written by MLX, and geom does not know whether MLX adds the 1 of "
        f"{entry.family}'s norm, which multiplies by 1 + weight, to the stored weight; give "
        "?gamma_plus_one=no if it does, ?gamma_plus_one=yes if it does not"
    )


def _notes(
    entry: Architecture, config: Config, projection: str | None, unit_rows: bool
) -> Iterator[str]:
    """Describe what the model does beside W x + b."""
    scale = _setting(entry.logit_scale, config)
    if scale is not None:
        known = isinstance(entry.logit_scale, str)
        name = entry.logit_scale if known else "as config.json implies"
        if not _is_positive(scale):
            what = f"{name} of config.json is" if known else "config.json implies a scale of"
            raise InputError(
                f"{what} {scale!r}: geom reads models whose logits are scaled by a positive number"
            )
        if scale != 1:
            factor = 1 / scale if entry.divides else scale
            why = f"{name} {scale:g}" if known else name
            yield f"the model scales its logits by {factor:.9g} ({why}); no argmax changes"
    cap = _setting(entry.softcap, config)
    if cap is not None and not _is_positive(cap):
        raise InputError(f"config.json caps logits softly at {cap!r}: geom reads positive caps")
    if cap is not None:
        yield f"the model caps its logits softly at {cap:g}; no argmax changes"
    if projection is not None:
        yield f"{projection} is folded into W, rounded to float64"
    if unit_rows:
        yield "the head divides each row of W by its length; the quotients are rounded to float64"


def _is_positive(number: Any) -> bool:
    return isinstance(number, (int, float)) and 0 < number < math.inf


def _setting(key: str | Callable[[Config], float | None] | None, config: Config) -> Any:
    """Return a setting by its key, or as a function of the configuration; None without one."""
    if key is None:
        return None
    return config.get(key) if isinstance(key, str) else key(config)


def _one(candidates: Iterable[str], names: Collection[str]) -> str | None:
    return next((name for name in candidates if name in names), None)
