"""Detectors: winning angles in the plane by closed form, own winners by the plain product.

Along a direction of the plane, the winning row is the corner of the hull whose normal cone holds
the direction; its share of the circle is the turn of the hull at that corner. Seeds are fixed, and
a count may be five standard deviations off, which happens to about one fixed draw in a million.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

import geom
from geom import Domain, Readout
from geom.model import domains
from geom.plugins.options import validate
from geom.plugins.registry import installed
from geom_plugins.detectors.random_directions import BLOCK_BYTES, count_wins

Floats = NDArray[np.float64]
SAMPLES = 20_000
UNBOUNDED = domains.unbounded(2)


def flagged(
    name: str, readout: Readout, domain: Domain | None = None, **options: Any
) -> dict[int, int | None]:
    """Return the tokens that a detector flags, with the winners it names."""
    detector = installed().get("detector", name)
    values = validate("detector", detector, options)
    found = detector.detect(readout, domain or readout.domain, values)
    return {candidate.token: candidate.argmax_id for candidate in found}


def shares(W: Floats) -> Floats:
    """Return the share of all directions of the plane along which each row wins."""
    out = np.zeros(len(W))
    corners = ConvexHull(W).vertices  # counter-clockwise
    points = W[corners]
    edges = np.roll(points, -1, axis=0) - points
    angles = np.arctan2(edges[:, 1], edges[:, 0])
    out[corners] = (angles - np.roll(angles, 1)) % (2.0 * np.pi) / (2.0 * np.pi)
    return out


def close(counts: NDArray[np.int64], expected: Floats) -> bool:
    """Return whether every count is within five binomial standard deviations."""
    n = counts.sum()
    return bool((np.abs(counts - n * expected) <= 5 * np.sqrt(n * expected * (1 - expected))).all())


# random-directions

CLOUDS = [np.random.default_rng(seed).normal(size=(12, 2)) for seed in range(4)]
SQUARE = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0], [-1.0, 1.0], [0.0, 0.0]])


@pytest.mark.parametrize("W", [SQUARE, *CLOUDS], ids=range(5))
def test_tokens_win_as_often_as_their_angles_are_wide(W: Floats) -> None:
    assert close(count_wins(Readout.fold(W), UNBOUNDED, SAMPLES, 0), shares(W))


@pytest.mark.parametrize("W", CLOUDS, ids=range(4))
def test_without_a_bias_a_ball_gives_the_same_shares(W: Floats) -> None:
    assert close(count_wins(Readout.fold(W), domains.rmsnorm(2), SAMPLES, 0), shares(W))


def test_on_the_sum_zero_ball_the_larger_difference_wins_half() -> None:
    # sum zero leaves the line (s, -s): W's two ends along it share it, whatever its middle
    readout = Readout.fold([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]], norm="layernorm")
    counts = count_wins(readout, readout.domain, SAMPLES, 0)
    assert close(counts, np.array([0.5, 0.5, 0.0]))


@pytest.mark.parametrize("threshold", [0.25, 0.5, 0.9])
def test_on_a_box_a_bias_moves_the_border(threshold: float) -> None:
    # on [-1, 1] token 1 wins beyond the threshold
    readout = Readout.fold([[0.0], [1.0]], [0.0, -threshold])
    counts = count_wins(readout, domains.box(1), SAMPLES, 0)
    assert close(counts, np.array([1 + threshold, 1 - threshold]) / 2)


@pytest.mark.parametrize("threshold", [0.25, 0.5, 0.9])
def test_on_a_ball_a_bias_cuts_off_a_segment(threshold: float) -> None:
    # token 1 wins in the segment of the disc of radius sqrt(2) beyond sqrt(2) times the threshold
    readout = Readout.fold([[0.0, 0.0], [1.0, 0.0]], [0.0, -threshold * np.sqrt(2)])
    counts = count_wins(readout, domains.rmsnorm(2), SAMPLES, 0)
    segment = (np.arccos(threshold) - threshold * np.sqrt(1 - threshold**2)) / np.pi
    assert close(counts, np.array([1 - segment, segment]))


@pytest.mark.parametrize("samples", [1, 7, 1000])
def test_every_sample_has_one_winner(samples: int) -> None:
    assert count_wins(Readout.fold(CLOUDS[0]), UNBOUNDED, samples, 3).sum() == samples


def test_many_tokens_are_counted_in_blocks() -> None:
    V = BLOCK_BYTES // (8 * 16)
    W = np.zeros((V, 1))
    W[0], W[1] = 1.0, -1.0
    counts = count_wins(Readout.fold(W), domains.unbounded(1), 100, 0)
    assert (counts.sum(), counts[0] + counts[1]) == (100, 100)


def test_one_seed_gives_one_answer() -> None:
    readout = Readout.fold(np.random.default_rng(0).normal(size=(200, 8)))
    few = {"samples": 300}
    first = flagged("random-directions", readout, **few)
    assert flagged("random-directions", readout, **few) == first
    assert flagged("random-directions", readout, **few, seed=0) == first
    assert flagged("random-directions", readout, **few, seed=1) != first


def test_exactly_those_that_never_win_are_flagged() -> None:
    readout = Readout.fold(np.random.default_rng(0).normal(size=(200, 8)))
    wins = count_wins(readout, readout.domain, 300, 5)
    found = flagged("random-directions", readout, samples=300, seed=5)
    assert set(found) == set(np.flatnonzero(wins == 0))
    assert 0 < len(found) < 200
    assert set(found.values()) == {None}


def test_a_token_inside_the_hull_is_flagged_and_the_corners_are_not() -> None:
    assert set(flagged("random-directions", Readout.fold(SQUARE))) == {4}


def test_the_default_is_20000_samples() -> None:
    readout = Readout.fold(np.random.default_rng(1).normal(size=(2000, 8)))
    wins = count_wins(readout, readout.domain, 20_000, 0)
    assert set(flagged("random-directions", readout)) == set(np.flatnonzero(wins == 0))


# The points drawn

DOMAINS = {
    "layernorm": domains.layernorm(6),
    "rmsnorm": domains.rmsnorm(6),
    "box": domains.box(6, 2.5),
}


@pytest.mark.parametrize("domain", DOMAINS.values(), ids=DOMAINS.keys())
def test_samples_lie_in_the_domain_to_rounding(domain: Domain) -> None:
    x = domain.sample(np.random.default_rng(0), 5000)
    assert x.shape == (5000, 6)
    size = np.abs(x).max(axis=1) if domain.shape == "box" else np.linalg.norm(x, axis=1)
    assert size.max() <= domain.radius * (1 + 1e-15)
    assert not domain.zero_sum or np.abs(x.sum(axis=1)).max() < 1e-14


@pytest.mark.parametrize(("name", "freedom"), [("layernorm", 5), ("rmsnorm", 6)])
def test_a_ball_is_filled_evenly(name: str, freedom: int) -> None:
    # the share of the volume within r is (r / R) ** freedom
    x = DOMAINS[name].sample(np.random.default_rng(0), SAMPLES)
    within = np.linalg.norm(x, axis=1) / DOMAINS[name].radius
    for share in (0.1, 0.5, 0.9):
        count = int((within**freedom < share).sum())
        assert close(np.array([count, SAMPLES - count]), np.array([share, 1 - share]))


def test_a_box_is_filled_evenly() -> None:
    x = DOMAINS["box"].sample(np.random.default_rng(0), SAMPLES)
    for column in x.T:
        counts = np.histogram(column, bins=5, range=(-2.5, 2.5))[0]
        assert close(counts, np.full(5, 0.2))


@pytest.mark.parametrize("name", ["layernorm", "rmsnorm", "unbounded"])
def test_no_direction_is_preferred(name: str) -> None:
    domain = domains.named(name, 6, None)
    x = domain.sample(np.random.default_rng(0), SAMPLES)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    freedom = 6 - domain.zero_sum
    centring = np.eye(6) - domain.zero_sum / 6.0
    assert np.abs(x.mean(axis=0)).max() < 5 / np.sqrt(SAMPLES * freedom)
    assert np.abs(x.T @ x / SAMPLES - centring / freedom).max() < 5 / np.sqrt(SAMPLES) / freedom


def test_in_one_dimension_the_sum_zero_ball_is_the_origin() -> None:
    assert domains.layernorm(1).sample(np.random.default_rng(0), 4).tolist() == [[0.0]] * 4


# self-argmax


def plain_winners(W: Floats, centre: bool) -> NDArray[np.int64]:
    """Return the argmax of ``W W^T`` in float64; every row's best two must be far apart."""
    rows = W - W.mean(axis=0) if centre else W
    scores = rows @ rows.T
    best = np.sort(scores, axis=1)[:, -2:]
    assert ((best[:, 1] - best[:, 0]) > 1e-9 * np.abs(best[:, 1])).all()
    return np.asarray(scores.argmax(axis=1))


@pytest.mark.parametrize("centre", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_self_argmax_flags_what_the_plain_product_flags(seed: int, centre: bool) -> None:
    readout = geom.load(f"synthetic:gpt2-like?V=1500&d=24&seed={seed}")
    winners = plain_winners(readout.W, centre)
    expected = {t: int(w) for t, w in enumerate(winners) if w != t}
    assert len(expected) > 10
    assert flagged("self-argmax", readout, centre=centre) == expected


def test_self_argmax_centres_unless_told_otherwise() -> None:
    readout = geom.load("synthetic:gpt2-like?V=500&d=8")
    assert flagged("self-argmax", readout) == flagged("self-argmax", readout, centre=True)
    assert flagged("self-argmax", readout) != flagged("self-argmax", readout, centre=False)


def test_centred_a_shift_of_all_rows_changes_nothing() -> None:
    W = np.random.default_rng(0).integers(-50, 50, (300, 6)).astype(np.float64)
    shifted = Readout.fold(W + np.array([100.0, -7.0, 3.0, 0.0, 1.0, 64.0]))
    assert flagged("self-argmax", shifted) == flagged("self-argmax", Readout.fold(W))


@pytest.mark.parametrize("memory_mib", [1, 64])
def test_memory_changes_no_answer(memory_mib: int) -> None:
    readout = geom.load("synthetic:gpt2-like?V=3000&d=16")
    small = flagged("self-argmax", readout, memory_mib=memory_mib)
    assert small == flagged("self-argmax", readout)


def test_the_domain_and_the_bias_play_no_part() -> None:
    W = np.random.default_rng(0).normal(size=(300, 6))
    b = 100.0 * np.random.default_rng(1).normal(size=300)
    bare = flagged("self-argmax", Readout.fold(W))
    assert flagged("self-argmax", Readout.fold(W, b), domains.box(6)) == bare


def test_twins_flag_each_other() -> None:
    readout = Readout.fold([[1.0, 0.0], [1.0, 0.0], [-1.0, 3.0], [-1.0, -3.0]])
    assert flagged("self-argmax", readout) == {0: 1, 1: 0}
