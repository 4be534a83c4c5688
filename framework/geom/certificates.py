"""What a run stores: witnesses, weights, and the verdicts that they prove."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

from geom.numbers.arrays import Floats, Ids
from geom.reprs import short_repr

VerdictName = Literal["speakable", "unspeakable", "undecided"]
ProofName = Literal["witness", "slack", "interior", "rational"]
RecipeName = Literal["own-direction"]
"""How a witness is rebuilt that is not stored: see `geom.exact.bulk.own_direction`."""


@dataclass(frozen=True, eq=False)
class Witness:
    """A vector ``x`` (d,) float64 of the domain; where the margin is positive: speakable."""

    x: Floats

    __repr__ = short_repr


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights ``values`` (n,) float64, >= 0, on the distinct tokens ``indices`` (n,) int64.

    Where some token of the combination is at least as high as the one in question at every point
    of the domain, no point makes it the strict argmax: unspeakable.
    """

    indices: Ids
    values: Floats

    __repr__ = short_repr


Certificate = Witness | Weights


@dataclass(frozen=True, eq=False)
class Finding:
    """What a certifier hands back for a token: a direction, weights, both or neither.

    A certifier says nothing about truth; `exact` draws from a finding what it proves. ``x`` (d,)
    is the best point found, ``weights`` the best combination, ``note`` a sentence for the reader.
    """

    x: Floats | None = None
    weights: Weights | None = None
    note: str | None = None

    __repr__ = short_repr


@dataclass(frozen=True, eq=False)
class Verdict:
    """What `exact` could prove about a token from a finding.

    ``margin_lower`` and ``margin_upper`` are proven bounds on the largest margin over the domain,
    in logits (over the unit ball where the domain is unbounded and all biases are equal), None
    where not known. ``certificate`` is what proves the verdict, None when undecided.
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
        """Whether it is one of the two that need a proof."""
        return self.name != "undecided"
