"""``maxent`` on torch answers as on NumPy, and keeps a readout on a device only once."""

from __future__ import annotations

import gc
import itertools
import weakref

import numpy as np
import pytest
from numpy.typing import NDArray

from geom import Device, Finding, Problem, Verdict, judge
from geom.machine.devices import find_device, using
from geom.model.domains import box
from geom_plugins.solvers import central_path
from geom_plugins.solvers.maximum_entropy import Effort, search_many
from support.problems import problem

pytest.importorskip("torch")

Floats = NDArray[np.float64]
DOMAINS = ("layernorm", "rmsnorm", "box", "unbounded")
CPU, TORCH = find_device("cpu")[0], find_device("torch")[0]


def findings(asked: Problem, device: Device, **chosen: bool) -> list[Finding]:
    tokens = range(asked.readout.V)
    with using(device):
        return list(search_many(asked, tokens, [Finding()] * len(tokens), Effort(**chosen)))


def verdicts(asked: Problem, device: Device) -> list[Verdict]:
    return [judge(asked, token, found) for token, found in enumerate(findings(asked, device))]


def names(asked: Problem, device: Device) -> list[str]:
    return [verdict.name for verdict in verdicts(asked, device)]


def contradict(ours: list[str], theirs: list[str]) -> bool:
    return any(
        "undecided" not in pair and len(set(pair)) == 2 for pair in zip(ours, theirs, strict=True)
    )


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("domain", DOMAINS)
def test_in_general_position_torch_gives_the_verdicts_of_numpy(domain: str, biased: bool) -> None:
    for seed in range(25):
        rng = np.random.default_rng(seed)
        d, V = int(rng.integers(2, 7)), int(rng.integers(4, 16))
        asked = problem(
            rng.standard_normal((V, d)), rng.standard_normal(V) if biased else None, domain
        )
        ours = names(asked, TORCH)
        assert ours == names(asked, CPU)
        assert "undecided" not in ours


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("domain", DOMAINS)
def test_on_degenerate_problems_torch_and_numpy_never_contradict(domain: str, biased: bool) -> None:
    undecided = total = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        d, V = int(rng.integers(1, 4)), int(rng.integers(2, 10))
        W = rng.integers(-3, 4, (V, d)).astype(float)
        b = rng.integers(-3, 4, V).astype(float) if biased else None
        asked = problem(W, b, domain)
        ours, theirs = names(asked, TORCH), names(asked, CPU)
        assert not contradict(ours, theirs)
        undecided, total = undecided + ours.count("undecided"), total + V
    assert undecided < 0.02 * total


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("shift", [2.0**-20, 2.0**-40, 2.0**-53, 0.0, -(2.0**-53), -(2.0**-20)])
def test_beside_a_facet_torch_is_right_or_undecided(shift: float, domain: str) -> None:
    W = np.vstack([np.eye(4), -np.eye(4), np.full((1, 4), 0.25 + shift)])
    ours, theirs = names(problem(W, None, domain), TORCH), names(problem(W, None, domain), CPU)
    assert not contradict(ours, theirs)
    if domain != "layernorm":
        assert ours[-1] in ("speakable" if shift > 0 else "unspeakable", "undecided")


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e30, 1e150])
def test_huge_and_tiny_numbers_never_part_the_devices(scale: float, domain: str) -> None:
    rng = np.random.default_rng(1)
    W, b = rng.standard_normal((20, 3)), rng.standard_normal(20)
    asked = problem(scale * W, scale * b, domain)
    assert not contradict(names(asked, TORCH), names(problem(W, b, domain), CPU))


TWINS = np.vstack([np.eye(3), -np.eye(3), np.eye(3)[:1]])
LATTICE = np.array(list(itertools.product([0.0, 1.0, 2.0], repeat=2)))
BORDER = {
    "twins": TWINS,
    "dead dimensions": np.column_stack([TWINS, np.zeros((7, 4))]),
    "a loner": np.ones((1, 3)),
    "a lattice": LATTICE,
    "a lattice in a plane": LATTICE @ np.array([[1.0, 2.0, -1.0, 3.0], [0.0, 1.0, 1.0, -2.0]]),
}


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("case", BORDER)
def test_border_cases_are_alike_on_torch(case: str, domain: str) -> None:
    asked = problem(BORDER[case], None, domain)
    assert names(asked, TORCH) == names(asked, CPU)


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_between_two_tokens_on_a_ball_the_closed_form_decides_on_torch(d: int, sign: float) -> None:
    w = np.full(d, 0.5)
    threshold = np.sqrt(d) * np.linalg.norm(w)
    b = np.array([0.0, threshold * (1.0 - sign * 1e-9)])
    first = names(problem(np.vstack([w, np.zeros(d)]), b, "rmsnorm"), TORCH)[0]
    assert first == ("speakable" if sign > 0 else "unspeakable")


@pytest.mark.parametrize("device", [CPU, TORCH], ids=["cpu", "torch"])
@pytest.mark.parametrize("domain", DOMAINS)
def test_products_in_float32_part_no_verdicts(
    domain: str, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on small problems, which do not use float32 by default: degenerate, at all scales."""
    asked = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        asked.append(problem(rng.standard_normal((14, 4)), rng.standard_normal(14), domain))
        lattice = rng.integers(-3, 4, (8, 2)).astype(float)
        asked.append(problem(lattice, rng.integers(-3, 4, 8).astype(float), domain))
        asked.append(problem(lattice, None, domain))
        scales = 10.0 ** rng.integers(-9, 9, (7, 1))
        asked.append(problem(scales * rng.standard_normal((7, 2)), None, domain))
    truths = [names(one, CPU) for one in asked]
    monkeypatch.setattr(central_path, "_SINGLE", 0)
    for i, (one, truth) in enumerate(zip(asked, truths, strict=True)):
        ours = names(one, device)
        assert not contradict(ours, truth)
        assert i % 4 or ours == truth


def test_findings_leave_as_numpy_arrays_of_float64() -> None:
    rng = np.random.default_rng(2)
    asked = problem(rng.standard_normal((40, 5)), None, "rmsnorm")
    for found in findings(asked, TORCH):
        assert type(found.x) is np.ndarray
        assert found.x.dtype == np.float64
        assert found.weights is not None
        assert type(found.weights.values) is np.ndarray
        assert found.weights.values.dtype == np.float64
        assert found.weights.indices.dtype == np.int64


def test_the_largest_margin_is_the_same_on_torch() -> None:
    rng = np.random.default_rng(3)
    asked = problem(rng.standard_normal((30, 4)), 0.1 * rng.standard_normal(30), box(4))
    for token, pair in enumerate(
        zip(findings(asked, TORCH, largest=True), findings(asked, CPU, largest=True), strict=True)
    ):
        ours, theirs = (judge(asked, token, found) for found in pair)
        assert ours.margin_lower is not None
        assert theirs.margin_upper is not None
        assert ours.margin_lower <= theirs.margin_upper


def test_the_rows_are_put_on_a_device_once_and_go_with_the_readout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = problem(np.random.default_rng(4).standard_normal((50, 5)), None, "rmsnorm")
    other, put, puts = Problem(asked.readout, box(5)), Device.put, list[bool]()

    def counted(self: Device, array: Floats) -> object:
        puts.append(np.array_equal(array, W))
        return put(self, array)

    W = asked.readout.W
    monkeypatch.setattr(Device, "put", counted)
    for one in (asked, other, asked):
        findings(one, TORCH)
    assert sum(puts) == 1
    gone = weakref.ref(asked.readout)
    del asked, other, one
    gc.collect()
    assert gone() is None
