"""A limit on the time of a check: a plugin that never ends fails it, and its line is named."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from contextvars import copy_context
from threading import Thread
from traceback import walk_stack

from geom.errors import line_of


class TimeLimit:
    """A limit in seconds on each check of a suite, or None; the first to reach it is the last."""

    def __init__(self, limit: float | None) -> None:
        self._limit = limit
        self._late: str | None = None

    def within(self, work: Callable[[], None], what: str) -> None:
        """Do the work, in a thread that is left behind once the limit is over.

        Raises AssertionError then, which names ``what`` and the function and line that the plugin
        is at, and the same at once for all further work. Else raises whatever the work raises; a
        KeyboardInterrupt says the same of the plugin. Without a limit the work is done here.
        """
        if self._limit is None:
            work()
            return
        if self._late is not None:
            raise AssertionError(f"{what} was not tried, as {self._late}")
        failed: list[BaseException] = []
        context = copy_context()

        def done() -> None:
            try:
                context.run(work)
            except BaseException as error:
                failed.append(error)

        thread = Thread(target=done, name=f"geom-{what}", daemon=True)
        try:
            thread.start()
            thread.join(self._limit)
        except KeyboardInterrupt:
            place = _place(thread)
            _interrupt(thread)
            raise KeyboardInterrupt(f"{what} was interrupted{place}") from None
        if thread.is_alive():
            self._late = f"{what} has not ended after {self._limit:g} seconds{_place(thread)}"
            _interrupt(thread)
            raise AssertionError(f"{self._late}; limit=SECONDS gives it longer")
        if failed:
            raise failed[0]


def _place(thread: Thread) -> str:
    """Return the function and the line of a plugin's code that a thread is at, in words."""
    frame = sys._current_frames().get(thread.ident or 0)
    frames = list(walk_stack(frame)) if frame is not None else []
    place = line_of(reversed(frames))
    for at in frames:
        if place and line_of([at]) == place:
            return f": it is in {at[0].f_code.co_name} ({place})"
    return ""


def _interrupt(thread: Thread) -> None:
    """End a thread at its next line of Python, so that it takes no time from the other checks."""
    ident = ctypes.c_ulong(thread.ident or 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(KeyboardInterrupt))
