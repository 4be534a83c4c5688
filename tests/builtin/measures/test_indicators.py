"""The cheap indicators, against their formulas and on rows that are known to be unused."""

from __future__ import annotations

import math

import numpy as np
import pytest

import geom
from geom import InputError, Readout
from geom_plugins.measures.indicators import NEVER, unused

NAMES = ["row-norm", "centroid-distance", "unused-cosine"]


def values(readout: Readout, name: str, tokens: object = "all", **options: object) -> list[float]:
    asked = {f"measure.{name}.{key}": value for key, value in options.items()}
    found = geom.measure(readout, name, tokens, asked)  # type: ignore[arg-type]
    return [math.nan if row.value is None else row.value for row in found]


def test_a_row_has_its_length_and_its_distance_from_the_mean() -> None:
    readout = Readout.fold([[3.0, 4.0], [0.0, 0.0], [0.0, 5.0]])  # the mean is (1, 3)
    assert values(readout, "row-norm") == [5.0, 0.0, 5.0]
    assert values(readout, "centroid-distance") == pytest.approx(
        [math.sqrt(5), math.sqrt(10), math.sqrt(5)], rel=1e-15
    )


def test_the_cosine_is_that_of_the_formula() -> None:
    rng = np.random.default_rng(0)
    W = rng.normal(size=(9, 4))
    centred = W - W.mean(axis=0)
    mean = centred[[2, 5]].mean(axis=0)
    expected = centred @ mean / np.linalg.norm(centred, axis=1) / np.linalg.norm(mean)
    found = values(Readout.fold(W), "unused-cosine", [0, 1, 8], unused="2,5")
    assert found == pytest.approx(expected[[0, 1, 8]], rel=1e-13)


def test_a_token_does_not_count_among_the_unused_itself() -> None:
    W = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    assert values(Readout.fold(W), "unused-cosine", [0, 1], unused="0,1") == [0.0, 0.0]


def test_a_shift_of_all_rows_moves_the_length_alone() -> None:
    rng = np.random.default_rng(1)
    W, shift = rng.normal(size=(20, 5)), 10.0 * rng.normal(size=5)
    for name in NAMES:
        options = {"unused": "3,4"} if name == "unused-cosine" else {}
        before = values(Readout.fold(W), name, **options)
        after = values(Readout.fold(W + shift), name, **options)
        assert np.allclose(before, after, atol=1e-12) == (name != "row-norm")


def test_what_the_tokenizer_calls_unused_is_known() -> None:
    W = np.random.default_rng(2).normal(size=(6, 3))
    kinds = ["normal", "unused", "byte", "byte", "padding", "normal"]
    tokens = ["a", None, r"\xc0", r"\x80", None, "\\xc0"]
    told = Readout.fold(W, tokens=tokens, kinds=kinds)  # type: ignore[arg-type]
    plain = Readout.fold(W)
    assert values(told, "unused-cosine", [0, 3, 5]) == values(
        plain, "unused-cosine", [0, 3, 5], unused="1,2,4"
    )


def test_bytes_that_utf8_never_uses_are_those_that_it_cannot_encode() -> None:
    used = {
        byte for point in [*range(0xD800), *range(0xE000, 0x110000)] for byte in chr(point).encode()
    }
    assert {rf"\x{byte:02x}" for byte in range(256) if byte not in used} == NEVER


def test_where_nothing_is_known_to_be_unused_it_says_what_to_name() -> None:
    (row,) = geom.measure(Readout.fold(np.eye(3)), "unused-cosine", [0])
    assert row.value is None
    assert row.note is not None
    assert "-o measure.unused-cosine.unused=5,9" in row.note
    with pytest.raises(InputError, match="outside the vocabulary"):
        unused(Readout.fold(np.eye(3)), "7")


def test_the_mean_row_itself_has_no_direction() -> None:
    W = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])
    (row,) = geom.measure(
        Readout.fold(W), "unused-cosine", [2], {"measure.unused-cosine.unused": "0"}
    )
    assert (row.value, row.note) == (None, "a row that is the mean of all has no direction")


def test_the_bytes_that_no_text_has_lie_together_in_the_demo() -> None:
    readout = geom.load("demo")
    found = values(readout, "unused-cosine")
    assert np.quantile(found, 0.5) < 0.3
    assert sum(value > 0.99 for value in found) > 13  # also the other tokens that occur in no text
