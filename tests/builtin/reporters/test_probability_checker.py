"""The second program for strangers: bounds on probabilities, of certificates and of forgeries.

It runs as a stranger runs it, next to the first program. The truth is a closed form, or mpmath at
400 bits; `campaigns.caps` draws more cases.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace
from typing import Any

import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray

import geom
from campaigns import caps as campaign
from campaigns.caps import CHECKER
from geom import Readout, Run
from support import ROOT
from support.command import Command

FIRST = ROOT / "docs" / "check_certificate.py"
Claim = dict[str, Any]


def check(claim: object, where: Path, program: Path = CHECKER) -> tuple[int, str]:
    """Return the program's exit code and output."""
    (where / "claim.json").write_text(claim if isinstance(claim, str) else json.dumps(claim))
    done = subprocess.run(
        [sys.executable, "-I", "-S", program, "claim.json", "W.npy", "--bias", "b.npy"],
        cwd=where,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout + done.stderr).count("\n") == 1
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def proven() -> Callable[[Claim, Path], bool]:
    """Return the function of the program that decides, without a process for each call."""
    names = run_path(str(CHECKER), run_name="checker")
    decide = names["proven"]
    decide.__globals__["checker"] = SimpleNamespace(**run_path(str(FIRST), run_name="checker"))

    def answer(claim: Claim, where: Path) -> bool:
        return bool(decide(claim, where / "W.npy", where / "b.npy", None, None)[1])

    return answer


def exported(run: Run, where: Path) -> list[Claim]:
    """Write the weights of a run to files, and return its certificates of unspeakable tokens."""
    np.save(where / "W.npy", run.problem.readout.W)
    np.save(where / "b.npy", run.problem.readout.b)
    geom.export(run, "certificate", where / "all.jsonl")
    claims = map(json.loads, (where / "all.jsonl").read_text().splitlines())
    return [claim for claim in claims if claim["verdict"] == "unspeakable"]


def lowered(claim: Claim, by: float) -> Claim:
    value = float.fromhex(claim["probability_upper"])
    return claim | {"probability_upper": (value * (1.0 - by)).hex()}


def small(where: Path, W: Any, b: Any = None) -> None:
    """Write the weights for certificates made by hand."""
    np.save(where / "W.npy", np.array(W, dtype=np.float64))
    np.save(where / "b.npy", np.zeros(len(W)) if b is None else np.array(b, dtype=np.float64))


def claimed(V: int, d: int, t: int, lam: dict[int, float], p: float, **more: Any) -> Claim:
    """Return a certificate made by hand, by default on all of R^d at temperature 1."""
    return {
        "format": "geom certificate 1",
        "token_id": t,
        "V": V,
        "d": d,
        "domain": {"name": "unbounded", "shape": "all", "size": None, "zero_sum": False},
        "weights": {"tokens": list(lam), "values": [float(v).hex() for v in lam.values()]},
        "probability_upper": p.hex(),
        "temperature": "0x1p+0",
    } | more


def test_every_bound_that_is_exported_is_proven_and_nothing_less(
    proven: Callable[[Claim, Path], bool], tmp_path: Path
) -> None:
    held: Counter[tuple[str, str]] = Counter()
    for seed in range(2):
        draw = np.random.default_rng(seed)
        W = draw.normal(size=(60, 5)) * (0.2 + draw.random((60, 1)))
        b = draw.normal(size=60) / 4
        corners = np.round(8 * draw.normal(size=(12, 4)))
        inside = (corners[draw.integers(12, size=20)] + corners[draw.integers(12, size=20)]) / 2
        for readout, certifier in (
            (Readout.fold(W), "maxent"),
            (Readout.fold(W, b), "maxent"),
            (Readout.fold(W, norm="layernorm"), "highs"),
            (Readout.fold(W, b, norm="rmsnorm"), "maxent"),
            (Readout.fold(np.vstack([corners, inside])), "highs"),
        ):
            with geom.run(readout, tokens="all", certifiers=[certifier]) as run:
                for claim in exported(run, tmp_path):
                    assert proven(claim, tmp_path), claim
                    held[claim["domain"]["shape"], claim["proof"]] += 1
                    assert not proven(lowered(claim, 1e-5), tmp_path), claim
    assert held.keys() == {
        *(("all", "interior"), ("all", "rational"), ("ball", "interior"), ("ball", "slack"))
    }
    assert min(held.values()) > 10, held


@pytest.mark.parametrize("k", [2, 3, 4, 10, 300])
def test_of_k_equal_tokens_each_has_exactly_one_part_in_k(k: int, tmp_path: Path) -> None:
    """Where all tokens are written, at most 256 twins of each are named."""
    W = np.vstack([np.tile([0.5, 3.0], (k, 1)), [[1.0, 0.0], [-1.0, 0.5]]])
    with geom.run(Readout.fold(W, norm="rmsnorm"), tokens="all") as run:
        first = exported(run, tmp_path)[0]
        geom.export(run, "certificate", tmp_path / "0.json", {"reporter.certificate.token": "0"})
        alone = json.loads((tmp_path / "0.json").read_text())
        shown = run.row(0).probability_upper
    for claim, named in ((first, min(k, 257)), (alone, k)):
        cap = float.fromhex(claim["probability_upper"])
        assert Fraction(1, named) <= Fraction(cap) <= Fraction(1, named) + Fraction(1, 2**53)
        assert check(claim, tmp_path)[0] == 0
        less = math.nextafter(1 / named, 0.0) if Fraction(1 / named) * named == 1 else 1 / named
        if Fraction(less) * named < 1:
            assert check(claim | {"probability_upper": less.hex()}, tmp_path)[0] == 1
    assert shown == float.fromhex(alone["probability_upper"])


@pytest.mark.parametrize("temperature", [1e-300, 0.01, 1.0, 1e6])
def test_the_mean_of_three_rows_has_a_quarter_at_every_temperature(
    temperature: float, tmp_path: Path
) -> None:
    small(tmp_path, [[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0], [0.0, 0.0]])
    lam = dict.fromkeys(range(3), 1.0)
    claim = claimed(4, 2, 3, lam, 0.25, temperature=temperature.hex())
    said = f"token 3 of 4 is at most 0.25 likely at temperature {temperature} on R^2: proven\n"
    assert check(claim, tmp_path) == (0, said)
    assert check(lowered(claim, 2.0**-50), tmp_path)[0] == 1


def test_a_speakable_token_on_a_ball_has_its_largest_probability(tmp_path: Path) -> None:
    """Of two tokens with rows 1 and -1 and |x| <= 1, the first has 1 / (1 + exp(-2 / T)) at 1."""
    small(tmp_path, [[1.0], [-1.0]])
    ball = {"name": "rmsnorm", "shape": "ball", "size": "1", "zero_sum": False}
    for T in (0.5, 1.0, 3.0):
        with mpmath.workprec(400):
            truth = 1 / (1 + mpmath.exp(-2 / mpmath.mpf(T)))
            above, below = (float(truth * (1 + mpmath.mpf(off))) for off in (1e-15, -1e-15))
            assert below < truth < above
        for p, code in ((above, 0), (below, 1)):
            claim = claimed(2, 1, 0, {1: 1.0}, p, domain=ball, temperature=T.hex())
            assert check(claim, tmp_path)[0] == code


def test_the_entropy_of_unequal_weights_counts(tmp_path: Path) -> None:
    """Token 2 is a quarter of the way from one token to the other: p <= 1 / (1 + 4 / 27^(1/4))."""
    small(tmp_path, [[1.0], [-3.0], [0.0]])
    with mpmath.workprec(400):
        truth = 1 / (1 + 4 / mpmath.root(27, 4))
        above, below = (float(truth * (1 + mpmath.mpf(off))) for off in (1e-15, -1e-15))
    for p, code in ((above, 0), (below, 1)):
        assert check(claimed(3, 1, 2, {0: 3.0, 1: 1.0}, p), tmp_path)[0] == code
    off = {0: 3.0, 1: 1.0 + 2.0**-40}  # r is not 0, and weights nearby have r = 0
    assert check(claimed(3, 1, 2, off, above), tmp_path)[0] == 1
    assert check(claimed(3, 1, 2, off, truth_with_room := above * (1 + 1e-9)), tmp_path)[0] == 0
    assert truth_with_room < 0.5


def forged(**change: Any) -> Callable[[Claim], Any]:
    return lambda claim: claim | change


FORGERIES: dict[str, Callable[[Claim], Any]] = {
    "less": lambda claim: lowered(claim, 1e-9),
    "no bound": forged(probability_upper=None),
    "no key": lambda claim: {k: v for k, v in claim.items() if k != "probability_upper"},
    "no temperature": lambda claim: {k: v for k, v in claim.items() if k != "temperature"},
    "a number": forged(probability_upper=0.25),
    "a truth": forged(probability_upper=True),
    "NaN": forged(probability_upper="nan"),
    "infinity": forged(probability_upper="inf"),
    "nothing": forged(probability_upper="0x0p+0"),
    "less than nothing": forged(probability_upper="-0x1p-2"),
    "certainty": forged(probability_upper="0x1p+0"),
    "no heat": forged(temperature="0x0p+0"),
    "cold": forged(temperature="-0x1p+0"),
    "endless heat": forged(temperature="inf"),
    "heat of no kind": forged(temperature="nan"),
    "another token": forged(token_id=0),
    "other weights": forged(weights={"tokens": [0, 1], "values": ["0x1p+0", "0x1p+0"]}),
    "itself": forged(weights={"tokens": [0, 1, 3], "values": ["0x1p+0"] * 3}),
    "a token twice": forged(weights={"tokens": [0, 1, 1], "values": ["0x1p+0"] * 3}),
    "a negative weight": forged(
        weights={"tokens": [0, 1, 2], "values": ["0x1p+0", "-0x1p+0", "0x1p+0"]}
    ),
    "no weight": forged(weights={"tokens": [0, 1, 2], "values": ["0x0p+0"] * 3}),
    "no weights": forged(weights=None),
    "other sizes": forged(V=2, d=4),
    "a shape of no kind": forged(
        domain={"name": "", "shape": "sphere", "size": "1", "zero_sum": False}
    ),
    "a list": lambda claim: [claim],
    "text": lambda claim: "not JSON",
    "depth": lambda claim: "[" * 100_000,
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_forgery_is_not_taken(forgery: Callable[[Claim], Any], tmp_path: Path) -> None:
    small(tmp_path, [[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0], [0.0, 0.0]])
    true = claimed(4, 2, 3, dict.fromkeys(range(3), 1.0), 0.25)
    assert check(true, tmp_path)[0] == 0
    code, said = check(forgery(true), tmp_path)
    assert code in (1, 2), said
    assert "NOT proven" in said or said.startswith("cannot be read: ")
    assert len(said) < 200


@pytest.mark.parametrize("number", range(100))
def test_what_is_called_proven_is_true(number: int) -> None:
    case = campaign.draw(np.random.default_rng([7, number]), number)
    assert case.failure is None, case.kind


def test_a_run_of_the_demo_is_checked_from_the_files_that_the_docs_name(
    command: Command, tmp_path: Path
) -> None:
    command("run", "--tokens", "100,2262,2310", "--out", "run.db")
    readout: Readout = geom.load("demo")
    small(tmp_path, readout.W, readout.b)
    answers: list[tuple[int, str]] = []
    for token in ("2262", "2310", "100"):
        done = command("export", "run.db", "--format", "certificate", "--token", token)
        answers.append(check(done.out, tmp_path))
    where = "likely at temperature 1.0 on R^64, x . x <= 64, sum(x) = 0: proven\n"
    assert answers[0] == (0, f"token 2262 of 3072 is at most 0.5 {where}")
    assert answers[1][0] == 0
    assert answers[1][1].endswith(where)
    assert answers[2] == (2, "cannot be read: claim.json: it bounds no probability\n")


def test_it_needs_the_first_program_next_to_it(tmp_path: Path) -> None:
    small(tmp_path, [[0.0], [0.0]])
    alone = Path(shutil.copy(CHECKER, tmp_path))
    claim = claimed(2, 1, 0, {1: 1.0}, 0.5)
    said = "cannot be read: check_certificate.py is not next to this program\n"
    assert check(claim, tmp_path, alone) == (2, said)
    shutil.copy(FIRST, tmp_path)
    assert check(claim, tmp_path, alone)[0] == 0


def test_it_is_short_and_imports_nothing_but_the_standard_library() -> None:
    lines = CHECKER.read_text().splitlines()
    assert len(lines) <= 150
    imported = {line.split()[1] for line in lines if line.startswith(("import ", "from "))}
    assert imported <= sys.stdlib_module_names


def test_a_bound_below_all_floats_is_the_least_of_them(tmp_path: Path) -> None:
    for norm, certifier in (("rmsnorm", "maxent"), (None, "highs")):
        readout = Readout.fold(np.ones((2, 2)), [0.0, 1e6], norm=norm)
        with geom.run(readout, tokens="all", certifiers=[certifier]) as run:
            (claim,) = exported(run, tmp_path)
        assert float.fromhex(claim["probability_upper"]) == 5e-324
        assert check(claim, tmp_path)[0] == 0


def test_only_the_floats_of_the_file_decide(tmp_path: Path) -> None:
    """Numbers at the ends of the range, and weights that only differ in their last bits."""
    tiny, huge = 5e-324, 2.0**1023
    for size in (tiny, 1.0, huge):
        W: NDArray[np.float64] = np.array([[size], [-size], [0.0]])
        small(tmp_path, W)
        for scale in (tiny, 1.0, huge):
            lam = {0: scale, 1: scale}
            assert check(claimed(3, 1, 2, lam, math.nextafter(1 / 3, 1)), tmp_path)[0] == 0
            assert check(claimed(3, 1, 2, lam, 1 / 3), tmp_path)[0] == 1
