"""Rows on standard output, one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Protocol

from geom.cli.output import out


class _Row(Protocol):
    def as_dict(self) -> dict[str, Any]: ...


def print_lines(rows: Iterable[_Row]) -> None:
    """Each row as JSON has it, in UTF-8 whatever the locale."""
    file = out().buffer
    for row in rows:
        line = json.dumps(row.as_dict(), ensure_ascii=False, allow_nan=False)
        file.write(line.encode("utf-8", "backslashreplace") + b"\n")
    file.flush()
