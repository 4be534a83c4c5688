"""MLX's groups: a row in groups of columns, each with a scale, and in the affine mode a bias.

``mlx.core.quantize`` (https://ml-explore.github.io/mlx/build/html/python/_autosummary/
mlx.core.quantize.html) packs codes into 32-bit words, the first code lowest. In the affine mode a
number is ``scale * q + bias``; in mxfp4, mxfp8 and nvfp4 it is an E2M1 or E4M3 number times an E8M0
or E4M3 scale. MLX computes either in the type of the scales or in float32, depending on the
operation. The readout is the exact value, rounded once to float64 if that does not hold it, as it
always does for scales and biases in float16. config.json has the group size and the bits in
``quantization``, and may have others for a module, under its name. transformers' own Metal
quantisation is the affine mode with biases called ``qbiases``.
"""

from __future__ import annotations

import numpy as np

from geom import InputError
from geom_plugins.quantised.codes import E2M1, float8, unsigned
from geom_plugins.quantised.head import Head
from geom_plugins.quantised.lines import Dequantised, Unpacking, repeated
from geom_plugins.quantised.settings import Settings

_BITS = (1, 2, 3, 4, 5, 6, 8)
_MODES = {"mxfp4": (4, 32), "mxfp8": (8, 32), "nvfp4": (4, 16)}
"""Bits and group size of the modes whose scales are bytes."""


def claims(head: Head) -> bool:
    """Return whether a head is stored by MLX."""
    return head.has("weight", "scales") and head.kind("weight") == "U32"


def open_head(head: Head, settings: Settings) -> Dequantised:
    """Open a head that MLX stored.

    Raises InputError if config.json does not say how, or if the tensors do not fit it.
    """
    if not settings.entries:
        raise _unsaid(head)
    own = settings.inner(head.module) or settings
    mode = own.text("mode")
    if mode is None and own.number("bits") is None:
        mode = settings.text("mode")
    if mode is None or mode == "affine":
        return _affine(head, own, settings)
    if mode not in _MODES:
        raise head.refused(f"MLX's mode {mode[:40]!r}, which geom does not read")
    return _floating(head, own, mode)


def _affine(head: Head, own: Settings, settings: Settings) -> Dequantised:
    bits = own.number("bits", settings.number("bits"))
    group = own.number("group_size", settings.number("group_size"))
    if bits is None or group is None:
        raise _unsaid(head)
    if bits not in _BITS or group < 1:
        raise head.damaged(f"config.json says {bits} bits in groups of {group}")
    biases = "biases" if head.has("biases") else "qbiases"
    V, d, groups = _shape(head, bits, group)
    scales = head.scales("scales", (V, groups))
    offsets = head.scales(biases, (V, groups))
    return Dequantised(
        (V, d),
        (
            lambda rows: head.tensor("weight", ("U32",))[rows],
            repeated(scales, 1),
            repeated(offsets, 1),
        ),
        Unpacking(
            d, bits, unsigned(bits), scales.dtype, groups, group, offsets.dtype, offset="bias"
        ),
        f"{head.module} is MLX {bits}-bit in groups of {group}, dequantised to float64 as MLX "
        "defines it, scale * q + bias, not rounded to the scales' type",
    )


def _floating(head: Head, own: Settings, mode: str) -> Dequantised:
    bits, group = _MODES[mode]
    if (own.number("bits", bits), own.number("group_size", group)) != (bits, group):
        raise head.damaged(f"config.json says {mode} with other bits or another group size")
    V, d, groups = _shape(head, bits, group)
    if mode == "nvfp4":
        words = head.array("scales", ("U8",), (V, groups))
        scales = float8("float8_e4m3fn")[words].astype(np.float16)
    else:
        scales = head.exponents("scales", (V, groups))
    numbers = E2M1 if bits == 4 else float8("float8_e4m3fn")
    return Dequantised(
        (V, d),
        (lambda rows: head.tensor("weight", ("U32",))[rows], repeated(scales, 1)),
        Unpacking(d, bits, numbers, scales.dtype, groups, group),
        f"{head.module} is MLX {mode} in groups of {group}, dequantised to float64 as MLX defines "
        "it, exactly",
    )


def _shape(head: Head, bits: int, group: int) -> tuple[int, int, int]:
    """Return V, d and the groups of a row. Raises InputError if codes and scales disagree."""
    V, words = head.tensor("weight", ("U32",), (None, None)).shape
    groups = head.tensor("scales", ("F16", "BF16", "F32", "U8"), (V, None)).shape[1]
    d = groups * group
    if words * 32 != d * bits:
        raise head.damaged(
            f"{words} words a row do not hold {groups} groups of {group} numbers of {bits} bits, "
            "as config.json has them"
        )
    return V, d, groups


def _unsaid(head: Head) -> InputError:
    return head.refused(
        "groups of integers with scales, as MLX does it, and nothing says how many bits they have",
        "give its folder with a config.json that has quantization, as hf:DIR",
    )
