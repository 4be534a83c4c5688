"""Names the plugin at work while nothing advances: it may never end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

from geom.cli.display.stages import Stages, clock
from geom.plugins.at_work import AtWork

QUIET = 15.0
"""The seconds without progress after which a plugin is named for the first time."""

_TICK = 1.0
"""The seconds between two looks."""


class Lookout:
    """Says which plugin is at work while nothing advances, each time after twice as long."""

    def __init__(self, stages: Stages, at_work: AtWork, say: Callable[[str], None]) -> None:
        self._stages = stages
        self._at_work = at_work
        self._say = say
        self._patience: dict[str, float] = {}

    def look(self) -> None:
        """Name the plugin at work if nothing has advanced for long enough."""
        name, silence = self._at_work.name, self._stages.silence
        if name is None or silence < self._patience.get(name, QUIET):
            return
        self._patience[name] = 2 * silence
        self._say(f"{name} is at work, and nothing has advanced for {clock(silence)}")


@contextmanager
def looking(lookout: Lookout) -> Iterator[None]:
    """Look again and again in the block, in a thread of its own."""
    over = Event()

    def look() -> None:
        while not over.wait(_TICK):
            lookout.look()

    thread = Thread(target=look, name="geom-lookout", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
