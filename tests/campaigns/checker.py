"""Claims that the checker for strangers calls proven, against the exact largest margin.

    python -m campaigns.checker --cases 20000 --seed 1

Each case is a small readout and a certificate about it: made by geom, made up near the border, or
one of those with its JSON edited in a hostile way. The checker runs as a program, on files. The
line that it prints, not the certificate's claim, is then compared with the truth: rows, biases and
the domain as Fractions, and `suprema`. A certificate that geom made must be proven; a certificate
of no kind must be refused.
"""

from __future__ import annotations

import io
import json
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

import geom
from campaigns.campaign import Case, main
from geom import Domain, Readout
from support.suprema import Place, Rivals
from support.truth import Vector, dot, fractions

CHECKER = Path(__file__).parent.parent.parent / "docs" / "check_certificate.py"
SECONDS = 10
"""The limit in seconds of processor time, for work that takes some milliseconds."""

Floats = NDArray[np.float64]
Claim = dict[str, Any]
Random = np.random.Generator


@dataclass(frozen=True)
class Question:
    """A readout and a domain: the arrays as files hold them, the rows and biases they encode."""

    arrays: dict[str, NDArray[Any]]
    rows: list[Vector]
    biases: Vector
    place: Place


def pick(rng: Random, *choices: Any) -> Any:
    return choices[int(rng.integers(len(choices)))]


# The truth


def speakable(rows: list[Vector], biases: Vector, token: int, place: Place) -> bool:
    """Return whether the token is the strict argmax somewhere in the domain, exactly."""
    if place.size == 0 or (place.zero_sum and len(rows[0]) == 1):  # the domain is the origin alone
        return all(biases[token] > bias for j, bias in enumerate(biases) if j != token)
    rivals = Rivals.of(np.array(rows, dtype=object), biases, place, token, homogeneous=False)
    return not rivals.at_most(Fraction(0))


# Questions


def question(rng: Random) -> Question:
    """Draw a readout of a few tokens, often in special position, and a domain."""
    V, d = int(pick(rng, 1, 2, 2, 3, 4, 5, 6, 7)), int(pick(rng, 1, 1, 2, 2, 3))
    W, bias = rows_of(rng, V, d), np.round(4 * rng.normal(size=V)) / 4
    bias *= pick(rng, 0.0, 1.0, 1.0, 2.0**-20)
    if V > 2 and rng.random() < 0.5:  # a token at or near the middle of two
        middle, *two = rng.choice(V, 3, replace=False)
        W[middle] = W[two].mean(axis=0)
        bias[middle] = bias[two].mean() + pick(rng, 0.0, 2.0**-20, -(2.0**-20), 2.0**-6)
    arrays: dict[str, NDArray[Any]] = {}
    if np.abs(W).max() < 1e4 and rng.random() < 0.3:  # the products with float32 are exact
        W = W.astype(np.float32).astype(float)
        for name in pick(rng, ["gamma"], ["beta"], ["gamma", "beta"]):
            arrays[name] = stored(rng, np.round(4 * rng.normal(size=d)) / 4)
    arrays["W"] = stored(rng, W)
    if bias.any():
        arrays["bias"] = stored(rng, bias)
    gamma, beta = (fractions(arrays.get(k, np.full(d, n))) for k, n in (("gamma", 1), ("beta", 0)))
    plain = [fractions(row) for row in arrays["W"]]
    rows = [[w * g for w, g in zip(row, gamma, strict=True)] for row in plain]
    b = fractions(arrays.get("bias", np.zeros(V)))
    biases = [dot(row, beta) + shift for row, shift in zip(plain, b, strict=True)]
    shape = pick(rng, "ball", "box", "all")
    size = Fraction(pick(rng, 1, d, d, 2, Fraction(1, 3), Fraction(5e-324), Fraction(2**1000)))
    place = Place(shape, None if shape == "all" else size, bool(rng.random() < 0.4))
    return Question(arrays, rows, biases, place)


def rows_of(rng: Random, V: int, d: int) -> Floats:
    """Draw rows, whole or real; some are midpoints of others, twins, huge, or on a line."""
    W = np.round(2 * rng.normal(size=(V, d))) if rng.random() < 0.7 else rng.normal(size=(V, d))
    if d + 1 < V and rng.random() < 0.3:
        W[-1] = W[:-1].mean(axis=0)
    if rng.random() < 0.1:
        W[0] = W[-1]
    if rng.random() < 0.1:
        W[int(rng.integers(V))] *= 2.0 ** int(pick(rng, -60, 60))
    if rng.random() < 0.1:
        W *= 2.0 ** int(pick(rng, -1000, -500, 500, 900))
    if rng.random() < 0.1:  # nearly on a line
        W = np.round(rng.normal(size=(V, 1))) + W * 2.0 ** int(pick(rng, -20, -40, -50))
    return W


def stored(rng: Random, values: Floats) -> NDArray[Any]:
    """Return the numbers as a file holds them."""
    small = np.abs(values).max() < 1e4
    return values.astype(pick(rng, "<f2", "<f4", "<f8") if small else "<f8")


# Certificates


def certificate(asked: Question, token: int, **proof: Any) -> Claim:
    """Return a certificate that states the domain, V and d truly."""
    size = asked.place.size
    domain = {
        "name": "of one's own",
        "shape": asked.place.shape,
        "size": None if size is None else str(size),
        "zero_sum": asked.place.zero_sum,
    }
    head = {"format": "geom certificate 1", "token_id": token, "token": None}
    V, d = asked.arrays["W"].shape
    return head | {"V": V, "d": d, "domain": domain, "proof": None} | proof


def by_point(rng: Random, asked: Question, token: int) -> Claim:
    """Draw a point that may well win: along the row, the differences or anywhere; at the border."""
    d = len(asked.rows[0])
    own = np.array([float(max(min(v, 10**300), -(10**300))) for v in asked.rows[token]])
    x = pick(rng, own, -own, rng.normal(size=d), np.round(rng.normal(size=d)), np.zeros(d))
    if asked.place.zero_sum and rng.random() < 0.7:
        x = np.rint(8 * x / max(1e-300, np.abs(x).max()))
        x[-1] -= x.sum()
    if asked.place.size is not None and x.any() and rng.random() < 0.9:
        x = np.ldexp(x, -np.frexp(np.abs(x).max())[1])
        square = asked.place.shape == "ball"
        reach = float(asked.place.size) ** (0.5 if square else 1.0)
        reach *= pick(rng, 1.0, 1.0, 0.5, 1.0 + 2.0**-30, 1.4)
        length = np.linalg.norm(x) if square else np.abs(x).max()
        down = np.frexp(reach)[1] - np.frexp(length)[1] - 1
        x = np.ldexp(x, down) if rng.random() < 0.7 else x / length * reach
    return certificate(asked, token, verdict="speakable", x=[float(v).hex() for v in x])


def by_weights(rng: Random, asked: Question, token: int) -> Claim:
    """Draw weights that nearly prove it: on d tokens, on all, or solved for and then moved."""
    V, d = asked.arrays["W"].shape
    others = [j for j in range(V) if j != token]
    count = int(pick(rng, min(d, V - 1), V - 1, 1, int(rng.integers(1, V))))
    some = sorted(rng.choice(others, count, replace=False).tolist())
    lam = pick(rng, np.ones(count), rng.random(count), rng.integers(0, 4, count).astype(float))
    if rng.random() < 0.5:
        lam = nearly(rng, asked, token, some)
    if rng.random() < 0.1:
        lam[int(rng.integers(count))] *= -1.0
    values = [float(v).hex() for v in lam]
    if rng.random() < 0.3:
        values = [hex(int(v * 2**40)) for v in lam]
    elif rng.random() < 0.1:
        values = [float(np.ldexp(v, int(pick(rng, -1070, 900)))).hex() for v in lam]
    given = {"tokens": some, "values": values}
    return certificate(asked, token, verdict="unspeakable", weights=given)


def nearly(rng: Random, asked: Question, token: int, some: list[int]) -> Floats:
    """Find weights by least squares that nearly cancel, moved by little or not at all."""
    scale = max(1, *(abs(v) for row in asked.rows for v in row))
    a = np.array(
        [
            [float((p - q) / scale) for p, q in zip(asked.rows[j], asked.rows[token], strict=True)]
            for j in some
        ]
    )
    if asked.place.zero_sum:
        a -= a.mean(axis=1, keepdims=True)
    ones = np.ones((len(some), 1))
    lam = np.linalg.lstsq(np.hstack([a, ones]).T, np.append(np.zeros(a.shape[1]), 1.0), rcond=None)[
        0
    ]
    lam = lam + rng.normal(size=lam.size) * pick(rng, 0.0, 1e-16, 1e-9, 1e-3, 0.1)
    return np.asarray(pick(rng, lam, np.abs(lam), np.maximum(lam, 0.0)))


def genuine(rng: Random, asked: Question, folder: Path) -> list[str]:
    """Return geom's certificates of all tokens."""
    place, d = asked.place, len(asked.rows[0])
    names = {("ball", True): "layernorm", ("ball", False): "rmsnorm", ("all", False): "unbounded"}
    name = names.get((place.shape, place.zero_sum), "own")
    if name in ("layernorm", "rmsnorm") and place.size != d:
        name = "own"
    domain = Domain(name, d, place.shape, place.size, zero_sum=place.zero_sum)  # type: ignore[arg-type]
    readout = Readout.fold(
        asked.arrays["W"],
        asked.arrays.get("bias"),
        gamma=asked.arrays.get("gamma"),
        beta=asked.arrays.get("beta"),
    )
    certifiers = pick(rng, ["highs"], ["maxent"], ["maxent", "highs"])
    asked: dict[str, Any] = {"tokens": "all", "certifiers": certifiers, "domain": domain}
    asked["opening"] = pick(rng, True, False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from certifiers, which may warn freely
        with geom.run(readout, **asked) as run:
            geom.export(run, "certificate", folder / "all.jsonl")
    return (folder / "all.jsonl").read_text(encoding="utf-8").splitlines()


# Edits of the JSON

ODD: list[Any] = [
    None,
    True,
    False,
    -1,
    0,
    1,
    2,
    2**31,
    10**15,
    10**400,
    0.5,
    1.0,
    float("nan"),
    float("inf"),
    "",
    "1",
    "0x1p+0",
    "0x1p+9999",
    "-0x1p-9999",
    "nan",
    "inf",
    "1e30000000",
    "1/0",
    "5/2",
    "0x" + "f" * 70_000,
    "speakable",
    "unspeakable",
    "speakable ",
    "\x1b[2J\n",
    "\u202e",
    "\ud800",
    [],
    {},
    [[0]],
    ["0x1p+0"],
    {"tokens": [0], "values": ["0x1p+0"]},
    "9" * 5000,
]


def edit_a_value(rng: Random, claim: Claim) -> str:
    """Put another value in a random place."""
    holder: Any = claim
    while True:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        key = keys[int(rng.integers(len(keys)))]
        if not (isinstance(holder[key], dict | list) and holder[key]) or rng.random() < 0.2:
            break
        holder = holder[key]
    holder[key] = pick(rng, *ODD)
    return json.dumps(claim)


def edit_a_key(rng: Random, claim: Claim) -> str:
    """Remove a key, or rename it."""
    holder = claim if rng.random() < 0.6 else claim["domain"]
    key = pick(rng, *holder)
    value = holder.pop(key)
    if rng.random() < 0.5:
        holder[pick(rng, key.upper(), key + " ", "", "x", "weights")] = value
    return json.dumps(claim)


def edit_a_key_twice(rng: Random, claim: Claim) -> str:
    """Give a key twice, with another value."""
    key = pick(rng, *claim)
    value = pick(rng, *ODD, *(claim[k] for k in claim))
    pair = f"{json.dumps(key)}: {json.dumps(value)}"
    text = json.dumps(claim)
    return text[:-1] + f", {pair}}}" if rng.random() < 0.5 else f"{{{pair}, " + text[1:]


def edit_bytes(rng: Random, claim: Claim) -> str:
    """Change, drop or repeat some characters."""
    text = json.dumps(claim)
    for _ in range(int(rng.integers(1, 4))):
        k, n = int(rng.integers(len(text))), int(pick(rng, 0, 1, 1, 5, 40))
        new = pick(
            rng, "", "0", "1", "-", "9", '"', ",", "[", "}", "\x00", "\x1b", "e", text[k : k + 9]
        )
        text = text[:k] + new + text[k + n :]
    return text


def edit_the_end(rng: Random, claim: Claim) -> str:
    """Cut the text short, or append something."""
    text = json.dumps(claim)
    if rng.random() < 0.5:
        return text[: int(rng.integers(len(text)))]
    return text + pick(rng, text, "null", "\x1b", "}", "[" * 20_000)


def edit_the_question(rng: Random, claim: Claim) -> str:
    """Change the token, verdict, domain or shape to another valid one."""
    d = max(1, claim["d"])
    changes: list[Claim] = [
        {"token_id": int(rng.integers(claim["V"]))},
        {"verdict": "unspeakable" if claim["verdict"] == "speakable" else "speakable"},
        {"V": claim["V"] * d, "d": 1},
        {"V": 1, "d": claim["V"] * d},
        {"V": d, "d": claim["V"]},
        {"domain": claim["domain"] | {"zero_sum": not claim["domain"]["zero_sum"]}},
        {"domain": claim["domain"] | {"shape": "all", "size": None}},
        {"domain": claim["domain"] | {"shape": "box", "size": pick(rng, "1", "0", "1/7", "999")}},
        {"domain": claim["domain"] | {"shape": "ball", "size": pick(rng, "1", "0", "1/7", "999")}},
    ]
    return json.dumps(claim | pick(rng, *changes))


EDITS: list[Callable[[Random, Claim], str]] = [
    edit_a_value,
    edit_a_value,
    edit_a_key,
    edit_a_key_twice,
    edit_bytes,
    edit_the_end,
    edit_the_question,
    edit_the_question,
]

NO_KIND: dict[str, list[Any]] = {
    "verdict": ["speakable ", "SPEAKABLE", "unspeakable\n", "\x1b[2Kunspeakable", "undecided", 1],
    "token_id": [True, False, 0.0, "0", -1, None, 10**400, float("nan")],
    "V": [True, 1.0, "2", 10**30, -1, None],
    "d": [True, 1.0, "1", 10**14, -1, None, 0],
    "domain": [None, [], "all", {"shape": "all"}],
    "domain.shape": ["sphere", "ALL", None, ["ball"], True],
    "domain.size": ["1e30000000", "-1", "nan", 1, 1.0, True, "1/0", "", " 1", "1" * 5000],
    "domain.zero_sum": ["false", "true", 0, 1, None, 0.0],
    "format": ["geom certificate 2", None, 1],
}


def of_no_kind(rng: Random, claim: Claim) -> str:
    """Put a value that the format does not have; it must be refused, whatever else is there."""
    path = pick(rng, *NO_KIND)
    holder, key = (claim["domain"], path[7:]) if path.startswith("domain.") else (claim, path)
    holder[key] = pick(rng, *NO_KIND[path])
    return json.dumps(claim)


# The checker, as a program


@dataclass(frozen=True)
class Answer:
    """The checker's exit code, its output, and the processor seconds it took."""

    code: int
    out: str
    err: str
    seconds: float


@cache
def code_of(program: Path) -> CodeType:
    return compile(program.read_text(encoding="utf-8"), program, "exec")


def answered(text: str, arrays: list[str], folder: Path, program: Path = CHECKER) -> Answer:
    """Return a program's answer about a certificate and the arrays in the folder."""
    (folder / "claim.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    words = [str(program), str(folder / "claim.json"), str(folder / "W.npy")]
    for name in arrays:
        words += [f"--{name}", str(folder / f"{name}.npy")]
    out, err, code = io.StringIO(), io.StringIO(), None
    begun = time.process_time()
    with redirect_stdout(out), redirect_stderr(err), patch.object(sys, "argv", words):
        try:
            exec(code_of(program), {"__name__": "__main__", "__file__": str(program)})
        except SystemExit as end:
            code = int(end.code or 0)
    if code is None:
        raise AssertionError("the checker ends without an exit code")
    return Answer(code, out.getvalue(), err.getvalue(), time.process_time() - begun)


SAID = re.compile(
    r"token (\d+) of (\d+) is (speakable|unspeakable) on R\^(\d+)"
    r"(?:, (x \. x|\|x_i\|) <= ([\d/]+))?(, sum\(x\) = 0)?: (NOT )?proven(?:, without biases)?\n"
)


def faults_of_form(answer: Answer) -> Iterator[str]:
    """Yield what is wrong with the form of an answer, whatever it says."""
    written = answer.out + answer.err
    if answer.seconds > SECONDS:
        yield f"it took {answer.seconds:.1f} s"
    if written.count("\n") != 1 or not written[:-1].isascii() or not written[:-1].isprintable():
        yield f"it shows {written[:200]!r}"
    if answer.code == 2 and (
        answer.out or not answer.err.startswith("cannot be read: ") or len(answer.err) > 150
    ):
        yield f"it refuses with {written[:200]!r}"


def faults(answer: Answer, rows: list[Vector], biases: Vector) -> Iterator[str]:
    """Yield what is wrong with an answer: several lines, too slow, odd, or false."""
    yield from faults_of_form(answer)
    if answer.code == 2:
        return
    written = answer.out + answer.err
    said = SAID.fullmatch(answer.out)
    if said is None or answer.err or answer.code != bool(said[8]):
        yield f"it ends with {answer.code} and {written[:200]!r}"
        return
    token, V, d = int(said[1]), int(said[2]), int(said[4])
    if (V, d) != (len(rows), len(rows[0])) or token >= V:
        yield f"it speaks of other weights: {answer.out!r}"
        return
    shape = {None: "all", "x . x": "ball", "|x_i|": "box"}[said[5]]
    place = Place(shape, None if said[6] is None else Fraction(said[6]), said[7] is not None)
    if answer.code == 0 and speakable(rows, biases, token, place) != (said[3] == "speakable"):
        yield f"false: {answer.out[:-1]}"


def draw(rng: Random, number: int) -> Case:
    """Draw a certificate, and check that the checker's answer about it is true."""
    asked = question(rng)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for key, values in asked.arrays.items():
            np.save(folder / f"{key}.npy", values)
        others = [key for key in asked.arrays if key != "W"]
        if number % 10 == 0:
            return all_proven(rng, asked, others, folder)
        V = len(asked.rows)
        token = int(rng.integers(V))
        made = by_point if V == 1 or rng.random() < 0.4 else by_weights
        claim = made(rng, asked, token)
        text, kind = json.dumps(claim), f"made up, {claim['verdict']}"
        if number % 10 in (1, 2, 3, 4):
            edit = EDITS[int(rng.integers(len(EDITS)))]
            text, kind = edit(rng, claim), edit.__name__.replace("_", " ")
        elif number % 10 == 5:
            text, kind = of_no_kind(rng, claim), "of no kind"
        answer = answered(text, others, folder)
        wrong = list(faults(answer, asked.rows, asked.biases))
        if kind == "of no kind" and answer.code != 2:
            wrong.append(f"it reads {text[:300]}")
        ended = ("proven", "not proven", "refused")[answer.code]
        return Case(f"{kind}: {ended}", "; ".join(wrong) or None)


def all_proven(rng: Random, asked: Question, others: list[str], folder: Path) -> Case:
    """Check that every certificate geom exports is proven, by the arrays of its readout."""
    lines = genuine(rng, asked, folder)
    wrong = []
    for line in lines:
        claim = json.loads(line)
        answer = answered(line, others, folder)
        wrong += faults(answer, asked.rows, asked.biases)
        said = f"token {claim['token_id']} of {len(asked.rows)} is {claim['verdict']} on "
        if answer.code or not answer.out.startswith(said):
            wrong.append(f"geom's {claim['proof']} is answered by {answer.out}{answer.err}".strip())
    return Case("made by geom", "; ".join(wrong) or None)


if __name__ == "__main__":
    main("checker", draw, cases=20_000)
