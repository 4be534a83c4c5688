"""``reflections``: flags tokens that a walk by reflections does not make win.

The approximate algorithm of A. Grivas, N. Bogoychev and A. Lopez, Low-Rank Softmax Can Have
Unargmaxable Classes in Theory but Rarely in Practice, ACL 2022, written from the paper: start
along the token's own row; while another token wins, reflect x across the hyperplane on which the
two are equal, so that the token beats it by as much as it was beaten. Each point is put back into
the domain, which in the paper is all of space. A walk that does not end proves nothing, so the
flagged tokens must still be certified.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta

from geom import Candidate, Detector, Domain, Floats, Ids, Readout, hookimpl, track_progress


@dataclass(frozen=True)
class ReflectionsOptions:
    """How long to walk."""

    steps: Annotated[int, Meta(ge=0, description="reflections before a token is flagged")] = 100
    memory_mib: Annotated[int, Meta(ge=1, description="MiB for blocks of logits")] = 256


def detect(readout: Readout, domain: Domain, options: ReflectionsOptions) -> Iterator[Candidate]:
    """Yield the tokens that are not the strict argmax in float64 within ``steps`` reflections."""
    domain.refuse_frame("reflections", f"use self-argmax, or name the {readout.noun.plural}")
    block = max(1, options.memory_mib * 2**20 // (16 * readout.V))
    blocks = (
        np.arange(start, min(start + block, readout.V)) for start in range(0, readout.V, block)
    )
    for tokens in track_progress(blocks, "reflections", readout.V, amount=len):
        for token in unreached(readout, domain, tokens, options.steps):
            yield Candidate(int(token))


def unreached(readout: Readout, domain: Domain, tokens: Ids, steps: int) -> Ids:
    """Return those of the tokens (n,) that are the strict argmax at no point of their walks."""
    W = readout.rows
    x = _put_back(domain, W[tokens] - W.mean)
    for step in range(steps + 1):
        rivals, ahead = _rivals(readout, tokens, x)
        beaten = ahead >= 0.0
        tokens, rivals, ahead, x = tokens[beaten], rivals[beaten], ahead[beaten], x[beaten]
        if step == steps or tokens.size == 0:
            break
        a = W[rivals] - W[tokens]
        length = np.einsum("nd,nd->n", a, a)
        apart = np.divide(ahead, length, out=np.zeros_like(ahead), where=length > 0.0)
        x = _put_back(domain, x - 2.0 * apart[:, None] * a)
    return tokens


def _rivals(readout: Readout, tokens: Ids, x: Floats) -> tuple[Ids, Floats]:
    """Return the highest of the other tokens at each point (n, d), and how far it is ahead."""
    logits = readout.logits(x)
    own = np.arange(tokens.size), tokens
    mine = logits[own].copy()
    logits[own] = -np.inf
    rivals = logits.argmax(axis=1)
    return rivals, logits[np.arange(tokens.size), rivals] - mine


def _put_back(domain: Domain, x: Floats) -> Floats:
    """Move each point into the domain."""
    return np.array([domain.fit(row) for row in x]).reshape(x.shape)


@hookimpl
def geom_detectors() -> Iterator[Detector[ReflectionsOptions]]:
    yield Detector(
        "reflections",
        "tokens that reflections do not bring to win (Grivas et al. 2022)",
        detect,
        ReflectionsOptions,
    )
