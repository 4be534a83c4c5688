"""The caps on the probability of unspeakable tokens, against closed forms and mpmath at points."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction

import mpmath
import numpy as np
import pytest

import geom
from geom import Floats, Readout, TokenRow, Weights
from geom.exact.caps import probability_cap
from geom.model import domains
from geom.model.problem import Problem
from geom.proofs import probability_bounds

TEMPERATURES = (0.05, 0.7, 1.0, 3.0, 100.0)


def unspeakable(readout: Readout, **words: object) -> dict[int, TokenRow]:
    with geom.run(readout, tokens="all", **words) as run:  # type: ignore[arg-type]
        return {row.token_id: row for row in run.rows(verdict="unspeakable")}


def probability(readout: Readout, token: int, x: Floats) -> mpmath.mpf:
    """Return the probability of a token at a point and temperature 1, at 400 bits."""
    with mpmath.workprec(400):
        z = [
            mpmath.fdot(w, x.tolist()) + b
            for w, b in zip(readout.W.tolist(), readout.b.tolist(), strict=True)
        ]
        return 1 / mpmath.fsum(mpmath.exp(other - z[token]) for other in z)


@pytest.mark.parametrize("k", [2, 3, 7, 49, 1000])
@pytest.mark.parametrize("opening", [True, False])
def test_of_k_equal_tokens_each_has_at_most_one_part_in_k(k: int, opening: bool) -> None:
    W = np.vstack([np.tile([0.5, 3.0], (k, 1)), [[1.0, 0.0], [-1.0, 0.5]]])
    tokens = [0, 1, k - 1]
    with geom.run(Readout.fold(W, norm="rmsnorm"), tokens=tokens, opening=opening) as run:
        caps = {row.probability_upper for row in run.rows(verdict="unspeakable")}
    assert len(caps) == 1
    (cap,) = caps
    assert cap is not None
    assert Fraction(1, k) <= Fraction(cap) <= Fraction(1, k) * (1 + Fraction(1, 2**52))


def test_equal_rows_with_unequal_biases_are_as_far_apart_as_their_biases() -> None:
    rows = unspeakable(Readout.fold(np.ones((2, 2)), [0.0, 10.0], norm="rmsnorm"))
    cap = rows[0].probability_upper
    assert cap is not None
    with mpmath.workprec(400):
        truth = 1 / (1 + mpmath.exp(10))
        assert truth <= cap <= truth * (1 + mpmath.mpf(2) ** -40)


def test_a_midpoint_has_at_most_a_third() -> None:
    rows = unspeakable(Readout.fold(np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])))
    assert rows.keys() == {2}
    cap = rows[2].probability_upper
    assert cap is not None
    assert Fraction(1, 3) <= Fraction(cap) < Fraction(1, 3) + Fraction(1, 10**9)


@pytest.mark.parametrize("V", [1, 2, 5, 64, 1023])
@pytest.mark.parametrize("norm", ["rmsnorm", "layernorm", None])
@pytest.mark.parametrize("biased", [False, True])
def test_the_mean_of_v_rows_has_at_most_one_part_in_v_plus_one_at_every_temperature(
    V: int, norm: str | None, biased: bool
) -> None:
    """At x = 0 without biases it has just that."""
    draw = np.random.default_rng(V)
    rows = np.round(draw.normal(size=(V, 3)) * 64)
    b = np.round(draw.normal(size=V) * 64) * biased
    rows[-1] -= rows.sum(axis=0) % V  # the sums are multiples of V, so that the mean is exact
    b[-1] -= b.sum() % V
    mean, mid = rows.sum(axis=0) / V, b.sum() / V
    readout = Readout.fold(np.vstack([rows, mean]), np.append(b, mid), norm=norm)
    asked = Problem(readout, readout.domain)
    lam = Weights(np.arange(V), np.full(V, 1.0 / V))
    least = Fraction(1, V + 1)
    cap = Fraction(probability_cap(asked, V, lam))
    assert least <= cap <= least * (1 + Fraction(1, 10**9))
    for temperature in TEMPERATURES:
        high = probability_bounds(asked, V, geom.Finding(weights=lam), temperature)[1]
        assert abs(high + np.log(V + 1)) < 1e-9 / min(1.0, temperature)
    if not biased:
        with mpmath.workprec(400):
            assert probability(readout, V, np.zeros(3)) == mpmath.mpf(1) / (V + 1)


def clouds() -> Iterator[Readout]:
    for seed in range(6):
        draw = np.random.default_rng(seed)
        W = draw.normal(size=(40, 3)) * (0.1 + draw.random((40, 1)))
        W[5], W[6] = W[7], W[8:12].mean(axis=0)
        b = draw.normal(size=40) / 4
        for norm in ("rmsnorm", "layernorm", None):
            yield Readout.fold(W, norm=norm)
            yield Readout.fold(W, b, norm=norm)


@pytest.mark.parametrize("certifier", ["maxent", "highs"])
def test_no_point_of_the_domain_makes_an_unspeakable_token_more_likely_than_its_cap(
    certifier: str,
) -> None:
    draw, proofs = np.random.default_rng(0), Counter[str | None]()
    for readout in clouds():
        rows = unspeakable(readout, certifiers=[certifier])
        for token, row in rows.items():
            cap = row.probability_upper
            assert cap is not None
            assert 0.0 < cap <= 0.5
            proofs[row.proof] += 1
            own = [readout.W[token], readout.W[token] - readout.W[row.argmax_id]]
            points = np.vstack([*own, draw.normal(size=(3, 3))])
            for x in readout.domain.fit_all(points * 2.0 ** draw.integers(-3, 4, size=(5, 1))):
                assert probability(readout, token, x) <= cap
    assert min(proofs[name] for name in ("slack", "interior", "rational")) > 0


def test_only_unspeakable_tokens_have_a_cap() -> None:
    W = np.random.default_rng(3).normal(size=(30, 3))
    with geom.run(Readout.fold(W, norm="rmsnorm"), tokens="all") as run:
        for row in run.rows():
            assert (row.probability_upper is not None) == (row.verdict == "unspeakable")
            assert row.as_dict()["probability_upper"] == row.probability_upper


def test_a_cap_is_above_zero_however_far_the_rival_is_ahead() -> None:
    for ahead in (1e6, 1e300):
        rows = unspeakable(Readout.fold(np.ones((2, 2)), [0.0, ahead], norm="rmsnorm"))
        assert rows[0].probability_upper == 5e-324


def test_a_box_and_all_of_space_have_caps() -> None:
    W = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [0.0, 0.0]])
    readout = Readout.fold(W)
    for domain in (domains.box(2, 1.0), domains.unbounded(2)):
        rows = unspeakable(readout, domain=domain)
        assert rows.keys() == {4}
        cap = rows[4].probability_upper
        assert cap is not None
        assert cap <= 1 / 3
