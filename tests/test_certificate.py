"""The stranger's checker of ``docs``, on certificates of each proof and on forgeries.

It is run as a stranger runs it: a process that gets files, on a path where geom is not to be found.
What is true of a token comes from how it is made, or from Qhull.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import geom
from command import Command
from geom import Readout, Run
from geom.testing import known_problems
from truth import hull_tokens

CHECKER = Path(__file__).parent.parent / "docs" / "check_certificate.py"

Array = NDArray[Any]


def exported(run: Run, where: Path) -> list[dict[str, Any]]:
    """The certificates of a run, and its weights beside them."""
    np.save(where / "W.npy", run.problem.readout.W)
    np.save(where / "b.npy", run.problem.readout.b)
    geom.export(run, "certificate", where / "all.jsonl")
    return [json.loads(line) for line in (where / "all.jsonl").read_text().splitlines()]


def check(claim: object, where: Path, *arrays: str) -> tuple[int, str]:
    """The exit code of the checker and what it says."""
    (where / "claim.json").write_text(claim if isinstance(claim, str) else json.dumps(claim))
    words = arrays or ("W.npy", "--bias", "b.npy")
    done = subprocess.run(
        [sys.executable, "-I", "-S", CHECKER, "claim.json", *words],
        cwd=where,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout + done.stderr).count("\n") == 1
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def checker() -> dict[str, Any]:
    """What is in the program, to be called without a process each time."""
    names: dict[str, Any] = {"__name__": "checker"}
    exec(compile(CHECKER.read_text(), CHECKER, "exec"), names)
    return names


def clouds() -> Iterator[tuple[Readout, dict[str, Any]]]:
    """Readouts whose tokens have every proof."""
    for seed in range(6):
        draw = np.random.default_rng(seed)
        W = draw.normal(size=(120, 6)) * (0.2 + draw.random((120, 1)))
        yield Readout.fold(W), {"certifiers": ["maxent"]}
        yield Readout.fold(W, norm="layernorm"), {"certifiers": ["highs"]}
        yield Readout.fold(W, draw.normal(size=120) / 4, norm="rmsnorm"), {"certifiers": ["maxent"]}
        corners = np.round(8 * draw.normal(size=(12, 4)))
        inside = (corners[draw.integers(12, size=30)] + corners[draw.integers(12, size=30)]) / 2
        yield Readout.fold(np.vstack([corners, inside])), {"certifiers": ["highs"]}


def test_a_hundred_certificates_of_every_proof_hold(
    checker: dict[str, Any], tmp_path: Path
) -> None:
    held: Counter[str] = Counter()
    for readout, words in clouds():
        with geom.run(readout, tokens="all", **words) as run:
            for claim in exported(run, tmp_path):
                paths = [tmp_path / "W.npy", tmp_path / "b.npy", None, None]
                assert checker["proven"](json.loads(json.dumps(claim)), paths), claim["token_id"]
                held[claim["proof"]] += 1
    assert held.keys() == {"witness", "slack", "interior", "rational"}
    assert min(held.values()) >= 100, held


def test_verdicts_that_it_proves_are_qhulls(checker: dict[str, Any], tmp_path: Path) -> None:
    W = np.random.default_rng(9).normal(size=(60, 3))
    with geom.run(Readout.fold(W), tokens="all") as run:
        claims = exported(run, tmp_path)
    paths = [tmp_path / "W.npy", None, None, None]
    corners = hull_tokens(W)
    assert len(claims) == 60
    for claim in claims:
        assert checker["proven"](claim, paths)
        assert (claim["verdict"] == "speakable") == (claim["token_id"] in corners)


def test_every_answer_that_is_known_is_proven(checker: dict[str, Any], tmp_path: Path) -> None:
    for known in known_problems():
        with geom.run(known.readout, tokens="all", domain=known.domain) as run:
            claims = exported(run, tmp_path)
        assert len(claims) == known.readout.V
        for claim in claims:
            paths = [tmp_path / "W.npy", tmp_path / "b.npy", None, None]
            assert checker["proven"](claim, paths), (known, claim)
            assert claim["verdict"] == known.truth(claim["token_id"])


def test_it_folds_the_norm_itself(command: Command, tmp_path: Path) -> None:
    """From a checkpoint's own arrays, float32 without a header, it comes to the same verdicts."""
    draw = np.random.default_rng(3)
    parts = {
        "W": draw.normal(size=(40, 5)),
        "bias": draw.normal(size=40) / 4,
        "gamma": 1 + draw.normal(size=5) / 4,
        "beta": draw.normal(size=5) / 4,
    }
    parts = {name: array.astype("<f4") for name, array in parts.items()}
    for name, array in parts.items():
        array.tofile(tmp_path / f"{name}.raw")
    folded = Readout.fold(
        parts["W"], parts["bias"], gamma=parts["gamma"], beta=parts["beta"], norm="layernorm"
    )
    given = ("W.raw", "--bias", "bias.raw", "--gamma", "gamma.raw", "--beta", "beta.raw")
    with geom.run(folded, tokens="all", out="run.db") as run:
        claims = exported(run, tmp_path)
    assert {claim["verdict"] for claim in claims} == {"speakable", "unspeakable"}
    some = claims[:: len(claims) // 8]
    assert [check(claim, tmp_path, *given)[0] for claim in some] == [0] * len(some)
    assert 1 in [check(claim, tmp_path, *given[:3])[0] for claim in some]  # they are others now


def test_the_page_of_the_format_names_every_key(tmp_path: Path) -> None:
    page = (CHECKER.parent / "certificate.md").read_text(encoding="utf-8")
    table = page[page.index("| key |") : page.index("\n\nA number is")]
    named = {
        key for line in table.splitlines()[2:] for key in re.findall("`(.*?)`", line.split("|")[1])
    }
    with geom.run(Readout.fold(np.eye(3), None), tokens="all") as run:
        keys = {key for claim in exported(run, tmp_path) for key in claim}
    assert keys <= named <= keys | {"weights"}


def test_a_run_of_the_demo_is_checked_from_the_files_that_the_docs_name(
    command: Command, tmp_path: Path
) -> None:
    command("run", "--tokens", "100,2262,2310", "--out", "run.db")
    readout = geom.load("demo")
    np.save("W.npy", readout.W)
    np.save("b.npy", readout.b)
    for token, verdict in (("100", "speakable"), ('"RABIC', None), ("2262", "unspeakable")):
        done = command("export", "run.db", "--format", "certificate", "--token", token)
        if verdict is None:
            assert (done.code, done.err.count("\n")) == (2, 1)
            assert "was not examined in run.db" in done.err
            continue
        code, said = check(done.out, tmp_path)
        assert (code, said.startswith(f"token {token} is {verdict} on ")) == (0, True)


def forged(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    def apply(claim: dict[str, Any]) -> Any:
        copy = json.loads(json.dumps(claim))
        out = change(copy)
        return copy if out is None else out

    return apply


def put(path: str, value: object, claim: dict[str, Any]) -> None:
    *first, last = path.split(".")
    for key in first:
        claim = claim[key]
    claim[last] = value(claim[last]) if callable(value) else value


POINTS = {
    "another token": partial(put, "token_id", lambda t: (t + 1) % 5),
    "a point outside": partial(put, "x", lambda x: [(9 * float.fromhex(v)).hex() for v in x]),
    "the opposite": partial(put, "x", lambda x: [(-float.fromhex(v)).hex() for v in x]),
    "the origin": partial(put, "x", lambda x: ["0x0p+0"] * len(x)),
    "too short": partial(put, "x", lambda x: x[:-1]),
    "no number": partial(put, "x", lambda x: ["nan"] * len(x)),
    "infinity": partial(put, "x", lambda x: ["inf"] * len(x)),
    "a token that is not there": partial(put, "token_id", 5),
    "a negative token": partial(put, "token_id", -1),
    "the other verdict": partial(put, "verdict", "unspeakable"),
    "other weights": partial(put, "V", 4),
    "no domain": partial(put, "domain", None),
    "a shape of no kind": partial(put, "domain.shape", "sphere"),
    "a size of no kind": partial(put, "domain.size", "1/0"),
    "a smaller domain": partial(put, "domain.size", "1/1000"),
}
WEIGHTS = {
    "another token": partial(put, "token_id", 0),
    "a negative weight": partial(put, "weights.values", lambda v: ["-" + v[0], *v[1:]]),
    "no weight": partial(put, "weights.values", lambda v: ["0x0p+0"] * len(v)),
    "one weight less": partial(put, "weights.values", lambda v: v[:-1]),
    "one pair less": lambda c: c.update(
        weights={key: found[:-1] for key, found in c["weights"].items()}
    ),
    "itself": partial(put, "weights.tokens", lambda t: [4, *t[1:]]),
    "a token twice": partial(put, "weights.tokens", lambda t: [t[1], *t[1:]]),
    "a token that is not there": partial(put, "weights.tokens", lambda t: [77, *t[1:]]),
    "weights of no kind": partial(put, "weights.values", lambda v: ["nan", *v[1:]]),
    "an absurd number": partial(put, "weights.values", lambda v: ["0x1p+9999", *v[1:]]),
    "the other verdict": partial(put, "verdict", "speakable"),
    "no weights": partial(put, "weights", None),
    "a list": lambda c: [c],
    "text": lambda c: "not JSON",
    "depth": lambda c: "[" * 100_000,
}


@pytest.fixture
def square(tmp_path: Path) -> dict[str, dict[str, Any]]:
    """The certificates of a corner of a square and of a point inside it, on the disc."""
    W = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0], [0.125, 0.0625]])
    with geom.run(Readout.fold(W, norm="rmsnorm"), tokens="all", certifiers=["highs"]) as run:
        claims = exported(run, tmp_path)
    return {"point": claims[0], "weights": claims[4]}


@pytest.mark.parametrize(
    ("kind", "forgery"),
    [("point", name) for name in POINTS] + [("weights", name) for name in WEIGHTS],
)
def test_a_forgery_is_not_taken(
    kind: str, forgery: str, square: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    true = square[kind]
    assert check(true, tmp_path)[0] == 0
    code, said = check(forged((POINTS if kind == "point" else WEIGHTS)[forgery])(true), tmp_path)
    assert code in (1, 2), said
    assert "NOT proven" in said or "cannot be read" in said


def test_other_weights_prove_nothing(square: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    W = np.load(tmp_path / "W.npy")
    for changed in (W[::-1], W[:, :1], W.astype(">f8"), np.asfortranarray(W)):
        np.save(tmp_path / "W.npy", changed)
        assert check(square["weights"], tmp_path)[0] != 0
    (tmp_path / "W.npy").write_bytes(b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f8'}")
    assert check(square["weights"], tmp_path)[0] == 2
    assert check(square["weights"], tmp_path, "absent.npy")[0] == 2


def test_it_is_short_and_imports_nothing_but_the_standard_library() -> None:
    lines = CHECKER.read_text().splitlines()
    assert len(lines) <= 150
    imported = {line.split()[1] for line in lines if line.startswith(("import ", "from "))}
    assert imported <= sys.stdlib_module_names


def test_a_token_that_is_undecided_has_no_certificate(command: Command) -> None:
    command("run", "--tokens", "5", "--certifier", "none", "--out", "run.db")
    done = command("export", "run.db", "--format", "certificate", "--token", "5")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "token 5 is undecided: there is no proof to write" in done.err
    assert command("export", "run.db", "--format", "certificate").out == ""


def test_a_text_that_several_tokens_have_needs_an_id(command: Command, tmp_path: Path) -> None:
    readout = Readout.fold(np.eye(3), tokens=["a", "a", "b"])
    geom.run(readout, tokens="all", out="run.db").close()
    done = command("export", "run.db", "--format", "certificate", "--token", "a")
    assert (done.code, "token 'a' is several" in done.err) == (2, True)


def test_another_format_has_no_token(command: Command) -> None:
    command("run", "--tokens", "5", "--out", "run.db")
    done = command("export", "run.db", "--format", "csv", "--token", "5")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "unknown option of reporter csv 'token'" in done.err
