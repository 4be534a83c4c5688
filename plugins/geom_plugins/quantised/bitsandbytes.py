"""What bitsandbytes writes: int8 rows (``SCB``), and blocks of nf4 or fp4 (``weight.absmax``).

https://github.com/bitsandbytes-foundation/bitsandbytes, functional.py and backends/default/ops.py.
An int8 number is ``q * SCB / 127``, which float64 rounds once. Four-bit codes lie two a byte, the
first high, whatever type the bytes are stored as; a number is the code's entry in the table of nf4
or fp4, a float32, times its block's ``absmax``, exact in float64. If the absmax are themselves
quantised, bitsandbytes computes them in float32, and so does geom.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from geom_plugins.quantised.codes import signed
from geom_plugins.quantised.float8 import codes
from geom_plugins.quantised.head import FLOATS, INTEGERS, Head
from geom_plugins.quantised.lines import Dequantised, Unpacking, repeated

_STATE = "weight.quant_state.bitsandbytes__"
_LARGEST_STATE = 1 << 16
_TABLES = {
    "nf4": (
        -1.0,
        -0.6961928009986877,
        -0.5250730514526367,
        -0.39491748809814453,
        -0.28444138169288635,
        -0.18477343022823334,
        -0.09105003625154495,
        0.0,
        0.07958029955625534,
        0.16093020141124725,
        0.24611230194568634,
        0.33791524171829224,
        0.44070982933044434,
        0.5626170039176941,
        0.7229568362236023,
        1.0,
    ),
    "fp4": tuple(
        sign * part
        for sign in (1, -1)
        for part in (0, 1 / 192, 2 / 3, 1, 1 / 3, 1 / 2, 1 / 6, 1 / 4)
    ),
}
"""The number of each code, in float32: of nf4 as Dettmers et al., QLoRA (2023), appendix E, has."""


class _State(msgspec.Struct):
    """What is written about a tensor as JSON in bytes."""

    quant_type: str
    blocksize: int
    shape: tuple[int, int]
    nested_blocksize: int | None = None
    nested_offset: float | None = None


def claims_int8(head: Head) -> bool:
    """Return whether a head is int8 rows."""
    return head.has("SCB")


def open_int8(head: Head) -> Dequantised:
    """Open int8 rows. Raises InputError if the tensors do not fit."""
    if head.has("weight_format"):
        words = head.array("weight_format", ("U8",))
        if words.size != 1 or words.reshape(-1)[0] != 0:
            raise head.refused("int8 by bitsandbytes in an order of its older releases")
    V, d = head.tensor("weight", ("I8",), (None, None)).shape
    scales = head.scales("SCB", (V,)).reshape(V, 1)
    return Dequantised(
        (V, d),
        (codes(head, "weight", ("I8",)), repeated(scales, 1)),
        Unpacking(d, 8, signed(8), scales.dtype, 1, d, divisor=127.0),
        f"{head.module} is int8 by bitsandbytes, dequantised to float64 as it defines it, "
        "q * SCB / 127, not rounded to float16",
    )


def claims_4bit(head: Head) -> bool:
    """Return whether a head is blocks of nf4 or fp4."""
    return head.has("weight.absmax")


def open_4bit(head: Head) -> Dequantised:
    """Open blocks of four bits. Raises InputError if the tensors do not fit."""
    state = _state(head)
    V, d = state.shape
    kinds = (*FLOATS, *INTEGERS)
    width = head.tensor("weight", kinds)[:0].dtype.itemsize
    if min(V, d) < 1 or d % (2 * width):
        raise head.refused(f"4 bits by bitsandbytes with rows of {d} numbers, not whole words")
    words = d // 2 // width
    head.tensor("weight", kinds, (V * words, 1))
    absmax = _absmax(head, state, -(-V * d // state.blocksize))
    if d % state.blocksize == 0:
        group = state.blocksize
        scales = repeated(absmax.reshape(V, -1), 1)
    elif state.blocksize % d == 0:
        group = d
        scales = repeated(absmax.reshape(-1, 1), state.blocksize // d)
    else:
        raise head.refused(
            f"4 bits by bitsandbytes in blocks of {state.blocksize} that end inside of rows of {d}"
        )

    def swapped(rows: slice) -> NDArray[np.uint8]:
        part = head.tensor("weight", kinds)[rows.start * words : rows.stop * words]
        lines = np.ascontiguousarray(part).view(np.uint8).reshape(-1, d // 2)[:: rows.step]
        return np.asarray(lines >> 4 | lines << 4, np.uint8)

    table = np.array(_TABLES[state.quant_type], np.float32).astype(np.float64)
    return Dequantised(
        (V, d),
        (swapped, scales),
        Unpacking(d, 4, table, absmax.dtype, d // group, group),
        f"{head.module} is {state.quant_type} by bitsandbytes in blocks of {state.blocksize}, "
        "dequantised to float64 as it defines it, not rounded to the model's type",
    )


def _state(head: Head) -> _State:
    """Read the description of the tensor."""
    named = [child for child in head.children if child.startswith(_STATE)]
    if len(named) != 1:
        raise head.damaged(f"it has {len(named)} descriptions {head.full(_STATE)}*")
    words = head.tensor(named[0], ("U8",), (None,))
    if words.shape[0] > _LARGEST_STATE:
        raise head.damaged(f"{head.full(named[0])} has {words.shape[0]} bytes")
    try:
        state = msgspec.json.decode(words[:].tobytes(), type=_State)
    except (ValueError, RecursionError) as error:
        raise head.damaged(f"{head.full(named[0])} is damaged: {error}") from error
    if state.quant_type not in _TABLES or not named[0].endswith(state.quant_type):
        raise head.refused(f"4 bits by bitsandbytes of the type {state.quant_type[:40]!r}")
    if state.blocksize < 1 or (state.nested_blocksize or 1) < 1:
        raise head.damaged(f"it has blocks of {state.blocksize}")
    table = head.array("weight.quant_map", ("F32",), (16,))
    if (table != np.array(_TABLES[state.quant_type], np.float32)).any():
        raise head.damaged(f"its quant_map is not that of {state.quant_type}")
    return state


def _absmax(head: Head, state: _State, blocks: int) -> NDArray[np.float32]:
    """Return the largest number of each block, dequantised in float32 if they are quantised."""
    if not head.has("weight.nested_absmax"):
        return np.asarray(head.array("weight.absmax", ("F32",), (blocks,)))
    if state.nested_blocksize is None or state.nested_offset is None:
        raise head.damaged("its absmax are quantised, and nothing says how")
    words = head.array("weight.absmax", ("U8",), (blocks,))
    table = head.array("weight.nested_quant_map", ("F32",), (256,))
    outer = head.array("weight.nested_absmax", ("F32",), (-(-blocks // state.nested_blocksize),))
    spread = outer[np.arange(blocks) // state.nested_blocksize]
    with np.errstate(all="ignore"):  # what is not finite is refused when it is used
        return np.asarray(table[words] * spread + np.float32(state.nested_offset))
