"""Damaged files for every reader: each is read, or refused in one line, and within seconds.

    python -m campaigns.readers --cases 33000 --seed 1

The files, the readers and the kinds of damage are those of ``tests/support/fuzzing.py``; each file
is damaged one to three times.
"""

from __future__ import annotations

import signal
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType

import numpy as np

from campaigns.campaign import Case, main
from campaigns.hostile import raised
from support.fuzzing import DAMAGES, TARGETS, Target, feed, files

SECONDS = 30
"""The limit for reading a damaged file."""


def draw(rng: np.random.Generator, number: int) -> Case:
    """Draw a damaged file, and check that its reader either reads or refuses it."""
    target = TARGETS[number % len(TARGETS)]
    beside, data = sound(target)
    for _ in range(int(rng.integers(1, 4))):
        if data:
            data = DAMAGES[int(rng.integers(len(DAMAGES)))](rng, data)
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("error")
        for path, content in beside:
            (Path(name) / path).write_bytes(content)
        try:
            with limited():
                read = feed(target, Path(name), data)
        except Exception as error:
            return Case(f"{target.name}: raised", raised(error))
    return Case(f"{target.name}: {'read' if read else 'refused'}")


@cache
def sound(target: Target) -> tuple[list[tuple[str, bytes]], bytes]:
    """Return the other files that a target needs, and its sound file."""
    with files(target) as (folder, data):
        beside = [path for path in folder.iterdir() if path.is_file()]
        return [(path.name, path.read_bytes()) for path in beside], data


@contextmanager
def limited() -> Iterator[None]:
    """Raise TimeoutError within the block if it takes too long."""

    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"it takes more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


if __name__ == "__main__":
    main("readers", draw, cases=33_000)
