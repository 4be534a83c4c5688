"""Rows drawn at random that behave like those of real models, for shapes no checkpoint here has.

A row is ``mean + r e + s (sqrt(1 - a) g + sqrt(a) h)``, turned by a random orthogonal map. Its
parts, with lengths in units of the spread (the root mean square distance of a row from the mean):

- *the mean*, of length 1, at an angle of 32 degrees (a cosine of 0.85) to the rogue direction e;
- *the rogue direction*: r has the spread 0.36 and the tails of Student's t with 11 degrees of
  freedom, cut at 6.4 spreads: evenly spaced quantiles, for how many tokens lose along their own
  direction hangs on the few rows that are far out, two to three times as long as the median;
- *the spectrum*: g is normal, its spread along the principal direction of rank k > 1 proportional
  to ``(1 + 6 / k) (1 - k / (d + 1)) ** 0.2``, nearly flat;
- *the lengths*: s is proportional to ``0.75 + 0.25 exp(0.45 u)`` with a normal u, so that few rows
  are much shorter than the median and many much longer;
- *the relatives*: rows like those of " dog", " Dog" and " dogs" share h, which is drawn like g; a
  family has 8 tokens on average, and a row's share a is Beta(1.6, 1.8). They are of similar length:
  a family's normal variable has the share ``0.6 + 0.4 a`` of u's variance;
- *the untrained tokens*, 0.3 % of all: a point somewhat nearer to the mean than the median row,
  plus 0.001 to 0.1 of a row's spread; one in ten is an exact copy of that point.

The numbers are those of SmolLM2-135M (49,152 x 576), checked against Whisper base (51,865 x 512).
``benchmarks/calibration.py`` measures them on any model, and docs/models.md has its table.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct  # type: ignore[import-untyped]  # it ships no types
from scipy.special import stdtrit  # type: ignore[import-untyped]  # it ships no types

Singles = NDArray[np.float32]

_COSINE = 0.85
"""Of the angle between the mean and the rogue direction."""
_FREEDOM, _CUT = 11.0, 1e-5
"""The rogue direction: the tails' degrees of freedom, and the probability that each is cut at."""
_HEAD, _EDGE = 6.0, 0.2
"""The spectrum: how far the first ranks stand out, how steeply the last ones fall."""
_LEAST, _ABOVE = 0.75, 0.45
"""The lengths: the least, of the median, and the spread of the logarithm of what is above it."""
_SHARE, _ALIKE = (1.6, 1.8), 0.6
"""The relatives: the Beta variable of what a row shares, and how alike the lengths are without."""
_NOISE = (math.log(1e-3), math.log(1e-1))
"""The logarithms of the least and the greatest distance of untrained rows from their point."""
_COPIES = 0.1
"""The share of untrained rows that are exact copies of that point."""

BLOCK = 4096
"""The rows that are drawn at a time."""


def draw(
    rng: np.random.Generator,
    V: int,
    d: int,
    *,
    mean: float,
    rogue: float,
    relatives: float,
    untrained: float,
) -> Singles:
    """Draw rows (V, d), a block at a time.

    ``rogue`` is a share of the spread, at most 1; for d = 1 there is no other direction.
    """
    order = rng.permutation(V)
    trained = V - round(untrained * V)
    spread = _spectrum(d, rogue)
    middle = _middle(rng, d, mean)
    turn = _Turn(rng, d)
    rows = np.empty((V, d), dtype=np.float32)
    far = rng.permutation(_rogue(trained, rogue))
    family = np.sort(rng.integers(0, max(1, round(trained / relatives)), trained))
    last = np.zeros(d + 1, dtype=np.float32)
    for start in range(0, trained, BLOCK):
        ids, inverse = np.unique(family[start : start + BLOCK], return_inverse=True)
        shared = rng.standard_normal((ids.size, d + 1), dtype=np.float32)
        if start and ids[0] == family[start - 1]:  # the block begins within a family
            shared[0] = last
        last = shared[-1].copy()
        n = inverse.size
        a = rng.beta(*_SHARE, (n, 1)).astype(np.float32)
        block = rng.standard_normal((n, d + 1), dtype=np.float32)
        size = _lengths(_mixed(_ALIKE + (1.0 - _ALIKE) * a, block[:, d:], shared[inverse, d:]))
        block = _mixed(a, block[:, :d], shared[inverse, :d]) * (spread * size)
        block[:, 0] = far[start : start + n]
        rows[order[start : start + n]] = turn(block + middle)
    point = 0.85 * spread * rng.standard_normal(d, dtype=np.float32)
    point[0] = rogue
    for start in range(trained, V, BLOCK):
        n = min(BLOCK, V - start)
        size = np.exp(rng.uniform(_NOISE[0], _NOISE[1], (n, 1))).astype(np.float32)
        size[rng.random(n) < _COPIES] = 0.0
        block = point + size * spread * rng.standard_normal((n, d), dtype=np.float32)
        rows[order[start : start + n]] = turn(block + middle)
    return rows


def drawing_memory(V: int, d: int) -> int:
    """Bound the bytes that `draw` takes: the rows, a few numbers per token, and the blocks."""
    return 4 * V * d + 32 * V + 4 * 6 * min(V, BLOCK) * d


def _spectrum(d: int, rogue: float) -> Singles:
    """Return the spread along each principal direction but the first (d,); 0 along the first."""
    rank = np.arange(1, d + 1)
    spread = (1.0 + _HEAD / rank) * (1.0 - rank / (d + 1)) ** _EDGE
    spread[0] = 0.0
    spread *= np.sqrt(max(0.0, 1.0 - rogue**2)) / (np.linalg.norm(spread) or 1.0)
    return spread.astype(np.float32)


def _middle(rng: np.random.Generator, d: int, mean: float) -> Singles:
    """Return the mean of the rows (d,): partly along the first direction, partly anywhere."""
    other = rng.standard_normal(d)
    other[0] = 0.0
    other *= np.sqrt(1.0 - _COSINE**2) / (np.linalg.norm(other) or 1.0)
    other[0] = _COSINE
    return (mean * other).astype(np.float32)


def _mixed(share: Singles, own: Singles, shared: Singles) -> Singles:
    """Return normal variables of which that share of the variance (n, 1) is shared."""
    mixed: Singles = np.sqrt(1.0 - share) * own + np.sqrt(share) * shared
    return mixed


def _lengths(u: Singles) -> Singles:
    """Return the lengths of rows, which have the mean square 1, from normal variables."""
    rest, mean = 1.0 - _LEAST, np.exp(_ABOVE**2 / 2.0)
    square = _LEAST**2 + 2.0 * _LEAST * rest * mean + rest**2 * mean**4
    lengths: Singles = (_LEAST + rest * np.exp(_ABOVE * u)) / np.float32(np.sqrt(square))
    return lengths


def _rogue(V: int, rogue: float) -> Singles:
    """Return coordinates along the rogue direction (V,), in ascending order, of that spread."""
    quantiles = stdtrit(_FREEDOM, _CUT + (1.0 - 2.0 * _CUT) * (np.arange(V) + 0.5) / V)
    along: Singles = (rogue * np.sqrt((_FREEDOM - 2.0) / _FREEDOM) * quantiles).astype(np.float32)
    return along


class _Turn:
    """A random orthogonal map: signs and a cosine transform, twice; ``d log d`` steps a row."""

    def __init__(self, rng: np.random.Generator, d: int) -> None:
        self._signs = rng.choice(np.array([-1.0, 1.0], dtype=np.float32), (2, d))

    def __call__(self, rows: Singles) -> Singles:
        """Return the rows (n, d), turned."""
        for signs in self._signs:
            rows = dct(rows * signs, norm="ortho", axis=1, overwrite_x=True)
        return rows
