"""What a run says of the certifiers that raised."""

from __future__ import annotations

from collections.abc import Mapping

from geom import Finding
from geom.runs.failures import Failure, failure_note, failures
from geom.store import Outcome, Planned, Run, create_or_continue

DOMAIN = {"name": "unbounded", "shape": "all", "size": None, "zero_sum": False}
CHAIN = {"first": {}, "Second one": {}}


def run(notes: Mapping[int, str | None]) -> Run:
    """A run whose tokens have these notes."""
    settings = {"digest": "0" * 64, "V": 9, "d": 2, "domain": DOMAIN, "certifiers": CHAIN}
    writer = create_or_continue(None, settings, "python", {})
    writer.plan([planned(token) for token in notes], [])
    writer.record(outcome(token, note) for token, note in notes.items())
    return writer.run


def planned(token: int) -> Planned:
    return Planned(
        token_id=token,
        token=None,
        self_argmax=False,
        argmax_id=0,
        argmax=None,
        flagged_by=(),
    )


def outcome(token: int, note: str | None) -> Outcome:
    return Outcome(
        token_id=token,
        verdict="undecided",
        proof=None,
        certifier=None,
        margin_lower=None,
        margin_upper=None,
        seconds=0.0,
        note=note,
        evidence=Finding(),
    )


def test_a_certifier_that_raised_is_named_once_with_its_first_reason() -> None:
    first, other = failure_note("first", "ValueError: a"), failure_note("first", "KeyError: b")
    with run({2: None, 3: first, 5: other}) as found:
        (failure,) = failures(found)
    assert failure == Failure("first", "ValueError: a", (3, 5))
    assert str(failure) == "certifier first raised ValueError: a: token 3 and 1 more"


def test_a_certifier_is_found_among_other_notes_whatever_its_name() -> None:
    note = "; ".join(("first: tried", failure_note("Second one", "OSError: c"), "same row"))
    with run({4: note}) as found:
        assert [str(item) for item in failures(found)] == [
            "certifier Second one raised OSError: c: token 4"
        ]


def test_what_is_no_certifier_of_the_run_did_not_raise() -> None:
    with run({1: failure_note("another", "ValueError: d"), 2: "first: it raised a question"}) as it:
        assert failures(it) == []
