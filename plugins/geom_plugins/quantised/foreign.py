"""Forms of quantised heads that are not read, recognised by the names of their tensors."""

from __future__ import annotations

from geom import InputError
from geom_plugins.quantised.head import FLOAT8, INTEGERS, Head
from geom_plugins.quantised.settings import Settings

_MARKS = {
    "trellis": "EXL3",
    "q_weight": "EXL2",
    "W_q": "HQQ or SINQ",
    "codebooks": "AQLM",
    "centroids": "VPTQ",
    "Qidxs": "QuIP#",
    "tables2": "HIGGS",
    "dqweight": "FP-Quant",
    "dense_weights": "SpQR",
    "_weight_qdata": "torchao",
    "weight._data": "optimum-quanto",
    "weight_scales": "EETQ, or another form with weight_scales",
    "scale_inv": "float8 with scale_inv, which programs define differently",
    "B": "GPTQ for Marlin",
    "_packed_params": "torch's own integers",
    "output_activation_scale": "Gemma's integers, whose logits are rounded to a grid",
    "weight_v": "a direction and a length (weight norm)",
    "parametrizations": "a parametrisation of torch",
}
"""Tensors, or modules, that only one form has, and its name."""

_ADAPTERS = ("base_layer", "lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B")


def refuse_marked(head: Head) -> None:
    """Raise InputError, naming the form, for tensors that only one unread form has."""
    for child in sorted(head.children):
        first = child.partition(".")[0]
        if first in _ADAPTERS:
            raise head.refused(
                f"a weight with an adapter beside it ({head.full(child)})",
                "merge the adapter (merge_and_unload), or give the checkpoint without it",
            )
        form = _MARKS.get(child) or _MARKS.get(first)
        if form is not None:
            raise head.refused(f"{form} ({head.full(child)}), which geom does not read")


def refuse_strays(head: Head, form: str, *own: str) -> None:
    """Raise InputError for a tensor of the module that the form does not have."""
    strays = head.strays(*own)
    if strays:
        raise head.refused(
            f"{form} with {head.full(strays[0])}, so it is quantised otherwise, adapted, or not "
            "one matrix"
        )


def refuse_unknown(head: Head, settings: Settings) -> None:
    """Raise InputError unless a head is a plain matrix of floats with nothing else beside it."""
    kind = head.kind("weight")
    if not kind and head.children and settings.method is None:
        others = ", ".join(head.full(child) for child in sorted(head.children)[:8])
        raise InputError(
            f"{head.weights.where} has no tensor {head.full('weight')!r}; it has {others}, and "
            "geom knows no form of a matrix with these; give a checkpoint whose unembedding is "
            "stored as floats"
        )
    by = f" by {settings.method[:40]!r}" if settings.method else ""
    refuse_strays(head, f"{kind or 'numbers'}{by}", "weight")
    if kind in INTEGERS:
        raise head.refused(f"{kind}, integers without scales{by}: they are no weights")
    if kind in FLOAT8 and settings.method is not None and _is_converted(head, settings):
        raise head.refused(f"float8{by}, and its scale is missing")


def _is_converted(head: Head, settings: Settings) -> bool:
    """Return whether config.json does not except the module from its quantisation."""
    entries = settings.entries or {}
    for key in ("modules_to_not_convert", "ignore", "ignored_layers"):
        names = entries.get(key)
        if isinstance(names, list) and head.module in names:
            return False
    return True


def refuse_unsaid(head: Head, form: str) -> InputError:
    """Return the error for a known form of which config.json is needed."""
    return head.refused(
        f"{form}, and nothing says how it was quantised",
        "give its folder with a config.json that has quantization_config, as hf:DIR",
    )
