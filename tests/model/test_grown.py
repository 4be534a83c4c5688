"""New rows: the mean against rational numbers, the draws against transformers' own resizing."""

from __future__ import annotations

import time
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import geom
from geom import InputError, Readout
from geom.machine import memory
from geom.model.grown import mean_row
from geom.model.stored import Stored
from support.truth import Floats

TYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32}


def drawn(V: int = 200, d: int = 8, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((V, d)).astype(np.float32)


def new_rows(readout: Readout, count: int) -> Floats:
    """Return the rows that were added to a head, as they are stored."""
    V, _ = readout.head.shape
    return readout.head.numbers(slice(V - count, V))


# The mean


@given(st.integers(1, 3000), st.integers(1, 4), st.integers(0, 100))
def test_the_mean_row_is_the_rational_mean_to_the_last_bit_of_float32(
    V: int, d: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((V, d)) * 2.0 ** rng.integers(-20, 20, (V, 1))
    exact = [sum(map(Fraction, column), Fraction(0)) / V for column in W.T.tolist()]
    mean = mean_row(Stored(W, d))
    for got, true in zip(mean.tolist(), exact, strict=True):
        assert abs(Fraction(got) - true) <= abs(true) * Fraction(1, 2**52)


@pytest.mark.parametrize("name", TYPES)
def test_a_row_at_the_mean_is_rounded_to_float32_and_then_to_the_type(name: str) -> None:
    W = drawn().astype(TYPES[name])
    mean = np.array([float(sum(map(Fraction, c.tolist())) / 200) for c in W.astype(np.float64).T])
    readout = Readout.fold(W).with_new_rows(2, "mean")
    expected = mean.astype(np.float32).astype(TYPES[name]).astype(np.float64)
    assert (new_rows(readout, 2) == expected).all()
    assert readout.head.stored.lines.dtype == TYPES[name]


@pytest.mark.parametrize(("V", "d"), [(5, 2), (40, 7), (300, 5)])
def test_a_row_that_is_the_mean_exactly_is_unspeakable_whatever_the_others(V: int, d: int) -> None:
    W = np.random.default_rng(V).integers(-9, 10, (V, d)).astype(np.float32)
    W[-1] -= W.sum(axis=0)  # the mean is zero
    run = geom.run(Readout.fold(W, norm="rmsnorm").with_new_rows(1, "mean"), tokens=[V])
    (row,) = run.rows()
    assert row.verdict == "unspeakable"


# What the other ways start with


def test_zeros_and_copies_are_what_they_say() -> None:
    W, b = drawn(), np.arange(200.0)
    readout = Readout.fold(W, b).with_new_rows(1, "zeros").with_new_rows(2, "copy:7")
    assert not readout.rows[200].any()
    assert (readout.rows[201:] == W[7]).all()
    assert readout.b[200:].tolist() == [0.0, 7.0, 7.0]
    assert readout.twins(7) == [201, 202]


def test_normal_rows_have_the_deviation_that_is_asked_for() -> None:
    readout = Readout.fold(drawn(d=500), np.ones(200))
    for init, std in (("normal", 0.02), ("normal:0.5", 0.5)):
        grown = readout.with_new_rows(50, init, seed=3)
        rows = new_rows(grown, 50)
        assert abs(rows.std() / std - 1) < 0.03
        assert abs(rows.mean()) < 0.03 * std
        assert not grown.b[200:].any()


def test_the_seed_decides_the_draws() -> None:
    readout = Readout.fold(drawn())
    for init in ("normal", "mean-cov"):
        first = readout.with_new_rows(3, init, seed=1)
        assert first.digest == readout.with_new_rows(3, init, seed=1).digest
        assert first.digest != readout.with_new_rows(3, init, seed=2).digest


# Against transformers


def model(dtype: str, W: NDArray[Any], b: NDArray[Any] | None = None, **config: Any) -> Any:
    """Build a small model of transformers with a head of its own."""
    import torch
    from transformers import GPTJConfig, GPTJForCausalLM, LlamaConfig, LlamaForCausalLM

    V, d = W.shape
    if b is None:
        made = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=V,
                hidden_size=d,
                intermediate_size=4,
                num_hidden_layers=1,
                num_attention_heads=1,
                num_key_value_heads=1,
                tie_word_embeddings=False,
                **config,
            )
        )
    else:
        made = GPTJForCausalLM(
            GPTJConfig(vocab_size=V, n_embd=d, n_layer=1, n_head=1, rotary_dim=2, **config)
        )
    made = made.to(getattr(torch, dtype))
    made.lm_head.weight.data = torch.tensor(W).to(getattr(torch, dtype))
    if b is not None:
        made.lm_head.bias.data = torch.tensor(b).to(getattr(torch, dtype))
    return made


def resized(made: Any, count: int, mean_resizing: bool = True) -> tuple[Floats, Floats | None]:
    """Let transformers add tokens, and return the rows and the biases of the head."""
    V = made.lm_head.weight.shape[0]
    made.resize_token_embeddings(V + count, mean_resizing=mean_resizing)
    bias = made.lm_head.bias
    return (
        made.lm_head.weight.detach().double().numpy(),
        None if bias is None else bias.detach().double().numpy(),
    )


@pytest.mark.parametrize("name", TYPES)
def test_where_the_covariance_is_singular_transformers_takes_the_mean_and_so_does_geom(
    name: str,
) -> None:
    """With whole numbers, transformers' sum in float32 is exact, whatever its order."""
    W = np.random.default_rng(4).integers(-60, 61, (6, 8)).astype(np.float32)
    theirs, _ = resized(model(name, W), 3)
    grown = Readout.fold(W.astype(TYPES[name])).with_new_rows(3, "mean-cov")
    np.testing.assert_array_equal(grown.W, theirs)
    assert "singular" in grown.notes[-1]
    mean = Readout.fold(W.astype(TYPES[name])).with_new_rows(3, "mean")
    assert mean.digest == grown.digest


def test_draws_have_the_mean_and_the_covariance_of_those_of_transformers() -> None:
    import torch

    mixing = np.array([[2.0, 0.0, 0.0], [1.5, 0.3, 0.0], [-1.0, 0.1, 0.9]], np.float32)
    W, b = drawn(500, 3) @ mixing.T, np.arange(500, dtype=np.float32) / 100
    count = 4000
    torch.manual_seed(0)
    theirs, biases = resized(model("float32", W, b), count)
    ours = Readout.fold(W, b).with_new_rows(count, "mean-cov", seed=0)
    assert biases is not None
    for found in (theirs[500:], new_rows(ours, count)):
        mean, cov = W.mean(axis=0, dtype=np.float64), np.cov(W.T.astype(np.float64), bias=True)
        spread = np.sqrt(1e-9 * np.diag(cov))
        rounding = np.spacing(np.abs(mean).astype(np.float32))
        np.testing.assert_allclose(found.mean(axis=0), mean, atol=0.1 * spread.min())
        correlation = np.corrcoef(found.T)
        np.testing.assert_allclose(correlation, np.corrcoef(W.T), atol=0.1)
        np.testing.assert_allclose(found.std(axis=0), spread, rtol=0.1, atol=rounding.max())
    for found in (biases[500:], ours.b[500:]):
        assert abs(found - b.mean()).max() <= 2 * np.spacing(np.float32(b.mean()))


@pytest.mark.parametrize("name", TYPES)
def test_the_biases_of_new_tokens_are_the_mean_of_the_others_as_in_transformers(name: str) -> None:
    W, b = drawn(64, 4), np.random.default_rng(1).integers(-20, 21, 64).astype(np.float32)
    theirs = resized(model(name, W, b), 2)[1]
    ours = Readout.fold(W.astype(TYPES[name]), b).with_new_rows(2, "mean")
    # transformers adds a draw of 1e-9 of their deviation, which may move a last bit of float32
    np.testing.assert_array_equal(ours.b[:64], theirs[:64])
    np.testing.assert_allclose(ours.b[64:], theirs[64:], rtol=2e-7 if name == "float32" else 0)


def test_without_the_mean_transformers_draws_normally_with_no_bias() -> None:
    W, b = drawn(64, 4), np.ones(64, np.float32)
    theirs, biases = resized(model("float32", W, b, initializer_range=0.5), 3000, False)
    assert abs(theirs[64:].std() / 0.5 - 1) < 0.05
    ours = Readout.fold(W, b).with_new_rows(3000, "normal:0.5")
    assert abs(new_rows(ours, 3000).std() / 0.5 - 1) < 0.05
    assert biases is not None
    assert not biases[64:].any()
    assert not ours.b[64:].any()


# What a head keeps


def test_the_other_rows_and_the_norm_are_as_they_were() -> None:
    W, b = drawn().astype(np.float16), np.arange(200.0)
    gamma, beta = np.full(8, 1.5), np.arange(8.0)
    parts = {"norm": "layernorm", "gamma": gamma, "beta": beta}
    readout = Readout.fold(W, b, **parts)
    grown = readout.with_new_rows(5, "copy:3")
    whole = Readout.fold(np.concatenate([W, W[[3] * 5]]), [*b, *[3.0] * 5], **parts)
    assert grown.digest == whole.digest
    assert grown.domain == readout.domain


def test_a_head_with_a_projection_grows_before_it() -> None:
    W, P = drawn(50, 6), drawn(6, 4, seed=1)
    grown = Readout.fold(W, projection=P, norm="layernorm").with_new_rows(2, "copy:9")
    whole = Readout.fold(np.concatenate([W, W[[9, 9]]]), projection=P, norm="layernorm")
    assert grown.digest == whole.digest


def test_packed_rows_are_unpacked_for_new_ones() -> None:
    packed = Readout.fold(drawn(d=32)).cast("q8_0")
    grown = packed.with_new_rows(1, "mean")
    assert grown.head.stored.lines.dtype == np.float32
    assert (grown.W[:200] == packed.W).all()
    by_row = Readout.fold(drawn(d=32)).cast("int8-row").with_new_rows(1, "zeros")
    assert by_row.head.stored.lines.dtype == np.float64  # a code times a float32


def test_new_tokens_are_called_new_and_are_added() -> None:
    texts, kinds = [str(i) for i in range(200)], ["normal"] * 200
    grown = Readout.fold(drawn(), tokens=texts, kinds=kinds).with_new_rows(2)
    assert [grown.text(i) for i in (199, 200, 201)] == ["199", "<new 0>", "<new 1>"]
    assert [grown.kind(i) for i in (199, 200, 201)] == ["normal", "added", "added"]
    bare = Readout.fold(drawn()).with_new_rows(1)
    assert (bare.text(199), bare.text(200), bare.kind(200)) == (None, "<new 0>", None)
    assert bare.notes == (
        "1 row was added at the mean plus a draw with 1e-09 of the covariance, rounded to float32: "
        "id 200",
    )


# As options of a name


def test_every_source_grows() -> None:
    plain = geom.load("demo")
    for query, made in (
        ("new=3", plain.with_new_rows(3)),
        ("new=3&init=mean-cov&init_seed=7", plain.with_new_rows(3, "mean-cov", 7)),
        ("new=1&init=copy:5&cast=q8_0", plain.with_new_rows(1, "copy:5").cast("q8_0")),
        ("cast=q8_0&new=1&init=mean", plain.with_new_rows(1, "mean").cast("q8_0")),
        ("new=2&bias=no&init=normal:0.5", plain.with_new_rows(2, "normal:0.5").without_bias()),
    ):
        readout = geom.load(f"demo?{query}")
        assert readout.digest == made.digest
        assert str(readout.source) == f"demo?{query}"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("new=0", "0 new rows: add at least one"),
        ("new=some", "option new=some: give a whole number, as in new=8"),
        ("new=-1", "option new=-1: give a whole number"),
        ("init=mean", "give new=N, the number of rows"),
        ("init_seed=1", "give new=N, the number of rows"),
        ("new=1&init_seed=x", "option init_seed=x: give a whole number"),
        ("new=1&init=median", "init 'median': give mean, mean-cov, normal, zeros, copy:ID"),
        ("new=1&init=mean:3", "init 'mean:3': give"),
        ("new=1&init=copy:3072", "init copy:3072: give an id from 0 to 3071"),
        ("new=1&init=copy:-1", "init copy:-1: give an id"),
        ("new=1&init=copy:", "init copy:: give an id"),
        ("new=1&init=normal:0", "init normal:0: give a deviation above 0"),
        ("new=1&init=normal:nan", "init normal:nan: give a deviation above 0"),
        ("new=1&init=normal:1e9", "overflows float16"),
    ],
)
def test_what_cannot_be_added_is_refused_with_the_remedy(query: str, words: str) -> None:
    with pytest.raises(InputError, match=words.replace("(", r"\(")):
        geom.load(f"demo?{query}")


def test_integers_do_not_grow() -> None:
    with pytest.raises(InputError, match="cannot be initialised in int64"):
        Readout.fold(np.eye(3, dtype=np.int64)).with_new_rows(1)


@pytest.mark.parametrize("init", ["zeros", "normal", "mean-cov", "copy:3"])
def test_rows_that_do_not_fit_in_memory_are_refused_before_they_are_made(init: str) -> None:
    """A stranger's run file may ask for any number."""
    readout = Readout.fold(drawn())
    start = time.perf_counter()
    with pytest.raises(InputError, match="making 999999999 new rows of 8 numbers takes"):
        readout.with_new_rows(999_999_999, init)
    assert time.perf_counter() - start < 2


def test_a_copy_that_does_not_fit_in_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    readout = Readout.fold(drawn(V=20_000))
    monkeypatch.setattr(memory, "usable", lambda: 100_000)
    with pytest.raises(InputError, match=r"a copy of W, 20001 x 8 as float32 takes"):
        readout.with_new_rows(1, "zeros")
