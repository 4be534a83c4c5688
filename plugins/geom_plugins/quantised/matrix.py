"""The matrix that a checkpoint's weight is, however it is stored: floats, or a quantised form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geom import SlicedArray
from geom_plugins.checkpoints.weights import Weights
from geom_plugins.quantised import (
    awq,
    bitsandbytes,
    compressed_tensors,
    float8,
    gptq,
    mlx,
    modelopt,
)
from geom_plugins.quantised.foreign import (
    refuse_marked,
    refuse_strays,
    refuse_unknown,
    refuse_unsaid,
)
from geom_plugins.quantised.head import Head
from geom_plugins.quantised.lines import Dequantised
from geom_plugins.quantised.settings import Settings


def open_matrix(
    weights: Weights, name: str, config: Mapping[str, Any] | None = None
) -> SlicedArray:
    """Open the matrix of a linear map or an embedding.

    Parameters
    ----------
    weights : Weights
        The tensors of the checkpoint.
    name : str
        The name of the plain weight, such as ``lm_head.weight``; a quantised form need not have a
        tensor of that name.
    config : mapping, optional
        What ``config.json`` says; None if there is none.

    Returns
    -------
    SlicedArray
        The tensor itself if it is floats and nothing of a quantisation is beside it; otherwise the
        matrix that its form defines, in float64, a `Dequantised`.

    Raises
    ------
    InputError
        For a form that is not read, naming it; for integers without scales; and for tensors of a
        known form that do not fit it.
    """
    head = Head(weights, name)
    settings = Settings.of(config, weights.where)
    refuse_marked(head)
    found = _dequantised(head, settings)
    if found is not None:
        refuse_strays(head, "a quantised matrix")
        return found
    refuse_unknown(head, settings)
    return weights.tensor(name)


def notes_of(W: SlicedArray) -> tuple[str, ...]:
    """Return what a reader of the results should know of how a matrix was stored."""
    return (W.note,) if isinstance(W, Dequantised) else ()


def _dequantised(head: Head, settings: Settings) -> Dequantised | None:
    """Open a head of a form that is read, if it is of one."""
    if bitsandbytes.claims_4bit(head):
        return bitsandbytes.open_4bit(head)
    if bitsandbytes.claims_int8(head):
        return bitsandbytes.open_int8(head)
    if head.has("qweight"):
        if settings.method == "gptq":
            return gptq.open_head(head, settings)
        if settings.method == "awq":
            return awq.open_head(head, settings)
        if settings.method is None:
            raise refuse_unsaid(head, "integers in qweight, as GPTQ, AWQ and others do it")
        return None
    if head.has("weight_packed") or head.has("weight", "weight_scale"):
        if settings.method in compressed_tensors.METHODS:
            return compressed_tensors.open_head(head, settings)
        if head.has("weight_packed"):
            raise refuse_unsaid(head, "weight_packed, as compressed-tensors does it")
    if mlx.claims(head):
        return mlx.open_head(head, settings)
    if modelopt.claims(head):
        return modelopt.open_head(head, settings)
    if float8.claims(head):
        return float8.open_head(head, settings)
    return None
