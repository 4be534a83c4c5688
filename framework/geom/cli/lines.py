"""Rows on standard output, one JSON object a line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any, Protocol


class _Row(Protocol):
    def as_dict(self) -> dict[str, Any]: ...


def print_lines(rows: Iterable[_Row]) -> None:
    """Each row as JSON has it, in UTF-8 whatever the locale."""
    for row in rows:
        line = json.dumps(row.as_dict(), ensure_ascii=False, allow_nan=False)
        sys.stdout.buffer.write(line.encode("utf-8", "backslashreplace") + b"\n")
    sys.stdout.buffer.flush()
