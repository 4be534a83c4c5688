"""Quantised rows: how numbers are packed into bytes, and which numbers the bytes stand for.

`Blocks` are ggml's Q8_0, Q5_1, Q5_0, Q4_1 and Q4_0: 32 numbers of a row share a scale, and in the
``_1`` types a minimum, both in float16. All steps are in float32, as in ggml's reference quantisers
(``quantize_row_q8_0_ref`` and its like in ggml/src/ggml-quants.c) and in the package ``gguf``, so
the bytes are the same.

`PerRow` is the simplest scheme of 8 bits: a scale per row, the largest size of the row over the
largest code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from geom.errors import InputError
from geom.numbers.arrays import Floats

Bytes = NDArray[np.uint8]
Singles = NDArray[np.float32]

BLOCK = 32
"""The numbers of a row that share a scale."""

_HALF = BLOCK // 2


@dataclass(frozen=True)
class Blocks:
    """One of ggml's types of blocks.

    Attributes
    ----------
    bits : {8, 5, 4}
        The bits of a code.
    minimum : bool
        Whether a block has a minimum, and its codes count from there; otherwise they count from
        the middle, and the scale may be negative.
    """

    bits: Literal[8, 5, 4]
    minimum: bool = False

    @property
    def block_bytes(self) -> int:
        """The bytes of a block."""
        return (4 if self.minimum else 2) + self.bits * BLOCK // 8

    def width(self, d: int) -> int:
        """Return the bytes of a row of ``d`` numbers. Raises InputError unless they fill blocks."""
        if d % BLOCK:
            raise InputError(
                f"rows of {d} numbers do not fill blocks of {BLOCK}, as ggml's types need: choose "
                "float16, bfloat16, float8-e4m3, float8-e4m3-row or int8-row"
            )
        return d // BLOCK * self.block_bytes

    def pack(self, rows: Floats) -> Bytes:
        """Return lines (n, k) of bytes for rows (n, d), which are rounded to float32 first.

        A scale that overflows float16 becomes infinite, as in ggml.
        """
        n, d = rows.shape
        with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
            x = rows.astype(np.float32).reshape(-1, BLOCK)
            low = x.min(axis=1, keepdims=True)
            if self.bits == 8:
                scale = np.abs(x).max(axis=1, keepdims=True) / np.float32(127)
            elif self.minimum:
                scale = (x.max(axis=1, keepdims=True) - low) / np.float32(2**self.bits - 1)
            else:
                furthest = np.abs(x).argmax(axis=1)[:, None]
                scale = np.take_along_axis(x, furthest, 1) / np.float32(-(2 ** (self.bits - 1)))
            inverse = np.where(scale == 0, np.float32(0), 1 / scale)
            inverse[~np.isfinite(inverse)] = 0  # a scale so small is zero in float16
            codes = self._codes((x - low if self.minimum else x) * inverse)
            parts = [scale.astype(np.float16)]
            if self.minimum:
                parts.append(low.astype(np.float16))
        head = [part.view(np.uint8) for part in parts]
        return np.concatenate([*head, *self._packed(codes)], axis=1).reshape(n, self.width(d))

    def _codes(self, steps: Singles) -> Bytes:
        """Return the codes of numbers that are given in steps of the scale."""
        if self.bits == 8:  # halves are rounded away from zero, as C's roundf does
            size = np.abs(steps)
            whole = np.floor(size)
            whole += size - whole >= 0.5
            signed: NDArray[np.int8] = np.nan_to_num(np.copysign(whole, steps)).astype(np.int8)
            return np.asarray(signed.view(np.uint8))
        middle = 0 if self.minimum else 2 ** (self.bits - 1)
        shifted = np.nan_to_num(steps + np.float32(middle + 0.5))
        codes: Bytes = np.clip(np.trunc(shifted), 0, 2**self.bits - 1).astype(np.uint8)
        return codes

    def _packed(self, codes: Bytes) -> list[Bytes]:
        """Return the bytes of codes (n, 32), in the order of the type."""
        if self.bits == 8:
            return [codes]
        low = codes & np.uint8(15)
        nibbles: Bytes = low[:, :_HALF] | (low[:, _HALF:] << np.uint8(4))
        fifth = np.packbits(codes >> np.uint8(4), axis=1, bitorder="little")
        return [fifth, nibbles] if self.bits == 5 else [nibbles]

    def unpack(self, lines: Bytes) -> Singles:
        """Return rows (n, d) for lines (n, k) of bytes, in float32 as llama.cpp dequantises."""
        n, k = lines.shape
        blocks = np.ascontiguousarray(lines).reshape(-1, self.block_bytes)
        head = 4 if self.minimum else 2
        scales = np.ascontiguousarray(blocks[:, :head]).view("<f2").astype(np.float32)
        body = blocks[:, head:]
        if self.bits == 8:
            codes = body.view(np.int8).astype(np.float32)
        else:
            nibbles = body[:, -_HALF:]
            whole = np.concatenate([nibbles & 15, nibbles >> 4], axis=1)
            if self.bits == 5:
                fifth = np.unpackbits(np.ascontiguousarray(body[:, :4]), axis=1, bitorder="little")
                whole |= fifth << 4
            middle = 0 if self.minimum else 2 ** (self.bits - 1)
            codes = whole.astype(np.float32) - np.float32(middle)
        out = scales[:, :1] * codes
        if self.minimum:
            out += scales[:, 1:]
        return np.asarray(out.reshape(n, k // self.block_bytes * BLOCK))

    def refuse_infinite(self, lines: Bytes, first: int) -> None:
        """Raise InputError if a scale or a minimum is not finite; ``first`` numbers the first."""
        blocks = lines.reshape(len(lines), -1, self.block_bytes)
        head = np.ascontiguousarray(blocks[:, :, : 4 if self.minimum else 2]).view("<f2")
        bad = ~np.isfinite(head).all(axis=(1, 2))
        if bad.any():
            raise InputError(
                f"row {first + int(np.flatnonzero(bad)[0])} of W has a block whose scale or "
                "minimum overflows float16, in which the type keeps them: choose bfloat16"
            )


@dataclass(frozen=True)
class PerRow:
    """Eight bits a number, and a scale per row in float32: its largest size over the largest code.

    Attributes
    ----------
    codes : {"int8", "float8_e4m3fn"}
        The type of the codes; those of int8 are at most 127 in size, so the scheme is symmetric.
    """

    codes: Literal["int8", "float8_e4m3fn"]

    @property
    def _largest(self) -> float:
        return 127.0 if self.codes == "int8" else 448.0

    @property
    def _dtype(self) -> np.dtype[Any]:
        return np.dtype(np.int8 if self.codes == "int8" else ml_dtypes.float8_e4m3fn)

    def width(self, d: int) -> int:
        """Return the bytes of a row of ``d`` numbers."""
        return 4 + d

    def pack(self, rows: Floats) -> Bytes:
        """Return lines (n, 4 + d) of bytes for rows (n, d): the scale, then the codes.

        The codes are the numbers over the scale, rounded once, halves to even.
        """
        with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
            scale = (np.abs(rows).max(axis=1, keepdims=True) / self._largest).astype("<f4")
            steps = np.where(scale == 0, 0.0, rows / scale.astype(np.float64))
        steps = np.clip(np.nan_to_num(steps), -self._largest, self._largest)
        codes = np.rint(steps) if self.codes == "int8" else to_odd(steps)
        return np.concatenate(
            [scale.view(np.uint8), codes.astype(self._dtype).view(np.uint8)], axis=1
        )

    def unpack(self, lines: Bytes) -> Floats:
        """Return rows (n, d) for lines (n, 4 + d) of bytes: the products are exact in float64."""
        scale = np.ascontiguousarray(lines[:, :4]).view("<f4").astype(np.float64)
        codes = np.ascontiguousarray(lines[:, 4:]).view(self._dtype).astype(np.float64)
        return np.asarray(scale * codes)

    def refuse_infinite(self, lines: Bytes, first: int) -> None:
        """Raise InputError if a scale is not finite; ``first`` numbers the first row."""
        scale = np.ascontiguousarray(lines[:, :4]).view("<f4")[:, 0]
        if not np.isfinite(scale).all():
            raise InputError(
                f"row {first + int(np.flatnonzero(~np.isfinite(scale))[0])} of W has a scale that "
                "overflows float32: scale the rows down"
            )


Packing = Blocks | PerRow
"""Any of the two."""


def to_odd(rows: Floats) -> Singles:
    """Round to float32, towards the odd neighbour if the number lies between two.

    Rounding the result to a shorter type then gives what rounding the number itself gives: float32
    has at least two bits more than such a type, and an odd last bit tells that there was more
    (Boldo and Melquiond, Emulation of FMA and correctly rounded sums, IEEE Trans. Comput. 57,
    2008). Rounding twice to the nearest would not: the libraries of short types do.
    """
    with np.errstate(over="ignore", under="ignore"):
        near = rows.astype(np.float32)
    off = rows - near  # exact up to its sign, which is all that is read; NaN if near is infinite
    even = (near.view(np.uint32) & 1) == 0
    away = np.where(off > 0, np.float32(np.inf), np.float32(-np.inf))
    moved = np.nextafter(near, away)
    return np.where(even & (off != 0) & np.isfinite(near), moved, near)
