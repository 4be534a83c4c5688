"""Networks of TransformerLens: a TransformerBridge, or another model with its hook points."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from geom import InputError, Network

if TYPE_CHECKING:
    from geom_plugins.networks.stage import Stage


def is_bridge(model: object) -> bool:
    """Return whether an object has TransformerLens's hook point after the final norm."""
    return hasattr(getattr(model, "ln_final", None), "hook_normalized")


def live_network(model: Any, tokenizer: Any | None) -> Network | None:
    """Return the network of a model of TransformerLens in memory, None for another object."""
    if not is_bridge(model):
        return None
    tokenizer = getattr(model, "tokenizer", None) if tokenizer is None else tokenizer
    if tokenizer is None:
        raise InputError(f"the {type(model).__name__} has no tokenizer: give tokenizer=...")
    return bridge_network(model, tokenizer)


def bridge_network(bridge: Any, tokenizer: Any) -> Network:
    """Return the network of a booted bridge."""
    import torch

    from geom_plugins.networks.texts import encoder, opening

    stage = bridge_stage(bridge)
    return Network(
        name=f"{type(bridge).__name__} in {stage.dtype}",
        layer=f"{stage.norm.path}.hook_normalized",
        window=int(bridge.cfg.n_ctx),
        encode=encoder(tokenizer),
        states=stage.vectors,
        logits=stage.logits,
        start=opening(tokenizer),
        unit=torch.finfo(getattr(torch, stage.dtype)).eps,
        versions=_versions(),
    )


def bridge_stage(bridge: Any) -> Stage:
    """Return a booted bridge, ready to be run to its final norm or from there."""
    from geom_plugins.networks.final_norm import FinalNorm
    from geom_plugins.networks.stage import Stage

    norm = FinalNorm(bridge.ln_final, "ln_final", bool(bridge.ln_final.uses_weight_offset))
    numbers = next(iter(bridge.parameters()))
    return Stage(
        lambda ids: bridge(ids, return_type="logits"),
        norm,
        numbers.device,
        str(numbers.dtype).removeprefix("torch."),
        bridge.ln_final.hook_normalized,
    )


def _versions() -> dict[str, str]:
    out = {}
    for name in ("transformer-lens", "transformers", "torch"):
        try:
            out[name] = version(name)
        except PackageNotFoundError:  # a model of TransformerLens's form, made without it
            continue
    return out
