"""Hostile edits of a run, made with Python's own sqlite3, and checks of how geom refuses it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from support.command import Done

SQUARE = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [0.25, 0.5], [1.0, 1.0]])
COMMANDS = {
    "show": ["show", "run.db"],
    "show of several": ["show", "run.db", "other.db"],
    "export": ["export", "run.db"],
    "verify": ["verify", "run.db"],
    "measure": ["measure", "run.db", "--measure", "row-norm"],
    "compare": ["compare", "run.db", "-p", "float32"],
    "report": ["report", "run.db"],
    "go on": ["run", "-m", "npz:square.npz", "-t", "all", "--opening", "no", "--out", "run.db"],
}
BAD = "\x1b[2J\x07\r\x9b31m\u202e\u2066\u200b\u2028\u2029\ufeff\u00ad\U000e0041[red]x[/red]"
"""Escapes, C1, bidirectional and zero-width marks, line and paragraph separators, tags, markup."""


def edit(path: Path, *statements: str, values: tuple[Any, ...] = ()) -> None:
    """Execute statements, the last one with the values; SQLite accepts anything."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        for statement in statements[:-1]:
            connection.execute(statement)
        connection.execute(statements[-1], values)


def acting(text: str) -> set[str]:
    """Return a text's characters, other than newlines, that act on a terminal or are invisible."""
    return {c for c in text if not c.isprintable()} - {"\n"}


def refusal(done: Done) -> str:
    """Return the single line with which a command refused its run."""
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("geom: ")
    assert done.err.count("\n") == 1
    assert not acting(done.err)
    assert len(done.err) < 2500
    return done.err
