"""Twins against the bytes of rows and biases, compared one by one."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geom import Readout, Rows
from geom.opening import twins
from geom.opening.twins import find_twins
from support.truth import Floats


def by_bytes(rows: Floats, offset: Floats) -> list[int]:
    """Return the lowest other id with the same bytes, with zeros of one sign, or -1."""
    numbers = np.column_stack([rows, offset]) + 0.0
    seen: dict[bytes, list[int]] = {}
    for token, row in enumerate(numbers):
        seen.setdefault(row.tobytes(), []).append(token)
    alike = [seen[row.tobytes()] for row in numbers]
    return [next((j for j in ids if j != token), -1) for token, ids in enumerate(alike)]


def found(readout: Readout) -> list[int]:
    twins = find_twins(readout)
    assert twins.dtype == np.int64
    assert twins.shape == (readout.V,)
    return [int(j) for j in twins]


@given(
    seed=st.integers(0, 2**32),
    V=st.integers(1, 40),
    d=st.integers(1, 4),
    kind=st.sampled_from(["whole", "float16", "bfloat16", "zeros"]),
    biased=st.booleans(),
)
def test_twins_are_the_tokens_of_equal_bytes(
    seed: int, V: int, d: int, kind: str, biased: bool
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(-1, 2, (V, d)) * 1.0
    if kind == "float16":  # the low 42 bits of each number are zero
        rows = rng.choice(rng.normal(size=3).astype(np.float16).astype(float), (V, d))
    if kind == "bfloat16":
        short = (rng.normal(size=3).astype(np.float32).view(np.uint32) >> 16 << 16).view(np.float32)
        rows = rng.choice(short.astype(float), (V, d))
    if kind == "zeros":
        rows = rng.choice([0.0, -0.0, 5e-324], (V, d))
    b = rng.choice([0.0, -0.0, 1.0], V) if biased else None
    readout = Readout.fold(rows, b)
    assert found(readout) == by_bytes(readout.W, readout.b)


def test_of_several_twins_each_names_the_lowest_other() -> None:
    W = [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [2.0, 2.0]]
    assert found(Readout.fold(W)) == [3, 2, 1, 0, 1, -1]


def test_equal_rows_with_other_biases_are_no_twins() -> None:
    W, b = np.ones((4, 3)), [0.0, 1.0, np.nextafter(1.0, 2.0), 1.0]
    assert found(Readout.fold(W, b)) == [-1, 3, -1, 1]


def test_one_bit_in_one_number_makes_no_twin() -> None:
    W = np.ones((300, 200))
    W[np.arange(200), np.arange(200)] = np.nextafter(1.0, 2.0)
    assert found(Readout.fold(W)) == [-1] * 200 + [201] + [200] * 99


def test_with_a_shift_the_biases_before_it_are_compared() -> None:
    rng = np.random.default_rng(0)
    W, b = rng.normal(size=(30, 5)), rng.choice([0.0, 2.0**-60, 1.0], 30)
    W[10:20], b[15:20] = W[:10], b[5:10]
    gamma, beta = rng.normal(size=5), 1e3 * rng.normal(size=5)  # their products drown 2^-60
    readout = Readout.fold(W, b, norm="layernorm", gamma=gamma, beta=beta)
    assert (readout.b != b).all()
    assert found(readout) == by_bytes(W, b)
    assert sum(twin >= 0 for twin in found(readout)) >= 10


@pytest.mark.parametrize("height", [1, 7, 100])
def test_twins_far_apart_are_found_in_any_blocks(
    height: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = Rows.blocks
    monkeypatch.setattr(Rows, "blocks", lambda rows: blocks(rows, height * rows.shape[1]))
    W = np.random.default_rng(1).normal(size=(100, 3))
    W[99], W[50] = W[0], W[49]
    expected = [-1] * 100
    expected[0], expected[99], expected[49], expected[50] = 99, 0, 50, 49
    assert found(Readout.fold(W)) == expected


def test_rows_of_one_key_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twins, "row_keys", lambda rows: np.zeros(len(rows), dtype=np.uint64))
    W = np.random.default_rng(2).integers(0, 2, (20, 3)) * 1.0
    assert found(Readout.fold(W)) == by_bytes(W, np.zeros(20))


def test_numbers_of_every_size_are_compared() -> None:
    W = [[1e308, 5e-324], [1e308, 0.0], [1e308, 5e-324], [-1e308, 0.0]]
    assert found(Readout.fold(W, [1e308, -1e308, 1e308, 0.0])) == [2, -1, 0, -1]


def test_a_crowd_of_equal_rows_is_compared_in_blocks() -> None:
    readout = Readout.fold(np.ones((20_000, 64)))
    find_twins(readout)
    tracemalloc.start()
    assert (find_twins(readout)[1:] == 0).all()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < readout.W.nbytes / 2
