"""The names of heads: a head is a module, and whatever lies under its name belongs to it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

PREFIXES = (
    "",
    "model.",
    "language_model.",
    "model.language_model.",
    "language_model.model.",
    "text_model.",
    "model.text_model.",
    "thinker.",
    "thinker.model.",
    "thinker.model.language_model.",
    "llm.",
    "llm.model.",
    "model.llm.",
    "decoder.",
)
"""The prefixes of tensor names in a language model that is part of a larger model."""

PLAIN = (
    "lm_head",
    "output",
    "head",
    "embed_out",
    "output_layer",
    "output_projection",
    "proj_out",
    "ff_out",
)
"""The usual names of a head that is one linear map."""

_HEAD = re.compile(
    rf"(?:[^.]+\.)*?(?:{'|'.join(PLAIN)}|lm_?heads?\w*|unembed\w*|final_linear|logits?_proj\w*|"
    r"vocab_proj\w*)(?=\.|$)"
)
"""A module whose name says that it is a head, with what comes before it."""

_ELSEWHERE = re.compile(
    r"\d+|layers?|h|blocks?|\w*encoder\w*|embeddings?|vision\w*|visual\w*|audio\w*|speech\w*|"
    r"image\w*|video\w*|mm_\w+|\w*tower\w*|\w*projector\w*|connector|aligner|merger|\w*resampler|"
    r"perceiver\w*|qformer|mtp\w*|talker|token2wav|code2wav|depth_decoder|codec\w*|gen_\w+|generation_\w+|vq\w*"
)
"""The parts of a model that are no end of a language model: layers, towers, other speakers."""


def head_of(name: str) -> str | None:
    """Return the head's module that a tensor lies under, by the tensor's name, or None."""
    found = _HEAD.match(name)
    return None if found is None or is_elsewhere(found[0]) else found[0]


def is_elsewhere(module: str) -> bool:
    """Return whether a module lies in a part of a model that is no end of a language model."""
    return any(_ELSEWHERE.fullmatch(part) for part in module.split(".")[:-1])


def heads_of(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the modules whose names say that they are heads, with the tensors under each."""
    found: dict[str, list[str]] = {}
    for name in names:
        head = head_of(name)
        if head is not None:
            found.setdefault(head, []).append(name)
    return found


def under(modules: Iterable[str], names: Collection[str]) -> dict[str, list[str]]:
    """Return those of the modules that have tensors, in their order, with the tensors of each."""
    modules = list(modules)
    near = tuple(f"{module}." for module in modules)
    candidates = [name for name in names if name.startswith(near)]  # of maybe 100,000 names
    found = {m: [name for name in candidates if name.startswith(f"{m}.")] for m in modules}
    return {module: tensors for module, tensors in found.items() if tensors}
