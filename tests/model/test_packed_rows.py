"""Rows that are packed in lines of bytes by whoever hands them over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from geom import InputError, PackedArray, Readout
from geom.machine import memory

LINES = np.random.default_rng(3).integers(0, 256, (1000, 300), np.uint8)


def nibbles(lines: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.stack([lines & 15, lines >> 4], axis=2).reshape(len(lines), -1).astype(np.float32)


def halved(lines: NDArray[np.uint8]) -> NDArray[np.float32]:
    return lines.astype(np.float32)


@dataclass(frozen=True)
class Nibbles:
    """A matrix of integers of 4 bits, two in a byte."""

    shape: tuple[int, int] = (1000, 600)
    unpack = staticmethod(nibbles)

    def lines(self, rows: slice) -> NDArray[np.uint8]:
        return LINES[rows]

    def __getitem__(self, rows: slice) -> NDArray[np.float32]:
        return nibbles(LINES[rows])


class Halved(Nibbles):
    """One whose unpacking makes half of a row."""

    unpack = staticmethod(halved)


class Longer(Nibbles):
    """One with more lines than rows."""

    def lines(self, rows: slice) -> NDArray[np.uint8]:
        return LINES[rows.start : rows.stop + 1]


class Ragged(Nibbles):
    """One whose lines become shorter."""

    def lines(self, rows: slice) -> NDArray[np.uint8]:
        return LINES[rows, : 300 if rows.start == 0 else 200]


def test_a_readout_holds_the_lines_and_gives_the_rows() -> None:
    source = Nibbles()
    assert isinstance(source, PackedArray)
    readout = Readout.fold(source)
    assert readout.rows.nbytes == LINES.nbytes
    np.testing.assert_array_equal(readout.rows[::7], nibbles(LINES)[::7])
    assert readout.digest == Readout.fold(nibbles(LINES)).digest


@pytest.mark.parametrize("kind", [Halved, Longer, Ragged])
def test_lines_that_are_not_as_they_say_are_refused(kind: type[Nibbles]) -> None:
    with pytest.raises(InputError, match="W is packed, and"):
        Readout.fold(kind())


def test_lines_that_do_not_fit_are_refused_by_their_own_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "usable", lambda: LINES.nbytes - 1)
    with pytest.raises(InputError, match="W of 1000 x 600 as it is packed takes"):
        Readout.fold(Nibbles())
    monkeypatch.setattr(memory, "usable", lambda: LINES.nbytes)
    assert Readout.fold(Nibbles()).V == 1000
