"""Standard output, kept for a command's results, even if plugins and libraries print.

While a command works, file descriptor 1 and `sys.stdout` lead to standard error: a plugin's
``print``, a C library's banner and the output of an executor's processes end there. The command
itself prints through `out`, which still leads to standard output.
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
    """Return the stream for results."""
    return _kept.get() or sys.stdout


def print_line(text: object) -> None:
    """Print a line of results."""
    typer.echo(text, file=out())


def print_text(text: str) -> None:
    """Print text of results as it is."""
    typer.echo(text, file=out(), nl=False)


@contextmanager
def replaced(stream: TextIO) -> Iterator[None]:
    """Let results go to another stream within the block."""
    token = _kept.set(stream)
    try:
        yield
    finally:
        _kept.reset(token)


@contextmanager
def reserved() -> Iterator[None]:
    """Let only writes to `out` reach standard output within the block."""
    before, mine = sys.stdout, _own(sys.stdout)
    token, descriptor = _kept.set(mine), _divert()
    sys.stdout = sys.stderr
    try:
        yield
        mine.flush()
    finally:
        _flush_c()
        _flush(before)  # text that bypassed `out` and is still buffered is not a result
        sys.stdout = before
        _restore(descriptor)
        _kept.reset(token)
        if mine is not before:
            with suppress(OSError, ValueError):  # a failed write was already reported
                mine.close()
        atexit.unregister(_divert_for_good)
        atexit.register(_divert_for_good)  # registered last, so it runs before any plugin's


def _own(stream: TextIO | None) -> TextIO:
    """Return the stream over a duplicate descriptor, or the stream itself if it has none."""
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    stream.flush()
    try:
        descriptor = os.dup(stream.fileno())
    except (OSError, ValueError, AttributeError):  # the stream is in memory
        return stream
    return TextIOWrapper(
        os.fdopen(descriptor, "wb"), encoding=stream.encoding, errors=stream.errors
    )


def _divert() -> int | None:
    """Let descriptor 1 lead to standard error; return a duplicate of the old one, or None."""
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
    """Write the output of Python code that the stream still buffers."""
    with suppress(OSError, ValueError, AttributeError):
        stream.flush()  # type: ignore[union-attr]  # None is an AttributeError


def _flush_c() -> None:
    """Write the output of C code that the C library may still buffer."""
    with suppress(OSError, TypeError, AttributeError):  # Windows cannot load None
        library: Any = ctypes.CDLL(None)
        library.fflush(None)


def _divert_for_good() -> None:
    """Send to standard error whatever is printed while Python exits: it is not a result."""
    _flush(sys.stdout)
    with suppress(OSError):
        os.dup2(2, 1)
