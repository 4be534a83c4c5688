"""AWQ: integers of four bits, packed along the tokens in an order of its own, in groups.

As AutoAWQ's version ``gemm`` stores it (awq/modules/linear/gemm.py, awq/utils/packing_utils.py):
``scales[g] * (q - zero[g])`` with ``qweight`` (d, V / 8) and ``qzeros`` (groups, V / 8). The eight
tokens of a word lie in it in the order 0, 2, 4, 6, 1, 3, 5, 7, the first lowest. AutoAWQ computes
in float16; a float16 scale times an integer of five bits is exact in float32, and so is the
readout.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geom_plugins.quantised.codes import Bytes, packed_nibbles, unsigned
from geom_plugins.quantised.head import Head
from geom_plugins.quantised.lines import Dequantised, Take, Unpacking, turned
from geom_plugins.quantised.settings import Settings

_PLACES = np.array([0, 4, 1, 5, 2, 6, 3, 7], np.uint32)
"""Where each of the eight tokens of a word lies in it, in steps of four bits."""


def open_head(head: Head, settings: Settings) -> Dequantised:
    """Open a head that AutoAWQ stored.

    Raises InputError for another version than ``gemm``, or if the tensors do not fit it.
    """
    version = (settings.text("version") or settings.text("format") or "gemm").lower()
    if version != "gemm":
        raise head.refused(f"AWQ in the version {version[:40]!r}, and geom reads gemm")
    bits = settings.number("bits", settings.number("w_bit", 4))
    if bits != 4:
        raise head.refused(f"AWQ with {bits} bits, and geom reads 4")
    d, words = head.tensor("qweight", ("I32",), (None, None)).shape
    size = settings.number("group_size", settings.number("q_group_size"))
    size = d if size == -1 else size
    if size is None or size < 1 or d % size:
        raise head.damaged(f"config.json says groups of {size}, and a row has {d} numbers")
    V, groups = 8 * words, d // size
    scales = head.scales("scales", (groups, V))
    zeros = _codes(head.array("qzeros", ("I32",), (groups, words)), slice(0, V))
    return Dequantised(
        (V, d),
        (_nibbles(head.array("qweight", ("I32",))), turned(scales), turned(zeros)),
        Unpacking(d, bits, unsigned(bits), scales.dtype, groups, size, zeros.dtype),
        f"{head.module} is AWQ 4-bit in groups of {size}, dequantised to float64 as AutoAWQ "
        "defines it, scale * (q - zero), exactly: not rounded to float16",
    )


def _nibbles(words: NDArray[Any]) -> Take:
    """Take the codes of rows of the matrix, two in a byte."""
    return lambda rows: packed_nibbles(_codes(words, rows).T)


def _codes(words: NDArray[Any], tokens: slice) -> Bytes:
    """Return the codes (m, n) of a run of tokens in words (m, V / 8)."""
    first, last = tokens.start // 8, -(-tokens.stop // 8)
    part = np.ascontiguousarray(words[:, first:last]).view(np.uint32)
    codes = (part[:, :, None] >> (4 * _PLACES)) & np.uint32(15)
    flat = codes.astype(np.uint8).reshape(len(part), -1)
    begin = tokens.start - 8 * first
    return flat[:, begin : begin + tokens.stop - tokens.start : tokens.step]
