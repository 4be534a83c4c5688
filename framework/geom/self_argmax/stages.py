"""The stages that a block of tokens goes through: float32 products that bound scores from above.

A stage makes two matrices, ``left`` for tokens and ``right`` for rivals, whose product is, for each
pair, an upper bound on the rival's score less the least score that matters for the token. A rival
whose bound is below zero does not matter. The first column is that least score, and 1 for rivals;
the second is the bound on errors.

With k + 2 columns, the sum of the products is off by at most ``gamma_{k+2}`` (u = 2^-24) of the
sizes that it adds, in any order (Higham 3.1). For the score, the column of errors covers that. The
share of the least score is taken from the least score itself beforehand, together with what the
product may lose to underflow, flushed to zero or not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geom.exact.single import gamma_single, slices
from geom.machine.devices import Device
from geom.numbers.arrays import Floats, Ids
from geom.self_argmax.distinct import DistinctRows
from geom.self_argmax.screen import Screens

DIRECTION = 64
"""How many coordinates tell which tokens have similar directions."""


@dataclass(frozen=True)
class ScreenStage:
    """The bounds of the screen of number ``index``, of width ``width``.

    ``columns`` (n, K + 2) holds ones, the rest ``rho`` of the first screen and the coordinates;
    ``rho`` (n, screens) holds the rest for every screen.
    """

    device: Device
    columns: Any
    rho: Any
    index: int
    width: int

    def left(self, places: Ids, least: Floats) -> Any:
        """Return the columns (n, width + 2) of tokens for least scores (n,)."""
        taken = self._taken(self.device.put(places))
        taken[:, 0] = self.device.put(-lowered(least, self.width))
        return taken

    def right(self, places: Ids | slice) -> Any:
        """Return the columns (m, width + 2) of rivals, without a copy if it can be avoided."""
        if isinstance(places, slice):
            if self.index == 0:
                return self.columns[places, : self.width + 2]
            places = np.arange(places.start, places.stop)
        return self._taken(self.device.put(places))

    def likely(self, bounds: Floats, tokens: Ids, rivals: Ids) -> Ids:
        """Return which of some pairs may well have scores above the least score.

        In many columns, two rests are seldom so alike that their product is above half its bound.
        """
        rho = self.rho[:, self.index]
        rest = self.device.get(rho[self.device.put(tokens)] * rho[self.device.put(rivals)])
        return np.flatnonzero(bounds >= 0.5 * rest)

    def directions(self, places: Ids) -> NDArray[np.float32]:
        """Return some leading coordinates (n, at most `DIRECTION`) of tokens, scaled to length 1.

        A zero row has no direction, and stays zero.
        """
        wide = min(self.columns.shape[1], DIRECTION + 2)
        found: NDArray[np.float32] = self.device.get(
            self.columns[:, 2:wide][self.device.put(places)]
        )
        length = np.sqrt(np.einsum("ij,ij->i", found, found))
        np.divide(found, length[:, None], out=found, where=length[:, None] > 0.0)
        return found

    def _taken(self, places: Any) -> Any:
        taken = self.columns[:, : self.width + 2][places]
        taken[:, 1] = self.rho[:, self.index][places]
        return taken


def screen_stages(device: Device, rows: DistinctRows, screens: Screens) -> list[ScreenStage]:
    """Compute the columns of all rows, and return a stage for each screen."""
    columns = np.empty((rows.size, screens.Q.shape[1] + 2), dtype=np.float32)
    rho = np.empty((rows.size, len(screens.widths)), dtype=np.float32)
    columns[:, 0] = 1.0
    for places, block in rows.blocks():
        columns[places, 2:], rho[places] = screens.columns(block, rows.lengths[places])
    columns[:, 1] = rho[:, 0]
    held, rests = device.put(columns), device.put(rho)
    return [ScreenStage(device, held, rests, i, k) for i, k in enumerate(screens.widths)]


class WholeStage:
    """The bounds of whole rows, which are made when they are asked for, or held on a GPU.

    The product of two rows differs from ``v . v'`` by at most ``epsilon |v||v'|``, which the second
    column adds to it: ``epsilon`` is above ``gamma_{d+4}``, and covers its own rounding.
    """

    def __init__(self, device: Device, rows: DistinctRows, *, held: bool) -> None:
        self.device, self._rows = device, rows
        g = gamma_single(rows.d + 8)
        self.epsilon = 1.05 * g / (1.0 - g)
        self._held: Any = None
        if held:
            parts = [self.device.put(self._made(part)) for part in slices(rows.size)]
            self._held = device.xp.concat(parts)

    def left(self, places: Ids, least: Floats) -> Any:
        """Return the columns (n, d + 2) of tokens for least scores (n,)."""
        taken = self.right(places)
        taken[:, 0] = self.device.put(-lowered(least, self._rows.d))
        taken[:, 1] *= self.epsilon
        return taken

    def right(self, places: Ids | slice) -> Any:
        """Return the columns (m, d + 2) of rivals."""
        if self._held is None:
            return self.device.put(self._made(places))
        return self._held[places if isinstance(places, slice) else self.device.put(places)]

    def known(self, bounds: Floats, least: Floats, tokens: Ids, rivals: Ids) -> Floats:
        """Return lower bounds (n,) on the scores of rivals whose product is ``bounds``."""
        k, lengths = self._rows.d, self._rows.lengths
        error = 2.2 * self.epsilon * lengths[tokens] * lengths[rivals]
        error += rounding(k) * np.abs(least) + floor(k)
        return np.asarray(bounds + lowered(least, k).astype(np.float64) - error)

    def _made(self, places: Ids | slice) -> Any:
        lengths = self._rows.lengths[places]
        out = np.empty((lengths.size, self._rows.d + 2), dtype=np.float32)
        out[:, 0] = 1.0
        out[:, 1] = lengths * (1.0 + 2.0**-22)
        for part, block in self._rows.at(places):
            out[part, 2:] = block
        return out


Stage = ScreenStage | WholeStage


def lowered(least: Floats, k: int) -> Any:
    """Return least scores (n,) in float32, lowered by what a product of k + 2 columns may lose."""
    return (least - rounding(k) * np.abs(least) - floor(k)).astype(np.float32)


def rounding(k: int) -> float:
    """Return a bound on ``gamma_{k+2}`` of float32 and a few more roundings."""
    return 2.0 * gamma_single(k + 8)


def floor(k: int) -> float:
    """Bound what underflow takes from a float32 product of k + 2 columns, entries at most 1."""
    return (k + 8) * math.sqrt(k + 8) * 2.0**-120
