"""The opening of a run: it changes no verdict, and what it decides is proven and verified."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import geom
from geom import (
    Certifier,
    Finding,
    NoOptions,
    Problem,
    Readout,
    Weights,
    Witness,
)
from geom.model.domains import named
from geom.runs.opening import opening
from geom.runs.pipeline import execute
from geom.store import open_file
from support.problems import cloud
from support.square_runs import Given, certifier, planned
from support.truth import Floats, hull_tokens, largest_margin, margin

BY_OPENING = {"twin", "own-direction", "shared-step"}
DOMAINS = ("layernorm", "rmsnorm", "box", "unbounded")


# Readouts


def scattered(rng: np.random.Generator, V: int, d: int) -> Floats:
    return np.asarray(rng.normal(size=(V, d)))


def halves_inside(rng: np.random.Generator, V: int, d: int) -> Floats:
    rows = rng.normal(size=(V, d))
    rows[::2] *= 0.3
    return np.asarray(rows)


def clumped(rng: np.random.Generator, V: int, d: int) -> Floats:
    """Half of the rows are nearly one row, as those of tokens that were never trained."""
    rows = rng.normal(size=(V, d))
    rows[V // 2 :] = rng.normal(size=d) + 1e-4 * rows[V // 2 :]
    return np.asarray(rows)


def twinned(rng: np.random.Generator, V: int, d: int) -> Floats:
    rows = rng.normal(size=(V, d))
    rows[: V // 3] = rows[rng.integers(V, size=V // 3)]
    return np.asarray(rows)


def between(rng: np.random.Generator, V: int, d: int) -> Floats:
    """Half of the rows are midpoints of two others, exactly."""
    rows = np.round(64.0 * rng.normal(size=(V, d)))
    half = V // 2
    rows[:half] = rows[half + rng.integers(V - half, size=half)] / 2.0
    rows[:half] += rows[half + rng.integers(V - half, size=half)] / 2.0
    return np.asarray(rows)


def on_faces(rng: np.random.Generator, V: int, d: int) -> Floats:
    """Rows of a lattice: many lie on faces of the hull."""
    return rng.integers(-1, 2, (V, d)).astype(np.float64)


READOUTS: dict[str, Callable[[np.random.Generator, int, int], Floats]] = {
    "scattered": scattered,
    "halves inside": halves_inside,
    "clumped": clumped,
    "twinned": twinned,
    "between": between,
    "on faces": on_faces,
}


def drawn(kind: str, norm: Any, rng: np.random.Generator, *, biased: bool) -> Readout:
    V, d = int(rng.choice([1, 2, 5, 30, 90])), int(rng.integers(1, 7))
    W = READOUTS[kind](rng, V, d)
    b = rng.choice([0.0, 0.25, 1.0], V) if biased else None
    if norm is None:
        return Readout.fold(W, b)
    gamma = 2.0 ** rng.integers(-1, 2, d)
    beta = rng.integers(-2, 3, d) / 4.0 if norm == "layernorm" and biased else None
    return Readout.fold(W, b, norm=norm, gamma=gamma, beta=beta)


def verdicts(run: geom.Run) -> dict[int, str]:
    return {row.token_id: row.verdict for row in run.rows()}


# Verdicts


@pytest.mark.parametrize("kind", READOUTS)
@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("biased", [False, True])
def test_it_changes_no_verdict(kind: str, domain: str, biased: bool) -> None:
    for seed in range(3):
        rng = np.random.default_rng([seed, len(kind), len(domain), biased])
        norm = domain if domain in ("layernorm", "rmsnorm") else None
        readout = drawn(kind, norm, rng, biased=biased)
        asked: dict[str, Any] = {"tokens": "all", "domain": domain}
        with (
            geom.run(readout, **asked) as opened,
            geom.run(readout, opening=False, **asked) as chain,
        ):
            assert verdicts(opened) == verdicts(chain)
            assert "undecided" not in verdicts(opened).values()
            assert not BY_OPENING & {row.certifier for row in chain.rows()}
            for run in (opened, chain):
                checked = geom.verify(run, readout)
                assert [str(fault) for fault in checked.faults] == []


@pytest.mark.parametrize("d", [2, 4, 6])
def test_without_a_bias_the_vertices_of_the_hull_are_speakable(d: int) -> None:
    W = halves_inside(np.random.default_rng(d), 300, d)
    for domain in ("rmsnorm", "box", "unbounded"):
        with geom.run(Readout.fold(W), tokens="all", domain=domain) as run:
            found = verdicts(run)
        assert {t for t, verdict in found.items() if verdict == "speakable"} == hull_tokens(W)
        assert set(found.values()) == {"speakable", "unspeakable"}


@pytest.mark.parametrize("domain", ["box", "unbounded"])
def test_bounds_are_bounds_on_the_largest_margin(domain: str) -> None:
    rng = np.random.default_rng(3)
    W, b = np.round(8.0 * rng.normal(size=(40, 3))), rng.integers(-2, 3, 40) / 4.0
    W[:8], b[:8] = W[8:16], b[8:16]
    with geom.run(Readout.fold(W, b), tokens="all", domain=domain) as run:
        rows = list(run.rows())
    assert {row.certifier for row in rows} <= BY_OPENING | {"maxent"}
    assert {row.certifier for row in rows} >= {"twin", "shared-step"}
    for row in rows:
        most = largest_margin(W, b, row.token_id, 1.0 if domain == "box" else None)
        assert row.verdict == ("speakable" if most > 0 else "unspeakable")
        if domain == "box" and row.margin_lower is not None:
            assert Fraction(row.margin_lower) <= most
        if row.margin_upper is not None:
            assert Fraction(row.margin_upper) >= most


# What a row says


def test_each_step_names_itself_and_proves_what_it_says() -> None:
    # token 1 is a corner, but along its own direction token 0 wins; token 4 is inside
    W = [[10.0, 0.0], [9.0, 1.0], [-10.0, 0.0], [0.0, -8.0], [0.0, -1.0], [-10.0, 0.0]]
    readout = Readout.fold(W, norm="rmsnorm")
    with geom.run(readout, tokens="all", certifiers=["highs"], hardest=0) as run:
        rows = {row.token_id: row for row in run.rows()}
        named = [(rows[t].certifier, rows[t].verdict) for t in range(5)]
        assert named == [
            ("own-direction", "speakable"),
            ("shared-step", "speakable"),
            ("twin", "unspeakable"),
            ("own-direction", "speakable"),
            ("shared-step", "unspeakable"),
        ]
        assert run.recipes() == {0, 3}
        assert (rows[2].note, rows[5].note) == (
            "same row and bias as token 5",
            "same row and bias as token 2",
        )
        twin, step = run.certificate(2), run.certificate(1)
        assert isinstance(twin, Weights)
        assert (twin.indices.tolist(), twin.values.tolist()) == ([5], [1.0])
        assert isinstance(step, Witness)
        lower = rows[1].margin_lower
        assert lower is not None
        assert 0 < Fraction(lower) <= margin(W, np.zeros(len(W)), 1, step.x)
        assert all(row.margin_upper is None for row in run.rows("speakable"))
        # all tie at x = 0, as there are no biases, and no point wins: the largest margin is 0
        assert all(row.margin_lower == row.margin_upper == 0.0 for row in run.rows("unspeakable"))


@pytest.mark.parametrize("opened", [True, False])
def test_biases_that_a_shift_drowns_tell_equal_rows_apart(opened: bool) -> None:
    """The biases with the shift folded in round to the same floats."""
    W = [[3.0, 1.0], [3.0, 1.0], [-1.0, 2.0], [0.0, -2.0]]
    b = [0.0, 2.0**-60, 0.0, 0.0]
    readout = Readout.fold(W, b, norm="rmsnorm", gamma=[1.0, 1.0], beta=[1.0, 1.0])
    assert readout.b[0] == readout.b[1]
    with geom.run(readout, tokens="all", opening=opened) as run:
        assert all("same row" not in (row.note or "") for row in run.rows())
        assert verdicts(run)[0] != "speakable"
        assert [str(fault) for fault in geom.verify(run, readout).faults] == []


def test_it_decides_nothing_in_a_run_without_certifiers() -> None:
    with geom.run(Readout.fold(np.eye(4)), tokens="all", certifiers=[]) as run:
        assert set(verdicts(run).values()) == {"undecided"}


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_single_token_is_left_to_the_chain(domain: str) -> None:
    with geom.run(Readout.fold([[1.0, 2.0]]), tokens="all", domain=domain) as run:
        (row,) = run.rows()
    assert (row.verdict, row.certifier) == ("speakable", "maxent")


def test_a_winner_that_float32_cannot_settle_has_a_witness_all_the_same() -> None:
    """Differences of these rows overflow, and token 0 wins at the origin by its bias."""
    largest = float(np.finfo(np.float64).max)
    readout = Readout.fold([[largest, 0.0], [-largest, 0.0], [0.0, largest]], [1.0, 0.0, 0.0])
    with geom.run(readout, tokens="all", domain="box") as run:
        assert run.row(0).verdict == "speakable"
        assert isinstance(run.certificate(0), Witness)
        assert geom.verify(run, readout).ok


def test_tokens_that_do_not_win_as_they_should_are_tried_otherwise() -> None:
    """Told that all win along their own direction, it believes none."""
    W = cloud(120, 4, seed=5)
    asked = Problem(Readout.fold(W), named("rmsnorm", 4, None))
    hull = hull_tokens(W)
    for unbeaten in (np.ones(120, dtype=bool), np.zeros(120, dtype=bool)):
        found = {
            item.token_id: item for block in opening(asked, range(120), unbeaten) for item in block
        }
        assert sorted(found) == list(range(120))
        assert {t for t, item in found.items() if item.verdict == "speakable"} == hull


def test_only_the_tokens_asked_for_are_decided() -> None:
    W = cloud(60, 3, seed=6)
    W[50] = W[7]
    asked = Problem(Readout.fold(W), named("rmsnorm", 3, None))
    tokens = [3, 7, 40]
    blocks = list(opening(asked, tokens, np.zeros(3, dtype=bool)))
    assert sorted(item.token_id for block in blocks for item in block) == tokens
    assert list(opening(asked, [], np.zeros(0, dtype=bool))) == []


# The chain after it


class Seeing:
    """A certifier that notes whom it is asked about and what they bring."""

    def __init__(self, **fields: Any) -> None:
        self.priors: dict[int, Finding] = {}
        self.fields = fields

    def run(self, readout: Readout, **asked: Any) -> geom.Run:
        def certify(problem: Problem, token: int, prior: Finding, options: NoOptions) -> Finding:
            self.priors[token] = prior
            return Finding(note=f"saw {token}")

        stub = Certifier("seeing", "", certify, NoOptions, **self.fields)
        with using_plugin(Given(certifiers=(stub,))):
            chosen = {"certifiers": ["seeing"], "tokens": "all", "domain": "rmsnorm", "hardest": 0}
            return geom.run(readout, **(chosen | asked))


def using_plugin(plugin: Given) -> Any:
    from geom.plugins.registry import using
    from support.plugins import installed_and

    return using(installed_and(plugin))


def mixed() -> Readout:
    W = halves_inside(np.random.default_rng(7), 60, 3)
    W[59] = W[1]
    return Readout.fold(W)


@pytest.mark.parametrize("fields", [{"verifies": True}, {"sees_all": lambda options: True}])
def test_a_certifier_that_sees_all_tokens_goes_on_from_what_it_found(
    fields: dict[str, Any],
) -> None:
    readout, seeing = mixed(), Seeing(**fields)
    asked: dict[str, Any] = {"tokens": "all", "domain": "rmsnorm", "hardest": 0}
    with seeing.run(readout) as run, geom.run(readout, **asked) as plain:
        assert sorted(seeing.priors) == list(range(60))
        assert verdicts(run) == verdicts(plain)
        assert {row.certifier for row in run.rows()} == BY_OPENING
        for row, other in zip(run.rows(), plain.rows(), strict=True):
            prior = seeing.priors[row.token_id]
            assert (prior.x is None) == (row.verdict == "unspeakable")
            assert (prior.weights is None) == (row.verdict == "speakable")
            assert (row.margin_lower, row.margin_upper) == (other.margin_lower, other.margin_upper)
            assert row.note is not None
            assert f"seeing: saw {row.token_id}" in row.note.split("; ")
        assert geom.verify(run, readout).ok


def test_a_certifier_that_does_not_is_asked_about_what_is_left() -> None:
    readout, seeing = mixed(), Seeing()
    with seeing.run(readout) as run:
        assert seeing.priors == {}
        assert "undecided" not in verdicts(run).values()
    with seeing.run(readout, opening=False) as run:
        assert sorted(seeing.priors) == list(range(60))
        assert set(verdicts(run).values()) == {"undecided"}
        priors = seeing.priors.values()
        assert all(prior.x is None and prior.weights is None for prior in priors)


@pytest.mark.parametrize("certifiers", [["highs", "mpmath"], ["maxent", "mpmath"]])
def test_a_link_that_verifies_confirms_what_it_decided(certifiers: list[str]) -> None:
    readout = mixed()
    asked: dict[str, Any] = {"tokens": "all", "domain": "rmsnorm", "certifiers": certifiers}
    with geom.run(readout, **asked) as run:
        notes = [row.note or "" for row in run.rows()]
        assert {row.certifier for row in run.rows()} == BY_OPENING
        assert all("mpmath: " in note for note in notes)
        assert geom.verify(run, readout).ok


@pytest.mark.parametrize(("name", "wide"), [("highs", 3.0**0.5), ("maxent", 1.01)])
def test_asked_for_largest_margins_the_chain_sees_every_token(name: str, wide: float) -> None:
    """Without biases highs takes the ball for a box."""
    readout = mixed()
    options = {f"certifier.{name}.largest": True}
    asked: dict[str, Any] = {"tokens": "all", "domain": "rmsnorm", "certifiers": [name]}
    asked["hardest"] = 0
    with geom.run(readout, options=options, **asked) as run, geom.run(readout, **asked) as plain:
        assert verdicts(run) == verdicts(plain)
        for row in run.rows("speakable"):
            lower = plain.row(row.token_id).margin_lower
            assert row.margin_lower is not None
            assert row.margin_upper is not None
            assert lower is not None
            assert lower <= row.margin_lower <= row.margin_upper
            assert row.margin_upper <= wide * row.margin_lower
        assert geom.verify(run, readout).ok


# Settings and the file


def test_a_run_with_another_opening_is_another_run(tmp_path: Path) -> None:
    readout = Readout.fold(np.eye(3))
    geom.run(readout, tokens="all", out=tmp_path / "run.db").close()
    with pytest.raises(geom.StoreError, match="opening differ"):
        geom.run(readout, tokens="all", opening=False, out=tmp_path / "run.db")


def test_what_a_certifier_of_its_name_says_is_kept_apart() -> None:
    plugin = Given(certifiers=(certifier("shared-step"),))
    asked = planned(plugin, tokens="all", certifiers=["shared-step"], opening=False)
    with execute(asked) as run:
        assert [row.verdict for row in run.rows()] == ["speakable"] * 4 + ["undecided"]


PROGRAM = """
import os, signal, sys
import numpy as np
from geom import Readout, run
from geom.runs import opening
from geom.opening import rounds
from geom.exact import products

out, stage, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
opening.POINTS = rounds.GROUP = 64
opening.PROVEN_AT_ONCE = 8
rng = np.random.default_rng(0)
rows = rng.normal(size=(400, 6))
rows[:100] *= 0.3
rows[390:] = rows[100:110]
seen = 0

def watch(now, done, total, unit):
    global seen
    seen += now == stage
    if now == stage and seen > steps:
        os.kill(os.getpid(), signal.SIGKILL)

run(Readout.fold(rows, norm="rmsnorm"), tokens="all", hardest=0, out=out, progress=watch).close()
"""
"""An audit in small blocks, which kills itself in the midst of a stage."""


def rows_of(path: Path) -> list[Any]:
    with open_file(path) as run:
        return [
            (
                row.as_dict() | {"seconds": None},
                None if x is None else x.tolist(),
            )
            for row in run.rows()
            for x in [run.evidence(row.token_id).x]
        ]


def verdict(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["token_id"], row["verdict"], row["proof"], row["certifier"]


def audit(path: Path, stage: str = "", steps: int = 0) -> int:
    words = [sys.executable, "-c", PROGRAM, str(path), stage, str(steps)]
    return subprocess.run(words, check=False, capture_output=True).returncode


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The rows of an audit that nothing disturbs."""
    path = tmp_path_factory.mktemp("whole") / "run.db"
    assert audit(path) == 0
    return rows_of(path)


@pytest.mark.parametrize(
    ("stage", "steps"),
    [("own direction", 0), ("shared step", 1), ("hard tokens", 40)],
)
def test_a_kill_in_the_opening_keeps_its_blocks_and_the_same_call_goes_on(
    stage: str, steps: int, tmp_path: Path, whole: list[Any]
) -> None:
    path = tmp_path / "run.db"
    assert audit(path, stage, steps) == -signal.SIGKILL
    with open_file(path) as run:
        pending = set(run.pending())
        stored = list(run.rows())
        certifiers = {row.certifier for row in stored}
    assert 0 < len(pending) < 400
    assert "twin" in certifiers
    if stage != "own direction":
        assert len(stored) >= 20 + 64
    if stage == "hard tokens":
        assert sum(row.certifier == "shared-step" for row in stored) > 8
    assert audit(path) == 0
    # a search depends on the last digits of products, and these on the tokens that share them
    assert [verdict(row) for row, _ in rows_of(path)] == [verdict(row) for row, _ in whole]
    with open_file(path) as run:
        kept = {row.token_id: row for row in run.rows()}
    assert all(kept[row.token_id] == row for row in stored)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["run.db"]
