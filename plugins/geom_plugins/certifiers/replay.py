"""``replay``: a witness put into the real model, to see what the model emits.

The proof is about the numbers of the checkpoint in exact arithmetic; the machine rounds. The model
is loaded as its users load it, in the checkpoint's own dtype. Its body runs on some token, and a
hook replaces the final norm's output with ``gamma * x + beta``, for a batch of witnesses at once.
The answer of the model's own head, with its rounding, scaling and soft-cap, is reported in the
token's note. It proves nothing and decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from msgspec import Meta

from geom import Certifier, Finding, Floats, InputError, Problem, Readout, hookimpl, install_command

if TYPE_CHECKING:
    import torch

BATCH = 64


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


@dataclass(frozen=True)
class Stage:
    """A loaded model with its final norm, ready to have that norm's output replaced."""

    model: Any
    norm: Any
    plus_one: bool
    encodes: bool
    dtype: str

    def logits(self, points: Floats) -> Floats:
        """Return the model's logits (n, V) with ``points`` (n, d) as the norm's unscaled output."""
        import torch

        ids = torch.zeros((len(points), 1), dtype=torch.long)
        given = {"decoder_input_ids": ids} if self.encodes else {}
        handle = self.norm.register_forward_hook(
            lambda _module, _given, output: self._scaled(points).to(output.dtype).view_as(output)
        )
        try:
            with torch.no_grad():
                out = self.model(input_ids=ids, **given)
        finally:
            handle.remove()
        return np.asarray(out.logits[:, -1].double().numpy())

    def _scaled(self, points: Floats) -> torch.Tensor:
        """Apply the norm's scale and shift in float64."""
        import torch

        y = torch.from_numpy(points)
        scale, shift = getattr(self.norm, "weight", None), getattr(self.norm, "bias", None)
        if scale is not None:
            y = y * (scale.float() + 1 if self.plus_one else scale).double()
        return y if shift is None else y + shift.double()


def certify_many(
    problem: Problem, tokens: Sequence[int], priors: Sequence[Finding], options: ReplayOptions
) -> list[Finding]:
    """Return, as notes, what the model emits at the witness of each token that has one."""
    replayed = [(t, p.x) for t, p in zip(tokens, priors, strict=True) if p.x is not None]
    if not replayed:
        return [Finding() for _ in tokens]
    stage = _staged(problem, options)
    logits = stage.logits(np.array([x for _, x in replayed]))
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
    V = _staged(problem, options).model.config.get_text_config().vocab_size
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


def _staged(problem: Problem, options: ReplayOptions) -> Stage:
    location, revision = options.model, None
    if location is None:
        location, revision = _checkpoint(problem.readout)
    return _load(location, revision, options.dtype)


def _checkpoint(readout: Readout) -> tuple[str, str | None]:
    """Return the directory or Hub id behind a readout's source, and its revision."""
    from geom_plugins.sources.demo import CHECKPOINT

    source = readout.source
    if source.name == "demo":
        return str(CHECKPOINT), None
    if source.name in ("hf", "transformer-lens"):
        return source.location, source.query.get("revision")
    raise InputError(
        f"replay needs the whole model, and {source} is only its readout: give "
        "-o certifier.replay.model=DIR_OR_HUB_ID"
    )


@lru_cache(maxsize=1)
def _load(location: str, revision: str | None, dtype: str) -> Stage:
    """Load the model with transformers, on the CPU."""
    from geom_plugins.architectures.configuration import described, read_config
    from geom_plugins.architectures.parts import norm_paths
    from geom_plugins.architectures.table import ARCHITECTURES
    from geom_plugins.checkpoints.locations import loadable, open_folder

    try:
        import transformers
    except ImportError as error:
        raise InputError(
            f"replay needs torch and transformers: {install_command('replay')}"
        ) from error
    location, revision = loadable(location, revision)
    folder = open_folder(location, revision)
    if folder.has("adapter_config.json"):
        raise InputError(
            f"replay loads no adapters, and {location} has one: merge it with peft "
            "(merge_and_unload) and give -o certifier.replay.model=DIR of the merged model"
        )
    config = read_config(folder)
    kind, inner = described(config)
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
    modules = dict(model.named_modules())
    norm = next(modules[path] for path in norm_paths(entry, inner) if path in modules)
    return Stage(model, norm, entry.plus_one, entry.task == "seq2seq", str(model.dtype)[6:])


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
    )
