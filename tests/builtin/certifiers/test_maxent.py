"""``maxent`` against Qhull, exact rationals, closed forms, a grid and HiGHS."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

import geom
from geom import Finding, Problem, Verdict, judge
from geom.model import rows
from geom.model.domains import box, layernorm, rmsnorm, unbounded
from geom_plugins.certifiers import highs
from geom_plugins.solvers import maximum_entropy
from geom_plugins.solvers.maximum_entropy import Effort, memory, search, search_many
from support.problems import cloud, problem
from support.truth import box_tokens, hull_tokens, largest_margin, upper_hull_tokens

Floats = NDArray[np.float64]
DOMAINS = ("layernorm", "rmsnorm", "box", "unbounded")


def decided(
    W: ArrayLike, b: ArrayLike | None = None, domain: str | geom.Domain = "unbounded", **chosen: Any
) -> list[Verdict]:
    """Return the verdict of `geom.exact` on each token's finding."""
    asked = problem(W, b, domain)
    tokens = range(asked.readout.V)
    findings = search_many(asked, tokens, [Finding()] * len(tokens), Effort(**chosen))
    return [judge(asked, token, found) for token, found in zip(tokens, findings, strict=True)]


def speakable(*args: Any) -> set[int]:
    """Return the speakable tokens; every token must be decided."""
    names = [verdict.name for verdict in decided(*args)]
    assert "undecided" not in names
    return {token for token, name in enumerate(names) if name == "speakable"}


@pytest.mark.parametrize("d", range(1, 9))
def test_without_bias_the_speakable_tokens_are_the_vertices_that_qhull_finds(d: int) -> None:
    W = cloud(40 + 10 * d, d, seed=d)
    assert speakable(W) == hull_tokens(W)


@pytest.mark.parametrize("d", range(1, 8))
def test_with_bias_the_speakable_tokens_are_on_the_lifted_upper_hull(d: int) -> None:
    W, b = cloud(60, d, seed=20 + d), cloud(60, 1, seed=40 + d)[:, 0]
    assert speakable(W, b) == upper_hull_tokens(W, b)


@pytest.mark.parametrize(("d", "radius"), [(1, 1.0), (2, 0.25), (3, 1.0), (4, 3.0)])
def test_on_a_box_the_speakable_tokens_are_the_facets_over_it(d: int, radius: float) -> None:
    W, b = cloud(40, d, seed=60 + d), cloud(40, 1, seed=80 + d)[:, 0]
    assert speakable(W, b, box(d, radius)) == box_tokens(W, b, radius)


def test_on_the_layernorm_domain_only_rows_without_their_mean_count() -> None:
    W = cloud(80, 4, seed=4)
    basis = np.linalg.qr(np.column_stack([np.ones(4), np.eye(4)[:, :3]]))[0][:, 1:]
    assert speakable(W, None, "layernorm") == hull_tokens(W @ basis)


@pytest.mark.parametrize("seed", range(12))
def test_on_a_disc_with_bias_the_verdicts_are_those_of_a_fine_grid(seed: int) -> None:
    W, b = cloud(12, 2, seed), 2.0 * cloud(12, 1, 100 + seed)[:, 0]
    angles = np.linspace(0.0, 2.0 * math.pi, 1000, endpoint=False)
    disc = np.sqrt(2.0) * np.column_stack([np.cos(angles), np.sin(angles)])
    grid = np.concatenate([disc * radius for radius in np.linspace(0.0, 1.0, 40)])
    logits = grid @ W.T + b
    gaps = logits[:, :, None] - logits[:, None, :] + np.diag(np.full(12, np.inf))
    best = gaps.min(axis=2).max(axis=0)
    for token, verdict in enumerate(decided(W, b, rmsnorm(2))):
        assert verdict.name != "undecided"
        if best[token] > 0.0:
            assert verdict.name == "speakable"
        if best[token] < -0.2:  # more than a logit can change between points of the grid
            assert verdict.name == "unspeakable"


@pytest.mark.parametrize("d", [1, 2, 3, 5])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_between_two_tokens_on_a_ball_the_closed_form_decides(d: int, sign: float) -> None:
    """The largest margin of 0 over 1 is R |w_0 - w_1| + b_0 - b_1: put it just off zero."""
    w = np.full(d, 0.5)
    threshold = math.sqrt(d) * float(np.linalg.norm(w))
    b = np.array([0.0, threshold * (1.0 - sign * 1e-9)])
    first = decided(np.vstack([w, np.zeros(d)]), b, rmsnorm(d))[0]
    assert first.name == ("speakable" if sign > 0 else "unspeakable")


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_between_two_tokens_on_the_layernorm_ball_the_closed_form_decides(sign: float) -> None:
    w = np.array([3.0, 1.0, -1.0, 5.0])
    threshold = 2.0 * float(np.linalg.norm(w - w.mean()))
    b = np.array([0.0, threshold * (1.0 - sign * 1e-8)])
    first = decided(np.vstack([w, np.zeros(4)]), b, layernorm(4))[0]
    assert first.name == ("speakable" if sign > 0 else "unspeakable")


@pytest.mark.parametrize("domain", ["rmsnorm", "box", "unbounded"])
def test_beside_a_facet_it_is_right_or_undecided(domain: str) -> None:
    W = np.vstack([np.eye(4), -np.eye(4), np.full((1, 4), 0.25)])
    for shift, truth in (
        (2.0**-20, "speakable"),
        (0.0, "unspeakable"),
        (-(2.0**-20), "unspeakable"),
    ):
        W[-1] = 0.25 + shift
        assert decided(W, None, domain)[-1].name == truth
    for shift in (2.0**-40, 2.0**-50, 2.0**-53):
        W[-1] = 0.25 + shift
        assert decided(W, None, domain)[-1].name != "unspeakable"
        W[-1] = 0.25 - shift
        assert decided(W, None, domain)[-1].name != "speakable"


@pytest.mark.parametrize("d", [2, 3, 4])
def test_of_a_lattice_cube_only_the_corners_are_speakable(d: int) -> None:
    W = np.array(list(itertools.product([0.0, 1.0, 2.0], repeat=d)))
    corners = {i for i, row in enumerate(W) if set(row) <= {0.0, 2.0}}
    assert speakable(W) == corners


def test_the_tight_clump_of_the_demo_is_decided_and_nothing_is_divided_by_zero() -> None:
    """The clump has 154 untrained tokens, on a grid a few float16 steps wide; highs agrees."""
    readout = geom.load("demo")
    asked = Problem(readout, readout.domain)
    centred = readout.W - np.median(readout.W, axis=0)
    clump = np.argsort(np.linalg.norm(centred - centred[255], axis=1))[:154]
    for token in [255, *clump[1::8].tolist()]:
        (found, other) = (
            judge(asked, token, find(asked, token, Finding(), options))
            for find, options in (
                (search, Effort()),
                (highs.certify, highs.HighsOptions()),
            )
        )
        assert found.decided
        assert found.name == other.name


@pytest.mark.parametrize("domain", DOMAINS)
def test_duplicates_are_unspeakable(domain: str) -> None:
    W = np.vstack([np.eye(3), -np.eye(3), np.eye(3)[:1]])
    names = [verdict.name for verdict in decided(W, None, domain)]
    assert names[0] == names[6] == "unspeakable"
    assert set(names[1:3]) == {"speakable"}


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_single_token_is_speakable(domain: str) -> None:
    assert [v.name for v in decided([[1.0, 2.0]], [3.0], domain)] == ["speakable"]


@pytest.mark.parametrize("domain", ["rmsnorm", "box", "unbounded"])
def test_dead_dimensions_change_nothing(domain: str) -> None:
    W, b = cloud(30, 3, seed=8), cloud(30, 1, seed=9)[:, 0]
    padded = np.column_stack([W, np.zeros((30, 4))])
    own = {"rmsnorm": rmsnorm(3), "box": box(3)}.get(domain, unbounded(3))
    inner = geom.Domain("padded", 7, own.shape, own.size)
    assert speakable(padded, b, inner) == speakable(W, b, own)


def test_a_rank_deficient_readout_is_decided_in_its_own_span() -> None:
    flat = np.array(list(itertools.product([0.0, 1.0, 2.0], repeat=2)))
    W = flat @ np.array([[1.0, 2.0, -1.0, 3.0], [0.0, 1.0, 1.0, -2.0]])
    corners = {i for i, row in enumerate(flat) if set(row) <= {0.0, 2.0}}
    assert speakable(W) == corners


def integers(seed: int) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    d, V = int(rng.integers(1, 4)), int(rng.integers(2, 10))
    return rng.integers(-3, 4, (V, d)).astype(float), rng.integers(-3, 4, V).astype(float)


@pytest.mark.parametrize("domain", DOMAINS)
def test_it_agrees_with_highs_on_hundreds_of_degenerate_problems(domain: str) -> None:
    undecided = total = 0
    for seed in range(150):
        W, b = integers(seed)
        asked = problem(W, b, domain)
        for token, ours in enumerate(decided(W, b, domain)):
            total += 1
            undecided += ours.name == "undecided"
            theirs = judge(
                asked, token, highs.certify(asked, token, Finding(), highs.HighsOptions())
            )
            if "undecided" not in (ours.name, theirs.name):
                assert ours.name == theirs.name
    assert undecided < 0.02 * total


@pytest.mark.parametrize("domain", ["box", "unbounded"])
def test_rationals_agree_with_every_verdict(domain: str) -> None:
    for seed in range(1000, 1040):
        W, b = integers(seed)
        for token, verdict in enumerate(decided(W, b, domain)):
            most = largest_margin(W, b, token, 1.0 if domain == "box" else None)
            assert verdict.name in ("speakable" if most > 0 else "unspeakable", "undecided")
            if verdict.name == "undecided":
                assert most == 0


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["box", "unbounded"]))
def test_whatever_the_scales_a_verdict_is_right_or_undecided(seed: int, domain: str) -> None:
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((7, 2)) * 10.0 ** rng.integers(-9, 9, (7, 1))
    b = rng.standard_normal(7) * 10.0 ** rng.integers(-9, 9, 7)
    for token, verdict in enumerate(decided(W, b, domain)):
        most = largest_margin(W, b, token, 1.0 if domain == "box" else None)
        assert verdict.name in ("speakable" if most > 0 else "unspeakable", "undecided")


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e30, 1e150])
def test_huge_and_tiny_numbers_end_in_words_not_in_errors(scale: float, domain: str) -> None:
    W, b = cloud(30, 3, seed=1), cloud(30, 1, seed=2)[:, 0]
    truth = [verdict.name for verdict in decided(W, b, domain)]
    for ours, right in zip(decided(W * scale, b * scale, domain), truth, strict=True):
        assert ours.name in (right, "undecided")


@pytest.mark.parametrize("name", ["layernorm", "rmsnorm", "box"])
def test_both_bounds_are_given_and_enclose_the_largest_margin(name: str) -> None:
    W, b = cloud(60, 5, seed=11), 0.1 * cloud(60, 1, seed=12)[:, 0]
    loose, tight = decided(W, b, name), decided(W, b, name, largest=True)
    for ours, best in zip(loose, tight, strict=True):
        assert None not in (ours.margin_lower, ours.margin_upper, best.margin_lower)
        assert ours.margin_lower <= best.margin_upper  # type: ignore[operator]
        assert best.margin_lower <= ours.margin_upper  # type: ignore[operator]
        if best.name == "speakable":
            assert best.margin_upper <= (1.0 + 2e-3) * best.margin_lower  # type: ignore[operator]


def test_a_batch_finds_what_single_tokens_find() -> None:
    asked = problem(cloud(50, 6, seed=5), cloud(50, 1, seed=6)[:, 0], "rmsnorm")
    many = search_many(asked, range(50), [Finding()] * 50, Effort())
    for token, found in enumerate(many):
        alone = search(asked, token, Finding(), Effort())
        assert judge(asked, token, alone).name == judge(asked, token, found).name


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_nan_in_an_iterate_never_becomes_a_verdict(
    bad: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    W = np.vstack([np.eye(3), -np.eye(3), np.zeros((1, 3)), np.full((1, 3), 0.1)])
    right = [verdict.name for verdict in decided(W, None, "rmsnorm")]
    assert right[6:] == ["unspeakable", "unspeakable"]
    monkeypatch.setattr(geom.current_device().xp.linalg, "inv", lambda A: np.full_like(A, bad))
    for ours, truth in zip(decided(W, None, "rmsnorm"), right, strict=True):
        assert ours.name in (truth, "undecided")


@pytest.mark.parametrize("kept", [True, False])
def test_rows_that_are_made_by_blocks_give_the_answers_of_those_that_are_kept(
    kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Float16 rows with a scale; both answers are those of Qhull."""
    W, gamma = cloud(90, 5, seed=21).astype(np.float16), 1.0 + cloud(1, 5, seed=22)[0] ** 2
    if not kept:
        monkeypatch.setattr(rows, "KEPT", 0)
        monkeypatch.setattr(rows, "BLOCK", 7 * 5)
    readout = geom.Readout.fold(W, gamma=gamma)
    asked = Problem(readout, unbounded(5))
    found = search_many(asked, range(90), [Finding()] * 90, Effort())
    verdicts = [judge(asked, token, item) for token, item in enumerate(found)]
    right = hull_tokens(W.astype(np.float64) * gamma)
    assert {t for t, verdict in enumerate(verdicts) if verdict.name == "speakable"} == right
    assert {verdict.name for verdict in verdicts} == {"speakable", "unspeakable"}
    assert (readout.rows.kept() is not None) == kept


@pytest.mark.parametrize(("V", "d", "count"), [(6000, 600, 4), (60_000, 4, 256), (200, 300, 20)])
def test_it_takes_no_more_memory_than_stated(
    V: int, d: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that are too large to be kept in float64, inner tokens, and full working sets."""
    monkeypatch.setattr(rows, "KEPT", 0)
    W = np.random.default_rng(V).standard_normal((V, d)).astype(np.float16)
    W[:count] *= np.float16(0.3)
    asked = problem(W, np.random.default_rng(d).standard_normal(V), "rmsnorm")
    options = Effort(largest=True, steps=3)
    stated, most = memory(asked.readout), maximum_entropy._most(asked.readout)
    monkeypatch.setattr(maximum_entropy, "_most", lambda readout: most)
    monkeypatch.setattr(maximum_entropy, "START", 6)  # the sets are nearly full at once
    tracemalloc.start()
    try:
        for _ in search_many(asked, range(count), [Finding()] * count, options):
            pass
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert stated / 4 < taken <= stated


def test_a_full_working_set_ends_in_words_and_never_in_a_wrong_verdict(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    W = cloud(400, 8, seed=13)
    right, asked, notes = hull_tokens(W), problem(W, None, "rmsnorm"), set()
    monkeypatch.setattr(maximum_entropy, "_most", lambda readout: 3 * readout.d)
    for token in range(400):
        found = search(asked, token, Finding(), Effort(largest=True))
        notes.add(found.note)
        name = judge(asked, token, found).name
        assert name in ("speakable" if token in right else "unspeakable", "undecided")
    assert None in notes
    assert len(notes) > 1


def test_it_gives_up_in_words() -> None:
    W, b = cloud(400, 8, seed=13), cloud(400, 1, seed=14)[:, 0]
    asked = problem(W, b, "rmsnorm")
    notes = {search(asked, token, Finding(), Effort(steps=1)).note for token in range(400)}
    assert notes == {None, "no answer in 1 steps"}


def test_weights_of_an_inner_token_have_a_share_for_every_rival_of_the_program() -> None:
    W = np.vstack([cloud(40, 5, seed=3), np.zeros((1, 5))])
    asked = problem(W, None, "unbounded")
    found = search(asked, 40, Finding(), Effort())
    assert found.weights is not None
    assert judge(asked, 40, found).proof == "interior"
    assert found.weights.values.min() > 1e-6
