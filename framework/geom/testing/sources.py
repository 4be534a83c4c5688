"""The suite for sources."""

from __future__ import annotations

import numpy as np

from geom.errors import InputError
from geom.model.readout import Readout
from geom.testing.asked import Asked


def loads_a_readout(asked: Asked) -> None:
    """Check that it loads a Readout in float64, with as many texts as tokens if it has texts."""
    readout = _loaded(asked)
    assert isinstance(readout, Readout), f"{asked} loads {readout!r}, not a Readout"
    rows = readout.rows[:1]
    assert rows.dtype == readout.b.dtype == np.float64, f"{asked}: rows and b are not float64"
    if readout.tokens is not None:
        assert len(readout.tokens) == readout.V, f"{asked}: {len(readout.tokens)} texts"


def loads_the_same_twice(asked: Asked) -> None:
    """Check that it loads the same digest both times."""
    first, second = (_loaded(asked).digest for _ in range(2))
    assert first == second, f"{asked} loads other numbers the second time"


def refuses_what_is_not_there(asked: Asked) -> None:
    """Check that a location that leads nowhere raises an InputError that names it."""
    nowhere = "no/such/place.nowhere"
    try:
        asked.record.load(nowhere, asked.options)
    except InputError as error:
        message = str(error)
    else:
        raise AssertionError(f"{asked} loads {nowhere}, which is not there")
    assert nowhere in message, f"{asked}: its error does not name {nowhere}"


def _loaded(asked: Asked) -> Readout:
    found: Readout = asked.record.load(asked.location, asked.options)
    return found


SUITE = (loads_a_readout, loads_the_same_twice, refuses_what_is_not_there)
