"""The file format of a run: its marks and tables, and messages for SQLite's errors."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from geom.errors import StoreError

APPLICATION_ID = 0x67656F6D  # "geom"
VERSION = 7
"""The version that is written."""

OLDEST = 6
"""The oldest version that is read."""

SCHEMA = """
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
    probability_upper REAL,
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
    indices BLOB,
    weights BLOB,
    PRIMARY KEY (token_id, measure)
);
"""

FRAME_SCHEMA = """
CREATE TABLE frame (
    name TEXT PRIMARY KEY CHECK (name IN ('axes', 'centre')),
    data BLOB NOT NULL
) WITHOUT ROWID;
"""
"""The table that only a run on the hull of points or on an ellipsoid has: the domain's vectors."""


ADDED = {"probability_upper": 7}
"""Columns of ``tokens`` that older versions lack, with the first version that has them."""


def schema(version: int) -> str:
    """Return the tables of a version that is read."""
    lines = SCHEMA.splitlines(keepends=True)
    return "".join(line for line in lines if ADDED.get(line.strip().split(" ")[0], 0) <= version)


_ELSEWHERE = ("locked", "readonly", "unable to open", "full", "disk I/O")
"""Words in SQLite's operational errors that do not mean that the file is bad."""


@contextmanager
def store_errors(path: Path | None) -> Iterator[None]:
    """Turn SQLite's errors in the block into a StoreError of one clear line."""
    try:
        yield
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        operational = isinstance(error, sqlite3.OperationalError)
        if operational and any(word in str(error) for word in _ELSEWHERE):
            raise StoreError(f"{path}: {error}; {_remedy(str(error))}") from error
        raise StoreError(f"{path} is not a run of geom, or a damaged one: {error}") from error


def _remedy(message: str) -> str:
    if "locked" in message:
        return "another process is writing it: wait for it, or give another --out"
    if "readonly" in message or "unable to open" in message:
        return "give an --out in a folder you can write to"
    if "full" in message:
        return "free some space and run the same command again: what is stored is kept"
    return "give another --out"
