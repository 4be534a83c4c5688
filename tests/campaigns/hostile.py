"""Small problems and findings for the campaigns: random, degenerate, badly scaled and hostile."""

from __future__ import annotations

import math
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geom import Domain, Finding, InputError, Problem, Readout, Weights
from geom.model import domains
from support.suprema import Floats, Optimum, Rivals

try:
    from torch import set_flush_denormal
except ImportError:  # then flushing stays off

    def set_flush_denormal(mode: bool) -> bool:
        return False


LARGEST = float(np.finfo(np.float64).max)

TINY, ONE = 2.0**-1022, 2.0**-52

NUMBERS = np.array(
    [
        *(0.0, 5e-324, 1.5e-323, 1e-310, TINY * (1 - ONE), TINY, 1e-300, 2.0**-537, 1e-162, 1e-154),
        *(1e-60, 2.0**-150, 2.0**-149, 2.0**-126, 2.0**-53, 1 - 2.0**-53, 1.0, 1.0, 1 + ONE, 2.0),
        *(3.0, 10.0, 2.0**24 + 1, 2.0**53, 1e18, 3.4028234663852886e38, 3.5e38, 1e60, 1e150),
        *(1.3407807929942596e154, 1e155, 1e160, 1e300, 5e307, LARGEST / 2, 1e308, 1.7e308, LARGEST),
    ]
)
"""Numbers from the least float64 to the largest, and on both sides of its arithmetic's borders."""


@contextmanager
def flushed(on: bool) -> Iterator[None]:
    """Within the block, if ``on``, flush subnormal numbers to zero in this thread's processor."""
    if on:
        set_flush_denormal(True)
    try:
        yield
    finally:
        set_flush_denormal(False)


def raised(error: Exception) -> str:
    """Return an exception and the last line outside of libraries that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "site-packages" not in frame.filename]
    return f"{error!r} at {ours[-1].filename}:{ours[-1].lineno}"


def pick(rng: np.random.Generator, *choices: Any) -> Any:
    return choices[int(rng.integers(len(choices)))]


def numbers(rng: np.random.Generator, shape: int | tuple[int, ...]) -> Floats:
    """Draw from `NUMBERS`, with either sign."""
    return np.asarray(rng.choice(NUMBERS, shape) * rng.choice([-1.0, 1.0], shape))


def scaled(values: Floats, exponents: NDArray[np.int64] | int) -> Floats:
    """Return ``values * 2**exponents``, with the largest float for numbers too large."""
    with np.errstate(over="ignore", under="ignore"):
        return np.clip(np.ldexp(values, exponents), -LARGEST, LARGEST)


def matrix(rng: np.random.Generator, V: int, d: int) -> Floats:
    """Draw rows (V, d) of one of many kinds."""
    kind = int(rng.integers(11))
    normal = rng.standard_normal((V, d))
    if kind == 10:  # with differences that overflow
        return np.asarray(rng.uniform(-1.0, 1.0, (V, d)) * LARGEST)
    if kind in (0, 1):
        return rng.integers(-3, 4, (V, d)).astype(np.float64)
    if kind == 2:
        return normal
    if kind == 3:
        return normal.astype(np.float32).astype(np.float64)
    if kind == 4:
        return numbers(rng, (V, d))
    if kind == 5:
        return scaled(normal, rng.integers(-60, 61, (V, 1)))
    if kind == 6:
        return scaled(normal, rng.integers(-1100, 1020, pick(rng, (V, 1), (1, d), (V, d))))
    if kind == 7:  # of a lower rank, or nearly so
        return rng.integers(-2, 3, (V, 1)) * rng.integers(-2, 3, (1, d)) + normal * pick(
            rng, 0.0, 2.0**-30, 2.0**-52
        )
    if kind == 8:  # far from the origin
        return normal + rng.integers(-(2**30), 2**30, (1, d))
    return rng.choice([0.0, 1.0, -1.0], (V, d)) * pick(rng, 5e-324, 1e-310, 1.0, 1e308, LARGEST)


def degenerate(rng: np.random.Generator, W: Floats, b: Floats, token: int) -> None:
    """Put the token, or another row, where it is hard to judge."""
    V, d = W.shape
    j, k = (int(rng.integers(V)) for _ in range(2))
    kind = int(rng.integers(8))
    if kind == 0:  # a twin, at times with an ulp of difference
        W[token], b[token] = W[j], b[j]
    elif kind in (1, 2):  # a midpoint, at times of the biases too
        W[token] = W[j] / 2 + W[k] / 2
        if kind == 2:
            b[token] = b[j] / 2 + b[k] / 2
    elif kind == 3:  # the mean of several
        chosen = rng.integers(V, size=4)
        W[token] = (W[chosen] / 4).sum(axis=0)
        b[token] = (b[chosen] / 4).sum()
    elif kind == 4:
        W[int(pick(rng, token, j))] = 0.0
    elif kind == 5:
        W[:, int(rng.integers(d))] = W[token, 0]
    elif kind == 6:
        W[j] = -W[token]
    else:
        W[j] = W[token]
    if rng.random() < 0.4:
        i = int(rng.integers(d))
        W[token, i] = np.nextafter(W[token, i], pick(rng, -1.0, 1.0) * LARGEST)
    if rng.random() < 0.1:
        b[token] = np.nextafter(b[token], pick(rng, -1.0, 1.0) * LARGEST)


def biases(rng: np.random.Generator, W: Floats) -> Floats:
    """Draw biases (V,) of one of many kinds and sizes."""
    V, d = W.shape
    kind = int(rng.integers(10))
    if kind in (0, 1):
        return np.zeros(V)
    if kind == 9:  # with differences that overflow: all of them, or one token's
        if rng.random() < 0.5:
            return np.asarray(rng.uniform(-1.0, 1.0, V) * LARGEST)
        side = np.where(np.arange(V) == rng.integers(V), 1.0, -1.0) * pick(rng, -1.0, 1.0)
        return np.asarray(rng.uniform(0.3, 1.0, V) * LARGEST * side)
    if kind == 2:
        return np.full(V, float(numbers(rng, 1)[0]))
    if kind == 3:
        return rng.integers(-2, 3, V).astype(np.float64)
    if kind == 4:
        return numbers(rng, V)
    if kind == 5:
        return scaled(rng.standard_normal(V), int(rng.integers(-1070, 1020)))
    if kind == 6:
        return scaled(rng.standard_normal(V), int(pick(rng, -60, -40, -10, 0, 10, 40)))
    with np.errstate(over="ignore", invalid="ignore"):
        plane = W @ rng.integers(-2, 3, d)  # all tie at one point
        paraboloid = -(W * W).sum(axis=1) / 2  # each wins somewhere
    return np.clip(np.nan_to_num(plane if kind == 7 else paraboloid), -LARGEST, LARGEST)


def enclosed(rng: np.random.Generator, d: int) -> tuple[Floats, Floats]:
    """Draw biases, and token 0 within a simplex of rivals, so that one combination meets it.

    The biases make a tie, within a few units in the last place, or are so large that their
    differences overflow, with the combination of them above or below.
    """
    lam = rng.dirichlet(np.full(d + 1, 0.7))
    whole = rng.random() < 0.3
    rows = rng.integers(-9, 10, (d + 1, d)) + 0.0 if whole else rng.standard_normal((d + 1, d))
    W = np.vstack([lam @ rows, rows])
    if rng.random() < 0.3:
        b = rng.standard_normal(d + 1)
        tie = float(lam @ b)
        ulps = int(rng.integers(-4, 5))
        return W, np.append(tie + ulps * abs(np.spacing(tie)), b)
    if rng.random() < 0.5:
        return W, rng.uniform(-1.0, 1.0, d + 2) * LARGEST
    b = -rng.uniform(0.6, 1.0, d + 2)  # below the token's, but for the least weighted rival
    b[0], b[1 + lam.argmin()] = rng.uniform(-0.5, 0.5), rng.uniform(0.6, 1.0)
    return W, b * LARGEST * pick(rng, 1.0, 1.0, -1.0)


def problem(rng: np.random.Generator) -> tuple[Problem, int] | None:
    """Draw a problem and one of its tokens; None if geom refuses to read it."""
    V, d = (int(rng.integers(1, 13)), int(rng.integers(1, 5)))
    if rng.random() < 0.5:
        V = min(V, 5)
    W = matrix(rng, V, d)
    b = biases(rng, W)
    token = int(rng.integers(V))
    if rng.random() < 0.1:
        W, b = enclosed(rng, d)
        token, V = 0, d + 2
    for _ in range(int(rng.integers(3)) if rng.random() < 0.8 else 0):
        degenerate(rng, W, b, token)
    if rng.random() < 0.15:
        exponent = int(pick(rng, -1060, -900, -500, -60, 60, 500, 900, 1020))
        W = scaled(W, exponent)
        b = scaled(b, exponent + int(pick(rng, -60, 0, 0, 60)))
    gamma = beta = None
    if rng.random() < 0.2:
        gamma = np.exp(rng.standard_normal(d)).astype(np.float32)
        beta = pick(rng, rng.standard_normal(d), rng.integers(-2, 3, d)).astype(np.float32)
        if rng.random() < 0.3:
            gamma, beta = pick(rng, (gamma, numbers(rng, d)), (numbers(rng, d), beta))
    try:
        readout = Readout.fold(W, b, gamma=gamma, beta=beta)
    except InputError:
        return None
    return Problem(readout, domain(rng, d)), token


def draw_question(rng: np.random.Generator) -> tuple[Problem, int, Rivals, Finding] | None:
    """Draw a problem, a token with its rivals, and a finding; None if geom refuses to read it."""
    drawn = problem(rng)
    if drawn is None:
        return None
    truth = rivals(*drawn)
    return *drawn, truth, finding(rng, *drawn, truth)


def domain(rng: np.random.Generator, d: int) -> Domain:
    kind = int(rng.integers(9))
    if kind < 2:
        return domains.layernorm(d)
    if kind < 4:
        return domains.rmsnorm(d)
    if kind < 6:
        radius = float(pick(rng, 1.0, 1.0, 0.5, 3.0, 0.1, 1e-12, 1e12, abs(numbers(rng, 1)[0])))
        return domains.box(d, radius or 1.0)
    if kind < 8:
        return domains.unbounded(d)
    size = Fraction(int(rng.integers(1, 50)), int(rng.integers(1, 50)))
    shape = pick(rng, "ball", "box", "all")
    return Domain(
        f"own-{shape}",
        d,
        shape,
        None if shape == "all" else size,
        zero_sum=bool(rng.random() < 0.7),
    )


def rivals(asked: Problem, token: int) -> Rivals:
    """Return the rivals of a token, with the shift of a final norm folded in without rounding."""
    readout = asked.readout
    biases = [Fraction(bias) for bias in readout.b.tolist()]
    if (shift := readout.shift) is not None:
        pairs = zip(shift.beta.tolist(), shift.gamma.tolist(), strict=True)
        s = [Fraction(beta) / Fraction(gamma) for beta, gamma in pairs]
        biases = [
            Fraction(bias) + sum(Fraction(w) * v for w, v in zip(row, s, strict=True))
            for row, bias in zip(readout.W.tolist(), shift.bias.tolist(), strict=True)
        ]
    homogeneous = shift is None and len(set(biases)) == 1
    return Rivals.of(readout.W, biases, asked.domain, token, homogeneous)


def finding(rng: np.random.Generator, asked: Problem, token: int, truth: Rivals) -> Finding:
    """Draw a finding that a certifier may return: honest, nearly honest, or not at all."""
    kind = int(rng.integers(4))
    best = truth.program if truth.ids and rng.random() < 0.6 else None
    x = point(rng, asked, token, best) if kind != 0 else None
    weights = combination(rng, asked, token, truth, best) if kind != 1 else None
    return Finding(x, weights)


def point(rng: np.random.Generator, asked: Problem, token: int, best: Optimum | None) -> Floats:
    """Draw a point, most often in the domain, and often on its border."""
    W, d = asked.readout.W, asked.readout.d
    kind = int(rng.integers(12))
    if kind < 5 and best is not None:
        x = rounded(best.x)
        if rng.random() < 0.3:
            x = np.nextafter(x, rng.choice([-LARGEST, LARGEST], d))
    elif kind in (0, 1, 5):
        with np.errstate(all="ignore"):
            x = W[token] - W.mean(axis=0)
            x = np.nan_to_num(x / (np.abs(x).max() or 1.0)) * pick(rng, 1.0, 1e3, 1e-3)
    elif kind in (2, 6):
        x = rng.standard_normal(d) * pick(rng, 1.0, 1e-3, 1e3, 1e300)
    elif kind in (3, 7):  # exactly of length sqrt(d), or a corner of the box
        x = rng.choice([-1.0, 1.0], d) * pick(rng, 1.0, min(asked.domain.radius, LARGEST))
        if rng.random() < 0.3:
            x = np.nextafter(x, rng.choice([-LARGEST, LARGEST], d))
    elif kind in (4, 8):
        x = numbers(rng, d)
    elif kind == 9:
        x = rng.integers(-2, 3, d).astype(np.float64)
    elif kind == 10:
        x = np.zeros(d)
    else:
        return odd_point(rng, d)
    if rng.random() < 0.8:
        with np.errstate(over="ignore", invalid="ignore"):
            x = asked.domain.fit(np.clip(np.nan_to_num(x), -1e300, 1e300))
    return x


def rounded(values: list[Fraction]) -> Floats:
    """Return rationals as float64, scaled down if they are too large."""
    top = max(map(abs, values), default=Fraction(0))
    if top > Fraction(LARGEST):
        values = [value / top for value in values]
    return np.array([float(value) for value in values])


def odd_point(rng: np.random.Generator, d: int) -> Any:
    """Draw something that is not a point."""
    x = rng.standard_normal(d)
    if rng.random() < 0.5:
        x[int(rng.integers(d))] = pick(rng, math.nan, math.inf, -math.inf)
        return x
    return pick(rng, x.astype(np.float32), x[:-1], x[None], np.append(x, 0.0), x.astype(complex))


def combination(
    rng: np.random.Generator, asked: Problem, token: int, truth: Rivals, best: Optimum | None
) -> Weights:
    """Draw weights over other tokens, most often; some are not valid weights."""
    n, V = len(truth.ids), asked.readout.V
    ids = np.array(truth.ids, dtype=np.int64)
    kind = int(rng.integers(12))
    if n == 0 or kind == 11:
        return odd_weights(rng, V, token)
    if kind < 3 and best is not None:
        values = shaken(rng, fractions(best.lam))
    elif kind < 6 and best is not None:
        values = shaken(rng, balanced(rng, truth))
    elif kind in (0, 1, 6):
        values = rng.dirichlet(np.ones(n))
    elif kind in (2, 7):
        values = np.abs(numbers(rng, n))
    elif kind in (3, 8):
        values = (np.arange(n) == rng.integers(n)).astype(np.float64)
    elif kind in (4, 9):
        values = rng.integers(0, 3, n) / pick(rng, 1.0, 2.0, 3.0, 10.0)
    else:
        values = scaled(rng.random(n), rng.integers(-1074, 1024, n))
    if rng.random() < 0.2:
        values = scaled(values, int(pick(rng, -1074, -1040, -1000, -60, 60, 1000, 1023)))
    if rng.random() < 0.4:
        ids, values = ids[values > 0.0], values[values > 0.0]
    if rng.random() < 0.2 and ids.size:
        order = rng.permutation(ids.size)
        ids, values = ids[order], values[order]
    return Weights(ids, values)


def balanced(rng: np.random.Generator, truth: Rivals) -> Floats:
    """Return the mean of several sets of weights with ``r = 0``, if there are any."""
    everywhere = Domain("own-all", len(truth.a[0]), "all", None, zero_sum=truth.region.zero_sum)
    draws = rng.integers(-9, 10, (int(rng.integers(1, 4)), len(truth.ids))).tolist()
    several = [
        replace(truth, c=c, c_unit=Fraction(1), region=everywhere).program.lam for c in draws
    ]
    return np.asarray(sum(map(fractions, several)) / len(several))


def fractions(lam: list[int]) -> Floats:
    """Return whole weights as float64, with the largest of them 1."""
    top = max(lam)
    return np.array([float(Fraction(entry, top)) for entry in lam])


def shaken(rng: np.random.Generator, values: Floats) -> Floats:
    """Return weights near these, as a solver's would be."""
    kind = int(rng.integers(6))
    if kind == 0:
        return values
    if kind == 1:
        return np.asarray(values * (1.0 + rng.standard_normal(values.size) * 2.0**-53))
    if kind == 2:
        size = pick(rng, 2.0**-50, 2.0**-40, 2.0**-20, 2.0**-8)
        return np.asarray(np.abs(values + rng.standard_normal(values.size) * size))
    if kind == 3:
        return np.asarray(np.nextafter(values, rng.choice([0.0, LARGEST], values.size)))
    if kind == 4:
        dust = np.abs(numbers(rng, values.size))
        return np.where(values > 0.0, values, np.where(dust < 1e-12, dust, 0.0))
    return np.where(rng.random(values.size) < 0.3, 0.0, values)


def odd_weights(rng: np.random.Generator, V: int, token: int) -> Any:
    """Draw something that is not a set of weights."""
    ids = np.arange(V, dtype=np.int64)
    values = rng.random(V)
    others = ids[ids != token]
    kind = int(rng.integers(9))
    if kind == 0:
        return Weights(ids, values)
    if kind == 1:
        values[0] = pick(rng, math.nan, math.inf, -1.0, -5e-324)
        return Weights(others, values[: others.size])
    if kind == 2:
        return Weights(np.append(others, others[:1]), np.ones(others.size + others[:1].size))
    if kind == 3:
        return Weights(others, np.zeros(others.size))
    if kind == 4:
        return Weights(others[:0], values[:0])
    if kind == 5:
        return Weights(others, values[: others.size].astype(np.float32))  # type: ignore[arg-type]
    if kind == 6:
        return Weights(others - V, values[: others.size])
    if kind == 7:
        return Weights(others[None], values[: others.size][None])
    return Weights(others.astype(np.float64), values[: others.size])  # type: ignore[arg-type]
