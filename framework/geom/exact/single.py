"""Rows of a readout in float32, for products whose rounding is bounded by additional columns.

Let ``v_j = unit (w_j - mean)``, with ``unit`` the power of two that leaves no entry above 1 (or
2^1000, if the rows are too small for that). The effects of float32 on a product of such rows, with
u = 2^-24, are:

- a factor is rounded once: ``|s_i - v_i| <= u |v_i|``, or by what underflows;
- summing n terms in any order, with or without fused operations, adds n more roundings (Higham
  3.1), so that by Cauchy and Schwarz ``s . s'`` differs from ``v . v'`` by at most
  ``gamma_{n+2} |v||v'|``.

A bound of the form ``epsilon |v||v'|`` is itself a product of two numbers. Held in one more column
on either side, it makes the float32 product an upper bound on the score without another pass over
the block. No order of summation is assumed, so this holds on any device whose float32 products are
true float32: `geom.machine.devices.using` keeps TF32 off. The number of roundings, and the cover
for underflow, are up to the modules that use the rows: `geom.exact.products`, `geom.self_argmax`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property

import numpy as np

from geom.model.rows import Rows
from geom.numbers.arrays import Floats, Ids
from geom.numbers.rounding import norm_above


class ScaledRows:
    """The rows ``W`` (V, d) less ``mean`` (d,), times a power of two, in float64.

    ``W`` is anything of that length that is read by slices and arrays of ids. ``largest`` is the
    largest entry before the scaling, which may be infinite or NaN.
    """

    def __init__(self, W: Floats | Rows, mean: Floats) -> None:
        self._W, self.mean = W, mean
        with np.errstate(over="ignore", invalid="ignore"):
            largest = max(_largest(self.centred(part)) for part in self.parts(len(W)))
            self.largest = largest
            self.unit = 2.0 ** min(1000, -math.frexp(largest)[1]) if largest < math.inf else 1.0

    @cached_property
    def lengths(self) -> Floats:
        """Upper bounds (V,) on ``|v_j|``."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.concatenate([norm_above(v, axis=-1) for _, v in self.blocks()])

    def centred(self, ids: slice | Ids) -> Floats:
        """Return the rows (n, d) of these ids less the mean, not scaled."""
        return np.asarray(self._W[ids] - self.mean)

    def scaled(self, ids: slice | Ids) -> Floats:
        """Return the rows ``v`` (n, d) of these ids."""
        rows = self.centred(ids)
        rows *= self.unit
        return rows

    def parts(self, n: int) -> Iterator[slice]:
        """Split ``range(n)`` into slices of as many rows as make a block."""
        return slices(n, block_rows(self.mean.size))

    def blocks(self, order: Ids | None = None) -> Iterator[tuple[slice, Floats]]:
        """Yield all rows, in that order, a block at a time: their places, and ``v`` (n, d)."""
        for part in self.parts(len(self._W)):
            yield part, self.scaled(part if order is None else order[part])


def block_rows(d: int) -> int:
    """Return how many rows of width ``d`` are made at a time, so few that they stay in cache."""
    return max(1, 2**16 // d)


def _largest(rows: Floats) -> float:
    """Return the largest absolute value; NaN if there is one."""
    return max(float(rows.max()), -float(rows.min()))


def gamma_single(n: int) -> float:
    """Return float32's ``gamma_n = n u / (1 - n u)``: a bound on n relative roundings, n < 2^24."""
    return n * 2.0**-24 / (1.0 - n * 2.0**-24)


def slices(n: int, step: int = 8192) -> Iterator[slice]:
    """Split ``range(n)`` into slices."""
    return (slice(start, min(n, start + step)) for start in range(0, n, step))
