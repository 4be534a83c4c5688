"""Two runs of one vocabulary, compared: verdicts, twins and margins before and after.

The verdicts are those that the runs hold; `geom.verify` proves them. A token that only one run
examined has no verdict in the other: if that is a run of candidates, its detectors have passed over
the token.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geom.difference.records import Bounds, Difference, TokenChange, TokenState
from geom.difference.twins import joined, twin_groups
from geom.difference.vocabularies import Vocabulary, check_vocabularies, disagreeing
from geom.store import Run, TokenRow, open_file
from geom.summary import ModelSummary, summarise_rows
from geom.token_spec import CANDIDATES

_FORCED = "; --force (force=True in Python) compares the ids of which that is not known"


def diff(before: Run | str | Path, after: Run | str | Path, *, force: bool = False) -> Difference:
    """Say what two runs of one vocabulary differ in.

    Parameters
    ----------
    before : Run, str or Path
        The first run, open or a file.
    after : Run, str or Path
        The second run.
    force : bool, optional
        Whether to compare runs of different vocabularies: the ids that both have, except those
        whose texts differ.

    Returns
    -------
    Difference
        The verdicts that changed, the tokens that became twins, the margins that sank.

    Raises
    ------
    InputError
        If the runs are of different vocabularies: of different sizes without texts that agree, or
        with a token whose texts differ.
    StoreError
        If a file is not a run.
    """
    one, other = _read(before), _read(after)
    skipped: Collection[int] = ()
    if force:
        skipped = set(disagreeing(one.vocabulary, other.vocabulary))
        grown = None
    else:
        grown = check_vocabularies(one.vocabulary, other.vocabulary, _FORCED)
    end = (min if force else max)(one.summary.V, other.summary.V)

    def counts(token: int) -> bool:
        return token < end and token not in skipped

    return _compared(one, other, counts, _notes(one, other, grown, len(skipped)))


@dataclass(frozen=True)
class _Read:
    """A run, read: its summary, its settings, its rows by id, and how many are still to come."""

    summary: ModelSummary
    settings: Mapping[str, Any]
    rows: Mapping[int, TokenRow]
    pending: int

    @property
    def name(self) -> str:
        """What messages call the run."""
        return self.summary.path or self.summary.model

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokens of the run."""
        return Vocabulary.of(self.name, self.summary.V, self.rows.values(), self.summary.noun)

    def state(self, token: int) -> TokenState:
        """Return the verdict of the token, or why there is none."""
        row = self.rows.get(token)
        if row is not None:
            return row.verdict
        if token >= self.summary.V:
            return "no such token"
        return "not flagged" if self.settings.get("tokens") == CANDIDATES else "not examined"

    def hard(self, token: int) -> bool:
        """Return whether the token is speakable, but not along its own direction."""
        row = self.rows.get(token)
        return row is not None and row.hard

    def tells(self, token: int) -> bool:
        """Return whether the run tells which twins the token has: no detector passes them over."""
        return token in self.rows or self.state(token) == "not flagged"

    def margin(self, token: int) -> Bounds:
        """Return the bounds on the token's largest margin."""
        row = self.rows.get(token)
        return (None, None) if row is None else (row.margin_lower, row.margin_upper)


def _read(run: Run | str | Path) -> _Read:
    with nullcontext(run) if isinstance(run, Run) else open_file(run) as opened:
        rows = list(opened.rows())
        return _Read(
            summarise_rows(opened, rows),
            opened.settings,
            {row.token_id: row for row in rows},
            opened.counts()["pending"],
        )


def _notes(one: _Read, other: _Read, grown: str | None, skipped: int) -> tuple[str, ...]:
    """Say what a reader of the differences should know."""
    said = [] if grown is None else [grown]
    if skipped:
        said.append(f"not compared, as the texts differ: {one.summary.noun.counted(skipped)}")
    if not _same_domain(one, other):
        names = (one.summary.domain, other.summary.domain)
        said.append(f"the domains differ ({' and '.join(names)}), so margins are not compared")
    said += [
        f"{run.name} is unfinished, and has yet to examine {run.summary.noun.counted(run.pending)}"
        for run in (one, other)
        if run.pending
    ]
    return tuple(said)


def _same_domain(one: _Read, other: _Read) -> bool:
    """Return whether margins are over sets of one kind: the radius of a ball may differ with d."""
    first, second = (run.settings.get("domain", {}) for run in (one, other))
    if one.summary.d != other.summary.d:
        return bool(first.get("name") == second.get("name"))
    return bool(first == second)


def _compared(
    one: _Read, other: _Read, counts: Callable[[int], bool], notes: tuple[str, ...]
) -> Difference:
    ids = sorted(filter(counts, one.rows.keys() | other.rows.keys()))
    both = [token for token in ids if token in one.rows and token in other.rows]
    same = [t for t in both if one.rows[t].verdict == other.rows[t].verdict == "speakable"]
    wins = [{t for t in both if run.rows[t].self_argmax} for run in (one, other)]
    groups = [twin_groups(run.rows, counts) for run in (one, other)]
    known = {token: _known(one, other, token) for token in ids}

    def changes(tokens: Iterable[int]) -> list[TokenChange]:
        return [_change(one, other, token) for token in tokens]

    margins = _margins(changes(same if _same_domain(one, other) else ()))
    return Difference(
        one.summary,
        other.summary,
        notes=notes,
        verdicts=_worst_first(
            changes(t for t in both if one.rows[t].verdict != other.rows[t].verdict)
        ),
        only_before=_worst_first(changes(t for t in ids if t not in other.rows)),
        only_after=_worst_first(changes(t for t in ids if t not in one.rows)),
        twins=joined(groups[0], groups[1], one.tells, known),
        parted=joined(groups[1], groups[0], other.tells, known),
        sank=margins.sank,
        rose=margins.rose,
        level=margins.level,
        unknown=margins.unknown,
        lost=tuple(sorted(wins[0] - wins[1])),
        won=tuple(sorted(wins[1] - wins[0])),
    )


@dataclass(frozen=True)
class _Margins:
    """Tokens, speakable in both runs, by what is proven of their margins."""

    sank: tuple[TokenChange, ...]
    rose: tuple[TokenChange, ...]
    level: int
    unknown: int


def _margins(changes: Iterable[TokenChange]) -> _Margins:
    sank, rose, level, unknown = [], [], 0, 0
    for change in changes:
        if _above(change.margin_before, change.margin_after):
            sank.append(change)
        elif _above(change.margin_after, change.margin_before):
            rose.append(change)
        elif None in change.fall:
            unknown += 1
        else:
            level += 1
    sank.sort(key=lambda change: _share(change.margin_before, change.margin_after))
    rose.sort(key=lambda change: _share(change.margin_after, change.margin_before))
    return _Margins(tuple(sank), tuple(rose), level, unknown)


def _change(one: _Read, other: _Read, token: int) -> TokenChange:
    known = _known(one, other, token)
    return TokenChange(
        token,
        token=known.token,
        token_kind=known.token_kind,
        before=one.state(token),
        after=other.state(token),
        hard_before=one.hard(token),
        hard_after=other.hard(token),
        margin_before=one.margin(token),
        margin_after=other.margin(token),
    )


def _above(one: Bounds, other: Bounds) -> bool:
    """Return whether all of one interval is above all of the other."""
    return one[0] is not None and other[1] is not None and one[0] > other[1]


def _known(one: _Read, other: _Read, token: int) -> TokenRow:
    """Return the row that has the token's text: the second run's, unless only the first has one."""
    old, new = one.rows.get(token), other.rows.get(token)
    if old is None or (new is not None and (new.token, new.token_kind) != (None, None)):
        assert new is not None
        return new
    return old


_ORDER: tuple[TokenState, ...] = ("unspeakable", "undecided", "speakable")


def _worst_first(changes: Iterable[TokenChange]) -> tuple[TokenChange, ...]:
    """Sort by the verdict after, or before if there is none after; then by id."""

    def place(change: TokenChange) -> tuple[int, int, int]:
        after, before = (
            _ORDER.index(state) if state in _ORDER else len(_ORDER)
            for state in (change.after, change.before)
        )
        return after, before, change.token_id

    return tuple(sorted(changes, key=place))


def _share(high: Bounds, low: Bounds) -> float:
    """Return how much of the higher margin is left at most."""
    most, least = low[1] or 0.0, high[0] or 0.0
    return most / least if least > 0.0 else 1.0
