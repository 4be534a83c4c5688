"""The chain of certifiers, on a square with its centre and a point near it.

The corners win along their own directions, by a margin of one. The centre is a mean of opposite
corners and the token near it lies inside the square: no direction makes either win. That much is
seen on paper, so whatever a certifier says, the verdicts may say nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from geom import Certifier, Finding, NoOptions, Problem, Readout, Weights
from geom.model.domains import box
from geom.plugins.chosen import Chosen
from geom.runs import certification
from geom.runs.certification import Link
from geom.store import Outcome
from support.places import bare

CORNERS = (0, 1, 2, 3)
CENTRE, NEAR = 4, 5
TOKENS = (*CORNERS, CENTRE, NEAR)
SQUARE = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0], [0.0, 0.0], [0.25, 0.25]])
PROBLEM = Problem(Readout.fold(SQUARE), box(2))

Find = Callable[[Problem, int, Finding], Any]


def link(find: Find, name: str = "stub", **fields: Any) -> Link:
    def call(problem: Problem, token: int, prior: Finding, options: NoOptions) -> Any:
        return find(problem, token, prior)

    return Chosen("certifier", Certifier(name, "", call, NoOptions, **fields), NoOptions())


def many(find: Callable[[Sequence[int]], Any], batch: int = 64) -> Link:
    def call(problem: Problem, tokens: Sequence[int], priors: Any, options: NoOptions) -> Any:
        return find(tokens)

    return link(nothing, "many", certify_many=call, batch=batch)


def answer(finding: object) -> Find:
    return lambda problem, token, prior: finding


def nothing(problem: Problem, token: int, prior: Finding) -> Finding:
    return Finding()


def weights(indices: Sequence[Any], values: Sequence[Any]) -> Weights:
    return Weights(np.array(indices), np.array(values, dtype=float))


def truth(problem: Problem, token: int, prior: Finding) -> Finding:
    """A corner's own direction; the weights on the diagonal that hold the centre; nothing else."""
    if token in CORNERS:
        return Finding(x=SQUARE[token])
    return Finding(weights=weights([0, 2], [0.5, 0.5]) if token == CENTRE else None)


def certify(problem: Problem, chain: Sequence[Link], tokens: Sequence[int]) -> list[Outcome]:
    """The outcomes in the order of the tokens, one each."""
    outcomes = list(certification.certify(problem, chain, tokens))
    assert sorted(outcome.token_id for outcome in outcomes) == sorted(tokens)
    return sorted(outcomes, key=lambda outcome: list(tokens).index(outcome.token_id))


def one(*chain: Link, token: int) -> Outcome:
    (outcome,) = certify(PROBLEM, chain, [token])
    return outcome


def boom(*_: object) -> Any:
    raise ValueError("boom\nand more")


class UnprintableError(Exception):
    """An exception that cannot even be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def unprintable(*_: object) -> Any:
    raise UnprintableError


def writes_to_the_weights(problem: Problem, token: int, prior: Finding) -> Finding:
    problem.readout.W[token] *= 2.0
    return Finding(x=SQUARE[token])


RAISES: dict[str, Find] = {
    "raises": boom,
    "raises without words": unprintable,
    "writes to the weights": writes_to_the_weights,
    "divides by zero": lambda problem, token, prior: 1 / 0,
    "recurses": lambda problem, token, prior: RAISES["recurses"](problem, token, prior),
    "None": answer(None),
    "a string": answer("speakable"),
    "a number": answer(1.0),
    "NaN": answer(float("nan")),
    "an array": answer(np.ones(2)),
    "a class": answer(Finding),
    "x a string": answer(Finding(x="east")),
    "x ragged": answer(Finding(x=[[1.0], [1.0, 2.0]])),
    "x of huge integers": answer(Finding(x=[10**400, 0])),
    "x of objects": answer(Finding(x=np.array([object(), None]))),
    "weights a string": answer(Finding(weights="half")),
    "weights a pair": answer(Finding(weights=([0, 2], [0.5, 0.5]))),
    "weights None": answer(Finding(weights=Weights(None, None))),
    "huge indices": answer(Finding(weights=Weights([2**70], [1.0]))),
    "values of words": answer(Finding(weights=Weights([0], ["half"]))),
    "a note of arrays": answer(Finding(note=np.ones(2))),
}

PROVES_NOTHING = {
    "nothing": Finding(),
    "x NaN": Finding(x=np.full(2, np.nan)),
    "x infinite": Finding(x=np.full(2, np.inf)),
    "x huge": Finding(x=np.full(2, 1e308)),
    "x integers": Finding(x=np.array([1, 1])),
    "x zero": Finding(x=np.zeros(2)),
    "x a scalar": Finding(x=np.float64(1.0)),
    "x empty": Finding(x=np.zeros(0)),
    "x too long": Finding(x=np.ones(3)),
    "x a column": Finding(x=np.ones((2, 1))),
    "x outside the box": Finding(x=np.array([1.5, 0.0])),
    "weights NaN": Finding(weights=weights([0, 2], [np.nan, 1.0])),
    "weights infinite": Finding(weights=weights([0, 2], [np.inf, 1.0])),
    "weights negative": Finding(weights=weights([0, 2], [-1.0, 1.0])),
    "weights zero": Finding(weights=weights([0, 2], [0.0, 0.0])),
    "weights empty": Finding(weights=Weights(np.zeros(0, dtype=np.int64), np.zeros(0))),
    "weights on too few tokens": Finding(weights=weights([0], [1.0])),
    "weights twice": Finding(weights=weights([0, 0], [0.5, 0.5])),
    "weights below the vocabulary": Finding(weights=weights([-1, 2], [0.5, 0.5])),
    "weights above the vocabulary": Finding(weights=weights([0, 99], [0.5, 0.5])),
    "weights of another length": Finding(weights=weights([0, 1, 2], [0.5, 0.5])),
    "weights in a table": Finding(weights=weights([[0, 2]], [[0.5, 0.5]])),
    "weights scalar": Finding(weights=Weights(np.int64(0), np.float64(1.0))),
}


@pytest.mark.parametrize("find", RAISES.values(), ids=RAISES.keys())
def test_a_certifier_that_raises_costs_only_its_token(find: Find) -> None:
    def sometimes(problem: Problem, token: int, prior: Finding) -> Any:
        return (find if token == CENTRE else truth)(problem, token, prior)

    outcomes = certify(PROBLEM, [link(sometimes, "hapless")], [0, CENTRE, 1])
    assert [outcome.verdict for outcome in outcomes] == ["speakable", "undecided", "speakable"]
    assert outcomes[1].note is not None
    assert outcomes[1].note.startswith("hapless raised ")
    assert "\n" not in outcomes[1].note


@pytest.mark.parametrize("find", RAISES.values(), ids=RAISES.keys())
def test_after_a_certifier_that_raises_the_next_is_asked(find: Find) -> None:
    outcome = one(link(find), link(truth, "honest"), token=CENTRE)
    assert (outcome.verdict, outcome.certifier) == ("unspeakable", "honest")


@pytest.mark.parametrize("token", [CENTRE, NEAR])
@pytest.mark.parametrize("finding", PROVES_NOTHING.values(), ids=PROVES_NOTHING.keys())
def test_a_finding_that_proves_nothing_is_undecided_with_a_reason(
    finding: Finding, token: int
) -> None:
    outcome = one(link(answer(finding)), token=token)
    assert (outcome.verdict, outcome.proof, outcome.certifier) == ("undecided", None, None)
    assert outcome.note


@pytest.mark.parametrize("finding", PROVES_NOTHING.values(), ids=PROVES_NOTHING.keys())
def test_a_finding_that_proves_nothing_is_displaced(finding: Finding) -> None:
    assert [
        outcome.verdict
        for outcome in certify(PROBLEM, [link(answer(finding)), link(truth)], TOKENS)
    ] == ["speakable"] * 4 + ["unspeakable", "undecided"]


numbers = st.floats() | st.sampled_from([0.0, 0.25, 0.5, 1.0, -1.0])
vectors = arrays(np.float64, array_shapes(max_dims=2, max_side=3), elements=numbers) | arrays(
    np.float64, 2, elements=st.floats(-1, 1)
)
combinations = st.builds(
    Weights,
    arrays(np.int64, st.integers(0, 4), elements=st.integers(-1, 6)),
    arrays(np.float64, st.integers(0, 4), elements=numbers),
)
findings = st.builds(Finding, st.none() | vectors, st.none() | combinations)


@given(first=findings, second=findings, token=st.sampled_from(TOKENS))
def test_whatever_certifiers_find_no_verdict_is_wrong(
    first: Finding, second: Finding, token: int
) -> None:
    outcome = one(link(answer(first)), link(answer(second), verifies=True), token=token)
    assert outcome.verdict in ("undecided", "speakable" if token in CORNERS else "unspeakable")


@given(first=findings, second=findings, token=st.sampled_from(TOKENS))
def test_whatever_comes_before_and_after_a_proof_stands(
    first: Finding, second: Finding, token: int
) -> None:
    chain = [link(answer(first)), link(truth), link(answer(second), verifies=True)]
    found = one(*chain, token=token)
    assert token == NEAR or found.verdict == ("speakable" if token in CORNERS else "unspeakable")


def test_an_interrupt_passes_through() -> None:
    def interrupted(problem: Problem, token: int, prior: Finding) -> Finding:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        one(link(interrupted), token=0)


def test_an_empty_chain_leaves_every_token_undecided() -> None:
    assert {outcome.verdict for outcome in certify(PROBLEM, [], TOKENS)} == {"undecided"}


def test_no_token_is_no_outcome() -> None:
    assert certify(PROBLEM, [link(boom)], []) == []


def test_an_outcome_comes_before_the_next_token_is_begun() -> None:
    begun = []

    def watch(tokens: Sequence[int]) -> Any:
        for token in tokens:
            begun.append(token)
            yield truth(PROBLEM, token, Finding())

    outcomes = certification.certify(PROBLEM, [many(watch)], TOKENS)
    assert [(next(outcomes).token_id, len(begun)) for _ in TOKENS] == [
        (token, 1 + i) for i, token in enumerate(TOKENS)
    ]


def test_what_a_link_decides_does_not_wait_for_the_rest_of_the_chain() -> None:
    outcomes = certification.certify(PROBLEM, [link(truth), link(boom)], [NEAR, 0])
    assert next(outcomes).token_id == 0


def test_the_chain_passes_on_what_was_found() -> None:
    x, lam = np.array([0.5, 0.5]), weights([0], [1.0])
    seen = []

    def watch(problem: Problem, token: int, prior: Finding) -> Finding:
        seen.append((prior.x, prior.weights))
        return Finding()

    chain = [
        link(watch),
        link(answer(Finding(x=x))),
        link(watch),
        link(answer(Finding(weights=lam))),
        link(watch),
    ]
    one(*chain, token=NEAR)
    assert seen[0] == (None, None)
    assert (seen[1][0] == x).all()
    assert seen[1][1] is None
    assert (seen[2][0] == x).all()
    assert seen[2][1].indices.tolist() == [0]


@pytest.mark.parametrize(("verifies", "asked"), [(False, [NEAR]), (True, list(TOKENS))])
def test_only_a_verifying_certifier_sees_decided_tokens(verifies: bool, asked: list[int]) -> None:
    seen = []

    def watch(problem: Problem, token: int, prior: Finding) -> Finding:
        seen.append(token)
        return Finding()

    certify(PROBLEM, [link(truth), link(watch, verifies=verifies)], TOKENS)
    assert seen == asked


@pytest.mark.parametrize("find", [boom, nothing, answer(Finding(x=np.zeros(2)))])
def test_a_later_certifier_cannot_undo_a_verdict(find: Find) -> None:
    alone = certify(PROBLEM, [link(truth)], TOKENS)
    followed = certify(PROBLEM, [link(truth), link(find, "late", verifies=True)], TOKENS)
    assert [claim(outcome) for outcome in followed][:5] == [claim(o) for o in alone][:5]


def claim(outcome: Outcome) -> tuple[Any, ...]:
    return (outcome.verdict, outcome.proof, outcome.certifier, outcome.margin_upper)


@pytest.mark.parametrize("order", [(1.0, 0.5), (0.5, 1.0)])
def test_the_better_of_two_points_is_kept(order: tuple[float, float]) -> None:
    chain = [link(answer(Finding(x=length * SQUARE[0])), verifies=True) for length in order]
    outcome = one(*chain, token=0)
    assert outcome.evidence.x.tolist() == [1.0, 0.0]
    assert outcome.margin_lower == pytest.approx(0.75, rel=1e-12)  # over the token near the centre


def test_weights_that_prove_are_kept() -> None:
    better, worse = Finding(weights=weights([0, 2], [0.5, 0.5])), Finding(weights=weights([0], [1]))
    for order in ([better, worse], [worse, better]):
        outcome = one(*(link(answer(f), verifies=True) for f in order), token=CENTRE)
        assert outcome.verdict == "unspeakable"
        assert outcome.evidence.weights.values.tolist() == [0.5, 0.5]


def test_of_two_proofs_the_first_is_kept() -> None:
    chain = [
        link(answer(Finding(weights=weights([0, 2], values))), name, verifies=True)
        for name, values in [("first", [0.5, 0.5]), ("second", [0.6, 0.4])]
    ]
    assert one(chain[1], token=CENTRE).verdict == "unspeakable"
    outcome = one(*chain, token=CENTRE)
    assert (outcome.verdict, outcome.certifier) == ("unspeakable", "first")
    assert outcome.evidence.weights.values.tolist() == [0.5, 0.5]


def test_of_weights_that_prove_nothing_the_better_bound_is_kept() -> None:
    close, far = weights([0, 1], [0.5, 0.5]), weights([2], [1.0])
    for order in ([close, far], [far, close]):
        outcome = one(*(link(answer(Finding(weights=w))) for w in order), token=NEAR)
        assert outcome.evidence.weights.indices.tolist() == [0, 1]
        assert outcome.margin_upper == pytest.approx(0.5, rel=1e-9)  # |r|_1 on the box


def test_weights_are_kept_beside_a_point() -> None:
    outcome = one(
        link(answer(Finding(weights=weights([1], [1.0])))),
        link(answer(Finding(x=SQUARE[0]))),
        token=0,
    )
    assert outcome.verdict == "speakable"
    assert outcome.evidence.weights.indices.tolist() == [1]
    assert outcome.margin_upper == pytest.approx(2.0, rel=1e-9)  # |w_0 - w_1|_1


def test_the_certifier_named_is_the_one_that_decided() -> None:
    chain = [link(nothing, "idle"), link(truth, "honest"), link(truth, "late", verifies=True)]
    assert [outcome.certifier for outcome in certify(PROBLEM, chain, TOKENS)] == [
        *["honest"] * 5,
        None,
    ]


def test_evidence_that_is_written_to_afterwards_stays_what_was_judged() -> None:
    buffer = np.zeros(2)

    def reuses_its_buffer(problem: Problem, token: int, prior: Finding) -> Finding:
        buffer[:] = SQUARE[token]
        return Finding(x=buffer, weights=weights([3 - token], [1.0]))

    def scribbles(problem: Problem, token: int, prior: Finding) -> Finding:
        for array in (prior.x, prior.weights.values):
            try:
                array[:] = 0.125
            except ValueError:
                continue
        return prior

    outcomes = certify(PROBLEM, [link(reuses_its_buffer), link(scribbles, verifies=True)], [0, 1])
    assert [outcome.verdict for outcome in outcomes] == ["speakable", "speakable"]
    assert [outcome.evidence.x.tolist() for outcome in outcomes] == SQUARE[:2].tolist()
    assert [outcome.evidence.weights.values.tolist() for outcome in outcomes] == [[1.0], [1.0]]


def test_notes_of_the_whole_chain_are_kept_with_their_certifiers() -> None:
    outcome = one(
        link(answer(Finding(note="tried")), "first"),
        link(boom, "second"),
        link(answer(Finding(x=SQUARE[0], note="found")), "third"),
        token=0,
    )
    said = "first: tried; second raised ValueError: boom; third: found"
    assert bare(outcome.note, "test_certification.py") == said


@pytest.mark.parametrize("note", ["lone surrogate \ud800", "two\nlines"])
def test_a_note_can_be_stored_and_shown_in_one_line(note: str) -> None:
    outcome = one(link(answer(Finding(note=note))), token=NEAR)
    assert "\n" not in outcome.note
    assert outcome.note.encode("utf-8")


def test_a_twin_is_named() -> None:
    problem = Problem(Readout.fold(SQUARE[[0, 1, 2, 0]]), box(2))
    outcomes = certify(problem, [link(answer(Finding(x=SQUARE[0])))], [0, 3, 1])
    assert "same row and bias as token 3" in outcomes[0].note
    assert "same row and bias as token 0" in outcomes[1].note
    assert "same row" not in (outcomes[2].note or "")


def test_batches_are_no_larger_than_the_certifier_asks() -> None:
    sizes = []

    def watch(tokens: Sequence[int]) -> list[Finding]:
        sizes.append(len(tokens))
        return [truth(PROBLEM, token, Finding()) for token in tokens]

    outcomes = certify(PROBLEM, [many(watch, batch=4)], TOKENS)
    assert sizes == [4, 2]
    assert [o.verdict for o in outcomes] == ["speakable"] * 4 + ["unspeakable", "undecided"]


@pytest.mark.parametrize("batch", [0, -1])
def test_a_batch_of_none_is_a_batch_of_one(batch: int) -> None:
    link_ = many(lambda tokens: [truth(PROBLEM, token, Finding()) for token in tokens], batch)
    assert [o.verdict for o in certify(PROBLEM, [link_], [0, CENTRE])] == [
        "speakable",
        "unspeakable",
    ]


WRONG_LISTS: dict[str, Callable[[Sequence[int]], Any]] = {
    "too short": lambda tokens: [Finding()] * (len(tokens) - 1),
    "too long": lambda tokens: [Finding()] * (len(tokens) + 1),
    "empty": lambda tokens: [],
    "None": lambda tokens: None,
    "one finding": lambda tokens: Finding(),
    "a generator that raises": lambda tokens: (boom() for _ in tokens),
    "raises": boom,
}


@pytest.mark.parametrize("find", WRONG_LISTS.values(), ids=WRONG_LISTS.keys())
def test_a_list_of_findings_of_the_wrong_length_costs_only_its_batch(
    find: Callable[[Sequence[int]], Any],
) -> None:
    def sometimes(tokens: Sequence[int]) -> Any:
        right = [truth(PROBLEM, token, Finding()) for token in tokens]
        return find(tokens) if 2 in tokens else right

    outcomes = certify(PROBLEM, [many(sometimes, batch=2)], TOKENS)
    verdicts = [outcome.verdict for outcome in outcomes]
    assert verdicts == [*["speakable"] * 2, *["undecided"] * 2, "unspeakable", "undecided"]
    assert all(outcome.note.startswith("many raised ") for outcome in outcomes[2:4])


def test_findings_that_came_before_one_failed_are_kept() -> None:
    def breaks(tokens: Sequence[int]) -> Any:
        yield truth(PROBLEM, tokens[0], Finding())
        raise ValueError("boom")

    first, *others = certify(PROBLEM, [many(breaks)], TOKENS)
    assert first.verdict == "speakable"
    assert {o.verdict for o in others} == {"undecided"}
    for other in others:
        assert bare(other.note, "test_certification.py") == "many raised ValueError: boom"


def test_one_bad_finding_of_a_batch_costs_only_its_token() -> None:
    outcomes = certify(PROBLEM, [many(lambda tokens: [Finding(x=SQUARE[0]), None])], [0, 1])
    assert [outcome.verdict for outcome in outcomes] == ["speakable", "undecided"]


def test_a_verdicts_time_is_that_of_its_certifiers() -> None:
    assert all(outcome.seconds >= 0.0 for outcome in certify(PROBLEM, [link(truth)], TOKENS))
