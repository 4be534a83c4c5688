"""What the opening of a run decides in bulk, and all that it is made of, in exact arithmetic.

    python -m campaigns.openings --cases 20000 --seed 1

Each case is a small problem of `hostile`. `geom.runs.opening` is asked about all of its tokens, and
each outcome is compared with `suprema`: verdicts, bounds, the points and weights that prove them,
and the names of twins. So are points moved into the domain in bulk, the margins of
`geom.exact.close` at them, and the rivals that it lists there. If torch is there to set the
processor, a tenth of the cases run with subnormal numbers flushed to zero: then geom may refuse,
and must not be wrong.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from campaigns.campaign import Case, main
from campaigns.hostile import LARGEST, draw_question, flushed, numbers, pick, raised, rivals
from campaigns.judge import proven, reached
from geom import Finding, GeomError, Problem, Verdict
from geom.exact import faults
from geom.exact.bulk import own_direction
from geom.exact.close import close_rivals, margins_below
from geom.opening.twins import find_twins
from geom.runs.opening import opening
from geom.store import Outcome
from support.suprema import Floats


@dataclass(frozen=True)
class Question:
    """A case: a problem, and points of its domain (V, d) in bulk and one at a time."""

    asked: Problem
    points: Floats
    flush: bool


def draw(rng: np.random.Generator, number: int) -> Case:
    """Draw a problem, and check all that the opening says about its tokens."""
    drawn = draw_question(rng)
    if drawn is None:
        return Case("overflows when folded")
    asked = drawn[0]
    V, d = asked.readout.V, asked.readout.d
    points = numbers(rng, (V, d)) if rng.random() < 0.3 else rng.standard_normal((V, d))
    points = np.clip(points, -1e300, 1e300) * float(pick(rng, 1.0, 1e-3, 30.0))
    case = Question(asked, points, number % 10 == 9)
    decided: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wrong = list(answers(case, decided, rng))
    mode = "flushed to zero, " if case.flush else ""
    kind = "none" if not decided else "all" if len(decided) == V else "some"
    return Case(f"{mode}{asked.domain.name}, {kind} decided", "; ".join(wrong) or None)


def answers(question: Question, decided: list[str], rng: np.random.Generator) -> Iterator[str]:
    """Yield every untrue answer, and every error other than a refusal to compute while flushing."""
    for found in (
        in_outcomes(question, decided, rng),
        in_twins(question),
        in_domain(question),
        in_close_rivals(question, rng),
    ):
        try:
            yield from found
        except Exception as error:  # in one question; the others are still asked
            if not (question.flush and isinstance(error, GeomError)):
                yield raised(error)


def in_outcomes(question: Question, decided: list[str], rng: np.random.Generator) -> Iterator[str]:
    """Yield the untrue outcomes of an opening, whatever it is told of the winners."""
    asked = question.asked
    V = asked.readout.V
    unbeaten = rng.random(V) < 0.5
    with flushed(question.flush):
        found = [item for items in opening(asked, range(V), unbeaten) for item in items]
    if len({item.token_id for item in found}) < len(found):
        yield "a token is decided twice"
    for item in found:
        decided.append(item.certifier or "")
        yield from (f"token {item.token_id}: {said}" for said in in_outcome(asked, item))


def in_outcome(asked: Problem, item: Outcome) -> Iterator[str]:
    verdict = Verdict(
        item.verdict, item.proof, margin_lower=item.margin_lower, margin_upper=item.margin_upper
    )
    evidence, cap = item.evidence, item.probability_upper
    if (cap is not None and 0.0 < cap <= 0.5) != (item.verdict == "unspeakable"):
        yield f"it is {item.verdict}, and its probability at most {cap}"
    if item.recipe is not None:
        evidence = Finding(x=own_direction(asked, item.token_id))
    if not verdict.decided:
        yield "its outcome is no verdict"
    yield from proven(rivals(asked, item.token_id), evidence, verdict)
    yield from faults(asked, item.token_id, evidence, verdict)


def in_twins(question: Question) -> Iterator[str]:
    """Yield twins that are wrong: those of equal numbers are named, the lowest other first."""
    readout = question.asked.readout
    with flushed(question.flush):
        found = find_twins(readout).tolist()
    rows = [[*row, bias] for row, bias in zip(readout.W.tolist(), readout.offset, strict=True)]
    for token, row in enumerate(rows):
        others = [j for j, other in enumerate(rows) if j != token and other == row]
        if found[token] != (others[0] if others else -1):
            yield f"the twin of token {token} is not {found[token]}"


def in_domain(question: Question) -> Iterator[str]:
    """Yield points that are moved otherwise in bulk than one at a time, or are not in the set."""
    domain, points = question.asked.domain, question.points
    with flushed(question.flush):
        moved = domain.fit_all(points)
        inside = domain.contains_all(np.concatenate([points, moved]))
    truth = rivals(question.asked, 0)
    for x, fitted in zip(points, moved, strict=True):
        if not truth.holds(fitted) and domain.radius > 1e-290:  # a subnormal factor is a rough one
            yield f"{x} is moved to {fitted}, outside of {domain}"
        if not question.flush and not (domain.fit(x) == fitted).all():
            yield f"in bulk {x} is moved to another point"
    if inside.tolist() != [truth.holds(x) for x in [*points, *moved]]:
        yield f"which points are in {domain} is wrong"


def in_close_rivals(question: Question, rng: np.random.Generator) -> Iterator[str]:
    """Yield rivals that are left out although they are close, and bounds above margins."""
    asked = question.asked
    V = asked.readout.V
    if V == 1:
        return
    ids = np.arange(V)
    points = asked.domain.fit_all(question.points)
    if not asked.domain.contains_all(points).all():
        return
    gaps = np.abs(numbers(rng, V)) if rng.random() < 0.5 else rng.random(V)
    most = int(pick(rng, 1, 3, 128))
    wanted = pick(rng, None, gaps)
    with flushed(question.flush):
        near = close_rivals(asked, ids, points, gaps, most=most)
        lower = margins_below(asked, ids, points, wanted)
    for token, x in enumerate(points):
        truth, listed = rivals(asked, token), near.of(token).tolist()
        if token in listed or len(listed) > most or len(set(listed)) < len(listed):
            yield f"the rivals of token {token} are listed as {listed}"
        left = [j for j in truth.ids if j not in listed]
        close = left and truth.only(left).margin(x.tolist()) <= Fraction(gaps[token])
        if near.complete[token] and close:
            yield f"a close rival of token {token} is left out"
        yield from in_bound(
            asked, token, x, lower[token], math.inf if wanted is None else gaps[token]
        )


def in_bound(asked: Problem, token: int, x: Floats, lower: float, wanted: float) -> Iterator[str]:
    """Yield a bound that is not finite, above the margin, or lower than wanted and below it."""
    truth = rivals(asked, token)
    if lower == -math.inf and truth.margin(x.tolist()) < 0:
        return  # below the least float
    if not math.isfinite(lower):
        yield f"token {token} has the bound {lower}"
    elif not reached(truth, x, lower):
        yield f"token {token} has no margin of {lower}"
    elif truth.free and truth.homogeneous:
        return
    elif lower < min(wanted, LARGEST) and reached(truth, x, math.nextafter(lower, math.inf)):
        yield f"the bound {lower} of token {token} is lower than its margin"


if __name__ == "__main__":
    main("openings", draw, cases=20_000)
