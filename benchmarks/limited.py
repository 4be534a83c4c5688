"""Work in a separate process, which is ended if it takes too long."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Ended:
    """A command that has ended: its exit code, what it took, and what it printed.

    ``wall`` is by the clock and ``cpu`` of all cores, in seconds; ``peak`` is the most memory that
    it, or a process that it waited for, had at once, in GiB.
    """

    code: int
    wall: float
    cpu: float
    peak: float
    out: str
    err: str


def limited(work: Callable[[], T], limit: float) -> T | None:
    """Return the answer of ``work``, or None if it takes longer than ``limit`` seconds.

    A fork shares the weights with this process. Raises RuntimeError if the work fails.
    """
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)

    def child(end: Connection) -> None:
        end.send(work())
        end.close()
        os._exit(0)

    process = context.Process(target=child, args=(there,))
    process.start()
    there.close()  # so that the end of the process is noticed
    try:
        answer: T | None = here.recv() if here.poll(limit) else None
        return answer
    except EOFError:
        raise RuntimeError("the work failed; its process has printed why") from None
    finally:
        process.kill()
        process.join()


def command(words: Sequence[str], limit: float) -> Ended | None:
    """Run a command, and return how it ended, or None if it takes longer than ``limit`` seconds.

    Its peak is never less than what this process has: keep this process small.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        started = time.perf_counter()
        process = subprocess.Popen(words, stdout=out, stderr=err, start_new_session=True)
        timer = threading.Timer(limit, os.killpg, (process.pid, signal.SIGKILL))
        timer.start()
        try:
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            timer.cancel()
            if process.returncode is None:  # interrupted
                os.killpg(process.pid, signal.SIGKILL)
        wall = time.perf_counter() - started
        if process.returncode == -signal.SIGKILL and wall >= limit:
            return None
        texts = [file.read() for file in (out, err) if file.seek(0) == 0]
        cpu, peak = used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20
        return Ended(process.returncode, wall, cpu, peak, *texts)
