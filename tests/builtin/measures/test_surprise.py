"""``surprise`` against closed forms and Clarabel, and what verify makes of its numbers."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import geom
from geom import Finding, InputError, Measurement, Problem, Readout, Weights
from geom.proofs import Scatter, surprise_bounds
from geom_plugins.measures.surprise import SurpriseOptions, surprise
from support import conic
from support.command import Command
from support.problems import cloud, ends, problem, rivals
from support.stored_runs import edit
from support.truth import margin

Floats = NDArray[np.float64]

SHAPES = ["rmsnorm", "layernorm", "box", "unbounded"]


def sample(d: int, seed: int = 3, n: int = 40, zero_sum: bool = False) -> Floats:
    rng = np.random.default_rng(seed)
    points = 0.4 * rng.standard_normal((n, d)) * 0.6 ** np.arange(d) + 0.1
    return points - points.mean(axis=1, keepdims=True) if zero_sum else points


def measured(
    asked: Problem, token: int, points: Floats, folder: Path, **options: float
) -> Measurement:
    path = folder / f"{hashlib.sha256(points.tobytes()).hexdigest()[:16]}.npy"
    np.save(path, points)
    return surprise(asked, token, Finding(), SurpriseOptions(str(path), **options))


@pytest.mark.parametrize("domain", SHAPES)
@pytest.mark.parametrize("bias", [0.0, 1.5])
def test_it_is_the_length_that_clarabel_finds(domain: str, bias: float, tmp_path: Path) -> None:
    asked = problem(cloud(30, 4, 1), bias * cloud(30, 1, 2)[:, 0], domain)
    points = sample(4, zero_sum=asked.domain.zero_sum)
    known = Scatter.of(points, asked.domain)
    seen = 0
    for token in range(30):
        found = measured(asked, token, points, tmp_path)
        if found.value in (0.0, math.inf):
            continue
        low, high = ends(found)
        truth = conic.least_mahalanobis(
            *rivals(asked, token),
            known.mean,
            known.covariance,
            asked.domain.shape,
            asked.domain.radius,
        )
        assert low <= truth * (1 + 1e-7) + 1e-8
        assert truth <= high * (1 + 1e-7) + 1e-8
        assert high - low <= 3e-6 * high
        seen += 1
    assert seen > 5


@pytest.mark.parametrize("shrinkage", [0.1, 1.0])
def test_before_one_plane_it_is_the_distance_of_the_mean_from_it(
    shrinkage: float, tmp_path: Path
) -> None:
    W, b = np.array([[1.0, 2.0, 0.5], [-1.0, 0.0, 0.25]]), np.array([0.0, 4.0])
    asked = problem(W, b)
    points = sample(3)
    known = Scatter.of(points, asked.domain, shrinkage)
    a = W[1] - W[0]
    truth = (a @ known.mean + 4.0) / math.sqrt(a @ known.covariance @ a)
    low, high = ends(measured(asked, 0, points, tmp_path, shrinkage=shrinkage))
    assert low <= truth <= high
    assert high - low <= 2e-6 * high


def test_before_a_corner_it_is_the_distance_from_its_tip(tmp_path: Path) -> None:
    """With all of the variance shrunk away lengths are Euclid's; the token wins where x > 1."""
    d = 4
    W = np.vstack([np.zeros(d), -np.eye(d)])
    asked = problem(W, np.append(0.0, np.ones(d)))
    points = sample(d)
    known = Scatter.of(points, asked.domain, 1.0)
    truth = np.linalg.norm(1.0 - known.mean) / math.sqrt(known.variance)
    low, high = ends(measured(asked, 0, points, tmp_path, shrinkage=1.0))
    assert low <= truth <= high
    assert high - low <= 2e-6 * high


def test_a_token_that_wins_at_the_mean_is_no_surprise(tmp_path: Path) -> None:
    for domain in SHAPES:
        asked = problem(cloud(9, 4, 5), None, domain)
        points = sample(4, zero_sum=asked.domain.zero_sum)
        values = [ends(measured(asked, token, points, tmp_path)) for token in range(9)]
        mean = Scatter.of(points, asked.domain).mean
        winner = int((asked.readout.W @ mean).argmax())
        assert values[winner] == (0.0, 0.0)
        assert all(low > 0.0 for token, (low, _) in enumerate(values) if token != winner)


def test_a_token_that_cannot_win_is_infinitely_surprising(tmp_path: Path) -> None:
    W = cloud(12, 3, 6)
    W[4] = (W[5] + W[6]) / 2
    found = measured(problem(W, None, "rmsnorm"), 4, sample(3), tmp_path)
    assert (found.value, found.error, found.note) == (math.inf, 0.0, "unspeakable")


def test_the_only_token_wins_at_the_mean(tmp_path: Path) -> None:
    assert measured(problem(np.ones((1, 3))), 0, sample(3), tmp_path).value == 0.0


def test_a_ball_that_binds_is_in_the_bound(tmp_path: Path) -> None:
    """The token wins only near the sphere, which the mean is far from."""
    W = np.array([[1.0, 0.0], [0.0, 0.0]])
    asked = problem(W, np.array([0.0, 1.4]), "rmsnorm")
    rng = np.random.default_rng(0)
    points = rng.standard_normal((50, 2)) @ np.array([[0.1, 0.3], [0.0, 0.2]])
    known = Scatter.of(points, asked.domain)
    truth = conic.least_mahalanobis(
        *rivals(asked, 0), known.mean, known.covariance, "ball", asked.domain.radius
    )
    free = conic.least_mahalanobis(*rivals(asked, 0), known.mean, known.covariance, "all", 0.0)
    assert truth > 1.1 * free
    low, high = ends(measured(asked, 0, points, tmp_path))
    assert low - 1e-7 <= truth <= high + 1e-7
    assert high - low <= 2e-6 * high


@given(
    seed=st.integers(0, 10**6),
    domain=st.sampled_from(SHAPES),
    exponent=st.integers(-300, 300),
    shrinkage=st.sampled_from([1e-12, 0.01, 1.0]),
)
def test_bounds_never_cross_whatever_the_evidence(
    seed: int, domain: str, exponent: int, shrinkage: float
) -> None:
    """Any weights and any point: what one proves, the other does not refute."""
    rng = np.random.default_rng(seed)
    W = np.ldexp(cloud(8, 3, seed), exponent)
    b = np.ldexp(cloud(8, 1, seed + 1)[:, 0], exponent + int(rng.integers(-3, 3)))
    asked = problem(W, b, domain)
    known = Scatter.of(sample(3, seed, 10, asked.domain.zero_sum), asked.domain, shrinkage)
    token = int((W @ known.mean + b).argmin())
    lows, highs = [], []
    for _ in range(4):
        x = asked.domain.fit(10.0 ** rng.integers(-2, 3) * rng.standard_normal(3))
        lam = rng.exponential(size=7) ** 4
        weights = Weights(np.delete(np.arange(8), token), np.ldexp(lam, int(rng.integers(-9, 9))))
        low, high = surprise_bounds(asked, token, Finding(x, weights), known, 1.0)
        if low == high == math.inf:
            return
        if high < math.inf:
            assert margin(W, b, token, x) > 0
        lows.append(low)
        highs.append(high)
    assert max(lows) <= min(highs)


# The file of the sample


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A run with three numbers, beside the sample that they were measured with."""
    W = cloud(12, 3, 8)
    np.save(tmp_path / "W.npy", W)
    np.save(tmp_path / "acts.npy", sample(3).astype(np.float32))
    model = f"npz:{tmp_path / 'W.npy'}?norm=rmsnorm"
    with geom.run(model, tokens="all", certifiers=["maxent"], out=tmp_path / "run.db") as run:
        options = {"measure.surprise.activations": str(tmp_path / "acts.npy")}
        rows = list(geom.measure(run, "surprise", "all", options))
        assert sum(bool(row.value) and row.value < math.inf for row in rows if row.value) > 3
        assert {row.unit for row in rows} == {"sigma"}
    return tmp_path / "run.db"


def faults(path: Path) -> list[str]:
    with geom.open_run(path) as run:
        return [str(fault) for fault in geom.verify(run).faults]


def unchecked(path: Path) -> str:
    with geom.open_run(path) as run:
        return "; ".join(geom.verify(run).unchecked)


def test_a_run_keeps_the_digest_and_verify_proves_the_numbers_again(stored: Path) -> None:
    with geom.open_run(stored) as run:
        options = run.measured()[0]["surprise"].options
    digest = hashlib.sha256((stored.parent / "acts.npy").read_bytes()).hexdigest()
    assert options["sha256"] == digest
    assert faults(stored) == []
    assert "surprise" not in unchecked(stored)


def test_a_forged_number_is_found(stored: Path) -> None:
    edit(stored, "UPDATE measures SET value = value * 1.01 WHERE value > 0.0 AND value < 9e99")
    found = faults(stored)
    assert len(found) > 3
    assert all("surprise: it is" in fault and "its evidence proves" in fault for fault in found)


def test_a_forged_radius_is_found(stored: Path) -> None:
    edit(stored, "UPDATE measures SET error = 0.0 WHERE value > 0.0 AND value < 9e99")
    assert len(faults(stored)) > 3


def test_another_sample_under_the_name_is_found(stored: Path) -> None:
    np.save(stored.parent / "acts.npy", sample(3, 9).astype(np.float32))
    found = faults(stored)
    assert found
    assert all("acts.npy is not the sample that was used: its SHA-256" in one for one in found)


def test_a_sample_that_is_gone_leaves_its_numbers_unchecked(stored: Path) -> None:
    (stored.parent / "acts.npy").unlink()
    assert faults(stored) == []
    said = unchecked(stored)
    assert "the measure surprise, whose file" in said
    assert "acts.npy" in said
    assert "is not here" in said


def test_verify_opens_no_sample_outside_the_runs_folder(stored: Path, tmp_path: Path) -> None:
    with geom.open_run(stored) as run:
        options = dict(run.measured()[0]["surprise"].options)
    elsewhere = tmp_path.parent / "elsewhere.npy"
    (stored.parent / "acts.npy").rename(elsewhere)
    options["activations"] = str(elsewhere)
    edit(stored, "UPDATE measures SET options = ?", json.dumps(options))
    assert "is outside the run's own folder (give --allow-fetch" in unchecked(stored)
    with geom.open_run(stored) as run:
        assert "surprise" not in "; ".join(geom.verify(run, allow_fetch=True).unchecked)


def refused(command: Command, *given: str) -> str:
    done = command("measure", "--model", "demo", "-t", "5", "--measure", "surprise", *given)
    assert done.code == 2
    assert done.err.count("\n") == 1
    return done.err


def test_without_a_sample_one_line_says_how_to_get_one(command: Command) -> None:
    said = refused(command)
    assert "give -o measure.surprise.activations=FILE.npy, as geom activations writes it" in said


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not a plain NumPy array"),
        (b"\x93NUMPY\x01\x00", "is not a plain NumPy array"),
        (np.array([{}], dtype=object), "is not a plain NumPy array"),
        (np.ones((4, 3)), "shape 4x3, and (n, 64) with n > 1 is needed"),
        (np.ones((4, 64)), "the 4 points are all equal"),
        (np.full((4, 64), np.inf), "NaN or infinity"),
        (None, "does not exist"),
    ],
)
def test_what_is_no_sample_is_one_line(
    content: bytes | Floats | None, reason: str, command: Command, tmp_path: Path
) -> None:
    path = tmp_path / "acts.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    said = refused(command, "-o", f"measure.surprise.activations={path}")
    assert str(path) in said
    assert reason in said


def test_a_header_that_claims_more_than_the_file_holds_is_refused(
    command: Command, tmp_path: Path
) -> None:
    path = tmp_path / "acts.npy"
    np.save(path, np.ones((1, 64)))
    path.write_bytes(path.read_bytes().replace(b"(1, 64)", b"(9e9,6)").replace(b"9e9", b"999"))
    said = refused(command, "-o", f"measure.surprise.activations={path}")
    assert "is not a plain NumPy array" in said


def test_an_address_is_no_sample(command: Command) -> None:
    said = refused(command, "-o", "measure.surprise.activations=https://example.org/a.npy")
    assert "is not a file on this machine" in said


def test_the_shrinkage_can_be_given(tmp_path: Path) -> None:
    asked = problem(cloud(9, 3, 5), None, "rmsnorm")
    low, high = ends(measured(asked, 3, sample(3), tmp_path, shrinkage=0.5))
    auto = measured(asked, 3, sample(3), tmp_path)
    assert not low <= auto.value <= high


def test_without_a_sample_python_refuses_before_any_token() -> None:
    with pytest.raises(InputError, match="needs a sample"):
        geom.measure(Readout.fold(np.eye(3)), "surprise", [1])
