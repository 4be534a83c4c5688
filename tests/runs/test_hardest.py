"""The hardest tokens in order, against largest margins that a conic solver finds on its own."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import geom
from geom import Certifier, Domain, Finding, InputError, Problem, Readout, StoreError
from geom.model import domains
from geom.opening.rounds import Best, find
from geom.plugins.registry import installed, using
from geom.runs import hardest
from support import conic
from support.plugins import installed_and
from support.square_runs import Given

PLACES = 8

rng = np.random.default_rng(7)
ROWS = rng.standard_normal((160, 6)) * np.exp(0.2 * rng.standard_normal((160, 1)))
BIASES = 0.3 * rng.standard_normal(160)

CASES = {
    "a ball": (Readout.fold(ROWS), domains.rmsnorm(6)),
    "a ball with biases": (Readout.fold(ROWS, BIASES), domains.rmsnorm(6)),
    "a plane": (Readout.fold(ROWS, norm="layernorm"), domains.layernorm(6)),
    "a plane with a shift": (
        Readout.fold(ROWS, norm="layernorm", beta=rng.standard_normal(6)),
        domains.layernorm(6),
    ),
    "a box": (Readout.fold(ROWS), domains.box(6)),
    "a box with biases": (Readout.fold(ROWS, BIASES), domains.box(6, 0.5)),
    "all directions": (Readout.fold(ROWS), domains.unbounded(6)),
    "large rows": (Readout.fold(ROWS * 2.0**300), domains.rmsnorm(6)),
}


def true_margin(readout: Readout, domain: Domain, token: int) -> float:
    """The largest margin over the domain, or over the unit ball."""
    scale = 2.0 ** -np.frexp(np.abs(readout.W).max())[1]
    a = (np.delete(readout.W, token, axis=0) - readout.W[token]) * scale
    if domain.zero_sum:
        a = a - a.mean(axis=1, keepdims=True)
    c = (np.delete(readout.b, token) - readout.b[token]) * scale
    shape = "ball" if domain.shape == "all" else domain.shape
    radius = domain.radius if domain.bounded else 1.0
    return conic.largest_margin(a, c, shape, radius) / scale


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("certifier", ["maxent", "highs"])
def test_the_hardest_are_in_the_order_of_their_true_margins(case: str, certifier: str) -> None:
    readout, domain = CASES[case]
    run = geom.run(readout, tokens="all", certifiers=[certifier], domain=domain, hardest=PLACES)
    assert run.ordered
    rows = sorted(run.rows("speakable"), key=lambda row: row.margin_lower or 0.0)
    assert len(rows) > 2 * PLACES
    truth = {row.token_id: true_margin(readout, domain, row.token_id) for row in rows}
    head, tail = rows[:PLACES], rows[PLACES:]
    assert [row.token_id for row in head] == sorted(truth, key=lambda t: truth[t])[:PLACES]
    for row in rows:
        assert (row.margin_lower or 0.0) <= truth[row.token_id] * (1 + 1e-6)
        assert row.margin_upper is None or row.margin_upper >= truth[row.token_id] * (1 - 1e-6)
    uppers = [row.margin_upper or np.inf for row in head]
    lowers = [row.margin_lower or 0.0 for row in rows]
    assert all(upper <= low for upper, low in zip(uppers, lowers[1:], strict=False))
    assert max(uppers) <= min(row.margin_lower or 0.0 for row in tail)
    assert geom.verify(run, readout).ok
    assert [row.token_id for row in run.ranking().rows if row.verdict == "speakable"][:PLACES] == [
        row.token_id for row in head
    ]
    assert run.ranking().proven >= PLACES
    assert not run.ranking().tied


def test_tokens_that_are_equally_hard_are_marked() -> None:
    """Both ends of each axis have the largest margin ``1 + length of the step to the next``."""
    lengths = [1.0, 1.0, 1.0, 5.0]
    rows = [sign * s * axis for s, axis in zip(lengths, np.eye(4), strict=True) for sign in (1, -1)]
    readout = Readout.fold(np.array(rows))
    run = geom.run(readout, tokens="all", domain="unbounded", hardest=2)
    ranking = run.ranking()
    assert ranking.proven >= 6  # the six of length 1 come before the two of length 5
    assert {row.token_id for row in ranking.rows[:6]} == set(range(6))
    assert ranking.tied >= set(range(6))
    for row in ranking.rows[:6]:
        least = true_margin(readout, domains.unbounded(4), row.token_id)
        assert (row.margin_lower or 0.0) <= least + 1e-9
        assert (row.margin_upper or 0.0) >= least - 1e-9


def test_unspeakable_tokens_are_not_counted() -> None:
    W = np.vstack([ROWS, ROWS[:40].mean(axis=0), ROWS[3]])
    readout = Readout.fold(W)
    run = geom.run(readout, tokens="all", domain="rmsnorm", hardest=3)
    ranking = run.ranking()
    silent = [row.token_id for row in ranking.rows if row.verdict == "unspeakable"]
    assert {3, 160, 161} <= set(silent)
    assert ranking.rows[: len(silent)] == [run.row(token) for token in silent]
    assert ranking.proven >= 3


def test_few_tokens_are_all_tightened() -> None:
    readout, domain = CASES["a ball"]
    run = geom.run(readout, tokens=range(0, 160, 40), domain=domain, hardest=20)
    for row in run.rows("speakable"):
        low, high = row.margin_lower or 0.0, row.margin_upper or np.inf
        assert high - low <= 2e-3 * high
    assert run.ranking().proven == run.counts()["speakable"]


def test_tokens_proven_in_bulk_store_the_better_point() -> None:
    wide = np.random.default_rng(3).standard_normal((400, 24))
    readout = Readout.fold(wide)
    before = geom.run(readout, tokens="all", domain="rmsnorm", hardest=0)
    assert not before.ordered
    assert len(before.recipes()) > 300
    run = geom.run(readout, tokens="all", domain="rmsnorm", hardest=5)
    for row in run.ranking().rows[:5]:
        assert row.token_id not in run.recipes()
        assert run.evidence(row.token_id).x is not None
        assert (row.margin_lower or 0.0) > (before.row(row.token_id).margin_lower or 0.0)
    assert geom.verify(run, readout).ok


def test_a_run_that_was_interrupted_goes_on_with_the_order(tmp_path: Path) -> None:
    readout, domain = CASES["a ball with biases"]
    asked: dict[str, Any] = {"tokens": "all", "domain": domain, "hardest": PLACES}
    whole = geom.run(readout, **asked)
    said: list[str] = []

    def interrupt(stage: str, done: float, total: float, unit: str) -> None:
        said.append(stage)
        if stage == "hardest" and said.count("hardest") == 3:
            raise KeyboardInterrupt

    path = tmp_path / "run.db"
    with pytest.raises(KeyboardInterrupt):
        geom.run(readout, **asked, out=path, progress=interrupt)
    with geom.open_run(path, readout) as half:
        assert half.counts()["pending"] == 0
        assert not half.ordered
        assert geom.verify(half, readout).ok
    run = geom.run(readout, **asked, out=path)
    head = [row.token_id for row in whole.ranking().rows[:PLACES]]
    assert [row.token_id for row in run.ranking().rows[:PLACES]] == head
    assert run.ranking().proven >= PLACES
    run.close()
    said.clear()
    geom.run(readout, **asked, out=path, progress=lambda stage, *_: said.append(stage)).close()
    assert "hardest" not in said  # nothing is left to do


def test_another_number_is_another_run(tmp_path: Path) -> None:
    readout, domain = CASES["a ball"]
    asked: dict[str, Any] = {"tokens": "1", "domain": domain, "out": tmp_path / "run.db"}
    geom.run(readout, **asked, hardest=1).close()
    with pytest.raises(StoreError, match=r"hardest differ: hardest was 1, now 2"):
        geom.run(readout, **asked, hardest=2)


def test_a_run_of_an_older_version_asked_for_no_order(tmp_path: Path) -> None:
    readout, domain = CASES["a ball"]
    path = tmp_path / "run.db"
    asked: dict[str, Any] = {"tokens": "1", "domain": domain, "out": path}
    geom.run(readout, **asked, hardest=0).close()
    with closing(sqlite3.connect(path)) as file, file:
        (text,) = file.execute("SELECT value FROM meta WHERE key = 'settings'").fetchone()
        settings = json.loads(text)
        del settings["hardest"]
        file.execute("UPDATE meta SET value = ? WHERE key = 'settings'", (json.dumps(settings),))
    with geom.run(readout, **asked, hardest=0) as run:
        assert geom.verify(run, readout).ok
    with pytest.raises(StoreError, match="hardest was 0, now 10"):
        geom.run(readout, **asked)


@dataclass(frozen=True)
class Options:
    """What the stub is asked for."""

    gap: float = 0.0
    enough: float | None = None


def stub(certify: Any, **fields: Any) -> Given:
    return Given(certifiers=(Certifier("stub", "", certify, Options, **fields),))


def go_on(options: Options, gap: float, enough: float | None) -> Options:
    return replace(options, gap=gap, enough=enough)


def test_the_first_certifier_that_goes_on_is_asked() -> None:
    """A stranger's certifier, whose points are those of a conic solver."""
    seen: list[tuple[int, Options]] = []
    highs: Certifier[Any] = installed().get("certifier", "highs")

    def certify(problem: Problem, token: int, prior: Finding, options: Options) -> Finding:
        if not options.gap:
            return Finding()
        seen.append((token, options))
        assert prior.x is not None
        say: Any = highs.tighten
        return highs.certify(
            problem, token, prior, say(highs.options(), options.gap, options.enough)
        )

    given = stub(certify, tighten=go_on)
    readout, domain = CASES["a box with biases"]
    with using(installed_and(given)):
        run = geom.run(
            readout, tokens="all", domain=domain, certifiers=["stub", "maxent"], hardest=4
        )
    ranking = run.ranking()
    assert ranking.proven >= 4
    assert {row.certifier for row in ranking.rows if row.verdict == "speakable"} >= {"stub"}
    assert all(options.gap > 0.0 for _, options in seen)
    assert any(options.enough is not None for _, options in seen)


def test_a_certifier_that_verifies_sees_the_point_that_is_kept() -> None:
    def certify(problem: Problem, token: int, prior: Finding, options: Options) -> Finding:
        return Finding(note=f"saw {None if prior.x is None else float(prior.x[0])!r}")

    readout, domain = CASES["a ball"]
    with using(installed_and(stub(certify, verifies=True))):
        run = geom.run(
            readout, tokens="all", domain=domain, certifiers=["maxent", "stub"], hardest=4
        )
    assert run.ranking().proven >= 4
    for row in run.rows("speakable"):
        x = run.evidence(row.token_id).x
        assert x is not None
        assert row.note == f"stub: saw {float(x[0])!r}"


def boom(*_: Any) -> Any:
    raise ValueError("boom and more")


def raising(problem: Problem, token: int, prior: Finding, options: Options) -> Finding:
    if options.gap:
        raise ValueError("boom and more")
    return (
        installed()
        .get("certifier", "maxent")
        .certify(problem, token, prior, installed().get("certifier", "maxent").options())
    )


@pytest.mark.parametrize("fields", [{"tighten": go_on}, {"tighten": boom}], ids=["asked", "going"])
def test_a_certifier_that_raises_leaves_the_bounds_as_they_were(fields: dict[str, Any]) -> None:
    readout, domain = CASES["a box with biases"]
    with using(installed_and(stub(raising, **fields))):
        run = geom.run(readout, tokens="all", domain=domain, certifiers=["stub"], hardest=4)
    assert run.ordered
    assert run.counts()["undecided"] == 0
    assert run.ranking().proven == 0
    notes = [row.note or "" for row in run.rows()]
    assert any("stub raised ValueError: boom and more" in note for note in notes) == (
        fields["tighten"] is go_on
    )
    assert geom.verify(run, readout).ok


def test_a_chain_that_only_decides_signs_is_a_warning() -> None:
    readout, domain = CASES["a box with biases"]
    asked: dict[str, Any] = {"tokens": "0-3", "domain": domain, "certifiers": ["linprog-post"]}
    reason = (
        "the hardest tokens are not in order: no certifier of the chain (linprog-post) goes on to "
        "largest margins; add maxent"
    )
    assert geom.run(readout, **asked, hardest=4).warnings == [reason]
    assert geom.run(readout, **asked).warnings == []
    assert geom.run(readout, **asked, hardest=0).warnings == []
    ball: dict[str, Any] = asked | {"domain": CASES["a ball"][1]}
    assert geom.run(CASES["a ball"][0], **ball, hardest=4).warnings == []


def test_neighbours_are_told_apart_whoever_else_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody in the chain goes on where rounds end, and they leave one token between bounds."""
    lengths = np.array([1.0, 1.0004, 1.0008, 3.0, 5.0, 5.5])
    readout = Readout.fold(np.vstack([np.diag(lengths), -np.ones((1, 6))]))
    domain = domains.rmsnorm(6)
    truth = {token: true_margin(readout, domain, token) for token in range(7)}
    assert truth[2] < truth[0] * 1.001  # within the gap that is tried first
    left = 3

    def rounds(*asked: Any) -> Iterator[Best]:
        for best in find(*asked):
            yield best if best.token != left else replace(best, weights=None, bound=np.inf)

    monkeypatch.setattr(hardest, "find", rounds)
    run = geom.run(readout, tokens=range(6), domain=domain, certifiers=["linprog-post"], hardest=4)
    assert run.row(left).margin_upper is None
    ranking = run.ranking()
    head = [row.token_id for row in ranking.rows if row.verdict == "speakable"][:3]
    assert head == sorted(range(6), key=lambda token: truth[token])[:3]
    assert ranking.proven == 3
    assert not ranking.tied


def test_infinite_margins_have_no_order() -> None:
    readout, _ = CASES["a ball with biases"]
    run = geom.run(readout, tokens="0-9", domain="unbounded", hardest=4)
    assert run.warnings == [
        "the hardest tokens are not in order: on an unbounded domain with biases, most largest "
        "margins are infinite"
    ]
    assert geom.run(readout, tokens="0-9", domain="unbounded").warnings == []


def test_a_number_below_zero_is_refused() -> None:
    with pytest.raises(InputError, match="hardest -1: give a whole number, 0 or more"):
        geom.run(CASES["a ball"][0], hardest=-1)


def test_a_run_of_one_token() -> None:
    readout, domain = CASES["a ball"]
    run = geom.run(readout, tokens=[0], domain=domain, hardest=3)
    assert run.ordered
    assert run.ranking().proven == 1


def test_a_run_without_candidates() -> None:
    run = geom.run(Readout.fold(np.eye(3)), domain="rmsnorm", hardest=3)
    assert len(run) == 0
    assert run.ordered
    assert run.ranking().proven == 0


def test_a_token_without_rivals_has_no_largest_margin() -> None:
    run = geom.run(Readout.fold(np.ones((1, 2))), tokens="all", domain="rmsnorm", hardest=3)
    assert run.counts()["speakable"] == 1
    assert run.ordered
