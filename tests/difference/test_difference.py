"""What two runs differ in: hand-made readouts, and properties of random pairs of runs."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import geom
from geom import Difference, InputError, Readout, Run, StoreError

SQUARE = [[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]
WITHIN = [0.25, 0.5]
BEYOND = [3.0, 0.0]
TEXTS = ["a", "b", "c", "d", "e", "f"]


def ran(rows: Sequence[Sequence[float]], tokens: str = "all", **options: object) -> Run:
    texts: object = options.pop("texts", TEXTS[: len(rows)])
    kinds: object = options.pop("kinds", None)
    readout = Readout.fold(rows, tokens=texts, kinds=kinds)  # type: ignore[arg-type]
    return geom.run(readout, tokens=tokens, hardest=len(rows), **options)  # type: ignore[arg-type]


def ids(items: Sequence[geom.TokenChange]) -> list[int]:
    return [item.token_id for item in items]


def test_a_token_that_falls_into_the_hull_is_newly_unspeakable() -> None:
    with ran([*SQUARE, BEYOND]) as before, ran([*SQUARE, WITHIN]) as after:
        found = geom.diff(before, after)
        back = geom.diff(after, before)
    (change,) = found.verdicts
    assert (change.token_id, change.token, change.before, change.after) == (
        *(4, "e", "speakable"),
        "unspeakable",
    )
    assert change.margin_before[0] is not None
    assert change.margin_before[0] > 0
    assert change.margin_after[1] == 0.0
    assert found.newly_unspeakable == found.verdicts
    assert back.newly_unspeakable == ()
    assert [(item.before, item.after) for item in back.verdicts] == [("unspeakable", "speakable")]


def test_tokens_that_become_equal_are_new_twins_by_group() -> None:
    before = [*SQUARE, [5.0, 0.0], [5.0, 0.0]]
    after = [[5.0, 0.0], SQUARE[1], [-1.0, 3.0], [-1.0, 3.0], [5.0, 0.0], [5.0, 0.0]]
    with ran(before) as one, ran(after) as other:
        found, back = geom.diff(one, other), geom.diff(other, one)
    assert [(g.tokens, g.parts) for g in found.twins] == [
        ((0, 4, 5), ((0,), (4, 5))),
        ((2, 3), ((2,), (3,))),
    ]
    assert found.twins[0].texts == ("a", "e", "f")
    assert found.parted == ()
    assert back.parted == found.twins
    assert back.twins == ()


def test_a_group_that_splits_is_parted_and_joins_no_other() -> None:
    one, other = [*SQUARE, SQUARE[0], SQUARE[0]], [*SQUARE, SQUARE[0], SQUARE[1]]
    with ran(one) as before, ran(other) as after:
        found = geom.diff(before, after)
    assert [(g.tokens, g.parts) for g in found.parted] == [((0, 4, 5), ((0, 4), (5,)))]
    assert [(g.tokens, g.parts) for g in found.twins] == [((1, 5), ((1,), (5,)))]


def test_of_tokens_that_were_not_examined_no_twins_are_claimed_to_be_new() -> None:
    equal, apart = [*SQUARE, WITHIN, WITHIN], [*SQUARE, WITHIN, [0.0, 0.5]]
    for rows, tokens, new in ((equal, "0-3", 0), (equal, "4", 0), (apart, "4", 1), (apart, "0", 0)):
        with ran(rows, tokens) as before, ran(equal, "4-5") as after:
            found = geom.diff(before, after)
        assert [group.tokens for group in found.twins] == [(4, 5)] * new
    with ran(equal, "4") as before, ran(equal, "5") as after:
        assert geom.diff(before, after).twins == ()


def test_a_margin_sinks_by_what_it_has_lost() -> None:
    """Over the unit disc the largest margin of a corner of the square is exactly sqrt(2)."""
    with ran(SQUARE) as before, ran((np.array(SQUARE) * 0.75).tolist()) as after:
        found, back = geom.diff(before, after), geom.diff(after, before)
    assert ids(found.sank) == [0, 1, 2, 3]
    assert (found.rose, found.level, found.unknown) == ((), 0, 0)
    for item in found.sank:
        least, most = item.fall
        assert least is not None
        assert most is not None
        assert least <= 0.25 * math.sqrt(2.0) <= most
        assert most - least < 0.1
    assert sorted(ids(back.rose)) == [0, 1, 2, 3]
    assert back.sank == ()


def test_the_greatest_share_comes_first() -> None:
    before, after = [[8.0, 0.0], [0.0, 4.0], [-8.0, -4.0]], [[4.0, 0.0], [0.0, 3.9], [-8.0, -4.0]]
    with ran(before) as one, ran(after) as other:
        found = geom.diff(one, other)
    shares = [item.margin_after[1] / item.margin_before[0] for item in found.sank]  # type: ignore[operator]
    assert len(shares) > 1
    assert shares == sorted(shares)


def test_a_bound_that_is_missing_proves_neither() -> None:
    loose = geom.run(Readout.fold(SQUARE, tokens=TEXTS[:4]), tokens="all", hardest=0)
    with ran(SQUARE) as before, loose as after:
        found = geom.diff(before, after)
    assert (found.sank, found.rose) == ((), ())
    assert found.level + found.unknown == 4


def test_tokens_that_one_run_examined_are_named_with_what_the_other_says() -> None:
    with ran([*SQUARE, WITHIN], tokens="0,4") as before, ran([*SQUARE, WITHIN], "1,4") as after:
        found = geom.diff(before, after)
    assert [(i.token_id, i.before, i.after) for i in found.only_before] == [
        (0, "speakable", "not examined")
    ]
    assert [(i.token_id, i.before, i.after) for i in found.only_after] == [
        (1, "not examined", "speakable")
    ]


def test_a_token_that_no_detector_flagged_before_is_newly_unspeakable() -> None:
    with ran([*SQUARE, BEYOND], "candidates") as before, ran([*SQUARE, WITHIN], "candidates") as b:
        found = geom.diff(before, b)
        assert 4 not in [row.token_id for row in before]
    (change,) = found.newly_unspeakable
    assert (change.token_id, change.before, change.after) == (4, "not flagged", "unspeakable")


def test_what_is_undecided_now_is_newly_undecided_unless_it_was_unspeakable() -> None:
    with ran([*SQUARE, WITHIN]) as before, ran([*SQUARE, WITHIN], certifiers=[]) as after:
        found = geom.diff(before, after)
    assert ids(found.newly_undecided) == [0, 1, 2, 3]
    assert len(found.verdicts) == 5


def test_own_directions_are_counted() -> None:
    # along (9, 2.9) the row (10, 0) scores a little higher; (9, 4) wins along its own direction
    one, other = ([[10.0, 0.0], second, [-10.0, 0.0], [-9.0, -8.0]] for second in ([9, 4], [9, 2]))
    flags = {"detectors": ["self-argmax"], "options": {"detector.self-argmax.centre": False}}
    with ran(one, **flags) as before, ran(other, **flags) as after:
        labels = [{row.token_id: row.self_argmax for row in run} for run in (before, after)]
        found = geom.diff(before, after)
    lost = [t for t in labels[0] if labels[0][t] and not labels[1][t]]
    assert list(found.lost) == lost != []
    assert found.won == ()


# Vocabularies


def test_runs_of_other_vocabularies_are_refused_with_the_token_that_tells() -> None:
    with ran(SQUARE) as before, ran(SQUARE, texts=["a", "b", "x", "d"]) as after:
        with pytest.raises(InputError, match=r'token 2 is "c" in .* and "x" in .*: an id is not'):
            geom.diff(before, after)
        found = geom.diff(before, after, force=True)
    assert found.notes == ("not compared, as the texts differ: 1 token",)


def test_sizes_that_differ_are_refused_without_texts() -> None:
    with ran(SQUARE, texts=None) as one, ran([*SQUARE, WITHIN], texts=None) as other:
        with pytest.raises(InputError, match=r"has 4 tokens and .* has 5, and no texts tell"):
            geom.diff(one, other)
        found = geom.diff(one, other, force=True)
    assert found.only_after == ()


def test_a_vocabulary_that_has_grown_is_the_same_one() -> None:
    with ran(SQUARE) as before, ran([*SQUARE, WITHIN]) as after:
        found = geom.diff(before, after)
    assert found.notes[0].endswith("has 1 token more than python")
    (new,) = found.only_after
    assert (new.token_id, new.before, new.after) == (4, "no such token", "unspeakable")
    assert ids(found.newly_unspeakable) == [4]


def test_texts_in_one_run_alone_refuse_nothing() -> None:
    with ran(SQUARE) as one, ran(SQUARE, texts=None) as other:
        assert not geom.diff(one, other)


def test_margins_on_two_domains_are_not_compared() -> None:
    with ran(SQUARE) as one, ran(SQUARE, domain="rmsnorm") as other:
        found = geom.diff(one, other)
    assert found.notes == (
        "the domains differ (unbounded and rmsnorm), so margins are not compared",
    )
    assert (found.sank, found.rose, found.level, found.unknown) == ((), (), 0, 0)


def test_a_run_that_is_unfinished_is_said_to_be(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    ran(SQUARE, out=path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE tokens SET verdict = NULL WHERE token_id = 2")
    with ran(SQUARE) as one:
        found = geom.diff(one, path)
    assert found.notes == (f"{path} is unfinished, and has yet to examine 1 token",)
    assert ids(found.only_before) == [2]


def test_a_file_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with ran(SQUARE) as one, pytest.raises(StoreError, match="does not exist"):
        geom.diff(one, tmp_path / "absent.db")


def test_files_and_open_runs_are_taken(tmp_path: Path) -> None:
    ran(SQUARE, out=tmp_path / "a.db").close()
    with ran(SQUARE) as one:
        assert not geom.diff(one, str(tmp_path / "a.db"))
        assert not geom.diff(tmp_path / "a.db", one)
        assert len(one) == 4


# Properties of random pairs

ROWS = st.lists(st.tuples(*[st.integers(-3, 3).map(float)] * 2).map(list), min_size=5, max_size=5)
SPECS = st.sampled_from(["all", "candidates", "0-2", "1,3-4"])


def mirrored(found: Difference) -> list[object]:
    """Return a difference as the same two runs in the other order should give it."""
    turned = [
        sorted((i.token_id, i.after, i.before, i.margin_after, i.margin_before) for i in items)
        for items in (found.verdicts, found.only_after, found.only_before, found.rose, found.sank)
    ]
    return [*turned, found.parted, found.twins, found.level, found.unknown, found.won, found.lost]


def told(found: Difference) -> list[object]:
    seen = [
        sorted((i.token_id, i.before, i.after, i.margin_before, i.margin_after) for i in items)
        for items in (found.verdicts, found.only_before, found.only_after, found.sank, found.rose)
    ]
    return [*seen, found.twins, found.parted, found.level, found.unknown, found.lost, found.won]


def equal_rows(rows: list[list[float]]) -> set[tuple[int, ...]]:
    """Return the groups of equal rows."""
    groups: dict[tuple[float, ...], list[int]] = {}
    for token, row in enumerate(rows):
        groups.setdefault(tuple(row), []).append(token)
    return {tuple(group) for group in groups.values() if len(group) > 1}


@settings(max_examples=30)
@given(ROWS, ROWS, SPECS, SPECS)
def test_a_difference_turned_round_is_the_same(
    one: list[list[float]], other: list[list[float]], first: str, second: str
) -> None:
    with ran(one, first) as before, ran(other, second) as after:
        assert not geom.diff(before, before)
        assert not geom.diff(after, after)
        found = geom.diff(before, after)
        assert told(found) == mirrored(geom.diff(after, before))
        old = {row.token_id: row.verdict for row in before}
        new = {row.token_id: row.verdict for row in after}
    dead = [t for t, v in new.items() if v == "unspeakable" and old.get(t) != "unspeakable"]
    assert ids(found.newly_unspeakable) == dead
    assert set(ids(found.only_after)) == new.keys() - old.keys()
    for item in (*found.sank, *found.rose):
        assert (item.before, item.after) == ("speakable", "speakable")
    for item in found.sank:
        least = item.fall[0]
        assert least is not None
        (low, _), (_, above) = item.margin_before, item.margin_after
        assert Fraction(least) <= Fraction(low) - Fraction(above)  # type: ignore[arg-type]
        assert low > above  # type: ignore[operator]
    if first == second == "all":
        assert {group.tokens for group in found.twins} == equal_rows(other) - equal_rows(one)
    lines = [json.loads(geom.json_line(line)) for line in found.as_dicts()]
    counts = found.counts()
    assert [lines[0][name] for name in counts] == list(counts.values())
    silent = ("newly_unspeakable", "newly_undecided", "level", "unknown")
    assert len(lines) - 1 == sum(n for name, n in counts.items() if name not in silent)
