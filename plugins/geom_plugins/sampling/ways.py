"""The way on which the centre of a distribution comes back, with steps where they are needed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from geom import Floats, Ids
from geom_plugins.sampling.half_spaces import Cone
from geom_plugins.sampling.particles import QUARTER

TIME = 0.3
"""How long particles travel at each step; a quarter turn around the centre takes pi / 2."""

STEPS = 100
"""The steps of the first way."""

AIM = 1.2
"""The standard deviation of the groups' logarithms that a longer way aims at."""

LAG = 0.25
"""What a quarter turn may add to the spread of weights if a longer way is made."""


@dataclass(frozen=True)
class Way:
    """The path of the centre: along ``direction`` (k,) from the first of the ``stops`` to 0.

    ``times`` are how long particles travel at each stop except the first.
    """

    direction: Floats
    stops: Floats
    times: Floats

    @classmethod
    def between(cls, centre: Floats, cone: Cone) -> Way:
        """Return the way from the centre to the cone's top, in steps of equal effect.

        Scaling by ``1 - e`` costs about ``e sqrt(2 D)`` standard deviations of the length, and a
        step of the centre itself costs one per unit: together they make the inverse hyperbolic
        sine.
        """
        off = centre - cone.top
        distance = float(np.linalg.norm(off))
        scale = math.sqrt(2.0 * cone.dimension)
        grid = np.linspace(math.asinh(distance / scale), 0.0, STEPS + 1)
        return cls(off / max(distance, 1e-300), scale * np.sinh(grid), np.full(STEPS, TIME))

    def aimed(self, centre: Floats, cone: Cone) -> Way:
        """Return the same way from the centre to the cone's top, which may have moved."""
        off = centre - cone.top
        distance = float(np.linalg.norm(off))
        stops = self.stops * (distance / max(self.stops[0], 1e-300))
        return Way(off / max(distance, 1e-300), stops, self.times)

    @property
    def steps(self) -> int:
        """The number of steps of one particle."""
        return self.stops.size - 1

    def quarters(self, gains: Floats) -> tuple[Ids, Floats]:
        """Return the steps (p + 1,) between parts of the way, and the spread (p,) each part adds.

        ``gains`` (steps, m) are the changes that each step made to the logarithms of m particles'
        weights. A part takes particles a quarter turn, or nearly: about as long as they remember.
        """
        turns = np.floor(np.cumsum(self.times) / QUARTER - 1e-9)
        edges = np.concatenate([[0], np.flatnonzero(np.diff(turns)) + 1, [self.steps]])
        spreads = [gains[a:b].sum(axis=0).std(ddof=1) for a, b in pairwise(edges.tolist())]
        return edges.astype(np.int64), np.array(spreads)

    def refined(self, gains: Floats, spread: float, most: int) -> Way:
        """Return a way of more steps where particles lag most, of ``most`` steps if that helps.

        What a quarter turn adds falls with the number of quarter turns that a part is made of, and
        so does the square of the ``spread`` of groups.
        """
        edges, lags = self.quarters(gains)
        more = lags / LAG
        if more.max() < 2.0:
            more *= max(1.0, 1.3 * (spread / AIM) ** 2 / more.mean())
        more = np.clip(more, 0.7, 12.0)
        counts = np.diff(edges) * more
        if counts.sum() > most - counts.size > 1.3 * self.steps:
            counts *= (most - counts.size) / counts.sum()
        parts = zip(pairwise(edges.tolist()), np.ceil(counts).astype(int).tolist(), strict=True)
        places = np.concatenate([[0.0], *(np.linspace(a, b, n + 1)[1:] for (a, b), n in parts)])
        stops = np.interp(places, np.arange(self.stops.size), self.stops)
        times = np.interp(places[1:], np.arange(self.steps) + 1, self.times)
        return Way(self.direction, stops, times)
