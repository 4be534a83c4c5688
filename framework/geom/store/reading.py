"""A stored run, open for reading."""

from __future__ import annotations

import re
import sqlite3
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from functools import cached_property
from operator import index
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, get_args

import msgspec
import numpy as np

from geom.certificates import Certificate, Finding, RecipeName, Witness
from geom.errors import InputError, StoreError
from geom.exact.bulk import own_direction
from geom.model import domains
from geom.model.domains import Domain
from geom.model.problem import Problem
from geom.model.readout import Readout
from geom.nouns import Noun
from geom.numbers.arrays import Flags, Floats, Ids
from geom.store import decoding, sorting, unexamined
from geom.store.arrays import HEADER, ITEM
from geom.store.decoding import MEASURE_COLUMNS, TOKEN_COLUMNS, Lengths
from geom.store.domain_frame import read_frame
from geom.store.file_format import ADDED
from geom.store.frames import token_frame
from geom.store.meta import meta, settings
from geom.store.ranking import Ranking, ranking
from geom.store.rows import MeasureRow, TokenRow, VerdictLabel, checked_label
from geom.store.run_file import RunFile
from geom.store.run_html import run_html
from geom.text import TokenKind, visible
from geom.token_names import Entry, named, near
from geom.token_spec import CANDIDATES

if TYPE_CHECKING:
    import pandas

_AT_ONCE = 4096
"""The number of rows read at a time: all rows of a long vocabulary take more than its weights."""

_WANTED: dict[VerdictLabel, str] = {
    "speakable": "verdict = 'speakable'",
    "unspeakable": "verdict = 'unspeakable'",
    "undecided": "verdict = 'undecided'",
    "hard": "verdict = 'speakable' AND self_argmax = 0",
}
"""The conditions of SQL by which the tokens of a verdict are picked."""


class Run:
    """A stored run, open for reading: a context manager, closed when nothing refers to it.

    `geom.run` and `geom.open_run` return one.

    Attributes
    ----------
    path : Path or None
        The run's file, or None for a run in memory.
    find_readout : callable or None
        A function that finds the readout again if a witness that is not stored is asked for.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path | None,
        find_readout: Callable[[Run], Readout] | None = None,
    ) -> None:
        self._file = RunFile(connection, path)
        self.path = path
        self.find_readout = find_readout
        weakref.finalize(self, self._file.close).atexit = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __len__(self) -> int:
        counts = self.counts()
        return sum(counts.values()) - counts["pending"]

    def __iter__(self) -> Iterator[TokenRow]:
        return self.rows()

    def __repr__(self) -> str:
        query = f"SELECT count(*) FROM tokens WHERE {_WANTED['hard']}"
        ((hard,),) = self._file.select(query)
        counts = self.counts()
        rest = self.settings["V"] - sum(counts.values())
        counts["speakable"] -= hard
        found = [f"{n} {name}" for name, n in ({"hard": hard} | counts).items() if n]
        over = self._passed_over if self.planned and rest > 0 else None
        if over is not None and found:
            found.append(f"{rest} not flagged")
        elif over is not None:
            found.append(f"none of {self.noun.counted(rest)} flagged{over.because()}")
        told, warned = ", ".join(found) or f"no {self.noun} examined", len(self.warnings)
        if warned:
            told += f"; {warned} warning{'' if warned == 1 else 's'}"
        return f"<Run {self.path or 'in memory'}: {told}>"

    def _repr_html_(self) -> str:
        pending = self.counts()["pending"]
        return run_html(self.model, self.settings, self.rows(), self.noun, self.warnings, pending)

    def close(self) -> None:
        """Close the file."""
        self._file.connection.close()

    @property
    def settings(self) -> dict[str, Any]:
        """The run's settings: the readout's digest, domain, tokens, detectors and certifiers.

        Raises StoreError if V, d or the domain is missing or invalid.
        """
        return settings(self._file)

    @property
    def model(self) -> str:
        """The name by which `geom.load` finds the readout again."""
        return meta(self._file, "model", str, "python")

    @property
    def versions(self) -> dict[str, str]:
        """The versions of geom, Python, packages and plugins that made the run."""
        return meta(self._file, "versions", dict[str, str], {})

    @property
    def begun(self) -> datetime | None:
        """The time in UTC at which the run began, None for a run of an older geom.

        Raises StoreError if the file has another text in its place.
        """
        text = meta(self._file, "begun", str, "")
        if not text:
            return None
        with suppress(ValueError):
            time = datetime.fromisoformat(text)
            if time.utcoffset() == timedelta():
                return time
        raise self._file.damaged(f"the time at which it began is {text[:80]!r}, not one in UTC")

    @property
    def notes(self) -> list[str]:
        """The notes on the readout for a reader of the results: see `Readout`."""
        return meta(self._file, "notes", list[str], [])

    @property
    def noun(self) -> Noun:
        """What the run calls its rows: ``token``, ``class`` or ``item``.

        Raises StoreError if the file has another word.
        """
        word = meta(self._file, "noun", str, Noun.TOKEN)
        try:
            return Noun.named(word)
        except InputError as error:
            raise self._file.damaged(str(error)) from error

    @property
    def warnings(self) -> list[str]:
        """The problems that did not end the run."""
        return meta(self._file, "warnings", list[str], [])

    @property
    def format(self) -> int:
        """The version of the file's format."""
        return self._file.version

    @property
    def planned(self) -> bool:
        """Whether the tokens to examine are known."""
        return meta(self._file, "planned", bool, False)

    @property
    def ordered(self) -> bool:
        """Whether the search for the order of the hardest tokens has ended."""
        return meta(self._file, "ordered", bool, False)

    def counts(self) -> dict[str, int]:
        """Count the tokens of each verdict.

        Returns
        -------
        dict of str to int
            The numbers of ``speakable``, ``unspeakable``, ``undecided`` and ``pending`` tokens.
        """
        query = "SELECT coalesce(verdict, 'pending'), count(*) FROM tokens GROUP BY 1"
        names = ("speakable", "unspeakable", "undecided", "pending")
        return dict.fromkeys(names, 0) | dict(self._file.select(query))

    def rows(self, verdict: str | None = None) -> Iterator[TokenRow]:
        """Iterate over the tokens examined, by id.

        Parameters
        ----------
        verdict : {"speakable", "unspeakable", "undecided", "hard"}, optional
            The verdict of the tokens wanted, or None for all. The ``hard`` tokens are those
            speakable ones that do not win along their own direction.

        Returns
        -------
        iterator of TokenRow
            One row per token.

        Raises
        ------
        InputError
            If the verdict is another word.
        """
        return self._rows(
            "verdict IS NOT NULL" if verdict is None else _WANTED[checked_label(verdict)]
        )

    def _rows(self, wanted: str) -> Iterator[TokenRow]:
        query = f"SELECT {self._columns} FROM tokens WHERE {wanted}"
        order = "ORDER BY token_id LIMIT"
        found = self._file.select(f"{query} {order} {_AT_ONCE}")
        while found:
            for values in found:
                yield decoding.token_row(self._file, values)
            after = (found[-1][0],)
            found = self._file.select(f"{query} AND token_id > ? {order} {_AT_ONCE}", after)

    def bounds(self, verdict: str) -> tuple[Ids, Floats, Floats]:
        """Return what is proven of the largest margins of all tokens with a verdict, as arrays.

        Parameters
        ----------
        verdict : {"speakable", "unspeakable", "undecided", "hard"}
            The verdict of the tokens wanted, as for `rows`.

        Returns
        -------
        tokens : ndarray of shape (n,), int64
            Their ids, ascending.
        lower, upper : ndarray of shape (n,), float64
            The bounds in logits; NaN for a bound that is not known.

        Raises
        ------
        InputError
            If the verdict is another word.
        StoreError
            If the run is damaged.
        """
        columns = "token_id, margin_lower, margin_upper"
        wanted = _WANTED[checked_label(verdict)]
        query = f"SELECT {columns} FROM tokens WHERE {wanted} ORDER BY token_id"
        return decoding.bounds(self._file, self._file.select(query))

    def ranking(self, verdict: str | None = None) -> Ranking:
        """Put the tokens examined in order, the hardest first.

        Parameters
        ----------
        verdict : {"speakable", "unspeakable", "undecided", "hard"}, optional
            The verdict of the tokens wanted, as for `rows`, or None for all.

        Returns
        -------
        Ranking
            The rows, and how far their order is proven.

        Raises
        ------
        InputError
            If the verdict is another word.
        """
        return ranking(self.rows(verdict), self.noun)

    def to_pandas(self, verdict: str | None = None, sort: str | None = None) -> pandas.DataFrame:
        """Return the rows as a DataFrame.

        Parameters
        ----------
        verdict : {"speakable", "unspeakable", "undecided", "hard"}, optional
            The verdict of the tokens wanted, as for `rows`, or None for all.
        sort : str, optional
            The order: ``id`` (that of None), ``hardness`` (that of `ranking`, the hardest
            first), ``token``, ``margin``, ``verdict`` or a measure, the least first; a ``-`` before
            it reverses. The columns ``token_id`` and ``margin_lower`` are ``id`` and ``margin``.

        Returns
        -------
        pandas.DataFrame
            One row per token, one column per field of `TokenRow`, and ``hard`` after
            ``verdict``, which has four words: a token that is hard to speak is ``hard``, as in
            csv.

        Raises
        ------
        InputError
            If pandas is not installed, or if the verdict or the key is another word.
        """
        if sort is None or sort == "id":
            return token_frame(self.rows(verdict))
        return token_frame(sorting.in_order(self.ranking(verdict).rows, self.measured(), sort))

    def row(self, token: int | str) -> TokenRow:
        """Return the row of one token.

        Parameters
        ----------
        token : int or str
            Its id, or its text, as for `named`.

        Returns
        -------
        TokenRow
            Its row.

        Raises
        ------
        InputError
            If the run did not examine the token, or several have that text.
        """
        if isinstance(token, str):
            found = self.named(token)
            if len(found) > 1 and str(found[0].token_id) != token:
                ids = ", ".join(str(row.token_id) for row in found[:5])
                more = ", ..." if len(found) > 5 else ""
                raise InputError(
                    f"{self.noun.counted(len(found))} have the text {token!r}: "
                    f"give one of the ids {ids}{more}"
                )
            return found[0]
        query = f"SELECT {self._columns} FROM tokens WHERE token_id = ? AND verdict IS NOT NULL"
        for values in self._file.select(query, (index(token),)):
            return decoding.token_row(self._file, values)
        raise InputError(self._why_not(token))

    def _why_not(self, token: int, shown: str = "") -> str:
        """Say why the run has no row of an id, whose text is shown if it is known."""
        query = "SELECT 1 FROM tokens WHERE token_id = ?"
        pending = not self.planned or bool(self._file.select(query, (token,)))
        return unexamined.why_not(
            token, self.settings["V"], pending, self._passed_over, self.noun, self._where, shown
        )

    def _unexamined_winners(self, rows: list[TokenRow]) -> list[Entry]:
        """Return the tokens without a row that win along the own directions of those with one."""
        kinds = self.winner_kinds()
        found = {
            row.argmax_id: Entry(row.argmax_id, row.argmax, kinds[row.token_id])
            for row in rows
            if row.argmax_id is not None
        }
        return [found[token] for token in found.keys() - {row.token_id for row in rows}]

    @property
    def _where(self) -> str:
        return str(self.path or "this run")

    @property
    def _passed_over(self) -> unexamined.PassedOver | None:
        return unexamined.passed_over(self.settings, self.warnings)

    def named(self, name: str) -> list[TokenRow]:
        """Find a token by id or text.

        Parameters
        ----------
        name : str
            An id, or an exact text. If no token has that text, a text as `geom.visible` shows it,
            or else a text without the space that it begins with.

        Returns
        -------
        list of TokenRow
            The row with that id first, then those with that text.

        Raises
        ------
        InputError
            If the run examined no such token. The message tells a token that wins in the place of
            an examined one from a text that is not known, and then names texts that are nearly the
            same.
        """
        rows = list(self.rows())
        found = named(rows, name)
        if not found:
            if name.isdecimal() and len(name) < 19:  # SQLite's integers
                raise InputError(self._why_not(int(name)))
            if re.fullmatch(r"\d+(\s*[,-]\s*\d+)+", name):
                alone = f"give one {self.noun} at a time, or leave it out to see all"
                raise InputError(f"{name!r} are several ids: {alone}")
            winners = self._unexamined_winners(rows)
            for token in named(winners, name):
                (winner,) = (item for item in winners if item.token_id == token)
                shown = visible(winner.token, winner.token_kind)
                raise InputError(self._why_not(token, shown))
            close = near([*rows, *winners], name)
            remedy = f"did you mean {' or '.join(close)}?" if close else "give its id or text"
            if self.settings.get("tokens") == CANDIDATES:
                remedy += f"; {self.noun.plural} that the detectors passed over are not in it"
            raise InputError(
                f"no {self.noun} examined in {self._where} has the text {name!r}: {remedy}"
            )
        by_id = {row.token_id: row for row in rows}
        return [by_id[token] for token in found]

    def evidence(self, token: int) -> Finding:
        """Return the best point and weights that the run kept for a token, whatever they prove.

        Parameters
        ----------
        token : int
            The token.

        Returns
        -------
        Finding
            The point and the weights, without a note.

        Raises
        ------
        StoreError
            If the run is damaged.
        """
        return decoding.evidence(self._file, token, self._lengths)

    def certificate(self, token: int | str) -> Certificate | None:
        """Return the proof of a token's verdict.

        A witness that is the token's own direction is rebuilt from the model's weights, which are
        loaded by the run's ``model`` unless the run was made in this process.

        Parameters
        ----------
        token : int or str
            Its id, or its text, as for `named`.

        Returns
        -------
        Witness, Weights or None
            A witness for a speakable token, weights for an unspeakable one, None if undecided.

        Raises
        ------
        InputError
            If the run did not examine the token, or cannot find its weights.
        StoreError
            If the run is damaged, or was made with other weights.
        """
        row = self.row(token)
        token, verdict, evidence = row.token_id, row.verdict, self.evidence(row.token_id)
        if verdict == "speakable":
            if self.recipe(token) is not None:
                return Witness(own_direction(self.problem, token))
            return None if evidence.x is None else Witness(evidence.x)
        return evidence.weights if verdict == "unspeakable" else None

    def recipe(self, token: int) -> RecipeName | None:
        """Return the recipe that rebuilds a token's witness.

        Parameters
        ----------
        token : int
            The token.

        Returns
        -------
        {"own-direction"} or None
            The recipe, or None if the witness is stored or there is no witness.
        """
        return "own-direction" if self._recipes("token_id = ?", (token,)) else None

    def recipes(self) -> frozenset[int]:
        """Return the tokens whose witness is not stored but rebuilt from the model's weights.

        Returns
        -------
        frozenset of int
            Their ids.
        """
        return self._recipes("verdict IS NOT NULL")

    def _recipes(self, where: str, values: tuple[Any, ...] = ()) -> frozenset[int]:
        query = f"SELECT token_id, recipe FROM tokens WHERE recipe IS NOT NULL AND {where}"
        found = dict(self._file.select(query, values))
        for token, recipe in found.items():
            if recipe not in get_args(RecipeName):
                raise self._file.damaged(f"id {token} has the recipe {recipe!r}")
        return frozenset(found)

    @cached_property
    def problem(self) -> Problem:
        """The problem that the run answers, with the model's weights found again.

        Raises InputError if the weights cannot be found, StoreError if they are not the run's.
        """
        if self.find_readout is None:
            raise InputError(f"{self.path} does not say where its weights are: run again with them")
        readout, settings = self.find_readout(self), self.settings
        if readout.digest != settings.get("digest"):
            raise StoreError(f"{self.path} was made with other weights than {readout.source}")
        return Problem(readout, self.domain)

    def winner_kinds(self) -> dict[int, TokenKind | None]:
        """Return the kind of the token that wins along each examined token's own direction.

        Returns
        -------
        dict of int to TokenKind or None
            The winner's kind by examined token, None if it is not known.

        Raises
        ------
        StoreError
            If the run is damaged.
        """
        query = "SELECT token_id, argmax_kind FROM tokens WHERE verdict IS NOT NULL"
        try:
            return msgspec.convert(dict(self._file.select(query)), dict[int, TokenKind | None])
        except msgspec.ValidationError as error:
            raise self._file.damaged(f"argmax_kind: {error}") from error

    def measured(self) -> dict[int, dict[str, MeasureRow]]:
        """Return the stored measurements.

        Returns
        -------
        dict of int to dict of str to MeasureRow
            The rows by token and then by the measure's name.

        Raises
        ------
        StoreError
            If the run is damaged.
        """
        query = f"SELECT {', '.join(MEASURE_COLUMNS)} FROM measures NOT INDEXED"
        lengths = self._lengths
        items = [
            decoding.measure_row(self._file, values, lengths)
            for values in self._file.select(query, (), HEADER + ITEM * max(lengths.V, lengths.k))
        ]
        found: dict[int, dict[str, MeasureRow]] = {}
        for item in sorted(items, key=lambda item: (item.token_id, item.measure)):
            found.setdefault(item.token_id, {})[item.measure] = item
        return found

    def tokens(self) -> list[int]:
        """Return the tokens that the run is asked to examine, those already examined included.

        Returns
        -------
        list of int
            Their ids, ascending.
        """
        query = "SELECT token_id FROM tokens ORDER BY token_id"
        return [token for (token,) in self._file.select(query)]

    def pending(self) -> list[int]:
        """Return the tokens that are planned but not yet examined.

        Returns
        -------
        list of int
            Their ids, ascending.
        """
        query = "SELECT token_id FROM tokens WHERE verdict IS NULL ORDER BY token_id"
        return [token for (token,) in self._file.select(query)]

    def pending_winners(self) -> tuple[list[int], Flags]:
        """Return the tokens that are not yet examined, and which of them win their own direction.

        Returns
        -------
        tokens : list of int
            Their ids, ascending, as from `pending`.
        unbeaten : ndarray of shape (n,), bool
            Whether each is highest along its own direction.
        """
        query = "SELECT token_id, self_argmax FROM tokens WHERE verdict IS NULL ORDER BY token_id"
        found = self._file.select(query)
        return [token for token, _ in found], np.array([won == 1 for _, won in found], dtype=bool)

    @cached_property
    def _columns(self) -> str:
        """`TOKEN_COLUMNS` as SQL, NULL for those that a run of this version lacks."""
        there = (ADDED.get(name, 0) <= self.format for name in TOKEN_COLUMNS)
        return ", ".join(
            name if has else "NULL" for name, has in zip(TOKEN_COLUMNS, there, strict=True)
        )

    @cached_property
    def _lengths(self) -> Lengths:
        """How long the run's arrays may be, from the settings."""
        settings = self.settings
        domain, d = settings["domain"], settings["d"]
        k = domains.coordinates(domain, d)
        return Lengths(settings["V"], d if k is None else k, domain["shape"] == "simplex")

    @cached_property
    def domain(self) -> Domain:
        """The domain that the run asks about, with the vectors that the file keeps for it.

        Raises StoreError if they are not those that the settings describe.
        """
        settings = self.settings
        stored, d = settings["domain"], settings["d"]
        k = domains.coordinates(stored, d)
        frame = None if k is None else read_frame(self._file, k, d)
        try:
            return domains.from_settings(stored, d, frame)
        except InputError as error:
            raise self._file.damaged(str(error)) from error

    def check(self) -> None:
        """Check that the run's settings and its other facts about itself can be read.

        Raises
        ------
        StoreError
            If it is damaged.
        """
        _ = self.settings, self.model, self.versions, self.notes, self.warnings, self.planned
        _ = self.noun
