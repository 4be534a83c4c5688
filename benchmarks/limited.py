"""Work in a separate process, which is ended if it takes too long."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TypeVar

T = TypeVar("T")


def limited(work: Callable[[], T], limit: float) -> T | None:
    """Return the answer of ``work``, or None if it takes longer than ``limit`` seconds.

    A fork shares the weights with this process.
    """
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)

    def child(end: Connection) -> None:
        end.send(work())
        end.close()
        os._exit(0)

    process = context.Process(target=child, args=(there,))
    process.start()
    try:
        answer: T | None = here.recv() if here.poll(limit) else None
        return answer
    finally:
        process.kill()
        process.join()
