"""The test of logits tells what is wrong with a readout, on heads written out in numpy."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from geom import Floats, Readout
from geom_plugins.agreement.logit_fit import Fit, fit

V, D, N = 300, 40, 9


@dataclass(frozen=True, eq=False)
class Head:
    """A final norm and a head, as a model has them: ``scale (W (gamma norm(h) + beta) + b)``."""

    norm: str
    W: Floats
    gamma: Floats
    beta: Floats
    b: Floats
    scale: float = 1.0
    cap: float | None = None

    def logits(self, h: Floats, epsilon: float = 1e-6) -> Floats:
        """Return the logits (n, V) of hidden states (n, d)."""
        if self.norm == "layernorm":
            h = h - h.mean(axis=1, keepdims=True)
        x = h / np.sqrt((h**2).mean(axis=1, keepdims=True) + epsilon)
        out = self.scale * ((self.gamma * x + self.beta) @ self.W.T + self.b)
        return out if self.cap is None else self.cap * np.tanh(out / self.cap)

    def readout(self, **changes: Any) -> Readout:
        """Return the readout with some parts read in another way."""
        parts = {"norm": self.norm, "gamma": self.gamma, "beta": self.beta, "b": self.b} | changes
        return Readout.fold(parts.pop("W", self.W), parts.pop("b"), **parts)


def head(norm: str, seed: int = 0) -> Head:
    draw = np.random.default_rng(seed)
    return Head(
        norm,
        draw.normal(size=(V, D)) / D**0.5,
        1 + 0.3 * draw.normal(size=D),
        0.3 * draw.normal(size=D) if norm == "layernorm" else np.zeros(D),
        0.3 * draw.normal(size=V),
    )


def states(seed: int = 1) -> Floats:
    return np.random.default_rng(seed).normal(0.2, 2.0, size=(N, D))


def single(logits: Floats) -> Floats:
    """Round to float32, as models do."""
    return logits.astype(np.float32).astype(np.float64)


def fitted(model: Head, options: dict[str, Any] | None = None, **changes: Any) -> Fit:
    return fit(model.readout(**changes), single(model.logits(states())), **(options or {}))


@pytest.mark.parametrize("norm", ["layernorm", "rmsnorm"])
@pytest.mark.parametrize("seed", range(5))
def test_the_models_own_readout_agrees(norm: str, seed: int) -> None:
    model = head(norm, seed)
    found = fit(model.readout(), single(model.logits(states(seed))))
    assert (found.agrees, found.faults, found.remarks) == (True, (), ())
    assert found.residual < 1e-6
    np.testing.assert_allclose([found.shortest, found.longest], 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("norm", "changes", "fault"),
    [
        ("rmsnorm", {"b": None}, "between two inputs they agree, so a bias is lost"),
        ("layernorm", {"b": None}, "between two inputs they agree, so a bias is lost"),
        ("rmsnorm", {"gamma": None}, "the norm's scale or shift is another"),
        ("layernorm", {"gamma": None}, "the norm's scale or shift is another"),
        ("layernorm", {"beta": None}, "the norm's scale or shift is another"),
        ("rmsnorm", {"norm": "layernorm"}, "the norm is RMSNorm$"),
        ("layernorm", {"norm": "rmsnorm"}, "the norm is LayerNorm, not RMSNorm"),
        ("rmsnorm", {"W": head("rmsnorm", 7).W}, "W is another matrix"),
        ("layernorm", {"W": head("rmsnorm", 7).W}, "W is another matrix"),
    ],
)
def test_what_is_read_wrong_is_named(norm: str, changes: dict[str, Any], fault: str) -> None:
    found = fitted(head(norm), **changes)
    assert found.agrees is False
    assert any(re.search(fault, text) for text in found.faults), found.faults


@pytest.mark.parametrize("norm", ["layernorm", "rmsnorm"])
@pytest.mark.parametrize("off", [1.0, -1.0])
def test_one_added_to_the_scale_or_forgotten_is_the_scales_fault(norm: str, off: float) -> None:
    model = head(norm)
    found = fitted(model, gamma=model.gamma + off)
    assert found.residual < 1e-6  # least squares alone would find nothing
    assert found.agrees is False
    assert "1 + weight" in found.faults[-1]


def test_one_row_of_a_head_that_differs_is_seen() -> None:
    model = head("rmsnorm")
    W = model.W.copy()
    W[17] *= 1.01
    assert fitted(model, W=W).agrees is False


def test_a_scale_of_the_logits_is_right_only_if_a_note_says_so() -> None:
    for norm in ("layernorm", "rmsnorm"):
        model = replace(head(norm), scale=0.125)
        assert fitted(model).agrees is False
        noted = fitted(model, {"scale": 0.125})
        assert (noted.agrees, noted.remarks) == (True, ())
        for other in (8.0, 0.126, 1.0):
            assert fitted(model, {"scale": other}).agrees is False
        vague = fitted(model, {"scale": math.nan})
        assert vague.agrees
        assert vague.remarks == (
            "its logits are 0.125 times W x + b; the notes do not say by how much",
        )


def test_another_scale_than_the_noted_one_is_named_without_biases() -> None:
    model = replace(head("rmsnorm"), scale=0.125, b=np.zeros(V))
    (fault,) = fitted(model, {"scale": 0.25}).faults
    assert fault == (
        "|x| is 0.5 sqrt(d) everywhere, and not sqrt(d): the model scales its logits, and not by "
        "0.25 as the notes say"
    )


def test_an_unnoted_scale_without_biases_is_told_apart_from_a_wrong_norm() -> None:
    model = replace(head("rmsnorm"), scale=0.125, b=np.zeros(V))
    (fault,) = fitted(model).faults
    assert fault.startswith("|x| is 0.125 sqrt(d) everywhere")


def test_a_noted_scale_does_not_excuse_a_wrong_norm() -> None:
    model = replace(head("rmsnorm"), scale=3.0)
    assert fitted(model, {"scale": 3.0}, gamma=model.gamma + 1).agrees is False
    assert fitted(model, {"scale": math.nan}, norm="layernorm").agrees is False


def test_a_soft_cap_is_undone_if_a_note_says_so() -> None:
    model = replace(head("rmsnorm"), cap=5.0)
    assert fitted(model, {"cap": 5.0}).agrees
    assert fitted(model).agrees is False
    assert fitted(model, {"cap": 30.0}).agrees is False


def test_masked_and_missing_tokens_are_named() -> None:
    model = head("rmsnorm")
    logits = model.logits(states())
    logits[:, [3, 8]] = np.finfo(np.float32).min
    assert "masks 2 tokens (3, 8)" in fit(model.readout(), logits).faults[0]
    logits[:, 3] = -np.inf
    assert "masks 2 tokens (3, 8)" in fit(model.readout(), logits).faults[0]
    fewer = fit(model.readout(), model.logits(states())[:, :-4])
    assert fewer.faults == ("the model has 296 logits, and the readout 300 rows",)


def test_as_many_dimensions_as_tokens_tell_nothing() -> None:
    model = head("rmsnorm")
    readout = Readout.fold(model.W[:D], norm="rmsnorm")
    found = fit(readout, np.random.default_rng(0).normal(size=(N, D)))
    assert found.agrees is None
    assert "tell nothing" in found.remarks[0]


def test_without_a_norm_any_x_will_do() -> None:
    found = fitted(head("rmsnorm"), norm=None, gamma=None)
    assert found.agrees
    assert found.remarks == ("no final norm is known, so any x will do",)


def test_of_a_matrix_of_lower_rank_only_too_long_an_x_is_seen() -> None:
    model = head("rmsnorm")
    low = np.random.default_rng(3).normal(size=(V, 6)) @ model.W[:6]
    model = replace(model, W=low / np.linalg.norm(low, axis=1, keepdims=True))
    found = fitted(model)
    assert found.agrees
    assert found.remarks == ("W has rank 6 of 40, so |x| is known from below only",)
    assert fitted(model, gamma=model.gamma * 0.1).agrees is False


@pytest.mark.parametrize("norm", ["layernorm", "rmsnorm"])
def test_epsilon_may_make_x_a_little_shorter(norm: str) -> None:
    model = head(norm)
    logits = single(model.logits(states() * 0.1, epsilon=1e-4))
    found = fit(model.readout(), logits)
    assert found.agrees
    assert found.shortest < 1 - 5e-4


@pytest.mark.parametrize("norm", ["layernorm", "rmsnorm"])
def test_in_half_precision_the_tolerance_is_that_of_the_type(norm: str) -> None:
    model = head(norm)
    half = {"unit": float(ml_dtypes.finfo(ml_dtypes.bfloat16).eps)}
    logits = model.logits(states()).astype(ml_dtypes.bfloat16).astype(np.float64)
    assert fit(model.readout(), logits).agrees is False
    assert fit(model.readout(), logits, **half).agrees
    assert fit(model.readout(gamma=None), logits, **half).agrees is False
    assert fit(model.readout(b=None), logits, **half).agrees is False


def test_a_large_vocabulary_is_solved_by_a_sample_and_compared_whole() -> None:
    draw = np.random.default_rng(5)
    model = replace(head("rmsnorm"), W=draw.normal(size=(5000, D)), b=np.zeros(5000))
    logits = single(model.logits(states()))
    assert fit(model.readout(), logits).agrees
    for row in (0, 1, 2718, 4999):
        wrong = model.W.copy()
        wrong[row] += 0.01
        assert fit(model.readout(W=wrong), logits).agrees is False
