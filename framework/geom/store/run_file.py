"""Queries of a run's file, in which no text or bytes may be longer than a run can have."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from geom.errors import StoreError
from geom.store.file_format import store_errors
from geom.store.rows import LONGEST


@dataclass(frozen=True, eq=False)
class RunFile:
    """A connection to a run's file, and the path for messages, or None in memory."""

    connection: sqlite3.Connection
    path: Path | None

    @cached_property
    def version(self) -> int:
        """The version of the file's format."""
        return int(self.select("PRAGMA user_version")[0][0])

    def select(
        self, query: str, values: tuple[Any, ...] = (), blob: int = 0, longest: int = LONGEST
    ) -> list[Any]:
        """Return all rows. Raises StoreError for a text, or bytes, longer than a run can have."""
        rows = []
        with store_errors(self.path):
            for row in self.connection.execute(query, values):
                for value in row:
                    if (isinstance(value, str) and len(value) > longest) or (
                        isinstance(value, bytes) and len(value) > max(blob, longest)
                    ):
                        raise self.damaged(
                            f"a value has {len(value)} characters or bytes, and a run keeps at "
                            f"most {longest}"
                        )
                rows.append(row)
        return rows

    def damaged(self, reason: str) -> StoreError:
        """Return the error to raise for a file that geom cannot have written like this."""
        return StoreError(f"{self.path} is a damaged run: {reason}")

    def close(self) -> None:
        """Close the connection, unless garbage collection calls this in another thread."""
        with suppress(sqlite3.ProgrammingError):
            self.connection.close()
