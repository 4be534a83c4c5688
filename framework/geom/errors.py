"""The one exception family. Each message names the thing, what is wrong, and the remedy."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

LONGEST = 2000
"""Characters of a message: names in it may come from a file that anybody wrote."""


class GeomError(Exception):
    """Root of every error that geom raises on purpose. Its message is one line, and a short one."""

    def __init__(self, message: str) -> None:
        message = shortened(message)
        lines = message.splitlines()
        super().__init__(message if len(lines) < 2 else one_line(message))


class InputError(GeomError):
    """A file, a name, an option or a list of tokens that cannot be used as given."""


class ArithmeticModeError(GeomError):
    """A processor that is set to compute otherwise than the bounds on rounding say."""


class PluginError(GeomError):
    """A plugin that cannot be registered beside the others, or that breaks its contract."""


class StoreError(GeomError):
    """A run file that cannot be opened, written or continued."""


def unknown(what: str, name: str, known: Iterable[str]) -> InputError:
    """An error for a name nobody knows: it answers with the nearest, or with all of them."""
    choices = sorted(known)
    near = get_close_matches(name, choices, n=1, cutoff=0.5)
    if near:
        remedy = f"did you mean {near[0]!r}?"
    else:
        remedy = f"known: {', '.join(choices)}" if choices else "none is known"
    return InputError(f"unknown {what} {name!r}: {remedy}")


def raised(error: BaseException, first_line: bool = False) -> str:
    """What a stranger's code raised, as one line that UTF-8 can hold: its type and its message."""
    try:
        text = str(error)
    except Exception:  # that is a stranger's code too
        text = ""
    if first_line:
        text = text.strip().partition("\n")[0]
    return one_line(f"{type(error).__name__}: {text}")


def shortened(text: str) -> str:
    """A text of at most `LONGEST` characters: of a longer one the two ends, the remedy at one."""
    half = LONGEST // 2 - 3
    return text if len(text) <= LONGEST else f"{text[:half]} [...] {text[-half:]}"[:LONGEST]


def one_line(text: str) -> str:
    """A stranger's text as one line that UTF-8 can hold."""
    return " ".join(text.encode("utf-8", "backslashreplace").decode().split())
