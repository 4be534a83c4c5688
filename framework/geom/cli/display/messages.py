"""The messages of a command, apart from its results: lines on standard error."""

from __future__ import annotations

import os
import sys
import textwrap
from contextvars import ContextVar
from typing import TYPE_CHECKING

from rich.cells import cell_len

from geom.plugins.at_work import plugins_at_work
from geom.text import MESSAGE, harmless

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from geom.gate.checks import Check

_drawing: ContextVar[Console | None] = ContextVar("geom_drawing", default=None)

_COMMAND = ": geom "
"""What is before a command at the end of a message, and its first word."""


def above(console: Console | None) -> None:
    """Print messages through the console, above what it draws; with None, directly again."""
    _drawing.set(console)


def say(message: str) -> None:
    """Print a message as one line, with anything that could act on the terminal made harmless.

    A terminal gets it in lines that end between words, and a command at its end as one line, which
    the terminal may wrap; copied, it is one.
    """
    line = as_line(message)
    if (console := _drawing.get()) is not None:
        for part in _lines(line, console.width):
            console.print(part, soft_wrap=True)
    else:
        print("\n".join(_lines(line, _width())), file=sys.stderr, flush=True)


def _lines(line: str, width: int | None) -> list[str]:
    """Return a message in lines of a terminal's width; without a width it is one line."""
    if width is None or cell_len(line) <= width:
        return [line]
    prose, mark, command = line.rpartition(_COMMAND)
    if not mark:
        prose, command = line, ""
    parts = textwrap.wrap(
        f"{prose}:" if mark else prose,
        width,
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [*parts, f"  geom {command}"] if mark else parts


def _width() -> int | None:
    """Return the width of the terminal that standard error is, None if it is none."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or None
    except (OSError, ValueError, AttributeError):
        return None


def say_interrupted(more: str = "") -> None:
    """Say that Ctrl-C ended a command, which plugin was at work, and what the user can do."""
    name = plugins_at_work().interrupted
    say(f"interrupted{'' if name is None else f' while {name} was at work'}{more}")


def as_line(message: str) -> str:
    """Return a message as the line that is printed, with nothing that acts on a terminal."""
    return f"geom: {plain(' '.join(message.split()))}"


def say_traceback(text: str) -> None:
    """Print the lines of a traceback, each harmless."""
    shown = "\n".join(map(plain, text.rstrip("\n").split("\n")))
    if (console := _drawing.get()) is not None:
        console.print(shown, soft_wrap=True)
    else:
        print(shown, file=sys.stderr, flush=True)


def say_checks(checks: Iterable[Check]) -> bool:
    """Say what a gate watched for and found, one line each; return whether anything failed."""
    failed = False
    for check in checks:
        result = "failed" if check.failed else "passed"
        say(f"{' '.join(filter(None, ('--fail-on', check.what)))} {result}: {check.said}")
        failed = failed or check.failed
    return failed


def say_skipped_plugins() -> None:
    """Name the installed plugins that could not be used, one line each."""
    from geom.plugins.registry import installed

    plugins = installed()
    for skipped in plugins.skipped:
        say(str(skipped))
    plugins.told = True


def plain(text: str, most: int = MESSAGE) -> str:
    """Make text safe that a stranger may have written: in a run file, a plugin or a model."""
    return harmless(text, most)
