"""Margins bounded in bulk, against margins in Fractions (`truth`) at the same points."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import geom
from geom import InputError, Problem, Readout, StoreError, Witness
from geom.exact import bulk, products
from geom.exact.bulk import own_direction, prove_own_directions, prove_points
from geom.machine.devices import find_device, using
from geom.model import domains
from support.truth import Floats

NAMES = ("layernorm", "rmsnorm", "box", "unbounded")
CLOUD = np.random.default_rng(5).normal(size=(300, 6))


def problem(W: Floats, b: Floats | None = None, domain: str = "rmsnorm") -> Problem:
    return Problem(Readout.fold(W, b), domains.named(domain, W.shape[1], None))


def margin(question: Problem, token: int, x: Floats) -> Fraction:
    """Return the margin at ``x`` in Fractions."""
    point = [Fraction(float(value)) for value in x]
    logits = [
        sum(Fraction(float(w)) * v for w, v in zip(row, point, strict=True)) + Fraction(float(b))
        for row, b in zip(question.readout.W, question.readout.b, strict=True)
    ]
    return logits[token] - max(logits[:token] + logits[token + 1 :])


@st.composite
def questions(draw: st.DrawFn) -> Problem:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    V, d = draw(st.integers(2, 12)), draw(st.integers(1, 5))
    whole = draw(st.booleans())
    W = rng.integers(-3, 4, (V, d)).astype(float) if whole else rng.normal(size=(V, d))
    W *= 2.0 ** draw(st.sampled_from([-300, -40, 0, 3, 40, 300]))
    W += draw(st.sampled_from([0.0, 1.0, 1e6])) * np.abs(W).max()
    b = rng.normal(size=V) * draw(st.sampled_from([0.0, 1e-30, 1e-3, 1.0, 1e4, 1e300]))
    return problem(W, b, draw(st.sampled_from(NAMES)))


@pytest.fixture(params=["cpu", "torch"])
def device(request: pytest.FixtureRequest) -> Iterator[None]:
    with using(find_device(request.param)[0]):
        yield


@given(question=questions())
def test_a_bound_from_a_point_is_below_the_margin_there(question: Problem) -> None:
    V, d = question.readout.V, question.readout.d
    rng = np.random.default_rng(0)
    points = np.array([question.domain.fit(x) for x in rng.normal(size=(V, d))])
    lower = prove_points(question, np.arange(V), points)
    for token, x in enumerate(points):
        if lower[token] > 0.0:
            at = margin(question, token, x)
            length = Fraction(float(np.linalg.norm(x)))
            free = question.homogeneous and not question.domain.bounded
            assert Fraction(lower[token]) <= (
                at / length * (1 + Fraction(1, 2**40)) if free else at
            )


@given(question=questions())
def test_a_bound_from_an_own_direction_is_below_the_margin_there(question: Problem) -> None:
    V = question.readout.V
    lower = prove_own_directions(question, np.arange(V))
    for token in range(V):
        x = own_direction(question, token)
        assert question.domain.contains(x)
        if lower[token] > 0.0:
            at = margin(question, token, x)
            if question.homogeneous and not question.domain.bounded:
                at *= 1 + Fraction(1, 2**40)  # the point is a unit vector, except for rounding
            assert Fraction(lower[token]) <= at


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("domain", NAMES)
@pytest.mark.parametrize("biased", [False, True])
def test_clear_winners_are_proven_and_losers_are_not(domain: str, biased: bool) -> None:
    b = 0.1 * np.random.default_rng(6).normal(size=300) if biased else None
    question = problem(CLOUD, b, domain)
    lower = prove_own_directions(question, np.arange(300))
    points = [own_direction(question, token) for token in range(300)]
    margins = np.array([question.margins(t, x).min() for t, x in enumerate(points)])
    sizes = np.array([np.linalg.norm(x) for x in points])
    assert ((lower > 0.0) == (margins > 1e-4 * sizes)).all()
    assert 20 < (lower > 0.0).sum() < 280
    won = lower > 0.0
    assert lower[won] == pytest.approx(margins[won], abs=1e-4 * sizes.max())


@pytest.mark.usefixtures("device")
def test_bounds_do_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = prove_own_directions(problem(CLOUD), np.arange(300))
    question = problem(CLOUD)
    monkeypatch.setattr(bulk, "POINTS", 7)
    monkeypatch.setattr(products, "ROWS", 11)
    assert prove_own_directions(question, np.arange(300)) == pytest.approx(whole, rel=1e-4)
    question = problem(CLOUD)
    assert prove_own_directions(question, np.array([7, 3])) == pytest.approx(
        whole[[7, 3]], rel=1e-4
    )


def test_bounds_are_remembered_for_as_long_as_their_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    question = problem(CLOUD)
    first = prove_own_directions(question, np.arange(0, 300, 2))
    asked: list[list[int]] = []
    compute = bulk._own_directions

    def watch(problem: Problem, tokens: NDArray[np.int64], widen: float) -> Floats:
        asked.append(tokens.tolist())
        return compute(problem, tokens, widen)

    monkeypatch.setattr(bulk, "_own_directions", watch)
    again = Problem(question.readout, question.domain)
    assert (prove_own_directions(again, np.arange(300))[::2] == first).all()
    assert asked == [list(range(1, 300, 2))]
    prove_own_directions(problem(CLOUD, domain="box"), np.arange(2))
    assert asked[1] == [0, 1]


def test_a_claim_is_below_what_a_check_finds() -> None:
    question = problem(CLOUD)
    claims = prove_own_directions(question, np.arange(300))
    checks = prove_own_directions(question, np.arange(300), widen=1.0)
    assert (claims[claims > 0.0] < checks[claims > 0.0]).all()


def test_a_bound_holds_for_every_point_within_the_spread() -> None:
    question, rng = problem(CLOUD), np.random.default_rng(1)
    tokens = np.flatnonzero(prove_own_directions(question, np.arange(300)) > 0.0)[:20]
    points = np.array([own_direction(question, int(token)) for token in tokens])
    lower = prove_points(question, tokens, points, spread=0.05)
    assert (lower > 0.0).any()
    for _ in range(4):
        off = rng.normal(size=points.shape)
        moved = points + 0.05 * off / np.linalg.norm(off, axis=1, keepdims=True)
        for token, x, bound in zip(tokens, moved, lower, strict=True):
            assert bound == -np.inf or Fraction(bound) <= margin(question, int(token), x)


def test_twins_and_the_mean_are_never_proven() -> None:
    W = np.vstack([CLOUD, CLOUD[:3], CLOUD.mean(axis=0)])
    lower = prove_own_directions(problem(W), np.arange(len(W)))
    assert (lower[[0, 1, 2, 300, 301, 302, 303]] == -np.inf).all()


def test_points_that_are_no_numbers_prove_nothing() -> None:
    points = np.array([np.full(6, np.nan), np.full(6, np.inf), np.zeros(6)])
    assert (prove_points(problem(CLOUD), np.arange(3), points) == -np.inf).all()


def test_numbers_beyond_float32_prove_nothing_wrong() -> None:
    W = CLOUD[:40] * np.logspace(-300, 300, 40)[:, None]
    question = problem(W)
    lower = prove_own_directions(question, np.arange(40))
    for token in np.flatnonzero(lower > 0.0).tolist():
        assert margin(question, token, own_direction(question, token)) >= lower[token]


def test_a_token_alone_wins_everywhere() -> None:
    assert prove_points(problem(np.ones((1, 2))), np.array([0]), np.zeros((1, 2))) > 0.0


def test_no_token_has_no_bound() -> None:
    assert prove_own_directions(problem(CLOUD), np.zeros(0, dtype=np.int64)).shape == (0,)


# Runs of many tokens


@pytest.fixture(scope="module")
def readout() -> Readout:
    rng = np.random.default_rng(8)
    return Readout.fold(np.vstack([rng.normal(size=(380, 5)), 0.1 * rng.normal(size=(20, 5))]))


@pytest.fixture(scope="module")
def audited(readout: Readout, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("audited") / "run.db"
    geom.run(
        readout, tokens="all", certifiers=["highs"], domain="rmsnorm", hardest=0, out=path
    ).close()
    return path.read_bytes()


@pytest.fixture
def audit(audited: bytes, tmp_path: Path) -> Path:
    """Return the run, in a file that a test may edit."""
    (tmp_path / "run.db").write_bytes(audited)
    return tmp_path / "run.db"


def test_a_run_of_many_tokens_stores_no_vector_for_the_easy_ones(
    audit: Path, readout: Readout
) -> None:
    with geom.open_run(audit, readout) as run:
        easy = [row for row in run.rows() if row.certifier == "own-direction"]
        assert len(easy) > 50
        assert {(row.verdict, row.proof) for row in easy} == {("speakable", "witness")}
        assert {row.token_id for row in easy} == run.recipes()
        assert all(run.evidence(row.token_id).x is None for row in easy)
        for row in easy[:10]:
            found = run.certificate(row.token_id)
            assert isinstance(found, Witness)
            assert row.margin_lower is not None
            assert Fraction(row.margin_lower) <= margin(run.problem, row.token_id, found.x)


def test_verdicts_are_those_of_tokens_looked_at_one_by_one(audit: Path, readout: Readout) -> None:
    few = list(range(100)) + list(range(380, 400))
    asked = {"tokens": few, "certifiers": ["highs"], "domain": "rmsnorm", "opening": False}
    alone = geom.run(readout, **asked)  # type: ignore[arg-type]
    with geom.open_run(audit, readout) as run:
        assert all(run.row(row.token_id).verdict == row.verdict for row in alone.rows())
        assert alone.recipes() == frozenset()


def test_verify_confirms_what_is_rebuilt(audit: Path, readout: Readout) -> None:
    with geom.open_run(audit, readout) as run:
        checked = geom.verify(run, readout)
    assert checked.ok
    assert sum(checked.confirmed.values()) == 400


def test_verify_names_a_recipe_that_proves_nothing(audit: Path, readout: Readout) -> None:
    with geom.open_run(audit, readout) as run:
        easy = sorted(run.recipes())
        hard = next(row.token_id for row in run.rows("unspeakable"))
    with closing(sqlite3.connect(audit)) as connection, connection:
        change = "UPDATE tokens SET margin_lower = 2 * margin_lower + 1 WHERE token_id = ?"
        connection.execute(change, (easy[0],))
        change = (
            "UPDATE tokens SET verdict = 'speakable', proof = 'witness', margin_lower = 0.1, "
            "margin_upper = NULL, recipe = 'own-direction' WHERE token_id = ?"
        )
        connection.execute(change, (hard,))
    with geom.open_run(audit, readout) as run:
        checked = geom.verify(run, readout)
    assert {fault.token for fault in checked.faults} == {easy[0], hard}


def test_a_witness_is_rebuilt_from_the_weights_that_the_run_names(
    readout: Readout, tmp_path: Path
) -> None:
    np.save(tmp_path / "W.npy", readout.W)
    model = f"npz:{tmp_path / 'W.npy'}"
    geom.run(model, tokens="all", certifiers=["highs"], out=tmp_path / "run.db").close()
    with geom.open_run(tmp_path / "run.db") as run:
        token = min(run.recipes())
        found = run.certificate(token)
        assert isinstance(found, Witness)
        assert margin(run.problem, token, found.x) > 0


def test_without_its_weights_a_witness_is_not_rebuilt(audit: Path) -> None:
    with geom.open_run(audit) as run, pytest.raises(InputError, match="name its weights"):
        run.certificate(min(run.recipes()))
    other = Readout.fold(CLOUD)
    with geom.open_run(audit, other) as run, pytest.raises(StoreError, match="other weights"):
        run.certificate(min(run.recipes()))


def test_the_largest_margin_is_asked_of_the_certifier(readout: Readout) -> None:
    run = geom.run(
        readout,
        tokens=range(300),
        certifiers=["highs"],
        domain="rmsnorm",
        options={"certifier.highs.largest": True},
    )
    assert run.recipes() == frozenset()
