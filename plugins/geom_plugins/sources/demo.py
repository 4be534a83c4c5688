"""``demo``: the embedded language model, read from its Hugging Face checkpoint directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from geom import InputError, ModelSource, NoOptions, Readout, hookimpl

CHECKPOINT = Path(__file__).parent / "demo_checkpoint"
"""A GPT-2 checkpoint that ``training/train_demo.py`` made; see the README in it."""


def load(location: str, options: NoOptions) -> Readout:
    """The readout of the embedded GPT-2: tied embedding, final LayerNorm folded in.

    Raises InputError where a location is given, as there is nothing to choose.
    """
    from geom_plugins.sources.safetensors_file import read_tensors
    from geom_plugins.sources.token_texts import read_token_texts

    if location:
        raise InputError(f"model demo:{location}: the demo has no location; write demo")
    names = ["transformer.wte.weight", "transformer.ln_f.weight", "transformer.ln_f.bias"]
    W, gamma, beta = read_tensors(CHECKPOINT / "model.safetensors", names).values()
    return Readout.fold(
        W,
        norm="layernorm",
        gamma=gamma,
        beta=beta,
        tokens=read_token_texts(CHECKPOINT / "tokenizer.json", len(W)),
    )


@hookimpl
def geom_sources() -> Iterator[ModelSource[NoOptions]]:
    """The hook."""
    yield ModelSource("demo", "the embedded language model", load, NoOptions)
