"""A precision as a working arithmetic: what it encloses holds the truth, and all of them agree."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import geom
from geom import Finding, InputError, Problem, Readout, Weights
from geom.model.domains import Domain, box, layernorm, rmsnorm, unbounded
from geom.plugins.registry import installed
from geom_plugins.certifiers.enclosures import margin_enclosure, reach_enclosure
from geom_plugins.certifiers.mpmath_check import MpmathOptions, certify, prepare
from support.command import Command
from support.plugins import Use
from support.precisions import only, precision

Floats = NDArray[np.float64]
RIGOROUS = [
    "float32",
    "float64",
    "longdouble",
    "double-double",
    "mpmath?digits=20",
    "arb?bits=64",
    "arb?bits=300",
    "exact",
]
DOMAINS: list[Callable[[int], Domain]] = [layernorm, rmsnorm, box, unbounded]


def true_products(rows: Floats, x: Floats) -> list[Fraction]:
    return [
        sum((Fraction(w) * Fraction(v) for w, v in zip(row, x.tolist(), strict=True)), Fraction(0))
        for row in rows.tolist()
    ]


def wild(rng: np.random.Generator, *shape: int) -> Floats:
    """Numbers at many scales, zeros among them."""
    scales = 2.0 ** rng.integers(-60, 40, size=shape)
    return rng.normal(size=shape) * scales * (rng.random(shape) < 0.9)


def test_these_are_the_rigorous_ones() -> None:
    records = [item.record for item in installed().listed() if item.kind == "precision"]
    able = {record.name for record in records if record.products is not None}
    assert able == {name.partition("?")[0] for name in RIGOROUS}


@pytest.mark.parametrize("name", RIGOROUS)
@pytest.mark.parametrize("seed", range(3))
def test_products_lie_in_their_enclosures(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for n, d in [(1, 1), (40, 1), (60, 3), (30, 17), (4, 300)]:
        rows, x = wild(rng, n, d), wild(rng, d)
        rows[0] = 0.0
        found = geom.find_arithmetic(name).products(rows, x)
        for enclosure, true in zip(found, true_products(rows, x), strict=True):
            assert enclosure.low <= true <= enclosure.high


@pytest.mark.parametrize("name", RIGOROUS)
def test_an_enclosure_is_as_narrow_as_its_arithmetic(name: str) -> None:
    rng = np.random.default_rng(8)
    rows, x = rng.normal(size=(20, 64)), rng.normal(size=64)
    sums = geom.find_arithmetic(name)
    size = np.linalg.norm(rows, axis=1) * np.linalg.norm(x)
    for enclosure, scale in zip(sums.products(rows, x), size, strict=True):
        assert enclosure.width <= 200 * sums.roundoff() * scale


@pytest.mark.parametrize("name", RIGOROUS)
@pytest.mark.parametrize("seed", range(4))
def test_the_margin_lies_in_the_enclosure_of_every_backend(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    readout = Readout.fold(rng.normal(size=(30, 6)), rng.normal(size=30))
    problem = Problem(readout, DOMAINS[seed](6))
    for token in range(8):
        x = problem.domain.fit(rng.normal(size=6))
        logits = [
            product + Fraction(bias)
            for product, bias in zip(true_products(readout.W, x), readout.b.tolist(), strict=True)
        ]
        own = logits.pop(token)
        found = margin_enclosure(problem, token, x, 60, name)
        assert found is not None
        assert found.low <= own - max(logits) <= found.high


@pytest.mark.parametrize("make", DOMAINS[:3])
@pytest.mark.parametrize("seed", range(3))
def test_all_backends_agree_on_what_weights_show(make: Callable[[int], Domain], seed: int) -> None:
    rng = np.random.default_rng(seed)
    readout = Readout.fold(rng.normal(size=(40, 5)), rng.normal(size=40))
    problem = Problem(readout, make(5))
    weights = Weights(np.arange(1, 40), rng.random(39) * 10.0 ** rng.integers(-9, 3, size=39))
    found = {name: reach_enclosure(problem, 0, weights, 120, name) for name in RIGOROUS}
    best = found["exact"].bound
    assert best is not None
    for name, reach in found.items():
        assert reach.bound is not None
        assert reach.bound.low <= best.low <= best.high <= reach.bound.high, name
        assert reach.length.low <= found["exact"].length.low
        assert reach.length.high >= found["exact"].length.high


def test_a_fine_backend_settles_what_a_coarse_one_leaves_open() -> None:
    readout = Readout.fold([[1.0, 2.0**-70], [1.0, 0.0]])
    problem, x = Problem(readout, box(2)), np.ones(2)
    signs = {name: margin_enclosure(problem, 0, x, 50, name).sign for name in RIGOROUS}  # type: ignore[union-attr]
    assert signs == {
        "float32": "unsettled",
        "float64": "unsettled",
        "longdouble": "unsettled",
        "double-double": "positive",
        "mpmath?digits=20": "unsettled",
        "arb?bits=64": "unsettled",
        "arb?bits=300": "positive",
        "exact": "positive",
    }


def test_the_note_names_the_backend() -> None:
    problem = Problem(Readout.fold(np.eye(2)), box(2))
    finding = Finding(np.array([1.0, 0.0]), Weights(np.array([1]), np.ones(1)))
    note = certify(problem, 0, finding, MpmathOptions(30, "arb?bits=90")).note
    assert note is not None
    assert note.startswith("margin in [1, 1] at 30 digits, sums in arb?bits=90: positive")
    assert "sums in arb?bits=90: positive, so this bound alone settles nothing" in note


def test_a_backend_without_an_answer_says_so_and_raises_nothing() -> None:
    problem = Problem(Readout.fold([[1.5e308, 1.5e308], [-1.5e308, 0.0]]), box(2))
    finding = Finding(np.ones(2), Weights(np.array([1]), np.ones(1)))
    coarse = certify(problem, 0, finding, MpmathOptions(30, "float64")).note
    assert coarse is not None
    assert "nothing to verify: float64 cannot enclose the margin" in coarse
    fine = certify(problem, 0, finding, MpmathOptions(30, "exact")).note
    assert fine is not None
    assert fine.startswith("margin in [4.5")


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ("bfloat16", "precision bfloat16 encloses nothing: choose one that does: arb, "),
        ("arbs", "did you mean 'arb'?"),
        ("arb?bit=300", "unknown option of precision arb 'bit'"),
        ("arb?&", "after the ? write key=value"),
        ("mpmath?digits=3", "expected int >= 15"),
    ],
)
def test_what_is_no_backend_is_refused(backend: str, said: str) -> None:
    problem = Problem(Readout.fold(np.eye(2)), box(2))
    with pytest.raises(InputError) as refusal:
        prepare(problem, MpmathOptions(50, backend))
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_one_arithmetic_is_compared_with_itself_under_other_options() -> None:
    names = ["arb?bits=53", "arb?bits=300", "mpmath?digits=17"]
    compared = geom.compare(Readout.fold([[1.0, 2.0**-70], [1.0, 0.0]]), [0], names, at=[1.0, 1.0])
    assert [(row.precision, row.sign) for row in compared] == [
        ("arb?bits=53", 0),
        ("mpmath?digits=17", 0),
        ("arb?bits=300", 1),
    ]
    assert compared.least() == {0: "arb?bits=300"}


def test_an_option_in_the_name_goes_before_one_beside_it() -> None:
    compared = geom.compare(
        Readout.fold(np.eye(2)), [0], ["arb?bits=60", "arb"], options={"precision.arb.bits": 90}
    )
    assert compared.precisions == {"arb?bits=60": 2.0**-60, "arb": 2.0**-90}


def test_a_run_verifies_with_the_backend_asked_for(command: Command) -> None:
    rng = np.random.default_rng(3)
    np.savez("toy.npz", W=rng.normal(size=(40, 4)), b=rng.normal(size=40))
    options = [
        "run",
        "-m",
        "npz:toy.npz?norm=rmsnorm",
        "-t",
        "0-39",
        "-c",
        "maxent",
        "-c",
        "mpmath",
        "--format",
        "jsonl",
    ]
    notes = {}
    for backend in ("exact", "arb?bits=200", "double-double"):
        out = command(
            *options, "-o", f"certifier.mpmath.backend={backend}", "--out", f"{backend[:3]}.db"
        )
        assert out.code == 0, out.err
        rows = [json.loads(line) for line in out.out.splitlines()]
        assert {row["verdict"] for row in rows} == {"speakable", "unspeakable"}
        assert all((backend == "exact") != (f"sums in {backend}" in row["note"]) for row in rows)
        notes[backend] = [row["note"].partition(" in ")[0] for row in rows]
    assert notes["exact"] == notes["arb?bits=200"] == notes["double-double"]


def test_a_strangers_precision_serves_where_it_encloses(use: Use) -> None:
    def whole(rows: Floats, x: Floats, options: Any) -> list[geom.Enclosure]:
        return [geom.Enclosure(Fraction(-9), Fraction(9)) for _ in rows]

    loose = precision("loose", lambda *_: None, 1.0)  # type: ignore[arg-type, return-value]
    use(
        only(
            geom.Precision(
                "loose", "", loose.margin, loose.options, roundoff=loose.roundoff, products=whole
            )
        )
    )
    found = geom.find_arithmetic("loose", rigorous=True).products(np.eye(2), np.ones(2))
    assert [item.width for item in found] == [18, 18]
