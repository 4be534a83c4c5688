"""A terminal of a known width, and the text on it."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import termios
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pyte
import pytest

SEQUENCES = re.compile(r"\x1b\[[0-9;]*m")  # colours and font weights, which rich writes


def width(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


def terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """Make standard output a terminal with this many columns."""
    for name, value in {"TTY_COMPATIBLE": "1", "COLUMNS": str(columns), "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)


class Screen:
    """What a terminal received, and what it shows of that."""

    def __init__(self, columns: int, lines: int) -> None:
        self.master, self.slave = os.openpty()
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, size)
        self.received = b""
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with suppress(OSError):  # Linux's word for the end
            while piece := os.read(self.master, 65536):
                self.received += piece
                self._stream.feed(piece)

    def hang_up(self) -> None:
        """Let go of the terminal; once all other processes have, all that they wrote has come."""
        os.close(self.slave)
        self._reader.join(timeout=60)
        os.close(self.master)

    @property
    def lines(self) -> list[str]:
        """The lines shown, down to the last that is not blank."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip().split("\n")

    @property
    def cursor_shown(self) -> bool:
        return not self._screen.cursor.hidden


@contextmanager
def drawn(monkeypatch: pytest.MonkeyPatch, columns: int = 80, lines: int = 24) -> Iterator[Screen]:
    """Make standard error a terminal of that size within the block, and yield its screen."""
    screen = Screen(columns, lines)
    with monkeypatch.context() as patch:
        for name, value in {"TERM": "xterm", "COLUMNS": str(columns), "LINES": str(lines)}.items():
            patch.setenv(name, value)
        for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
            patch.delenv(name, raising=False)
        with os.fdopen(os.dup(screen.slave), "w", encoding="utf-8") as file:
            patch.setattr("sys.stderr", file)
            try:
                yield screen
            finally:
                file.flush()
    screen.hang_up()
