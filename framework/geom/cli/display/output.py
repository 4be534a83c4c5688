"""Standard output: for the results of a command alone, whatever plugins and libraries print.

While a command works, file descriptor 1 and `sys.stdout` lead to standard error, so that a
``print`` of a plugin, the banner of a C library and the output of the processes that an executor
begins end there. What a command prints goes through `out`, which keeps the way to standard output.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from io import TextIOWrapper
from typing import Any, TextIO

import typer

_kept: ContextVar[TextIO | None] = ContextVar("geom_standard_output", default=None)


def out() -> TextIO:
    """Where results go."""
    return _kept.get() or sys.stdout


def print_line(text: object) -> None:
    """A line of results."""
    typer.echo(text, file=out())


@contextmanager
def reserved() -> Iterator[None]:
    """Within the block only what is written to `out` reaches standard output."""
    before, mine = sys.stdout, _own(sys.stdout)
    token, descriptor = _kept.set(mine), _divert()
    sys.stdout = sys.stderr
    try:
        yield
        mine.flush()
    finally:
        _flush_c()
        _flush(before)  # what was printed past `out` and held back is no result either
        sys.stdout = before
        _restore(descriptor)
        _kept.reset(token)
        if mine is not before:
            with suppress(OSError, ValueError):  # what cannot be written has been said
                mine.close()
        atexit.unregister(_divert_for_good)
        atexit.register(_divert_for_good)  # before what a plugin has registered


def _own(stream: TextIO | None) -> TextIO:
    """The stream over a descriptor of its own; itself, if it has none."""
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    stream.flush()
    try:
        descriptor = os.dup(stream.fileno())
    except (OSError, ValueError, AttributeError):  # it is in memory
        return stream
    return TextIOWrapper(
        os.fdopen(descriptor, "wb"), encoding=stream.encoding, errors=stream.errors
    )


def _divert() -> int | None:
    """Let descriptor 1 lead to standard error; return one to its old end, or None."""
    before: int | None = None
    with suppress(OSError):
        before = os.dup(1)
    try:
        os.dup2(2, 1)
    except OSError:  # standard error is closed
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)
    return before


def _restore(descriptor: int | None) -> None:
    if descriptor is None:
        os.close(1)
        return
    os.dup2(descriptor, 1)
    os.close(descriptor)


def _flush(stream: TextIO | None) -> None:
    """Write what Python code has printed and the stream holds back."""
    with suppress(OSError, ValueError, AttributeError):
        stream.flush()  # type: ignore[union-attr]  # None is an AttributeError


def _flush_c() -> None:
    """Write what C code has printed, which its library may hold back."""
    with suppress(OSError, TypeError, AttributeError):  # Windows has no library of that name
        library: Any = ctypes.CDLL(None)
        library.fflush(None)


def _divert_for_good() -> None:
    """What is printed while Python ends is no result."""
    _flush(sys.stdout)
    with suppress(OSError):
        os.dup2(2, 1)
