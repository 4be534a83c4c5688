"""``local``: batches of tokens in several processes on this machine.

Each worker is a separate process, spawned rather than forked (threads do not survive a fork), with
its own pipe. So it is known which item a worker has when it dies; only that item is done again, and
the other workers continue. A result is sent value by value, as soon as the worker has each; values
that arrived before a worker died arrive again. The work function is pickled once and sent to each
worker as it starts; each worker is sent one item ahead of the one it works on. A worker whose pipe
closes ends at once, even in the middle of an item: no worker outlives the process that started it.

No library does this: `concurrent.futures` abandons all work when one worker dies; pebble 5.2, of
2,700 lines, knows the item, but passes on no value before the item is done, and sends the function
with each; with both, the worker of a killed process continues, in a trial for all 12 seconds that
its item took.
"""

from __future__ import annotations

import os
import pickle
import queue
import reprlib
import signal
import sys
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import TextIOWrapper
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from typing import Annotated, Any

from msgspec import Meta

from geom import Executor, PluginError, cores, hookimpl, limited_threads

TRIES = 3
"""The workers that an item may kill before the run gives up, and that may fail to start."""

_READY, _VALUE, _DONE = "ready", "value", "done"
_RAISED, _UNREADABLE = "raised", "unreadable"


@dataclass(frozen=True)
class LocalOptions:
    """How many processes to use, with how many threads."""

    workers: Annotated[int, Meta(ge=0, description="processes; 0 means one per core")] = 0
    threads: Annotated[
        int, Meta(ge=0, description="linear-algebra threads per process; 0 divides the cores")
    ] = 0


def run(
    function: Callable[[Any], Any], items: Sequence[Any], options: LocalOptions
) -> Iterator[Any]:
    """Yield the values of the results, each in its own list, as soon as a worker has it.

    Raises whatever the function raises, and PluginError for an item whose workers die each time,
    for workers that cannot start, and for objects that cannot be sent.
    """
    if not items:
        return
    count = min(workers(options), len(items))
    threads = options.threads or max(1, cores() // count)
    crew = _Crew(_packed(function, "the work function"), items, threads)
    try:
        yield from crew.results(count)
    finally:
        crew.dismiss()


def workers(options: LocalOptions) -> int:
    """Return how many items are in progress at once."""
    return options.workers or cores()


@dataclass(eq=False)
class _Worker:
    """A process, this end of its pipe, and the indices of the items it has, oldest first."""

    process: BaseProcess
    pipe: Connection
    ready: bool = False
    has: deque[int] = field(default_factory=deque)


class _Crew:
    """The workers of one call, and the items that remain to be done."""

    def __init__(self, work: bytes, items: Sequence[Any], threads: int) -> None:
        self._work, self._items, self._threads = work, items, threads
        self._waiting = deque(range(len(items)))
        self._left = len(items)
        self._workers: list[_Worker] = []
        self._deaths = Counter[int]()
        self._failures = 0

    def results(self, count: int) -> Iterator[Any]:
        """Yield the values, from ``count`` workers."""
        while self._left:
            in_hand = sum(len(worker.has) for worker in self._workers)
            while len(self._workers) < min(count, len(self._waiting) + in_hand):
                self._workers.append(self._begin())
            heard = connection.wait([worker.pipe for worker in self._workers])
            for worker in [worker for worker in self._workers if worker.pipe in heard]:
                yield from self._hear(worker)

    def dismiss(self) -> None:
        """End every worker, even in the middle of an item."""
        for worker in self._workers:
            worker.pipe.close()
            if not worker.ready:  # it does not listen yet
                worker.process.kill()
        for worker in self._workers:
            _end(worker.process, 1.0)
        self._workers.clear()

    def _begin(self) -> _Worker:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_serve, args=(theirs, self._work, self._threads), name="geom", daemon=True
        )
        try:
            with _no_interrupts():
                process.start()
        except OSError as error:
            raise PluginError(
                f"executor local cannot start a process ({error.strerror}): give it fewer, as in "
                "-o executor.local.workers=1"
            ) from error
        finally:
            theirs.close()
        return _Worker(process, ours)

    def _hear(self, worker: _Worker) -> list[list[Any]]:
        """Read a worker's message, which holds one value or none; give it items if it is done."""
        try:
            kind, place, value = pickle.loads(worker.pipe.recv_bytes())
        except (EOFError, OSError):
            self._bury(worker)
            return []
        if kind == _UNREADABLE:
            raise PluginError(f"executor local: a worker cannot read its work function: {value}")
        if kind == _RAISED:
            raise value
        worker.ready = True
        if kind == _VALUE:
            return [[value]]
        if kind == _DONE:
            worker.has.remove(place)
            self._left -= 1
        self._hand(worker)
        return []

    def _hand(self, worker: _Worker) -> None:
        """Give a worker an item, and one more while there are enough for all workers."""
        most = 2 if len(self._waiting) > len(self._workers) else 1
        while self._waiting and len(worker.has) < most:
            place = self._waiting[0]
            item = self._items[place]
            message = pickle.dumps((place, _packed(item, _name(item))))
            worker.has.append(self._waiting.popleft())
            try:
                worker.pipe.send_bytes(message)
            except OSError:  # it is dead; its pipe will say so
                return

    def _bury(self, worker: _Worker) -> None:
        """Take back the items of a worker that died, and count a death for the one in progress."""
        self._workers.remove(worker)
        worker.pipe.close()
        _end(worker.process, 5.0)
        how = _ending(worker.process.exitcode)
        if worker.has:
            place = worker.has[0]
            self._deaths[place] += 1
            if self._deaths[place] == TRIES:
                raise PluginError(
                    f"executor local: {_name(self._items[place])} ended its process {TRIES} times, "
                    f"the last {how}; if memory is short, give it fewer processes, as in "
                    "-o executor.local.workers=1"
                )
        else:
            self._failures += 1
            if self._failures == TRIES:
                raise PluginError(
                    f"executor local: {TRIES} processes ended before they did anything, the last "
                    f"{how}; in a script that uses this executor, put the script's own work under "
                    "if __name__ == '__main__'"
                )
        self._waiting.extendleft(reversed(worker.has))


def _end(process: BaseProcess, patience: float) -> None:
    """Wait for a process whose pipe is closed, and kill it if a library holds it up."""
    process.join(patience)
    if process.is_alive():
        process.kill()
        process.join()


def _packed(value: object, what: str) -> bytes:
    """Pickle the value. Raises PluginError if that fails."""
    try:
        return bytes(ForkingPickler.dumps(value))
    except Exception as error:  # pickling runs any code
        reason = " ".join(str(error).split())
        raise PluginError(
            f"executor local cannot send {what} to another process: {reason}; use executor serial"
        ) from error


def _name(item: object) -> str:
    return f"item {reprlib.repr(item)}"


def _ending(code: int | None) -> str:
    """Describe how a process ended."""
    if code is None or code >= 0:
        return f"with exit code {code}"
    try:
        return f"by {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """Hold Ctrl-C back until the block ends, and keep it from processes started within it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # started within the block, it would unblock SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, work: bytes, threads: int) -> None:
    """Run a worker: read the work function, then process one item after another."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    if isinstance(sys.stdout, TextIOWrapper):  # so that prints are not lost when the process ends
        sys.stdout.reconfigure(line_buffering=True)
    inbox = queue.SimpleQueue[bytes]()
    threading.Thread(target=_listen, args=(pipe, inbox), daemon=True).start()
    # for libraries loaded later; the user's own settings stay, and SciPy's pool gets one thread
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        function = pickle.loads(work)
    except BaseException as error:  # unpickling runs any imports
        _say(pipe, _UNREADABLE, -1, f"{type(error).__name__}: {' '.join(str(error).split())}")
        return
    with limited_threads(threads):
        _say(pipe, _READY, -1, None)
        while True:
            place, packed = pickle.loads(inbox.get())
            try:
                for value in function(pickle.loads(packed)):
                    _say(pipe, _VALUE, place, value)
                _say(pipe, _DONE, place, None)
            except BaseException as error:  # the function may raise anything
                _say(pipe, _RAISED, place, _portable(error))


def _listen(pipe: Connection, inbox: queue.SimpleQueue[bytes]) -> None:
    """Receive messages, even while the worker is busy, and end the process when the pipe closes."""
    while True:
        try:
            inbox.put(pipe.recv_bytes())
        except (EOFError, OSError):
            os._exit(1)


def _say(pipe: Connection, kind: str, place: int, value: object) -> None:
    message = ForkingPickler.dumps((kind, place, value))
    try:
        pipe.send_bytes(message)
    except OSError:  # nobody listens any more
        os._exit(1)


def _portable(error: BaseException) -> BaseException:
    """Return the error, with the worker's traceback, or one of the same text if it cannot be sent.

    An error that would end the process that receives it, such as SystemExit, is not sent as it is.
    KeyboardInterrupt is: a worker ignores Ctrl-C, so only the function can have raised it.
    """
    error.add_note("".join(traceback.format_exception(error)))
    if not isinstance(error, Exception | KeyboardInterrupt):
        return RuntimeError(f"{type(error).__name__}: {error}")
    try:
        pickle.loads(ForkingPickler.dumps(error))
    except Exception:  # pickling runs any code
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


@hookimpl
def geom_executors() -> Iterator[Executor[LocalOptions]]:
    yield Executor(
        "local",
        "in several processes on this machine",
        run,
        LocalOptions,
        workers=workers,
        processes=True,
    )
