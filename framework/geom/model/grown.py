"""Rows for tokens that are added to a vocabulary, as common tools initialise them.

`mean-cov` is what ``resize_token_embeddings`` of transformers does unless told otherwise (Hewitt,
Initializing new word embeddings for pretrained language models, 2021), `normal` what it does with
``mean_resizing=False``. Its arithmetic is kept: means and draws are rounded to float32, and then to
the type of the head.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geom.errors import InputError
from geom.machine import memory
from geom.model.head import Head
from geom.model.stored import Stored
from geom.numbers.arrays import Floats

INITS = ("mean", "mean-cov", "normal", "zeros", "copy:ID")
"""The ways to initialise a row."""

DEFAULT_INIT = "mean-cov"
"""What transformers does unless told otherwise."""

_SHARE = 1e-9
"""The share of the covariance that transformers draws with, and of the deviation of biases."""

_STD = 0.02
"""The ``initializer_range`` that transformers takes if a configuration has none."""

_HEIGHT = 1024
"""How many rows are read at a time; the draws depend on it."""


_DRAWN = 32
"""The bytes that a number of a new row takes while it is made, four times in float64."""

_TEXT = 256
"""The bytes of a new token's text and kind, and of the copies of them, at most."""


def grown(head: Head, count: int, init: str = DEFAULT_INIT, seed: int = 0) -> tuple[Head, str]:
    """Append rows to a head.

    The others are copied, in their own type; packed ones are unpacked.

    Parameters
    ----------
    head : Head
        The head.
    count : int
        How many rows.
    init : str, optional
        One of `INITS`.
    seed : int, optional
        The seed of `mean-cov` and `normal`.

    Returns
    -------
    tuple of Head and str
        The head with more rows, and a note of what was added.

    Raises
    ------
    InputError
        For another count, initialisation or seed; if the rows hold integers; and if there is no
        memory for a copy.
    """
    if count < 1:
        raise InputError(f"{count} new rows: add at least one")
    if seed < 0:
        raise InputError(f"the seed of new rows is {seed}: give 0 or more")
    V, k = head.shape
    if head.dtype.kind in "iu":
        raise InputError(
            f"new rows cannot be initialised in {head.dtype}, the type of W: give W in floats"
        )
    memory.check_memory(
        count * (_DRAWN * k + 8 * _HEIGHT + _TEXT),
        f"making {count} new rows of {k} numbers",
        "add fewer, or use a machine with more",
    )
    start = _Start(head, count, np.random.default_rng(seed))
    rows, biases, words = start.made(init)
    lines = head.stored.copied(count)
    lines[V:] = rounded(rows, head.dtype)
    if not np.isfinite(lines[V:].astype(np.float64)).all():
        raise InputError(f"a row initialised by {init} overflows {head.dtype}: choose another")
    lines.flags.writeable = False
    bias = None
    if head.bias is not None:
        bias = np.concatenate([head.bias, rounded(biases, head.dtype).astype(np.float64)])
    added = "1 row was" if count == 1 else f"{count} rows were"
    ids = f"id {V}" if count == 1 else f"ids {V} to {V + count - 1}"
    note = f"{added} added {words}, rounded to {head.dtype}: {ids}"
    return replace(head, stored=Stored(lines, head.stored.d), bias=bias), note


def rounded(values: Floats, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Round to float32, then to the type, as transformers does."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return values.astype(np.float32).astype(dtype)


@dataclass(frozen=True)
class _Start:
    """The rows (count, k) and biases (count,) that new tokens of a head start with."""

    head: Head
    count: int
    rng: np.random.Generator

    def made(self, init: str) -> tuple[Floats, Floats, str]:
        """Return rows, biases and what to call them. Raises InputError for an unknown way."""
        name, _, value = init.partition(":")
        shape = self.count, self.head.shape[1]
        zero = np.zeros(self.count)
        if init == "mean":
            return np.tile(self._mean, (self.count, 1)), zero + self._bias[0], "at the mean"
        if init == "mean-cov":
            return self._drawn()
        if name == "normal":
            std = _deviation(value) if value else _STD
            return (
                self.rng.standard_normal(shape) * std,
                zero,
                f"by a normal draw of deviation {std:g}",
            )
        if init == "zeros":
            return np.zeros(shape), zero, "as zeros"
        if name == "copy":
            return self._copied(value)
        raise InputError(f"init {init!r}: give {', '.join(INITS)}, or normal:STD")

    @cached_property
    def _mean(self) -> Floats:
        return mean_row(self.head.stored)

    @property
    def _bias(self) -> tuple[float, float]:
        """The mean of the biases, and their deviation."""
        bias = self.head.bias
        if bias is None:
            return 0.0, 0.0
        spread = float(np.std(bias, ddof=1)) if bias.size > 1 else 0.0
        return math.fsum(bias.tolist()) / bias.size, spread

    def _drawn(self) -> tuple[Floats, Floats, str]:
        """Draw with the rows' mean and a share of their covariance.

        A sum of centred rows with normal coefficients has the covariance of the rows, whatever it
        is, without a factorisation. As in transformers, it is the mean alone if the covariance is
        not positive definite.
        """
        V, k = self.head.shape
        centred = np.zeros((self.count, k))
        squares = np.zeros(k)
        for start in range(0, V, _HEIGHT):
            rows = self.head.numbers(slice(start, min(start + _HEIGHT, V))) - self._mean
            squares += np.square(rows).sum(axis=0)
            centred += self.rng.standard_normal((self.count, len(rows))) @ rows
        mean, deviation = self._bias
        biases = mean + _SHARE * deviation * self.rng.standard_normal(self.count)
        if k >= V or not squares.all():
            return (
                np.tile(self._mean, (self.count, 1)),
                biases,
                "at the mean, as the covariance of the rows is singular",
            )
        rows = self._mean + math.sqrt(_SHARE / V) * centred
        return rows, biases, f"at the mean plus a draw with {_SHARE:g} of the covariance"

    def _copied(self, value: str) -> tuple[Floats, Floats, str]:
        V, _ = self.head.shape
        if not re.fullmatch("[0-9]{1,9}", value) or int(value) >= V:
            raise InputError(f"init copy:{value}: give an id from 0 to {V - 1}, as in copy:17")
        token = int(value)
        row = self.head.numbers(slice(token, token + 1))
        bias = 0.0 if self.head.bias is None else float(self.head.bias[token])
        return (
            np.tile(row, (self.count, 1)),
            np.full(self.count, bias),
            f"as row {token} is",
        )


def mean_row(held: Stored) -> Floats:
    """Return the mean of all rows: their sum with compensation, divided once.

    The order is fixed, so every machine finds the same bits.
    """
    V, k = len(held.lines), held.d
    total = np.zeros((min(V, _HEIGHT), k))
    lost = np.zeros_like(total)
    for start in range(0, V, _HEIGHT):
        rows = held.numbers(slice(start, min(start + _HEIGHT, V)))
        _add(total[: len(rows)], lost[: len(rows)], rows)
    while len(total) > 1:  # the upper half onto the lower
        low = (len(total) + 1) // 2
        high = len(total) - low
        lost[:high] += lost[low:]
        _add(total[:high], lost[:high], total[low:])
        total, lost = total[:low], lost[:low]
    mean: Floats = (total[0] + lost[0]) / V
    return mean


def _add(total: Floats, lost: Floats, term: Floats) -> None:
    """Add to a sum, and what is lost by rounding to another."""
    new = total + term
    part = new - total
    lost += (total - (new - part)) + (term - part)
    total[:] = new


def _deviation(value: str) -> float:
    try:
        std = float(value)
    except ValueError:
        std = math.nan
    if not (0.0 < std < math.inf):
        raise InputError(f"init normal:{value}: give a deviation above 0, as in normal:0.02")
    return std
