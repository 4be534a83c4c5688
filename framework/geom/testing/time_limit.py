"""A limit on the time of a check: a plugin that never ends fails it, and its line is named."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from contextvars import copy_context
from threading import Thread
from traceback import walk_stack

from geom.errors import line_of


def within(limit: float | None, work: Callable[[], None], what: str) -> None:
    """Do the work, in a thread that is left behind once ``limit`` seconds are over.

    Raises AssertionError then, which names ``what`` and the line that the plugin is at; else
    whatever the work raises. Without a limit the work is done here.
    """
    if limit is None:
        work()
        return
    failed: list[BaseException] = []
    context = copy_context()

    def done() -> None:
        try:
            context.run(work)
        except BaseException as error:
            failed.append(error)

    thread = Thread(target=done, name=f"geom-{what}", daemon=True)
    thread.start()
    thread.join(limit)
    if thread.is_alive():
        place = _place(thread)
        _interrupt(thread)
        raise AssertionError(
            f"{what} has not ended after {limit:g} seconds{place}; limit=SECONDS gives it longer"
        )
    if failed:
        raise failed[0]


def _place(thread: Thread) -> str:
    """Return the line of a plugin's code that a thread is at, in words."""
    frame = sys._current_frames().get(thread.ident or 0)
    place = line_of(reversed(list(walk_stack(frame)))) if frame is not None else ""
    return f": it is at {place}" if place else ""


def _interrupt(thread: Thread) -> None:
    """End a thread at its next line of Python, so that it takes no time from the other checks."""
    ident = ctypes.c_ulong(thread.ident or 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(KeyboardInterrupt))
