"""The order of rows, against what the intervals of their margins allow."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from geom.certificates import VerdictName
from geom.store import TokenRow
from geom.store.ranking import TIED, ranking


def row(
    token: int,
    lower: float | None,
    upper: float | None,
    verdict: VerdictName = "speakable",
    *,
    own: bool = False,
) -> TokenRow:
    return TokenRow(
        token,
        token=None,
        self_argmax=own,
        argmax_id=0,
        argmax=None,
        flagged_by=(),
        verdict=verdict,
        proof=None,
        certifier=None,
        margin_lower=lower,
        margin_upper=upper,
        seconds=0.0,
        note=None,
        token_kind=None,
    )


def test_a_loose_bound_does_not_stand_at_the_head() -> None:
    rows = [row(0, 0.00269, 75.9), row(1, 12.2, 12.25), row(2, 0.5, None), row(3, 9.1, 9.15)]
    found = ranking(rows)
    assert [r.token_id for r in found.rows] == [3, 1, 0, 2]
    assert found.proven == 0  # each of the two loose ones may be the hardest
    assert "not proven" in found.about


def test_the_unspeakable_and_the_undecided_come_first_and_do_not_count() -> None:
    rows = [row(0, 1.0, 1.0), row(1, None, None, "undecided"), row(2, -1.0, 0.0, "unspeakable")]
    found = ranking([*rows, row(3, 2.0, 2.0)])
    assert [r.token_id for r in found.rows] == [2, 1, 0, 3]
    assert found.proven == 2
    assert found.about == "the hard tokens are in proven order, the hardest first"
    assert ranking(rows).about == ranking(rows[1:]).about == ""  # one has no order


def test_the_head_is_proven_up_to_the_first_that_another_may_be_below() -> None:
    rows = [row(0, 1.0, 1.001), row(1, 2.0, 2.001), row(2, 3.0, 3.001), row(3, 2.5, 99.0)]
    found = ranking(rows)
    assert [r.token_id for r in found.rows] == [0, 1, 2, 3]
    assert (found.proven, found.tied) == (2, frozenset())
    assert found.about.startswith("the first 2 hard tokens are the hardest, in proven order")


def test_tokens_in_order_are_called_hard_if_all_of_them_are() -> None:
    rows = [row(0, 1.0, 1.001), row(1, 2.0, 2.001, own=True), row(2, 3.0, 99.0)]
    assert ranking(rows).about.startswith("the first 2 speakable tokens are the hardest")
    rows[1:] = [row(1, 2.0, 2.001), row(2, 3.0, 99.0, own=True)]
    assert ranking(rows).about.startswith("the first 2 hard tokens are the hardest")
    loose = [row(0, 1.0, 99.0), row(1, 2.0, 99.0)]
    assert ranking(loose).about.startswith("the order of the hard tokens is not proven")


def test_what_a_margin_is_is_always_said() -> None:
    far, near = row(0, 30.0, 31.0), row(1, 0.001, 0.002)
    meaning = "margins are in logits: the most by which one exceeds all others"
    assert ranking([far]).legend == (meaning,)
    (said,) = ranking([far, near]).legend
    assert said.startswith(f"{meaning}; where logits are 16 to 32, rounding can lose margins below")
    tied = ranking([row(2, -1.0, 0.0, "unspeakable")]).legend
    assert tied == ("an upper bound of 0 allows a tie, never a win", meaning)
    assert ranking([row(3, None, None, "undecided")]).legend == ()


def test_a_single_token_at_the_head_is_said_to_be_one() -> None:
    found = ranking([row(0, 1.0, 1.001), row(1, 2.5, 99.0)])
    assert found.proven == 1
    assert found.about.startswith("the first hard token is proven to be the hardest; ")


def test_neighbours_that_overlap_are_marked() -> None:
    rows = [row(0, 1.0, 1.001), row(1, 2.0, 2.001), row(2, 2.0005, 2.002), row(3, 3.0, None)]
    found = ranking(rows)
    assert (found.proven, found.tied) == (3, frozenset({1, 2}))
    assert [found.margin(r).endswith(TIED) for r in found.rows] == [False, True, True, False]
    assert TIED in found.about


def test_margins_that_meet_in_a_number_are_apart() -> None:
    found = ranking([row(0, 1.0, 1.005), row(1, 1.005, 1.01)])
    assert (found.proven, found.tied) == (2, frozenset())


def test_bounds_that_say_nothing_prove_nothing() -> None:
    nan, inf = float("nan"), float("inf")
    rows = [row(0, 1.0, nan), row(1, nan, 1.0), row(2, inf, inf), row(3, None, None)]
    assert ranking(rows).proven == 0


bounds = st.tuples(st.integers(1, 400), st.integers(0, 6)).map(lambda p: (p[0] / 8, sum(p) / 8))


@given(st.lists(bounds, min_size=1, max_size=5))
def test_no_margins_between_the_bounds_contradict_the_order(
    ends: list[tuple[float, float]],
) -> None:
    """The highest margin that a token may have is at most the lowest of all that come later."""
    ranked = ranking(row(i, low, high) for i, (low, high) in enumerate(ends))
    order = [r.token_id for r in ranked.rows]
    for place, other in combinations(range(len(order)), 2):
        tied = {order[place], order[other]} <= ranked.tied
        if place < ranked.proven and not tied:
            assert ends[order[place]][1] <= ends[order[other]][0]
