"""``local``: batches of tokens in several processes on this machine.

Each worker is a process of its own, begun afresh (nothing is forked, for threads do not survive
that), with a pipe of its own. So it is known which item a worker has when it dies, only that item
is done again, and the others work on. A result is sent value by value, as the worker has it; those
that came before a worker died come again. What is to be done is pickled once and sent to each
worker as it starts; items follow one ahead of what is in hand. A worker whose pipe closes ends at
once, in the middle of whatever it does: no worker outlives the process that asked for it.

No library keeps this: `concurrent.futures` gives all work up when one worker dies; pebble 5.2, of
2,700 lines, knows the item, but hands on nothing before it is done, and the function with each;
under both, the worker of a killed process works on, in a trial all 12 seconds that its item took.
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
"""Workers that an item may take with it before it is given up, and that may fail to begin."""

_READY, _VALUE, _DONE = "ready", "value", "done"
_RAISED, _UNREADABLE = "raised", "unreadable"


@dataclass(frozen=True)
class LocalOptions:
    """How many, and how wide."""

    workers: Annotated[int, Meta(ge=0, description="processes; 0 is one a core")] = 0
    threads: Annotated[
        int, Meta(ge=0, description="threads of linear algebra a process; 0 shares out the cores")
    ] = 0


def run(
    function: Callable[[Any], Any], items: Sequence[Any], options: LocalOptions
) -> Iterator[Any]:
    """The values of the results, each in a list of its own, as a worker has it.

    Raises what the function raises, and PluginError for an item whose workers die each time, for
    workers that cannot begin, and for what cannot be sent.
    """
    if not items:
        return
    count = min(workers(options), len(items))
    threads = options.threads or max(1, cores() // count)
    crew = _Crew(_packed(function, "what it is to do"), items, threads)
    try:
        yield from crew.results(count)
    finally:
        crew.dismiss()


def workers(options: LocalOptions) -> int:
    """How many items are in work at once."""
    return options.workers or cores()


@dataclass(eq=False)
class _Worker:
    """A process, this end of its pipe, and the places of the items that it has, oldest first."""

    process: BaseProcess
    pipe: Connection
    ready: bool = False
    has: deque[int] = field(default_factory=deque)


class _Crew:
    """The workers of one call, and the items that are still to be done."""

    def __init__(self, work: bytes, items: Sequence[Any], threads: int) -> None:
        self._work, self._items, self._threads = work, items, threads
        self._waiting = deque(range(len(items)))
        self._left = len(items)
        self._workers: list[_Worker] = []
        self._deaths = Counter[int]()
        self._failures = 0

    def results(self, count: int) -> Iterator[Any]:
        """The values, from so many workers."""
        while self._left:
            in_hand = sum(len(worker.has) for worker in self._workers)
            while len(self._workers) < min(count, len(self._waiting) + in_hand):
                self._workers.append(self._begin())
            heard = connection.wait([worker.pipe for worker in self._workers])
            for worker in [worker for worker in self._workers if worker.pipe in heard]:
                yield from self._hear(worker)

    def dismiss(self) -> None:
        """End every worker, whatever it does."""
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
        """What the worker says: one value, or none. One that is done is given new items."""
        try:
            kind, place, value = pickle.loads(worker.pipe.recv_bytes())
        except (EOFError, OSError):
            self._bury(worker)
            return []
        if kind == _UNREADABLE:
            raise PluginError(f"executor local: a worker cannot read what it is to do: {value}")
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
        """An item to work on, and one more while there are enough for all."""
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
        """Take back the items of a worker that died; the one it worked on has a death more."""
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
                    f"{how}; a script that uses it must guard its own work by "
                    "if __name__ == '__main__'"
                )
        self._waiting.extendleft(reversed(worker.has))


def _end(process: BaseProcess, patience: float) -> None:
    """Wait for a process whose pipe is closed, and kill it where some library holds it up."""
    process.join(patience)
    if process.is_alive():
        process.kill()
        process.join()


def _packed(value: object, what: str) -> bytes:
    """The value, pickled. Raises PluginError where that cannot be done."""
    try:
        return bytes(ForkingPickler.dumps(value))
    except Exception as error:  # pickling runs anybody's code
        reason = " ".join(str(error).split())
        raise PluginError(
            f"executor local cannot send {what} to another process: {reason}; use executor serial"
        ) from error


def _name(item: object) -> str:
    return f"item {reprlib.repr(item)}"


def _ending(code: int | None) -> str:
    """How a process ended, in words."""
    if code is None or code >= 0:
        return f"with exit code {code}"
    try:
        return f"by {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """Ctrl-C waits until the block ends, and never reaches a process that is begun within it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # it would unblock SIGINT if it were begun within the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, work: bytes, threads: int) -> None:
    """A worker's life: read what is to be done, then one item after another."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that began this one
    if isinstance(sys.stdout, TextIOWrapper):  # what is printed is not lost when the process ends
        sys.stdout.reconfigure(line_buffering=True)
    inbox = queue.SimpleQueue[bytes]()
    threading.Thread(target=_listen, args=(pipe, inbox), daemon=True).start()
    # for libraries that come later; what the user has set stands, and SciPy's pool is one thread
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        function = pickle.loads(work)
    except BaseException as error:  # it runs anybody's imports
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
            except BaseException as error:  # the function is anybody's
                _say(pipe, _RAISED, place, _portable(error))


def _listen(pipe: Connection, inbox: queue.SimpleQueue[bytes]) -> None:
    """Take in messages, whatever the worker does, and end the process when none can come."""
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
    """The error, or one that says the same where it cannot be sent; with the worker's traceback.

    One that would end the process that asked, as SystemExit does, is not sent: a worker sees no
    Ctrl-C, so KeyboardInterrupt is one of them only if the function raises it.
    """
    error.add_note("".join(traceback.format_exception(error)))
    if not isinstance(error, Exception | KeyboardInterrupt):
        return RuntimeError(f"{type(error).__name__}: {error}")
    try:
        pickle.loads(ForkingPickler.dumps(error))
    except Exception:  # pickling runs anybody's code
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
