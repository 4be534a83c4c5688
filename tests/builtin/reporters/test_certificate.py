"""The checker for strangers in ``docs``, on certificates of each proof and on forgeries.

It runs as a stranger runs it: in a process that gets files, on a path without geom. The truth about
a token comes from its construction, or from Qhull.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import geom
from campaigns import checker as campaign
from geom import Readout, Run
from geom.testing import known_problems
from support import ROOT
from support.command import Command
from support.truth import hull_tokens

CHECKER = ROOT / "docs" / "check_certificate.py"

Array = NDArray[Any]


def exported(run: Run, where: Path) -> list[dict[str, Any]]:
    """Write the weights of a run to files, and return its certificates."""
    np.save(where / "W.npy", run.problem.readout.W)
    np.save(where / "b.npy", run.problem.readout.b)
    geom.export(run, "certificate", where / "all.jsonl")
    return [json.loads(line) for line in (where / "all.jsonl").read_text().splitlines()]


def check(claim: object, where: Path, *arrays: str) -> tuple[int, str]:
    """Return the checker's exit code and output."""
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
    """Return the names in the program, to call without starting a process each time."""
    names: dict[str, Any] = {"__name__": "checker"}
    exec(compile(CHECKER.read_text(), CHECKER, "exec"), names)
    return names


def clouds() -> Iterator[tuple[Readout, dict[str, Any]]]:
    """Yield readouts whose tokens have every kind of proof."""
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
                said, holds = checker["proven"](json.loads(json.dumps(claim)), *paths)
                assert holds, said
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
        assert checker["proven"](claim, *paths)[1]
        assert (claim["verdict"] == "speakable") == (claim["token_id"] in corners)


def test_every_answer_that_is_known_is_proven(checker: dict[str, Any], tmp_path: Path) -> None:
    for known in known_problems():
        with geom.run(known.readout, tokens="all", domain=known.domain) as run:
            if known.domain.frame is not None:  # a stranger would need its vectors as well
                with pytest.raises(
                    geom.InputError, match=f"not made for domain {known.domain.name}"
                ):
                    exported(run, tmp_path)
                continue
            claims = exported(run, tmp_path)
        assert len(claims) == known.readout.V
        for claim in claims:
            paths = [tmp_path / "W.npy", tmp_path / "b.npy", None, None]
            assert checker["proven"](claim, *paths)[1], (known, claim)
            assert claim["verdict"] == known.truth(claim["token_id"])


def test_it_folds_the_norm_itself(command: Command, tmp_path: Path) -> None:
    """From a checkpoint's own arrays the checker reaches the same verdicts."""
    draw = np.random.default_rng(3)
    parts = {
        "W": draw.normal(size=(40, 5)),
        "bias": draw.normal(size=40) / 4,
        "gamma": 1 + draw.normal(size=5) / 4,
        "beta": draw.normal(size=5) / 4,
    }
    parts = {name: array.astype("<f4") for name, array in parts.items()}
    for name, array in parts.items():
        np.save(tmp_path / f"{name}.npy", array)
    folded = Readout.fold(
        parts["W"], parts["bias"], gamma=parts["gamma"], beta=parts["beta"], norm="layernorm"
    )
    given = ("W.npy", "--bias", "bias.npy", "--gamma", "gamma.npy", "--beta", "beta.npy")
    (tmp_path / "folded").mkdir()
    with geom.run(folded, tokens="all", out="run.db") as run:
        claims = exported(run, tmp_path / "folded")
    assert {claim["verdict"] for claim in claims} == {"speakable", "unspeakable"}
    some = claims[:: len(claims) // 8]
    assert [check(claim, tmp_path, *given)[0] for claim in some] == [0] * len(some)
    assert 1 in [check(claim, tmp_path, *given[:3])[0] for claim in some]  # other weights now


def test_the_page_of_the_format_names_every_key(tmp_path: Path) -> None:
    page = (CHECKER.parent / "certificate.md").read_text(encoding="utf-8")
    table = page[page.index("| key |") : page.index("\n\nA number is")]
    named = {
        key for line in table.splitlines()[2:] for key in re.findall("`(.*?)`", line.split("|")[1])
    }
    W = [[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0], [0.0, 0.0]]
    with geom.run(Readout.fold(W), tokens="all") as run:
        claims = exported(run, tmp_path)
    assert {claim["verdict"] for claim in claims} == {"speakable", "unspeakable"}
    assert {key for claim in claims for key in claim} == named


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
            assert "no token examined in run.db has the text " in done.err
            continue
        code, said = check(done.out, tmp_path)
        where = "R^64, x . x <= 64, sum(x) = 0"
        assert (code, said) == (0, f"token {token} of 3072 is {verdict} on {where}: proven\n")


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
    "no room at all": partial(put, "domain.size", "0"),
    "a domain of less than nothing": partial(put, "domain.size", "-1"),
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
    """Return the certificates of a corner of a square and of a point inside it, on the disc."""
    W = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0], [0.125, 0.0625]])
    readout = Readout.fold(W, norm="rmsnorm")
    with geom.run(readout, tokens="all", certifiers=["highs"], opening=False) as run:
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
    assert (done.code, "2 tokens have the text 'a'" in done.err) == (2, True)


def test_another_format_has_no_token(command: Command) -> None:
    command("run", "--tokens", "5", "--out", "run.db")
    done = command("export", "run.db", "--format", "csv", "--token", "5")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "unknown option of reporter csv 'token'" in done.err


def small(where: Path, W: list[list[float]], b: list[float] | None = None) -> None:
    """Write the weights for certificates made by hand."""
    np.save(where / "W.npy", np.array(W))
    np.save(where / "b.npy", np.zeros(len(W)) if b is None else np.array(b))


def claimed(V: int, d: int, token: int, **more: Any) -> dict[str, Any]:
    """Return a certificate made by hand, by default on all of R^d."""
    domain = {"name": "unbounded", "shape": "all", "size": None, "zero_sum": False}
    out = {"format": "geom certificate 1", "token_id": token, "V": V, "d": d, "domain": domain}
    return out | more


def weighed(V: int, d: int, token: int, weights: dict[int, float], **more: Any) -> dict[str, Any]:
    """Return such a certificate with weights."""
    values = [float(value).hex() for value in weights.values()]
    given = {"tokens": list(weights), "values": values}
    return claimed(V, d, token, verdict="unspeakable", weights=given) | more


def test_weights_that_the_correction_takes_away_whole_prove_nothing(tmp_path: Path) -> None:
    """Token 0 of [0], [1] wins at every x < 0; the correction leaves nothing of the one weight."""
    small(tmp_path, [[0.0], [1.0]])
    code, said = check(weighed(2, 1, 0, {1: 1.0}), tmp_path)
    assert (code, said) == (1, "token 0 of 2 is unspeakable on R^1: NOT proven\n")
    small(tmp_path, [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert check(weighed(3, 2, 0, {1: 1.0, 2: 1.0}), tmp_path)[0] == 1


def test_what_the_correction_costs_the_biases_is_counted(tmp_path: Path) -> None:
    """Token 0 wins at -1.25 < x < -1, though g >= 0 for these weights, whose r is not 0."""
    small(tmp_path, [[0.0], [1.0], [-1.0]], [0.0, 1.0, -1.25])
    assert check(weighed(3, 1, 0, {1: 1.5, 2: 1.0}), tmp_path)[0] == 1
    assert check(claimed(3, 1, 0, verdict="speakable", x=["-0x1.2p+0"]), tmp_path)[0] == 0


def test_a_shift_of_the_norm_does_not_blur_the_border(tmp_path: Path) -> None:
    """Token 0 is midway between two rows, all shifted; weights slightly off shift r as slightly."""
    small(tmp_path, [[0.0], [1.0], [-1.0]])
    np.save(tmp_path / "h.npy", np.array([0.1], dtype=np.float32))
    arrays = ("W.npy", "--beta", "h.npy")
    assert check(weighed(3, 1, 0, {1: 1.0, 2: 1.0 + 2.0**-40}), tmp_path, *arrays)[0] == 0
    assert check(weighed(3, 1, 1, {0: 1.0, 2: 1.0}), tmp_path, *arrays)[0] == 1


def test_the_smallest_questions(tmp_path: Path) -> None:
    small(tmp_path, [[0.0], [0.0]])
    assert check(weighed(2, 1, 0, {1: 1.0}), tmp_path)[0] == 0  # twins
    small(tmp_path, [[0.0], [0.0]], [0.0, -5e-324])
    assert check(weighed(2, 1, 0, {1: 1.0}), tmp_path)[0] == 1
    assert check(weighed(2, 1, 1, {0: 5e-324}), tmp_path)[0] == 0
    small(tmp_path, [[2.0]])
    assert check(claimed(1, 1, 0, verdict="speakable", x=["0x0p+0"]), tmp_path)[0] == 0
    for nothing in ({}, {0: 1.0}):
        assert check(weighed(1, 1, 0, nothing), tmp_path)[0] == 2
    # sum(x) = 0 leaves only the origin for d = 1, where biases decide
    layernorm = {"name": "layernorm", "shape": "ball", "size": "1", "zero_sum": True}
    small(tmp_path, [[9.0], [1.0]], [-1.0, 0.0])
    assert check(weighed(2, 1, 0, {1: 1.0}, domain=layernorm), tmp_path)[0] == 0
    assert check(weighed(2, 1, 1, {0: 1.0}, domain=layernorm), tmp_path)[0] == 1


VERDICTS = [
    "speakable ",
    " unspeakable",
    "SPEAKABLE",
    "undecided",
    "unspeakable\n",
    "unspeakable\x1b[2K\rtoken 1 is unspeakable: proven",
    "unspeakable\u202eneverp",
    "",
    None,
    True,
    1,
    ["unspeakable"],
    {"unspeakable": "speakable"},
]


@pytest.mark.parametrize("verdict", VERDICTS)
def test_a_verdict_is_one_of_two_words(verdict: object, tmp_path: Path) -> None:
    small(tmp_path, [[0.0], [0.0]])
    code, said = check(weighed(2, 1, 0, {1: 1.0}, verdict=verdict), tmp_path)
    assert (code, said.startswith("cannot be read: ")) == (2, True)


DOMAINS: list[dict[str, Any]] = [
    {"shape": "ball", "size": None},
    {"shape": "box", "size": None},
    {"shape": "all", "size": "1"},
    {"shape": "ball", "size": "1e30000000"},
    {"shape": "ball", "size": "0x10"},
    {"shape": "ball", "size": "1" * 5000},
    {"shape": "ball", "size": "-4"},
    {"shape": "ball", "size": "1/0"},
    {"shape": "ball", "size": "nan"},
    {"shape": "ball", "size": "inf"},
    {"shape": "ball", "size": "1.5"},
    {"shape": "ball", "size": "1 "},
    {"shape": "ball", "size": "\u0661"},  # a digit, but not an ASCII one
    {"shape": "ball", "size": 1},
    {"shape": "ball", "size": 1.0},
    {"shape": "ball", "size": float("nan")},
    {"shape": "ball", "size": True},
    {"shape": "ball", "size": ["1"]},
    {"shape": "ball\x1b[2J", "size": "1"},
    {"shape": "Ball", "size": "1"},
    {"shape": None, "size": None},
    {"shape": ["all"], "size": None},
    *({"shape": "all", "size": None, "zero_sum": v} for v in ("false", "true", 0, 1, None, [])),
]


@pytest.mark.parametrize("change", DOMAINS, ids=str)
def test_a_domain_is_of_a_kind(change: dict[str, Any], tmp_path: Path) -> None:
    small(tmp_path, [[0.0], [0.0]])
    domain = {"name": "unbounded", "zero_sum": False} | change
    code, said = check(weighed(2, 1, 0, {1: 1.0}, domain=domain), tmp_path)
    assert (code, said.startswith("cannot be read: ")) == (2, True)
    assert len(said) < 200


@pytest.mark.parametrize("key", ["V", "d", "token_id"])
@pytest.mark.parametrize(
    "value",
    [None, True, False, "1", 1.0, float("nan"), float("inf"), -1, 1e300, [1], {}, 10**30, 7],
)
def test_a_count_is_a_whole_number_that_the_weights_have(
    key: str, value: object, tmp_path: Path
) -> None:
    small(tmp_path, [[0.0], [0.0]])
    code, said = check(weighed(2, 1, 0, {1: 1.0}) | {key: value}, tmp_path)
    assert (code, said.startswith("cannot be read: ")) == (2, True)


@pytest.mark.parametrize(
    ("tokens", "values"),
    [
        ([True], ["0x1p+0"]),
        ([1.0], ["0x1p+0"]),
        (["1"], ["0x1p+0"]),
        ([-1], ["0x1p+0"]),
        ([2], ["0x1p+0"]),
        ([0], ["0x1p+0"]),
        ([[1]], ["0x1p+0"]),
        ([1, 1], ["0x1p+0", "0x1p+0"]),
        ([1], ["0x1p+0", "0x1p+0"]),
        ([1], []),
        ([], []),
        ([1], [1.0]),
        ([1], [None]),
        ([1], [["0x1p+0"]]),
        ([1], ["inf"]),
        ([1], ["nanp"]),
        ([1], ["0x1p+1024"]),
        ([1], ["0x" + "f" * 70_000]),
        ([1], ["1.5"]),
        (None, ["0x1p+0"]),
        ([1], None),
        ({}, {}),
    ],
    ids=lambda value: str(value)[:20],
)
def test_weights_are_numbers_on_other_tokens(
    tokens: object, values: object, tmp_path: Path
) -> None:
    small(tmp_path, [[0.0], [0.0]])
    claim = weighed(2, 1, 0, {1: 1.0}) | {"weights": {"tokens": tokens, "values": values}}
    code, said = check(claim, tmp_path)
    assert (code, said.startswith("cannot be read: ")) == (2, True)
    assert len(said) < 200


def test_no_number_decides_that_is_not_one(tmp_path: Path) -> None:
    """Neither in weights nor in points."""
    for bad in (np.nan, np.inf, -np.inf):
        small(tmp_path, [[0.0], [bad]])
        assert check(weighed(2, 1, 0, {1: 1.0}), tmp_path)[0] == 2
        small(tmp_path, [[0.0], [0.0]], [0.0, bad])
        assert check(weighed(2, 1, 0, {1: 1.0}), tmp_path)[0] == 2
        small(tmp_path, [[0.0], [0.0]], [1.0, 0.0])
        claim = claimed(2, 1, 0, verdict="speakable", x=[bad.hex() if bad != bad else "inf"])
        assert check(claim, tmp_path)[0] == 2
    small(tmp_path, [[0.0], [1e308], [-1.7e308]], [-1e308, 1e308, -1.7e308])
    assert check(weighed(3, 1, 0, {1: 0.1, 2: 1.0}), tmp_path)[0] == 1


def test_what_is_proven_is_told_and_not_what_is_said(tmp_path: Path) -> None:
    """If a key has two values, the last is used and shown; names and texts are never shown."""
    small(tmp_path, [[0.0], [0.0], [1.0]])
    claim = weighed(3, 1, 0, {1: 1.0}) | {"token": "\x1b[2J", "model": "\u202e", "proof": "slack"}
    claim["domain"] = {"name": "x\x07", "shape": "box", "size": "5/2", "zero_sum": False}
    code, said = check(claim, tmp_path)
    assert (code, said) == (0, "token 0 of 3 is unspeakable on R^1, |x_i| <= 5/2: proven\n")
    twice = json.dumps(claim)[:-1] + ', "token_id": 2}'
    assert check(twice, tmp_path) == (
        1,
        "token 2 of 3 is unspeakable on R^1, |x_i| <= 5/2: NOT proven\n",
    )


def test_only_the_shape_of_the_file_is_believed(tmp_path: Path) -> None:
    """V and d may fit the bytes in another way, and a file may have no shape."""
    W = [[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0], [0.0, 0.0]]
    small(tmp_path, W)
    assert check(weighed(4, 2, 3, {0: 1.0, 1: 1.0, 2: 1.0}), tmp_path)[0] == 0
    for V, d in ((2, 4), (8, 1), (1, 8)):
        code, said = check(weighed(V, d, 0, {1: 1.0}), tmp_path)
        assert (code, "cannot be read" in said) == (2, True)
    sound = (tmp_path / "W.npy").read_bytes()
    for changed in (sound[:-8], sound + bytes(8), sound[128:], b"", sound[:100]):
        (tmp_path / "W.npy").write_bytes(changed)
        code, said = check(weighed(4, 2, 3, {0: 1.0, 1: 1.0, 2: 1.0}), tmp_path)
        assert (code, "cannot be read" in said) == (2, True)


FILES = {
    "no text": b"\xff\xfe\x00",
    "a mark before it": b"\xef\xbb\xbf{}",
    "nothing": b"",
    "null": b"null",
    "depth": b"[" * 1_000_000,
    "depth of objects": b'{"a":' * 1_000_000,
    "many lists": b"[" + b"[]," * 6_000_000 + b"[]]",
    "many objects": b"[" + b"{}," * 6_000_000 + b"{}]",
    "many numbers": b"[" + b"0," * 10_000_000 + b"0]",
    "a long number": b'{"V": ' + b"9" * 17_000_000 + b"}",
    "a long text": b'{"format": "' + b"\\u001b" * 3_000_000 + b'"}',
    "too much": b" " * 40_000_000 + b"{}",
    "two objects": b"{}\n{}",
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_kind_is_refused_within_seconds(name: str, tmp_path: Path) -> None:
    small(tmp_path, [[0.0], [0.0]])
    (tmp_path / "claim.json").write_bytes(FILES[name])
    program = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30));"
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, CHECKER, "claim.json", "W.npy"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("cannot be read: ")
    assert len(done.stderr) < 200


def test_a_long_sum_ends_within_seconds(tmp_path: Path) -> None:
    """The weights have the most digits that are read, at the size of the demo."""
    draw = np.random.default_rng(0)
    W = draw.normal(size=(300, 64))
    np.save(tmp_path / "W.npy", W)
    np.save(tmp_path / "b.npy", np.zeros(300))
    digits = ["0x" + draw.bytes(30_000).hex() for _ in range(250)]
    claim = weighed(300, 64, 0, {})
    claim["weights"] = {"tokens": list(range(1, 251)), "values": digits}
    begun = time.monotonic()
    code, said = check(claim, tmp_path)
    assert (code, "NOT proven" in said, time.monotonic() - begun < 20) == (1, True, True)


def test_cases_of_the_campaign() -> None:
    kinds: Counter[str] = Counter()
    for number in range(200):
        if number % 10 or number < 50:  # one run of geom in five
            case = campaign.draw(np.random.default_rng([0, number]), number)
            assert case.failure is None, (number, case)
            kinds[case.kind] += 1
    for kind in ("made by geom", "made up, speakable: proven", "made up, unspeakable: proven"):
        assert kinds[kind] >= 5, kinds
    assert kinds["of no kind: refused"] == 20


def test_modules_beside_the_files_are_not_run(tmp_path: Path) -> None:
    """``-I`` keeps a ``json.py`` that came with a certificate from being imported."""
    small(tmp_path, [[0.0], [0.0]])
    copy = tmp_path / CHECKER.name
    copy.write_bytes(CHECKER.read_bytes())
    (tmp_path / "json.py").write_text("print('taken')")
    (tmp_path / "claim.json").write_text(json.dumps(weighed(2, 1, 0, {1: 1.0})))
    words = [sys.executable, "-I", copy.name, "claim.json", "W.npy"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, "taken" in done.stdout) == (0, False)
    assert f"python -I {CHECKER.name} " in CHECKER.read_text()


BAD_FILES = {
    "no certificate": ("none.json W.npy", "none.json: No such file or directory"),
    "no matrix": ("proof.json none.npy", "none.npy: No such file or directory"),
    "no bias": ("proof.json W.npy --bias none.npy", "none.npy: No such file or directory"),
    "a matrix of another shape": ("proof.json b.npy", "b.npy: not .npy floats (5, 2), C order"),
    "no JSON": (
        "bad.json W.npy",
        "bad.json: not a certificate: "
        "JSONDecodeError('Expecting value: line 1 column 1 (char 0)',)",
    ),
    "a verdict turned round": (
        "turned.json W.npy",
        "turned.json: not a certificate: KeyError('x',)",
    ),
    "no domain": ("bare.json W.npy", "bare.json: not a certificate: KeyError('domain',)"),
    "a count that is none": ("count.json W.npy", "count.json: its 'V' is malformed"),
    "a token of another matrix": ("token.json W.npy", "token.json: its 'token_id' is malformed"),
    "a size of no kind": ("size.json W.npy", "size.json: its 'domain' is malformed"),
    "weights of other tokens": ("weights.json W.npy", "weights.json: its weights are malformed"),
    "the files exchanged": (
        "W.npy proof.json",
        "W.npy: not a certificate: UnicodeDecodeError('invalid start byte',)",
    ),
}


@pytest.mark.parametrize(("arguments", "said"), BAD_FILES.values(), ids=BAD_FILES)
@pytest.mark.parametrize("program", [CHECKER, CHECKER.with_name("check_probability.py")])
def test_what_cannot_be_read_is_named(
    program: Path, arguments: str, said: str, own_folder: Path
) -> None:
    W = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [0.25, 0.5]])
    with geom.run(geom.Readout.fold(W), tokens="4") as run:
        geom.export(run, "certificate", "proof.json", {"reporter.certificate.token": "4"})
    np.save("W.npy", W)
    np.save("b.npy", np.zeros(5))
    Path("bad.json").write_text("no JSON")
    claim = json.loads(Path("proof.json").read_text())
    Path("turned.json").write_text(json.dumps(claim | {"verdict": "speakable"}))
    weights, ball = {"tokens": [99999], "values": ["0x1p+0"]}, {"shape": "ball", "size": "1e9"}
    edited: dict[str, dict[str, Any]] = {
        "count": {"V": 5.0},
        "token": {"token_id": 5},
        "size": {"domain": claim["domain"] | ball},
        "weights": {"weights": weights},
    }
    for name, change in edited.items():
        Path(f"{name}.json").write_text(json.dumps(claim | change))
    Path("bare.json").write_text(json.dumps({k: v for k, v in claim.items() if k != "domain"}))
    asked = [sys.executable, "-I", str(program), *arguments.split()]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if program != CHECKER and "turned" in arguments:  # whose claim is not about the verdict
        assert (done.returncode, done.stderr) == (0, "")
    else:
        assert (done.returncode, done.stderr) == (2, f"cannot be read: {said}\n")


@pytest.mark.parametrize("program", [CHECKER, CHECKER.with_name("check_probability.py")])
def test_biases_that_are_not_given_are_said_to_be_missing(program: Path, tmp_path: Path) -> None:
    small(tmp_path, [[0.0], [0.0]])
    bound = {"probability_upper": "0x1p-1", "temperature": "0x1p+0"}
    (tmp_path / "claim.json").write_text(json.dumps(weighed(2, 1, 0, {1: 1.0}) | bound))
    for biases, said in ((["--bias", "b.npy"], ": proven\n"), ([], ": proven, without biases\n")):
        asked = [sys.executable, "-I", str(program), "claim.json", "W.npy", *biases]
        done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout.endswith(said)


@pytest.mark.parametrize("program", [CHECKER, CHECKER.with_name("check_probability.py")])
def test_the_help_of_a_program_says_what_its_arguments_are(program: Path) -> None:
    asked = [sys.executable, "-I", str(program), "-h"]
    said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    assert "W has one row per token" in said
    assert "gamma and beta are the final norm's scale" in said
