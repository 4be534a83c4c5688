"""The readout: the last linear map of a language model, and what is known about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geom.errors import InputError
from geom.machine import memory
from geom.model import arrays, domains
from geom.model.arrays import SlicedArray
from geom.model.digests import digest
from geom.model.domains import Domain
from geom.model.folding import exact_product, fold_scale, fold_shift, through
from geom.model.shift import Shift
from geom.model.source import PYTHON, Source
from geom.numbers.arrays import Floats
from geom.numbers.rationals import integers
from geom.numbers.rounding import dot_error, norm_above, refuse_flushing
from geom.progress import track_progress
from geom.reprs import short_repr
from geom.text import TokenKind

NormName = Literal["layernorm", "rmsnorm"]

_BLOCK = 1 << 20
"""How many numbers of W are folded at a time."""


@dataclass(frozen=True, eq=False)
class Readout:
    """``logits = W x + b`` for ``x`` after the final norm and before its scale and shift.

    Build a readout with `Readout.fold`, which takes the arrays of a checkpoint. Folding a shift
    into ``b`` rounds it; ``shift`` keeps it exactly. Proofs are about ``W (x + s) + shift.bias``,
    which differs from ``W x + b`` by at most `bias_errors`.

    Attributes
    ----------
    W : ndarray of shape (V, d), float64
        One row per token, with the norm's scale folded in; C-contiguous and read-only. A writable
        array is copied.
    b : ndarray of shape (V,), float64
        The biases, with the norm's shift folded in; C-contiguous and read-only.
    norm : {"layernorm", "rmsnorm"}, optional
        The final norm, or None if there is none or it is not known.
    tokens : sequence of str or None, optional
        The text of each of the V ids as the tokenizer decodes it, or None for an id without a
        text. A token that is not complete UTF-8 text has its bytes spelled out.
    kinds : sequence of TokenKind, optional
        What each of the V ids means to the tokenizer.
    source : str, optional
        The name that `geom.load` takes to find the readout again.
    notes : tuple of str, optional
        Sentences that a reader of the results should know.
    shift : Shift, optional
        The shift of the final norm, and the biases without it.

    Raises
    ------
    InputError
        If ``W`` and ``b`` are not such arrays of finite numbers, or another argument does not fit
        them.
    ArithmeticModeError
        If the process flushes subnormal numbers to zero; reading a computed attribute raises it
        too.
    """

    W: Floats
    b: Floats
    _: KW_ONLY
    norm: NormName | None = None
    tokens: Sequence[str | None] | None = None
    kinds: Sequence[TokenKind] | None = None
    source: Source = PYTHON
    notes: tuple[str, ...] = ()
    shift: Shift | None = None

    _shown: ClassVar = ("V", "d", "norm", "source")
    __repr__ = short_repr

    def __post_init__(self) -> None:
        refuse_flushing()
        if self.norm not in (None, *get_args(NormName)):
            raise InputError(f"norm {self.norm!r}: give 'layernorm', 'rmsnorm' or None")
        for name, ndim in (("W", 2), ("b", 1)):
            array = getattr(self, name)
            arrays.check_folded(name, array, ndim)
            object.__setattr__(self, name, arrays.frozen(array))
        if self.b.shape != self.W.shape[:1]:
            raise InputError(f"b has shape {self.b.shape}: W needs ({len(self.W)},)")
        if self.tokens is not None and len(self.tokens) != self.V:
            raise InputError(
                f"{len(self.tokens)} token texts for {self.V} rows of W: give one per row"
            )
        if self.kinds is not None:
            arrays.check_kinds(self.kinds, self.V)
        if self.shift is not None:
            self.shift.check_shapes(self.V, self.d)
            with np.errstate(all="ignore"):
                off = np.abs(self.W @ self.shift.rounded + self.shift.bias - self.b)
            if (off > 2.0 * self.bias_errors).any():
                raise InputError("b is not W times the shift plus its bias: use Readout.fold")

    @classmethod
    def fold(
        cls,
        W: ArrayLike | SlicedArray,
        b: ArrayLike | SlicedArray | None = None,
        *,
        norm: NormName | None = None,
        gamma: ArrayLike | SlicedArray | None = None,
        beta: ArrayLike | SlicedArray | None = None,
        projection: ArrayLike | SlicedArray | None = None,
        tokens: Sequence[str | None] | None = None,
        kinds: Sequence[TokenKind] | None = None,
        source: str | Source = PYTHON,
        notes: tuple[str, ...] = (),
    ) -> Readout:
        """Fold a checkpoint's arrays into a readout: ``logits = W (gamma * x + beta) + b``.

        Arrays hold float16, float32, float64, or integers that float64 represents exactly. ``W`` is
        read a block of rows at a time, so a ``W`` that is read from a file by slices is never held
        whole in memory twice.

        Parameters
        ----------
        W : array_like or SlicedArray of shape (V, d)
            The unembedding, one row per token; of shape (V, k) with a projection.
        b : array_like or SlicedArray of shape (V,), optional
            The biases; zero if None.
        norm : {"layernorm", "rmsnorm"}, optional
            The final norm.
        gamma : array_like or SlicedArray of shape (d,), optional
            The norm's scale.
        beta : array_like or SlicedArray of shape (d,), optional
            The norm's shift.
        projection : array_like or SlicedArray of shape (k, d), optional
            A matrix between the norm and ``W``. It is folded in exactly, then rounded to float64
            once.
        tokens : sequence of str or None, optional
            The text of each id.
        kinds : sequence of TokenKind, optional
            The kind of each id.
        source : str, optional
            The name that `geom.load` takes to find the readout again.
        notes : tuple of str, optional
            Sentences that a reader of the results should know.

        Returns
        -------
        Readout
            The readout, in float64.

        Raises
        ------
        InputError
            For wrong shapes or types; for NaN and infinity, naming the array and the place; and if
            memory cannot hold the readout.
        """
        source_rows = W if isinstance(W, SlicedArray) else np.asarray(W)
        if isinstance(source_rows, np.ndarray):
            arrays.check_type("W", source_rows)
        if len(source_rows.shape) != 2 or 0 in source_rows.shape:
            raise InputError(
                f"W has shape {source_rows.shape}: give a matrix (V, d), one row per token"
            )
        V, k = source_rows.shape
        P = None if projection is None else arrays.matrix("projection", projection, k)
        d = k if P is None else P.shape[1]
        bias = np.zeros(V) if b is None else arrays.vector("b", b, V)
        scale = None if gamma is None else arrays.vector("gamma", gamma, d)
        shift = None if beta is None else arrays.vector("beta", beta, d)
        kept = None if shift is None or P is not None else Shift.folded(shift, scale, bias)
        if P is not None:
            P, scale, shift = through(P, scale, shift)
        memory.check_memory(
            8 * V * d,
            f"W of {V} x {d} as float64",
            "free some memory, or read it on a machine with more",
        )
        matrix = np.empty((V, d))
        height = max(1, _BLOCK // max(k, d))
        blocks = [slice(start, min(start + height, V)) for start in range(0, V, height)]
        for rows in _tracked(blocks, V):
            with np.errstate(over="ignore", invalid="ignore"):
                block = arrays.real("W", source_rows[rows])
                if shift is not None:
                    bias[rows] = fold_shift(block, shift, bias[rows])
                if P is not None:
                    arrays.check_finite("W", block, rows.start)
                    matrix[rows] = exact_product(block, P)
                else:  # the products go straight to their place: only a block is there besides
                    matrix[rows] = block if scale is None else fold_scale(block, scale)
            finite = np.isfinite(matrix[rows]).all(axis=1) & np.isfinite(bias[rows])
            if not finite.all():
                arrays.check_finite("W", block, rows.start)
                row = rows.start + int(np.flatnonzero(~finite)[0])
                raise InputError(f"row {row} of W overflows float64 when the norm is folded in")
        for array in (matrix, bias):
            array.flags.writeable = False
        named = Source.parse(source) if isinstance(source, str) else source
        return cls(
            matrix,
            bias,
            norm=norm,
            tokens=tokens,
            kinds=kinds,
            source=named,
            notes=notes,
            shift=kept,
        )

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
        """The domain that the final norm implies, which is what ``auto`` means."""
        return domains.named("auto", self.d, self.norm)

    @cached_property
    def has_bias(self) -> bool:
        """Whether biases can change an argmax: two tokens differ in bias, or there is a shift.

        A bias that is the same for all tokens changes no argmax.
        """
        refuse_flushing()
        return self.shift is not None or bool((self.b != self.b[0]).any())

    @property
    def offset(self) -> Floats:
        """The biases (V,) without the shift, exactly; ``b`` itself if there is no shift."""
        return self.b if self.shift is None else self.shift.bias

    @cached_property
    def bias_errors(self) -> Floats:
        """Bounds (V,) on how far ``b`` is from ``W s`` plus the shift's biases; 0 without a shift.

        ``b`` is a compensated sum of rounded products of the unfolded rows, each entry of ``W`` is
        rounded once, and so is each entry of ``s``: ``gamma_{d+8}`` covers these roundings several
        times over.
        """
        if self.shift is None:
            return np.zeros(self.V)
        found = dot_error(self.row_norms, self.shift.length, self.shift.bias, self.d + 8)
        return np.where(np.isnan(found), np.inf, found)

    def exact_biases(self, tokens: NDArray[np.integer[Any]]) -> list[Fraction]:
        """Compute biases with the shift folded in, exactly.

        Parameters
        ----------
        tokens : ndarray of shape (n,), int
            Ids.

        Returns
        -------
        list of Fraction
            One bias per token, in the order of ``tokens``.
        """
        biases = [Fraction(bias) for bias in self.offset[tokens].tolist()]
        if self.shift is None:
            return biases
        shifts = self.shift.along(*integers(self.W[tokens]))
        return [bias + moved for bias, moved in zip(biases, shifts, strict=True)]

    @cached_property
    def row_norms(self) -> Floats:
        """Upper bounds (V,) on the rows' Euclidean norms, tight to a few roundings."""
        refuse_flushing()
        return norm_above(self.W, axis=-1)

    @cached_property
    def digest(self) -> str:
        """The SHA-256, in hexadecimal, of the folded numbers: the shape, then W and b as float64.

        The numbers are little-endian, row by row, with -0 taken as 0. If there is a shift, the word
        ``shift`` and its ``beta``, ``gamma`` and ``bias`` follow. Equal digests mean equal
        readouts.
        """
        refuse_flushing()
        return digest(self.W, self.b, self.shift)

    def logits(self, x: ArrayLike) -> Floats:
        """Compute logits in float64.

        Parameters
        ----------
        x : array_like of shape (n, d) or (d,)
            Points, or one point.

        Returns
        -------
        ndarray of shape (n, V) or (V,), float64
            The logits at each point.
        """
        return np.asarray(np.asarray(x, dtype=np.float64) @ self.W.T + self.b)

    def text(self, token: int) -> str | None:
        """Decode an id as the tokenizer does.

        Parameters
        ----------
        token : int
            An id.

        Returns
        -------
        str or None
            The text, or None if the id has no text. Half of a surrogate pair, which UTF-8 cannot
            encode, is spelled out.
        """
        text = None if self.tokens is None else self.tokens[token]
        return None if text is None else text.encode("utf-8", "backslashreplace").decode()

    def kind(self, token: int) -> TokenKind | None:
        """Say what an id means to the tokenizer.

        Parameters
        ----------
        token : int
            An id.

        Returns
        -------
        TokenKind or None
            The kind, or None without a tokenizer.
        """
        return None if self.kinds is None else self.kinds[token]

    def twins(self, token: int) -> list[int]:
        """Find the tokens with a token's row and bias: of such twins, none can beat another.

        Parameters
        ----------
        token : int
            An id.

        Returns
        -------
        list of int
            The other tokens, ascending.
        """
        alike = (self.W[:, 0] == self.W[token, 0]) & (self.b == self.b[token])
        alike[token] = False
        return [int(j) for j in np.flatnonzero(alike) if (self.W[j] == self.W[token]).all()]

    def described(self, source: Source, notes: tuple[str, ...]) -> Readout:
        """Return a readout of the same numbers with another source and other notes.

        The numbers are not checked again.

        Parameters
        ----------
        source : str
            The name that `geom.load` takes to find the readout again.
        notes : tuple of str
            Sentences that a reader of the results should know.

        Returns
        -------
        Readout
            A readout that shares the arrays and the values computed from them.
        """
        out = object.__new__(type(self))
        out.__dict__.update(self.__dict__, source=source, notes=notes)
        return out

    def without_bias(self) -> Readout:
        """Set every bias to zero.

        Returns
        -------
        Readout
            A readout that shares ``W``.
        """
        return replace(self, b=np.zeros(self.V), shift=None)


def _tracked(blocks: list[slice], V: int) -> Iterable[slice]:
    """Return the blocks, and report progress if there is more than one."""
    if len(blocks) == 1:
        return blocks
    return track_progress(blocks, "read", V, "rows", lambda rows: rows.stop - rows.start)
