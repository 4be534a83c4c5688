"""``dask``: batches of tokens on the workers of a Dask cluster, remote or started on this machine.

The work function, with the readout in it, is sent to each worker once (scattered), and a batch of
tokens as a task; meanwhile the scheduler's memory manager, which would drop copies that are briefly
idle, is stopped. The scheduler gives the tasks of a worker that dies to others; if the last copy of
the readout died with it, the readout is sent again. Each value of a result arrives through the
scheduler as soon as a worker has it (`distributed.Worker.log_event`); values that have not arrived
when the task is done come with the task. An item that is restarted sends its values again. A batch
that kills several workers is named and ends the run, and so does a scheduler that dies; results
already stored are kept.

Dask always sends pickles between the machines of a cluster: give your work only to a scheduler that
you trust, and let none listen where strangers can reach it. The workers need geom and the plugins
of the run, in the same versions.
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

from geom import Executor, InputError, PluginError, cores, hookimpl, install_command

TRIES = 3
"""The workers that a batch may kill, and how often in a row all may die, before the run ends."""

AHEAD = 4
"""The tasks per worker that the scheduler has at a time."""

TOPIC = "geom-values"
"""The topic of workers' values; one for all runs, since the scheduler keeps each topic's events."""

_LOST = "executor dask lost its scheduler; what is stored is kept"

LISTEN = 0.1
"""The seconds after which values that arrived are passed on even if no task is done."""

MANY = 32
"""The workers to divide the work for if the options do not say how many a scheduler has."""


@dataclass(frozen=True)
class DaskOptions:
    """Which cluster to use, and how large."""

    scheduler: Annotated[
        str, Meta(description="its address, such as tcp://host:8786; empty starts a local cluster")
    ] = ""
    workers: Annotated[
        int,
        Meta(ge=0, description="local processes (0: one per core), or workers to divide work for"),
    ] = 0
    wait: Annotated[
        float, Meta(gt=0, description="seconds to wait for the scheduler and a first worker")
    ] = 60.0


def workers(options: DaskOptions) -> int:
    """Return how many items are in progress at once."""
    return options.workers or (MANY if options.scheduler else cores())


def run(
    function: Callable[[Any], Any], items: Sequence[Any], options: DaskOptions
) -> Iterator[Any]:
    """Yield the values of the results as they arrive, in lists.

    Raises InputError if distributed is not installed, if no scheduler answers or if no worker
    joins, whatever the function raises, and PluginError for an item whose workers die each time and
    for a scheduler that is lost.
    """
    if not items:
        return
    with _client(options) as client, _copies_kept(client):
        yield from _Work(client, function, items).results()


class _Work:
    """The items of one call that remain to be done, and those that the scheduler has."""

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
        """Yield the values."""
        from distributed import wait
        from distributed.client import FuturesCancelledError
        from distributed.comm.core import CommClosedError

        self._client.subscribe_topic(TOPIC, lambda event: self._heard.put(event[1]))
        try:
            while self._waiting or self._sent:
                try:
                    self._send()
                    with suppress(FuturesCancelledError, TimeoutError):
                        wait(list(self._sent), timeout=LISTEN, return_when="FIRST_COMPLETED")
                except OSError as error:  # such as a new connection that times out
                    raise PluginError(_LOST) from error
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
                with suppress(OSError):  # the scheduler may be gone before the client knows
                    self._client.cancel(list(self._sent))
                    self._client.unsubscribe_topic(TOPIC)

    def _values(self) -> Iterator[list[Any]]:
        """Yield the values that have arrived. Each attempt at an item counts its own values."""
        while not self._heard.empty():
            name, attempt, packed = self._heard.get()
            if name == self._name and attempt not in self._ended:
                self._counts[attempt] += 1
                yield [pickle.loads(packed)]

    def _send(self) -> None:
        """Give the scheduler as many tasks as its workers can start soon."""
        if self._work is None:
            # a fresh key: under its hash, a copy that was lost would be taken for available
            self._work = self._client.scatter(self._function, broadcast=True, hash=False)
        most = AHEAD * max(1, len(self._client.scheduler_info(n_workers=-1)["workers"]))
        while self._waiting and len(self._sent) < most:
            place = self._waiting.popleft()
            item = self._items[place]
            future = self._client.submit(_applied, self._work, item, self._name, pure=False)
            self._sent[future] = place

    def _result(self, future: Any, place: int) -> list[Any] | None:
        """Return the values that have not arrived yet, or None if they died with their worker."""
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        try:
            attempt, values = future.result()
        except FutureCancelledError:
            return None
        except KilledWorker as error:
            raise PluginError(
                f"executor dask: {_name(self._items[place])} killed several workers; "
                "if memory is short, give them more"
            ) from error
        self._losses = 0
        self._ended.add(attempt)  # values that it sends from now on are known
        new: list[Any] = values[self._counts.pop(attempt, 0) :]
        return new

    def _again(self, places: Sequence[int]) -> None:
        """Take back items whose tasks are lost, with the readout's last copy or with everything."""
        if self._client.status != "running":
            raise PluginError(_LOST)
        self._losses += 1
        if self._losses == TRIES:
            raise PluginError(
                f"executor dask: all workers died {TRIES} times in a row, the last time with "
                f"{_name(self._items[places[0]])}; if memory is short, give them more"
            )
        self._work = None
        self._waiting.extendleft(reversed(places))


def _applied(function: Callable[[Any], Any], item: Any, name: str) -> tuple[str, list[Any]]:
    """Send each value from a worker, and return the attempt's name and all of its values."""
    from distributed import get_worker

    worker, attempt = get_worker(), uuid4().hex
    values = []
    for value in function(item):
        worker.log_event(TOPIC, (name, attempt, pickle.dumps(value)))
        values.append(value)
    return attempt, values


@contextmanager
def _client(options: DaskOptions) -> Iterator[Any]:
    """Connect a client to the scheduler, or to a cluster that lives as long as the block."""
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise InputError(f"executor dask needs distributed: {install_command('dask')}") from error
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
                f"executor dask: no scheduler answers at {options.scheduler!r}: start one with "
                "dask scheduler, and give its address as in "
                "-o executor.dask.scheduler=tcp://host:8786"
            ) from error
        with client:
            try:
                client.wait_for_workers(1, timeout=options.wait)
            except TimeoutError as error:
                raise InputError(
                    f"executor dask: the scheduler at {options.scheduler} has no worker; start "
                    f"one with dask worker {options.scheduler}"
                ) from error
            yield client


@contextmanager
def _copies_kept(client: Any) -> Iterator[None]:
    """Keep the scheduler from dropping copies of the readout, which it would have to send again."""
    managed = client.amm.running()
    if managed:
        client.amm.stop()
    try:
        yield
    finally:
        if managed and client.status == "running":
            with suppress(OSError):  # as above
                client.amm.start()


@contextmanager
def _silence() -> Iterator[None]:
    """Hide Dask's log of workers that come and go, which is not for the user of a run."""
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
