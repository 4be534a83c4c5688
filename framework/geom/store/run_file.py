"""What a run's file answers, no text or bytes of it longer than those of a run."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geom.errors import StoreError
from geom.store.file_format import store_errors
from geom.store.rows import LONGEST


@dataclass(frozen=True, eq=False)
class RunFile:
    """A connection to a run's file, and the path that messages name, None in memory."""

    connection: sqlite3.Connection
    path: Path | None

    def select(
        self, query: str, values: tuple[Any, ...] = (), blob: int = 0, longest: int = LONGEST
    ) -> list[Any]:
        """All rows. Raises StoreError for a text, or bytes, longer than a run has any."""
        rows = []
        with store_errors(self.path):
            for row in self.connection.execute(query, values):
                for value in row:
                    if (isinstance(value, str) and len(value) > longest) or (
                        isinstance(value, bytes) and len(value) > max(blob, longest)
                    ):
                        raise self.damaged(
                            f"it holds {len(value)} characters or bytes where a run has {longest} "
                            "at most"
                        )
                rows.append(row)
        return rows

    def damaged(self, reason: str) -> StoreError:
        """The error to raise for a file that cannot be as geom wrote it."""
        return StoreError(f"{self.path} is a damaged run: {reason}")

    def close(self) -> None:
        """Close it, unless another thread than its own collects the garbage."""
        with suppress(sqlite3.ProgrammingError):
            self.connection.close()
