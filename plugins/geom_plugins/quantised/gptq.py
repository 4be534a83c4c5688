"""GPTQ: integers of a few bits, packed along the width, with a scale and a zero for each group.

As AutoGPTQ and GPTQModel store it (gptqmodel/nn_modules/qlinear, dequantize_weight):
``scales[g] * (q - zero[g])``, where ``g = g_idx[column]``. Words of 32 bits hold ``qweight`` (d *
bits / 32, V) along the width and ``qzeros`` (groups, V * bits / 32) along the tokens. The format
``gptq`` stores each zero less one, ``gptq_v2`` as it is. The libraries compute in float16; a
float16 scale times an integer of nine bits is exact in float32, and so is the readout.

In ``gptq`` a zero of 0 was stored as the largest code, and kernels differ in whether adding one
makes it 0 or 2**bits: such a head is refused.
"""

from __future__ import annotations

import numpy as np

from geom import Ids
from geom_plugins.quantised.codes import Bytes, unpacked, unsigned
from geom_plugins.quantised.head import Head
from geom_plugins.quantised.lines import Dequantised, Unpacking, turned
from geom_plugins.quantised.settings import Settings


def open_head(head: Head, settings: Settings) -> Dequantised:
    """Open a head that a library of GPTQ stored.

    Raises InputError for a format that is not known, or if the tensors do not fit it.
    """
    less_one = _version(head, settings) == "gptq"
    bits = settings.number("bits")
    if bits not in (2, 3, 4, 8):
        raise head.damaged(f"config.json says {bits} bits, and GPTQ has 2, 3, 4 or 8")
    words, V = head.tensor("qweight", ("I32",), (None, None)).shape
    d = words * 32 // bits
    if d * bits != words * 32 or V * bits % 32:
        raise head.damaged(f"qweight of {words} x {V} words does not hold {bits} bits a number")
    groups, columns = _groups(head, settings, d)
    scales = head.scales("scales", (groups, V))
    zeros = _zeros(head, bits, groups, V)
    if less_one and (zeros == 2**bits - 1).any():
        raise head.refused(
            f"GPTQ whose format 'gptq' has zeros of {2**bits - 1}, which some programs read as 0 "
            f"and others as {2**bits}",
            "convert it to gptq_v2, or give a checkpoint whose unembedding is stored as floats",
        )
    zeros = zeros.astype(np.uint16) + np.uint16(less_one)
    form = "GPTQ" if less_one else "GPTQ v2"
    return Dequantised(
        (V, d),
        (turned(head.array("qweight", ("I32",))), turned(scales), turned(zeros)),
        Unpacking(d, bits, unsigned(bits), scales.dtype, groups, columns, zeros.dtype),
        f"{head.module} is {form} {bits}-bit in {groups} groups, dequantised to float64 as its "
        "library defines it, scale * (q - zero), exactly: not rounded to float16",
    )


def _version(head: Head, settings: Settings) -> str:
    """Return the format, ``gptq`` or ``gptq_v2``. Raises InputError for another."""
    found = settings.text("checkpoint_format") or settings.text("format") or "gptq"
    if settings.flag("is_marlin_format", False):
        found = "marlin"
    if found not in ("gptq", "gptq_v2"):
        raise head.refused(f"GPTQ in the format {found[:40]!r}, and geom reads gptq and gptq_v2")
    return found


def _groups(head: Head, settings: Settings, d: int) -> tuple[int, int | Ids]:
    """Return how many groups there are, and the width of each, or the group of each column."""
    size = settings.number("group_size")
    size = d if size == -1 else size
    if size is None or size < 1:
        raise head.damaged(f"config.json says groups of {size}")
    groups = -(-d // size)
    if not head.has("g_idx"):
        if settings.flag("desc_act", False):
            raise head.damaged("config.json says desc_act, and g_idx is missing")
        return groups, size
    columns = head.array("g_idx", ("I32", "I64"), (d,)).astype(np.int64)
    if (columns < 0).any() or (columns >= groups).any():
        raise head.damaged(f"g_idx names groups outside of the {groups} there are")
    if (columns == np.arange(d) // size).all():
        return groups, size
    if not settings.flag("desc_act", False):
        raise head.damaged("g_idx is out of order, and config.json does not say desc_act")
    return groups, columns


def _zeros(head: Head, bits: int, groups: int, V: int) -> Bytes:
    """Return the stored zeros (groups, V), as they are packed along the tokens."""
    words = head.array("qzeros", ("I32",), (groups, V * bits // 32))
    return unpacked(np.ascontiguousarray(words).view(np.uint8), bits, V)
