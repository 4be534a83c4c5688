"""The suite for reporters."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

from geom.model.readout import Readout
from geom.runs.pipeline import run
from geom.store import Run
from geom.testing.asked import Asked
from geom.testing.known import known_problems

HOSTILE = (
    "plain",
    "<script>alert(1)</script>",
    "a\tb\nc",
    "\x00",
    '"quoted", twice',
    "=1+1",
    "\u202e",
)
"""Texts of tokens that are harmful or look harmful."""


def writes_a_run(asked: Asked) -> None:
    """Check that a run with both verdicts and proofs becomes bytes, in UTF-8 if it is text."""
    with _made() as made:
        written = _written(asked, made)
    assert written, f"{asked} writes nothing"
    if asked.record.text:
        written.decode("utf-8")


def writes_a_run_without_verdicts(asked: Asked) -> None:
    """Check that a run without certifiers is not an error."""
    with run(known_problems()[0].readout, tokens="0", certifiers=[]) as nothing:
        _written(asked, nothing)


def writes_the_texts_of_strangers(asked: Asked) -> None:
    """Check that tokens may contain quotes, tags, control characters and marks."""
    readout = known_problems()[0].readout
    texts = [HOSTILE[token % len(HOSTILE)] + str(token) for token in range(readout.V)]
    with run(Readout.fold(readout.rows[:], tokens=texts), tokens="all") as made:
        written = _written(asked, made)
    if asked.record.text:
        written.decode("utf-8")


def leaves_the_run_as_it_was(asked: Asked) -> None:
    """Check that writing a report changes no row."""
    with _made() as made:
        before = [row.as_dict() for row in made.rows()]
        _written(asked, made)
        assert [row.as_dict() for row in made.rows()] == before, f"{asked} changes the run"


@contextmanager
def _made() -> Iterator[Run]:
    with run(known_problems()[0].readout, tokens="all") as made:
        yield made


def _written(asked: Asked, made: Run) -> bytes:
    file = io.BytesIO()
    asked.record.write(made, file, asked.options)
    return file.getvalue()


SUITE = (
    writes_a_run,
    writes_a_run_without_verdicts,
    writes_the_texts_of_strangers,
    leaves_the_run_as_it_was,
)
