"""``self-argmax``: flags tokens that another beats, or ties with, along their own direction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta

from geom import Candidate, Detector, Domain, Readout, hookimpl, own_winners, own_winners_memory


@dataclass(frozen=True)
class SelfArgmaxOptions:
    """How to compare the rows, and in how much memory."""

    centre: Annotated[bool, Meta(description="subtract the mean row first")] = True
    memory_mib: Annotated[
        int, Meta(ge=1, description="MiB for blocks of scores, on top of rows in float32")
    ] = 256


def detect(readout: Readout, domain: Domain, options: SelfArgmaxOptions) -> Iterator[Candidate]:
    """Yield the tokens t with ``argmax_j (w_j . w_t) != t`` in exact arithmetic, ties included."""
    winners = own_winners(readout, centre=options.centre, memory_mib=options.memory_mib)
    for token in np.flatnonzero(winners != np.arange(readout.V)):
        yield Candidate(int(token), int(winners[token]))


def _memory(readout: Readout, options: SelfArgmaxOptions) -> int:
    return own_winners_memory(readout, options.memory_mib)


@hookimpl
def geom_detectors() -> Iterator[Detector[SelfArgmaxOptions]]:
    yield Detector(
        "self-argmax",
        "tokens that do not win along their own direction",
        detect,
        SelfArgmaxOptions,
        devices=("cpu", "torch", "cuda"),
        memory=_memory,
        repeatable=True,
    )
