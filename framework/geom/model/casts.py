"""Rounding a head to another format, as a deployment does, a block of rows at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from geom.errors import InputError, unknown
from geom.machine import memory
from geom.model import arrays
from geom.model.packing import Blocks, Packing, PerRow, to_odd
from geom.model.stored import Stored
from geom.numbers.arrays import Floats

_READ = 1 << 20
"""How many numbers are rounded at a time."""


@dataclass(frozen=True)
class _Float:
    """A short float type: every number is rounded on its own, halves to even.

    Attributes
    ----------
    dtype : dtype
        The type.
    largest : float
        Its largest number.
    saturates : bool
        Whether numbers beyond the largest become the largest, as in the saturating mode of the OCP
        standard for 8 bits; without it they are refused.
    """

    dtype: np.dtype[Any]
    largest: float
    saturates: bool = False

    def rounded(self, rows: Floats, first: int) -> tuple[NDArray[Any], int]:
        """Return the rounded rows, and how many numbers became the largest.

        Raises InputError for a number that rounds to infinity; ``first`` numbers the first row.
        """
        beyond = np.abs(rows) > self.largest
        count = int(beyond.sum()) if self.saturates else 0
        if count:
            rows = np.clip(rows, -self.largest, self.largest)
        with np.errstate(over="ignore", under="ignore"):
            out = to_odd(rows).astype(self.dtype)
        if not self.saturates and beyond.any():
            infinite = beyond & ~np.isfinite(out.astype(np.float64))
            if infinite.any():
                row, column = np.argwhere(infinite)[0]
                raise InputError(
                    f"W[{first + int(row)}, {int(column)}] is {rows[row, column]:g}, beyond the "
                    f"largest number of {self.dtype.name}, {self.largest:g}: choose a cast of "
                    "more range"
                )
        return out, count


_FORMATS: dict[str, _Float | Packing] = {
    "float16": _Float(np.dtype(np.float16), 65504.0),
    "bfloat16": _Float(np.dtype(ml_dtypes.bfloat16), math.ldexp(255, 120)),
    "float8-e4m3": _Float(np.dtype(ml_dtypes.float8_e4m3fn), 448.0, saturates=True),
    "float8-e4m3-row": PerRow("float8_e4m3fn"),
    "int8-row": PerRow("int8"),
    "q8_0": Blocks(8),
    "q5_1": Blocks(5, minimum=True),
    "q5_0": Blocks(5),
    "q4_1": Blocks(4, minimum=True),
    "q4_0": Blocks(4),
}

CASTS = tuple(_FORMATS)
"""The formats that a head can be cast to, in the order of their bits."""


def cast_rows(held: Stored, name: str) -> tuple[Stored, str]:
    """Round rows to a format.

    They are read a block at a time, and the memory taken is what the new format takes.

    Parameters
    ----------
    held : Stored
        The rows (V, k).
    name : str
        One of `CASTS`.

    Returns
    -------
    tuple of Stored and str
        The rows in that format, and a note of what was rounded.

    Raises
    ------
    InputError
        For another name; for a row that overflows the format, or does not fill its blocks; and if
        there is no memory for the rows.
    """
    if name not in _FORMATS:
        raise unknown("cast", name, _FORMATS)
    form = _FORMATS[name]
    V, d = len(held.lines), held.d
    kind, width = (form.dtype, d) if isinstance(form, _Float) else (np.uint8, form.width(d))
    need = V * width * np.dtype(kind).itemsize
    memory.check_memory(
        need, f"W of {V} x {d} in {name}", "free some memory, or use a machine with more"
    )
    lines = np.empty((V, width), kind)
    largest, changed = 0, 0
    height = max(1, _READ // d)
    for start in range(0, V, height):
        part = slice(start, min(start + height, V))
        rows = held.numbers(part)
        if isinstance(form, _Float):
            lines[part], beyond = form.rounded(rows, start)
            largest += beyond
            new = arrays.widened(lines[part])
        else:
            lines[part] = form.pack(rows)
            form.refuse_infinite(lines[part], start)
            new = arrays.widened(form.unpack(lines[part]))
        changed += int((new != rows).any(axis=1).sum())
    lines.flags.writeable = False
    unpack = None if isinstance(form, _Float) else form.unpack
    return Stored(lines, d, unpack), _note(name, form, V, changed, largest)


def _note(name: str, form: _Float | Packing, V: int, changed: int, largest: int) -> str:
    """Say what the cast did."""
    note = f"the head was rounded to {name}: {changed} of {V} rows changed"
    if isinstance(form, _Float) and form.saturates:
        note += f", no scale; {largest} numbers beyond 448 became 448" if largest else ", no scale"
    return note
