"""The chain from HiGHS to a verdict, against Qhull, exact rationals, lattices and closed forms."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

import geom
from geom.model.domains import box, layernorm, named, rmsnorm, unbounded
from geom_plugins.certifiers import highs
from geom_plugins.solvers import small_problems
from support.problems import cloud
from support.truth import box_tokens, hull_tokens, largest_margin, upper_hull_tokens

Floats = NDArray[np.float64]
DOMAINS = ("layernorm", "rmsnorm", "box", "unbounded")
NUDGE = 2.0**-40


def verdicts(
    W: ArrayLike, b: ArrayLike | None = None, domain: str | geom.Domain = "unbounded"
) -> list[str]:
    """Return every token's verdict; `geom.verify` must accept each certificate."""
    readout = geom.Readout.fold(W, b)
    asked = {"tokens": "all", "certifiers": ["highs"], "domain": domain, "opening": False}
    with geom.run(readout, **asked) as run:  # type: ignore[arg-type]
        assert geom.verify(run, readout).ok
        return [row.verdict for row in run.rows()]


def speakable(
    W: ArrayLike, b: ArrayLike | None = None, domain: str | geom.Domain = "unbounded"
) -> set[int]:
    """Return the speakable tokens; every token must be decided."""
    found = verdicts(W, b, domain)
    assert "undecided" not in found
    return {token for token, verdict in enumerate(found) if verdict == "speakable"}


def cross_polytope(d: int) -> Floats:
    return np.vstack([np.eye(d), -np.eye(d)])


@pytest.mark.parametrize("d", range(1, 9))
def test_without_bias_the_speakable_tokens_are_the_vertices_that_qhull_finds(d: int) -> None:
    W = cloud(40 + 10 * d, d, seed=d)
    assert speakable(W) == hull_tokens(W)


@pytest.mark.parametrize("domain", ["rmsnorm", "box"])
def test_without_bias_bounds_on_x_change_nothing(domain: str) -> None:
    W = cloud(80, 4, seed=3)
    assert speakable(W, None, domain) == hull_tokens(W)


def test_on_the_layernorm_domain_only_rows_without_their_mean_count() -> None:
    W = cloud(80, 4, seed=4)
    basis = np.linalg.qr(np.column_stack([np.ones(4), np.eye(4)[:, :3]]))[0][:, 1:]
    assert speakable(W, None, "layernorm") == hull_tokens(W @ basis)


@pytest.mark.parametrize("d", range(1, 8))
def test_with_bias_the_speakable_tokens_are_on_the_lifted_upper_hull(d: int) -> None:
    W, b = cloud(60, d, seed=20 + d), cloud(60, 1, seed=40 + d)[:, 0]
    assert speakable(W, b) == upper_hull_tokens(W, b)


@pytest.mark.parametrize(("d", "radius"), [(1, 1.0), (2, 0.25), (3, 1.0), (4, 3.0)])
def test_on_a_box_the_speakable_tokens_are_the_facets_over_it(d: int, radius: float) -> None:
    W, b = cloud(40, d, seed=60 + d), cloud(40, 1, seed=80 + d)[:, 0]
    assert speakable(W, b, box(d, radius)) == box_tokens(W, b, radius)


@pytest.mark.parametrize("seed", range(12))
def test_on_a_disc_with_bias_the_verdicts_are_those_of_a_fine_grid(seed: int) -> None:
    W, b = cloud(12, 2, seed), 2.0 * cloud(12, 1, 100 + seed)[:, 0]
    angles = np.linspace(0.0, 2.0 * math.pi, 1000, endpoint=False)
    disc = np.sqrt(2.0) * np.column_stack([np.cos(angles), np.sin(angles)])
    grid = np.concatenate([disc * radius for radius in np.linspace(0.0, 1.0, 40)])
    logits = grid @ W.T + b
    gaps = logits[:, :, None] - logits[:, None, :] + np.diag(np.full(12, np.inf))
    best = gaps.min(axis=2).max(axis=0)
    found = verdicts(W, b, rmsnorm(2))
    for token in range(12):
        assert found[token] != "undecided"
        if best[token] > 0.0:
            assert found[token] == "speakable"
        if best[token] < -0.2:  # more than a logit can change between points of the grid
            assert found[token] == "unspeakable"


@pytest.mark.parametrize("d", [1, 2, 3, 5])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_between_two_tokens_on_a_ball_the_closed_form_decides(d: int, sign: float) -> None:
    """The largest margin of 0 over 1 is R |w_0 - w_1| + b_0 - b_1: put it just off zero."""
    w = np.full(d, 0.5)
    threshold = math.sqrt(d) * float(np.linalg.norm(w))
    b = np.array([0.0, threshold * (1.0 - sign * 1e-9)])
    first = verdicts(np.vstack([w, np.zeros(d)]), b, rmsnorm(d))[0]
    assert first == ("speakable" if sign > 0 else "unspeakable")


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_between_two_tokens_on_the_layernorm_ball_the_closed_form_decides(sign: float) -> None:
    w = np.array([3.0, 1.0, -1.0, 5.0])
    threshold = 2.0 * float(np.linalg.norm(w - w.mean()))
    b = np.array([0.0, threshold * (1.0 - sign * 1e-8)])
    first = verdicts(np.vstack([w, np.zeros(4)]), b, layernorm(4))[0]
    assert first == ("speakable" if sign > 0 else "unspeakable")


@pytest.mark.parametrize("d", [2, 3, 4])
def test_of_a_lattice_cube_only_the_corners_are_speakable(d: int) -> None:
    W = np.array(list(itertools.product([0.0, 1.0, 2.0], repeat=d)))
    corners = {i for i, row in enumerate(W) if set(row) <= {0.0, 2.0}}
    assert speakable(W) == corners


@pytest.mark.parametrize("domain", DOMAINS)
def test_duplicates_of_a_vertex_are_unspeakable_and_named(domain: str) -> None:
    W = np.vstack([cross_polytope(3), np.eye(3)[:1]])
    asked = {"tokens": "all", "certifiers": ["highs"], "domain": domain, "opening": False}
    with geom.run(geom.Readout.fold(W), **asked) as run:  # type: ignore[arg-type]
        rows = list(run.rows())
    assert rows[0].verdict == rows[6].verdict == "unspeakable"
    assert rows[0].note == "same row and bias as token 6"
    assert {row.verdict for row in rows[1:3]} == {"speakable"}


@pytest.mark.parametrize("d", [2, 3, 6])
@pytest.mark.parametrize("domain", ["rmsnorm", "box", "unbounded"])
def test_a_token_on_an_edge_or_facet_is_unspeakable(d: int, domain: str) -> None:
    W = np.vstack([cross_polytope(d), (np.eye(d)[0] + np.eye(d)[1]) / 2.0])
    assert verdicts(W, None, domain)[-1] == "unspeakable"


@pytest.mark.parametrize("domain", ["rmsnorm", "box", "unbounded"])
def test_two_to_the_minus_forty_to_either_side_of_a_facet_is_told_apart(domain: str) -> None:
    d = 4
    for shift, expected in ((NUDGE, "speakable"), (0.0, "unspeakable"), (-NUDGE, "unspeakable")):
        W = np.vstack([cross_polytope(d), np.full(d, 0.25 + shift)])
        assert verdicts(W, None, domain)[-1] == expected


@pytest.mark.parametrize("d", [1, 2, 5])
def test_voronoi_biases_make_every_site_speakable(d: int) -> None:
    W = np.unique(np.random.default_rng(d).integers(-9, 10, (40, d)).astype(float), axis=0)
    assert speakable(W, -(W * W).sum(axis=1) / 2.0) == set(range(len(W)))


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_single_token_is_speakable(domain: str) -> None:
    assert verdicts([[1.0, 2.0]], [3.0], domain) == ["speakable"]


@pytest.mark.parametrize("domain", ["rmsnorm", "box", "unbounded"])
def test_fewer_tokens_than_dimensions_are_all_speakable(domain: str) -> None:
    W = cloud(5, 12, seed=7)
    assert set(verdicts(W, None, domain)) == {"speakable"}


@pytest.mark.parametrize("domain", DOMAINS)
def test_dead_dimensions_change_nothing(domain: str) -> None:
    W, b = cloud(30, 3, seed=8), cloud(30, 1, seed=9)[:, 0]
    padded = np.column_stack([W, np.zeros((30, 4))])
    own = {"layernorm": rmsnorm(3), "rmsnorm": rmsnorm(3), "box": box(3)}.get(domain, unbounded(3))
    inner = geom.Domain("padded", 7, own.shape, own.size)
    assert verdicts(padded, b, inner) == verdicts(W, b, own)


def test_a_rank_deficient_readout_is_decided_in_its_own_span() -> None:
    flat = np.array(list(itertools.product([0.0, 1.0, 2.0], repeat=2)))
    W = flat @ np.array([[1.0, 2.0, -1.0, 3.0], [0.0, 1.0, 1.0, -2.0]])
    corners = {i for i, row in enumerate(flat) if set(row) <= {0.0, 2.0}}
    assert speakable(W) == corners


small = st.integers(-3, 3)


@st.composite
def integer_readouts(draw: st.DrawFn) -> tuple[Floats, Floats]:
    d, V = draw(st.integers(1, 3)), draw(st.integers(2, 9))
    W = draw(st.lists(st.lists(small, min_size=d, max_size=d), min_size=V, max_size=V))
    b = draw(st.lists(small, min_size=V, max_size=V))
    return np.array(W, dtype=float), np.array(b, dtype=float)


@given(integer_readouts(), st.sampled_from(["box", "unbounded"]))
def test_small_integer_problems_are_all_decided_as_rationals_decide_them(
    case: tuple[Floats, Floats], domain: str
) -> None:
    W, b = case
    radius = 1.0 if domain == "box" else None
    truth = {t for t in range(len(W)) if largest_margin(W, b, t, radius) > 0}
    assert speakable(W, b, domain) == truth


@given(integer_readouts(), st.sampled_from(DOMAINS), st.integers(-5, 5))
def test_shifting_all_rows_and_biases_changes_no_verdict(
    case: tuple[Floats, Floats], domain: str, shift: int
) -> None:
    W, b = case
    assert verdicts(W + shift, b + shift, domain) == verdicts(W, b, domain)


@given(integer_readouts(), st.sampled_from(DOMAINS), st.integers(0, 99))
def test_permuting_tokens_permutes_verdicts(
    case: tuple[Floats, Floats], domain: str, seed: int
) -> None:
    W, b = case
    order = np.random.default_rng(seed).permutation(len(W))
    before = verdicts(W, b, domain)
    assert verdicts(W[order], b[order], domain) == [before[j] for j in order]


@given(integer_readouts(), st.sampled_from([0.125, 3.0, 1000.0]))
def test_without_bias_the_size_of_a_box_changes_no_verdict(
    case: tuple[Floats, Floats], radius: float
) -> None:
    W, _ = case
    assert verdicts(W, None, box(W.shape[1], radius)) == verdicts(W, None, "box")


@given(integer_readouts(), st.sampled_from(DOMAINS), st.integers(0, 8))
def test_a_duplicate_of_another_token_flips_no_verdict(
    case: tuple[Floats, Floats], domain: str, which: int
) -> None:
    W, b = case
    copied = which % len(W)
    before = verdicts(W, b, domain)
    after = verdicts(np.vstack([W, W[copied]]), np.append(b, b[copied]), domain)
    assert after[copied] == after[-1] == "unspeakable"
    assert [v for j, v in enumerate(after[:-1]) if j != copied] == [
        v for j, v in enumerate(before) if j != copied
    ]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("domain", ["box", "unbounded"])
def test_whatever_the_scales_a_verdict_is_right_or_undecided(seed: int, domain: str) -> None:
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((7, 2)) * 10.0 ** rng.integers(-9, 9, (7, 1))
    b = rng.standard_normal(7) * 10.0 ** rng.integers(-9, 9, 7)
    radius = 1.0 if domain == "box" else None
    for token, verdict in enumerate(verdicts(W, b, domain)):
        truth = "speakable" if largest_margin(W, b, token, radius) > 0 else "unspeakable"
        assert verdict in (truth, "undecided")


@pytest.mark.parametrize("opening", [True, False])
@pytest.mark.parametrize("name", DOMAINS)
def test_asked_for_the_largest_margin_it_brings_the_bounds_together(
    name: str, opening: bool
) -> None:
    W, b = cloud(60, 5, seed=11), 0.1 * cloud(60, 1, seed=12)[:, 0]
    readout = geom.Readout.fold(W, b)
    chosen = {"certifier.highs.largest": True}
    if name == "unbounded":
        readout = readout.without_bias()
    with geom.run(
        readout,
        tokens="all",
        certifiers=["highs"],
        domain=named(name, 5, None),
        options=chosen,
        opening=opening,
    ) as run:
        for row in run.rows(verdict="speakable"):
            assert row.margin_lower is not None
            assert row.margin_upper is not None
            wide = 5.0**0.5 if name == "unbounded" else 1.0 + 2e-3
            assert row.margin_lower <= row.margin_upper <= wide * row.margin_lower


def test_it_gives_up_in_words_when_it_runs_out_of_rounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(small_problems, "NUMBERS", 0)  # rationals would decide it
    monkeypatch.setattr(highs, "START", 1)
    chosen = {"certifier.highs.rounds": 1, "certifier.highs.add": 1}
    readout = geom.Readout.fold(cloud(400, 8, seed=13), cloud(400, 1, seed=14)[:, 0])
    with geom.run(
        readout,
        tokens="all",
        certifiers=["highs"],
        domain="rmsnorm",
        options=chosen,
        opening=False,
    ) as run:
        notes = {row.note for row in run.rows(verdict="undecided")}
    assert notes == {"highs: no answer in 1 rounds"}
