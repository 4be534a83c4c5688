"""A connection to a run file that a stranger may have written.

Nothing in the file is believed before it is checked. SQLite reads the schema under narrow limits.
The schema must be the one that geom writes, to the letter, so that no view, trigger, generated
column or virtual table computes an answer. The pages must form trees, so that the time of a query
is bounded by the size of the file.
"""

from __future__ import annotations

import sqlite3
from functools import cache
from pathlib import Path
from typing import Literal

from geom.errors import StoreError
from geom.store.file_format import (
    APPLICATION_ID,
    FRAME_SCHEMA,
    OLDEST,
    VERSION,
    schema,
    store_errors,
)

PAGES = 2**26
"""The most pages a run may have: 256 GiB in pages of the usual 4 KiB."""

_STEPS = 10_000
"""Steps of SQLite's virtual machine between two calls of the progress handler."""
_LOOKS = 100
"""Calls of the progress handler after which reading the schema is given up."""

_NARROW = {
    sqlite3.SQLITE_LIMIT_LENGTH: 2**16,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 2**16,
    sqlite3.SQLITE_LIMIT_COLUMN: 64,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 32,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 4,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 1,
}
"""Limits that suffice for the schema of a run."""


def connect(path: Path, mode: Literal["ro", "rw"]) -> sqlite3.Connection:
    """Connect to an existing run, for reading or also for writing.

    Raises StoreError if the file is not a run, is damaged, or is of a version that is not read.
    """
    with store_errors(path):
        uri = f"{path.absolute().as_uri()}?mode={mode}"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=2.0)
        try:
            _check_schema(connection, path)
            _check_pages(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _check_schema(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse anything but a run of a known version, with few steps and little memory."""
    wide = {limit: connection.setlimit(limit, bound) for limit, bound in _NARROW.items()}
    looks = iter(range(_LOOKS))
    connection.set_progress_handler(lambda: next(looks, None) is None, _STEPS)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    version = _check_marks(connection, path)
    (encoding,) = connection.execute("PRAGMA encoding").fetchone()
    if encoding != "UTF-8":
        raise _no_run(path, f"its texts are in {encoding}, not in UTF-8")
    found = _tables(connection)
    expected = _expected(version, ("table", "frame") in found)
    for key in sorted(found.keys() | expected.keys(), key=repr):
        kind, name = key
        if key not in expected:
            raise _no_run(path, f"it has the {kind} {name!r}, which no run has")
        if key not in found:
            raise _no_run(path, f"it lacks the {kind} {name!r}")
        if found[key] != expected[key]:
            raise _no_run(path, f"its {kind} {name!r} is not as geom makes it")
    connection.set_progress_handler(None, 0)
    for limit, bound in wide.items():
        connection.setlimit(limit, bound)


def _check_marks(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version; refuse a file without the mark of a run, or of an unknown version."""
    (mark,) = connection.execute("PRAGMA application_id").fetchone()
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if mark != APPLICATION_ID:
        raise StoreError(f"{path} is not a run of geom; name a file that geom run wrote")
    if version < OLDEST:
        raise StoreError(
            f"{path} is a run of format {version}, made by an older geom: run again, with another "
            "--out"
        )
    if version > VERSION:
        raise StoreError(
            f"{path} is a run of format {version}, and this geom reads {OLDEST} to {VERSION}: "
            "upgrade geom"
        )
    return version


def _check_pages(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a file unless its pages form disjoint trees; takes time linear in its size."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    if pages > PAGES:
        raise _no_run(path, f"it has {pages} pages, and a run has at most {PAGES}")
    (first,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if first != "ok":
        raise StoreError(f"{path} is a damaged run: {first}; take another copy, or run again")


def _tables(connection: sqlite3.Connection) -> dict[tuple[str, str], tuple[str, str | None]]:
    """Return every table, index, view and trigger, with its table and its SQL."""
    query = "SELECT type, name, tbl_name, sql FROM sqlite_schema"
    return {(kind, name): (of, sql) for kind, name, of, sql in connection.execute(query)}


@cache
def _expected(version: int, framed: bool) -> dict[tuple[str, str], tuple[str, str | None]]:
    """Return the tables, indices, views and triggers of a run of a version as geom makes it."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(schema(version) + FRAME_SCHEMA * framed)
        return _tables(connection)
    finally:
        connection.close()


def _no_run(path: Path, reason: str) -> StoreError:
    return StoreError(f"{path} is not a run of geom: {reason}; name a file that geom run wrote")
