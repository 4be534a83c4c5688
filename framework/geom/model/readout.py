"""The readout: the last linear map of a language model, and what is known of it."""

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
"""Numbers of W that are folded at a time."""


@dataclass(frozen=True, eq=False)
class Readout:
    """``logits = W x + b`` for ``x`` after the final norm and before its scale and shift.

    Build one with `Readout.fold`, which takes what a checkpoint holds. A shift that is folded
    into ``b`` rounds it; ``shift`` keeps it exactly: proofs are about
    ``W (x + s) + shift.bias``, from which ``W x + b`` is `bias_errors` away at most.

    Attributes
    ----------
    W : ndarray of shape (V, d), float64
        A row a token, the norm's scale folded in; C-contiguous and read-only. An array that can
        be written to is copied.
    b : ndarray of shape (V,), float64
        The biases, the norm's shift folded in; C-contiguous and read-only.
    norm : {"layernorm", "rmsnorm"}, optional
        The final norm, None if there is none or it is not known.
    tokens : sequence of str or None, optional
        The text of each of the V ids as the tokenizer decodes it, None for an id without one. A
        token that is no whole UTF-8 text has its bytes spelled out.
    kinds : sequence of TokenKind, optional
        What each of the V ids is to the tokenizer.
    source : str, optional
        The name by which `geom.load` finds it again.
    notes : tuple of str, optional
        Sentences that a reader of the results should know.
    shift : Shift, optional
        The shift of the final norm, and the biases without it.

    Raises
    ------
    InputError
        If ``W`` and ``b`` are not such arrays of finite numbers, or the rest does not fit them.
    ArithmeticModeError
        In a process that flushes subnormal numbers to zero; asking for what it computes raises
        it too.
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
            raise InputError(f"b has shape {self.b.shape}: W asks for ({len(self.W)},)")
        if self.tokens is not None and len(self.tokens) != self.V:
            raise InputError(
                f"{len(self.tokens)} token texts for {self.V} rows of W: give one a row"
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

        Arrays are of float16, float32, float64, or of integers that float64 holds exactly. ``W`` is
        read a block of rows at a time: if it is read from a file by slices, it is never whole in
        memory twice.

        Parameters
        ----------
        W : array_like or SlicedArray of shape (V, d)
            The unembedding, a row a token; of shape (V, k) with a projection.
        b : array_like or SlicedArray of shape (V,), optional
            The biases; zero if None.
        norm : {"layernorm", "rmsnorm"}, optional
            The final norm.
        gamma : array_like or SlicedArray of shape (d,), optional
            The norm's scale.
        beta : array_like or SlicedArray of shape (d,), optional
            The norm's shift.
        projection : array_like or SlicedArray of shape (k, d), optional
            A matrix between the norm and ``W``, folded in exactly before one rounding to float64.
        tokens : sequence of str or None, optional
            The text of each id.
        kinds : sequence of TokenKind, optional
            The kind of each id.
        source : str, optional
            The name by which `geom.load` finds it again.
        notes : tuple of str, optional
            Sentences that a reader of the results should know.

        Returns
        -------
        Readout
            The readout, in float64.

        Raises
        ------
        InputError
            For wrong shapes or types, for NaN and infinity, naming the array and the place, and if
            memory cannot hold it.
        """
        source_rows = W if isinstance(W, SlicedArray) else np.asarray(W)
        if isinstance(source_rows, np.ndarray):
            arrays.check_type("W", source_rows)
        if len(source_rows.shape) != 2 or 0 in source_rows.shape:
            raise InputError(
                f"W has shape {source_rows.shape}: give a matrix (V, d), one row a token"
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
                folded = block
                if P is not None:
                    arrays.check_finite("W", block, rows.start)
                    folded = exact_product(block, P)
                if scale is not None:
                    folded = fold_scale(folded, scale)
            finite = np.isfinite(folded).all(axis=1) & np.isfinite(bias[rows])
            if not finite.all():
                arrays.check_finite("W", block, rows.start)
                row = rows.start + int(np.flatnonzero(~finite)[0])
                raise InputError(f"row {row} of W overflows float64 when the norm is folded in")
            matrix[rows] = folded
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
        """The domain that the final norm implies: what ``auto`` means."""
        return domains.named("auto", self.d, self.norm)

    @cached_property
    def has_bias(self) -> bool:
        """Whether two tokens differ in bias; a bias equal for all changes no argmax.

        A shift tells them apart.
        """
        refuse_flushing()
        return self.shift is not None or bool((self.b != self.b[0]).any())

    @property
    def offset(self) -> Floats:
        """The biases (V,) without the shift, exactly: ``b`` itself where there is none."""
        return self.b if self.shift is None else self.shift.bias

    @cached_property
    def bias_errors(self) -> Floats:
        """Bounds (V,) on how far ``b`` is from ``W s`` and the biases of the shift; 0 without one.

        ``b`` is a compensated sum of rounded products of the unfolded rows, each entry of ``W`` is
        rounded once, and so is each of ``s``: ``gamma_{d+8}`` covers them several times over.
        """
        if self.shift is None:
            return np.zeros(self.V)
        found = dot_error(self.row_norms, self.shift.length, self.shift.bias, self.d + 8)
        return np.where(np.isnan(found), np.inf, found)

    def exact_biases(self, tokens: NDArray[np.integer[Any]]) -> list[Fraction]:
        """Compute biases with the shift folded in, without rounding.

        Parameters
        ----------
        tokens : ndarray of shape (n,), int
            Ids.

        Returns
        -------
        list of Fraction
            A bias a token, in their order.
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
        """SHA-256, in hexadecimal, of the folded numbers: shape, then W and b as float64.

        Little-endian, row by row, with -0 taken for 0; of one with a shift then ``shift`` and its
        ``beta``, ``gamma`` and ``bias``. Equal digests are equal readouts.
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
            The text, None without one. Half of a surrogate pair, which UTF-8 has no room for, is
            spelled out.
        """
        text = None if self.tokens is None else self.tokens[token]
        return None if text is None else text.encode("utf-8", "backslashreplace").decode()

    def kind(self, token: int) -> TokenKind | None:
        """Say what an id is to the tokenizer.

        Parameters
        ----------
        token : int
            An id.

        Returns
        -------
        TokenKind or None
            The kind, None without a tokenizer.
        """
        return None if self.kinds is None else self.kinds[token]

    def twins(self, token: int) -> list[int]:
        """Find the tokens with the same row and bias as a token: neither can ever beat the other.

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
        """Give the same numbers another name and other notes; they are not checked again.

        Parameters
        ----------
        source : str
            The name by which `geom.load` finds it again.
        notes : tuple of str
            Sentences that a reader of the results should know.

        Returns
        -------
        Readout
            A readout that shares the arrays, and what was computed of them.
        """
        out = object.__new__(type(self))
        out.__dict__.update(self.__dict__, source=source, notes=notes)
        return out

    def without_bias(self) -> Readout:
        """Make every bias zero.

        Returns
        -------
        Readout
            A readout that shares ``W``.
        """
        return replace(self, b=np.zeros(self.V), shift=None)


def _tracked(blocks: list[slice], V: int) -> Iterable[slice]:
    """The blocks, with progress where there is any to speak of."""
    if len(blocks) == 1:
        return blocks
    return track_progress(blocks, "read", V, "rows", lambda rows: rows.stop - rows.start)
