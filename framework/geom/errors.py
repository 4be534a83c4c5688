"""The one exception family. Each message names the thing, what is wrong, and the remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from typing import Any, TypeVar

from geom.text import harmless, shortened

T = TypeVar("T")


class GeomError(Exception):
    """Root of every error that geom raises on purpose.

    Its message is one line, of bounded length and without anything that acts on a terminal,
    whatever the file or plugin that it speaks of holds.
    """

    def __init__(self, message: str) -> None:
        several = len(message.splitlines()) > 1
        super().__init__(harmless(" ".join(message.split()) if several else message))


class InputError(GeomError):
    """A file, a name, an option or a list of tokens that cannot be used as given."""


class ArithmeticModeError(GeomError):
    """A processor that is set to compute otherwise than the bounds on rounding say."""


class PluginError(GeomError):
    """A plugin that cannot be registered beside the others, or that breaks its contract."""


class StoreError(GeomError):
    """A run file that cannot be opened, written or continued."""


class Escape(Exception):  # noqa: N818 - the error is its cause
    """Stands for an exception that `except Exception` would miss, which is its cause."""


@contextmanager
def contained() -> Iterator[None]:
    """Run a plugin's code in the block, so that `except Exception` catches all that it raises.

    SystemExit, GeneratorExit and any other BaseException become an `Escape`, of which `raised`
    says what it stands for. KeyboardInterrupt passes, as it is what Ctrl-C raises. No ``yield``
    belongs in the block: who closes a generator raises GeneratorExit there.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise Escape from error


@dataclass(frozen=True, eq=False)
class Raised:
    """What a stranger's code raised, in the place of what it was to return."""

    error: Exception

    def __str__(self) -> str:
        return raised(self.error)

    @property
    def first_line(self) -> str:
        """The type and the first line of the message."""
        return raised(self.error, first_line=True)


def attempt(work: Callable[[], T]) -> T | Raised:
    """What a stranger's code returns, or what it raises. KeyboardInterrupt passes."""
    try:
        with contained():
            return work()
    except Exception as error:  # a stranger may raise anything
        return Raised(error)


def draw(work: Callable[[], Iterable[T]]) -> Iterator[T | Raised]:
    """What the iterable that a stranger's code returns yields, and last what it raises, if so."""
    found = attempt(lambda: iter(work()))
    while not isinstance(found, Raised):
        item = attempt(partial(next, found, _END))
        if item is _END:
            return
        yield item
        if isinstance(item, Raised):
            return
    yield found


_END: Any = object()


def demand(what: str, work: Callable[[], T]) -> T:
    """What a plugin's code returns; ``what`` names the plugin, as in ``source npz``.

    Raises PluginError for whatever it raises but geom's own errors and KeyboardInterrupt.
    """
    found = attempt(work)
    if not isinstance(found, Raised):
        return found
    if isinstance(found.error, GeomError):
        raise found.error
    raise PluginError(f"{what} raised {found}") from found.error


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
    if isinstance(error, Escape) and error.__cause__ is not None:
        error = error.__cause__
    try:
        with contained():  # that is a stranger's code too
            text = str(error)
    except Exception:
        text = ""
    if first_line:
        text = text.strip().partition("\n")[0]
    return one_line(f"{type(error).__name__}: {text}")


def one_line(text: str) -> str:
    """A stranger's text as one line that UTF-8 can hold, its middle left out if it is long."""
    return " ".join(shortened(text).encode("utf-8", "backslashreplace").decode().split())
