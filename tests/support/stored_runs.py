"""Edits of a stored run, with Python's own sqlite3."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


def edit(path: Path, sql: str, *values: object) -> None:
    """Carries out a statement, which must find something to change."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA synchronous = OFF")
        assert connection.execute(sql, values).rowcount != 0
