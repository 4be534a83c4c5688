"""Bounds on probabilities that the checker for strangers calls proven, against mpmath at 400 bits.

    python -m campaigns.caps --cases 4000 --seed 1

Questions, weights and edits are those of `campaigns.checker`. A bound that is called proven must
hold at points of the domain. It is also compared with what the weights give by the inequality of
Gibbs: what is as much as that, up to 50 digits, must be proven, and what is less must not. A bound
that geom exports must be proven.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import mpmath
import numpy as np

from campaigns.campaign import Case, main
from campaigns.checker import (
    EDITS,
    NO_KIND,
    Answer,
    Claim,
    Question,
    Random,
    answered,
    by_weights,
    faults_of_form,
    genuine,
    pick,
    question,
)
from support import ROOT
from support.suprema import Place
from support.truth import Vector, dot

CHECKER = ROOT / "docs" / "check_probability.py"
BITS = 400
ROUNDING = mpmath.mpf(10) ** -50
"""What the checker may round off, relative to 1 + |L|."""

SAID = re.compile(
    r"token (\d+) of (\d+) is at most (\S+) likely at temperature (\S+) on R\^(\d+)"
    r"(?:, (x \. x|\|x_i\|) <= ([\d/]+))?(, sum\(x\) = 0)?: (NOT )?proven(?:, without biases)?\n"
)

NUMBERS: list[Any] = [
    None,
    True,
    0.25,
    1,
    "",
    "nan",
    "inf",
    "-0x1p-2",
    "0x0p+0",
    "0x1p+9999",
    [],
    {},
]
OF_NO_KIND: dict[str, list[Any]] = {
    **{key: values for key, values in NO_KIND.items() if key != "verdict"},
    "probability_upper": [*NUMBERS, "0x1p+0", "0x1.8p+0"],
    "temperature": NUMBERS,
}


# The truth


def real(value: Fraction) -> mpmath.mpf:
    return mpmath.mpf(value.numerator) / value.denominator


def probability(asked: Question, token: int, x: Vector, T: Fraction) -> mpmath.mpf:
    """Return the probability of a token at a point."""
    logits = [dot(row, x) + bias for row, bias in zip(asked.rows, asked.biases, strict=True)]
    own = logits[token]
    return 1 / mpmath.fsum(mpmath.exp(real((logit - own) / T)) for logit in logits)


def points(rng: Random, asked: Question, place: Place, token: int) -> Iterator[Vector]:
    """Yield points of the domain: the origin, and the way to where the token may be likely."""
    d = len(asked.rows[0])
    yield [Fraction(0)] * d
    ways = [asked.rows[token], *([Fraction(float(v)) for v in rng.normal(size=d)] for _ in "12")]
    ways += [[p - q for p, q in zip(asked.rows[token], row, strict=True)] for row in asked.rows[:3]]
    for way in ways:
        mean = sum(way) / d if place.zero_sum else 0
        x = [v - mean for v in way]
        if not any(x):
            continue
        reach = Fraction(1)
        if place.shape == "box" and place.size is not None:
            reach = place.size / max(map(abs, x))
        elif place.size is not None:
            square = place.size / dot(x, x)  # a root that is rounded down
            with mpmath.workprec(BITS):
                reach = Fraction(int(mpmath.floor(mpmath.sqrt(real(square)) * 2**1200)), 2**1200)
            while reach * reach > square:
                reach *= 1 - Fraction(1, 2**300)
        for part in (1, Fraction(1, 3), Fraction(1, 1000)):
            yield [v * reach * part for v in x]


def weights(claim: Claim) -> Vector:
    values = claim["weights"]["values"]
    return [Fraction(float.fromhex(v)) if "p" in v else Fraction(int(v, 16)) for v in values]


def gibbs(asked: Question, claim: Claim, place: Place, T: Fraction) -> mpmath.mpf | None:
    """Return L, where the weights show 1 / (1 + exp(L)); None if r must vanish and does not."""
    token, given, lam = claim["token_id"], claim["weights"], weights(claim)
    total = sum(lam)
    q = [value / total for value in lam]
    r = [
        sum(
            (share * (asked.rows[j][i] - asked.rows[token][i]))
            for share, j in zip(q, given["tokens"], strict=True)
        )
        for i in range(len(asked.rows[0]))
    ]
    g = sum(
        share * (asked.biases[j] - asked.biases[token])
        for share, j in zip(q, given["tokens"], strict=True)
    )
    if place.zero_sum:
        mean = sum(r) / len(r)
        r = sorted(v - mean for v in r) if place.shape != "box" else sorted(r)
        middle = r[len(r) // 2] if place.shape == "box" else 0
        r = [v - middle for v in r]
    if place.size is None:
        if any(r):
            return None
        reach = mpmath.mpf(0)
    elif place.shape == "box":
        reach = real(place.size * sum(map(abs, r)))
    else:
        reach = mpmath.sqrt(real(place.size * dot(r, r)))
    entropy = -mpmath.fsum(real(v) * mpmath.log(real(v)) for v in q if v)
    return (real(Fraction(g)) - reach) / real(T) + entropy


# Cases


def claimed(rng: Random, asked: Question, token: int) -> Claim:
    """Draw weights, a temperature, and a bound near what they show."""
    claim = by_weights(rng, asked, token)
    T = float(pick(rng, 1.0, 1.0, 1.0, 0.7, 0.01, 50.0, 2.0**-40))
    p = float(pick(rng, rng.random(), 0.5, 1 / (1 + len(claim["weights"]["tokens"]))))
    lam = weights(claim)
    if min(lam) >= 0 < max(lam) and rng.random() < 0.8:
        L = gibbs(asked, claim, asked.place, Fraction(T))
        if L is not None and L > -700:
            off = pick(rng, 0, 1e-15, 1e-9, -1e-15, -1e-9, 0.1)
            p = float((1 + mpmath.mpf(off)) / (1 + mpmath.exp(L)))
    p = min(max(p, 5e-324), 1 - 2.0**-53)
    return claim | {"probability_upper": p.hex(), "temperature": T.hex()}


def of_no_kind(rng: Random, claim: Claim) -> str:
    path = pick(rng, *OF_NO_KIND)
    holder, key = (claim["domain"], path[7:]) if path.startswith("domain.") else (claim, path)
    holder[key] = pick(rng, *OF_NO_KIND[path])
    return json.dumps(claim)


def faults(rng: Random, answer: Answer, asked: Question, text: str) -> Iterator[str]:
    """Yield what is wrong with an answer about a text: its form, or that it is false."""
    yield from faults_of_form(answer)
    if answer.code == 2:
        return
    said = SAID.fullmatch(answer.out)
    if said is None or answer.err or answer.code != bool(said[9]):
        yield f"it ends with {answer.code} and {(answer.out + answer.err)[:200]!r}"
        return
    token, V, d = int(said[1]), int(said[2]), int(said[5])
    if (V, d) != (len(asked.rows), len(asked.rows[0])) or token >= V:
        yield f"it speaks of other weights: {answer.out!r}"
        return
    shape = {None: "all", "x . x": "ball", "|x_i|": "box"}[said[6]]
    place = Place(shape, None if said[7] is None else Fraction(said[7]), said[8] is not None)
    claim = json.loads(text)
    p, T = (Fraction(float.fromhex(claim[key])) for key in ("probability_upper", "temperature"))
    if not p <= Fraction(said[3]) <= p * (1 + Fraction(1, 10**5)) or float(said[4]) != T:
        yield f"it says {answer.out!r} of {claim['probability_upper']}"
    if answer.code == 0:
        for x in points(rng, asked, place, token):
            if probability(asked, token, x, T) > real(p) * (1 + ROUNDING):
                yield f"false: {answer.out[:-1]}"
    L = gibbs(asked, claim, place, T)
    if L is not None:
        enough = L - mpmath.log(1 / real(p) - 1)
        unclear = abs(enough) <= ROUNDING * (1 + abs(L))
        nearby = place.size is not None and answer.code == 0  # by weights whose r vanishes
        if not unclear and not nearby and (answer.code == 0) != (enough > 0):
            yield f"the weights show {1 / (1 + mpmath.exp(L))}, and: {answer.out[:-1]}"


def draw(rng: Random, number: int) -> Case:
    """Draw a certificate, and check that the checker's answer about it is true."""
    with tempfile.TemporaryDirectory() as name, mpmath.workprec(BITS + 1200):
        folder = Path(name)
        asked = question(rng)
        while len(asked.rows) == 1:
            asked = question(rng)
        for key, values in asked.arrays.items():
            np.save(folder / f"{key}.npy", values)
        others = [key for key in asked.arrays if key != "W"]
        if number % 10 == 0:
            return all_proven(rng, asked, others, folder)
        claim = claimed(rng, asked, int(rng.integers(len(asked.rows))))
        text, kind = json.dumps(claim), "made up"
        if number % 10 in (1, 2, 3):
            edit = EDITS[int(rng.integers(len(EDITS)))]
            text, kind = edit(rng, claim), edit.__name__.replace("_", " ")
        elif number % 10 == 4:
            text, kind = of_no_kind(rng, claim), "of no kind"
        answer = answered(text, others, folder, CHECKER)
        wrong = list(faults(rng, answer, asked, text))
        if kind == "of no kind" and answer.code != 2:
            wrong.append(f"it reads {text[:300]}")
        ended = ("proven", "not proven", "refused")[answer.code]
        return Case(f"{kind}: {ended}", "; ".join(wrong) or None)


def all_proven(rng: Random, asked: Question, others: list[str], folder: Path) -> Case:
    """Check that every bound geom exports is proven, by the arrays of its readout."""
    wrong = []
    for line in genuine(rng, asked, folder):
        claim = json.loads(line)
        if claim["verdict"] == "speakable":
            continue
        answer = answered(line, others, folder, CHECKER)
        wrong += faults(rng, answer, asked, line)
        if answer.code:
            wrong.append(f"geom's {claim['proof']} is answered by {answer.out}{answer.err}".strip())
    return Case("made by geom", "; ".join(wrong) or None)


if __name__ == "__main__":
    main("caps", draw, cases=4_000)
