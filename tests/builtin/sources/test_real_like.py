"""Rows drawn to be like real ones, measured in float64 without the code that drew them."""

from __future__ import annotations

import tracemalloc
from functools import cache

import numpy as np
import pytest

import geom
from geom import InputError
from geom.numbers.arrays import Floats
from geom_plugins.sources.real_like import BLOCK, draw, drawing_memory

V, D = 6000, 128
MODEL = f"synthetic:real-like?V={V}&d={D}"


@cache
def rows(query: str = "") -> Floats:
    """Return the rows of the model, seen from their mean."""
    W = geom.load(MODEL + query).W
    return np.asarray(W - W.mean(axis=0))


@cache
def scores(query: str = "") -> Floats:
    """Return the rows' products with each other."""
    return np.asarray(rows(query) @ rows(query).T)


def quantiles(values: Floats, *at: float) -> list[float]:
    return list(np.quantile(values, at) / np.median(values))


# The same each time


def test_the_same_options_draw_the_same_rows() -> None:
    assert geom.load(MODEL).digest == geom.load(f"{MODEL}&seed=0&relatives=8&bias=0").digest


@pytest.mark.parametrize(
    "change",
    ["seed=1", "mean=0.5", "rogue=0.3", "relatives=4", "untrained=0.1", "bias=0.2", "d=127"],
)
def test_every_option_changes_the_numbers(change: str) -> None:
    assert geom.load(f"{MODEL}&{change}").digest != geom.load(MODEL).digest


def test_there_is_an_rms_norm_and_no_bias_unless_told() -> None:
    readout = geom.load(MODEL)
    assert (readout.norm, readout.has_bias) == ("rmsnorm", False)
    assert geom.load(f"{MODEL}&norm=layernorm").norm == "layernorm"
    assert geom.load(f"{MODEL}&bias=0.1").has_bias


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("real-like?decay=0.3", "decay: synthetic:real-like has mean, untrained, rogue,"),
        ("gpt2-like?rogue=0.3", "rogue: synthetic:gpt2-like has mean, decay,"),
        ("real-like?rogue=1.5", "rogue=1.5: expected float <= 1.0"),
        ("real-like?mean=1e40", "must be a finite number"),
        ("real", "write synthetic:gpt2-like or synthetic:real-like"),
    ],
)
def test_what_does_not_go_together_is_refused(model: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        geom.load(f"synthetic:{model}")


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (7, 1), (3, 2), (BLOCK + 1, 2)])
@pytest.mark.parametrize("untrained", [0.0, 0.5, 1.0])
def test_any_shape_can_be_drawn(shape: tuple[int, int], untrained: float) -> None:
    readout = geom.load(
        f"synthetic:real-like?V={shape[0]}&d={shape[1]}&untrained={untrained}&relatives=1"
    )
    assert readout.W.shape == shape


def test_drawing_takes_the_rows_and_some_blocks() -> None:
    shape = (40000, 100)
    tracemalloc.start()
    drawn = draw(
        np.random.default_rng(0), *shape, mean=1.0, rogue=0.36, relatives=8.0, untrained=0.1
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert drawn.dtype == np.float32
    assert drawn.nbytes < peak < drawing_memory(*shape)


# As in real models; the ranges hold what was measured on SmolLM2 and Whisper base


def test_the_mean_is_as_long_as_the_spread_and_leans_on_the_first_direction() -> None:
    W = geom.load(MODEL).W
    mean = W.mean(axis=0)
    _, spreads, axes = np.linalg.svd(rows(), full_matrices=False)
    assert np.linalg.norm(mean) * np.sqrt(V) == pytest.approx(np.linalg.norm(spreads), rel=0.05)
    assert abs(axes[0] @ mean) / np.linalg.norm(mean) == pytest.approx(0.85, abs=0.03)


def test_one_direction_stands_out_of_a_flat_spectrum() -> None:
    spreads = np.linalg.svd(rows(), compute_uv=False)
    assert spreads[0] ** 2 / (spreads**2).sum() == pytest.approx(0.36**2, rel=0.05)
    # (1 + 6 / k) (1 - k / 129) ** 0.2 at the ranks 2, 32, 112, over that at 64
    near = [spreads[k - 1] / spreads[63] for k in (2, 32, 112)]
    assert near == pytest.approx([4.18, 1.147, 0.736], rel=0.06)


def test_few_rows_are_far_out_along_the_first_direction() -> None:
    first = np.linalg.svd(rows(), full_matrices=False)[2][0]
    along = rows() @ first
    along /= along.std()
    assert 3.3 < (along**4).mean() < 4.6  # 3 if it were normal
    assert 4.7 < np.abs(along).max() < 6.5


def test_lengths_have_a_floor_and_a_tail() -> None:
    least, low, high, top = quantiles(np.linalg.norm(rows(), axis=1), 0.01, 0.25, 0.75, 0.99)
    assert 0.7 < least < 0.85
    assert 0.88 < low < 0.95
    assert 1.05 < high < 1.16
    assert 1.4 < top < 1.75


def test_rows_have_relatives_of_similar_length() -> None:
    first = np.linalg.svd(rows(), full_matrices=False)[2][0]
    rest = rows() - np.outer(rows() @ first, first)
    lengths = np.linalg.norm(rest, axis=1)
    cosines = rest @ rest.T / np.outer(lengths, lengths)
    np.fill_diagonal(cosines, -1.0)
    nearest = cosines.argmax(axis=1)
    best = cosines.max(axis=1)
    assert 0.5 < np.median(best) < 0.7
    close = (best > 0.7) & (best < 0.95)
    ratio = np.log(lengths[nearest[close]] / lengths[close])
    assert ratio.std() < 0.75 * np.log(lengths).std()


def test_a_family_goes_on_in_the_next_block() -> None:
    # one family: its rows share one direction; if each of three blocks began a family of its own,
    # the length of the mean would be less by a factor sqrt(3)
    W = draw(
        np.random.default_rng(0),
        2 * BLOCK + 7,
        200,
        mean=0.0,
        rogue=0.0,
        relatives=1e9,
        untrained=0.0,
    ).astype(np.float64)
    unit = W / np.linalg.norm(W, axis=1, keepdims=True)
    assert np.linalg.norm(unit.mean(axis=0)) > 0.6


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.01, 60), (0.1, 600)])
def test_untrained_rows_are_nearly_equal_and_some_are_twins(share: float, count: int) -> None:
    query = f"&untrained={share}"
    square = np.add.outer(np.diag(scores(query)), np.diag(scores(query))) - 2.0 * scores(query)
    np.fill_diagonal(square, np.inf)
    median = np.median(np.linalg.norm(rows(query), axis=1))
    assert (square.min(axis=1) < (0.2 * median) ** 2).sum() == pytest.approx(count, abs=3)
    _, counts = np.unique(geom.load(MODEL + query).W, axis=0, return_counts=True)
    twins = counts[counts > 1].sum()
    assert 0.04 * count <= twins <= 0.2 * count


def test_a_share_of_the_tokens_loses_and_the_shared_step_wins_for_nearly_all() -> None:
    lost = np.flatnonzero(scores().argmax(axis=1) != np.arange(V))
    assert 0.08 < lost.size / V < 0.25
    x = np.linalg.solve(rows().T @ rows() / V, rows()[lost].T).T
    won = (x @ rows().T).argmax(axis=1) == lost
    assert won.mean() > 0.95
