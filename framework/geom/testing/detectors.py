"""The suite for detectors."""

from __future__ import annotations

import numpy as np

from geom.errors import InputError, several
from geom.plugins.results import Candidate, WitnessedToken
from geom.testing.asked import Asked
from geom.testing.known import Known, known_problems


def yields_valid_tokens(asked: Asked) -> None:
    """Check that candidates and witnesses name tokens of the vocabulary, none twice."""
    for known in known_problems():
        found = _found(asked, known)
        for item in found:
            assert isinstance(item, Candidate | WitnessedToken), f"{asked} yields {item!r}"
            named = [item.token]
            if isinstance(item, Candidate) and item.argmax_id is not None:
                named.append(item.argmax_id)
            for token in named:
                assert isinstance(token, int), f"{asked} names {token!r}: make it an int"
                assert 0 <= token < known.readout.V, f"{asked} names token {token} of {known}"
        tokens = [item.token for item in found]
        assert len(set(tokens)) == len(tokens), f"{asked} yields a token of {known} twice"


def yields_points_of_the_space(asked: Asked) -> None:
    """Check that the point of a witness is finite numbers in float64, as many as points have.

    They are d, or the coordinates of a hull or an ellipsoid.
    """
    for known in known_problems():
        for item in _found(asked, known):
            if isinstance(item, WitnessedToken) and item.x is not None:
                assert item.x.dtype == np.float64, f"{asked}: a point of {known} is not float64"
                shape = (known.domain.coordinates,)
                assert item.x.shape == shape, f"{asked}: a point of {known}: its shape"
                assert np.isfinite(item.x).all(), f"{asked}: a point of {known} is not finite"


def says_the_same_twice(asked: Asked) -> None:
    """Check that random numbers come from a seed among the options."""
    for known in known_problems():
        first, second = (
            [(type(item), item.token) for item in _found(asked, known)] for _ in range(2)
        )
        assert first == second, f"{asked} differs on {known} the second time"


def flags_what_cannot_be_said(asked: Asked) -> None:
    """Check that it flags unspeakable tokens of the known problems, which have many kinds of them.

    They lie in the middle of all others, between two, on a face, or are equal to another; or their
    bias is too low, or the domain too small.
    """
    unspeakable = sum(known.readout.V - len(known.speakable) for known in known_problems())
    found = sum(
        isinstance(item, Candidate) and item.token not in known.speakable
        for known in known_problems()
        for item in _found(asked, known)
    )
    assert found >= asked.flags, (
        f"{asked} flags {found} of the {unspeakable} unspeakable tokens of the known problems, "
        f"fewer than {asked.flags}; flags=0 is for a detector of what those problems do not have"
    )


def knows_what_memory_it_takes(asked: Asked) -> None:
    """Check that the memory it says it takes, if it says so, is a whole number of bytes."""
    if asked.record.memory is not None:
        for known in known_problems():
            need = asked.record.memory(known.readout, asked.options)
            assert isinstance(need, int), f"{asked}: the bytes it takes are {need!r}, not an int"
            assert need >= 0, f"{asked}: the bytes it takes are {need!r}"


def _found(asked: Asked, known: Known) -> list[Candidate | WitnessedToken]:
    """Return what it finds; nothing if it refuses the domain."""
    try:
        found = asked.record.detect(known.readout, known.domain, asked.options)
        return list(several(found, "Candidate"))
    except InputError:
        return []


SUITE = (
    yields_valid_tokens,
    yields_points_of_the_space,
    says_the_same_twice,
    flags_what_cannot_be_said,
    knows_what_memory_it_takes,
)
