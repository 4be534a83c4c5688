"""``hull-vertex`` against Qhull, rationals and `geom.judge`: it passes no token over wrongly."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

import geom
from geom import Candidate, Domain, Finding, Problem, Readout, judge
from geom.machine.devices import find_device, using
from geom.model.domains import box, named, rmsnorm, unbounded
from geom.plugins.options import validate
from geom.plugins.registry import installed
from geom_plugins.detectors.hull_vertex import search
from support.problems import cloud
from support.truth import box_tokens, hull_tokens, largest_margin, upper_hull_tokens

Floats = NDArray[np.float64]
DOMAINS = ("layernorm", "rmsnorm", "box", "unbounded")


def passed(readout: Readout, domain: Domain | None = None, **options: Any) -> set[int]:
    """Return the tokens passed over, after checks.

    Each token must be named once, and `geom.judge` must accept the points of those passed over.
    """
    domain = domain or readout.domain
    detector = installed().get("detector", "hull-vertex")
    found = list(detector.detect(readout, domain, validate("detector", detector, options)))
    assert sorted(item.token for item in found) == list(range(readout.V))
    problem, out = Problem(readout, domain), set()
    for item in found:
        if isinstance(item, Candidate):
            continue
        x = geom.proofs.own_direction(problem, item.token) if item.x is None else item.x
        assert x.dtype == np.float64
        assert judge(problem, item.token, Finding(x=x)).name == "speakable"
        out.add(item.token)
    return out


def quickly(W: ArrayLike, b: ArrayLike | None = None, domain: str = "unbounded") -> set[int]:
    readout = Readout.fold(W, b)
    return passed(readout, named(domain, readout.d, None))


def integers(seed: int) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    d, V = int(rng.integers(1, 4)), int(rng.integers(2, 10))
    return rng.integers(-3, 4, (V, d)).astype(float), rng.integers(-3, 4, V).astype(float)


@pytest.mark.parametrize("d", range(1, 8))
def test_without_bias_it_passes_over_vertices_only_and_most_of_them(d: int) -> None:
    W = cloud(60 + 20 * d, d, seed=d)
    vertices, found = hull_tokens(W), quickly(W)
    assert found <= vertices
    assert len(found) >= 0.9 * len(vertices)


@pytest.mark.parametrize("d", range(1, 7))
def test_with_bias_it_passes_over_tokens_of_the_upper_hull_only_and_most_of_them(d: int) -> None:
    W, b = cloud(80, d, seed=20 + d), cloud(80, 1, seed=40 + d)[:, 0]
    upper, found = upper_hull_tokens(W, b), quickly(W, b)
    assert found <= upper
    assert len(found) >= 0.75 * len(upper)


@pytest.mark.parametrize(("d", "radius"), [(1, 1.0), (2, 0.25), (3, 1.0), (4, 3.0)])
def test_on_a_box_it_passes_over_facets_only_and_most_of_them(d: int, radius: float) -> None:
    W, b = cloud(60, d, seed=60 + d), cloud(60, 1, seed=80 + d)[:, 0]
    facets, found = box_tokens(W, b, radius), passed(Readout.fold(W, b), box(d, radius))
    assert found <= facets
    assert len(found) >= 0.8 * len(facets)


def test_on_the_layernorm_domain_only_rows_without_their_mean_count() -> None:
    W = cloud(120, 4, seed=4)
    basis = np.linalg.qr(np.column_stack([np.ones(4), np.eye(4)[:, :3]]))[0][:, 1:]
    vertices, found = hull_tokens(W @ basis), quickly(W, None, "layernorm")
    assert found <= vertices
    assert len(found) >= 0.9 * len(vertices)


@pytest.mark.parametrize("seed", range(4))
def test_on_a_disc_with_bias_it_finds_most_of_what_a_fine_grid_finds(seed: int) -> None:
    W, b = cloud(12, 2, seed), 2.0 * cloud(12, 1, 100 + seed)[:, 0]
    angles = np.linspace(0.0, 2.0 * np.pi, 400, endpoint=False)
    disc = np.sqrt(2.0) * np.column_stack([np.cos(angles), np.sin(angles)])
    grid = np.concatenate([disc * radius for radius in np.linspace(0.0, 1.0, 40)])
    winners = set((grid @ W.T + b).argmax(axis=1).tolist())
    assert len(winners & quickly(W, b, "rmsnorm")) >= 0.8 * len(winners)


@pytest.mark.parametrize("domain", ["box", "unbounded"])
def test_on_degenerate_rows_rationals_agree_with_all_that_is_passed_over(domain: str) -> None:
    for seed in range(60):
        W, b = integers(seed)
        for biases in (b, np.zeros(len(b))):
            found = quickly(W, biases, domain)
            radius = 1.0 if domain == "box" else None
            for token in found:
                assert largest_margin(W, biases, token, radius) > 0


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["box", "unbounded"]))
def test_whatever_the_scales_what_is_passed_over_is_speakable(seed: int, domain: str) -> None:
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((7, 2)) * 10.0 ** rng.integers(-9, 9, (7, 1))
    b = rng.standard_normal(7) * 10.0 ** rng.integers(-9, 9, 7)
    for token in quickly(W, b, domain):
        assert largest_margin(W, b, token, 1.0 if domain == "box" else None) > 0


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("scale", [1e-300, 1e-150, 1e-30, 1e30, 1e150, 1e300])
def test_huge_and_tiny_numbers_are_flagged_or_right_and_raise_nothing(
    scale: float, domain: str
) -> None:
    W, b = cloud(30, 3, seed=1), cloud(30, 1, seed=2)[:, 0]
    for biases in (None, b * scale):
        quickly(W * scale, biases, domain)  # `passed` judges every point


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("bias", [0.0, 0.5])
def test_duplicates_and_inner_points_are_flagged(bias: float, domain: str) -> None:
    W = np.vstack([np.eye(4), -np.eye(4), np.eye(4)[:1], np.zeros((1, 4)), np.full((1, 4), 0.25)])
    W[-1, 0] = 0.0  # inside the hull; on the layernorm domain too
    b = np.append(np.full(9, bias), [0.0, 0.0])
    assert quickly(W, b, domain) == set(range(1, 8))


@pytest.mark.parametrize("d", [2, 3, 4])
def test_of_a_lattice_cube_the_corners_are_passed_over(d: int) -> None:
    W = np.array(list(itertools.product([0.0, 1.0, 2.0], repeat=d)))
    assert quickly(W) == {i for i, row in enumerate(W) if set(row) <= {0.0, 2.0}}


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_single_token_is_passed_over_and_equal_ones_are_flagged(domain: str) -> None:
    assert quickly([[1.0, 2.0]], [3.0], domain) == {0}
    assert quickly(np.ones((5, 3)), None, domain) == set()
    assert quickly(np.zeros((5, 3)), None, domain) == set()


def test_a_bias_can_win_where_rows_are_equal() -> None:
    assert quickly(np.ones((3, 2)), [0.0, 1.0, 0.5], "rmsnorm") == {1}


def test_reflections_win_what_the_first_points_do_not() -> None:
    readout = geom.load("demo")
    asked, tokens = Problem(readout, readout.domain), np.arange(300, dtype=np.int64)
    few, some, many = (search(asked, tokens, rounds)[1].sum() for rounds in (0, 5, 40))
    assert few < some < many


def test_it_misses_no_speakable_token_of_the_demo() -> None:
    readout = geom.load("demo")
    flagged = set(range(readout.V)) - passed(readout)
    run = geom.run(readout, certifiers=["maxent"], tokens=sorted(flagged))
    assert {row.verdict for row in run.rows()} == {"unspeakable"}


@pytest.mark.parametrize("domain", DOMAINS)
def test_tokens_in_blocks_find_what_tokens_together_find(
    domain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    W, b = cloud(90, 5, seed=7), 0.3 * cloud(90, 1, seed=8)[:, 0]
    whole = quickly(W, b, domain)
    monkeypatch.setattr("geom_plugins.detectors.hull_vertex.BLOCK_BYTES", 8 * 90 * 7)
    monkeypatch.setattr("geom.exact.bulk.POINTS", 11)
    monkeypatch.setattr("geom_plugins.detectors.hull_vertex._QUIET", 40)
    assert quickly(W, b, domain) >= whole


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("bias", [0.0, 0.3])
def test_torch_finds_what_numpy_finds(bias: float, domain: str) -> None:
    pytest.importorskip("torch")
    W, b = cloud(90, 5, seed=9), bias * cloud(90, 1, seed=10)[:, 0]
    numpy = quickly(W, b, domain)
    with using(find_device("torch")[0]):
        assert quickly(W, b, domain) == numpy


def test_it_answers_the_same_again() -> None:
    readout = geom.load("synthetic:gpt2-like?V=800&d=24")
    detector = installed().get("detector", "hull-vertex")
    first, again = (
        [
            (type(item), item.token, getattr(item, "x", None))
            for item in detector.detect(readout, readout.domain, detector.options())
        ]
        for _ in range(2)
    )
    for (kind, token, x), (kind2, token2, x2) in zip(first, again, strict=True):
        assert (kind, token) == (kind2, token2)
        assert x is x2 if x is None or x2 is None else (x == x2).all()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("flat", [False, True])
def test_a_run_with_maxent_decides_every_token_as_qhull_does(bias: bool, flat: bool) -> None:
    W = cloud(150, 4, seed=11)
    b = cloud(150, 1, seed=12)[:, 0] if bias else np.zeros(150)
    if flat:  # in a plane of their own, for which Qhull has no answer
        W = np.column_stack([W[:, :3], W[:, :3].sum(axis=1)])
    span = W[:, :3] if flat else W
    right = upper_hull_tokens(span, b) if bias else hull_tokens(span)
    run = geom.run(
        Readout.fold(W, b),
        detectors=["hull-vertex"],
        certifiers=["maxent"],
        domain=unbounded(4),
    )
    rows = list(run.rows())
    assert [row.token_id for row in rows] == list(range(150))
    assert {row.token_id for row in rows if row.verdict == "speakable"} == right
    assert {row.verdict for row in rows} == {"speakable", "unspeakable"}
    flagged = {row.token_id for row in rows if row.flagged_by}
    assert set(range(150)) - right <= flagged


def test_a_run_with_a_bias_on_a_ball_decides_every_token() -> None:
    W, b = cloud(120, 6, seed=13), cloud(120, 1, seed=14)[:, 0]
    run = geom.run(
        Readout.fold(W, b), detectors=["hull-vertex"], certifiers=["maxent"], domain=rmsnorm(6)
    )
    assert {row.verdict for row in run.rows()} == {"speakable", "unspeakable"}
    assert len(list(run.rows())) == 120
