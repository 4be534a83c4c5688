"""Prove in bulk the tokens that win along their own direction, before any certifier is asked."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from geom.certificates import Finding, RecipeName
from geom.exact.bulk import prove_own_directions
from geom.model.problem import Problem
from geom.plugins.chosen import Chosen
from geom.plugins.records import Certifier
from geom.store import Outcome

EASY = 1024
"""The number of tokens that are proven in one block and stored together."""

MANY = 256
"""Runs with at least this many tokens prove the easy ones in bulk and do not store their points."""

OWN_DIRECTION: RecipeName = "own-direction"
"""The name of the certifier, and of the recipe for the witness, of a token proven in bulk."""


def spares_easy(chain: Sequence[Chosen[Certifier[Any]]], tokens: int) -> bool:
    """Return whether a run of that many tokens keeps those that `easy` proves out of the chain."""
    if not chain or tokens < MANY or any(certifier.record.verifies for certifier in chain):
        return False
    return chain[0].call(
        lambda first, options: bool(first.hard_only(options)),
        "asked whether it is for hard tokens only",
    )


def easy(problem: Problem, tokens: Sequence[int]) -> Iterator[list[Outcome]]:
    """Yield the tokens proven to win along their own direction, from blocks of `EASY`."""
    for start in range(0, len(tokens), EASY):
        started = time.perf_counter()
        block = np.asarray(tokens[start : start + EASY], dtype=np.int64)
        lower = prove_own_directions(problem, block)
        seconds = (time.perf_counter() - started) / len(block)
        yield [
            own_direction_outcome(token, margin, seconds)
            for token, margin in zip(block.tolist(), lower.tolist(), strict=True)
            if margin > 0.0
        ]


def own_direction_outcome(token: int, margin: float, seconds: float) -> Outcome:
    """Return the outcome of a token proven to win along its own direction.

    It stores no witness, only the recipe that rebuilds it.
    """
    return Outcome(
        token_id=token,
        verdict="speakable",
        proof="witness",
        certifier=OWN_DIRECTION,
        margin_lower=margin,
        margin_upper=None,
        seconds=seconds,
        note=None,
        evidence=Finding(),
        recipe=OWN_DIRECTION,
    )
