"""What a plan refuses before anything is written; domains, options and memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import geom
from geom import (
    Candidate,
    Detector,
    Domain,
    InputError,
    Readout,
)
from geom.exact import products
from geom.machine import memory
from geom.machine.devices import current_device
from geom.model import domains
from geom.opening import rounds, shared_step
from geom.runs.pipeline import execute
from geom.runs.planning import ARRAYS, EXAMINED, plan
from support.square_runs import READOUT, SQUARE, Given, detector, flags, planned

# What is refused before anything is written


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ({"detectors": ["self-argmx"]}, "did you mean 'self-argmax'"),
        ({"certifiers": ["highz"]}, "did you mean 'highs'"),
        ({"executor": "seriel"}, "did you mean 'serial'"),
        ({"domain": "layernrm"}, "did you mean 'layernorm'"),
        ({"detectors": ["self-argmax"] * 2}, "detector self-argmax is named twice"),
        ({"certifiers": ["highs", "mpmath", "highs"]}, "certifier highs is named twice"),
        (
            {"device": "cuda", "certifiers": ["highs"], "tokens": "1"},
            "device 'cuda': nothing here runs on it",
        ),
        ({"device": "tpu", "detectors": [], "tokens": "1"}, "device 'tpu': give cpu, cuda"),
        ({"options": {"certifier.highs.round": 1}}, "did you mean 'rounds'"),
        ({"options": {"certifier.highs.rounds": 0}}, "certifier.highs.rounds=0: expected int >= 1"),
        ({"options": {"certifier.mpmath.digits": 80}}, "certifier mpmath, which has no part"),
        ({"options": {"detector.random-directions.seed": 1}}, "random-directions, which has no"),
        ({"options": {"source.npz.W": "W"}}, "source npz, which has no part"),
        ({"options": {"reporter.csv.x": 1}}, "reporter csv, which has no part"),
        ({"options": {"certifier.hihgs.rounds": 1}}, "did you mean 'highs'"),
        ({"options": {"certifer.highs.rounds": 1}}, "did you mean 'certifier'"),
        ({"options": {"rounds": 1}}, "write KIND.NAME.OPTION=VALUE"),
        ({"domain": "box", "options": {"domain.box.radios": 1}}, "did you mean 'radius'"),
        ({"domain": "box", "options": {"domain.box.radius": "wide"}}, "radius=wide: give a number"),
        ({"domain": "box", "options": {"domain.box.radius": [1]}}, "give a number"),
        ({"domain": "box", "options": {"domain.box.radius": None}}, "give a number"),
        ({"domain": "box", "options": {"domain.box.radius": 10**400}}, "give a number"),
        ({"domain": "box", "options": {"domain.box.radius": 0}}, "positive finite number"),
        ({"domain": "box", "options": {"domain.box.radius": "-1"}}, "positive finite number"),
        ({"domain": "box", "options": {"domain.box.radius": "nan"}}, "positive finite number"),
        ({"domain": "box", "options": {"domain.box.radius": "inf"}}, "positive finite number"),
        ({"options": {"domain.box.radius": 2}}, "domain box, which has no part"),
        ({"domain": domains.box(2), "options": {"domain.box.radius": 2}}, "which has no part"),
        ({"domain": domains.box(3)}, "dimension 3, the readout 2"),
        ({"domain": Domain("rmsnorm", 2, "ball", Fraction(9))}, "a name of its own"),
        ({"domain": Domain("box", 3, "all")}, "a name of its own"),
        ({"domain": Domain("auto", 2, "all")}, "a name of its own"),
    ],
)
def test_what_cannot_be_asked_is_refused_and_nothing_written(
    asked: dict[str, Any], answer: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as refused:
        geom.run(READOUT, out=tmp_path / "run.db", **asked)
    assert answer in str(refused.value)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_model_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'synthetic'"):
        geom.run("synthetik:gpt2-like")


# Domains and options


@pytest.mark.parametrize(
    ("norm", "domain", "name"),
    [
        (None, "auto", "unbounded"),
        ("layernorm", "auto", "layernorm"),
        ("rmsnorm", "auto", "rmsnorm"),
        ("layernorm", "unbounded", "unbounded"),
        (None, "box", "box"),
        (None, domains.layernorm(2), "layernorm"),
        (None, domains.box(2, 2.5), "box"),
        ("rmsnorm", domains.unbounded(2), "unbounded"),
        (None, Domain("third-of-a-box", 2, "box", Fraction(1, 3)), "third-of-a-box"),
    ],
)
def test_the_domain_is_stored_so_that_verdicts_verify_on_it(
    norm: Any, domain: Any, name: str
) -> None:
    readout = Readout.fold(SQUARE, norm=norm)
    with geom.run(readout, domain=domain, tokens="all") as run:
        assert run.settings["domain"]["name"] == name
        assert geom.verify(run, readout).ok


@pytest.mark.parametrize("radius", [0.25, "0.25"])
def test_the_radius_of_the_box_is_an_option(radius: Any) -> None:
    options = {"domain.box.radius": radius, "certifier.highs.largest": True}
    with geom.run(READOUT, tokens="0", domain="box", options=options) as run:
        assert run.settings["domain"]["size"] == "1/4"
        assert run.row(0).margin_lower == pytest.approx(0.25, rel=1e-2)  # of W_0 over the centre


def test_options_reach_their_plugins_with_their_types() -> None:
    @dataclass(frozen=True)
    class Options:
        count: int = 1

    stub = Detector("stub", "", lambda r, d, options: map(Candidate, range(options.count)), Options)
    given = {("detector", "stub"): {"count": "3"}}
    asked = planned(Given((stub,)), detectors=["stub"], certifiers=[], given=given)
    assert asked.settings["detectors"] == {"stub": {"count": 3}}
    with execute(asked) as run:
        assert len(list(run.rows())) == 3


def test_options_may_be_given_to_the_models_own_source() -> None:
    options = {"source.synthetic.V": 12, "source.synthetic.d": "3"}
    with geom.run("synthetic:gpt2-like", tokens="0", certifiers=[], options=options) as run:
        assert (run.settings["V"], run.settings["d"]) == (12, 3)
        assert geom.load(run.model).digest == run.settings["digest"]


# Memory and processes


def test_a_run_that_memory_cannot_hold_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(memory, "available", lambda: 1000)
    with pytest.raises(
        InputError, match=r"takes .* of memory and only 900 bytes is available"
    ) as refused:
        geom.run(READOUT, out=tmp_path / "run.db")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run.db").exists()


def test_weights_that_memory_cannot_hold_are_refused_before_they_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Tall:
        shape = (10**9, 4096)

        def __getitem__(self, rows: slice) -> np.ndarray:
            raise AssertionError("it was read")

    monkeypatch.setattr(memory, "available", lambda: 2**40)
    with pytest.raises(InputError, match=r"W of 1000000000 x 4096 .* takes 3\.7 TiB"):
        Readout.fold(Tall())


def test_a_plan_states_the_memory_of_its_workers() -> None:
    alone = plan(READOUT, certifiers=["highs"])
    crew = plan(
        READOUT,
        certifiers=["highs"],
        executor="local",
        given={("executor", "local"): {"workers": 8}},
    )
    assert alone.memory > READOUT.rows.nbytes
    assert crew.memory >= alone.memory + 8 * 2**20


def test_a_plan_states_the_memory_of_its_largest_stage() -> None:
    hungry = replace(detector(flags()), memory=lambda readout, options: 10**9)
    asked = planned(Given((hungry,)), detectors=["stub"])
    each = READOUT.V * (ARRAYS + EXAMINED)
    assert asked.memory == READOUT.W.nbytes + READOUT.b.nbytes + each + 10**9


def test_a_plan_states_the_memory_of_the_opening() -> None:
    readout = Readout.fold(np.random.default_rng(4).normal(size=(2000, 300)))
    bare = plan(readout, tokens="0", certifiers=[])
    asked = plan(readout, tokens="0", certifiers=["linprog-post"])
    stage = products.memory(readout) + rounds.memory(readout) + shared_step.memory(readout)
    assert asked.memory >= bare.memory
    assert asked.memory >= readout.rows.nbytes + stage


@pytest.mark.parametrize("kind", ["hull", "ellipsoid"])
def test_a_plan_states_the_memory_of_the_vectors_of_its_domain(kind: str) -> None:
    readout = Readout.fold(np.random.default_rng(4).normal(size=(50, 3)))
    vectors = np.random.default_rng(5).normal(size=(400_000, 3))
    domain = geom.hull(vectors) if kind == "hull" else geom.ellipsoid(vectors[0], vectors)
    bare = plan(readout, tokens="0", domain="unbounded")
    asked = plan(readout, tokens="0", domain=domain)
    assert asked.memory >= bare.memory + vectors.nbytes
    given = {("executor", "local"): {"workers": 2}}
    crew = plan(readout, tokens="0", domain=domain, executor="local", given=given)
    assert crew.memory >= asked.memory + 2 * vectors.nbytes


def test_plugins_are_asked_for_their_memory_on_the_device() -> None:
    asked: list[str] = []

    def need(readout: Readout, options: object) -> int:
        asked.append(current_device().name)
        return 0

    thrifty = replace(detector(flags()), memory=need, devices=("cpu", "torch"))
    planned(Given((thrifty,)), detectors=["stub"])
    planned(Given((thrifty,)), detectors=["stub"], device="torch")
    assert asked == ["cpu", "torch"]


def test_processes_give_the_verdicts_of_one_process() -> None:
    rows = np.random.default_rng(3).normal(size=(40, 3))
    runs = [
        geom.run(Readout.fold(rows), tokens="all", executor=executor, options=options)
        for executor, options in (("serial", {}), ("local", {"executor.local.workers": 2}))
    ]
    here, there = ([(r.token_id, r.verdict, r.proof) for r in run.rows()] for run in runs)
    assert here == there
