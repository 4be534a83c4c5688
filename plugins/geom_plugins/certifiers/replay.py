"""``replay``: a witness put into the real model, to see what the model emits.

The proof is about the numbers of the checkpoint in exact arithmetic; the machine rounds. The model
is loaded as its users load it, in the checkpoint's own dtype: by transformers or, for a run that
was made through TransformerLens, as a TransformerBridge. Its body runs on some token, and a hook
replaces the final norm's output with ``gamma * x + beta``, for a batch of witnesses at once. The
answer of the model's own head, with its rounding, scaling and soft-cap, is reported in the token's
note. It proves nothing and decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from msgspec import Meta

from geom import (
    Certifier,
    Finding,
    Floats,
    InputError,
    Problem,
    current_device,
    hookimpl,
    install_command,
)

if TYPE_CHECKING:
    from geom_plugins.networks.stage import Stage

BATCH = 64


def _needs() -> str:
    """Say what replay needs that is not installed."""
    return f"replay needs torch and transformers: {install_command('replay')}"


@dataclass(frozen=True)
class ReplayOptions:
    """Which model, and in which arithmetic."""

    model: Annotated[
        str | None, Meta(description="checkpoint directory or Hub id; the run's own if not given")
    ] = None
    dtype: Annotated[
        Literal["checkpoint", "float32", "bfloat16", "float16"],
        Meta(description="the number type that the model computes in"),
    ] = "checkpoint"


def certify_many(
    problem: Problem, tokens: Sequence[int], priors: Sequence[Finding], options: ReplayOptions
) -> list[Finding]:
    """Return, as notes, what the model emits at the witness of each token that has one."""
    replayed = [(t, p.x) for t, p in zip(tokens, priors, strict=True) if p.x is not None]
    if not replayed:
        return [Finding() for _ in tokens]
    stage, _ = _staged(problem, options)
    points, _ = problem.asked.domain.vectors(np.array([x for _, x in replayed]))
    logits = stage.replayed(points)
    notes = {
        token: _said(token, row, stage.dtype)
        for (token, _), row in zip(replayed, logits, strict=True)
    }
    return [Finding(note=notes.get(token)) for token in tokens]


def certify(problem: Problem, token: int, prior: Finding, options: ReplayOptions) -> Finding:
    """Replay one token as `certify_many` does."""
    return certify_many(problem, [token], [prior], options)[0]


def prepare(problem: Problem, options: ReplayOptions) -> None:
    """Load the model, so that a model that cannot be replayed is refused before the run begins."""
    _, V = _staged(problem, options)
    if V < problem.readout.V:
        raise InputError(f"replay: the model has {V} tokens, the readout {problem.readout.V}")


def _said(token: int, logits: Floats, dtype: str) -> str:
    """Say what a row of logits emits, from the token's point of view."""
    others = np.delete(logits, token)
    margin = logits[token] - others.max()
    rival = int(others.argmax())
    rival += rival >= token
    if margin == 0:
        return f"the model, in {dtype}, ties it with token {rival}"
    emitted = "it" if margin > 0 else f"token {rival}"
    return f"the model, in {dtype}, emits {emitted} by {abs(margin):.2g} logits"


def _staged(problem: Problem, options: ReplayOptions) -> tuple[Stage, int]:
    """Return the loaded model and the number of its tokens."""
    from geom_plugins.sources.demo import CHECKPOINT

    source, name = problem.readout.source, current_device().name
    kind, location, detail = source.name, source.location, None
    if options.model is not None:
        kind, location = "hf", options.model
    elif kind == "demo":
        kind, location = "hf", str(CHECKPOINT)
    elif kind == "hf":
        detail = source.query.get("revision")
    elif kind == "transformer-lens":
        detail = source.query.get("processed")
    elif kind != "gguf":
        raise InputError(
            f"replay needs the whole model, and {source} is only its readout: give "
            "-o certifier.replay.model=DIR_OR_HUB_ID"
        )
    return _loaded(kind, location, detail, options.dtype, "cpu" if name == "torch" else name)


@lru_cache(maxsize=1)
def _loaded(
    kind: str, location: str, detail: str | None, dtype: str, device: str
) -> tuple[Stage, int]:
    """Load the model of a location; ``detail`` is its revision, or how a bridge is processed."""
    if kind == "gguf":
        return _dequantised(location, dtype, device)
    if kind == "transformer-lens":
        return _booted(location, detail, dtype, device)
    return _from_folder(location, detail, dtype, device)


def _from_folder(location: str, revision: str | None, dtype: str, device: str) -> tuple[Stage, int]:
    """Load a checkpoint's model with transformers."""
    from geom_plugins.architectures.configuration import described, read_config
    from geom_plugins.architectures.table import ARCHITECTURES
    from geom_plugins.checkpoints.locations import loadable, open_folder

    try:
        import transformers
    except ImportError as error:
        raise InputError(_needs()) from error
    location, revision = loadable(location, revision)
    folder = open_folder(location, revision)
    if folder.has("adapter_config.json"):
        raise InputError(
            f"replay loads no adapters, and {location} has one: merge it with peft "
            "(merge_and_unload) and give -o certifier.replay.model=DIR of the merged model"
        )
    config = read_config(folder)
    kind, _ = described(config)
    entry = ARCHITECTURES.get(kind)
    if entry is None:
        raise InputError(f"replay: geom does not know where {kind or location} has its final norm")
    auto = {
        "causal": transformers.AutoModelForCausalLM,
        "masked": transformers.AutoModelForMaskedLM,
        "seq2seq": transformers.AutoModelForSeq2SeqLM,
    }[entry.task]
    chatter: Any = transformers.logging
    chatter.disable_progress_bar()
    try:
        model = auto.from_pretrained(
            location,
            revision=revision or "main",
            dtype="auto" if dtype == "checkpoint" else dtype,
            trust_remote_code=False,  # without this it would ask on the terminal
        ).eval()
    except Exception as error:  # transformers may raise anything over a checkpoint
        reason = " ".join(str(error).split())
        raise InputError(f"transformers cannot load {location}: {reason}") from error
    return _of_transformers(model, config, location, device)


def _dequantised(location: str, dtype: str, device: str) -> tuple[Stage, int]:
    """Load the model of a GGUF file, which transformers dequantises."""
    from geom_plugins.checkpoints.locations import local_path
    from geom_plugins.sources.gguf_file import loaded

    try:
        import torch
    except ImportError as error:
        raise InputError(_needs()) from error
    model = loaded(local_path(location))
    if dtype != "checkpoint":
        model = model.to(getattr(torch, dtype))
    return _of_transformers(model, model.config.to_dict(), location, device)


def _of_transformers(model: Any, config: Any, where: str, device: str) -> tuple[Stage, int]:
    from geom_plugins.networks.transformers_networks import model_stage

    stage = model_stage(model.to(device), config, where)
    return stage, int(model.config.get_text_config().vocab_size)


def _booted(location: str, processed: str | None, dtype: str, device: str) -> tuple[Stage, int]:
    """Boot the bridge as the source does, in float32 unless told otherwise."""
    from geom_plugins.networks.bridges import bridge_stage
    from geom_plugins.sources.transformer_lens import TransformerLensOptions, booted

    options = TransformerLensOptions("no" if processed == "no" else "yes")
    kind = "float32" if dtype == "checkpoint" else dtype
    bridge = booted(location, options, kind).to(device)
    return bridge_stage(bridge), int(bridge.W_U.shape[1])


@hookimpl
def geom_certifiers() -> Iterator[Certifier[ReplayOptions]]:
    yield Certifier(
        "replay",
        "puts the witness into the real model and reports what it emits; proves nothing",
        certify,
        ReplayOptions,
        verifies=True,
        certify_many=certify_many,
        batch=BATCH,
        prepare=prepare,
        devices=("cpu", "torch", "cuda"),
        mixtures=True,
    )
