"""``random-directions``: flags tokens that win at no point of a random sample of the domain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta

from geom import Candidate, Detector, Domain, Readout, hookimpl, track_progress

BLOCK_BYTES = 64 * 2**20
"""The memory for the logits of one block of samples."""


@dataclass(frozen=True)
class RandomDirectionsOptions:
    """The size of the sample."""

    samples: Annotated[int, Meta(ge=1, description="points to draw from the domain")] = 20_000
    seed: Annotated[int, Meta(ge=0, description="seed of the generator")] = 0


def detect(
    readout: Readout, domain: Domain, options: RandomDirectionsOptions
) -> Iterator[Candidate]:
    """Yield the tokens that are the argmax in float64 at none of the sampled points."""
    wins = count_wins(readout, domain, options.samples, options.seed)
    for token in np.flatnonzero(wins == 0):
        yield Candidate(int(token))


def count_wins(readout: Readout, domain: Domain, samples: int, seed: int) -> np.ndarray:
    """Count how often each token (V,) is the argmax, at ``samples`` points of the domain."""
    rng = np.random.default_rng(seed)
    wins = np.zeros(readout.V, dtype=np.int64)
    block = max(1, BLOCK_BYTES // (8 * readout.V))
    sizes = (min(block, samples - start) for start in range(0, samples, block))
    for n in track_progress(sizes, "random-directions", samples, "points", int):
        x, _ = domain.vectors(domain.sample(rng, n))
        np.add.at(wins, readout.logits(x).argmax(axis=1), 1)
    return wins


@hookimpl
def geom_detectors() -> Iterator[Detector[RandomDirectionsOptions]]:
    yield Detector(
        "random-directions",
        "tokens that win at no random point of the domain",
        detect,
        RandomDirectionsOptions,
    )
