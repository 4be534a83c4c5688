"""The suite for sources."""

from __future__ import annotations

import numpy as np

from geom.errors import InputError
from geom.model.readout import Readout
from geom.testing.asked import Asked


def loads_a_readout(asked: Asked) -> None:
    """What it loads is a Readout: numbers in float64, as many texts as tokens where it has them."""
    readout = _loaded(asked)
    assert isinstance(readout, Readout), f"{asked} loads {readout!r}, no Readout"
    assert readout.W.dtype == readout.b.dtype == np.float64, f"{asked}: W and b are not float64"
    if readout.tokens is not None:
        assert len(readout.tokens) == readout.V, f"{asked}: {len(readout.tokens)} texts"


def loads_the_same_twice(asked: Asked) -> None:
    """The digest of what it loads does not change from one time to the next."""
    first, second = (_loaded(asked).digest for _ in range(2))
    assert first == second, f"{asked} loads other numbers the second time"


def refuses_what_is_not_there(asked: Asked) -> None:
    """A location that leads nowhere is an InputError that names it."""
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
