"""The readout: the last linear map of a language model, and what is known about it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geom.errors import InputError
from geom.machine import memory
from geom.model import arrays, domains
from geom.model.arrays import SlicedArray
from geom.model.casts import cast_rows
from geom.model.digests import digest
from geom.model.domains import Domain
from geom.model.folding import exact_product, fold_scale, fold_shift, through
from geom.model.grown import DEFAULT_INIT, grown
from geom.model.head import Head, head_of
from geom.model.replaced import replaced
from geom.model.rows import BLOCK, Rows, size
from geom.model.shift import Shift
from geom.model.source import PYTHON, Source
from geom.model.stored import Intake, Settled, Stored
from geom.nouns import Noun
from geom.numbers.arrays import Floats
from geom.numbers.rationals import integers
from geom.numbers.rounding import dot_error, norm_above, refuse_flushing
from geom.progress import track_progress
from geom.reprs import short_repr
from geom.text import TokenKind

NormName = Literal["layernorm", "rmsnorm"]

_QUICK = 1 << 20
"""How many numbers are read before a bar could be seen."""

_PROJECTED = 1 << 20
"""How many numbers of W are projected at a time; another number might change a last bit."""


@dataclass(frozen=True, eq=False, init=False)
class Readout:
    """``logits = W x + b`` for ``x`` after the final norm and before its scale and shift.

    Build a readout with `Readout.fold`, which takes the arrays of a checkpoint. Folding a shift
    into ``b`` rounds it; ``shift`` keeps it exactly. Proofs are about ``W (x + s) + shift.bias``,
    which differs from ``W x + b`` by at most `bias_errors`.

    Parameters
    ----------
    rows : Rows, or ndarray of shape (V, d), float64
        One row per token, with the norm's scale folded in. A writable array is copied.
    b : ndarray of shape (V,), float64
        The biases, with the norm's shift folded in. A writable array is copied.
    norm, tokens, kinds, source, notes, shift, noun : optional
        As below.

    Attributes
    ----------
    rows : Rows
        The rows, in the type that the checkpoint has them in: ``rows[ids]`` and ``rows @ x`` are
        float64.
    b : ndarray of shape (V,), float64
        The biases; C-contiguous and read-only.
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
    noun : {"token", "class", "item"}, optional
        What a row stands for: the word that results use, ``token`` unless told.

    Raises
    ------
    InputError
        If ``rows`` and ``b`` are not such arrays of finite numbers, or another argument does not
        fit them.
    ArithmeticModeError
        If the process flushes subnormal numbers to zero; reading a computed attribute raises it
        too.
    """

    rows: Rows
    b: Floats
    norm: NormName | None = None
    tokens: Sequence[str | None] | None = None
    kinds: Sequence[TokenKind] | None = None
    source: Source = PYTHON
    notes: tuple[str, ...] = ()
    shift: Shift | None = None
    noun: Noun = Noun.TOKEN

    _shown: ClassVar = ("V", "d", "norm", "source")
    __repr__ = short_repr

    def __init__(
        self,
        rows: Rows | Floats,
        b: Floats,
        *,
        norm: NormName | None = None,
        tokens: Sequence[str | None] | None = None,
        kinds: Sequence[TokenKind] | None = None,
        source: Source = PYTHON,
        notes: tuple[str, ...] = (),
        shift: Shift | None = None,
        noun: str = Noun.TOKEN,
    ) -> None:
        refuse_flushing()
        _check_norm(norm)
        held = rows if isinstance(rows, Rows) else Rows.of(rows)
        arrays.check_folded("b", b, 1)
        if b.shape != held.shape[:1]:
            raise InputError(f"b has shape {b.shape}: W needs ({len(held)},)")
        held.check()
        self._hold(
            rows=held,
            b=arrays.frozen(b),
            norm=norm,
            tokens=tokens,
            kinds=kinds,
            source=source,
            notes=notes,
            shift=shift,
            noun=Noun.named(noun),
        )
        if shift is not None:
            with np.errstate(all="ignore"):
                off = np.abs(held @ shift.rounded + shift.bias - self.b)
            if (off > 2.0 * self.bias_errors).any():
                raise InputError("b is not W times the shift plus its bias: use Readout.fold")

    def _hold(self, **parts: Any) -> None:
        """Set the attributes. Raises InputError if texts, kinds or shift do not fit the rows."""
        self.__dict__.update(parts)
        if self.tokens is not None and len(self.tokens) != self.V:
            raise InputError(f"{len(self.tokens)} texts for {self.V} rows of W: give one per row")
        if self.kinds is not None:
            arrays.check_kinds(self.kinds, self.V)
        if self.shift is not None:
            self.shift.check_shapes(self.V, self.d)

    @classmethod
    def fold(
        cls,
        W: ArrayLike | SlicedArray | Stored,
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
        noun: str = Noun.TOKEN,
    ) -> Readout:
        """Fold a checkpoint's arrays into a readout: ``logits = W (gamma * x + beta) + b``.

        Arrays hold float16, bfloat16, float32, float64, or integers that float64 represents
        exactly. The readout keeps ``W`` in the type it has; it is read a block of rows at a time,
        each row once, and copied unless nobody can write to it.

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
            once, and the readout keeps the product, and ``W`` for its `head`.
        tokens : sequence of str or None, optional
            The text of each id.
        kinds : sequence of TokenKind, optional
            The kind of each id.
        source : str, optional
            The name that `geom.load` takes to find the readout again.
        notes : tuple of str, optional
            Sentences that a reader of the results should know.
        noun : {"token", "class", "item"}, optional
            What a row stands for.

        Returns
        -------
        Readout
            The readout.

        Raises
        ------
        InputError
            For wrong shapes or types; for NaN and infinity, naming the array and the place; and if
            memory cannot hold the readout.
        """
        refuse_flushing()
        _check_norm(norm)
        intake = Settled(W) if isinstance(W, Stored) else Intake(W)
        V, k = intake.shape
        P = None if projection is None else arrays.matrix("projection", projection, k)
        d = k if P is None else P.shape[1]
        bias = np.zeros(V) if b is None else arrays.vector("b", b, V)
        scale = None if gamma is None else arrays.vector("gamma", gamma, d)
        shift = None if beta is None else arrays.vector("beta", beta, d)
        kept = None if shift is None or P is not None else Shift.folded(shift, scale, bias)
        own = None if b is None else arrays.frozen(bias)  # before the shift is added to it
        before = scale, shift, P
        product: Floats | None = None
        if P is not None:
            P, scale, shift = through(P, scale, shift)
            memory.check_memory(
                8 * V * d,
                f"W of {V} x {d} as float64",
                "free some memory, or read it on a machine with more",
            )
            product = np.empty((V, d))
        largest = 0.0
        height = max(1, (BLOCK if P is None else _PROJECTED) // max(k, d))
        blocks = [slice(start, min(start + height, V)) for start in range(0, V, height)]
        for rows in _tracked(blocks, V * max(k, d)):
            with np.errstate(over="ignore", invalid="ignore"):
                block = intake.read(rows)
                if shift is not None:
                    bias[rows] = fold_shift(block, shift, bias[rows])
                if product is not None and P is not None:
                    arrays.check_finite("W", block, rows.start)
                    folded = product[rows] = exact_product(block, P)
                else:
                    folded = block if scale is None else fold_scale(block, scale)
            found = size(folded)
            if not (math.isfinite(found) and np.isfinite(bias[rows]).all()):
                arrays.check_finite("W", block, rows.start)
                finite = np.isfinite(folded).all(axis=1) & np.isfinite(bias[rows])
                row = rows.start + int(np.flatnonzero(~finite)[0])
                raise InputError(f"row {row} of W overflows float64 when the norm is folded in")
            largest = max(largest, found)
        intake.finish()
        for array in (bias, *before, scale, product):
            if array is not None:
                array.flags.writeable = False
        stored = intake.stored()
        head = Head(stored, own, *before)
        out = object.__new__(cls)  # its numbers are checked, and its biases are those of its rows
        out._hold(
            rows=Rows(stored if product is None else Stored(product, d), scale, largest=largest),
            b=bias,
            norm=norm,
            tokens=tokens,
            kinds=kinds,
            source=Source.parse(source) if isinstance(source, str) else source,
            notes=notes,
            shift=kept,
            noun=Noun.named(noun),
            _head=head,
        )
        return out

    @property
    def head(self) -> Head:
        """The checkpoint's own rows and biases, before the norm was folded in.

        Raises InputError for a readout that was built from rows with a norm's scale in them.
        """
        held: Head | None = self.__dict__.get("_head")
        return head_of(self.rows, self.b, self.shift) if held is None else held

    @property
    def W(self) -> Floats:  # noqa: N802 - the symbol of the papers
        """The rows as one matrix (V, d) of float64, read-only; made when first asked for, and kept.

        It takes 8 bytes a number, whatever the checkpoint takes, and raises InputError if there is
        no room: `rows` gives any part of it.
        """
        return self.rows.whole()

    @property
    def V(self) -> int:  # noqa: N802 - the symbol of the papers
        """The number of tokens."""
        return self.rows.shape[0]

    @property
    def d(self) -> int:
        """The width of the residual stream."""
        return self.rows.shape[1]

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
        shifts = self.shift.along(*integers(self.rows[tokens]))
        return [bias + moved for bias, moved in zip(biases, shifts, strict=True)]

    @cached_property
    def row_norms(self) -> Floats:
        """Upper bounds (V,) on the rows' Euclidean norms, tight to a few roundings."""
        refuse_flushing()
        self.rows.kept()  # who asks for lengths will read the rows again
        return np.concatenate([norm_above(rows, axis=-1) for _, rows in self.rows.blocks()])

    @cached_property
    def digest(self) -> str:
        """The SHA-256, in hexadecimal, of the folded numbers: the shape, then W and b as float64.

        The numbers are little-endian, row by row, with -0 taken as 0. If there is a shift, the word
        ``shift`` and its ``beta``, ``gamma`` and ``bias`` follow. Equal digests mean equal
        readouts.
        """
        refuse_flushing()
        return digest(self.rows, self.b, self.shift)

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
        logits = self.rows.logits(np.asarray(x, dtype=np.float64))
        logits += self.b
        return logits

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
        norms = self.row_norms
        with np.errstate(invalid="ignore"):  # lengths that overflow tell nothing apart
            apart = np.abs(norms - norms[token]) > 1e-9 * norms[token]
        alike = ~apart & (self.offset == self.offset[token])
        alike[token] = False
        own, out = self.rows[token], []
        for part in np.array_split(np.flatnonzero(alike), 1 + alike.sum() // 256):
            out += part[(self.rows[part] == own).all(axis=1)].tolist()
        return out

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

    def cast(self, name: str) -> Readout:
        """Round the head's own rows to another format, and fold the norm into the result.

        The biases stay as they are. Rows are rounded a block at a time; the memory taken is that
        of the rows in the new format.

        Parameters
        ----------
        name : str
            ``float16``, ``bfloat16``, ``float8-e4m3``, ``float8-e4m3-row``, ``int8-row``, ``q8_0``,
            ``q5_1``, ``q5_0``, ``q4_1`` or ``q4_0``.

        Returns
        -------
        Readout
            The readout of the rounded head; a note says what was rounded.

        Raises
        ------
        InputError
            For another name, for a head that the format does not hold, and if its own rows are not
            known.
        """
        head = self.head
        stored, note = cast_rows(head.stored, name)
        source = self.source.edited(cast=name)
        return self._with_head(replace(head, stored=stored), source, note)

    def with_new_rows(self, count: int, init: str = DEFAULT_INIT, seed: int = 0) -> Readout:
        """Append rows for new tokens, as tools that add tokens to a model initialise them.

        The tokens are called ``<new 0>``, ``<new 1>`` and so on, and their kind is ``added``.

        Parameters
        ----------
        count : int
            How many.
        init : str, optional
            ``mean``, ``mean-cov`` (the mean and a draw of 1e-9 of the covariance, as transformers
            does), ``normal`` or ``normal:STD`` (0.02 unless told), ``zeros`` or ``copy:ID``.
        seed : int, optional
            The seed of ``mean-cov`` and ``normal``.

        Returns
        -------
        Readout
            The readout with ``V + count`` tokens.

        Raises
        ------
        InputError
            For another count, initialisation or seed, and if the head's own rows are not known.
        """
        head, note = grown(self.head, count, init, seed)
        texts = tuple(f"<new {i}>" for i in range(count))
        kinds: list[TokenKind] = ["added"] * count
        return self._with_head(
            head,
            self.source.edited(new=count, init=init, init_seed=seed),
            note,
            tokens=(*((None,) * self.V if self.tokens is None else self.tokens), *texts),
            kinds=None if self.kinds is None else (*self.kinds, *kinds),
        )

    def with_rows(self, ids: ArrayLike, rows: ArrayLike, bias: ArrayLike | None = None) -> Readout:
        """Put rows in the place of others, as training or `geom repair` changes them.

        Parameters
        ----------
        ids : array_like of shape (n,), int
            The ids of the rows, none twice.
        rows : array_like of shape (n, k)
            The rows of the head itself, before the norm is folded in, in numbers of its type.
        bias : array_like of shape (n,), optional
            Their biases, without the norm's shift; None leaves them as they are.

        Returns
        -------
        Readout
            The readout of the head with these rows.

        Raises
        ------
        InputError
            For other ids, shapes or numbers, and if the head's own rows are not known.
        """
        head = replaced(self.head, ids, rows, bias)
        count = np.size(ids)
        return self._with_head(
            head, PYTHON, f"{count} {'row was' if count == 1 else 'rows were'} replaced"
        )

    def _with_head(self, head: Head, source: Source, note: str, **other: Any) -> Readout:
        """Fold another head in the place of this readout's."""
        texts: dict[str, Any] = {"tokens": self.tokens, "kinds": self.kinds, **other}
        return Readout.fold(
            head.stored,
            head.bias,
            norm=self.norm,
            gamma=head.gamma,
            beta=head.beta,
            projection=head.projection,
            source=source,
            notes=(*self.notes, note),
            noun=self.noun,
            **texts,
        )

    def without_bias(self) -> Readout:
        """Set every bias to zero.

        Returns
        -------
        Readout
            A readout that shares the rows.
        """
        source = self.source.edited(bias="no")
        out = replace(self, b=np.zeros(self.V), shift=None, source=source)
        held: Head | None = self.__dict__.get("_head")
        if held is not None:
            out.__dict__["_head"] = replace(held, bias=None, beta=None)
        return out


def _check_norm(norm: str | None) -> None:
    if norm not in (None, *get_args(NormName)):
        raise InputError(f"norm {norm!r}: give 'layernorm', 'rmsnorm' or None")


def _tracked(blocks: list[slice], numbers: int) -> Iterable[slice]:
    """Return the blocks, and report progress if they hold so many numbers that it takes a while."""
    if numbers <= _QUICK:
        return blocks
    V = blocks[-1].stop
    return track_progress(blocks, "read", V, "rows", lambda rows: rows.stop - rows.start)
