"""``demo``: the embedded language model, read from its Hugging Face checkpoint directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from geom import Agreement, InputError, ModelSource, Network, NoOptions, Readout, hookimpl

CHECKPOINT = Path(__file__).parent / "demo_checkpoint"
"""A GPT-2 checkpoint that ``training/train_demo.py`` made; see the README in it."""


def load(location: str, options: NoOptions) -> Readout:
    """Load the readout of the embedded GPT-2: tied embedding, final LayerNorm folded in.

    Raises InputError if a location is given, because there is nothing to choose.
    """
    from geom_plugins.sources import hf

    if location:
        raise InputError(f"model demo:{location}: the demo has no location; write demo")
    return hf.load(str(CHECKPOINT), hf.HfOptions())


def check(location: str, options: NoOptions) -> Iterator[Agreement]:
    """Compare the readout with the embedded GPT-2 itself, and with a toy model like it."""
    from geom_plugins.sources import hf

    return hf.check(str(CHECKPOINT), hf.HfOptions())


def network(location: str, options: NoOptions) -> Network:
    """Load the embedded GPT-2 itself."""
    from geom_plugins.sources import hf

    return hf.network(str(CHECKPOINT), hf.HfOptions())


@hookimpl
def geom_sources() -> Iterator[ModelSource[NoOptions]]:
    yield ModelSource(
        "demo",
        "the embedded language model",
        load,
        NoOptions,
        reads="nothing",
        check=check,
        network=network,
    )
