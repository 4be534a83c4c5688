"""A stored run that was tampered with, by hand, in sqlite3: every forgery must be reported.

The rows are a square with its centre and a point near it, on the box of radius one. A corner's
own direction wins by 0.75 (over the point near the centre); half of each of two opposite corners
is the centre; and the last token's evidence proves bounds and no verdict.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import geom
from geom import (
    Certifier,
    Finding,
    InputError,
    NoOptions,
    Problem,
    Readout,
    StoreError,
    Verification,
    Weights,
    hookimpl,
    open_run,
    verify,
)
from geom.model import domains
from geom.plugins.registry import using
from geom.runs.pipeline import execute
from geom.runs.planning import plan
from support.plugins import installed_and
from support.stored_runs import edit

CENTRE, NEAR = 4, 5
SQUARE = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0], [0.0, 0.0], [0.25, 0.25]])
READOUT = Readout.fold(SQUARE)


def certify(problem: Problem, token: int, prior: Finding, options: NoOptions) -> Finding:
    if token == CENTRE:
        return Finding(weights=Weights(np.array([0, 2]), np.array([0.5, 0.5])))
    if token == NEAR:
        return Finding(x=np.array([1.0, 1.0]), weights=Weights(np.array([0]), np.array([1.0])))
    return Finding(x=SQUARE[token])


@dataclass(frozen=True)
class Given:
    """A plugin with the certifier above."""

    @hookimpl
    def geom_certifiers(self) -> Iterable[Certifier[NoOptions]]:
        return [Certifier("by-hand", "", certify, NoOptions)]


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("honest") / "run.db"
    with using(installed_and(Given())):
        asked = plan(READOUT, tokens="all", certifiers=["by-hand"], domain="box", opening=False)
    execute(asked, path).close()
    return path.read_bytes()


@pytest.fixture
def path(honest: bytes, tmp_path: Path) -> Path:
    (tmp_path / "run.db").write_bytes(honest)
    return tmp_path / "run.db"


def checked(path: Path, readout: Readout = READOUT) -> Verification:
    with open_run(path) as run:
        return verify(run, readout)


def faulty(path: Path) -> list[int | None]:
    """The tokens with faults; no other token may be confirmed or lost on the way."""
    verification = checked(path)
    tokens = [fault.token for fault in verification.faults]
    assert verification.ok == (not tokens)
    assert all("\n" not in str(fault) for fault in verification.faults)
    with open_run(path) as run:
        wrong = {row.token_id for row in run.rows()} & set(tokens)
        assert sum(verification.confirmed.values()) == len(list(run.rows())) - len(wrong)
    return tokens


def npy(values: Any, dtype: type = float) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array(values, dtype=dtype))
    return buffer.getvalue()


def test_an_honest_run_is_confirmed_whole(path: Path) -> None:
    verification = checked(path)
    assert verification.ok
    assert verification.confirmed == {"speakable": 4, "unspeakable": 1, "undecided": 1}


def test_the_bounds_in_the_file_are_those_on_paper(path: Path) -> None:
    with open_run(path) as run:
        assert run.row(0).margin_lower == pytest.approx(0.75, rel=1e-12)
        assert run.row(CENTRE).margin_upper == pytest.approx(0.0, abs=1e-12)
        assert run.row(NEAR).margin_lower == pytest.approx(-0.5, rel=1e-12)
        assert run.row(NEAR).margin_upper == pytest.approx(1.0, rel=1e-9)  # |w_0 - w_5|_1


def evidence(token: int, name: str, data: Any) -> tuple[Any, ...]:
    return "UPDATE evidence SET data = ? WHERE token_id = ? AND name = ?", data, token, name


def claim(token: int, assignments: str) -> tuple[Any, ...]:
    return f"UPDATE tokens SET {assignments} WHERE token_id = ?", token


FORGERIES: dict[str, tuple[int, tuple[Any, ...]]] = {
    "a speakable token without its bound": (0, claim(0, "margin_lower = NULL")),
    "speakable flipped": (0, claim(0, "verdict = 'unspeakable'")),
    "speakable flipped, with a proof": (0, claim(0, "verdict = 'unspeakable', proof = 'slack'")),
    "unspeakable flipped": (CENTRE, claim(CENTRE, "verdict = 'speakable'")),
    "unspeakable flipped, with a proof": (
        CENTRE,
        claim(CENTRE, "verdict = 'speakable', proof = 'witness', margin_lower = 1.0"),
    ),
    "undecided called speakable": (NEAR, claim(NEAR, "verdict = 'speakable', proof = 'witness'")),
    "undecided called unspeakable": (
        NEAR,
        claim(NEAR, "verdict = 'unspeakable', proof = 'rational'"),
    ),
    "undecided with a proof": (NEAR, claim(NEAR, "proof = 'interior'")),
    "another proof": (CENTRE, claim(CENTRE, "proof = 'witness'")),
    "no proof": (CENTRE, claim(CENTRE, "proof = NULL")),
    "no proof of the other side": (0, claim(0, "proof = NULL")),
    "another's x": (0, evidence(0, "x", npy([0.0, 1.0]))),
    "x outside the box": (0, evidence(0, "x", npy([2.0, 0.0]))),
    "x of another length": (0, evidence(0, "x", npy([1.0, 0.0, 0.0]))),
    "x in float32": (0, evidence(0, "x", npy([1.0, 0.0], np.float32))),
    "x NaN": (0, evidence(0, "x", npy([np.nan, 0.0]))),
    "x zero": (0, evidence(0, "x", npy([0.0, 0.0]))),
    "other tokens' weights": (CENTRE, evidence(CENTRE, "indices", npy([0, 1], np.int64))),
    "weights on the token itself": (CENTRE, evidence(CENTRE, "indices", npy([0, 4], np.int64))),
    "weights outside the vocabulary": (CENTRE, evidence(CENTRE, "indices", npy([0, 9], np.int64))),
    "weights in int32": (CENTRE, evidence(CENTRE, "indices", npy([0, 2], np.int32))),
    "negative weights": (CENTRE, evidence(CENTRE, "values", npy([1.5, -0.5]))),
    "weights of another length": (CENTRE, evidence(CENTRE, "values", npy([1.0]))),
    "margin_lower raised": (0, claim(0, "margin_lower = 0.7500000000000002")),
    "margin_lower raised much": (0, claim(0, "margin_lower = 9e9")),
    "margin_lower of the undecided raised": (NEAR, claim(NEAR, "margin_lower = -0.25")),
    "margin_lower above 0 of the unspeakable": (CENTRE, claim(CENTRE, "margin_lower = 5e-324")),
    "margin_upper lowered": (CENTRE, claim(CENTRE, "margin_upper = -1e-300")),
    "margin_upper of the undecided lowered": (NEAR, claim(NEAR, "margin_upper = 0.99")),
    "margin_upper from nowhere": (0, claim(0, "margin_upper = 5.0")),
    "witness deleted": (0, ("DELETE FROM evidence WHERE token_id = 0",)),
    "weights deleted": (CENTRE, ("DELETE FROM evidence WHERE token_id = 4",)),
    "half of the weights deleted": (CENTRE, ("DELETE FROM evidence WHERE name = 'values'",)),
    "damaged witness": (0, evidence(0, "x", b"\x93NUMPY and no more")),
    "damaged weights": (CENTRE, evidence(CENTRE, "values", npy([0.5, 0.5])[:-1])),
    "no bytes": (0, evidence(0, "x", "text")),
}


@pytest.mark.parametrize(("token", "forgery"), FORGERIES.values(), ids=FORGERIES.keys())
def test_a_forgery_is_reported_and_the_rest_confirmed(
    token: int, forgery: tuple[Any, ...], path: Path
) -> None:
    edit(path, *forgery)
    assert token in faulty(path)
    assert set(faulty(path)) <= {token, NEAR, None}


@pytest.mark.parametrize(
    "change",
    [
        claim(0, "margin_lower = 0.5"),
        claim(NEAR, "margin_upper = 2.0"),
        claim(0, "note = 'seen', seconds = 9"),
        evidence(0, "x", npy([1.0, -0.0])),
        evidence(CENTRE, "values", npy([1.0, 1.0])),
    ],
)
def test_a_weaker_claim_or_another_good_proof_holds(change: tuple[Any, ...], path: Path) -> None:
    edit(path, *change)
    assert faulty(path) == []


def test_certificates_that_were_swapped_are_reported(path: Path) -> None:
    for old, new in ((0, -1), (1, 0), (-1, 1)):
        edit(path, "UPDATE evidence SET token_id = ? WHERE token_id = ?", new, old)
    assert set(faulty(path)) == {0, 1}


def test_tokens_that_were_swapped_are_reported(path: Path) -> None:
    for table in ("tokens", "evidence"):
        for old, new in ((0, -1), (CENTRE, 0), (-1, CENTRE)):
            edit(path, f"UPDATE {table} SET token_id = ? WHERE token_id = ?", new, old)
    assert set(faulty(path)) == {0, CENTRE}


@pytest.mark.parametrize("token", [-1, 6, 2**62])
def test_a_row_outside_the_vocabulary_is_reported(token: int, path: Path) -> None:
    edit(
        path,
        "INSERT INTO tokens (token_id, flagged_by, verdict, seconds) VALUES (?, '[]', ?, 0)",
        token,
        "undecided",
    )
    assert faulty(path) == [None, token]


def test_a_run_with_a_pending_token_does_not_hold(path: Path) -> None:
    edit(path, "UPDATE tokens SET verdict = NULL WHERE token_id = 0")
    assert [str(fault) for fault in checked(path).faults] == [
        "not examined yet: 1; the command that made the run goes on with it"
    ]


@pytest.mark.parametrize(
    "other",
    [
        Readout.fold(2.0 * SQUARE),
        Readout.fold(SQUARE, np.arange(6.0)),
        Readout.fold(SQUARE[:5]),
        Readout.fold(np.nextafter(SQUARE, 1.0)),
    ],
)
def test_other_weights_confirm_nothing(other: Readout, path: Path) -> None:
    verification = checked(path, other)
    assert verification.confirmed == {}
    assert [fault.token for fault in verification.faults] == [None]
    assert "other weights" in str(verification.faults[0])


def changed_settings(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    with open_run(path) as run:
        settings = run.settings
    change(settings)
    edit(path, "UPDATE meta SET value = ? WHERE key = 'settings'", json.dumps(settings))


@pytest.mark.parametrize("digest", ["0" * 64, None, 5])
def test_another_digest_in_the_file_confirms_nothing(digest: Any, path: Path) -> None:
    changed_settings(path, lambda settings: settings.update(digest=digest))
    assert [fault.token for fault in checked(path).faults] == [None]


def test_a_smaller_domain_in_the_file_loses_its_witnesses(path: Path) -> None:
    half = domains.as_settings(domains.box(2, 0.5))
    changed_settings(path, lambda settings: settings.update(domain=half))
    assert set(faulty(path)) >= {0, 1, 2, 3}


@pytest.mark.parametrize(
    "domain", [{}, None, [], "box", {"name": "box"}, {"name": "mine", "shape": "cone"}]
)
def test_settings_without_a_domain_are_refused(domain: Any, path: Path) -> None:
    changed_settings(path, lambda settings: settings.update(domain=domain))
    with pytest.raises((InputError, StoreError)) as refused:
        checked(path)
    assert "\n" not in str(refused.value)


def test_a_run_loads_its_own_model(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", W=SQUARE)
    with geom.run(f"npz:{tmp_path}/w.npz?norm=rmsnorm", tokens="all") as run:
        assert verify(run).confirmed == {"speakable": 4, "unspeakable": 2}
        np.savez(tmp_path / "w.npz", W=2.0 * SQUARE)
        assert str(verify(run).faults[0]).startswith(
            "the run was made with other weights than npz:"
        )


def test_a_run_made_in_python_is_verified_with_its_readout_only(path: Path) -> None:
    with open_run(path) as run, pytest.raises(InputError, match="name its weights"):
        verify(run)


def test_progress_reaches_every_token(path: Path) -> None:
    seen = []
    with open_run(path) as run:
        verify(run, READOUT, progress=lambda *step: seen.append(step))
    own = [step for step in seen if step[0] == "verify"]
    assert own == [("verify", done, 6, "tokens") for done in range(7)]
