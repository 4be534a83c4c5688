"""The parts of a readout whose architecture is not in the table, by the names most others use."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator
from typing import Literal

from geom import InputError
from geom_plugins.architectures.configuration import LanguageModel
from geom_plugins.architectures.heads import PLAIN, heads_of, is_elsewhere
from geom_plugins.architectures.named_parts import BY_HAND, ByHand, Parts
from geom_plugins.architectures.record import Config

_EMBEDDINGS = re.compile(
    r"([a-z_]+\.)*(embed_tokens|wte|word_embeddings|embed_in|embeddings|tok_embeddings)\..+"
)
_FINAL_NORM = re.compile(
    r"([a-z_]+\.)*(norm|ln_f|norm_f|final_?norm|final_layer_?norm|layer_norm|ln_out)\.weight"
)
_LOGIT_SCALES = (
    *("logit_scale", "logits_scaling", "lm_head_multiplier"),
    *("output_multiplier", "logits_mup_width_multiplier"),
)
_SOFT_CAPS = ("final_logit_softcapping", "logits_soft_cap")
"""Settings by which several architectures change their logits."""

Norm = Literal["layernorm", "rmsnorm", "none"]


def by_usual_names(
    model: LanguageModel, names: Collection[str], where: str, by_hand: ByHand
) -> Parts:
    """Find the parts by the names most architectures share, and say what is guessed.

    Raises InputError if the names leave a doubt.
    """
    what = f"{model.kind or 'without model_type'}, which is not an architecture geom knows"
    guesses = []
    unembed, how = by_hand.unembed, ""
    if unembed is None:
        unembed = _head(names, where, what)
    if unembed is None:
        unembed, how = _embedding(model.tied, names, where, what), " (tied)"
        if model.tied is None:
            guesses.append("the head is the embedding, as there is no other and no flag says so")
    gamma = by_hand.gamma or _final_norm(names, where, what)
    beta = by_hand.beta or _sibling(gamma, "bias", names)
    norm = by_hand.norm
    if norm is None:
        norm, sign = _kind_of_norm(model.config, gamma, beta, where, what)
        guesses.append(f"the final norm is {norm}, by {sign}")
    plus_one = by_hand.gamma_plus_one
    if plus_one is None:
        guesses.append("the norm multiplies by its weight, not by 1 + weight")
    bias = by_hand.bias or _sibling(unembed, "bias", names)
    guesses.append(
        f"nothing lies between {gamma.rpartition('.')[0]} and {unembed.rpartition('.')[0]}, or "
        "after it"
    )
    return Parts(
        unembed,
        bias,
        gamma,
        beta,
        None if norm == "none" else norm,
        bool(plus_one),
        notes=(
            f"{what}: read by the usual names, {unembed}{how} after {gamma} as {norm}; "
            f"guessed: {'; '.join(guesses)}",
            *_changed_logits(model.config, where, what),
        ),
        guesses=tuple(guesses),
    )


def _head(names: Collection[str], where: str, what: str) -> str | None:
    """Return the plain weight of the only head, None if no tensor lies under a head's name."""
    heads = heads_of(names)
    if len(heads) > 1:
        raise InputError(f"{where} is {what}, and has several heads, {', '.join(heads)}; {BY_HAND}")
    for module, tensors in heads.items():
        usual = module.rpartition(".")[2] in PLAIN
        if not usual or all(name.endswith(".bias") for name in tensors):
            raise InputError(
                f"{where} is {what}, and geom does not know what {tensors[0]} does; {BY_HAND}"
            )
        return f"{module}.weight"
    return None


def _embedding(tied: bool | None, names: Collection[str], where: str, what: str) -> str:
    """Return the weight of the only embedding, in place of a head."""
    found = sorted({n.rpartition(".")[0] for n in names if _EMBEDDINGS.fullmatch(n)})
    found = [module for module in found if not is_elsewhere(module)]
    if tied is False or len(found) != 1:
        raise InputError(f"{where} is {what}, and no unembedding is recognised; {BY_HAND}")
    return f"{found[0]}.weight"


def _final_norm(names: Collection[str], where: str, what: str) -> str:
    norms = [n for n in names if _FINAL_NORM.fullmatch(n) and not is_elsewhere(n)]
    if len(norms) != 1:
        found = ", ".join(norms) if norms else "none"
        raise InputError(
            f"{where} is {what}, and the final norm is not certain (found: {found}); {BY_HAND}"
        )
    return norms[0]


def _kind_of_norm(
    config: Config, gamma: str, beta: str | None, where: str, what: str
) -> tuple[Literal["layernorm", "rmsnorm"], str]:
    """Guess the kind of norm, and say by what.

    A shift is a LayerNorm's. Without one, a setting named after RMSNorm is taken at its word. The
    other names tell nothing: RMSNorm is often configured by a ``layer_norm_epsilon``.
    """
    rms = [key for key in config if re.search(r"rms_?norm\w*eps|eps\w*rms", key) and config[key]]
    if beta is not None and not rms:
        return "layernorm", f"its shift {beta}"
    if rms and beta is None:
        return "rmsnorm", f"the setting {rms[0]}"
    raise InputError(
        f"{where} is {what}, and config.json does not say which kind of norm {gamma} is (RMSNorm "
        "is often configured as layer_norm_epsilon); give ?norm=layernorm or ?norm=rmsnorm"
    )


def _changed_logits(config: Config, where: str, what: str) -> Iterator[str]:
    """Say what the settings seem to do to the logits; raise InputError if it may move an argmax."""
    for key in (*_LOGIT_SCALES, *_SOFT_CAPS):
        value = config.get(key)
        if value is None or value == 1:
            continue
        if not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise InputError(
                f"{where} is {what}, and its {key} is {value!r}: geom reads models whose logits "
                f"are scaled by a positive number; {BY_HAND}"
            )
        does = "scales its logits" if key in _LOGIT_SCALES else f"caps its logits softly at {value}"
        yield f"guessed: the model {does}, as {key} is {value:g}; no argmax changes"


def _sibling(name: str, last: str, names: Collection[str]) -> str | None:
    """Return the tensor of the same module, under another last name, if it is there."""
    other = f"{name.rpartition('.')[0]}.{last}"
    return other if other in names else None
