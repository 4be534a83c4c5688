"""The suite for measures."""

from __future__ import annotations

import math

import numpy as np

from geom.certificates import Finding
from geom.errors import InputError
from geom.plugins.results import Measurement
from geom.runs.verification.measures import encloses
from geom.testing.asked import Asked
from geom.testing.known import Known, known_problems


def serves_some_problem(asked: Asked) -> None:
    """Check that it refuses what it cannot measure by InputError, but not every known problem."""
    measured = sum(len(_measured(asked, known)) for known in known_problems())
    assert measured > 0, f"{asked} refuses every known problem"


def gives_numbers_that_can_be_read(asked: Asked) -> None:
    """Check that there is a unit, no error is negative and a missing number has a note."""
    assert asked.record.unit.strip(), f"{asked}: it has no unit"
    for known in known_problems():
        for token, found in _measured(asked, known):
            where = f"{asked} on token {token} of {known}"
            assert isinstance(found, Measurement), f"{where}: {found!r} is not a Measurement"
            if math.isnan(found.value):
                assert found.note, f"{where}: no number, and no note that says why"
            if found.error is not None:
                assert found.error >= 0.0, f"{where}: its error is {found.error}"


def knows_an_error_that_it_proves(asked: Asked) -> None:
    """Check that proven bounds have a radius, and that the evidence kept proves them again."""
    bounds = asked.record.bounds
    for known in known_problems():
        for token, found in _measured(asked, known):
            if found.proven:
                where = f"{asked} on token {token} of {known}"
                assert found.error is not None, f"{where}: no radius"
                assert bounds is not None, f"{where}: it gives no bounds to prove it again by"
                evidence = Finding(found.x, found.weights)
                low, high = bounds(known.problem, token, evidence, asked.options, 1.0)
                assert encloses(found.value, found.error, low, high), (
                    f"{where}: {found.value!r}, ± {found.error!r}, of which its evidence proves "
                    f"{low!r} to {high!r}"
                )


def shows_points_of_the_space(asked: Asked) -> None:
    """Check that a point that shows the number is finite numbers, as many as points have."""
    for known in known_problems():
        for token, found in _measured(asked, known):
            if found.x is not None:
                where = f"{asked} on token {token} of {known}"
                shape = (known.domain.coordinates,)
                assert found.x.shape == shape, f"{where}: the shape of its point"
                assert np.isfinite(found.x).all(), f"{where}: its point is not finite"


def says_the_same_twice(asked: Asked) -> None:
    """Check that random numbers come from a seed among the options."""
    for known in known_problems():
        first, second = ([repr(found.value) for _, found in _measured(asked, known)] for _ in "12")
        assert first == second, f"{asked} differs on {known} the second time"


def answers_for_each_of_many(asked: Asked) -> None:
    """Check that ``measure_many`` returns a measurement for each of many tokens, in order."""
    many, bounds = asked.record.measure_many, asked.record.bounds
    if many is None:
        return
    assert asked.record.batch >= 1, f"{asked}: it takes {asked.record.batch} tokens at once"
    for known in known_problems():
        tokens = list(range(min(asked.record.batch, known.readout.V)))
        try:
            found = list(many(known.problem, tokens, [Finding()] * len(tokens), asked.options))
        except InputError:
            continue
        assert len(found) == len(tokens), f"{asked}: {len(found)} numbers for {len(tokens)} tokens"
        for token, item in zip(tokens, found, strict=True):
            assert isinstance(item, Measurement), f"{asked}: {item!r} is not a Measurement"
            if item.proven and bounds is not None and item.error is not None:
                evidence = Finding(item.x, item.weights)
                low, high = bounds(known.problem, token, evidence, asked.options, 1.0)
                assert encloses(item.value, item.error, low, high), f"{asked}: out of order"


def _measured(asked: Asked, known: Known) -> list[tuple[int, Measurement]]:
    """Measure the first and the last token of a problem, without a run; none if it refuses."""
    try:
        return [
            (token, asked.record.measure(known.problem, token, Finding(), asked.options))
            for token in (0, known.readout.V - 1)
        ]
    except InputError:
        return []


SUITE = (
    serves_some_problem,
    gives_numbers_that_can_be_read,
    knows_an_error_that_it_proves,
    shows_points_of_the_space,
    says_the_same_twice,
    answers_for_each_of_many,
)
