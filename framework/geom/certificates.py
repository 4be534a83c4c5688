"""The certificates that a run stores, witnesses and weights, and the verdicts that they prove."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

from geom.numbers.arrays import Floats, Ids
from geom.reprs import short_repr

VerdictName = Literal["speakable", "unspeakable", "undecided"]
ProofName = Literal["witness", "slack", "interior", "rational"]
RecipeName = Literal["own-direction"]
"""The recipe that rebuilds a witness that is not stored: see `geom.exact.bulk.own_direction`."""


@dataclass(frozen=True, eq=False)
class Witness:
    """A point of the domain; a token with a positive margin at it is speakable.

    Attributes
    ----------
    x : ndarray of shape (k,), float64
        The point: its vector, so that k is d, or on a domain that is made of vectors its
        coordinates, which `Domain.vector` turns into one.
    """

    x: Floats

    __repr__ = short_repr

    def __str__(self) -> str:
        return f"{self!r}: a point of the domain at which it has the highest logit"


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights on other tokens, meant to prove a token unspeakable.

    If at every point of the domain some token of the combination has a logit at least as high as
    this token's, no point makes this token the strict argmax.

    Attributes
    ----------
    indices : ndarray of shape (n,), int64
        Distinct tokens.
    values : ndarray of shape (n,), float64
        Their weights, >= 0.
    """

    indices: Ids
    values: Floats

    __repr__ = short_repr

    def __str__(self) -> str:
        held = "the mean of the logits of these ids, so weighted,"
        if self.indices.size == 1:
            held = f"the logit of id {self.indices[0]}"
        return f"{self!r}: {held} is at least as high as its own at every point of the domain"


Certificate = Witness | Weights


@dataclass(frozen=True, eq=False)
class Finding:
    """The result of a certifier for a token: a direction, weights, both or neither.

    A finding proves nothing by itself; `geom.judge` determines what it proves.

    Attributes
    ----------
    x : ndarray of shape (k,), float64, optional
        The best point found, as in `Witness`.
    weights : Weights, optional
        The best combination found.
    note : str, optional
        A sentence for the reader.
    """

    x: Floats | None = None
    weights: Weights | None = None
    note: str | None = None

    __repr__ = short_repr


@dataclass(frozen=True, eq=False)
class Verdict:
    """The verdict on a token that exact arithmetic could prove from a finding.

    Attributes
    ----------
    name : {"speakable", "unspeakable", "undecided"}
        The verdict.
    proof : {"witness", "slack", "interior", "rational"}, optional
        The kind of proof, None if undecided.
    certificate : Witness or Weights, optional
        The certificate that proves the verdict, None if undecided.
    margin_lower : float, optional
        A proven lower bound on the largest margin over the domain, in logits (over the unit ball
        if the domain is unbounded and all biases are equal), None if not known.
    margin_upper : float, optional
        A proven upper bound on the same margin.
    note : str, optional
        Why nothing is proven.
    """

    name: VerdictName
    proof: ProofName | None = None
    _: KW_ONLY
    certificate: Certificate | None = None
    margin_lower: float | None = None
    margin_upper: float | None = None
    note: str | None = None

    __repr__ = short_repr

    @property
    def decided(self) -> bool:
        """Whether the verdict is one of the two that need a proof."""
        return self.name != "undecided"
