"""The tokens of a run that no state can sample under given settings, from what the run proves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geom.exact.truncation import Drop, Standing
from geom.reprs import short_repr
from geom.store import Run
from geom.store.frames import frame
from geom.text import TokenKind
from geom.truncation.settings import Truncation
from geom.truncation.standings import standing

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, slots=True)
class UnsampleableToken:
    """A token that the filters of sampling drop at every state.

    Attributes
    ----------
    token_id : int
        The token.
    token : str or None
        Its text, None without a tokenizer.
    token_kind : TokenKind or None
        The kind of the id in the tokenizer.
    verdict : {"unspeakable", "undecided"}
        The run's verdict.
    dropped_by : tuple of str
        The filters that drop it, each on its own: ``top-k``, ``top-p``, ``min-p``.
    but_for_ties : bool
        Whether it may be kept at a state where it ties with the last token kept; False if it is
        dropped at every state.
    """

    token_id: int
    token: str | None
    token_kind: TokenKind | None
    verdict: str
    dropped_by: tuple[str, ...]
    but_for_ties: bool

    __repr__ = short_repr


@dataclass(frozen=True, eq=False)
class TruncationTable:
    """The tokens of a run that no state can sample: iterate over it for them, by id.

    Attributes
    ----------
    truncation : Truncation
        The settings of sampling.
    tokens : tuple of UnsampleableToken
        The tokens that are dropped at every state.
    kept : int
        The number of tokens examined that some state keeps.
    unknown_ids : tuple of int
        The tokens examined of which neither is proven.
    not_examined : int
        The number of tokens that the run did not examine.
    """

    truncation: Truncation
    tokens: tuple[UnsampleableToken, ...]
    kept: int
    unknown_ids: tuple[int, ...]
    not_examined: int

    __repr__ = short_repr

    @property
    def unknown(self) -> int:
        """The number of tokens examined of which neither is proven."""
        return len(self.unknown_ids)

    def __iter__(self) -> Iterator[UnsampleableToken]:
        return iter(self.tokens)

    def __len__(self) -> int:
        return len(self.tokens)

    def to_pandas(self) -> pandas.DataFrame:
        """Make a DataFrame of the tokens, one column per field.

        Returns
        -------
        pandas.DataFrame
            One row per token.

        Raises
        ------
        InputError
            If pandas is not installed.
        """
        return frame(self.tokens, list(UnsampleableToken.__dataclass_fields__))


def unsampleable(run: Run, truncation: Truncation | str) -> TruncationTable:
    """List the tokens of a run that no state of the domain can sample.

    The bounds on margins and probabilities that the run stores decide it, and the measurements that
    it stores of ``best-rank``, ``logit-bias``, ``max-probability`` and ``min-p``; `geom.verify`
    proves all of these again.

    Parameters
    ----------
    run : Run
        The run.
    truncation : Truncation or str
        The settings of sampling, or a text that `Truncation.parse` reads.

    Returns
    -------
    TruncationTable
        The tokens, and how many are kept somewhere or could not be told.

    Raises
    ------
    InputError
        If the settings do not fit.
    StoreError
        If the run is damaged.
    """
    if isinstance(truncation, str):
        truncation = Truncation.parse(truncation)
    V, measured = run.settings["V"], run.measured()
    found, kept, unknown = [], 0, list[int]()
    for row in run.rows():
        known, reach = standing(row, measured.get(row.token_id, {}), V)
        drops = _drops(known, truncation)
        if drops:
            always = "always" in drops.values()
            names = tuple(name for name, drop in drops.items() if drop == "always" or not always)
            item = (row.token_id, row.token, row.token_kind, row.verdict, names, not always)
            found.append(UnsampleableToken(*item))
        elif reach.kept_by(truncation):
            kept += 1
        else:
            unknown.append(row.token_id)
    rest = V - len(found) - kept - len(unknown)
    return TruncationTable(truncation, tuple(found), kept, tuple(unknown), rest)


def _drops(known: Standing, truncation: Truncation) -> dict[str, Drop]:
    """Return which filters drop the token, each on its own, and how surely."""
    k, p, q, T = truncation.top_k, truncation.top_p, truncation.min_p, truncation.temperature
    drops = {
        "top-k": None if k is None else known.dropped_by_top_k(k),
        "top-p": None if p is None else known.dropped_by_top_p(p, T),
        "min-p": None if q is None else known.dropped_by_min_p(q, T),
    }
    return {name: drop for name, drop in drops.items() if drop is not None}
