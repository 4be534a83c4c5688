"""The one exception family. Each message says which thing is wrong, how, and what to do."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from difflib import SequenceMatcher, get_close_matches
from functools import partial
from pathlib import Path
from traceback import format_exception, walk_tb
from types import FrameType, FunctionType, MethodType
from typing import Any, Protocol, TypeVar

from geom.text import harmless, shortened

T = TypeVar("T")


class ErrorWatcher(Protocol):
    """Looks at what a stranger's code raises, before it becomes a line."""

    @property
    def wanted(self) -> bool:
        """Whether tracebacks are wanted, so that another process should send its own."""

    def caught(self, error: Exception) -> None:
        """Look at an exception when it is caught."""

    def told(self, text: str) -> None:
        """Look at the traceback of an exception that another process caught."""


_watch: ContextVar[ErrorWatcher | None] = ContextVar("geom_watch", default=None)

_ON_THE_WAY = frozenset({"geom", "pluggy", *sys.stdlib_module_names})
"""The modules whose frames come before those of a stranger's code."""


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


class AbsentError(InputError):
    """An error for a model that is not found under its name, on this machine or on another.

    Parameters
    ----------
    message : str
        One line.
    name : str, optional
        The name that nothing was found under. If it is what a user wrote without a source, geom
        adds what else the name may mean.
    """

    def __init__(self, message: str, name: str = "") -> None:
        super().__init__(message)
        self.name = name


class UnaskedError(InputError):
    """An error for weights that a run's file names, and that geom opens only if the user says so.

    Parameters
    ----------
    message : str
        One line.
    model : str
        The name of the weights, as ``--model`` takes it.
    """

    def __init__(self, message: str, model: str) -> None:
        super().__init__(message)
        self.model = model


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
    """The exception that a stranger's code raised, in place of its result.

    ``code`` is the function that was called: its line is named if no other of its code is, because
    its answer is what was wrong.
    """

    error: Exception
    code: object = None

    def __str__(self) -> str:
        return raised(self.error, code=self.code)

    @property
    def first_line(self) -> str:
        """The exception's type and the first line of its message."""
        return raised(self.error, first_line=True, code=self.code)

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
        if (watch := _watch.get()) is not None:
            watch.caught(error)
        return Raised(error)


@contextmanager
def watched_errors(watch: ErrorWatcher) -> Iterator[None]:
    """Show ``watch``, in the block, every exception of a stranger's code when it is caught."""
    token = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(token)


def error_watcher() -> ErrorWatcher | None:
    """Return who wants to see tracebacks here, None if nobody does."""
    watch = _watch.get()
    return watch if watch is not None and watch.wanted else None


def traceback_of(error: BaseException) -> str:
    """Return the traceback of an exception as Python prints it."""
    return "".join(format_exception(error))


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
    """Return an error for an unknown name; it suggests the nearest known names, or lists all."""
    choices = sorted(known)
    near = near_names(name, choices)
    if near:
        remedy = f"did you mean {' or '.join(map(repr, near))}?"
    else:
        remedy = f"known: {', '.join(choices)}" if choices else "none is known"
    return InputError(f"unknown {what} {name!r}: {remedy}")


def near_names(name: str, choices: list[str]) -> list[str]:
    """Return the known names that a slip, or a part of a name, most likely means, best first.

    A slip has one meaning: ``highz`` is ``highs``. A part may have several: ``angle`` is a word of
    ``solid-angle``, and like one of ``angular-margin``.
    """
    alike = {
        choice: max(_likeness(name.lower(), part) for part in (choice, *re.split("[-_]", choice)))
        for choice in choices
    }
    slip = 0.8 if 1.0 in alike.values() else 0.7
    near = [choice for choice in choices if alike[choice] >= 0.6]
    near.sort(key=lambda choice: -alike[choice])
    return (
        get_close_matches(name, choices, n=1, cutoff=slip)
        or near[:3]
        or [choice for choice in choices if _abbreviates(name.lower(), choice.lower())][:3]
        or get_close_matches(name, choices, n=1, cutoff=0.5)
    )


def _abbreviates(name: str, choice: str) -> bool:
    """Return whether letters were left out of a name, not the first: ``md`` for ``markdown``."""
    rest = iter(choice)
    return len(name) >= 2 and name[0] == choice[:1] and all(letter in rest for letter in name)


def _likeness(name: str, part: str) -> float:
    """Return how alike a name and a part of another are, 1 if one holds all of the other."""
    least = min(len(name), len(part))
    if least >= 3 and (name in part or part in name):
        return 1.0
    return SequenceMatcher(None, name, part).ratio() if least >= 3 else 0.0


def answered(answer: object, kind: type[T], how: str = "returned") -> T:
    """Return a stranger's answer if it is of a kind. Raises TypeError if not."""
    if isinstance(answer, kind):
        return answer
    raise TypeError(f"it {how} {_type_of(answer)}, not {_article(kind.__name__)} {kind.__name__}")


def several(answer: object, kind: str) -> Iterable[Any]:
    """Return a stranger's answer if it is iterable, whatever its items. Raises TypeError if not."""
    if isinstance(answer, Iterable):
        return answer
    raise TypeError(f"it returned {_type_of(answer)}, not {kind}s: yield them, or return a list")


def _type_of(answer: object) -> str:
    return "None" if answer is None else type(answer).__name__


def _article(noun: str) -> str:
    return "an" if noun[0] in "AEIOU" else "a"


def raised(error: BaseException, first_line: bool = False, code: object = None) -> str:
    """Describe an exception of a stranger's code as one line valid in UTF-8.

    It gives the type, the message and, if known, the place: ``ValueError: no row (mine.py:31)``.
    Without a line of its own on the way, the place is the first line of ``code``, its function.
    """
    error = behind(error)
    try:
        with contained():  # the exception's __str__ is a stranger's code too
            text = str(error)
    except Exception:
        text = ""
    if first_line:
        text = text.strip().partition("\n")[0]
    place = line_of(walk_tb(error.__traceback__)) or first_line_of(code)
    where = f" ({place})" if place else ""
    return f"{one_line(f'{type(error).__name__}: {text}')}{where}"


def behind(error: BaseException) -> BaseException:
    """Return the exception that an `Escape` stands for, and any other unchanged."""
    return error.__cause__ or error if isinstance(error, Escape) else error


def line_of(frames: Iterable[tuple[FrameType, int]]) -> str:
    """Return the last line of a stranger's own code among frames, the outermost first, or nothing.

    Its code is the package of the first frame that is neither geom's nor the standard library's; a
    library it called may have raised.
    """
    own, place = None, ""
    for frame, line in frames:
        module = str(frame.f_globals.get("__name__", ""))
        package = module.partition(".")[0]
        if own is None and package not in _ON_THE_WAY:
            own = package
        if package == own:
            place = _shown(module, frame.f_code.co_filename, line)
    return place


def first_line_of(code: object) -> str:
    """Return the first line of a stranger's function, or nothing if it has no line of its own."""
    while isinstance(code, partial):
        code = code.func
    if not isinstance(code, FunctionType | MethodType):
        code = getattr(type(code), "__call__", None)  # noqa: B004 - the function, not whether
    if isinstance(code, MethodType):
        code = code.__func__
    code = inspect.unwrap(code) if isinstance(code, FunctionType) else None
    if not isinstance(code, FunctionType) or code.__module__.partition(".")[0] in _ON_THE_WAY:
        return ""
    return _shown(code.__module__, code.__code__.co_filename, code.__code__.co_firstlineno)


def _shown(module: str, filename: str, line: int) -> str:
    """Return a line of a module with the folders that belong to its package."""
    file = Path(filename)
    depth = 1 if module == "__main__" else len(module.split("."))
    shown = "/".join(file.parts[-depth - (file.stem == "__init__") :])
    return f"{one_line(shown)}:{line}"


def one_line(text: str) -> str:
    """Return a stranger's text as one line valid in UTF-8, without its middle if it is long."""
    return " ".join(shortened(text).encode("utf-8", "backslashreplace").decode().split())
