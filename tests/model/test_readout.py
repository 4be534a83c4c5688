"""The readout: folding against Fractions, digests against hashlib, refusals by their messages."""

from __future__ import annotations

import hashlib
import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import ArrayLike, DTypeLike

import geom
from geom import InputError, Readout
from geom.model import domains
from geom.model.source import Source
from support.truth import Floats, dot, fractions

single = st.floats(-4, 4, width=32)
checkpoints = st.tuples(
    arrays(np.float32, (3, 2), elements=single),
    arrays(np.float32, 3, elements=single),
    arrays(np.float32, 2, elements=single),
    arrays(np.float32, 2, elements=single),
)


# Folding


@given(checkpoints)
def test_folding_the_scale_of_float32_weights_rounds_nothing(parts: tuple[Floats, ...]) -> None:
    W, _, scale, _ = parts
    folded = Readout.fold(W, gamma=scale).W
    expected = [p * q for row in W for p, q in zip(*map(fractions, (row, scale)), strict=True)]
    assert fractions(folded.ravel()) == expected


@given(checkpoints)
def test_folding_the_shift_gives_the_rounded_sum(parts: tuple[Floats, ...]) -> None:
    W, b, _, shift = parts
    folded = Readout.fold(W, b, beta=shift).b
    for row, c, got in zip(W, b, folded, strict=True):
        exactly = dot(fractions(row), fractions(shift)) + Fraction(float(c))
        assert abs(Fraction(float(got)) - exactly) <= Fraction(float(np.spacing(abs(got))))


def test_the_shift_is_folded_through_the_weights_before_the_scale() -> None:
    readout = Readout.fold([[1.0, 2.0]], [10.0], gamma=[3.0, 5.0], beta=[0.5, 0.25])
    assert readout.W.tolist() == [[3.0, 10.0]]
    assert readout.b.tolist() == [11.0]


def test_a_sum_that_cancels_is_folded_without_loss() -> None:
    b = Readout.fold([[1.0, 1.0, 1.0]], [1.0], beta=[2.0**60, 2.0**-10, -(2.0**60)]).b
    assert b.tolist() == [1.0 + 2.0**-10]


def test_logits_are_those_of_the_norm_then_the_readout() -> None:
    rng = np.random.default_rng(0)
    W, b, scale, shift = (rng.normal(size=s) for s in [(7, 4), 7, 4, 4])
    x = rng.normal(size=(5, 4))
    readout = Readout.fold(W, b, gamma=scale, beta=shift)
    assert np.allclose(readout.logits(x), (x * scale + shift) @ W.T + b, rtol=1e-13, atol=1e-13)
    assert readout.logits(x[0]).shape == (7,)


def test_without_a_bias_it_is_zero() -> None:
    assert Readout.fold([[1.0], [2.0]]).b.tolist() == [0.0, 0.0]


# Contents


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint64", ">f4"])
def test_every_real_type_becomes_float64(dtype: DTypeLike) -> None:
    readout = Readout.fold(np.array([[1, 2], [3, 4]], dtype=dtype))
    assert readout.W.dtype == np.float64
    assert readout.W.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_the_arrays_cannot_be_written_to_and_are_not_the_callers() -> None:
    W = np.eye(2)
    readout = Readout.fold(W)
    with pytest.raises(ValueError, match="read-only"):
        readout.W[0, 0] = 5.0
    W[0, 0] = 7.0
    assert readout.W[0, 0] == 1.0


def test_a_matrix_stored_by_columns_is_laid_out_by_rows() -> None:
    assert Readout.fold(np.asfortranarray(np.eye(3))).W.flags.c_contiguous


@pytest.mark.parametrize(
    ("norm", "domain"),
    [("layernorm", "layernorm"), ("rmsnorm", "rmsnorm"), (None, "unbounded")],
)
def test_the_norm_implies_the_domain(norm: str | None, domain: str) -> None:
    readout = Readout.fold(np.eye(3), norm=norm)  # type: ignore[arg-type]
    assert readout.domain == domains.named(domain, 3, None)


@pytest.mark.parametrize(
    ("b", "has"), [([0.0, 0.0], False), ([3.0, 3.0], False), ([0.0, 1.0], True)]
)
def test_a_bias_counts_only_where_tokens_differ_in_it(b: list[float], has: bool) -> None:
    assert Readout.fold(np.eye(2), b).has_bias is has


def test_dropping_the_bias_leaves_the_rest() -> None:
    readout = Readout.fold(np.eye(2), [0.0, 1.0], norm="rmsnorm", tokens=["a", None])
    assert readout.has_bias
    bare = readout.without_bias()
    assert (bare.b.tolist(), bare.has_bias) == ([0.0, 0.0], False)
    assert (bare.norm, bare.text(0), bare.text(1)) == ("rmsnorm", "a", None)


def test_without_a_tokenizer_no_token_has_a_text() -> None:
    assert Readout.fold(np.eye(2)).text(1) is None


def test_twins_share_row_and_bias() -> None:
    readout = Readout.fold([[1, 2], [1, 2], [1, 3], [1, 2], [1, 2]], [0, 0, 0, 5, 0])
    assert [readout.twins(t) for t in range(5)] == [[1, 4], [0, 4], [], [], [0, 1]]


def test_zero_and_minus_zero_are_twins() -> None:
    assert Readout.fold([[0.0], [-0.0]]).twins(0) == [1]


@given(arrays(np.float64, (4, 3), elements=st.floats(-1e6, 1e6)))
def test_row_norms_are_upper_bounds_in_fractions(W: Floats) -> None:
    for row, bound in zip(W, Readout.fold(W).row_norms, strict=True):
        assert dot(fractions(row), fractions(row)) <= Fraction(float(bound)) ** 2


# Digests


def test_the_digest_is_that_of_the_documented_bytes() -> None:
    content = b"geom readout 2 2\n" + struct.pack("<6d", 1.5, 0.0, -2.0, 0.25, 0.0, 7.0)
    readout = Readout.fold([[1.5, -0.0], [-2.0, 0.25]], [0.0, 7.0])
    assert readout.digest == hashlib.sha256(content).hexdigest()


def test_a_large_matrix_is_digested_in_blocks_as_in_one_piece() -> None:
    W = np.zeros((1025, 4097))
    W[:, 5] = np.arange(1025)
    header, zeros = b"geom readout 1025 4097\n", np.zeros(1025)
    expected = hashlib.sha256(header + W.tobytes() + zeros.tobytes()).hexdigest()
    assert Readout.fold(W).digest == expected


@pytest.mark.parametrize(
    ("W", "b"),
    [
        ([[1.0, 2.0], [3.0, 5.0]], [0.0, 0.0]),
        ([[1.0, 2.0], [3.0, 4.0]], [0.0, 5e-324]),
        ([[1.0, 2.0, 3.0, 4.0]], [0.0]),
    ],
)
def test_other_numbers_have_another_digest(W: ArrayLike, b: ArrayLike) -> None:
    assert Readout.fold(W, b).digest != Readout.fold([[1.0, 2.0], [3.0, 4.0]]).digest


def test_names_and_texts_are_no_part_of_the_digest() -> None:
    named = Readout.fold(np.eye(2), tokens=["a", "b"], source="demo", norm="layernorm")
    assert named.digest == Readout.fold(np.eye(2)).digest


# Refusals


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["W", "b", "gamma", "beta"])
def test_what_is_not_finite_is_refused_with_its_place(name: str, bad: float) -> None:
    parts = {"W": np.eye(2), "b": np.ones(2), "gamma": np.ones(2), "beta": np.ones(2)}
    parts[name][..., 1] = bad
    place = r"W\[\(0, 1\)\]" if name == "W" else rf"{name}\[1\]"
    with pytest.raises(InputError, match=rf"{place} is {bad}"):
        Readout.fold(**parts)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(3,), (2, 2, 2), (0, 3), (3, 0)], ids=str)
def test_what_is_no_matrix_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="one row per logit"):
        Readout.fold(np.zeros(shape))


@pytest.mark.parametrize(("name", "n"), [("b", 2), ("gamma", 3), ("beta", 3)])
def test_vectors_of_another_length_are_refused(name: str, n: int) -> None:
    with pytest.raises(InputError, match=rf"{name} has shape \({n},\)"):
        Readout.fold(np.zeros((3, 2)), **{name: np.zeros(n)})


def test_a_number_is_no_vector_whatever_it_is() -> None:
    for number in (0.0, np.nan):
        with pytest.raises(InputError, match=r"b has shape \(\): W needs \(2,\)"):
            Readout.fold(np.eye(2), number)


@pytest.mark.parametrize("values", [[[1j]], [[True]], [["a"]], [[None]]], ids=repr)
def test_what_is_no_real_number_is_refused(values: ArrayLike) -> None:
    with pytest.raises(InputError, match="dtype"):
        Readout.fold(values)


def test_longer_floats_than_float64_are_refused() -> None:
    with pytest.raises(InputError, match="dtype"):
        Readout.fold(np.eye(2, dtype=np.longdouble))


@pytest.mark.parametrize("value", [2**53 + 1, 2**63 - 1, -(2**63) + 1, 2**64 - 1])
def test_integers_that_float64_does_not_hold_are_refused(value: int) -> None:
    with pytest.raises(InputError, match=r"2\*\*53"):
        Readout.fold(np.array([[value]]))


def test_integers_that_float64_holds_are_taken() -> None:
    assert Readout.fold(np.array([[2**53, -(2**60)]])).W.tolist() == [[2.0**53, -(2.0**60)]]


@pytest.mark.parametrize("part", ["gamma", "beta"])
def test_weights_that_overflow_in_folding_are_refused_with_their_row(part: str) -> None:
    with pytest.raises(InputError, match="row 1 of W overflows"):
        Readout.fold([[1.0, 1.0], [1e300, 1.0]], **{part: [1e300, 1.0]})


def test_a_norm_nobody_knows_is_refused() -> None:
    with pytest.raises(InputError, match="'layernorm', 'rmsnorm' or None"):
        Readout.fold(np.eye(2), norm="batchnorm")  # type: ignore[arg-type]


def test_a_number_of_texts_other_than_of_rows_is_refused() -> None:
    with pytest.raises(InputError, match="3 texts for 2 rows"):
        Readout.fold(np.eye(2), tokens=["a", "b", "c"])


class Stored:
    """Rows that record the slices asked of them."""

    def __init__(self, array: Floats) -> None:
        self.array, self.asked = array, list[slice]()
        self.shape = array.shape

    def __getitem__(self, rows: slice, /) -> Floats:
        self.asked.append(rows)
        return self.array[rows]


def test_rows_are_read_in_blocks_and_each_once() -> None:
    W = np.random.default_rng(0).standard_normal((5000, 700)).astype(np.float32)
    beta, gamma = W[0], W[1]
    stored = Stored(W)
    readout = Readout.fold(stored, beta=beta, gamma=gamma)
    assert readout.digest == Readout.fold(W.astype(np.float64), beta=beta, gamma=gamma).digest
    assert len(stored.asked) > 3
    assert [row for rows in stored.asked for row in range(5000)[rows]] == list(range(5000))


def test_what_is_not_finite_in_a_later_block_is_refused_with_its_place() -> None:
    W = np.ones((5000, 700))
    W[4321, 5] = np.nan
    with pytest.raises(InputError, match=r"W\[\(4321, 5\)\] is nan"):
        Readout.fold(Stored(W))


def test_half_a_surrogate_pair_in_a_text_is_spelled_out() -> None:
    readout = Readout.fold(np.eye(2), tokens=["a\ud800b", "\U0001f600"])
    assert [readout.text(i) for i in range(2)] == ["a\\ud800b", "\U0001f600"]
    assert next(row.token for row in geom.run(readout, tokens="all").rows()) == "a\\ud800b"


def test_the_same_numbers_under_another_name_are_not_computed_again() -> None:
    readout = Readout.fold(np.eye(3), gamma=np.full(3, 2.0), beta=np.ones(3))
    norms = readout.row_norms
    other = readout.described(Source.parse("npz:w.npz"), ("a note",))
    assert (str(other.source), other.notes) == ("npz:w.npz", ("a note",))
    assert other.W is readout.W
    assert other.row_norms is norms
    assert other.digest == readout.digest
    assert (str(readout.source), readout.notes) == ("python", ())
