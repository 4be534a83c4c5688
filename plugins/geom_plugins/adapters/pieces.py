"""The tensors of an adapter by what they do to which module, by their names alone.

peft names them by the module in the model that it adapts, under ``base_model.model.``, and by the
attribute in the layer that it puts around the module: ``lora_A.weight`` in an adapter's file,
``lora_A.default.weight`` in a state dict of the whole model, where ``default`` is the adapter's
name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Role = Literal["A", "B", "A_embedding", "B_embedding", "magnitude", "tokens"]
"""The parts of a LoRA of a linear map, of an embedding, DoRA's lengths, and rows of tokens."""

Kind = Literal["plain", "base", "saved", "role", "ignored", "unknown"]
"""A parameter by its own name, the base's own, a copy that takes its place, or an adapter's."""

_AROUND = re.compile(r"(base_model\.model\.)+")
_ROLES: dict[str, Role] = {
    "lora_A": "A",
    "lora_B": "B",
    "lora_embedding_A": "A_embedding",
    "lora_embedding_B": "B_embedding",
    "lora_magnitude_vector": "magnitude",
    "trainable_tokens_delta": "tokens",
}
_NAME = r"(?:\.(?P<adapter>(?!weight$|bias$)[^.]+))?"
_ROLE = re.compile(
    rf"(?P<module>.+?)\.(?:token_adapter\.)?(?P<role>{'|'.join(_ROLES)}){_NAME}"
    r"(?:\.(?P<leaf>weight|bias))?"
)
_NORM = re.compile(rf"(?P<module>.+?)\.ln_tuning_layers{_NAME}\.(?P<leaf>weight|bias)")
_BASE = re.compile(
    r"(?P<module>.+?)\.(?:token_adapter\.)?(?:base_layer|original_module)\.(?P<leaf>weight|bias)"
)
_ORIGINALS = re.compile(r".+\.trainable_tokens_original(\..+)?")
_PLAIN = re.compile(r"(?P<module>.+)\.(?P<leaf>weight|bias)")
_SAVED = re.compile(r"\.modules_to_save\.(?P<adapter>[^.]+)(?=\.)")
_STEP = re.compile(r"\.original_module(?=\.)")


@dataclass(frozen=True)
class Piece:
    """A tensor of an adapter: ``name`` in its file, and what it is.

    ``leaf`` is ``weight`` or ``bias``. ``role`` is what it does in a layer of an adapter, if
    ``kind`` is ``role``. ``adapter`` is the adapter's name, if the tensor's name has it.
    """

    name: str
    module: str
    leaf: str
    kind: Kind
    role: Role | None = None
    adapter: str | None = None


def parsed(name: str) -> Piece:
    """Return what the tensor of an adapter is, by its name."""
    path = _AROUND.sub("", name, count=1) if name.startswith("base_model.model.") else name
    saved = _SAVED.search(path)
    if saved is not None:  # the copy may be of a module that has modules of its own
        module, _, leaf = (path[: saved.start()] + path[saved.end() :]).rpartition(".")
        return Piece(name, module, leaf, "saved", adapter=saved["adapter"])
    if _ORIGINALS.fullmatch(path):
        return Piece(name, path, "", "ignored")
    role = _ROLE.fullmatch(path)
    if role is not None and ".base_layer." not in f".{role['module']}.":
        leaf = role["leaf"] or "weight"
        return Piece(name, role["module"], leaf, "role", _ROLES[role["role"]], role["adapter"])
    norm = _NORM.fullmatch(path)
    if norm is not None:
        return Piece(name, norm["module"], norm["leaf"], "saved", adapter=norm["adapter"])
    base = _BASE.fullmatch(path)
    if base is not None:
        return Piece(name, base["module"], base["leaf"], "base")
    whole = _STEP.sub("", path)
    plain = _PLAIN.fullmatch(whole)
    if plain is not None:
        kind: Kind = "plain" if whole == path else "base"
        return Piece(name, plain["module"], plain["leaf"], kind)
    return Piece(name, path, "", "unknown")


def is_adapted(names: Iterable[str]) -> bool:
    """Return whether tensors of an adapter are among those of a checkpoint, by their names."""
    return any(
        re.search(r"(^base_model\.model\.|\.base_layer\.|\.lora_[AB]\.|\.modules_to_save\.)", name)
        for name in names
    )


# Which module of the base is meant

_ELSEWHERE = re.compile(
    r"\d+|\w*encoder\w*|vision\w*|visual\w*|audio\w*|speech\w*|image\w*|video\w*|\w*tower\w*|"
    r"\w*projector\w*|connector|\w*resampler|qformer|talker|mtp\w*"
)
"""The steps of a path that lead elsewhere than to the end of a language model."""


def same(one: str, other: str) -> bool:
    """Return whether two paths name the same module, though the prefixes of models may differ.

    As ``model.language_model.norm`` in a model is ``language_model.model.norm`` in its checkpoint.
    """
    left, right = one.split("."), other.split(".")
    while left and right and left[-1] == right[-1]:
        left.pop()
        right.pop()
    shared = len(left) < len(one.split("."))
    return shared and not any(_ELSEWHERE.fullmatch(step) for step in left + right)


def leads_into(path: str, module: str) -> bool:
    """Return whether a path leads to a module or into it."""
    steps = path.split(".")
    return any(same(".".join(steps[: n + 1]), module) for n in range(len(steps)))
