"""The detector ``reflections``, and the sanity experiments of the paper that proposes it.

Grivas, Bogoychev and Lopez (2022) check their algorithms on random layers of 300 x 8 against Qhull,
and on rows of equal length, all of which are argmaxable.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.strategies import data

import geom
from geom import Readout
from geom.plugins.registry import installed
from geom.testing.strategies import problems
from geom_plugins.detectors.reflections import unreached
from support.truth import hull_tokens, largest_margin


def flagged(readout: Readout, **options: int) -> set[int]:
    detector = installed().get("detector", "reflections")
    found = detector.detect(readout, readout.domain, detector.options(**options))
    return {candidate.token for candidate in found}


@pytest.mark.parametrize("seed", range(4))
def test_random_layers_of_300_by_8_agree_with_qhull(seed: int) -> None:
    """The flagged tokens include all that are inside the hull; geom's verdicts are Qhull's."""
    W = np.random.default_rng(seed).normal(size=(300, 8))
    readout = Readout.fold(W)
    inside = set(range(300)) - hull_tokens(W)
    assert inside
    assert flagged(readout, steps=30) >= inside
    with geom.run(readout, detectors=["reflections"]) as run:
        assert {row.token_id for row in run.rows("unspeakable")} == inside
        assert run.counts()["undecided"] == 0


@pytest.mark.parametrize("shape", [(300, 8), (500, 3), (50, 2)])
def test_rows_of_one_length_are_all_argmaxable(shape: tuple[int, int]) -> None:
    W = np.random.default_rng(1).normal(size=shape)
    W /= np.linalg.norm(W, axis=1, keepdims=True)
    readout = Readout.fold(W)
    with geom.run(readout, tokens="all") as run:
        assert run.counts()["speakable"] == shape[0]
    assert not flagged(readout, steps=2500)


def test_no_reflection_is_the_own_direction_and_more_flag_fewer() -> None:
    W = np.random.default_rng(4).normal(size=(400, 6)) * np.linspace(0.3, 1.5, 400)[:, None]
    readout = Readout.fold(W)
    few, more = flagged(readout, steps=0), flagged(readout, steps=60)
    scores = W @ (W - W.mean(axis=0)).T
    assert few == set(np.flatnonzero(scores.argmax(axis=0) != np.arange(400)).tolist())
    assert set() < more < few


def test_blocks_change_nothing() -> None:
    readout = Readout.fold(np.random.default_rng(2).normal(size=(1500, 4)))
    assert flagged(readout, memory_mib=1, steps=5) == flagged(readout, steps=5)


@given(data())
def test_a_token_that_is_not_flagged_can_win(draw: data) -> None:
    problem = draw.draw(problems(most_tokens=6, most_dimensions=3))
    readout, domain = problem.readout, problem.domain
    if readout.V < 2 or domain.shape == "ball":
        return
    left = set(unreached(readout, domain, np.arange(readout.V), 20).tolist())
    radius = domain.radius if domain.bounded else None
    for token in set(range(readout.V)) - left:
        assert largest_margin(readout.W, readout.b, token, radius) > 0


def test_a_vocabulary_of_one_is_never_beaten() -> None:
    assert flagged(Readout.fold(np.ones((1, 3)))) == set()
