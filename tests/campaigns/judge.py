"""Everything that `geom.exact` proves from a point or weights, against the exact largest margin.

    python -m campaigns.judge --cases 100000 --seed 1

Each case is a small problem, one of its tokens and a finding (`hostile`). The verdict with its
bounds, the bounds in bulk, and those of `margin_bounds` and `rational_weights` are compared with
`suprema`. If torch is there to set the processor, half of the cases run with subnormal numbers
flushed to zero: then geom may refuse, and must not be wrong.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from campaigns.campaign import Case, main
from campaigns.hostile import LARGEST, draw_question, flushed, numbers, pick, raised, rivals
from geom import Finding, GeomError, InputError, Problem, Readout, Verdict, Weights
from geom.exact import faults, judge
from geom.exact.bulk import own_direction, prove_own_directions, prove_points
from geom.exact.rational import rational_weights
from geom.model.shift import Shift
from geom.proofs import margin_bounds
from support.suprema import Floats, Rivals, at_least, integers, power, square


@dataclass(frozen=True)
class Question:
    """A case: problem, token and finding, the token's rivals in integers, and a seed."""

    asked: Problem
    token: int
    evidence: Finding
    truth: Rivals
    seed: int
    flush: bool = False


def draw(rng: np.random.Generator, number: int) -> Case:
    """Draw a problem and a finding, and check all that is proven about them."""
    if number % 50 == 0:
        return Case("readout", next(built(rng), None))
    drawn = draw_question(rng)
    if drawn is None:
        return Case("overflows when folded")
    asked, token, truth, evidence = drawn
    kind = "raised"
    case = Question(asked, token, evidence, truth, int(rng.integers(2**32)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wrong = list(answers(replace(case, flush=True))) if number % 2 else []
        wrong += answers(case)
        with suppress(Exception):  # an error is reported above
            kind = judge(asked, token, evidence).name
    mode = "flushed to zero and not: " if number % 2 else ""
    return Case(f"{mode}{asked.domain.name} {kind}", "; ".join(wrong) or None)


def answers(question: Question) -> Iterator[str]:
    """Yield every untrue proof, and every error other than a refusal to compute while flushing."""
    for ask in (in_verdict, in_margins, in_bulk, in_own_directions, in_rationals):
        try:
            yield from ask(question)
        except Exception as error:  # in one question; the others are still asked
            if not (question.flush and isinstance(error, GeomError)):
                yield f"{ask.__name__}: {raised(error)}"


def in_verdict(question: Question) -> Iterator[str]:
    asked, token, evidence = question.asked, question.token, question.evidence
    with flushed(question.flush):
        verdict = judge(asked, token, evidence)
        refused = faults(asked, token, evidence, verdict)
    yield from proven(question.truth, evidence, verdict)
    if refused:
        yield f"its own verdict {verdict} is refused: {refused}"


def in_margins(question: Question) -> Iterator[str]:
    with flushed(question.flush):
        ends = margin_bounds(question.asked, question.token, question.evidence)
    yield from bounded(question.truth, ends)


def proven(truth: Rivals, evidence: Finding, verdict: Verdict) -> Iterator[str]:
    """Yield the untrue claims of a verdict."""
    lower, upper = verdict.margin_lower, verdict.margin_upper
    for bound in (lower, upper):
        if bound is not None and not math.isfinite(bound):
            yield f"the bound {bound} says nothing"
            return
    if not truth.ids:
        if verdict.name == "unspeakable" or upper is not None:
            yield "without rivals it is unspeakable, or bounded"
        return
    if verdict.name == "speakable" and not wins(truth, evidence.x):
        yield "its point does not win"
    if verdict.name == "unspeakable" and not at_most(truth, evidence, 0.0):
        yield "it is proven unspeakable, and is speakable"
    if lower is not None and not below_largest(truth, evidence.x, lower):
        yield f"neither its point nor the origin has a margin of {lower}"
    if upper is not None and not at_most(truth, evidence, upper):
        yield f"margins above {upper} exist"


def wins(truth: Rivals, x: Floats | None) -> bool:
    return x is not None and truth.holds(x) and truth.margin(x.tolist()) > 0


def below_largest(truth: Rivals, x: Floats | None, lower: float) -> bool:
    """Return whether the point has the margin ``lower``, or the origin has: all tie there."""
    return (truth.homogeneous and lower <= 0.0) or reached(truth, x, lower)


def reached(truth: Rivals, x: Floats | None, lower: float) -> bool:
    """Return whether the point has the margin ``lower``, per length if lengths do not count."""
    if x is None or not truth.holds(x):
        return False
    margin, low = truth.margin(x.tolist()), Fraction(lower)
    if not (truth.free and truth.homogeneous):
        return margin >= low
    point, exponent = integers(x.tolist())
    length = square(point) * power(2 * exponent)
    return at_least(margin, low, length)


def at_most(truth: Rivals, evidence: Finding, upper: float) -> bool:
    """Return whether weights over the evidence's tokens prove all margins at most ``upper``."""
    weights, u = evidence.weights, Fraction(upper)
    if weights is None or not are_weights(weights, truth):
        return False
    ids, values = weights.indices.tolist(), weights.values.tolist()
    if truth.shown(ids, values, u):  # a quick check
        return True
    return truth.only([j for j, value in zip(ids, values, strict=True) if value > 0.0]).at_most(u)


def bounded(truth: Rivals, ends: tuple[float, float]) -> Iterator[str]:
    """Yield the untrue claims of `margin_bounds` about the supremum."""
    low, high = ends
    if math.isnan(low) or math.isnan(high) or high == -math.inf:
        yield f"{low} to {high} are not bounds on margins"
        return
    if not truth.ids:
        return
    value = truth.program.value
    endless = truth.free and value is None
    if low == math.inf:
        if not endless:
            yield "margins are bounded, and the lower bound is infinite"
    elif low > -LARGEST and not endless:
        before = math.nextafter(low, -math.inf)
        below = value is not None and value < low if truth.free else truth.at_most(Fraction(before))
        if below:
            yield f"the supremum is not {low}"
    if high < math.inf and (endless or not supremum_at_most(truth, high)):
        yield f"the supremum is above {high}"


def supremum_at_most(truth: Rivals, high: float) -> bool:
    if truth.free:
        value = truth.program.value
        return value is not None and value <= high
    return truth.at_most(Fraction(high))


def in_bulk(question: Question) -> Iterator[str]:
    """Yield the untrue proofs about points in bulk."""
    asked, rng = question.asked, np.random.default_rng(question.seed)
    V, d = asked.readout.V, asked.readout.d
    if V == 1:
        return
    spread = float(pick(rng, 0.0, 0.0, 0.0, 2.0**-20, 0.1, 1.0, 30.0, abs(numbers(rng, 1)[0])))
    points = numbers(rng, (V, d)) if rng.random() < 0.3 else rng.standard_normal((V, d))
    widen = float(pick(rng, 1.0, 4.0))
    with flushed(question.flush):
        found = prove_points(asked, np.arange(V), points, widen=widen, spread=spread)
    for token, lower in enumerate(found.tolist()):
        if not lower < math.inf:
            yield f"in bulk token {token} has {lower}"
        elif lower > 0.0 and not wide(rivals(asked, token), points[token], lower, spread):
            yield f"in bulk token {token} has no {lower} within {spread}"


def in_own_directions(question: Question) -> Iterator[str]:
    """Yield the untrue proofs about own directions, as this machine builds them."""
    asked, V = question.asked, question.asked.readout.V
    if V == 1:
        return
    with flushed(question.flush):
        found = prove_own_directions(asked, np.arange(V), widen=1.0).tolist()
        winners = [token for token in range(V) if not found[token] <= 0.0]
        points = [own_direction(asked, token) for token in winners]
    for token, x in zip(winners, points, strict=True):
        lower = found[token]
        if not (math.isfinite(lower) and reached(rivals(asked, token), x, lower)):
            yield f"along its own direction token {token} has no {lower}"


def wide(truth: Rivals, x: Floats, lower: float, spread: float) -> bool:
    """Return whether every point within ``spread`` of ``x`` has the margin ``lower``."""
    low = Fraction(lower)
    point, exponent = integers(x.tolist())
    if truth.free and truth.homogeneous:  # per length
        low *= root_above(square(point) * power(2 * exponent)) + Fraction(spread)
    for row, c in zip(truth.a, truth.c, strict=True):
        product = sum(map(int.__mul__, row, point)) * power(truth.a_exponent + exponent)
        left = -(product + c * truth.c_unit) - low
        steps = Fraction(spread) ** 2 * square(row) * power(2 * truth.a_exponent)
        if left < 0 or left * left < steps:
            return False
    return True


def root_above(value: Fraction) -> Fraction:
    """Return a rational above the square root, by less than 2^-100 of it."""
    places = 128 + (value.denominator.bit_length() - value.numerator.bit_length()) // 2
    return (math.isqrt(math.floor(value * power(2 * places))) + 1) * power(-places)


def in_rationals(question: Question) -> Iterator[str]:
    """Yield faults of integer weights that should prove the token unspeakable."""
    weights, truth = question.evidence.weights, question.truth
    if weights is None or not are_weights(weights, truth):
        return
    with flushed(question.flush):
        found = rational_weights(question.asked, question.token, weights)
    if found is not None and not truth.shown([*found], [*found.values()], Fraction(0)):
        yield f"the integer weights {found} prove nothing"


def are_weights(weights: Weights, truth: Rivals) -> bool:
    """Return whether the weights are as `rational_weights` requires."""
    ids, values = weights.indices, weights.values
    if not (ids.dtype == np.int64 and values.dtype == np.float64 and ids.ndim == 1):
        return False
    if ids.shape != values.shape or np.unique(ids).size != ids.size:
        return False
    finite = bool(np.isfinite(values).all() and (values >= 0).all() and (values > 0).any())
    return finite and set(ids.tolist()) <= set(truth.ids)


def built(rng: np.random.Generator) -> Iterator[str]:
    """Yield if a readout made without `Readout.fold` accepts parts that it must refuse."""
    V, d = int(rng.integers(1, 6)), int(rng.integers(1, 5))
    W, b = rng.standard_normal((V, d)), rng.standard_normal(V)
    kind = int(rng.integers(8))
    shift = None
    if kind == 0:
        W[int(rng.integers(V)), int(rng.integers(d))] = pick(rng, math.nan, math.inf, -math.inf)
    elif kind == 1:
        b[int(rng.integers(V))] = pick(rng, math.nan, math.inf, -math.inf)
    elif kind == 2:
        W = W.astype(pick(rng, np.float32, np.float16, np.int64, complex, object))
    elif kind == 3:
        b = b.astype(pick(rng, np.float32, np.float16, np.int64, complex, object))
    elif kind == 4:
        W = pick(rng, W[0], W[None], W[:0], W[:, :0])
    elif kind == 5:
        b = pick(rng, b[:-1], b[None], np.append(b, 0.0))
    elif kind == 6:
        W, b = pick(rng, (W.tolist(), b), (W, b.tolist()))
    else:  # a bias that differs from its shift's
        shift = Shift(rng.standard_normal(d), rng.standard_normal(d), rng.standard_normal(V))
        b = W @ shift.rounded + shift.bias
        b[int(rng.integers(V))] += np.abs(W).max() * (1.0 + shift.length) * pick(rng, 1e-9, -1.0)
    try:
        readout = Readout(W, b, shift=shift)
    except InputError:
        return
    ok = (
        type(readout.W) is np.ndarray is type(readout.b)
        and readout.W.dtype == np.float64 == readout.b.dtype
        and readout.W.ndim == 2
        and readout.b.shape == readout.W.shape[:1]
        and readout.W.size > 0
        and bool(np.isfinite(readout.W).all() and np.isfinite(readout.b).all())
        and shift is None
    )
    if not ok:
        yield f"a readout is made of {W!r} and {b!r}"


if __name__ == "__main__":
    main("judge", draw, cases=100_000)
