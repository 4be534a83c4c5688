"""The truth of margins over the hull of few points, in exact rationals: the value of a matrix game.

Nothing here comes from geom. The largest margin of token t over the hull of points ``p_i`` is the
value of the game whose payoffs are ``margin[j][i] = (w_t - w_j) . p_i + b_t - b_j``: the mixture of
points maximises, the weights of rivals minimise. Every game has optimal strategies that are those
of a square part of the payoffs, in which all entries of either side are made equal (L. S. Shapley
and R. N. Snow, 1950), so trying all square parts finds the value.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Matrix = list[list[Fraction]]


def payoffs(W: Floats, b: Floats, token: int, points: Floats) -> Matrix:
    """Return the margins of a token over each rival (rows) at each point (columns)."""
    logits = [
        [
            sum((Fraction(u) * Fraction(v) for u, v in zip(w, p, strict=True)), Fraction(bias))
            for p in points.tolist()
        ]
        for w, bias in zip(W.tolist(), b.tolist(), strict=True)
    ]
    own = logits[token]
    return [
        [mine - theirs for mine, theirs in zip(own, other, strict=True)]
        for j, other in enumerate(logits)
        if j != token
    ]


def value(game: Matrix) -> Fraction:
    """Return the value of a game for the side that mixes columns and wants it large."""
    rows, columns = range(len(game)), range(len(game[0]))
    for size in range(1, min(len(rows), len(columns)) + 1):
        for some in combinations(rows, size):
            for few in combinations(columns, size):
                part = [[game[j][i] for i in few] for j in some]
                mixture = _equalised(part)
                weights = _equalised([list(column) for column in zip(*part, strict=True)])
                if mixture is None or weights is None:
                    continue
                low = min(_sum(mixture, [row[i] for i in few]) for row in game)
                high = max(_sum(weights, [game[j][i] for j in some]) for i in columns)
                if low == high:
                    return low
    raise AssertionError("a game has a value")


def _sum(shares: Sequence[Fraction], values: Sequence[Fraction]) -> Fraction:
    return sum((s * v for s, v in zip(shares, values, strict=True)), Fraction(0))


def _equalised(part: Matrix) -> list[Fraction] | None:
    """Return shares >= 0 of sum 1 of the columns that make all rows alike; None without any."""
    n = len(part)
    system = [[*row, Fraction(-1), Fraction(0)] for row in part]
    system.append([*[Fraction(1)] * n, Fraction(0), Fraction(1)])
    for place in range(n + 1):
        pivot = next((k for k in range(place, n + 1) if system[k][place]), None)
        if pivot is None:
            return None
        system[place], system[pivot] = system[pivot], system[place]
        system[place] = [entry / system[place][place] for entry in system[place]]
        for k in range(n + 1):
            if k != place and system[k][place]:
                factor = system[k][place]
                system[k] = [
                    entry - factor * other
                    for entry, other in zip(system[k], system[place], strict=True)
                ]
    shares = [system[k][-1] for k in range(n)]
    return shares if min(shares) >= 0 else None
