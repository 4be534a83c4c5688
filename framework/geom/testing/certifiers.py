"""The suite for certifiers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from geom.certificates import Finding
from geom.errors import InputError
from geom.exact import is_point, is_weights, judge
from geom.plugins.chosen import Chosen
from geom.plugins.selection import prepare
from geom.testing.asked import Asked
from geom.testing.known import Known, known_problems

GAP = 1e-3
"""The relative gap that a certifier is asked to bring bounds to."""


def finds_what_can_be_checked(asked: Asked) -> None:
    """Check that points are in the domain, exactly, and weights on other tokens, finite, >= 0."""
    for known in _served(asked):
        for token, finding in enumerate(_findings(asked, known)):
            if finding.x is not None:
                assert is_point(known.problem, finding.x), (
                    f"{asked}: its point for token {token} of {known} is not in the domain; "
                    "problem.domain.fit(x) puts it there"
                )
            if finding.weights is not None:
                assert is_weights(known.problem, token, finding.weights), (
                    f"{asked}: its weights for token {token} of {known} are not valid; give finite "
                    "values >= 0 on distinct other tokens"
                )


def survives_exact_arithmetic(asked: Asked) -> None:
    """Check that the findings prove only what is true, and decide as many questions as asked."""
    decided = 0
    for known in _served(asked):
        for token, finding in enumerate(_findings(asked, known)):
            verdict = judge(known.problem, token, finding)
            assert verdict.name in (known.truth(token), "undecided"), (
                f"geom is wrong about token {token} of {known}: please report it"
            )
            decided += verdict.decided
    assert decided >= asked.decides, (
        f"{asked} decides {decided} of the known questions, not the {asked.decides} asked for"
    )


def goes_on_from_what_others_found(asked: Asked) -> None:
    """Check that a prior finding, good or useless, stops nothing and is not modified."""
    for known in _served(asked):
        x = known.domain.fit(np.linspace(-1.0, 1.0, known.domain.coordinates))
        before = x.copy()
        for token in range(min(3, known.readout.V)):
            _asked(asked, known, token, asked.options, Finding(x=x))
        assert (x == before).all(), f"{asked} changes the point that it was given"


def answers_for_each_of_many(asked: Asked) -> None:
    """Check that ``certify_many`` returns a finding for each of many tokens, in order."""
    many = asked.record.certify_many
    if many is None:
        return
    assert asked.record.batch >= 1, f"{asked}: it takes {asked.record.batch} tokens at once"
    for known in _served(asked):
        tokens = list(range(min(asked.record.batch, known.readout.V)))
        problem, priors = known.problem.in_coordinates, [Finding()] * len(tokens)
        found = list(many(problem, tokens, priors, asked.options))
        assert len(found) == len(tokens), f"{asked}: {len(found)} findings for {len(tokens)} tokens"
        for token, finding in zip(tokens, found, strict=True):
            verdict = judge(known.problem, token, finding)
            assert verdict.name in (known.truth(token), "undecided"), f"{asked}: out of order"


def goes_on_to_the_largest_margin(asked: Asked) -> None:
    """Check that ``tighten`` brings the bounds together, or the margin above what is enough."""
    say = asked.record.tighten
    if say is None:
        return
    met = 0
    for known, token in _speakable(asked):
        options = say(asked.options, GAP, None)
        assert isinstance(options, asked.record.options), (
            f"{asked}: tighten returns {options!r}, not {asked.record.options.__name__}"
        )
        found = judge(known.problem, token, _asked(asked, known, token, options))
        assert found.name != "unspeakable", f"geom is wrong about token {token} of {known}"
        low, high = found.margin_lower, found.margin_upper
        if low is None or high is None or not low > 0.0:
            continue
        met += high - low <= 2 * GAP * high
        options = say(asked.options, GAP, low / 2)
        early = judge(known.problem, token, _asked(asked, known, token, options))
        reached = early.margin_lower or 0.0
        assert reached > low / 2, (
            f"{asked}: token {token} of {known} has a margin of {low}, and told that {low / 2} is "
            f"enough it stops at {reached}"
        )
    assert met, f"{asked} has a tighten, and brings no bounds of a known question together"


def _speakable(asked: Asked) -> Iterator[tuple[Known, int]]:
    """Yield some speakable tokens of the problems whose largest margins are finite."""
    for known in _served(asked):
        if known.domain.bounded or known.problem.homogeneous:
            yield from ((known, token) for token in sorted(known.speakable)[:4])


def _served(asked: Asked) -> Iterator[Known]:
    """Yield the known problems, except those that the certifier refuses before a run begins."""
    certifier = Chosen(asked.kind, asked.record, asked.options)
    for known in known_problems():
        try:
            prepare(known.problem, [certifier])
        except InputError:
            continue
        yield known


def _findings(asked: Asked, known: Known) -> list[Finding]:
    """Return a finding for every token of a problem, each asked for separately."""
    return [_asked(asked, known, token, asked.options) for token in range(known.readout.V)]


def _asked(
    asked: Asked, known: Known, token: int, options: Any, prior: Finding | None = None
) -> Finding:
    """Return the certifier's finding, asked as a run asks: about coordinates, on an ellipsoid."""
    found = asked.record.certify(known.problem.in_coordinates, token, prior or Finding(), options)
    assert isinstance(found, Finding), f"{asked} returns {found!r}, not a Finding"
    return found


SUITE = (
    finds_what_can_be_checked,
    survives_exact_arithmetic,
    goes_on_from_what_others_found,
    answers_for_each_of_many,
    goes_on_to_the_largest_margin,
)
