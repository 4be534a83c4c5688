"""A stored run, open for reading."""

from __future__ import annotations

import json
import sqlite3
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Literal, Self, TypeVar, cast, get_args

import msgspec
from numpy.typing import NDArray

from geom.certificates import Certificate, Finding, RecipeName, Weights, Witness
from geom.errors import InputError, StoreError
from geom.exact.bulk import own_direction
from geom.model import domains
from geom.model.problem import Problem
from geom.model.readout import Readout
from geom.store.arrays import HEADER, ITEM, array
from geom.store.connection import connect
from geom.store.file_format import store_errors
from geom.store.notebook import as_html
from geom.store.rows import LONGEST, MeasureRow, TokenRow
from geom.text import TokenKind, is_plain

M = TypeVar("M", bound=dict[str, Any] | list[str] | dict[str, str] | str | bool)

_META = 2**23
"""Characters of a value in ``meta``: the settings list the tokens asked for."""
_NESTED = 10_000
"""Lists and objects in a JSON text: more would take far more memory than their text."""
_LARGEST = 2**40
"""No V or d is above it."""


class _Settings(msgspec.Struct):
    """What readers rely on, of the settings; the rest is as it may be."""

    V: Annotated[int, msgspec.Meta(ge=1, le=_LARGEST)]
    d: Annotated[int, msgspec.Meta(ge=1, le=_LARGEST)]
    domain: dict[str, Any]
    tokens: str = ""
    detectors: dict[str, dict[str, Any]] = {}
    certifiers: dict[str, dict[str, Any]] = {}


_ARRAYS: dict[tuple[str, str], Literal["f8", "i8"]] = {
    ("witness", "x"): "f8",
    ("weights", "indices"): "i8",
    ("weights", "values"): "f8",
}
"""What a run keeps of a token, and the numbers that it is of."""


_AT_ONCE = 4096
"""Rows that are read at a time: all of a long vocabulary's would take more than its weights."""


class Run:
    """A stored run, open for reading: a context manager, closed when nobody has it any more.

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
        weakref.finalize(self, _closed, connection).atexit = False

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

    def _repr_html_(self) -> str:
        return as_html(self)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @property
    def settings(self) -> dict[str, Any]:
        """What was asked: the readout's digest, domain, tokens, detectors and certifiers.

        Raises StoreError where V, d or the domain is not there or is none.
        """
        settings = self._meta("settings", dict[str, Any], {})
        try:
            found = msgspec.convert(settings, _Settings)
            domains.from_settings(found.domain, found.d)
        except (msgspec.ValidationError, InputError) as error:
            reason = str(error).replace("`", "")
            raise StoreError(f"{self.path} is no run of geom: its settings: {reason}") from error
        return settings

    @property
    def model(self) -> str:
        """The name by which `geom.load` finds the readout again."""
        return self._meta("model", str, "python")

    @property
    def versions(self) -> dict[str, str]:
        """Versions of geom, Python, packages and plugins that made the run."""
        return self._meta("versions", dict[str, str], {})

    @property
    def notes(self) -> list[str]:
        """What a reader of the results should know of the readout: see `Readout`."""
        return self._meta("notes", list[str], [])

    @property
    def warnings(self) -> list[str]:
        """What went wrong on the way without ending the run."""
        return self._meta("warnings", list[str], [])

    @property
    def planned(self) -> bool:
        """Whether the tokens to examine are known."""
        return self._meta("planned", bool, False)

    def counts(self) -> dict[str, int]:
        """How many tokens have each verdict, and how many are ``pending``."""
        query = "SELECT coalesce(verdict, 'pending'), count(*) FROM tokens GROUP BY 1"
        names = ("speakable", "unspeakable", "undecided", "pending")
        return dict.fromkeys(names, 0) | dict(self._select(query))

    def rows(self, verdict: str | None = None) -> Iterator[TokenRow]:
        """The tokens examined, by id; those with ``verdict`` only, where one is named."""
        columns = ", ".join(field.name for field in fields(TokenRow))
        of = ("verdict IS NOT NULL", ()) if verdict is None else ("verdict = ?", (verdict,))
        query, order = f"SELECT {columns} FROM tokens WHERE {of[0]}", "ORDER BY token_id LIMIT"
        found = self._select(f"{query} {order} {_AT_ONCE}", of[1])
        while found:
            for values in found:
                yield self._row(values)
            after = (*of[1], found[-1][0])
            found = self._select(f"{query} AND token_id > ? {order} {_AT_ONCE}", after)

    def row(self, token: int) -> TokenRow:
        """The row of one token. Raises InputError where the run did not examine it."""
        columns = ", ".join(field.name for field in fields(TokenRow))
        query = f"SELECT {columns} FROM tokens WHERE token_id = ? AND verdict IS NOT NULL"
        for values in self._select(query, (token,)):
            return self._row(values)
        raise InputError(f"token {token} was not examined in this run; see its ids with geom show")

    def named(self, name: str) -> list[TokenRow]:
        """The row with that id, and those with that exact text. Raises InputError for none."""
        found = [row for row in self.rows() if name in (str(row.token_id), row.token)]
        if not found:
            where = self.path or "this run"
            raise InputError(f"token {name!r} was not examined in {where}: give its id or text")
        return sorted(found, key=lambda row: str(row.token_id) != name)

    def evidence(self, token: int) -> Finding:
        """The best point and weights that the run kept for a token, whatever they prove."""
        arrays = self._arrays(token)
        weights = None
        if ("weights", "indices") in arrays or ("weights", "values") in arrays:
            indices, values = arrays.get(("weights", "indices")), arrays.get(("weights", "values"))
            if indices is None or values is None or indices.size != values.size:
                raise StoreError(
                    f"{self.path} is a damaged run: token {token} has weights that are not one "
                    "value an index"
                )
            weights = Weights(indices, values)
        return Finding(x=arrays.get(("witness", "x")), weights=weights)

    def _arrays(self, token: int) -> dict[tuple[str, str], NDArray[Any]]:
        """What is kept of a token; lengths are looked at before any bytes are read."""
        where = "FROM evidence WHERE token_id = ?"
        V, d = self._shape
        arrays: dict[tuple[str, str], NDArray[Any]] = {}
        for kind, name, size in self._select(
            f"SELECT kind, name, length(CAST(data AS BLOB)) {where}", (token,)
        ):
            numbers = _ARRAYS.get((kind, name))
            least, most = (d, d) if name == "x" else (1, V)
            if numbers is None or (kind, name) in arrays or size > HEADER + ITEM * most:
                raise StoreError(
                    f"{self.path} is a damaged run: token {token} has a {kind} {name} of {size} "
                    "bytes"
                )
            found = self._select(
                f"SELECT data {where} AND kind = ? AND name = ?", (token, kind, name), size
            )
            if len(found) != 1:  # an index that does not lead to its row
                raise StoreError(
                    f"{self.path} is a damaged run: token {token} has {len(found)} of its {kind} "
                    f"{name}"
                )
            arrays[kind, name] = array(found[0][0], numbers, least, most)
        return arrays

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
        return "own-direction" if self._recipes("token_id = ?", (token,)) else None

    def recipes(self) -> frozenset[int]:
        """The tokens whose witness is not stored, but rebuilt from the weights."""
        return self._recipes("verdict IS NOT NULL")

    def _recipes(self, where: str, values: tuple[Any, ...] = ()) -> frozenset[int]:
        query = f"SELECT token_id, recipe FROM tokens WHERE recipe IS NOT NULL AND {where}"
        found = dict(self._select(query, values))
        for token, recipe in found.items():
            if recipe not in get_args(RecipeName):
                raise StoreError(
                    f"{self.path} is a damaged run: token {token} has the recipe {recipe!r}"
                )
        return frozenset(found)

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

    def measured(self) -> dict[int, dict[str, MeasureRow]]:
        """What measures say of tokens, by token and then by the measure's name."""
        columns = [*(field.name for field in fields(MeasureRow)), "indices"]
        query = f"SELECT {', '.join(columns)} FROM measures NOT INDEXED"
        items = [
            self._measured(dict(zip(columns, values, strict=True)))
            for values in self._select(query, (), HEADER + ITEM * max(self._shape))
        ]
        found: dict[int, dict[str, MeasureRow]] = {}
        for item in sorted(items, key=lambda item: (item.token_id, item.measure)):
            found.setdefault(item.token_id, {})[item.measure] = item
        return found

    def tokens(self) -> list[int]:
        """The ids of the tokens that it is to examine, those examined among them, ascending."""
        query = "SELECT token_id FROM tokens ORDER BY token_id"
        return [token for (token,) in self._select(query)]

    def pending(self) -> list[int]:
        """The tokens that are planned and not yet examined."""
        query = "SELECT token_id FROM tokens WHERE verdict IS NULL ORDER BY token_id"
        return [token for (token,) in self._select(query)]

    @cached_property
    def _shape(self) -> tuple[int, int]:
        """V and d, as the settings have them."""
        settings = self.settings
        return settings["V"], settings["d"]

    def check(self) -> None:
        """Raises StoreError where what the run says of itself is damaged."""
        _ = self.settings, self.model, self.versions, self.notes, self.warnings, self.planned

    def _meta(self, key: str, kind: type[M], default: M) -> M:
        for (text,) in self._select("SELECT value FROM meta WHERE key = ?", (key,), longest=_META):
            try:
                return cast(M, msgspec.convert(_parsed(text), kind))
            except (ValueError, TypeError, RecursionError) as error:
                shown = repr(text[:80] if isinstance(text, str | bytes) else text)
                raise StoreError(f"{self.path} is a damaged run: its {key} are {shown}") from error
        return default

    def _row(self, values: tuple[Any, ...]) -> TokenRow:
        columns = dict(zip((field.name for field in fields(TokenRow)), values, strict=True))
        try:
            columns["flagged_by"] = _parsed(columns["flagged_by"])
            if columns["self_argmax"] is not None:
                columns["self_argmax"] = _truth(columns["self_argmax"])
            return msgspec.convert(columns, TokenRow)
        except (ValueError, TypeError, RecursionError) as error:
            raise StoreError(
                f"{self.path} is a damaged run: token {columns['token_id']}: {error}"
            ) from error

    def _measured(self, columns: dict[str, Any]) -> MeasureRow:
        V, d = self._shape
        x = _kept(columns.pop("x"), "f8", d, d)
        ids = _kept(columns.pop("indices"), "i8", 1, V)
        values = _kept(columns.pop("weights"), "f8", 1, V)
        try:
            columns["options"] = _parsed(columns["options"])
            columns["proven"] = _truth(columns["proven"])
            item = msgspec.convert(columns, MeasureRow)
            for name in (item.measure, item.unit):
                if not is_plain(name):
                    raise ValueError(f"{name!r} is no name")
            if item.error is not None and not item.error >= 0.0:
                raise ValueError(f"the error is {item.error}")
        except (ValueError, TypeError, RecursionError) as error:
            raise StoreError(
                f"{self.path} is a damaged run: measures of token {columns['token_id']}: {error}"
            ) from error
        if ids is None and values is None:
            return replace(item, x=x)
        if ids is None or values is None or ids.size != values.size:
            raise StoreError(
                f"{self.path} is a damaged run: measures of token {item.token_id}: its weights are "
                "not one value an index"
            )
        return replace(item, x=x, weights=Weights(ids, values))

    def _select(
        self, query: str, values: tuple[Any, ...] = (), blob: int = 0, longest: int = LONGEST
    ) -> list[Any]:
        """All rows. Raises StoreError for a text, or bytes, longer than a run has any."""
        rows = []
        with store_errors(self.path):
            for row in self._connection.execute(query, values):
                for value in row:
                    if (isinstance(value, str) and len(value) > longest) or (
                        isinstance(value, bytes) and len(value) > max(blob, longest)
                    ):
                        raise StoreError(
                            f"{self.path} is a damaged run: it holds {len(value)} characters or "
                            f"bytes where a run has {longest} at most"
                        )
                rows.append(row)
        return rows


def _parsed(text: str) -> Any:
    """The value of a JSON text. Raises ValueError, TypeError or RecursionError where it is none."""
    if text.count("[") + text.count("{") > _NESTED:
        raise ValueError(f"it is JSON of more than {_NESTED} lists and objects")
    return json.loads(text)


def _truth(value: object) -> bool:
    """A truth value as SQLite keeps it. Raises ValueError for any other number or type."""
    if not (isinstance(value, int) and value in (0, 1)):
        raise ValueError(f"{value!r} is neither 0 nor 1")
    return value == 1


def _kept(data: object, kind: Literal["f8", "i8"], least: int, most: int) -> NDArray[Any] | None:
    return None if data is None else array(data, kind, least, most)


def _closed(connection: sqlite3.Connection) -> None:
    """Let go of a connection, unless another thread than its own collects the garbage."""
    with suppress(sqlite3.ProgrammingError):
        connection.close()


def open_file(path: str | Path, weights: Callable[[Run], Readout] | None = None) -> Run:
    """A stored run, read-only. Raises StoreError where the file is missing or is no run."""
    path = Path(path)
    if not path.is_file():
        what = "is no file" if path.exists() else "does not exist"
        raise StoreError(f"{path} {what}; name a file that geom run wrote")
    run = Run(connect(path, "ro"), path, weights)
    try:
        run.check()
    except BaseException:
        run.close()
        raise
    return run
