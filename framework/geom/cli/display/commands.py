"""Commands of geom that a user may type next: complete, and quoted for a shell."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path

from geom.errors import GeomError, UnaskedError

_typed: ContextVar[tuple[str, ...]] = ContextVar("geom_typed", default=())


def typed(arguments: Sequence[str]) -> None:
    """Keep the arguments of the command that the user typed."""
    _typed.set(tuple(arguments))


def command(*words: str | Path) -> str:
    """Return a command of geom."""
    return shlex.join(["geom", *map(str, words)])


def explained(error: GeomError) -> str:
    """Return the message of an error, with the command to type instead if geom knows it."""
    if not isinstance(error, UnaskedError) or not _typed.get():
        return str(error)
    return f"{error}; if these are the weights: {command(*_typed.get(), '--model', error.model)}"
