"""The order of a run's rows, from the hardest token to the easiest, and how far it is proven.

Unspeakable tokens come first, then the undecided, then the speakable ones, by the largest margin.
Of some speakable tokens it is known to a hundredth, of the others only between bounds that are far
apart. A token whose margin is not known comes after all those whose margin is, by its lower bound:
its place is not known either.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from geom.nouns import Noun
from geom.numbers.printing import rounded_down
from geom.numbers.spacing import FORMATS
from geom.reprs import short_repr
from geom.store.frames import token_frame
from geom.store.notebook import SHOWN, table_html
from geom.store.rows import TokenRow
from geom.text import visible

if TYPE_CHECKING:
    import pandas

TIED = "\N{ALMOST EQUAL TO}"
"""The mark of a token that is as hard as a neighbour as far as is proven."""


@dataclass(frozen=True)
class Ranking:
    """Rows in order, the hardest first: iterate over it for them.

    Attributes
    ----------
    rows : list of TokenRow
        The unspeakable tokens, the undecided, then the speakable ones.
    proven : int
        The number of speakable tokens, from the hardest, that are proven to be harder than all
        others among the rows, and to be in order.
    tied : frozenset of int
        Those of them that are as hard as a neighbour as far as is proven, because their bounds
        overlap: the order of such neighbours says nothing.
    noun : Noun
        What the rows are called.
    """

    rows: list[TokenRow]
    proven: int
    tied: frozenset[int]
    noun: Noun = Noun.TOKEN

    __repr__ = short_repr

    def __iter__(self) -> Iterator[TokenRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def _repr_html_(self) -> str:
        return self.html("list(ranking)")

    def html(self, rest: str) -> str:
        """Render the first rows as a table for a notebook, with what is proven of their order.

        Parameters
        ----------
        rest : str
            The code that gives all rows.

        Returns
        -------
        str
            HTML without scripts or styles.
        """
        names = ("id", self.noun, "verdict", "proof", "largest margin")
        cells = (
            (
                str(row.token_id),
                visible(row.token, row.token_kind),
                row.label,
                row.proof or "-",
                self.margin(row),
            )
            for row in self.rows[:SHOWN]
        )
        said = (f"<p>{escape(line)}</p>" for line in (self.about, *self.legend) if line)
        return "\n".join((table_html(names, cells, len(self), rest), *said))

    def to_pandas(self) -> pandas.DataFrame:
        """Return the rows as a DataFrame, in this order.

        Returns
        -------
        pandas.DataFrame
            As from `Run.to_pandas`.

        Raises
        ------
        InputError
            If pandas is not installed.
        """
        return token_frame(self.rows)

    @property
    def about(self) -> str:
        """What is proven of the order, for a reader of the rows; empty for fewer than two."""
        speakable = [row for row in self.rows if row.verdict == "speakable"]
        some = self.noun.plural
        if len(speakable) < 2:
            return ""
        name = "hard" if all(row.hard for row in speakable[: self.proven or None]) else "speakable"
        if not self.proven:
            return (
                f"the order of the {name} {some} is not proven: the bounds on their largest "
                "margins are too far apart"
            )
        if self.proven == len(speakable):
            said = f"the {name} {some} are in proven order, the hardest first"
        else:
            first = f"the first {self.proven} {name} {some} are the hardest, in proven order"
            if self.proven == 1:
                first = f"the first {name} {self.noun} is proven to be the hardest"
            said = f"{first}; the others follow by what is known of their margins"
        return f"{said}; {TIED} marks neighbours whose order is not proven" if self.tied else said

    @property
    def legend(self) -> tuple[str, ...]:
        """What the margins of the rows mean, in sentences; empty if they need no explanation."""
        return legend(self.rows)

    def margin(self, row: TokenRow) -> str:
        """Write a row's largest margin, marked if the row is tied.

        Parameters
        ----------
        row : TokenRow
            A row.

        Returns
        -------
        str
            The proven enclosure, in logits.
        """
        return f"{row.margin} {TIED}" if row.token_id in self.tied else row.margin


def ranking(rows: Iterable[TokenRow], noun: Noun = Noun.TOKEN) -> Ranking:
    """Put rows, which are called ``noun``, in order."""
    ordered = sorted(rows, key=lambda row: row.rank)
    speakable = [row for row in ordered if row.verdict == "speakable"]
    known = next((i for i, row in enumerate(speakable) if not row.known), len(speakable))
    lowest = [math.inf]  # of the rows from each place on
    for row in reversed(speakable):
        lowest.append(min(lowest[-1], _number(row.margin_lower, -math.inf)))
    lowest.reverse()
    highest, proven, start, tied = -math.inf, 0, 0, set()
    for place, row in enumerate(speakable[:known], 1):
        highest = max(highest, _number(row.margin_upper, math.inf))
        if highest <= lowest[place]:  # all rows so far are apart from all that follow
            if place - start > 1:
                tied |= {tie.token_id for tie in speakable[start:place]}
            proven = start = place
    return Ranking(ordered, proven, frozenset(tied), noun)


TIE = "an upper bound of 0 allows a tie, never a win"
"""What is said of the rows that `may_tie`."""


def may_tie(row: TokenRow) -> bool:
    """Return whether a token cannot win, yet may have the highest logit together with another."""
    return row.verdict == "unspeakable" and row.margin_upper == 0.0


_NEAR = 16.0
"""The size of logits for which steps of formats are named: theirs are the same up to twice that."""


def legend(rows: Iterable[TokenRow]) -> tuple[str, ...]:
    """Say what is to be known about the margins of rows: their meaning, ties, what rounding takes.

    The steps are named if a margin may be smaller than the coarsest.
    """
    rows, said = list(rows), []
    if any(map(may_tie, rows)):
        said.append(TIE)
    steps = [format.step(_NEAR) for format in FORMATS]
    least = [_number(row.margin_lower, 0.0) for row in rows if row.verdict == "speakable"]
    meaning = "margins are in logits: the most by which one exceeds all others"
    if least and min(least) < steps[0]:
        *named, last = (
            f"{rounded_down(step)} in {format.name}"
            for step, format in zip(steps, FORMATS, strict=True)
        )
        said.append(
            f"{meaning}; where logits are {_NEAR:g} to {2 * _NEAR:g}, rounding can lose margins "
            f"below {', '.join(named)} and {last}"
        )
    elif any(row.margin_lower is not None or row.margin_upper is not None for row in rows):
        said.append(meaning)
    return tuple(said)


def _number(bound: float | None, unknown: float) -> float:
    """Return the bound; one that says nothing is as good as none."""
    return unknown if bound is None or math.isnan(bound) else bound
