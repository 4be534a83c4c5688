"""The yardstick of the benchmarks: one blocked float32 product ``W W^T`` with its row maxima."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import geom

BLOCK = 1 << 26
"""The most scores in a block."""


@dataclass(frozen=True)
class Spent:
    """The seconds of a piece of work, by the clock and of all cores together."""

    wall: float
    cpu: float


def spent(work: Callable[[], object]) -> Spent:
    """Return what one call takes in this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Spent(time.perf_counter() - wall, time.process_time() - cpu)


def once(work: Callable[[], object]) -> float:
    """Return the seconds of one call, by the clock."""
    return spent(work).wall


def product(readout: geom.Readout, one_in: int = 1) -> Spent:
    """Return what the product takes, without the conversion of the rows to float32.

    With ``one_in``, one block of rows in so many is computed, and the time is that of all.
    """
    V = readout.V
    height = max(1, min(1024, BLOCK // V))
    W = np.empty((V, readout.d), dtype=np.float32)
    for i in range(0, V, height):
        W[i : i + height] = readout.rows[i : i + height]
    starts = range(0, V, height * one_in)

    def work() -> None:
        for i in starts:
            (W[i : i + height] @ W.T).argmax(axis=1)

    found = spent(work)
    whole = V / sum(min(height, V - i) for i in starts)
    return Spent(found.wall * whole, found.cpu * whole)
