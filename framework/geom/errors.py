"""The one exception family. Each message says which thing is wrong, how, and what to do."""

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
    """The root of every error that geom raises on purpose.

    Its message is one line of bounded length with nothing that acts on a terminal, whatever the
    file or plugin it is about contains.
    """

    def __init__(self, message: str) -> None:
        several = len(message.splitlines()) > 1
        super().__init__(harmless(" ".join(message.split()) if several else message))


class InputError(GeomError):
    """An error for a file, a name, an option or a list of tokens that cannot be used as given."""


class ArithmeticModeError(GeomError):
    """An error for a processor whose settings break what the bounds on rounding assume."""


class PluginError(GeomError):
    """An error for a plugin that clashes with another plugin, or that breaks its contract."""


class StoreError(GeomError):
    """An error for a run file that cannot be opened, written or continued."""


class Escape(Exception):  # noqa: N818 - the error is its cause
    """A stand-in for an exception that `except Exception` would miss, which is its cause."""


@contextmanager
def contained() -> Iterator[None]:
    """Run a plugin's code in the block, so that `except Exception` catches all that it raises.

    SystemExit, GeneratorExit and any other BaseException become an `Escape`; `raised` then names
    the original exception. KeyboardInterrupt passes because Ctrl-C raises it. Do not put a
    ``yield`` in the block: closing the generator would raise GeneratorExit there.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise Escape from error


@dataclass(frozen=True, eq=False)
class Raised:
    """The exception that a stranger's code raised, in place of its result."""

    error: Exception

    def __str__(self) -> str:
        return raised(self.error)

    @property
    def first_line(self) -> str:
        """The exception's type and the first line of its message."""
        return raised(self.error, first_line=True)

    def as_error(self, what: str, remedy: str = "") -> GeomError:
        """Return the error to raise for it: a PluginError, or one of geom's own unchanged.

        ``what`` names the plugin, and ``remedy`` follows what it raised.
        """
        if isinstance(self.error, GeomError):
            return self.error
        error = PluginError(f"{what} raised {self}{remedy}")
        error.__cause__ = self.error
        return error


def attempt(work: Callable[[], T]) -> T | Raised:
    """Return what a stranger's code returns, or what it raises. KeyboardInterrupt passes."""
    try:
        with contained():
            return work()
    except Exception as error:  # a stranger may raise anything
        return Raised(error)


def draw(work: Callable[[], Iterable[T]]) -> Iterator[T | Raised]:
    """Yield the items of an iterable that a stranger's code returns, and last what it raises."""
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
    """Return what a plugin's code returns; ``what`` names the plugin, as in ``source npz``.

    Raises PluginError for anything the code raises except geom's own errors and KeyboardInterrupt.
    """
    found = attempt(work)
    if isinstance(found, Raised):
        raise found.as_error(what)
    return found


def unknown(what: str, name: str, known: Iterable[str]) -> InputError:
    """Return an error for an unknown name; it suggests the nearest known name, or lists all."""
    choices = sorted(known)
    near = get_close_matches(name, choices, n=1, cutoff=0.5)
    if near:
        remedy = f"did you mean {near[0]!r}?"
    else:
        remedy = f"known: {', '.join(choices)}" if choices else "none is known"
    return InputError(f"unknown {what} {name!r}: {remedy}")


def raised(error: BaseException, first_line: bool = False) -> str:
    """Describe an exception of a stranger's code, type and message, as one line valid in UTF-8."""
    if isinstance(error, Escape) and error.__cause__ is not None:
        error = error.__cause__
    try:
        with contained():  # the exception's __str__ is a stranger's code too
            text = str(error)
    except Exception:
        text = ""
    if first_line:
        text = text.strip().partition("\n")[0]
    return one_line(f"{type(error).__name__}: {text}")


def one_line(text: str) -> str:
    """Return a stranger's text as one line valid in UTF-8, without its middle if it is long."""
    return " ".join(shortened(text).encode("utf-8", "backslashreplace").decode().split())
