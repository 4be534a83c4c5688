"""A terminal of a known width, and the text on it."""

from __future__ import annotations

import re
import unicodedata

import pytest

SEQUENCES = re.compile(r"\x1b\[[0-9;]*m")  # colours and font weights, which rich writes


def width(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


def terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """Make standard output a terminal with this many columns."""
    for name, value in {"TTY_COMPATIBLE": "1", "COLUMNS": str(columns), "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
