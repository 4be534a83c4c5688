"""Results that are longer than the terminal is high, shown in the reader's pager."""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from rich.cells import cell_len
from rich.console import ConsoleDimensions

from geom.cli.display.console import SafeConsole
from geom.cli.display.output import out, print_text, replaced

_SEQUENCES = re.compile(r"\x1b\[[0-9;]*m")
"""Colours and font weights, the only sequences that a `SafeConsole` writes."""


@contextmanager
def paged(asked: bool) -> Iterator[None]:
    """Collect what the block prints and, if it does not fit on the terminal, page it.

    Off a terminal, without a pager or if it is not ``asked`` for, the block prints as it goes.
    """
    terminal = out()
    command = _pager() if asked and terminal.isatty() else []
    if not command:
        yield
        return
    page = _Page()
    try:
        with replaced(page):
            yield
    finally:  # what was printed before an error is shown
        _show(page.getvalue(), command, terminal.fileno())


class _Page(io.StringIO):
    """A text that is meant for the terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def _show(text: str, command: list[str], descriptor: int) -> None:
    """Print a text if the terminal has room for it and for a prompt, else page it."""
    if not _longer(text, SafeConsole().size):
        print_text(text)
        return
    environment = {"LESS": "FRX"} | dict(os.environ)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the pager's
    try:
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=descriptor, env=environment
        ) as process:
            process.communicate(text.encode("utf-8", "backslashreplace"))
    except OSError:  # the pager cannot be run
        print_text(text)
    finally:
        signal.signal(signal.SIGINT, before)


def _longer(text: str, size: ConsoleDimensions) -> bool:
    used = 0
    for line in _SEQUENCES.sub("", text).splitlines():
        used += max(1, -(-cell_len(line) // size.width))
        if used >= size.height:
            return True
    return False


def _pager() -> list[str]:
    """Return the command that ``PAGER`` names, or else less or more; nothing if there is none."""
    if os.environ.get("TERM", "dumb") == "dumb":
        return []
    named = os.environ.get("PAGER")
    if named is None:
        named = next(filter(shutil.which, ("less", "more")), "")
    try:
        command = shlex.split(named)
    except ValueError:  # a quotation that does not end
        return []
    return command if command and shutil.which(command[0]) else []
