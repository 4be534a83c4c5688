"""The rows stored for a token: before it is examined, after it, and for each measure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, asdict, dataclass
from difflib import get_close_matches
from typing import Any, Literal, get_args

from geom.certificates import Finding, ProofName, RecipeName, VerdictName, Weights
from geom.errors import InputError
from geom.numbers.arrays import Floats
from geom.numbers.printing import chance, enclosure, ranks, with_error
from geom.reprs import short_repr
from geom.text import TokenKind

LONGEST = 2**20
"""The most characters of a text that a run keeps; no tokenizer comes near it."""

KNOWN = 0.01
"""The relative gap of the bounds on a largest margin at which it counts as known."""


VerdictLabel = Literal["speakable", "unspeakable", "undecided", "hard"]
"""A verdict as a reader sees it: a token that is ``hard`` is speakable, but another token wins
along its own direction."""

LABELS: tuple[VerdictLabel, ...] = get_args(VerdictLabel)


_TWIN = re.compile(r"same row and bias as (?:token|class|item) (\d{1,19})")
"""The words in the note of a token that has a twin."""


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One token of a run: the fields of an exported row, in their order there.

    Attributes
    ----------
    token_id : int
        The token.
    token : str or None
        Its text, None without a tokenizer.
    self_argmax : bool or None
        Whether it wins along its own direction.
    argmax_id : int or None
        The token that wins along its own direction.
    argmax : str or None
        The winner's text.
    flagged_by : tuple of str
        The detectors that flagged it.
    verdict : {"speakable", "unspeakable", "undecided"}
        The verdict.
    proof : {"witness", "slack", "interior", "rational"} or None
        The proof of the verdict, None if undecided.
    certifier : str or None
        The certifier whose point or weights prove it, ``own-direction`` or ``bulk-step`` if
        it was proven in bulk, None if undecided.
    margin_lower : float or None
        A proven lower bound on the largest margin, in logits.
    margin_upper : float or None
        A proven upper bound on the largest margin, in logits.
    seconds : float
        The time that the certifiers took.
    note : str or None
        The certifiers' remarks.
    token_kind : TokenKind or None
        The kind of the id in the tokenizer.
    probability_upper : float or None
        A proven upper bound, from 0 to 1/2, on the probability of an unspeakable token at
        temperature 1, wherever x is in the domain; None for other tokens, and in runs of format 6.
    """

    token_id: int
    _: KW_ONLY
    token: str | None
    self_argmax: bool | None
    argmax_id: int | None
    argmax: str | None
    flagged_by: tuple[str, ...]
    verdict: VerdictName
    proof: ProofName | None
    certifier: str | None
    margin_lower: float | None
    margin_upper: float | None
    seconds: float
    note: str | None
    token_kind: TokenKind | None
    probability_upper: float | None = None

    __repr__ = short_repr

    def as_dict(self) -> dict[str, Any]:
        """Return the row in the form written as JSON.

        Returns
        -------
        dict
            The fields by name, None for a bound that is not a finite number.
        """
        return {
            **asdict(self),
            "flagged_by": list(self.flagged_by),
            "margin_lower": _finite(self.margin_lower),
            "margin_upper": _finite(self.margin_upper),
            "seconds": _finite(self.seconds),
            "probability_upper": _finite(self.probability_upper),
        }

    @property
    def hard(self) -> bool:
        """Whether it is speakable, but another token wins along its own direction."""
        return self.verdict == "speakable" and self.self_argmax is False

    @property
    def label(self) -> VerdictLabel:
        """The verdict, or ``hard`` for a token that is hard to speak."""
        return "hard" if self.hard else self.verdict

    @property
    def twins(self) -> tuple[int, ...]:
        """The tokens with the same row and bias that the note names."""
        parts = map(_TWIN.fullmatch, (self.note or "").split("; "))
        return tuple(int(part[1]) for part in parts if part is not None)

    @property
    def undecodable(self) -> bool:
        """Whether it is a padding row that can win: a sampler may pick it, no tokenizer has it."""
        return self.token_kind == "padding" and self.verdict == "speakable"

    @property
    def margin(self) -> str:
        """The proven enclosure of the largest margin, in logits, three digits rounded outwards."""
        return enclosure(self.margin_lower, self.margin_upper)

    @property
    def chance(self) -> str:
        """The bound on the probability, three digits rounded up; empty if there is none."""
        return "" if self.probability_upper is None else chance(self.probability_upper)

    @property
    def known(self) -> bool:
        """Whether the largest margin is known to a hundredth: its bounds are no farther apart."""
        low, high = self.margin_lower, self.margin_upper
        return low is not None and high is not None and high - low <= KNOWN * abs(high) < math.inf

    @property
    def rank(self) -> tuple[int, bool, float, int]:
        """The sort key: the unspeakable first, then the undecided, then the speakable.

        Of the speakable, those whose largest margin is known come first, by that margin.
        """
        order = {"unspeakable": 0, "undecided": 1, "speakable": 2}[self.verdict]
        margin = self.margin_lower if self.margin_lower is not None else self.margin_upper
        unsure = self.verdict == "speakable" and not self.known
        return order, unsure, margin if margin is not None else 0.0, self.token_id


def checked_label(name: str) -> VerdictLabel:
    """Return the name of the tokens wanted. Raises InputError if it is none of `LABELS`."""
    if name not in LABELS:
        near = get_close_matches(name, LABELS, n=1)
        meant = f"did you mean {near[0]!r}? " if near else ""
        known = f"{', '.join(LABELS[:-1])} or {LABELS[-1]}"
        raise InputError(f"unknown verdict {name!r}: {meant}give {known}")
    return name


@dataclass(frozen=True, eq=False)
class MeasureRow:
    """One measurement of a token.

    Attributes
    ----------
    token_id : int
        The token.
    token : str or None
        Its text, None without a tokenizer.
    token_kind : TokenKind or None
        The kind of the id in the tokenizer.
    measure : str
        The measure's name.
    value : float or None
        The number in ``unit``, None if there is no number; it may be infinite.
    error : float or None
        A standard error or a proven radius, as in `geom.Measurement`.
    unit : str
        The unit.
    proven : bool
        Whether ``value - error`` and ``value + error`` are proven bounds.
    note : str or None
        The measure's remark, or the reason why there is no number.
    seconds : float
        The time that the measure took.
    options : mapping of str to object
        The measure's options.
    x : ndarray of shape (k,), float64, optional
        The point that proves the number again.
    weights : Weights, optional
        The weights that prove the number again.
    """

    token_id: int
    _: KW_ONLY
    token: str | None
    token_kind: TokenKind | None
    measure: str
    value: float | None
    error: float | None
    unit: str
    proven: bool
    note: str | None
    seconds: float
    options: Mapping[str, Any]
    x: Floats | None = None
    weights: Weights | None = None

    __repr__ = short_repr

    @property
    def shown(self) -> str:
        """The value and its error, in the digits that the error leaves; ``-`` without a value.

        A proven radius follows ``±``, a standard error follows ``~``, and ``..`` stands between
        the ends of a wide proven interval. A printed interval contains the proven one. In the unit
        ``rank`` the ends are whole numbers, and the value, which is reached, is the upper one.
        """
        if self.value is None:
            return "-"
        known = self.error is not None and math.isfinite(self.error) and math.isfinite(self.value)
        if known and self.proven and self.unit == "rank":
            return ranks(self.value, self.error or 0.0)
        return with_error(self.value, self.error, self.proven)

    def as_dict(self) -> dict[str, Any]:
        """Return the row in the form written as JSON.

        Returns
        -------
        dict
            Token, measure, value, error and unit; None for a number that is not finite.
        """
        return {
            "token_id": self.token_id,
            "token": self.token,
            "measure": self.measure,
            "value": _finite(self.value),
            "error": _finite(self.error),
            "unit": self.unit,
        }


@dataclass(frozen=True, slots=True)
class Planned:
    """A token that a run will examine, before any certifier has seen it."""

    token_id: int
    _: KW_ONLY
    token: str | None
    self_argmax: bool
    argmax_id: int
    argmax: str | None
    flagged_by: tuple[str, ...]
    token_kind: TokenKind | None = None
    argmax_kind: TokenKind | None = None

    __repr__ = short_repr


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of the certifiers and `exact` for a token, stored in one transaction.

    ``recipe`` says how the witness is rebuilt if it is not in the ``evidence``.
    """

    token_id: int
    _: KW_ONLY
    verdict: VerdictName
    proof: ProofName | None
    certifier: str | None
    margin_lower: float | None
    margin_upper: float | None
    probability_upper: float | None = None
    seconds: float
    note: str | None
    evidence: Finding
    recipe: RecipeName | None = None

    __repr__ = short_repr


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value
