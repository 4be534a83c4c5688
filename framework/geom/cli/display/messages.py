"""The messages of a command, apart from its results: lines on standard error."""

from __future__ import annotations

import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING

from geom.text import MESSAGE, harmless

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from geom.gate.checks import Check

_drawing: ContextVar[Console | None] = ContextVar("geom_drawing", default=None)


def above(console: Console | None) -> None:
    """Print messages through the console, above what it draws; with None, directly again."""
    _drawing.set(console)


def say(message: str) -> None:
    """Print a message as one line, with anything that could act on the terminal made harmless."""
    line = f"geom: {plain(' '.join(message.split()))}"
    if (console := _drawing.get()) is not None:
        console.print(line, soft_wrap=True)  # the terminal may wrap it; copied, it is one line
    else:
        print(line, file=sys.stderr, flush=True)


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

    for skipped in installed().skipped:
        say(str(skipped))


def plain(text: str, most: int = MESSAGE) -> str:
    """Make text safe that a stranger may have written: in a run file, a plugin or a model."""
    return harmless(text, most)
