"""The readout: the last linear map of a language model, and what is known of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geom import domains
from geom.domains import Domain
from geom.errors import InputError
from geom.folding import fold_scale, fold_shift
from geom.rounding import Floats, norm_above

NormName = Literal["layernorm", "rmsnorm"]


@dataclass(frozen=True, eq=False)
class Readout:
    """``logits = W x + b`` for ``x`` after the final norm and before its scale and shift.

    ``W`` (V, d) and ``b`` (V,) are float64 with the scale and shift folded in, C-contiguous and
    read-only. ``norm`` is the kind of the final norm, None where there is none or it is not
    known. ``tokens`` are the V texts that the tokenizer decodes (None for an id without one),
    or None without a tokenizer. ``source`` is the name by which `geom.load` finds it again, and
    ``notes`` are sentences about it that a reader of the results should know.

    Build one with `Readout.fold`, which checks and folds.
    """

    W: Floats
    b: Floats
    norm: NormName | None = None
    tokens: Sequence[str | None] | None = None
    source: str = "python"
    notes: tuple[str, ...] = ()

    @classmethod
    def fold(
        cls,
        W: ArrayLike,
        b: ArrayLike | None = None,
        *,
        norm: NormName | None = None,
        gamma: ArrayLike | None = None,
        beta: ArrayLike | None = None,
        tokens: Sequence[str | None] | None = None,
        source: str = "python",
        notes: tuple[str, ...] = (),
    ) -> Readout:
        """A readout from arrays as a checkpoint holds them.

        ``W`` (V, d), ``b`` (V,), the norm's scale ``gamma`` (d,) and shift ``beta`` (d,): real
        arrays of float16, float32, float64 or integers that float64 holds exactly. Raises
        InputError for wrong shapes or types, for NaN and infinity, naming the array and place.
        """
        if norm not in (None, "layernorm", "rmsnorm"):
            raise InputError(f"norm {norm!r}: give 'layernorm', 'rmsnorm' or None")
        matrix = _real("W", W)
        if matrix.ndim != 2 or 0 in matrix.shape:
            raise InputError(f"W has shape {matrix.shape}: give a matrix (V, d), one row a token")
        V, d = matrix.shape
        bias = np.zeros(V) if b is None else _vector("b", b, V)
        with np.errstate(over="ignore", invalid="ignore"):
            if beta is not None:
                bias = fold_shift(matrix, _vector("beta", beta, d), bias)
            if gamma is not None:
                matrix = fold_scale(matrix, _vector("gamma", gamma, d))
        if gamma is not None or beta is not None:
            _refuse_overflow(matrix, bias)
        if tokens is not None and len(tokens) != V:
            raise InputError(f"{len(tokens)} token texts for {V} rows of W: give one a row")
        return cls(_frozen(matrix), _frozen(bias), norm, tokens, source, notes)

    @property
    def V(self) -> int:  # noqa: N802 - the symbol of the papers
        """The number of tokens."""
        return int(self.W.shape[0])

    @property
    def d(self) -> int:
        """The width of the residual stream."""
        return int(self.W.shape[1])

    @property
    def domain(self) -> Domain:
        """The domain that the final norm implies: what ``auto`` means."""
        return domains.named("auto", self.d, self.norm)

    @cached_property
    def has_bias(self) -> bool:
        """Whether two tokens differ in bias; a bias equal for all changes no argmax."""
        return bool((self.b != self.b[0]).any())

    @cached_property
    def row_norms(self) -> Floats:
        """Upper bounds (V,) on the rows' Euclidean norms, tight to a few roundings."""
        return norm_above(self.W, axis=-1)

    @cached_property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of the folded numbers: shape, then W and b as float64.

        Little-endian, row by row, with -0 taken for 0; equal digests are equal readouts.
        """
        state = hashlib.sha256(f"geom readout {self.V} {self.d}\n".encode())
        for array in (self.W, self.b):
            for block in np.array_split(array, max(1, array.nbytes >> 24)):
                state.update((block + 0.0).astype("<f8", copy=False).tobytes())
        return state.hexdigest()

    def logits(self, x: ArrayLike) -> Floats:
        """Logits (n, V) at the points ``x`` (n, d), or (V,) at one point (d,), in float64."""
        return np.asarray(np.asarray(x, dtype=np.float64) @ self.W.T + self.b)

    def text(self, token: int) -> str | None:
        """What the tokenizer decodes for an id, None without one."""
        return None if self.tokens is None else self.tokens[token]

    def twins(self, token: int) -> list[int]:
        """The other tokens with the same row and bias: neither can ever beat the other."""
        alike = (self.W[:, 0] == self.W[token, 0]) & (self.b == self.b[token])
        alike[token] = False
        return [int(j) for j in np.flatnonzero(alike) if (self.W[j] == self.W[token]).all()]

    def without_bias(self) -> Readout:
        """The same readout with every bias zero."""
        return replace(self, b=_frozen(np.zeros(self.V)))


def _real(name: str, values: ArrayLike) -> Floats:
    """``values`` as float64, refused unless that is exact and every entry is finite."""
    array: NDArray[Any] = np.asarray(values)
    if array.dtype.kind not in "fiu" or array.dtype.itemsize > 8:
        raise InputError(
            f"{name} has dtype {array.dtype}: give float16, float32, float64 or integers"
        )
    out = array.astype(np.float64)
    if array.dtype.kind in "iu":
        held = np.abs(out) < 2.0**63  # beyond, the way back is undefined
        if not held.all() or not (out.astype(array.dtype) == array).all():
            raise InputError(f"{name} holds integers above 2**53: give floats")
    if not np.isfinite(out).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(out))[0])
        where = place[0] if len(place) == 1 else place
        raise InputError(f"{name}[{where}] is {out[place]}: every weight must be a finite number")
    return out


def _vector(name: str, values: ArrayLike, n: int) -> Floats:
    """``values`` as n float64 numbers."""
    out = _real(name, values)
    if out.shape != (n,):
        raise InputError(f"{name} has shape {out.shape}: W asks for ({n},)")
    return out


def _refuse_overflow(W: Floats, b: Floats) -> None:
    """Finite weights can overflow in the folding products; name the row where they do."""
    finite = np.isfinite(W).all(axis=1) & np.isfinite(b)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        raise InputError(f"row {row} of W overflows float64 when the norm is folded in")


def _frozen(array: Floats) -> Floats:
    """The array, C-contiguous, that nobody can write to."""
    out = np.ascontiguousarray(array)
    out.flags.writeable = False
    return out
