"""Rows on standard output, one JSON object a line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from geom.cli.display.output import out
from geom.text import json_line


class _Row(Protocol):
    def as_dict(self) -> dict[str, Any]: ...


def print_lines(rows: Iterable[_Row]) -> None:
    """Print each row as a line of JSON, in UTF-8 whatever the locale."""
    print_json(row.as_dict() for row in rows)


def print_json(lines: Iterable[dict[str, Any]]) -> None:
    """Print each dictionary as a line of JSON, in UTF-8 whatever the locale."""
    file = out().buffer
    for line in lines:
        file.write(json_line(line).encode() + b"\n")
    file.flush()
