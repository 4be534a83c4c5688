"""NVFP4 as NVIDIA's Model Optimizer stores it.

``weight`` has two E2M1 codes a byte, the first low; ``weight_scale`` a float8 scale for each 16
columns; ``weight_scale_2`` one float32, and all three are multiplied
(modelopt/torch/quantization/qtensor/nvfp4_tensor.py). The product has 30 bits: float64 holds it.
"""

from __future__ import annotations

from geom_plugins.quantised.codes import E2M1
from geom_plugins.quantised.float8 import codes
from geom_plugins.quantised.head import Head
from geom_plugins.quantised.lines import Dequantised, Unpacking, repeated
from geom_plugins.quantised.settings import Settings

_GROUP = 16


def claims(head: Head) -> bool:
    """Return whether a head is NVFP4 with two scales."""
    return head.kind("weight") == "U8" and head.has("weight_scale", "weight_scale_2")


def open_head(head: Head, settings: Settings) -> Dequantised:
    """Open a head that Model Optimizer stored. Raises InputError if its tensors do not fit."""
    if settings.method not in (None, "modelopt", "modelopt_fp4"):
        raise head.refused(f"NVFP4 by {str(settings.method)[:40]!r}, which geom does not read")
    V, size = head.tensor("weight", ("U8",), (None, None)).shape
    d = 2 * size
    if d % _GROUP:
        raise head.damaged(f"{size} bytes a row are not whole groups of {_GROUP} numbers")
    head.tensor("weight_scale", ("F8_E4M3",), (V, d // _GROUP))
    scales = head.scales("weight_scale")
    return Dequantised(
        (V, d),
        (codes(head, "weight", ("U8",)), repeated(scales, 1)),
        Unpacking(
            d,
            4,
            E2M1,
            scales.dtype,
            d // _GROUP,
            _GROUP,
            factor=head.number("weight_scale_2"),
        ),
        f"{head.module} is NVFP4 of Model Optimizer, dequantised to float64 as it defines it, "
        "q * scale * scale_2, exactly",
    )
