"""float8 with scales: one for the tensor, one a row, or one for each block of rows and columns.

transformers' FineGrainedFP8 (integrations/finegrained_fp8.py, DeepSeek's form) has blocks of
``weight_block_size``, 128 x 128 unless told, in ``weight_scale_inv``; despite its name it is what
the weight is multiplied with. FBGEMM (``weight_scale``, one a row), NVIDIA's Model Optimizer
(``weight_scale``), DeepSeek's own program (``scale``) and Mistral's folders (``qscale_weight``, one
for the tensor) multiply too. Scales are float32, bfloat16, or E8M0. All compute in float32 or
bfloat16; a float8 number times a float32 scale has 28 bits, and the readout is exact in float64.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from geom_plugins.quantised.codes import float8
from geom_plugins.quantised.head import FLOAT8, Head
from geom_plugins.quantised.lines import Dequantised, Take, Unpacking, repeated
from geom_plugins.quantised.settings import Settings

_FORMS = {
    "weight_scale_inv": "FP8",
    "weight_scale": "FP8",
    "scale": "FP8",
    "qscale_weight": "Mistral's FP8",
}
"""Where the scale is, and the form's name."""

_METHODS = (None, "fp8", "fbgemm_fp8", "modelopt")
"""The quantisations of config.json that store float8 like this."""


def claims(head: Head) -> bool:
    """Return whether a head is float8 numbers with scales."""
    return head.kind("weight") in FLOAT8 and head.has(_scale(head))


def open_head(head: Head, settings: Settings) -> Dequantised:
    """Open a head of float8 numbers with scales.

    Raises InputError if config.json names another form, or if the scales do not fit.
    """
    if settings.method not in _METHODS:
        raise head.refused(f"float8 by {str(settings.method)[:40]!r}, which geom does not read")
    child = _scale(head)
    if len(set(_FORMS) & set(head.children)) > 1:
        raise head.damaged(f"it has scales twice, {', '.join(set(_FORMS) & set(head.children))}")
    blocks = settings.pair("weight_block_size")
    if settings.method == "fp8" and "weight_block_size" not in (settings.entries or {}):
        blocks = 128, 128  # as transformers has it unless told
    return scaled(head, child, blocks, _FORMS[child], "its library")


def scaled(
    head: Head, child: str, blocks: tuple[int, int] | None, form: str, library: str
) -> Dequantised:
    """Open a head of float8 numbers whose scales are in the tensor ``child``.

    ``blocks`` are the rows and columns that share a scale if the scales are a grid of them.
    """
    weight = head.tensor("weight", tuple(FLOAT8), (None, None))
    V, d = weight.shape
    values = head.exponents(child) if head.kind(child) == "F8_E8M0" else head.scales(child)
    grid, height, width = _grid(head, child, values, (V, d), blocks)
    shared = "for the tensor" if grid.size == 1 else "a row" if (height, width) == (1, d) else ""
    shared = shared and f"with one scale {shared}"
    return Dequantised(
        (V, d),
        (codes(head, "weight", tuple(FLOAT8)), repeated(grid, height)),
        Unpacking(d, 8, float8(FLOAT8[weight.dtype]), grid.dtype, grid.shape[1], width),
        f"{head.module} is {form} {shared or f'in blocks of {height} x {width}'}, dequantised to "
        f"float64 as {library} defines it, scale * q, exactly: not rounded to bfloat16",
    )


def codes(head: Head, child: str, kinds: tuple[str, ...]) -> Take:
    """Take the bytes of rows of a tensor."""
    return lambda rows: head.tensor(child, kinds)[rows]


def _grid(
    head: Head,
    child: str,
    values: NDArray[Any],
    shape: tuple[int, int],
    blocks: tuple[int, int] | None,
) -> tuple[NDArray[Any], int, int]:
    """Return the scales as a matrix, and the rows and columns that each belongs to."""
    V, d = shape
    if values.size == 1:
        return values.reshape(1, 1), V, d
    if values.shape in ((V,), (V, 1)) and child != "qscale_weight":
        return values.reshape(V, 1), 1, d
    if blocks is not None:
        height, width = blocks
        if values.shape == (-(-V // height), -(-d // width)):
            return values, height, width
    said = "no weight_block_size" if blocks is None else f"blocks of {blocks[0]} x {blocks[1]}"
    raise head.damaged(
        f"{head.full(child)} has shape {values.shape} for {V} x {d} numbers, and config.json has "
        f"{said}"
    )


def _scale(head: Head) -> str:
    return next((child for child in _FORMS if head.has(child)), "weight_scale")
