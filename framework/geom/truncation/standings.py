"""What a run proves of a token that decides whether sampling can reach it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from geom.exact.thresholds import margin_ends
from geom.exact.truncation import Standing, crosses, log10_above, margin_reaches
from geom.numbers.rationals import above as rounded_above
from geom.numbers.rationals import below
from geom.store import MeasureRow, TokenRow
from geom.truncation.settings import Truncation

MEASURES = {
    "best-rank": "rank",
    "logit-bias": "logits",
    "max-probability": "log10 probability",
    "min-p": "threshold",
}
"""The measures that tell more than a verdict does, and the units of their numbers."""


@dataclass(frozen=True)
class Reach:
    """How far a token is proven to get somewhere: the other ends of its `Standing`.

    ``margin`` is a lower bound on its largest margin, ``rank`` an upper bound on its best rank even
    if ties count against it. Each of ``likely`` is a temperature and a lower bound on the decimal
    logarithm of its largest probability there.
    """

    margin: float
    rank: float
    likely: tuple[tuple[float, Fraction], ...] = ()

    def kept_by(self, truncation: Truncation) -> bool:
        """Return whether some state keeps the token.

        A token that wins is kept by all filters together. Otherwise it must be known for each
        filter that it keeps the token at one and the same state, so only one filter may be set.
        """
        if self.margin > 0.0:
            return True
        filters = (truncation.top_k, truncation.top_p, truncation.min_p)
        if sum(item is not None for item in filters) > 1:
            return False
        if truncation.top_k is not None:
            return self.rank <= truncation.top_k
        p, q, temperature = truncation.top_p, truncation.min_p, truncation.temperature
        if p is not None:
            return any(crosses(log10, p) for at, log10 in self.likely if at == temperature)
        return q is not None and margin_reaches(self.margin, q, temperature)


def standing(row: TokenRow, measured: Mapping[str, MeasureRow], V: int) -> tuple[Standing, Reach]:
    """Return what a verdict and measurements prove of a token, from above and from below."""
    margin, reached = _number(row.margin_upper, math.inf), _number(row.margin_lower, -math.inf)
    rank, caps = float(V), list[tuple[float, Fraction]]()
    reaches = list[tuple[float, Fraction]]()
    level, above = int(row.verdict == "unspeakable"), 0
    likely = row.probability_upper
    if likely is not None and 0.0 < likely <= 1.0:
        caps.append((1.0, log10_above(likely)))
    for name, item in measured.items():
        ends = _ends(item) if item.unit == MEASURES.get(name) else None
        if ends is None:
            continue
        low, high = ends
        temperature = _temperature(item)
        if name == "logit-bias":
            margin, reached = min(margin, rounded_above(-low)), max(reached, below(-high))
        elif name == "min-p" and temperature is not None:
            least, most = margin_ends(low, high, temperature)
            margin, reached = min(margin, most), max(reached, least)
        elif name == "max-probability" and temperature is not None:
            caps.append((temperature, high))
            reaches.append((temperature, low))
        elif name == "best-rank" and item.options.get("ties") == "below":
            above = max(above, math.ceil(low) - 1)
        elif name == "best-rank":
            level, rank = max(level, math.ceil(low) - 1), min(rank, math.floor(high))
    above = max(above, int(margin < 0.0))
    known = Standing(V - 1, margin=margin, above=above, level=max(level, above), caps=tuple(caps))
    return known, Reach(reached, rank, tuple(reaches))


def _temperature(item: MeasureRow) -> float | None:
    """Return the temperature of a measurement, 1 unless it has one; None if that makes no sense."""
    given = item.options.get("temperature", 1.0)
    return given if isinstance(given, float) and 0.0 < given < math.inf else None


def _ends(item: MeasureRow) -> tuple[Fraction, Fraction] | None:
    """Return the proven ends of a measurement, exactly; None if it has no finite ones."""
    value, error = item.value, item.error
    if not item.proven or value is None or error is None:
        return None
    if not (math.isfinite(value) and math.isfinite(error) and error >= 0.0):
        return None
    return Fraction(value) - Fraction(error), Fraction(value) + Fraction(error)


def _number(bound: float | None, unknown: float) -> float:
    return unknown if bound is None or not math.isfinite(bound) else bound
