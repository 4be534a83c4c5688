"""Writing a run: each token is one transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geom.certificates import Finding
from geom.errors import StoreError
from geom.model.frames import Frame
from geom.nouns import Noun
from geom.store.arrays import blob
from geom.store.connection import connect
from geom.store.domain_frame import write_frame
from geom.store.file_format import APPLICATION_ID, SCHEMA, VERSION, store_errors
from geom.store.locking import hold
from geom.store.reading import Run
from geom.store.rows import LONGEST, MeasureRow, Outcome, Planned


@contextmanager
def recorder(run: Run) -> Iterator[Callable[[MeasureRow], None]]:
    """Give a function that stores a measurement in the run, replacing an older one.

    Each measurement is a transaction. Raises StoreError if the run's file cannot be written.
    """
    path = run.path
    if path is None:
        yield partial(_record_measured, run._file.connection, None)
        return
    connection = connect(path, "rw")
    try:
        yield partial(_record_measured, connection, path)
    finally:
        connection.close()


def _record_measured(connection: sqlite3.Connection, path: Path | None, item: MeasureRow) -> None:
    columns = {name: getattr(item, name) for name in (field.name for field in fields(MeasureRow))}
    _short(item.token, item.token_id)
    columns["options"] = json.dumps(item.options, sort_keys=True)
    columns["x"] = None if item.x is None else blob(item.x)
    columns["indices"] = None if item.weights is None else blob(item.weights.indices)
    columns["weights"] = None if item.weights is None else blob(item.weights.values)
    query = (
        f"INSERT OR REPLACE INTO measures ({', '.join(columns)}) "
        f"VALUES ({', '.join('?' * len(columns))})"
    )
    with store_errors(path), connection:
        connection.execute(query, tuple(columns.values()))


class Writer:
    """The writer of a run; its `run` reads what is stored so far."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path | None,
        let_go: Callable[[], None] = lambda: None,
    ) -> None:
        self._connection = connection
        self._path = path
        self._let_go = let_go
        self.run = Run(connection, path)

    def plan(
        self, planned: Iterable[Planned], warnings: list[str], known: Iterable[Outcome] = ()
    ) -> None:
        """Store the tokens to examine and the known outcomes of some, all in one transaction."""
        with self._transaction() as execute:
            for item in planned:
                execute(
                    "INSERT INTO tokens (token_id, token, self_argmax, argmax_id, argmax, "
                    "flagged_by, token_kind, argmax_kind) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        item.token_id,
                        _short(item.token, item.token_id),
                        item.self_argmax,
                        item.argmax_id,
                        _short(item.argmax, item.argmax_id),
                        json.dumps(item.flagged_by),
                        item.token_kind,
                        item.argmax_kind,
                    ),
                )
            for outcome in known:
                _record(execute, outcome, self._mixtures)
            _put(execute, {"planned": True, "warnings": warnings})

    def record(self, outcomes: Iterable[Outcome]) -> None:
        """Store verdicts and evidence, all in one transaction."""
        with self._transaction() as execute:
            for outcome in outcomes:
                _record(execute, outcome, self._mixtures)

    @cached_property
    def _mixtures(self) -> bool:
        """Whether the points of the run's domain are mixtures, few of whose numbers are not 0."""
        return bool(self.run.settings["domain"]["shape"] == "simplex")

    def remark(self, notes: Mapping[int, str]) -> None:
        """Add remarks to the notes of tokens that do not have them yet."""
        query = (
            "UPDATE tokens SET note = coalesce(note || '; ', '') || ?2 "
            "WHERE token_id = ?1 AND instr(coalesce(note, ''), ?2) = 0"
        )
        with self._transaction() as execute:
            for token, note in notes.items():
                execute(query, (token, note))

    def warn(self, warning: str) -> None:
        """Add a warning to those of the run, unless it is among them."""
        known = self.run.warnings
        if warning not in known:
            with self._transaction() as execute:
                _put(execute, {"warnings": [*known, warning]})

    def end_order(self) -> None:
        """Store that nothing more is to be done for the order of the hardest tokens."""
        with self._transaction() as execute:
            _put(execute, {"ordered": True})

    def finish(self) -> None:
        """Fold the log into the file, so that a later reader needs no other file.

        If another process has the file open, SQLite's log stays beside it until the next `finish`.
        """
        if self._path is None:
            return
        with store_errors(self._path):
            try:
                self._connection.execute("PRAGMA journal_mode = DELETE")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise
                self._connection.execute("PRAGMA wal_checkpoint")

    def close(self) -> None:
        """Close the file and release the lock; what was recorded stays."""
        self._connection.close()
        self._let_go()

    def abandon(self) -> None:
        """Close the file, and remove it if the tokens were never planned: it holds nothing."""
        try:
            empty = not self.run.planned
        except StoreError:
            empty = False
        self.close()
        if empty and self._path is not None:
            self._path.unlink(missing_ok=True)

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        with store_errors(self._path), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection.execute


def create_or_continue(
    path: str | Path | None,
    settings: Mapping[str, Any],
    model: str,
    versions: Mapping[str, str],
    notes: Sequence[str] = (),
    noun: Noun = Noun.TOKEN,
    frame: Frame | None = None,
) -> Writer:
    """Return a writer to ``path`` (None: in memory): of a new run, or one with these settings.

    ``frame`` holds the vectors of the domain that the settings describe, if it has any.

    Raises StoreError if the file is not a run, was made with other settings or cannot be written.
    """
    meta = {
        "begun": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": dict(settings),
        "model": model,
        "versions": dict(versions),
        "notes": list(notes),
        "noun": noun,
    }
    if path is None:
        return _create(sqlite3.connect(":memory:", isolation_level=None), None, meta, frame)
    path = Path(path).absolute()  # SQLite gives some relative names a special meaning
    let_go = hold(path)
    try:
        return _open(path, meta, frame, let_go)
    except BaseException:
        let_go()
        raise


def _open(
    path: Path, meta: Mapping[str, Any], frame: Frame | None, let_go: Callable[[], None]
) -> Writer:
    exists = path.exists()
    with store_errors(path):
        if exists and path.stat().st_size:
            connection = connect(path, "rw")
        else:
            exists = False
            connection = sqlite3.connect(path, isolation_level=None, timeout=2.0)
        try:
            if not exists:
                return _create(connection, path, meta, frame, let_go)
            writer = Writer(connection, path, let_go)
            writer.run.check()
            if writer.run.format != VERSION:
                raise StoreError(
                    f"{path} is a run of format {writer.run.format}, made by an older geom: it can "
                    "be read, not continued; give another --out"
                )
            _check_settings(writer.run, meta["settings"])
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            return writer
        except BaseException:
            connection.close()
            raise


def _create(
    connection: sqlite3.Connection,
    path: Path | None,
    meta: Mapping[str, Any],
    frame: Frame | None,
    let_go: Callable[[], None] = lambda: None,
) -> Writer:
    connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
    writer = Writer(connection, path, let_go)
    with writer._transaction() as execute:
        for statement in SCHEMA.split(";"):
            execute(statement)
        if frame is not None:
            write_frame(execute, frame)
        execute(f"PRAGMA application_id = {APPLICATION_ID}")
        execute(f"PRAGMA user_version = {VERSION}")
        _put(execute, meta)
    return writer


def _record(execute: Any, outcome: Outcome, mixtures: bool) -> None:
    execute(
        "UPDATE tokens SET verdict = ?, proof = ?, certifier = ?, margin_lower = ?, "
        "margin_upper = ?, probability_upper = ?, seconds = ?, note = ?, recipe = ? "
        "WHERE token_id = ?",
        (
            outcome.verdict,
            outcome.proof,
            outcome.certifier,
            outcome.margin_lower,
            outcome.margin_upper,
            outcome.probability_upper,
            outcome.seconds,
            outcome.note,
            outcome.recipe,
            outcome.token_id,
        ),
    )
    for kind, name, array in _arrays(outcome.evidence, mixtures):
        execute(
            "INSERT OR REPLACE INTO evidence VALUES (?, ?, ?, ?)",
            (outcome.token_id, kind, name, blob(array)),
        )


def _short(text: str | None, token: int) -> str | None:
    """Return the text of a token. Raises StoreError if it is longer than a reader accepts."""
    if text is not None and len(text) > LONGEST:
        raise StoreError(
            f"the text of id {token} has {len(text)} characters, and a run keeps at most "
            f"{LONGEST}: check the tokenizer's file"
        )
    return text


def _put(execute: Any, values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))


_ABSENT: Mapping[str, Any] = {"hardest": 0}
"""The settings that the runs of older versions lack, with the values that those runs had."""


def _check_settings(run: Run, settings: Mapping[str, Any]) -> None:
    stored, settings = {**_ABSENT, **run.settings}, {**_ABSENT, **settings}
    differing = sorted(
        key for key in stored.keys() | settings.keys() if stored.get(key) != settings.get(key)
    )
    if differing:
        key = differing[0]
        raise StoreError(
            f"{run.path} was made with other settings ({', '.join(differing)} differ: {key} was "
            f"{json.dumps(stored.get(key))}, now {json.dumps(settings.get(key))}); "
            "give another --out"
        )


def _arrays(evidence: Finding, mixtures: bool) -> Iterator[tuple[str, str, NDArray[Any]]]:
    if evidence.x is not None and not mixtures:
        yield "witness", "x", evidence.x
    elif evidence.x is not None and evidence.x.any():
        used = np.flatnonzero(evidence.x)
        yield "witness", "indices", used
        yield "witness", "values", evidence.x[used]
    if evidence.weights is not None:
        yield "weights", "indices", evidence.weights.indices
        yield "weights", "values", evidence.weights.values
