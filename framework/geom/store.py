"""A run is one SQLite file.

While it is written the file is in write-ahead-log mode and every token, row and certificates
together, is one transaction: a kill loses the token in hand. When the writer is done the log is
folded in, so that the file stands alone and can be read from anywhere.

Tables, version 4 (``PRAGMA user_version``), marked by ``PRAGMA application_id``:

- ``meta(key, value)``: JSON values. ``settings`` (the readout's digest and shape, the domain, the
  tokens asked for, detectors and certifiers with their options), ``model`` (the name that loads
  the readout), ``versions`` (of geom, Python, packages and plugins), ``notes`` (what a
  reader should know of the readout), ``planned`` (true once the tokens to examine are known) and
  ``warnings``.
- ``tokens(token_id, token, self_argmax, argmax_id, argmax, flagged_by, verdict, proof,
  certifier, margin_lower, margin_upper, seconds, note, token_kind, argmax_kind, recipe)``: a row a
  token to examine, the fields of the exported row, what kind of token ``argmax`` is, and how a
  witness that is not stored is rebuilt; ``flagged_by`` is a JSON list, ``verdict`` NULL until the
  token is done, the kinds NULL without a tokenizer. ``recipe`` is ``own-direction`` where the
  witness is the token's own direction (`geom.exact.bulk.own_direction`), NULL elsewhere.
- ``evidence(token_id, kind, name, data)``: arrays in NumPy's own .npy format, ``witness`` with
  ``x``, ``weights`` with ``indices`` and ``values``.
- ``measures(token_id, measure, token, token_kind, value, error, unit, proven, note, seconds,
  options, x)``: a row a token and measure, of any tokens, examined or not. ``value`` is NULL where
  there is none, ``error`` where it is not known, ``proven`` is 1 where the error is a proven radius
  and no standard error; ``options`` is a JSON object, ``x`` an array as in ``evidence``, or NULL.

Version 1 had no kinds of tokens, version 2 no recipes, version 3 no measures; they are refused: run
again.
"""

from __future__ import annotations

import io
import json
import math
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from geom import domains
from geom.certificates import (
    Certificate,
    Finding,
    ProofName,
    RecipeName,
    VerdictName,
    Weights,
    Witness,
)
from geom.errors import InputError, StoreError
from geom.exact.bulk import own_direction
from geom.problem import Problem
from geom.readout import Readout
from geom.text import TokenKind

APPLICATION_ID = 0x67656F6D  # "geom"
VERSION = 4

M = TypeVar("M", bound=dict[str, Any] | list[str] | str | bool)

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE tokens (
    token_id INTEGER PRIMARY KEY,
    token TEXT,
    self_argmax INTEGER,
    argmax_id INTEGER,
    argmax TEXT,
    flagged_by TEXT NOT NULL,
    verdict TEXT CHECK (verdict IN ('speakable', 'unspeakable', 'undecided')),
    proof TEXT CHECK (proof IN ('witness', 'slack', 'interior', 'rational')),
    certifier TEXT,
    margin_lower REAL,
    margin_upper REAL,
    seconds REAL,
    note TEXT,
    token_kind TEXT,
    argmax_kind TEXT,
    recipe TEXT CHECK (recipe IN ('own-direction'))
);
CREATE TABLE evidence (
    token_id INTEGER NOT NULL REFERENCES tokens (token_id),
    kind TEXT NOT NULL CHECK (kind IN ('witness', 'weights')),
    name TEXT NOT NULL CHECK (name IN ('x', 'indices', 'values')),
    data BLOB NOT NULL,
    PRIMARY KEY (token_id, kind, name)
) WITHOUT ROWID;
CREATE TABLE measures (
    token_id INTEGER NOT NULL,
    measure TEXT NOT NULL,
    token TEXT,
    token_kind TEXT,
    value REAL,
    error REAL,
    unit TEXT NOT NULL,
    proven INTEGER NOT NULL,
    note TEXT,
    seconds REAL NOT NULL,
    options TEXT NOT NULL,
    x BLOB,
    PRIMARY KEY (token_id, measure)
);
"""


@dataclass(frozen=True)
class Row:
    """One token of a run: the fields of an exported row, in its order."""

    token_id: int
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

    def as_dict(self) -> dict[str, Any]:
        """The row as JSON has it."""
        return {**asdict(self), "flagged_by": list(self.flagged_by)}


@dataclass(frozen=True, eq=False)
class Measured:
    """What a measure says of a token. See `geom.Measurement` for value, error, proven and x.

    ``value`` is None where there is none, and may be infinite. ``options`` are the measure's.
    """

    token_id: int
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
    x: NDArray[np.float64] | None = None

    def as_dict(self) -> dict[str, Any]:
        """The row as JSON has it: null for what is no finite number."""
        return {
            "token_id": self.token_id,
            "token": self.token,
            "measure": self.measure,
            "value": _finite(self.value),
            "error": _finite(self.error),
            "unit": self.unit,
        }


@dataclass(frozen=True)
class Planned:
    """A token that a run is to examine, before any certifier has seen it."""

    token_id: int
    token: str | None
    self_argmax: bool
    argmax_id: int
    argmax: str | None
    flagged_by: tuple[str, ...]
    token_kind: TokenKind | None = None
    argmax_kind: TokenKind | None = None


@dataclass(frozen=True)
class Outcome:
    """What the certifiers and `exact` made of a token: what a run stores in one transaction.

    ``recipe`` says how the witness is rebuilt, where it is not in the ``evidence``.
    """

    token_id: int
    verdict: VerdictName
    proof: ProofName | None
    certifier: str | None
    margin_lower: float | None
    margin_upper: float | None
    seconds: float
    note: str | None
    evidence: Finding
    recipe: RecipeName | None = None


class Run:
    """A stored run, open for reading. Use as a context manager, or `close` it.

    ``weights`` finds the readout again, when a witness that is not stored is asked for.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path | None,
        weights: Callable[[Run], Readout] | None = None,
    ) -> None:
        self._connection = connection
        self.path = path
        self.weights = weights

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        counts = ", ".join(f"{n} {name}" for name, n in self.counts().items() if n)
        return f"<Run {self.path or 'in memory'}: {counts or 'no token examined'}>"

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @property
    def settings(self) -> dict[str, Any]:
        """What was asked: the readout's digest, domain, tokens, detectors and certifiers."""
        return self._meta("settings", {})

    @property
    def model(self) -> str:
        """The name by which `geom.load` finds the readout again."""
        return self._meta("model", "python")

    @property
    def versions(self) -> dict[str, str]:
        """Versions of geom, Python, packages and plugins that made the run."""
        return self._meta("versions", {})

    @property
    def notes(self) -> list[str]:
        """What a reader of the results should know of the readout: see `Readout`."""
        return self._meta("notes", [])

    @property
    def warnings(self) -> list[str]:
        """What went wrong on the way without ending the run."""
        return self._meta("warnings", [])

    @property
    def planned(self) -> bool:
        """Whether the tokens to examine are known."""
        return self._meta("planned", False)

    def counts(self) -> dict[str, int]:
        """How many tokens have each verdict, and how many are ``pending``."""
        query = "SELECT coalesce(verdict, 'pending'), count(*) FROM tokens GROUP BY 1"
        names = ("speakable", "unspeakable", "undecided", "pending")
        return dict.fromkeys(names, 0) | dict(self._select(query))

    def rows(self, verdict: str | None = None) -> Iterator[Row]:
        """The tokens examined, by id; those with ``verdict`` only, where one is named."""
        columns = ", ".join(field.name for field in fields(Row))
        query = f"SELECT {columns} FROM tokens WHERE verdict IS NOT NULL"
        if verdict is None:
            found = self._select(f"{query} ORDER BY token_id")
        else:
            found = self._select(f"{query} AND verdict = ? ORDER BY token_id", (verdict,))
        for values in found:
            yield self._row(values)

    def row(self, token: int) -> Row:
        """The row of one token. Raises InputError where the run did not examine it."""
        columns = ", ".join(field.name for field in fields(Row))
        query = f"SELECT {columns} FROM tokens WHERE token_id = ? AND verdict IS NOT NULL"
        for values in self._select(query, (token,)):
            return self._row(values)
        raise InputError(f"token {token} was not examined in this run; see its ids with geom show")

    def evidence(self, token: int) -> Finding:
        """The best point and weights that the run kept for a token, whatever they prove."""
        query = "SELECT kind, name, data FROM evidence WHERE token_id = ?"
        arrays = {(kind, name): _array(data) for kind, name, data in self._select(query, (token,))}
        weights = None
        if ("weights", "indices") in arrays and ("weights", "values") in arrays:
            weights = Weights(arrays["weights", "indices"], arrays["weights", "values"])
        return Finding(x=arrays.get(("witness", "x")), weights=weights)

    def certificate(self, token: int) -> Certificate | None:
        """What proves the token's verdict: a Witness, Weights, or None when it is undecided.

        A witness that is the token's own direction is rebuilt from the weights, which are loaded
        by the run's ``model`` unless the run was made in this process.

        Raises InputError where the run did not examine the token, or cannot find its weights.
        """
        verdict, evidence = self.row(token).verdict, self.evidence(token)
        if verdict == "speakable":
            if self.recipe(token) is not None:
                return Witness(own_direction(self.problem, token))
            return None if evidence.x is None else Witness(evidence.x)
        return evidence.weights if verdict == "unspeakable" else None

    def recipe(self, token: int) -> RecipeName | None:
        """How the token's witness is rebuilt, None where it is stored or there is none."""
        query = "SELECT recipe FROM tokens WHERE token_id = ? AND recipe IS NOT NULL"
        return "own-direction" if self._select(query, (token,)) else None

    def recipes(self) -> frozenset[int]:
        """The tokens whose witness is not stored, but rebuilt from the weights."""
        query = "SELECT token_id FROM tokens WHERE recipe IS NOT NULL AND verdict IS NOT NULL"
        return frozenset(token for (token,) in self._select(query))

    @cached_property
    def problem(self) -> Problem:
        """The question that the run answers, its weights found again.

        Raises InputError where they cannot be found, StoreError where they are others.
        """
        if self.weights is None:
            raise InputError(f"{self.path} does not say where its weights are: run again with them")
        readout, settings = self.weights(self), self.settings
        if readout.digest != settings.get("digest"):
            raise StoreError(f"{self.path} was made with other weights than {readout.source}")
        return Problem(readout, domains.from_settings(settings.get("domain", {}), readout.d))

    def winner_kinds(self) -> dict[int, TokenKind | None]:
        """What kind of token wins along the own direction of each one examined."""
        query = "SELECT token_id, argmax_kind FROM tokens WHERE verdict IS NOT NULL"
        try:
            return msgspec.convert(dict(self._select(query)), dict[int, TokenKind | None])
        except msgspec.ValidationError as error:
            raise StoreError(f"{self.path} is a damaged run: argmax_kind: {error}") from error

    def measured(self) -> dict[int, dict[str, Measured]]:
        """What measures say of tokens, by token and then by the measure's name."""
        columns = [field.name for field in fields(Measured)]
        query = f"SELECT {', '.join(columns)} FROM measures ORDER BY token_id, measure"
        found: dict[int, dict[str, Measured]] = {}
        for values in self._select(query):
            item = self._measured(dict(zip(columns, values, strict=True)))
            found.setdefault(item.token_id, {})[item.measure] = item
        return found

    def pending(self) -> list[int]:
        """The tokens that are planned and not yet examined."""
        query = "SELECT token_id FROM tokens WHERE verdict IS NULL ORDER BY token_id"
        return [token for (token,) in self._select(query)]

    def _meta(self, key: str, default: M) -> M:
        for (text,) in self._select("SELECT value FROM meta WHERE key = ?", (key,)):
            try:
                value = json.loads(text)
            except (ValueError, RecursionError):
                value = None
            if not isinstance(value, type(default)):
                raise StoreError(f"{self.path} is a damaged run: its {key} are {text[:80]!r}")
            return value
        return default

    def _row(self, values: tuple[Any, ...]) -> Row:
        columns = dict(zip((field.name for field in fields(Row)), values, strict=True))
        try:
            columns["flagged_by"] = json.loads(columns["flagged_by"])
            if columns["self_argmax"] is not None:
                columns["self_argmax"] = bool(columns["self_argmax"])
            return msgspec.convert(columns, Row)
        except (ValueError, RecursionError) as error:
            raise StoreError(
                f"{self.path} is a damaged run: token {columns['token_id']}: {error}"
            ) from error

    def _measured(self, columns: dict[str, Any]) -> Measured:
        blob = columns.pop("x")
        try:
            columns["options"] = json.loads(columns["options"])
            columns["proven"] = bool(columns["proven"])
            item = msgspec.convert(columns, Measured)
        except (ValueError, TypeError, RecursionError) as error:
            raise StoreError(
                f"{self.path} is a damaged run: measures of token {columns['token_id']}: {error}"
            ) from error
        return item if blob is None else replace(item, x=_array(blob))

    def _select(self, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        with _store_errors(self.path):
            return self._connection.execute(query, values).fetchall()


@contextmanager
def recorder(run: Run) -> Iterator[Callable[[Measured], None]]:
    """What stores a measurement in the run, in place of an older one; each is a transaction.

    Raises StoreError where the run's file cannot be written.
    """
    path = run.path
    if path is None:
        yield partial(_record_measured, run._connection, None)
        return
    with _store_errors(path):
        uri = f"{path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=2.0)
    try:
        yield partial(_record_measured, connection, path)
    finally:
        connection.close()


def _record_measured(connection: sqlite3.Connection, path: Path | None, item: Measured) -> None:
    columns = {name: getattr(item, name) for name in (field.name for field in fields(Measured))}
    columns["options"] = json.dumps(item.options, sort_keys=True)
    columns["x"] = None if item.x is None else _blob(item.x)
    query = (
        f"INSERT OR REPLACE INTO measures ({', '.join(columns)}) "
        f"VALUES ({', '.join('?' * len(columns))})"
    )
    with _store_errors(path), connection:
        connection.execute(query, tuple(columns.values()))


class Writer:
    """A run being written; `run` reads what is in it so far."""

    def __init__(self, connection: sqlite3.Connection, path: Path | None) -> None:
        self._connection = connection
        self._path = path
        self.run = Run(connection, path)

    def plan(
        self, planned: Iterable[Planned], warnings: list[str], known: Iterable[Outcome] = ()
    ) -> None:
        """Store the tokens to examine and what is known of some, all in one transaction."""
        with self._transaction() as execute:
            for item in planned:
                execute(
                    "INSERT INTO tokens (token_id, token, self_argmax, argmax_id, argmax, "
                    "flagged_by, token_kind, argmax_kind) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        item.token_id,
                        item.token,
                        item.self_argmax,
                        item.argmax_id,
                        item.argmax,
                        json.dumps(item.flagged_by),
                        item.token_kind,
                        item.argmax_kind,
                    ),
                )
            for outcome in known:
                _record(execute, outcome)
            _put(execute, {"planned": True, "warnings": warnings})

    def record(self, outcomes: Iterable[Outcome]) -> None:
        """Store verdicts and evidence, all in one transaction."""
        with self._transaction() as execute:
            for outcome in outcomes:
                _record(execute, outcome)

    def finish(self) -> None:
        """Fold the log into the file; a later reader needs nothing beside it.

        Where somebody has the file open, SQLite's log stays beside it until the next `finish`.
        """
        if self._path is None:
            return
        with _store_errors(self._path):
            try:
                self._connection.execute("PRAGMA journal_mode = DELETE")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise
                self._connection.execute("PRAGMA wal_checkpoint")

    def close(self) -> None:
        """Close the file; what was recorded stays."""
        self._connection.close()

    def abandon(self) -> None:
        """Close the file, and remove it where the tokens were never planned: it holds nothing."""
        try:
            empty = not self.run.planned
        except StoreError:
            empty = False
        self.close()
        if empty and self._path is not None:
            self._path.unlink(missing_ok=True)

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        with _store_errors(self._path), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection.execute


def open_file(path: str | Path, weights: Callable[[Run], Readout] | None = None) -> Run:
    """A stored run, read-only. Raises StoreError where the file is missing or is no run."""
    path = Path(path)
    if not path.is_file():
        raise StoreError(f"{path} does not exist; name a file that geom run wrote")
    with _store_errors(path):
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            _check_format(connection, path)
        except BaseException:
            connection.close()
            raise
    return Run(connection, path, weights)


def create_or_continue(
    path: str | Path | None,
    settings: Mapping[str, Any],
    model: str,
    versions: Mapping[str, str],
    notes: Sequence[str] = (),
) -> Writer:
    """A writer to ``path`` (in memory where None): a new run, or one begun with these settings.

    Raises StoreError where the file is no run, was made with other settings or cannot be written.
    """
    meta = {
        "settings": dict(settings),
        "model": model,
        "versions": dict(versions),
        "notes": list(notes),
    }
    if path is None:
        return _create(sqlite3.connect(":memory:", isolation_level=None), None, meta)
    path = Path(path).absolute()  # SQLite takes some names for more than a path
    exists = path.exists()
    with _store_errors(path):
        connection = sqlite3.connect(path, isolation_level=None, timeout=2.0)
        try:
            if exists and path.stat().st_size:
                _check_format(connection, path)
                _check_settings(Run(connection, path), settings)
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                return Writer(connection, path)
            return _create(connection, path, meta)
        except BaseException:
            connection.close()
            raise


def _create(connection: sqlite3.Connection, path: Path | None, meta: Mapping[str, Any]) -> Writer:
    connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
    writer = Writer(connection, path)
    with writer._transaction() as execute:
        for statement in _SCHEMA.split(";"):
            execute(statement)
        execute(f"PRAGMA application_id = {APPLICATION_ID}")
        execute(f"PRAGMA user_version = {VERSION}")
        _put(execute, meta)
    return writer


def _record(execute: Any, outcome: Outcome) -> None:
    execute(
        "UPDATE tokens SET verdict = ?, proof = ?, certifier = ?, margin_lower = ?, "
        "margin_upper = ?, seconds = ?, note = ?, recipe = ? WHERE token_id = ?",
        (
            outcome.verdict,
            outcome.proof,
            outcome.certifier,
            outcome.margin_lower,
            outcome.margin_upper,
            outcome.seconds,
            outcome.note,
            outcome.recipe,
            outcome.token_id,
        ),
    )
    for kind, name, array in _arrays(outcome.evidence):
        execute(
            "INSERT OR REPLACE INTO evidence VALUES (?, ?, ?, ?)",
            (outcome.token_id, kind, name, _blob(array)),
        )


def _put(execute: Any, values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))


def _check_format(connection: sqlite3.Connection, path: Path) -> None:
    (mark,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if mark != APPLICATION_ID:
        raise StoreError(f"{path} is no run of geom; name a file that geom run wrote")
    if version < VERSION:
        raise StoreError(
            f"{path} is a run of format {version}, made by an older geom: run again, with another "
            "--out"
        )
    if version > VERSION:
        raise StoreError(
            f"{path} is a run of format {version}, and this geom reads {VERSION}: upgrade geom"
        )


def _check_settings(run: Run, settings: Mapping[str, Any]) -> None:
    stored = run.settings
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


def _arrays(evidence: Finding) -> Iterator[tuple[str, str, NDArray[Any]]]:
    if evidence.x is not None:
        yield "witness", "x", evidence.x
    if evidence.weights is not None:
        yield "weights", "indices", evidence.weights.indices
        yield "weights", "values", evidence.weights.values


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def _blob(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def _array(data: bytes) -> NDArray[Any]:
    try:
        return np.asarray(np.lib.format.read_array(io.BytesIO(data), allow_pickle=False))
    except Exception as error:  # NumPy may raise anything over a damaged header
        reason = " ".join(str(error).split())
        raise StoreError(f"a certificate of this run is damaged: {reason}") from error


@contextmanager
def _store_errors(path: Path | None) -> Iterator[None]:
    """SQLite's own errors as one clear line."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StoreError(f"{path}: {error}; {_remedy(str(error))}") from error
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{path} is no run of geom, or a damaged one: {error}") from error


def _remedy(message: str) -> str:
    if "locked" in message:
        return "another process is writing it: wait for it, or give another --out"
    if "readonly" in message or "unable to open" in message:
        return "give an --out in a folder you can write to"
    if "full" in message:
        return "free some space and run the same command again, what is stored is kept"
    return "give another --out"
