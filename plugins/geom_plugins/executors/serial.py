"""``serial``: one batch of tokens after another, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from geom import Executor, NoOptions, hookimpl


def run(function: Callable[[Any], Any], items: Sequence[Any], options: NoOptions) -> Iterator[Any]:
    """Yield the results in order, computing each when it is asked for."""
    return map(function, items)


@hookimpl
def geom_executors() -> Iterator[Executor[NoOptions]]:
    yield Executor("serial", "one token after another, in this process", run, NoOptions)
