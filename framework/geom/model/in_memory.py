"""The readout of a model in memory: an object with ``W_U`` and ``b_U``, or a linear head.

The object may be a TransformerBridge of TransformerLens, a HookedTransformer of its older versions,
or another object with ``W_U`` (d, V) and ``b_U`` (V,); a linear classifier (`classifiers`) or a
linear layer (`linear_layers`). This module imports no library for it: it knows an object by its
attributes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray

from geom.errors import GeomError, InputError, contained, raised
from geom.model.classifiers import Classifier, is_classifier, predicted, read_classifier
from geom.model.linear_layers import (
    LinearLayer,
    is_linear_layer,
    largest_output,
    read_linear_layer,
)
from geom.model.readout import NormName, Readout
from geom.model.tensors import Columns, array
from geom.numbers.arrays import Floats, Ids

_KINDS: dict[str | None, NormName | None] = {
    "LN": "layernorm",
    "LNPre": "layernorm",
    "RMS": "rmsnorm",
    "RMSPre": "rmsnorm",
    None: None,
}
"""The values of ``cfg.normalization_type``; ``Pre`` is a norm with folded scale and shift."""

_FINAL_NORMS = ("ln_final", "decoder_ln_final")

_CENTRED = 3e-3
"""A mean below this share of the root mean square counts as zero, up to rounding.

On the demo, the largest mean of a processed column was 6e-8 of the root mean square in float32 and
9e-4 in bfloat16. For a column of 200,000 random numbers the mean is 2e-3 of it on average, so the
largest such mean is above this share.
"""


_ROUNDED = (
    "centring rounded the rows: a token that is borderline within that rounding may be decided "
    "differently from the checkpoint's own numbers"
)


class Unembedding(Protocol):
    """A model in memory: ``W_U`` (d, V) and ``b_U`` (V,) are tensors or arrays of any library.

    If the model has ``cfg.normalization_type``, ``ln_final`` or ``tokenizer``, they are used too.
    """

    @property
    def W_U(self) -> Any:  # noqa: N802 - TransformerLens's name
        """The unembedding, one column per token."""

    @property
    def b_U(self) -> Any:  # noqa: N802 - likewise
        """The bias of the unembedding."""


Live: TypeAlias = Unembedding | Classifier | LinearLayer
"""A model in memory, of one of the forms that `read_live` knows."""


def read_live(model: object) -> Readout:
    """Return the readout of a model in memory; copy its numbers a block of tokens at a time.

    Raises InputError if ``model`` has none of the forms that are known, or cannot be read.
    """
    kind = type(model).__name__
    try:
        with contained():
            if _is_unembedding(model):
                return _read(model, kind)
            if is_classifier(model):
                return read_classifier(model)
            if is_linear_layer(model):
                return read_linear_layer(model)
            raise InputError(f"{kind} is not a model: {_remedy(model)}")
    except GeomError:
        raise
    except Exception as error:  # a stranger's object may raise anything
        raise InputError(f"{kind} cannot be read: {raised(error)}") from error


def _remedy(model: Any) -> str:
    """Say what to give in place of an object that has none of the forms that are known."""
    if hasattr(model, "shape") and hasattr(model, "dtype"):
        return "make a Readout of arrays, as in geom.Readout.fold(W, b)"
    if hasattr(model, "state_dict") and hasattr(model, "__getitem__"):  # torch's Sequential
        last = model[-1] if len(model) else None
        if is_linear_layer(last):
            return (
                "it changes the inputs before they reach its last layer; give that layer, as in "
                "geom.load(model[-1]), whose x is what the layers before it return"
            )
    return (
        "give a Readout, a model's name, an object with W_U and b_U, a linear classifier or a "
        "linear layer"
    )


def own_choice(model: object) -> Callable[[Floats], Ids] | None:
    """Return what gives a model's own answers, in its own arithmetic: ids (n,) for points (n, d).

    It is None for a readout, a name, and a model that takes no such points.
    """
    if isinstance(model, Readout | str):
        return None
    if _is_unembedding(model):
        return None
    if is_classifier(model):
        return partial(predicted, model)
    return partial(largest_output, model) if is_linear_layer(model) else None


def tokenizer_of(model: object) -> object:
    """Return the tokenizer that a model in memory carries, None if it has none."""
    try:
        with contained():
            return getattr(model, "tokenizer", None)
    except Exception as error:  # as above
        raise InputError(f"{type(model).__name__} cannot be read: {raised(error)}") from error


def _is_unembedding(model: object) -> TypeGuard[Unembedding]:
    """Return whether an object has the two attributes of an unembedding."""
    return hasattr(model, "W_U") and hasattr(model, "b_U")


def _read(model: Unembedding, kind: str) -> Readout:
    """Return the readout. Raises InputError, and any error of the model's own code."""
    W_U, b_U = model.W_U, model.b_U
    W, b = Columns(W_U), array("b_U", b_U)
    if len(W.shape) != 2 or b.shape != W.shape[:1]:
        raise InputError(
            f"{kind} has W_U of shape {W.shape[::-1]} and b_U of shape {b.shape}: W_U must be "
            "(d, V) and b_U (V,)"
        )
    norm, gamma, beta, notes = _final_norm(model)
    readout = Readout.fold(W, b, norm=norm, gamma=gamma, beta=beta)
    form = [f"W_U of a {kind} in {str(W_U.dtype).removeprefix('torch.')}"]
    if norm is not None and _is_identity(gamma, beta):
        form.append("nothing left to fold of its final norm")
    centred = _centred(readout)
    rounded = (_ROUNDED,) if centred else ()
    return readout.described(readout.source, (", ".join(form + centred), *rounded, *notes))


def _final_norm(
    model: Any,
) -> tuple[NormName | None, NDArray[Any] | None, NDArray[Any] | None, tuple[str, ...]]:
    """Return the final norm's kind, scale and shift, each None if missing, and notes about them.

    A bridge's norm may know more than the configuration, or less; either may say that the norm is
    an RMSNorm. A norm may store its scale as an offset from 1, and then adds the 1 in float32.
    """
    cfg = getattr(model, "cfg", None)
    kind = getattr(cfg, "normalization_type", None)
    if kind not in _KINDS:
        raise InputError(
            f"cfg.normalization_type is {kind!r}, and geom knows LN, LNPre, RMS, RMSPre and None; "
            "fold by hand: geom.Readout.fold(model.W_U.T, model.b_U, norm=..., gamma=...)"
        )
    found = (getattr(model, name, None) for name in _FINAL_NORMS)
    norm = next((norm for norm in found if norm is not None), None)
    if kind is None:
        return None, None, None, ()
    rms = _KINDS[kind] == "rmsnorm" or getattr(cfg, "final_rms", False)
    if norm is None:
        if kind.endswith("Pre"):
            return "rmsnorm" if rms else "layernorm", None, None, ()
        return None, None, None, (f"no ln_final, though cfg says {kind}: read as having no norm",)
    rms = rms or getattr(norm, "uses_rms_norm", False)
    gamma, beta = (
        None if values is None else array(f"ln_final.{name}", values)
        for name, values in (("w", getattr(norm, "w", None)), ("b", getattr(norm, "b", None)))
    )
    if gamma is not None and getattr(norm, "uses_weight_offset", False):
        gamma = np.float32(1) + gamma.astype(np.float32)
    return "rmsnorm" if rms else "layernorm", gamma, beta, ()


def _is_identity(gamma: NDArray[Any] | None, beta: NDArray[Any] | None) -> bool:
    """Return whether the norm has nothing left to fold."""
    return (gamma is None or bool((gamma == 1).all())) and (beta is None or not beta.any())


def _centred(readout: Readout) -> list[str]:
    """Name the axes over which the rows have mean zero, up to rounding."""
    squares, highest = 0.0, 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for _, rows in readout.rows.blocks():
            squares += float(np.einsum("ij,ij->", rows, rows))
            highest = max(highest, float(np.abs(rows.mean(axis=1)).max()))
        least = _CENTRED * math.sqrt(squares / (readout.V * readout.d))
        over = {"d": highest, "the vocabulary": float(np.abs(readout.rows.mean).max())}
    return [f"centred over {axis}" for axis, mean in over.items() if mean <= least]
