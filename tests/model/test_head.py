"""The head of a readout: what a checkpoint had, before anything was folded into it."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

import geom
from geom import Head, ModelSource, Readout, hookimpl
from geom.model.head import head_of
from geom.model.rows import Rows
from support.plugins import Use, installed_and

RNG = np.random.default_rng(0)
W = RNG.standard_normal((9, 4)).astype(np.float16)
B, GAMMA, BETA = RNG.standard_normal(9), RNG.random(4), RNG.standard_normal(4)


def test_a_head_holds_the_arrays_of_the_checkpoint_as_they_came() -> None:
    P = RNG.standard_normal((4, 3)).astype(np.float32)
    head = Readout.fold(W, B, gamma=GAMMA[:3], beta=BETA[:3], projection=P).head
    assert head.shape == (9, 4)
    assert head.dtype == np.float16
    assert (head.numbers(slice(2, 5)) == W[2:5]).all()
    assert (head.numbers(np.array([8, 0])) == W[[8, 0]]).all()
    for held, given in ((head.bias, B), (head.gamma, GAMMA[:3]), (head.beta, BETA[:3])):
        assert held is not None
        assert (held == given).all()
        assert not held.flags.writeable
    assert (head.projection == P).all()


def test_what_a_head_is_folded_to_is_the_readout_again() -> None:
    readout = Readout.fold(W, B, gamma=GAMMA, beta=BETA, norm="layernorm")
    head = readout.head
    again = Readout.fold(head.stored, head.bias, gamma=head.gamma, beta=head.beta, norm="layernorm")
    assert again.digest == readout.digest
    assert again.rows.stored is readout.rows.stored


def test_a_head_of_plain_arrays_is_the_arrays() -> None:
    built = Readout(Rows.of(W.astype(np.float64)), B)
    shifted = Readout.fold(W.astype(np.float64), B, beta=BETA)
    by_hand = Readout(shifted.rows, shifted.b, shift=shifted.shift)
    for readout, beta in ((built, None), (by_hand, BETA)):
        head = readout.head
        assert (head.numbers(slice(0, 9)) == W).all()
        assert head.bias is not None
        assert (head.bias == B).all()
        assert (head.beta is None) == (beta is None)
    scaled = Readout.fold(W, gamma=GAMMA)
    assert (head_of(scaled.rows, scaled.b, None).gamma == GAMMA).all()


def test_a_head_is_not_copied_and_goes_with_its_readout() -> None:
    readout = Readout.fold(W, gamma=GAMMA)
    assert readout.head.stored is readout.rows.stored
    assert readout.without_bias().head.stored is readout.rows.stored
    assert readout.described(readout.source, ("a note",)).head is readout.head
    arrived = pickle.loads(pickle.dumps(readout))
    assert arrived.cast("bfloat16").digest == readout.cast("bfloat16").digest


def test_the_repr_of_a_head_is_one_line() -> None:
    assert repr(Readout.fold(W, gamma=GAMMA).head) == (
        "Head(shape=(9, 4), dtype=dtype('float16'), gamma=<float64 (4,)>)"
    )
    assert isinstance(geom.load("demo").head, Head)


@dataclass(frozen=True)
class Options:
    """Options of a source that has rows and a cast of its own."""

    rows: int = 3
    cast: bool = False


def load(location: str, options: Options) -> Readout:
    return Readout.fold(np.eye(options.rows) * (2.0 if options.cast else 1.0))


class Plugin:
    """A stranger's plugin."""

    @hookimpl
    def geom_sources(self) -> Iterator[ModelSource[Options]]:
        yield ModelSource("own", "a source with options of these names", load, Options)


def test_an_option_that_a_source_declares_is_the_sources(use: Use) -> None:
    use(installed_and(Plugin()))
    readout = geom.load("own?rows=5&cast=true&new=2&init=zeros")
    assert readout.V == 7
    assert readout.W[:5].tolist() == (2 * np.eye(5)).tolist()


@pytest.mark.parametrize("name", ["local"])
def test_packed_rows_are_decided_in_other_processes(name: str) -> None:
    readout = geom.load("demo?cast=q5_1")
    tokens = [5, 9, 747]
    with (
        geom.run(readout, tokens=tokens, executor=name, opening=False) as there,
        geom.run(readout, tokens=tokens, opening=False) as here,
    ):
        assert [row.verdict for row in there.rows()] == [row.verdict for row in here.rows()]
