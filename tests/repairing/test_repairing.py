"""`geom.repair`: closed forms, twins, every domain and type, and audits of what comes out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import geom
from geom import InputError, Problem, Readout, judge
from geom.certificates import Finding
from geom.machine import memory
from geom.repairing.geometry import Geometry
from geom.repairing.protected import Protected
from geom.repairing.survival import lost_tokens

SQUARE = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])


def verdicts(readout: Readout, **options: Any) -> dict[int, str]:
    """Audit every token."""
    with geom.run(readout, tokens="all", hardest=0, **options) as run:
        return {row.token_id: row.verdict for row in run.rows()}


def check(repair: geom.Repair, before: Readout, **options: Any) -> None:
    """Audit the patched readout anew, and see that each certificate proves its margin."""
    after = verdicts(repair.readout, **options)
    assert all(after[row.token_id] == "speakable" for row in repair)
    lost = {t for t, name in verdicts(before, **options).items() if name == "speakable"}
    lost -= {t for t, name in after.items() if name == "speakable"}
    assert lost <= set(repair.lost)
    with geom.run(repair.readout, tokens=[0], hardest=0, **options) as run:
        problem = run.problem
    for row in repair:
        verdict = judge(problem, row.token_id, Finding(row.x))
        assert verdict.name == "speakable"
        assert verdict.margin_lower is not None
        assert verdict.margin_lower >= row.margin >= repair.margin


@pytest.mark.parametrize("margin", [0.001, 0.5])
def test_a_row_inside_a_square_moves_to_the_nearest_side(margin: float) -> None:
    readout = Readout.fold(np.vstack([SQUARE, [[0.5, 0.0]]]), norm="rmsnorm")
    repair = geom.repair(readout, margin=margin)
    (row,) = repair
    least = 0.5 + margin / math.sqrt(2.0)  # the side is 1/2 away, and x is sqrt(2) long
    assert least * (1 - 1e-9) <= row.moved <= least * (1 + 1e-4)
    assert 0.0 < row.alone_at_least <= least
    assert (row.token_id, repair.left, repair.lost, repair.unknown) == (4, (), (), 0)
    assert row.of_nearest == pytest.approx(row.moved / math.hypot(0.5, 1.0))
    assert row.of_median == pytest.approx(row.moved / math.sqrt(2.0))
    check(repair, readout)


def test_without_a_domain_the_margin_is_that_at_length_one() -> None:
    repair = geom.repair(Readout.fold(np.vstack([SQUARE, [[0.5, 0.0]]])), margin=0.25)
    (row,) = repair
    assert 0.75 * (1 - 1e-9) <= row.moved <= 0.75 * (1 + 1e-4)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
@pytest.mark.parametrize("norm", ["layernorm", "rmsnorm"])
def test_rounded_rows_are_proven_and_nothing_else_is_lost(dtype: Any, norm: Any) -> None:
    rng = np.random.default_rng(3)
    W = rng.standard_normal((40, 8))
    W[30:] = (W[:10] + W[10:20] + W[20:30]) / 3
    gamma = rng.uniform(0.5, 2.0, 8).astype(np.float32)
    beta = None if norm == "rmsnorm" else (0.2 * rng.standard_normal(8)).astype(np.float32)
    readout = Readout.fold(W.astype(dtype), norm=norm, gamma=gamma, beta=beta)
    dead = {token for token, name in verdicts(readout).items() if name == "unspeakable"}
    assert len(dead) > 2
    repair = geom.repair(readout)
    assert {row.token_id for row in repair} == dead
    assert not repair.left
    assert not repair.lost
    assert repair.file is not None
    assert repair.file.rows.dtype == np.dtype(dtype)
    assert all(row.alone_at_least > 0.0 for row in repair)
    check(repair, readout)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
@pytest.mark.parametrize("copies", [2, 5])
def test_twins_are_told_apart(copies: int, dtype: Any) -> None:
    W = np.random.default_rng(1).standard_normal((20, 6)).astype(dtype)
    W[:copies] = W[0]
    readout = Readout.fold(W, norm="rmsnorm")
    repair = geom.repair(readout, margin=0.5)
    assert {row.token_id for row in repair} >= set(range(copies))
    assert all(row.of_nearest is None for row in repair if row.token_id < copies)
    rows = repair.readout.head.numbers(slice(0, copies))
    assert len(np.unique(rows, axis=0)) == copies
    check(repair, readout)


def test_twins_at_a_corner_move_little() -> None:
    # D and -D tell two equal corners apart: half the margin over the length of x is enough for each
    readout = Readout.fold(np.vstack([SQUARE, SQUARE[:1]]) * 4.0, norm="rmsnorm")
    repair = geom.repair(readout, margin=0.1)
    assert [row.token_id for row in repair] == [0, 4]
    assert sum(row.moved for row in repair) < 4 * 0.1 / math.sqrt(2.0)
    check(repair, readout)


@pytest.mark.parametrize("domain", ["unbounded", "box", "rmsnorm", "layernorm"])
def test_biases_stay_and_every_domain_is_served(domain: str) -> None:
    rng = np.random.default_rng(5)
    W = rng.standard_normal((30, 6))
    b = 0.1 * rng.standard_normal(30)
    W[20:], b[20:] = (W[:10] + W[10:20]) / 2, (b[:10] + b[10:20]) / 2
    readout = Readout.fold(W, b)
    repair = geom.repair(readout, margin=0.05, domain=domain)
    assert not repair.left
    assert len(repair) >= 4
    np.testing.assert_array_equal(repair.readout.b, b)
    check(repair, readout, domain=domain)


def test_a_token_whose_bias_is_too_low_is_repaired_by_its_row() -> None:
    # the tangents of x^2 / 2 at -2 .. 2, the middle one lowered by more than its neighbours leave
    z = np.arange(-2.0, 3.0)
    b = -z * z / 2
    b[2] -= 1.0
    repair = geom.repair(Readout.fold(np.stack([z, np.ones(5)], axis=1), b), margin=0.125)
    assert [row.token_id for row in repair] == [2]
    check(repair, Readout.fold(np.stack([z, np.ones(5)], axis=1), b))


@pytest.mark.parametrize("seed", range(4))
def test_a_row_alone_never_moves_less_than_is_proven(seed: int) -> None:
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((30, 3))
    W[29] = W[:29].mean(axis=0)
    readout = Readout.fold(W, norm="rmsnorm")
    repair = geom.repair(readout, [29], margin=1e-3)
    (row,) = repair
    with geom.run(readout, tokens=[29]) as run:
        (measured,) = geom.measure(run, "perturbation", [29])
        low, high = geom.proofs.freeing_bounds(
            run.problem, 29, Finding(measured.x, run.evidence(29).weights)
        )
    assert low <= row.alone_at_least <= row.moved
    assert row.moved <= 1.25 * (high + 1e-3 / math.sqrt(3.0))


def test_the_demo_is_repaired_and_stays_speakable() -> None:
    with geom.run("demo", hardest=0) as run:
        repair = geom.repair(run)
    assert len(repair) == 32
    assert (repair.left, repair.lost, repair.unknown, repair.kept) == ((), (), 0, 3040)
    assert repair.largest_move < 0.25
    assert all(row.margin >= 1.0 and 0.0 < row.alone_at_least < row.moved for row in repair)
    assert set(verdicts(repair.readout).values()) == {"speakable"}


def test_what_would_move_further_than_allowed_is_left() -> None:
    readout = Readout.fold(np.vstack([SQUARE, [[0.5, 0.0]], [[0.875, 0.0]]]), norm="rmsnorm")
    repair = geom.repair(readout, margin=0.01, at_most=0.25)
    assert [row.token_id for row in repair] == [5]
    (left,) = repair.left
    assert (left.token_id, left.why) == (4, "its row would move further than allowed")
    assert left.found is not None
    assert left.found >= left.alone_at_least > 0.0
    np.testing.assert_array_equal(repair.readout.head.numbers(slice(4, 5)), [[0.5, 0.0]])
    check(repair, readout)
    again = geom.repair(readout, margin=0.01, at_most="20%")  # of sqrt(2)
    assert [row.token_id for row in again] == [5]
    none = geom.repair(readout, margin=0.01, at_most=1e-6)
    assert (len(none), none.file, len(none.left)) == (0, None, 2)
    with pytest.raises(InputError, match="no row changed"):
        none.write("rows.safetensors")


def test_rows_of_padding_are_not_repaired_unless_they_are_named() -> None:
    kinds: list[Any] = [*["normal"] * 4, "padding"]
    readout = Readout.fold(np.vstack([SQUARE, [[0.5, 0.0]]]), kinds=kinds)
    assert len(geom.repair(readout)) == 0
    assert [row.token_id for row in geom.repair(readout, [4])] == [4]


def test_a_speakable_token_gets_the_margin_that_is_asked_for() -> None:
    W = np.vstack([SQUARE, [[1.0625, 0.0]]])
    readout = Readout.fold(W, norm="rmsnorm")
    (row,) = geom.repair(readout, [4], margin=0.5)
    assert row.margin >= 0.5
    assert row.moved > 0.0
    (same,) = geom.repair(readout, [0], margin=0.5)
    assert same.moved == 0.0


def test_the_file_is_read_by_the_option_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    W = rng.standard_normal((20, 5)).astype(np.float16)
    W[19] = W[:19].astype(np.float64).mean(axis=0).astype(np.float16)
    np.savez(tmp_path / "W.npz", W=W)
    name = f"npz:{tmp_path / 'W.npz'}?W=W&norm=rmsnorm"
    repair = geom.repair(name)
    repair.write(tmp_path / "rows.safetensors")
    patched = geom.load(f"{name}&rows={tmp_path / 'rows.safetensors'}")
    assert patched.digest == repair.readout.digest
    assert set(verdicts(patched).values()) == {"speakable"}


def test_a_token_that_is_buried_is_listed() -> None:
    # the row at (2, 2) hides the corner (1, 1), and leaves the others
    before = Readout.fold(np.vstack([SQUARE, [[0.0, 0.0]]]), norm="rmsnorm")
    after = before.with_rows([4], [[2.0, 2.0]])
    domain = before.domain
    kept = Protected(Geometry.of(Problem(before, domain)), np.arange(4), np.full(4, 0.1))
    assert lost_tokens(Problem(after, domain), kept, np.array([4])) == (0,)
    further = before.with_rows([4], [[1.0, 0.9375]])  # (1, 1) still wins, elsewhere too
    assert lost_tokens(Problem(further, domain), kept, np.array([4])) == ()


def test_a_head_without_a_scale_in_a_coordinate_is_moved_in_the_others() -> None:
    W = np.hstack([np.vstack([SQUARE, [[0.5, 0.0]]]), np.ones((5, 1))])
    readout = Readout.fold(W, gamma=[1.0, 2.0, 0.0], beta=[0.1, 0.0, 3.0], norm="rmsnorm")
    repair = geom.repair(readout)
    assert repair.file is not None
    assert (repair.file.rows[:, 2] == 1.0).all()
    check(repair, readout)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": 0.0}, "margin 0.0: give a positive number"),
        ({"margin": math.inf}, "give a positive number of logits"),
        ({"at_most": "wide"}, "at-most 'wide': give a positive length"),
        ({"at_most": -1.0}, "give a positive length"),
        ({"tokens": [7]}, "id 7 is outside the vocabulary"),
        ({"margin": 1e8}, "would leave the range of float16"),
    ],
)
def test_what_cannot_be_asked_is_refused(options: dict[str, Any], message: str) -> None:
    readout = Readout.fold(np.vstack([SQUARE, [[0.5, 0.0]]]).astype(np.float16), norm="rmsnorm")
    with pytest.raises(InputError, match=message):
        geom.repair(readout, **options)


def test_a_head_behind_a_projection_is_refused() -> None:
    W = np.vstack([SQUARE, [[0.5, 0.0]]])
    with pytest.raises(InputError, match="the head follows a projection"):
        geom.repair(Readout.fold(W, projection=np.eye(2)))


def test_a_search_that_does_not_fit_in_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    readout = Readout.fold(np.vstack([SQUARE, [[0.5, 0.0]]]), norm="rmsnorm")
    with geom.run(readout, tokens="all", hardest=0) as run:
        monkeypatch.setattr(memory, "usable", lambda: 1000)
        with pytest.raises(
            InputError, match=r"the search for the rows of 1 token .*name fewer with --tokens"
        ):
            geom.repair(run)


def test_the_search_is_the_same_each_time_and_another_seed_is_another_search() -> None:
    rng = np.random.default_rng(9)
    W = rng.standard_normal((40, 6))
    W[:4] = W[0]
    readout = Readout.fold(W, norm="rmsnorm")
    one, same, other = (geom.repair(readout, seed=seed) for seed in (0, 0, 1))
    assert one.file is not None
    assert same.file is not None
    assert other.file is not None
    np.testing.assert_array_equal(one.file.rows, same.file.rows)
    assert (one.file.rows != other.file.rows).any()
    assert not other.left
