"""``synthetic:gpt2-like``: readouts drawn at random, shaped like those of real models.

The shape follows the findings that studies of trained embeddings share: rows have a large common
mean (Mu and Viswanath, All-but-the-Top, ICLR 2018; Gao et al., Representation Degeneration, ICLR
2019), their spread about it decays along its principal directions, frequent and rare rows differ in
length, and rows that training hardly touched sit in a small clump near the centre.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta

from geom import InputError, ModelSource, Readout, check_memory, hookimpl


@dataclass(frozen=True)
class SyntheticOptions:
    """The shape of the cloud of rows. A row's spread, 1, is the unit of lengths."""

    V: Annotated[int, Meta(ge=1, description="tokens")] = 4096
    d: Annotated[int, Meta(ge=1, description="width")] = 64
    seed: Annotated[int, Meta(ge=0, description="seed of the generator")] = 0
    mean: Annotated[float, Meta(ge=0, description="length of the common mean")] = 0.7
    decay: Annotated[
        float, Meta(ge=0, description="principal spreads fall as rank to minus this power")
    ] = 0.3
    length_spread: Annotated[
        float, Meta(ge=0, description="standard deviation of the log of rows' lengths")
    ] = 0.15
    untrained: Annotated[
        float, Meta(ge=0, le=1, description="share of tokens in the clump near the centre")
    ] = 0.01
    untrained_spread: Annotated[float, Meta(ge=0, description="spread of the clump")] = 0.2
    bias: Annotated[
        float, Meta(ge=0, description="length of the norm's shift; 0 leaves no bias")
    ] = 0.1
    norm: Annotated[Literal["layernorm", "rmsnorm", "none"], Meta(description="the final norm")] = (
        "layernorm"
    )


def load(location: str, options: SyntheticOptions) -> Readout:
    """Draw a readout of float32 numbers, the same for the same options.

    Raises InputError for another location than ``gpt2-like``.
    """
    if location != "gpt2-like":
        raise InputError(f"model synthetic:{location}: write synthetic:gpt2-like")
    rng = np.random.default_rng(options.seed)
    V, d = options.V, options.d
    check_memory(16 * V * d + 24 * V + 24 * d * d, f"drawing {V} x {d} rows")
    spread = np.arange(1, d + 1) ** -options.decay
    spread /= np.linalg.norm(spread)
    basis = np.linalg.qr(rng.standard_normal((d, d)))[0]
    rows = rng.standard_normal((V, d))
    rows *= spread
    rows = rows @ basis.T
    rows *= np.exp(options.length_spread * rng.standard_normal((V, 1)))
    clump = rng.permutation(V)[: round(options.untrained * V)]
    rows[clump] *= options.untrained_spread
    direction = rng.standard_normal(d)
    rows += options.mean * direction / np.linalg.norm(direction)
    beta = options.bias * rng.standard_normal(d) / np.sqrt(d)
    with np.errstate(over="ignore"):  # numbers that overflow float32 are refused as infinite
        single, shift = rows.astype(np.float32), beta.astype(np.float32)
    del rows
    return Readout.fold(
        single,
        norm=None if options.norm == "none" else options.norm,
        beta=shift if options.bias else None,
    )


@hookimpl
def geom_sources() -> Iterator[ModelSource[SyntheticOptions]]:
    yield ModelSource(
        "synthetic",
        "random readouts: synthetic:gpt2-like?V=4096&d=64",
        load,
        SyntheticOptions,
        reads="nothing",
    )
