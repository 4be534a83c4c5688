"""Winners along own directions, against the whole product in Fractions (`truth.own_winner`)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geom import InputError, Problem, Readout, load, own_winners
from geom.exact import single, symmetric
from geom.exact.bulk import prove_own_directions
from geom.machine.devices import find_device, using
from geom.model import domains
from geom.numbers.arrays import Ids
from geom.progress import watched
from geom.self_argmax import contest, distinct, screen
from geom.self_argmax import winners as blocks
from support import truth
from support.truth import Floats

entry = st.integers(-3, 3).map(float) | st.floats(-1, 1) | st.floats(-1e-30, 1e-30)
matrices = st.tuples(st.integers(1, 9), st.integers(1, 5)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=entry)
)


def brute(W: Floats, centre: bool = False) -> list[int]:
    """Return the winners in Fractions, of rows centred in float64 as the documentation says."""
    rows = W - W.mean(axis=0) if centre else W
    return [truth.own_winner(rows, token) for token in range(len(W))]


def winners(W: Floats, centre: bool = False) -> list[int]:
    return own_winners(Readout.fold(W), centre=centre).tolist()


@pytest.mark.parametrize("centre", [False, True])
@given(W=matrices)
def test_winners_are_those_of_fractions(W: Floats, centre: bool) -> None:
    assert winners(W, centre) == brute(W, centre)


@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("e", [-1074, -900, -500, -150, -60, 60, 150, 500, 900, 1000])
@given(W=arrays(np.float64, (6, 3), elements=st.integers(-3, 3).map(float)))
def test_the_scale_of_the_rows_changes_no_winner(e: int, W: Floats, centre: bool) -> None:
    scaled = np.ldexp(W, e)
    assert winners(scaled, centre) == brute(scaled, centre)


@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e30, 1e150])
def test_rows_in_general_position_are_decided_at_every_scale(scale: float) -> None:
    W = np.random.default_rng(0).normal(size=(60, 5)) * scale
    assert winners(W, centre=True) == brute(W, centre=True)


def test_rows_of_wildly_different_length_are_decided() -> None:
    rng = np.random.default_rng(1)
    W = rng.normal(size=(60, 4)) * 10.0 ** rng.integers(-150, 150, size=(60, 1))
    assert winners(W) == brute(W)


@pytest.mark.parametrize("step", [2.0**-52, 2.0**-40, 2.0**-25])
def test_rows_that_float32_cannot_tell_apart_are_told_apart(step: float) -> None:
    W = 1.0 + np.random.default_rng(2).integers(-3, 4, size=(50, 4)) * step
    assert winners(W) == brute(W)


def test_a_loss_that_float64_does_not_see_is_seen() -> None:
    W = np.array([[2.0**27, 1.0], [2.0**27, 1.0 + 2.0**-30]])
    assert float(W[0] @ W[0]) == float(W[1] @ W[0])
    assert winners(W) == [1, 1]


# Ties


def test_of_two_duplicates_each_names_the_other() -> None:
    assert winners(np.array([[1.0, 2.0], [0.0, 1.0], [1.0, 2.0]])) == [2, 0, 0]


def test_of_many_duplicates_the_one_of_lowest_id_is_named() -> None:
    W = np.array([[0.0, 1.0], [3.0, 0.0], [3.0, 0.0], [3.0, 0.0]])
    assert winners(W) == [0, 2, 1, 1]


def test_a_tie_that_is_no_duplicate_is_lost_too() -> None:
    assert winners(np.array([[1.0, 0.0], [1.0, 5.0]])) == [1, 1]


def test_several_winners_at_once_are_answered_by_the_lowest_id() -> None:
    assert winners(np.array([[1.0, 0.0], [0.0, 9.0], [2.0, 1.0], [2.0, -1.0]]))[0] == 2


def test_a_row_of_zeros_ties_with_all_and_the_lowest_other_id_is_named() -> None:
    assert winners(np.array([[1.0], [0.0], [-1.0]])) == [0, 0, 2]


def test_all_rows_zero_are_all_lost() -> None:
    assert winners(np.zeros((3, 2))) == [1, 0, 0]


def test_a_token_without_rivals_wins() -> None:
    assert winners(np.array([[1.0, 2.0]]), centre=True) == [0]


def test_equal_rows_are_as_one_even_if_many_rows_are_equal() -> None:
    """Name, for the rows of two crowds of twins, the crowd's lowest id, or what lies beyond it."""
    W = np.zeros((90, 3))
    W[:40], W[40:80] = [1.0, 2.0, 3.0], [-1.0, 0.0, 1.0]
    W[80:] = np.random.default_rng(9).normal(size=(10, 3))
    found = winners(W)
    assert found == brute(W)
    assert found[:40] == [1] + 39 * [0]


def test_rows_that_differ_in_the_sign_of_zero_are_equal() -> None:
    assert winners(np.array([[1.0, 0.0], [1.0, -0.0], [0.0, 1.0]])) == [1, 0, 2]


def test_rows_that_are_equal_only_once_scaled_down_are_told_apart() -> None:
    W = np.array([[1.7e308, 0.0], [0.0, 2.0**-1070], [0.0, 2.0**-1071]])
    assert winners(W) == [0, 1, 1]


@given(W=matrices)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_that_share_a_key_by_chance_are_decided(
    monkeypatch: pytest.MonkeyPatch, W: Floats
) -> None:
    monkeypatch.setattr(distinct, "row_keys", lambda rows: np.zeros(len(rows), dtype=np.uint64))
    assert winners(W) == brute(W)


def test_zeros_and_rows_that_vanish_once_scaled_are_told_apart() -> None:
    W = np.array([[0.0], [0.0], [1e-151], [2e-151], [8e234], [-1e-76], [-0.0], [-2e30]])
    assert winners(W) == brute(W)


# Rows that always win


@pytest.mark.parametrize(
    ("a", "b", "c"), [(3, 4, 5), (5, 12, 13), (33, 56, 65), (119, 120, 169), (4059, 4060, 5741)]
)
def test_distinct_rows_of_equal_length_all_win(a: int, b: int, c: int) -> None:
    first = np.array([(a, b), (b, a), (c, 0), (0, c)], dtype=float)
    W = np.unique(np.vstack([first * signs for signs in product([1, -1], repeat=2)]), axis=0)
    assert ((W * W).sum(axis=1) == c * c).all()
    assert winners(W) == list(range(12))


def test_distinct_rows_of_signs_all_win() -> None:
    W = np.array(list(product([1.0, -1.0], repeat=7)))
    assert winners(W) == list(range(128))


def test_the_longest_row_wins_its_direction() -> None:
    W = np.random.default_rng(3).normal(size=(200, 8))
    longest = int((W * W).sum(axis=1).argmax())
    assert winners(W)[longest] == longest


def test_centring_makes_a_shift_of_all_rows_harmless() -> None:
    W = np.random.default_rng(4).integers(-50, 50, size=(64, 3)).astype(float)
    shifted = W + np.array([1000.0, -300.0, 77.0])
    assert winners(shifted, centre=True) == winners(W, centre=True)
    assert winners(shifted) != winners(W)


def test_the_bias_has_no_say() -> None:
    W = np.eye(3)
    assert own_winners(Readout.fold(W, [0.0, 99.0, 0.0]), centre=False).tolist() == [0, 1, 2]


# Blocks and subsets


def test_many_small_blocks_give_what_one_gives() -> None:
    W = np.random.default_rng(5).normal(size=(20000, 2))
    readout, some = Readout.fold(W), np.arange(0, 20000, 61).tolist()
    assert len(some) / 20 > 2**20 // (4 * 20000)
    assert (own_winners(readout, some, memory_mib=1) == own_winners(readout, some)).all()


def test_a_row_alone_in_its_block_is_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    W = np.random.default_rng(6).normal(size=(40, 3))
    assert own_winners(Readout.fold(W), centre=False, memory_mib=0).tolist() == brute(W)
    monkeypatch.setattr(single, "block_rows", lambda d: 7)
    assert winners(W) == brute(W)


@given(matrices, st.data())
def test_tokens_are_answered_in_the_order_asked(W: Floats, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, len(W) - 1), max_size=12))
    every = brute(W)
    answered = own_winners(Readout.fold(W), ids, centre=False)
    assert answered.tolist() == [every[token] for token in ids]


def test_no_tokens_have_no_winners() -> None:
    answered = own_winners(Readout.fold(np.eye(2)), [])
    assert (answered.shape, answered.dtype) == ((0,), np.int64)


@pytest.mark.parametrize("signs", [[1.0, 1.0], [1.0, -1.0, -1.0]], ids=repr)
def test_rows_that_cannot_be_centred_in_float64_are_refused(signs: list[float]) -> None:
    with pytest.raises(InputError, match="scale W down"):
        own_winners(Readout.fold(1.7e308 * np.array(signs)[:, None]))


def test_rows_near_the_end_of_the_range_are_decided_without_centring() -> None:
    W = np.array([[1.7e308, 0.0], [1.7e308, 1.0], [0.0, -1.7e308]])
    assert winners(W) == brute(W)


# Screens


def cloud(n: int, d: int, decay: float) -> Floats:
    rng = np.random.default_rng(7)
    return rng.normal(size=(n, d)) * np.arange(1, d + 1) ** -decay @ orthogonal(d)


def orthogonal(d: int) -> Floats:
    return np.linalg.qr(np.random.default_rng(8).normal(size=(d, d)))[0]


@pytest.fixture(params=["cpu", "torch"])
def screened(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take small matrices through screens of every width, in blocks of a few tokens and rivals."""
    found, note = find_device(request.param)
    if note:
        pytest.skip(note)
    monkeypatch.setattr(blocks, "SCREEN_ROWS", 1)
    monkeypatch.setattr(screen, "_cheapest", lambda d, widths, left: tuple(widths))
    for name, size in (("BLOCK", 8), ("STRIP", 7), ("STRATUM", 32)):
        monkeypatch.setattr(blocks, name, size)
    monkeypatch.setattr(contest, "PAIRS", 20)
    with using(found):
        yield


@pytest.mark.usefixtures("screened")
@pytest.mark.parametrize("decay", [0.0, 0.6, 3.0])
def test_screens_change_no_winner(decay: float) -> None:
    W = cloud(60, 12, decay)
    assert winners(W) == brute(W)


@pytest.mark.usefixtures("screened")
def test_screens_change_no_winner_of_low_rank() -> None:
    W = cloud(60, 2, 0.0) @ orthogonal(12)[:2]
    assert winners(W) == brute(W)


@pytest.mark.usefixtures("screened")
def test_screens_keep_ties_and_name_the_lowest_id() -> None:
    twins = np.repeat(cloud(20, 12, 1.0), 3, axis=0)
    assert winners(twins) == brute(twins)
    signs = np.array(list(product([1.0, -1.0], repeat=5)))
    faces = np.vstack([signs, 2.0 * np.eye(5), np.ones((1, 5)) + 3.0 * np.eye(5)])
    assert winners(faces) == brute(faces)


@pytest.mark.usefixtures("screened")
@pytest.mark.parametrize("along", [0, 11], ids=["screened", "rest"])
def test_screens_tell_rows_apart_by_one_ulp(along: int) -> None:
    """Give each row a twin that is longer by an ulp of its largest entry, or by a nudge."""
    base = cloud(24, 12, 1.0)
    nudged = base + 2.0**-50 * orthogonal(12)[along]
    longer = np.nextafter(base, np.inf * np.sign(base))
    W = np.vstack([base, nudged, longer])
    assert winners(W) == brute(W)


@pytest.mark.usefixtures("screened")
def test_screens_decide_rows_of_wildly_different_length() -> None:
    rng = np.random.default_rng(1)
    W = rng.normal(size=(60, 4)) * 10.0 ** rng.integers(-150, 150, size=(60, 1))
    W[::7] = 0.0
    assert winners(W) == brute(W)


@pytest.mark.usefixtures("screened")
@given(W=matrices)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_screened_winners_are_those_of_fractions(W: Floats) -> None:
    assert winners(W) == brute(W)


@pytest.mark.usefixtures("screened")
def test_a_crowd_of_nearly_equal_rows_is_decided() -> None:
    """Rows that differ by less than float32 resolves, and some that float64 does not resolve."""
    rng = np.random.default_rng(3)
    crowd = 1.0 + rng.normal(size=(1, 12)) + rng.integers(-3, 4, size=(40, 12)) * 2.0**-40
    W = np.vstack([crowd, crowd[:20] + 2.0**-52, cloud(20, 12, 0.6)])
    assert winners(W) == brute(W)


@pytest.mark.usefixtures("screened")
def test_screened_winners_are_the_same_for_all_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    W = cloud(100, 12, 1.0)
    every = own_winners(Readout.fold(W)).tolist()
    for size, strip, memory in [(512, 512, 256), (7, 50, 256), (64, 9, 0)]:
        monkeypatch.setattr(blocks, "BLOCK", size)
        monkeypatch.setattr(blocks, "STRIP", strip)
        assert own_winners(Readout.fold(W), memory_mib=memory).tolist() == every


@pytest.mark.usefixtures("screened")
def test_several_threads_change_no_winner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "pool_threads", lambda: 3)
    W = cloud(60, 12, 0.6)
    assert winners(W) == brute(W)


def test_an_interrupt_ends_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks that no thread has begun are given up, and no thread is left."""
    monkeypatch.setattr(blocks, "pool_threads", lambda: 2)
    monkeypatch.setattr(blocks, "TALL", 2)
    before = threading.active_count()

    def watch(stage: str, done: float, total: float, unit: str) -> None:
        if done > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), watched(watch):
        own_winners(Readout.fold(cloud(4000, 3, 0.0)))
    assert threading.active_count() == before


@pytest.mark.parametrize("device", ["cpu", "torch"])
def test_rows_held_on_a_device_change_no_winner(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, note = find_device(device)
    if note:
        pytest.skip(note)
    monkeypatch.setattr(blocks, "SCREEN_ON", ())
    monkeypatch.setattr(blocks, "TALL", 16)
    W = cloud(60, 12, 0.6)
    with using(found):
        assert winners(W) == brute(W)


def test_screens_of_a_large_vocabulary_change_no_winner() -> None:
    """Compare with the plain product in float64, for tokens whose best two are far apart."""
    readout = load("synthetic:gpt2-like?V=9000&d=48&untrained=0.1")
    found = own_winners(readout)
    rows = readout.rows[:] - readout.rows[:].mean(axis=0)
    for ids in np.array_split(np.arange(readout.V), 9):
        scores = rows[ids] @ rows.T
        best = np.sort(scores, axis=1)[:, -2:]
        clear = best[:, 1] - best[:, 0] > 1e-9 * best[:, 1]
        assert clear.mean() > 0.8
        assert (found[ids] == scores.argmax(axis=1))[clear].all()


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("domain", ["rmsnorm", "box", "unbounded"])
def test_tokens_that_are_proven_to_win_are_not_compared_again(
    domain: str, half: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(symmetric, "LEAST", 20 if half else 10**6)
    W = cloud(400, 6, 0.0)
    W[7], W[11] = W[5], W[13:17].mean(axis=0)
    readout = Readout.fold(W)
    question = Problem(readout, getattr(domains, domain)(6))
    won = prove_own_directions(question, np.arange(0, 400, 2)) > 0.0
    compared: list[int] = []
    compare = blocks._own_winners

    def watch(readout: Readout, ids: Ids, *rest: Any) -> Ids:
        compared.extend(ids.tolist())
        return compare(readout, ids, *rest)

    monkeypatch.setattr(blocks, "_own_winners", watch)
    assert own_winners(readout).tolist() == brute(W, centre=True)
    assert set(compared) == set(range(400)) - set(np.arange(0, 400, 2)[won].tolist())
    assert won.sum() > 20
    compared.clear()
    own_winners(readout, centre=False)  # another question
    assert len(compared) == 400


@pytest.mark.parametrize(("domain", "biased"), [("layernorm", False), ("rmsnorm", True)])
def test_what_wins_in_another_question_is_compared(domain: str, biased: bool) -> None:
    """Biases, and rows less their own mean, decide who wins a point, and not who wins here."""
    rng = np.random.default_rng(1)
    W = rng.normal(size=(60, 4)) + 3.0 * rng.normal(size=(60, 1))
    readout = Readout.fold(W, 5.0 * rng.normal(size=60) if biased else None)
    question = Problem(readout, getattr(domains, domain)(4))
    expected = brute(W, centre=True)
    won = prove_own_directions(question, np.arange(60)) > 0.0
    assert (won & (np.array(expected) != np.arange(60))).any()
    assert own_winners(readout).tolist() == expected
