"""compressed-tensors: what LLM Compressor writes for vLLM, in several formats.

https://github.com/vllm-project/compressed-tensors, compressors/ and quantization/lifecycle:

- ``pack-quantized``: ``weight_packed`` has words of 32 bits along the width, codes of 1 to 8 bits
  without gaps, the lowest first, each plus half its range; ``weight_scale`` is (V, groups), (V, 1)
  or one number; ``weight_zero_point`` is packed alike, but along the tokens; ``weight_shape`` is
  (V, d). Earlier releases left gaps in words of codes of 3, 5, 6 or 7 bits: refused.
- ``int-quantized`` and ``float-quantized``: ``weight`` is int8 or float8, with ``weight_scale``.
- ``nvfp4-pack-quantized``: two E2M1 codes a byte, the first low, a float8 scale for each 16, and
  ``weight_global_scale``, which divides.
- ``mxfp4-``, ``mxfp6-pack-quantized`` and ``mxfp8-quantized``: codes of E2M1, E2M3 or E4M3, an E8M0
  scale for each 32.

A number is ``scale * (q - zero)``. The library computes it in the type of the scales, mostly
bfloat16. The readout is the exact value in float64; only the division of nvfp4 rounds, once.

What the tensors are follows from their types and shapes; config.json must have a group that says
the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geom_plugins.quantised.codes import E2M1, E2M3, float8, length, signed, unpacked, unsigned
from geom_plugins.quantised.float8 import codes, scaled
from geom_plugins.quantised.head import FLOAT8, Head
from geom_plugins.quantised.lines import Dequantised, Take, Unpacking, repeated
from geom_plugins.quantised.settings import Settings

METHODS = ("compressed-tensors", "sparseml")
_FORMATS = {
    "pack-quantized",
    "int-quantized",
    "float-quantized",
    "naive-quantized",
    "nvfp4-pack-quantized",
    "mxfp4-pack-quantized",
    "mxfp6-pack-quantized",
    "mxfp8-quantized",
    "mixed-precision",
}
_LIBRARY = "compressed-tensors"


def open_head(head: Head, settings: Settings) -> Dequantised:
    """Open a head that compressed-tensors stored.

    Raises InputError for a format that is not read, or if tensors and config.json disagree.
    """
    formats = _formats(head, settings)
    if head.has("weight_g_idx"):
        raise head.refused(
            f"{_LIBRARY} with an order of activations (weight_g_idx), which its own library no "
            "longer reads"
        )
    transforms = (settings.entries or {}).get("transform_config")
    if transforms:
        raise head.refused(
            f"{_LIBRARY} with transforms, which may turn what comes before the unembedding"
        )
    if head.has("weight_packed"):
        if head.kind("weight_packed") == "I32":
            return _packed(head, settings)
        return _small_floats(head, settings, formats)
    kind = head.kind("weight")
    if kind in FLOAT8:
        return _float8(head, settings, formats)
    if kind == "I8":
        return _int8(head, settings)
    raise head.refused(f"{_LIBRARY} in a form that geom does not read ({', '.join(formats)})")


@dataclass(frozen=True)
class _Scheme:
    """What the tensors say, to be found in config.json too."""

    bits: int
    kind: str
    strategy: str
    symmetric: bool
    group: int | None = None

    def check(self, head: Head, settings: Settings) -> None:
        """Raise InputError unless a group of config.json says the same of its weights."""
        for group in settings.each("config_groups"):
            weights = group.inner("weights")
            if weights is not None and self._is(weights):
                return
        size = f" in groups of {self.group}" if self.group else ""
        raise head.damaged(
            f"its tensors are {self.kind}{self.bits} by {self.strategy}{size}, "
            f"{'without' if self.symmetric else 'with'} zero points, and no group of config.json's "
            "quantization_config says so"
        )

    def _is(self, weights: Settings) -> bool:
        strategy = weights.text("strategy")
        if strategy is None:  # as the library infers it
            size = weights.number("group_size")
            strategy = "tensor" if size is None else "group" if size > 0 else "channel"
        return (
            weights.number("num_bits", 8) == self.bits
            and weights.text("type", "int") == self.kind
            and weights.flag("symmetric", True) == self.symmetric
            and strategy == self.strategy
            and (self.group is None or weights.number("group_size") == self.group)
        )


def _formats(head: Head, settings: Settings) -> list[str]:
    """Return the formats of config.json. Raises InputError if one of them is not read."""
    found = [settings.text("format")]
    found += [group.text("format") for group in settings.each("config_groups")]
    named = [form for form in found if form is not None]
    for form in named:
        if form not in _FORMATS:
            raise head.refused(f"{_LIBRARY} in the format {form[:40]!r}, which geom does not read")
    sparse = settings.inner("sparsity_config")
    if sparse is not None and sparse.text("format", "dense") != "dense":
        raise head.refused(f"{_LIBRARY} with sparsity, {str(sparse.text('format'))[:40]!r}")
    if not named:
        raise head.refused(f"{_LIBRARY}, and its config.json names no format")
    return named


def _packed(head: Head, settings: Settings) -> Dequantised:
    """Open integers in words of 32 bits."""
    rows, words = head.tensor("weight_packed", ("I32",), (None, None)).shape
    V, d = (int(size) for size in head.array("weight_shape", ("I64", "I32"), (2,)))
    if rows != V or not 0 < d <= 32 * words:
        raise head.damaged(f"weight_shape is {V} x {d}, weight_packed {rows} x {words}")
    bits = _bits(head, settings, d, words)
    scales = head.scales("weight_scale")
    grid, height, group, strategy = _spread(head, scales, V, d)
    symmetric = not head.has("weight_zero_point")
    _Scheme(bits, "int", strategy, symmetric, group if strategy == "group" else None).check(
        head, settings
    )
    half = 2 ** (bits - 1)
    parts: list[Take] = [
        lambda rows: _words(head, rows)[:, : length(d, bits)],
        repeated(grid, height),
    ]
    zero = None
    if not symmetric:
        groups = grid.shape[1]
        if strategy == "tensor":
            raise head.refused(f"{_LIBRARY} with one zero point for the tensor")
        packed = head.array("weight_zero_point", ("I32",), (-(-V * bits // 32), groups))
        columns = np.ascontiguousarray(packed.T).view(np.uint8)
        zeros = np.ascontiguousarray(unpacked(columns, bits, V).T)
        parts.append(repeated(zeros, 1))
        zero, half = zeros.dtype, 0  # both have half the range added
    return Dequantised(
        (V, d),
        tuple(parts),
        Unpacking(d, bits, unsigned(bits, half), grid.dtype, grid.shape[1], group, zero),
        _note(head, f"int{bits}", _shared(strategy, group), "scale * (q - zero)"),
    )


def _words(head: Head, rows: slice) -> NDArray[np.uint8]:
    part = np.ascontiguousarray(head.tensor("weight_packed", ("I32",))[rows])
    return part.view(np.uint8)


def _bits(head: Head, settings: Settings, d: int, words: int) -> int:
    """Return how many bits a code has, so that the words hold a row without gaps."""
    said = {
        weights.number("num_bits", 8)
        for group in settings.each("config_groups")
        if (weights := group.inner("weights")) is not None
    }
    fitting = [bits for bits in range(1, 9) if bits in said and -(-d * bits // 32) == words]
    gaps = [bits for bits in (3, 5, 6, 7) if bits in said and -(-d // (32 // bits)) == words]
    if gaps:
        raise head.refused(f"{_LIBRARY} with {gaps[0]} bits, which its releases pack differently")
    if len(fitting) != 1:
        raise head.damaged(
            f"{words} words a row do not hold {d} numbers of as many bits as config.json says"
        )
    return fitting[0]


def _spread(head: Head, scales: NDArray[Any], V: int, d: int) -> tuple[NDArray[Any], int, int, str]:
    """Return scales as a matrix, the rows and columns that share one, and the strategy's name."""
    if scales.size == 1 and V > 1:
        return scales.reshape(1, 1), V, d, "tensor"
    if scales.shape in ((V,), (V, 1)):
        return scales.reshape(V, 1), 1, d, "channel"
    if scales.ndim == 2 and len(scales) == V and d % scales.shape[1] == 0:
        return scales, 1, d // scales.shape[1], "group"
    raise head.damaged(f"weight_scale has shape {scales.shape} for {V} x {d} numbers")


def _int8(head: Head, settings: Settings) -> Dequantised:
    """Open int8 numbers with scales."""
    V, d = head.tensor("weight", ("I8",), (None, None)).shape
    grid, height, group, strategy = _spread(head, head.scales("weight_scale"), V, d)
    symmetric = not head.has("weight_zero_point")
    _Scheme(8, "int", strategy, symmetric, group if strategy == "group" else None).check(
        head, settings
    )
    parts = [codes(head, "weight", ("I8",)), repeated(grid, height)]
    zero = None
    if not symmetric:
        zeros = head.array("weight_zero_point", ("I8",))
        if prod(zeros.shape) != grid.size:
            raise head.damaged(f"weight_zero_point has shape {zeros.shape}")
        parts.append(repeated(zeros.reshape(grid.shape), height))
        zero = zeros.dtype
    return Dequantised(
        (V, d),
        tuple(parts),
        Unpacking(d, 8, signed(8), grid.dtype, grid.shape[1], group, zero),
        _note(head, "int8", _shared(strategy, group), "scale * (q - zero)"),
    )


def _float8(head: Head, settings: Settings, formats: list[str]) -> Dequantised:
    """Open float8 numbers: with float scales of any strategy, or with E8M0 for each 32."""
    V, d = head.tensor("weight", tuple(FLOAT8), (None, None)).shape
    if head.has("weight_zero_point"):
        raise head.refused(f"{_LIBRARY} float8 with zero points")
    if head.kind("weight_scale") == "U8":
        if "mxfp8-quantized" not in formats or d % 32:
            raise head.damaged("weight_scale is bytes, and config.json does not say mxfp8")
        _Scheme(8, "float", "group", True, 32).check(head, settings)
        exponents = head.exponents("weight_scale", (V, d // 32))
        return Dequantised(
            (V, d),
            (codes(head, "weight", tuple(FLOAT8)), repeated(exponents, 1)),
            Unpacking(d, 8, float8(FLOAT8[head.kind("weight")]), exponents.dtype, d // 32, 32),
            _note(head, "mxfp8", " in groups of 32", "scale * q"),
        )
    scales = head.scales("weight_scale")
    blocks = None
    for group in settings.each("config_groups"):
        weights = group.inner("weights")
        if weights is not None and weights.text("strategy") == "block":
            blocks = weights.pair("block_structure")
    if blocks is not None and scales.shape == (-(-V // blocks[0]), -(-d // blocks[1])):
        _Scheme(8, "float", "block", True).check(head, settings)
        return scaled(head, "weight_scale", blocks, f"{_LIBRARY} float8", _LIBRARY)
    _, _, width, strategy = _spread(head, scales, V, d)
    _Scheme(8, "float", strategy, True, width if strategy == "group" else None).check(
        head, settings
    )
    return scaled(head, "weight_scale", (1, width), f"{_LIBRARY} float8", _LIBRARY)


def _small_floats(head: Head, settings: Settings, formats: list[str]) -> Dequantised:
    """Open codes of E2M1 or E2M3 in bytes, with scales of a byte."""
    V, size = head.tensor("weight_packed", ("U8",), (None, None)).shape
    kind = "nvfp4" if head.has("weight_global_scale") else "mxfp4"
    if "mxfp6-pack-quantized" in formats and len(set(formats)) == 1:
        kind = "mxfp6"
    if f"{kind}-pack-quantized" not in formats:
        raise head.damaged(f"its tensors are {kind}, and config.json does not name that format")
    bits, group = (6, 32) if kind == "mxfp6" else (4, 16 if kind == "nvfp4" else 32)
    d = size * 8 // bits
    if d * bits != size * 8 or d % group:
        raise head.damaged(f"{size} bytes a row are not whole groups of {group} numbers")
    strategy = "tensor_group" if kind == "nvfp4" else "group"
    _Scheme(bits, "float", strategy, True, group).check(head, settings)
    divisor = 1.0
    if kind == "nvfp4":
        divisor = head.number("weight_global_scale")
        head.tensor("weight_scale", ("F8_E4M3",), (V, d // group))
        scales = head.scales("weight_scale")
    else:
        scales = head.exponents("weight_scale", (V, d // group))
    formula = "scale * q / global scale" if kind == "nvfp4" else "scale * q"
    return Dequantised(
        (V, d),
        (codes(head, "weight_packed", ("U8",)), repeated(scales, 1)),
        Unpacking(
            d,
            bits,
            E2M3 if bits == 6 else E2M1,
            scales.dtype,
            d // group,
            group,
            divisor=divisor,
        ),
        _note(head, kind, f" in groups of {group}", formula),
    )


def _shared(strategy: str, group: int) -> str:
    """Say which numbers share a scale."""
    return {
        "tensor": " with one scale for the tensor",
        "channel": " with one scale a row",
        "group": f" in groups of {group}",
    }[strategy]


def _note(head: Head, kind: str, shared: str, formula: str) -> str:
    return (
        f"{head.module} is {_LIBRARY} {kind}{shared}, dequantised to float64 as {_LIBRARY} defines "
        f"it, {formula}, not rounded to the scales' type"
    )
