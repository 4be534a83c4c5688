"""The readout of a model in memory: any object with ``W_U`` (d, V) and ``b_U`` (V,).

The object may be a TransformerBridge of TransformerLens, a HookedTransformer of its older versions,
or another object of that form. This module imports no library for it: it slices the tensors, and
turns the slices into arrays.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Protocol

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from geom.errors import GeomError, InputError, contained, raised
from geom.model.readout import NormName, Readout

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


class Live(Protocol):
    """A model in memory: ``W_U`` (d, V) and ``b_U`` (V,) are tensors or arrays of any library.

    If the model has ``cfg.normalization_type``, ``ln_final`` or ``tokenizer``, they are used too.
    """

    @property
    def W_U(self) -> Any:  # noqa: N802 - TransformerLens's name
        """The unembedding, one column per token."""

    @property
    def b_U(self) -> Any:  # noqa: N802 - likewise
        """The bias of the unembedding."""


def read_live(model: Live) -> Readout:
    """Return the readout of a model in memory; copy its numbers a block of tokens at a time.

    Raises InputError if ``model`` has no ``W_U`` and ``b_U``, or if they cannot be read.
    """
    kind = type(model).__name__
    try:
        with contained():
            return _read(model, kind)
    except GeomError:
        raise
    except Exception as error:  # a stranger's object may raise anything
        raise InputError(f"{kind} cannot be read: {raised(error)}") from error


def _read(model: Live, kind: str) -> Readout:
    """Return the readout.

    Raises InputError if ``model`` is not a model, and any error of the model's own code.
    """
    if not (hasattr(model, "W_U") and hasattr(model, "b_U")):
        raise InputError(
            f"a model cannot be a {kind}: give a Readout, a model's name, or an object with "
            "W_U and b_U"
        )
    W_U, b_U = model.W_U, model.b_U
    W, b = _Columns(W_U), _array("b_U", b_U)
    if len(W.shape) != 2 or b.shape != W.shape[:1]:
        raise InputError(
            f"{kind} has W_U of shape {W.shape[::-1]} and b_U of shape {b.shape}: W_U must be "
            "(d, V) and b_U (V,)"
        )
    norm, gamma, beta, notes = _final_norm(model)
    texts = _texts(getattr(model, "tokenizer", None), len(b))
    readout = Readout.fold(W, b, norm=norm, gamma=gamma, beta=beta, tokens=texts)
    form = [f"W_U of a {kind} in {str(W_U.dtype).removeprefix('torch.')}"]
    if norm is not None and _is_identity(gamma, beta):
        form.append("nothing left to fold of its final norm")
    centred = _centred(readout)
    rounded = (_ROUNDED,) if centred else ()
    return readout.described(readout.source, (", ".join(form + centred), *rounded, *notes))


@dataclass(frozen=True)
class _Columns:
    """``W_U`` (d, V) as rows (V, d): a slice of rows is fetched as columns and transposed."""

    matrix: Any

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(int(n) for n in reversed(self.matrix.shape))

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        return _array("W_U", self.matrix[:, rows]).T


def _array(name: str, values: Any) -> NDArray[Any]:
    """Convert a tensor or array to a NumPy array that holds it exactly.

    Raises InputError if a tensor has no numbers, or has quantised ones.
    """
    if not hasattr(values, "detach"):
        return np.asarray(values)
    kind = str(values.dtype).removeprefix("torch.")
    if values.is_meta or not values.is_floating_point():
        stored = "on the meta device" if values.is_meta else f"torch.{kind}"
        raise InputError(f"{name} is {stored}: load the model with its weights, as floats")
    held = values.detach().cpu()
    if kind in ("float16", "float32", "float64"):
        return np.asarray(held.numpy())
    single: NDArray[np.float32] = held.float().numpy()  # float32 holds the shorter types exactly
    return single.astype(np.dtype(ml_dtypes.bfloat16)) if kind == "bfloat16" else single


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
        None if values is None else _array(f"ln_final.{name}", values)
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


def _texts(tokenizer: Any, V: int) -> tuple[str | None, ...] | None:
    """Decode each id with a tokenizer of the library tokenizers, or with a wrapper of one.

    Each id is decoded after one fixed token, because alone it may lose its leading space. A token
    that is not complete UTF-8 text has its bytes spelled out. Returns None for another kind of
    tokenizer; an id that the tokenizer does not know gets None.
    """
    inner: Any = getattr(tokenizer, "backend_tokenizer", None)
    if not (hasattr(inner, "id_to_token") and hasattr(inner, "decode_batch")):
        return None
    texts = [inner.id_to_token(i) for i in range(V)]
    known = [i for i, piece in enumerate(texts) if piece is not None]
    alone = inner.decode_batch([[i] for i in known], skip_special_tokens=False)
    plain = [i for i, text in zip(known, alone, strict=True) if text.isascii() and text.isalnum()]
    if not plain:
        return tuple(texts)
    start = inner.decode([plain[0]], skip_special_tokens=False)
    after = inner.decode_batch([[plain[0], i] for i in known], skip_special_tokens=False)
    for i, text in zip(known, after, strict=True):
        whole = text.startswith(start) and "\N{REPLACEMENT CHARACTER}" not in text
        texts[i] = text[len(start) :] if whole else _spelled(texts[i])
    return tuple(texts)


def _spelled(piece: str) -> str:
    r"""Spell part of a character as ``\xe2\x80``, from GPT-2's byte alphabet or ``<0xE2>``."""
    single = re.fullmatch("<0x([0-9A-F]{2})>", piece)
    if single:
        return bytes.fromhex(single[1]).decode("utf-8", "backslashreplace")
    if not all(character in _BYTES for character in piece):
        return piece
    return bytes(_BYTES[character] for character in piece).decode("utf-8", "backslashreplace")


def _byte_alphabet() -> dict[str, int]:
    """Return GPT-2's byte alphabet.

    A visible Latin-1 character stands for its own byte, U+0100 and up for the other bytes.
    """
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = sorted(set(range(256)) - set(own))
    return {chr(byte): byte for byte in own} | {chr(256 + i): b for i, b in enumerate(rest)}


_BYTES = _byte_alphabet()
