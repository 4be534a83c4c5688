"""The winner along each token's own direction, against products of integers.

    python -m campaigns.winners --cases 5000 --seed 1

Each case is a matrix of some dozens to some hundreds of rows, random, degenerate, badly scaled or
all three (`hostile`). Its winners are found in float32 by whole rows, or by the screen of a few
columns that large vocabularies use.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import numpy as np

from campaigns.campaign import Case, main
from campaigns.hostile import LARGEST, matrix, pick, raised, scaled
from geom import GeomError, Readout, own_winners
from geom.self_argmax import screen
from geom.self_argmax import winners as blocks
from support.suprema import Floats, Integers, integers, square


def draw(rng: np.random.Generator, number: int) -> Case:
    """Draw a matrix, and check the winner named for each token."""
    W = rows(rng)
    centre = bool(rng.random() < 0.5)
    screen = number % 2 == 1
    tokens = rng.choice(len(W), min(len(W), 12), replace=False).tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            with screened(screen):
                found = own_winners(Readout.fold(W), tokens, centre=centre).tolist()
        except GeomError as error:
            past = "past the range" in str(error)
            return Case("refused: past the range", None if past else str(error))
        except Exception as error:
            return Case("raised", raised(error))
    with np.errstate(all="ignore"):
        taken = W - (W.mean(axis=0) if centre else 0.0)
    wrong = [token for token, j in zip(tokens, found, strict=True) if j != winner(taken, token)]
    kind = ("screened" if screen else "whole") + (", centred" if centre else "")
    return Case(kind, f"wrong winners of {wrong}" if wrong else None)


def rows(rng: np.random.Generator) -> Floats:
    """Draw rows of one kind, or of several, some of them near others or far shorter."""
    V, d = int(rng.integers(8, 120)), int(rng.integers(1, 10))
    W = matrix(rng, V, d)
    if rng.random() < 0.3:
        half = int(rng.integers(V))
        W[half:] = matrix(rng, V - half, d)
    if rng.random() < 0.5:  # twins, and rows an ulp or a float32 ulp away from others
        some = rng.integers(V, size=V // 3)
        near = W[rng.integers(V, size=V // 3)]
        with np.errstate(over="ignore", under="ignore"):
            near = near * (1.0 + rng.choice([0.0, 2.0**-52, 2.0**-24, -(2.0**-25)], near.shape))
        W[some] = np.clip(near, -LARGEST, LARGEST)
    if rng.random() < 0.3:
        W = scaled(W, int(pick(rng, -1060, -600, -149, -126, -100, 120, 127, 500, 1000)))
    if rng.random() < 0.3:
        W = scaled(W, rng.choice([0, 0, 0, -20, -75, -126, -149, -500], (V, 1)))
    return W


@contextmanager
def screened(on: bool) -> Iterator[None]:
    """Within the block, take every matrix through screens in small blocks, or through none.

    The settings affect how fast an answer comes, never the answer.
    """
    with ExitStack() as stack:
        if on:
            settings = {"SCREEN_ROWS": 1, "BLOCK": 8, "STRIP": 16, "STRATUM": 32}
            stack.enter_context(patch.multiple(blocks, **settings))
            stack.enter_context(patch.object(screen, "_cheapest", all_widths))
        yield


def all_widths(d: int, widths: list[int], left: list[float]) -> tuple[int, ...]:
    """Choose a screen of every width, whatever it costs."""
    return tuple(widths)


def winner(W: Floats, token: int) -> int:
    """Return the token if it alone scores highest along its row, else the first other that does."""
    V, d = W.shape
    flat, _ = integers(W.ravel().tolist())
    own: Integers = flat[token * d : token * d + d]
    scores = [sum(map(int.__mul__, flat[j * d : j * d + d], own)) for j in range(V)]
    assert scores[token] == square(own)
    best = max(scores)
    others = [j for j in range(V) if j != token and scores[j] == best]
    return others[0] if others else token


if __name__ == "__main__":
    main("winners", draw, cases=5_000)
