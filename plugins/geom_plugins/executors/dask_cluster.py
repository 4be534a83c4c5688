"""``dask``: batches of tokens on the workers of a Dask cluster, or of one begun on this machine.

What is to be done, the readout in it, is sent to each worker once (scattered), a batch of tokens as
a task; the scheduler's memory manager, which would drop copies that idle for a moment, is stopped
meanwhile. The scheduler gives the tasks of a worker that dies to others; where the last copy of the
readout was lost with it, it is sent again. Each value of a result comes by way of the scheduler as
soon as a worker has it (`distributed.Worker.log_event`), and what was not heard of when the task is
done comes with the task; an item that is begun again brings its values again. A batch that takes
several workers with it is named, and ends the run, as a scheduler that dies does; what is stored is
kept.

Dask sends pickles between the machines of a cluster, as it always does: let only a scheduler that
you trust have your work, and none listen where strangers can reach it. The workers need geom and
the plugins of the run, in the same versions.
"""

from __future__ import annotations

import logging
import pickle
import reprlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Annotated, Any
from uuid import uuid4

from msgspec import Meta

from geom import Executor, InputError, PluginError, cores, hookimpl

TRIES = 3
"""Workers that a batch may take with it, and times that all may die in a row, before it ends."""

AHEAD = 4
"""Tasks for each worker that the scheduler knows of at a time."""

TOPIC = "geom-values"
"""What workers tell of values under; one name for all, as the scheduler keeps the last of each."""

_LOST = "executor dask lost its scheduler; what is stored is kept"

LISTEN = 0.1
"""Seconds after which values that came are passed on, though no task is done."""

MANY = 32
"""Workers that work is cut for, where nobody says how many a scheduler has."""


@dataclass(frozen=True)
class DaskOptions:
    """Which cluster, and how large."""

    scheduler: Annotated[
        str, Meta(description="its address, as tcp://host:8786; empty begins a cluster here")
    ] = ""
    workers: Annotated[
        int, Meta(ge=0, description="processes to begin here, one a core for 0; or to cut work for")
    ] = 0
    wait: Annotated[
        float, Meta(gt=0, description="seconds to wait for the scheduler and a first worker")
    ] = 60.0


def workers(options: DaskOptions) -> int:
    """How many items are in work at once."""
    return options.workers or (MANY if options.scheduler else cores())


def run(
    function: Callable[[Any], Any], items: Sequence[Any], options: DaskOptions
) -> Iterator[Any]:
    """The values of the results as they come, in lists.

    Raises InputError where distributed is not installed, where no scheduler answers or no worker
    comes, what the function raises, and PluginError for an item whose workers die each time and for
    a scheduler that is lost.
    """
    if not items:
        return
    with _client(options) as client, _copies_kept(client):
        yield from _Work(client, function, items).results()


class _Work:
    """The items of one call that are still to be done, and those that the scheduler has."""

    def __init__(self, client: Any, function: Callable[[Any], Any], items: Sequence[Any]) -> None:
        self._client, self._function, self._items = client, function, items
        self._waiting = deque(range(len(items)))
        self._sent: dict[Any, int] = {}
        self._losses = 0
        self._work: Any = None
        self._name = uuid4().hex
        self._heard = SimpleQueue[tuple[str, str, bytes]]()
        self._counts = Counter[str]()
        self._ended = set[str]()

    def results(self) -> Iterator[Any]:
        """The values."""
        from distributed import wait
        from distributed.client import FuturesCancelledError
        from distributed.comm.core import CommClosedError

        self._client.subscribe_topic(TOPIC, lambda event: self._heard.put(event[1]))
        try:
            while self._waiting or self._sent:
                self._send()
                with suppress(FuturesCancelledError, TimeoutError):
                    wait(list(self._sent), timeout=LISTEN, return_when="FIRST_COMPLETED")
                done = [future for future in self._sent if future.status != "pending"]
                yield from self._values()
                for future in done:
                    values = self._result(future, self._sent[future])
                    if values is not None:
                        del self._sent[future]
                        yield values
                lost = [self._sent.pop(future) for future in done if future in self._sent]
                if lost:
                    self._again(lost)
        except CommClosedError as error:
            raise PluginError(_LOST) from error
        finally:
            if self._client.status == "running":
                self._client.cancel(list(self._sent))
                self._client.unsubscribe_topic(TOPIC)

    def _values(self) -> Iterator[list[Any]]:
        """What workers have told of meanwhile. Each attempt at an item counts its own values."""
        while not self._heard.empty():
            name, attempt, packed = self._heard.get()
            if name == self._name and attempt not in self._ended:
                self._counts[attempt] += 1
                yield [pickle.loads(packed)]

    def _send(self) -> None:
        """Give the scheduler as many tasks as its workers can begin soon."""
        if self._work is None:
            # a key of its own: by its hash, a copy that was lost would be taken for one at hand
            self._work = self._client.scatter(self._function, broadcast=True, hash=False)
        most = AHEAD * max(1, len(self._client.scheduler_info(n_workers=-1)["workers"]))
        while self._waiting and len(self._sent) < most:
            place = self._waiting.popleft()
            item = self._items[place]
            future = self._client.submit(_applied, self._work, item, self._name, pure=False)
            self._sent[future] = place

    def _result(self, future: Any, place: int) -> list[Any] | None:
        """What was not heard of yet; None where it went with the worker that had it."""
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        try:
            attempt, values = future.result()
        except FutureCancelledError:
            return None
        except KilledWorker as error:
            raise PluginError(
                f"executor dask: {_name(self._items[place])} took several workers with it; "
                "if memory is short, give them more"
            ) from error
        self._losses = 0
        self._ended.add(attempt)  # what it tells from now on is known
        new: list[Any] = values[self._counts.pop(attempt, 0) :]
        return new

    def _again(self, places: Sequence[int]) -> None:
        """Take back items whose tasks are gone: with the readout's last copy, or with all else."""
        if self._client.status != "running":
            raise PluginError(_LOST)
        self._losses += 1
        if self._losses == TRIES:
            raise PluginError(
                f"executor dask: all workers died {TRIES} times in a row, at last with "
                f"{_name(self._items[places[0]])}; if memory is short, give them more"
            )
        self._work = None
        self._waiting.extendleft(reversed(places))


def _applied(function: Callable[[Any], Any], item: Any, name: str) -> tuple[str, list[Any]]:
    """What a worker does: tell of each value, and return all, with what it told them under."""
    from distributed import get_worker

    worker, attempt = get_worker(), uuid4().hex
    values = []
    for value in function(item):
        worker.log_event(TOPIC, (name, attempt, pickle.dumps(value)))
        values.append(value)
    return attempt, values


@contextmanager
def _client(options: DaskOptions) -> Iterator[Any]:
    """A client of the scheduler, or of a cluster that lives as long as the block."""
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise InputError(
            "executor dask needs distributed: python -m pip install 'geom-unembed[dask]'"
        ) from error
    quiet = {
        "distributed.scheduler.allowed-failures": TRIES - 1,
        "distributed.comm.timeouts.connect": f"{options.wait}s",
        "distributed.worker.daemon": True,
    }
    with dask.config.set(quiet), _silence():
        if not options.scheduler:
            with (
                LocalCluster(
                    n_workers=workers(options),
                    threads_per_worker=1,
                    dashboard_address="127.0.0.1:0",
                    silence_logs=logging.CRITICAL,
                ) as cluster,
                Client(cluster) as client,
            ):
                yield client
            return
        try:
            client = Client(options.scheduler, timeout=options.wait)
        except (OSError, ValueError, TimeoutError) as error:
            raise InputError(
                f"executor dask: no scheduler answers at {options.scheduler!r}: begin one with "
                "dask scheduler, and name it as in -o executor.dask.scheduler=tcp://host:8786"
            ) from error
        with client:
            try:
                client.wait_for_workers(1, timeout=options.wait)
            except TimeoutError as error:
                raise InputError(
                    f"executor dask: the scheduler at {options.scheduler} has no worker; begin "
                    f"some with dask worker {options.scheduler}"
                ) from error
            yield client


@contextmanager
def _copies_kept(client: Any) -> Iterator[None]:
    """Keep the scheduler from dropping the copies of the readout, which it would send again."""
    managed = client.amm.running()
    if managed:
        client.amm.stop()
    try:
        yield
    finally:
        if managed and client.status == "running":
            client.amm.start()


@contextmanager
def _silence() -> Iterator[None]:
    """What Dask logs of workers that come and go is not for the user of a run."""
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _name(item: object) -> str:
    return f"item {reprlib.repr(item)}"


@hookimpl
def geom_executors() -> Iterator[Executor[DaskOptions]]:
    yield Executor("dask", "on the workers of a Dask cluster", run, DaskOptions, workers=workers)
