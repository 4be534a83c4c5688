"""Readouts that strain float64: the default chain against exact truth, family by family.

A family is a way to draw rows and biases; a case is one token of one readout on one domain. A
verdict of the chain must be true, by a simplex method in rationals if the domain is a polyhedron,
and by the boxes inside and around it if it is a ball and biases matter. The cases that end
undecided are counted in each family; `tests/builtin/certifiers/test_undecided.py` holds their share
below one in a hundred.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

import geom
from campaigns.campaign import Case, main
from geom import Readout, Witness
from support.truth import fractions, largest_margin, margin

Floats = NDArray[np.float64]
Drawn = tuple[Floats, Floats, int]
"""Rows (V, d), biases (V,) and the token in question."""


def plain(rng: np.random.Generator) -> Drawn:
    """Draw normal or whole rows, some copies and means; the token is one of these, or any."""
    V, d = int(rng.integers(5, 41)), int(rng.integers(1, 7))
    whole = rng.random() < 0.5
    W = rng.integers(-4, 5, (V, d)) + 0.0 if whole else np.float32(rng.standard_normal((V, d)))
    W = np.asarray(W, dtype=np.float64)
    b = rng.integers(-4, 5, V) + 0.0 if whole else rng.standard_normal(V)
    b = np.where(rng.random() < 0.5, b, 0.0)
    places = rng.permutation(V)
    token, others = int(places[0]), places[1:]
    kind = rng.integers(6)
    if kind == 0:
        W[token], b[token] = W[others[0]], b[others[0]]
    elif kind == 1:
        W[token], b[token] = W[others[:2]].mean(axis=0), b[others[:2]].mean()
    elif kind == 2:
        shares = rng.dirichlet(np.ones(4))
        W[token], b[token] = shares @ W[others[:4]], shares @ b[others[:4]]
    return W, b, token


def scaled_rows(rng: np.random.Generator) -> Drawn:
    """Draw rows, each multiplied by a power of two from 2^-60 to 2^60."""
    W, b, token = plain(rng)
    some = rng.random() < 0.5
    exponents = rng.choice([-60, 0, 60], len(W)) if some else rng.integers(-60, 61, len(W))
    W = np.ldexp(W, exponents[:, None])
    if rng.random() < 0.5:
        b = np.ldexp(b, exponents)
    return W, b, token


def tiny_biases(rng: np.random.Generator) -> Drawn:
    """Draw biases of at most 1e-12."""
    W, _, token = plain(rng)
    b = rng.uniform(-1.0, 1.0, len(W)) * 10.0 ** -rng.uniform(12.0, 18.0)
    if rng.random() < 0.3:
        b[rng.random(len(W)) < 0.7] = 0.0
    return W, b, token


def near_ties(rng: np.random.Generator) -> Drawn:
    """Draw a token that differs from another, or from a mean of others, by 2^-30 to 2^-60."""
    W, b, token = plain(rng)
    others = np.delete(np.arange(len(W)), token)
    picked = rng.choice(others, int(rng.integers(1, 4)), replace=False)
    W[token], b[token] = W[picked].mean(axis=0), b[picked].mean()
    tie = 2.0 ** -float(rng.integers(30, 61))
    if rng.random() < 0.5:
        place = int(rng.integers(W.shape[1]))
        W[:, place] = 0.0
        W[token, place] = tie
    else:
        W[token] += tie * rng.standard_normal(W.shape[1])
    if b.any():
        b[token] += tie * rng.choice([-1.0, 0.0, 1.0])
    return W, b, token


def huge(rng: np.random.Generator) -> Drawn:
    """Draw a readout with all numbers above 1e160."""
    W, b, token = plain(rng)
    exponent = int(rng.integers(532, 1015))
    return np.ldexp(W, exponent), np.ldexp(b, exponent), token


def minute(rng: np.random.Generator) -> Drawn:
    """Draw a readout with all numbers below 1e-200."""
    W, b, token = plain(rng)
    exponent = -int(rng.integers(668, 1001))
    return np.ldexp(W, exponent), np.ldexp(b, exponent), token


FAMILIES: dict[str, Callable[[np.random.Generator], Drawn]] = {
    "scaled rows": scaled_rows,
    "tiny biases": tiny_biases,
    "near ties": near_ties,
    "huge": huge,
    "minute": minute,
    "plain": plain,
}

DOMAINS = ("box", "layernorm", "rmsnorm", "unbounded")


def draw(rng: np.random.Generator, number: int) -> Case:
    """Draw a token of a family's readout on a domain, and hold its verdict against the truth."""
    family = list(FAMILIES)[number % len(FAMILIES)]
    domain = rng.choice(DOMAINS, p=[0.4, 0.2, 0.2, 0.2])
    return case(family, domain, rng)


def case(family: str, domain: str, rng: np.random.Generator) -> Case:
    """Draw such a case for a family and a domain by name."""
    W, b, token = FAMILIES[family](rng)
    opening = bool(rng.integers(2))
    with geom.run(Readout.fold(W, b), tokens=[token], domain=domain, opening=opening) as run:
        (row,) = run.rows()
        certificate = run.certificate(token)
    fault = None
    if row.verdict == "speakable":
        found = margin(W, b, token, certificate.x) if isinstance(certificate, Witness) else 0
        if not (found > 0 and (domain == "unbounded" or row.margin_lower <= found)):
            fault = f"the witness has a margin of {float(found)}"
    elif row.verdict == "unspeakable":
        most = largest(W, b, token, domain)
        if most > 0 or (domain == "box" and row.margin_upper < most):
            fault = f"there is a margin of {float(most)}"
    kind = f"{family} {row.verdict}"
    return Case(kind, fault and f"{family} on {domain}: {fault}, and yet {row}")


def largest(W: Floats, b: Floats, token: int, domain: str) -> Fraction:
    """Return the largest margin exactly, or for a ball that of a box inside it.

    The box's margin gives at most the sign of the ball's. Without biases the sign is that of any
    domain.
    """
    rows = [fractions(row) for row in W]
    radius = None if domain == "unbounded" else Fraction(1)
    if domain == "layernorm":
        if W.shape[1] == 1:
            return Fraction(b[token]) - Fraction(np.delete(b, token).max())
        rows = [[entry - row[-1] for entry in row[:-1]] for row in rows]  # x_d is minus the others
        radius = Fraction(1, len(rows[0]))
    return largest_margin(rows, b, token, radius)


if __name__ == "__main__":
    main("undecided", draw, cases=3000)
