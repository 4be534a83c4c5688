"""Edits of a stored run, made with Python's own sqlite3."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


def edit(path: Path, sql: str, *values: object) -> None:
    """Execute a statement that must change at least one row."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA synchronous = OFF")
        assert connection.execute(sql, values).rowcount != 0
