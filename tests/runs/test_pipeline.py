"""Whole runs, with detectors, certifiers and executors of the tests' own.

The rows are a square with its centre: the corners can be said, the centre, a mean of opposite
corners, cannot. Where HiGHS decides, `geom.verify` and this square say what it must find.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import geom
from geom import (
    Candidate,
    Certifier,
    Detector,
    Domain,
    Executor,
    Finding,
    InputError,
    NoOptions,
    PluginError,
    Problem,
    Readout,
    Run,
    StoreError,
    TokenRow,
    Witness,
    WitnessedToken,
    hookimpl,
)
from geom.machine import memory
from geom.model import domains
from geom.plugins.registry import using
from geom.runs.pipeline import execute
from geom.runs.planning import ARRAYS, EXAMINED, Plan, plan
from support.plugins import installed_and

CENTRE = 4
SQUARE = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0], [0.0, 0.0]])
READOUT = Readout.fold(SQUARE)

Detect = Callable[[Readout, Domain, Any], Iterable[Any]]


@dataclass(frozen=True)
class Given:
    """A plugin whose hooks yield what it was given."""

    detectors: tuple[Detector[Any], ...] = ()
    certifiers: tuple[Certifier[Any], ...] = ()
    executors: tuple[Executor[Any], ...] = ()

    @hookimpl
    def geom_detectors(self) -> Iterable[Detector[Any]]:
        return self.detectors

    @hookimpl
    def geom_certifiers(self) -> Iterable[Certifier[Any]]:
        return self.certifiers

    @hookimpl
    def geom_executors(self) -> Iterable[Executor[Any]]:
        return self.executors


def planned(plugin: Given, **asked: Any) -> Plan:
    """A plan for the square, with the plugin beside the installed ones."""
    with using(installed_and(plugin)):
        return plan(READOUT, **asked)


def detector(detect: Detect, name: str = "stub") -> Detector[NoOptions]:
    return Detector(name, "", detect, NoOptions)


def flags(*candidates: Any) -> Detect:
    return lambda readout, domain, options: candidates


def detected(*detectors: Detector[Any], **asked: Any) -> Run:
    """A run of these detectors and no certifier."""
    names = [record.name for record in detectors]
    return execute(planned(Given(detectors), detectors=names, certifiers=[], **asked))


def ids(rows: Iterable[TokenRow]) -> list[int]:
    return [row.token_id for row in rows]


def boom(readout: Readout, domain: Domain, options: Any) -> Iterator[Candidate]:
    yield Candidate(0)
    raise ValueError("boom\nand more")


# Which tokens


def test_by_default_a_run_decides_the_tokens_that_do_not_win_their_own_direction() -> None:
    with geom.run(READOUT) as run:
        (row,) = run.rows()
        assert (row.token_id, row.verdict, row.flagged_by) == (
            CENTRE,
            "unspeakable",
            ("self-argmax",),
        )
        assert (row.self_argmax, row.argmax_id) == (False, 0)
        assert (run.path, run.warnings, run.settings["tokens"]) == (None, [], "candidates")


@pytest.mark.parametrize(
    ("spec", "examined"),
    [
        ("all", [0, 1, 2, 3, 4]),
        ("3,0-1,1", [0, 1, 3]),
        ([4, 0, 4], [0, 4]),
        (range(2), [0, 1]),
        (np.array([2, 1]), [1, 2]),
    ],
)
def test_tokens_can_be_named_without_a_detector(spec: Any, examined: list[int]) -> None:
    with geom.run(READOUT, tokens=spec, certifiers=[]) as run:
        rows = list(run.rows())
        assert ids(rows) == examined
        assert {row.flagged_by for row in rows} == {()}
        assert run.settings["detectors"] == {}


def test_tokens_can_be_listed_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "tokens.txt").write_text("4\n0\n")
    with geom.run(READOUT, tokens=f"@{tmp_path}/tokens.txt", certifiers=[]) as run:
        assert ids(run.rows()) == [0, CENTRE]
        assert run.settings["tokens"] == "0,4"


def test_a_detector_beside_a_list_of_tokens_says_what_it_flags() -> None:
    with geom.run(READOUT, tokens="3-4", detectors=["self-argmax"], certifiers=[]) as run:
        assert [row.flagged_by for row in run.rows()] == [(), ("self-argmax",)]


@pytest.mark.parametrize("spec", ["5", "-1", "2-1", "a", "", [], [5], [-1], "@/nowhere"])
def test_tokens_outside_the_vocabulary_are_refused(spec: Any) -> None:
    with pytest.raises(InputError):
        geom.run(READOUT, tokens=spec, certifiers=[])


def test_candidates_need_a_detector() -> None:
    with pytest.raises(InputError, match="name one, or the tokens to examine"):
        geom.run(READOUT, detectors=[])


def test_texts_of_tokens_are_stored() -> None:
    readout = Readout.fold(SQUARE, tokens=["a", "b", None, "d", "e"])
    with geom.run(readout, tokens="all", certifiers=[]) as run:
        assert [row.token for row in run.rows()] == ["a", "b", None, "d", "e"]
        assert run.row(CENTRE).argmax == "a"


# Detectors


def test_every_detector_that_flags_a_token_is_named_in_order() -> None:
    first, second = detector(flags(Candidate(1)), "first"), detector(flags(Candidate(1)), "second")
    with detected(second, first) as run:
        assert run.row(1).flagged_by == ("second", "first")


def test_what_a_detector_saw_of_the_winner_is_kept() -> None:
    with detected(detector(flags(Candidate(1, 3), Candidate(2)))) as run:
        assert [(row.argmax_id, row.self_argmax) for row in run.rows()] == [(3, False), (2, True)]


def test_a_detector_may_count_in_numpy() -> None:
    candidates = [Candidate(np.int64(2), np.int32(3)), Candidate(np.uint8(1))]
    with detected(detector(flags(*candidates))) as run:
        assert [(row.token_id, row.argmax_id) for row in run.rows()] == [(1, 1), (2, 3)]


def test_a_detector_that_raises_is_a_warning_and_the_others_count() -> None:
    with detected(detector(boom, "bad"), detector(flags(Candidate(3)), "good")) as run:
        assert ids(run.rows()) == [3]
        assert run.warnings == ["detector bad raised ValueError: boom and more"]


@pytest.mark.parametrize(
    "candidates",
    [
        [Candidate(5)],
        [Candidate(-1)],
        [Candidate(2**70)],
        [Candidate(0, 5)],
        [Candidate(0, -1)],
        [Candidate(1), Candidate(0), Candidate(1)],
        [Candidate(0.5)],
        [Candidate("0")],
        [Candidate(None)],
        [0],
        [None],
        None,
    ],
)
def test_a_detector_that_flags_nonsense_is_one_that_raises(candidates: Any) -> None:
    bad = detector(lambda readout, domain, options: candidates, "bad")
    with detected(bad, detector(flags(Candidate(3)), "good")) as run:
        assert [(row.token_id, row.flagged_by) for row in run.rows()] == [(3, ("good",))]
        (warning,) = run.warnings
        assert warning.startswith("detector bad raised ")


def test_where_no_detector_works_there_is_no_run_of_candidates() -> None:
    bad = [detector(boom, "bad"), detector(flags(Candidate(9)), "worse")]
    with pytest.raises(PluginError, match=r"detector bad .*; detector worse "):
        detected(*bad)
    with detected(*bad, tokens="0") as run:
        assert (ids(run.rows()), len(run.warnings)) == ([0], 2)


@pytest.mark.parametrize("failure", [InputError, KeyboardInterrupt, ValueError])
def test_a_run_that_ends_before_its_tokens_are_known_leaves_no_file(
    failure: type[BaseException], tmp_path: Path
) -> None:
    def fails(readout: Readout, domain: Domain, options: Any) -> list[Candidate]:
        raise failure("for the test")

    asked = planned(Given((detector(fails),)), detectors=["stub"])
    with pytest.raises((InputError, KeyboardInterrupt, PluginError), match="for the test"):
        execute(asked, tmp_path / "run.db")
    assert list(tmp_path.iterdir()) == []


def test_a_detector_that_flags_nothing_is_no_failure() -> None:
    with detected(detector(flags())) as run:
        assert (list(run.rows()), run.warnings, run.planned) == ([], [], True)


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


# The chain


def test_the_chain_decides_the_square() -> None:
    with geom.run(READOUT, tokens="all", certifiers=["highs", "mpmath"]) as run:
        verdicts = [row.verdict for row in run.rows()]
        assert verdicts == ["speakable"] * 4 + ["unspeakable"]
        assert list(run.settings["certifiers"]) == ["highs", "mpmath"]
        assert {row.certifier for row in run.rows()} == {"highs"}
        assert geom.verify(run, READOUT).confirmed == {"speakable": 4, "unspeakable": 1}


def test_a_synthetic_model_is_decided_and_verifies() -> None:
    with geom.run("synthetic:gpt2-like?V=200&d=8") as run:
        assert run.counts()["undecided"] == run.counts()["pending"] == 0
        assert run.counts()["speakable"] + run.counts()["unspeakable"] > 0
        assert geom.verify(run).ok


def test_without_certifiers_a_run_only_detects() -> None:
    with geom.run(READOUT, certifiers=[]) as run:
        assert [(row.token_id, row.verdict) for row in run.rows()] == [(CENTRE, "undecided")]


def test_a_twin_is_named_in_the_note() -> None:
    with geom.run(Readout.fold(SQUARE[[0, 1, 2, 3, 0]]), tokens="all") as run:
        assert [row.verdict for row in run.rows("unspeakable")] == ["unspeakable"] * 2
        assert "same row and bias as token 4" in run.row(0).note
        assert "same row and bias as token 0" in run.row(4).note
        assert run.row(1).note is None


def certifier(name: str = "stub", **fields: Any) -> Certifier[NoOptions]:
    def certify(problem: Problem, token: int, prior: Finding, options: NoOptions) -> Finding:
        return Finding(x=SQUARE[token])

    return Certifier(name, "", certify, NoOptions, **fields)


def test_work_is_handed_out_in_batches_of_the_largest_that_a_certifier_takes() -> None:
    sizes = []

    def certify_many(problem: Problem, tokens: Any, priors: Any, options: Any) -> list[Finding]:
        sizes.append(len(tokens))
        return [Finding() for _ in tokens]

    stub = certifier(certify_many=certify_many, batch=2)
    plugin = Given(certifiers=(stub, certifier("single")))
    asked = planned(plugin, certifiers=["single", "stub"], tokens="all")
    with execute(asked):
        assert sizes == [1]  # only the centre is left for it, in a batch of its own
    with execute(replace(asked, chain=asked.chain[1:])):
        assert sizes == [1, 2, 2, 1]


def executed(run_map: Callable[..., Any], out: Path | None = None) -> Run:
    plugin = Given(executors=(Executor("stub", "", run_map, NoOptions),), certifiers=(certifier(),))
    asked = planned(plugin, tokens="all", certifiers=["stub"], executor="stub")
    return execute(asked, out)


def test_results_may_come_in_any_order() -> None:
    def backwards(function: Any, items: Any, options: Any) -> Iterator[Any]:
        return iter([function(item) for item in items][::-1])

    with executed(backwards) as run:
        assert [(row.token_id, row.verdict) for row in run.rows()] == [
            *((corner, "speakable") for corner in range(4)),
            (CENTRE, "undecided"),
        ]


def test_an_executor_that_breaks_down_leaves_what_came_before_and_the_run_goes_on(
    tmp_path: Path,
) -> None:
    def breaks(function: Any, items: Any, options: Any) -> Iterator[Any]:
        yield function(items[3])
        raise OSError("the cluster is gone")

    with pytest.raises(PluginError, match="OSError: the cluster is gone; what is stored is kept"):
        executed(breaks, tmp_path / "run.db")
    with geom.open_run(tmp_path / "run.db") as run:
        assert (ids(run.rows()), run.pending()) == ([3], [0, 1, 2, CENTRE])
    with executed(
        lambda function, items, options: map(function, items), tmp_path / "run.db"
    ) as run:
        assert ids(run.rows()) == [0, 1, 2, 3, CENTRE]


def test_an_interrupt_leaves_what_came_before_and_the_run_goes_on(tmp_path: Path) -> None:
    def interrupted(function: Any, items: Any, options: Any) -> Iterator[Any]:
        yield function(items[0])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        executed(interrupted, tmp_path / "run.db")
    with geom.open_run(tmp_path / "run.db") as run:
        assert run.counts()["pending"] == 4


# The store, the versions, the progress


def contents(run: Run) -> list[dict[str, Any]]:
    return [row.as_dict() | {"seconds": None} for row in run.rows()]


def test_a_run_in_memory_is_the_run_on_disk(tmp_path: Path) -> None:
    readout = geom.load("synthetic:gpt2-like?V=60&d=4")
    with geom.run(readout) as memory, geom.run(readout, out=tmp_path / "run.db") as disk:
        assert contents(memory) == contents(disk) != []
        assert memory.settings == disk.settings
        assert (memory.model, disk.path) == (readout.source, tmp_path / "run.db")


def test_the_same_call_again_answers_from_the_file(tmp_path: Path) -> None:
    stages = []
    for _ in range(2):
        stages.clear()
        with geom.run(
            READOUT,
            tokens="all",
            out=str(tmp_path / "run.db"),
            progress=lambda stage, done, total, unit: stages.append((stage, total)),
        ) as run:
            assert len(list(run.rows())) == 5
    assert set(stages) == {("certify", 0)}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"tokens": "1"}, "tokens"),
        ({"domain": "box"}, "domain"),
        ({"certifiers": ["highs"]}, "certifiers"),
        ({"readout": Readout.fold(2.0 * SQUARE)}, "digest"),
        ({"readout": Readout.fold(SQUARE, norm="rmsnorm")}, "domain"),
        ({"detectors": ["self-argmax"]}, "detectors"),
    ],
)
def test_other_settings_to_the_same_file_are_refused_by_name(
    change: dict[str, Any], named: str, tmp_path: Path
) -> None:
    asked = {"readout": READOUT, "tokens": "0", "certifiers": [], "out": tmp_path / "run.db"}
    geom.run(**asked).close()
    with pytest.raises(StoreError, match=rf"\({named} differ: "):
        geom.run(**(asked | change))


def test_one_list_of_tokens_however_written_is_one_run(tmp_path: Path) -> None:
    for spec in ("0-2", [2, 1, 0], "2,1,0-1"):
        geom.run(READOUT, tokens=spec, certifiers=[], out=tmp_path / "run.db").close()


def test_versions_of_what_computed_are_stored() -> None:
    plugin = Given(certifiers=(certifier(),))
    with execute(planned(plugin, tokens="0", certifiers=["stub"])) as run:
        assert run.versions["the-tests"] == "3.2"
        assert run.versions["numpy"] == np.__version__
        assert {"python", "geom-unembed", "highspy", "python-flint"} <= run.versions.keys()


def test_every_stage_reports_from_nothing_to_its_total() -> None:
    seen: dict[str, list[tuple[float, float]]] = {}
    with geom.run(
        READOUT,
        tokens="all",
        detectors=["self-argmax", "random-directions"],
        progress=lambda stage, done, total, unit: seen.setdefault(stage, []).append((done, total)),
    ):
        pass
    assert seen.keys() == {"self-argmax", "random-directions", "certify"}
    for steps in seen.values():
        assert steps[0][0] == 0
        assert steps[-1][0] == steps[-1][1]
    assert seen["certify"][-1] == (5, 5)


# Memory and processes


def test_a_run_that_memory_cannot_hold_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(memory, "available", lambda: 1000)
    with pytest.raises(InputError, match=r"takes .* of memory and 900 bytes can be had") as refused:
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
    with pytest.raises(InputError, match=r"W of 1000000000 x 4096 as float64 takes 29\.8 TiB"):
        Readout.fold(Tall())


def test_a_plan_states_the_memory_of_its_workers() -> None:
    alone = plan(READOUT, certifiers=["highs"])
    crew = plan(
        READOUT,
        certifiers=["highs"],
        executor="local",
        given={("executor", "local"): {"workers": 8}},
    )
    assert alone.memory > READOUT.W.nbytes
    assert crew.memory >= alone.memory + 8 * 2**20


def test_a_plan_states_the_memory_of_its_largest_stage() -> None:
    hungry = replace(detector(flags()), memory=lambda readout, options: 10**9)
    asked = planned(Given((hungry,)), detectors=["stub"])
    each = READOUT.V * (ARRAYS + EXAMINED)
    assert asked.memory == READOUT.W.nbytes + READOUT.b.nbytes + each + 10**9


def test_processes_give_the_verdicts_of_one_process() -> None:
    rows = np.random.default_rng(3).normal(size=(40, 3))
    runs = [
        geom.run(Readout.fold(rows), tokens="all", executor=executor, options=options)
        for executor, options in (("serial", {}), ("local", {"executor.local.workers": 2}))
    ]
    here, there = ([(r.token_id, r.verdict, r.proof) for r in run.rows()] for run in runs)
    assert here == there


# Witnesses that detectors bring


EAST = np.array([1.0, 0.0])


def bringing(*items: Candidate | WitnessedToken, tokens: str = "candidates", **asked: Any) -> Run:
    plugin = Given((detector(lambda *_: iter(items)),))
    where = domains.rmsnorm(2)
    return execute(planned(plugin, detectors=["stub"], domain=where, tokens=tokens, **asked))


def test_a_witness_that_holds_is_stored_under_the_detectors_name() -> None:
    run = bringing(WitnessedToken(0, EAST), Candidate(CENTRE))
    assert [(r.token_id, r.verdict, r.flagged_by, r.certifier) for r in run.rows()] == [
        (0, "speakable", (), "stub"),
        (CENTRE, "unspeakable", ("stub",), "maxent"),
    ]
    found = run.certificate(0)
    assert isinstance(found, Witness)
    assert found.x.tolist() == [1.0, 0.0]
    assert geom.verify(run, READOUT).ok


def test_a_witness_that_is_the_own_direction_is_not_stored() -> None:
    run = bringing(WitnessedToken(1))
    assert run.recipes() == {1}
    assert run.row(1).certifier == "own-direction"
    assert run.row(1).margin_lower == pytest.approx(2**0.5, rel=1e-4)


@pytest.mark.parametrize(
    "item",
    [
        WitnessedToken(CENTRE, EAST),
        WitnessedToken(CENTRE),
        WitnessedToken(0, -EAST),
        WitnessedToken(0, 2.0 * EAST),
        WitnessedToken(0, np.full(2, np.nan)),
        WitnessedToken(0, np.ones(3)),
        WitnessedToken(0, "east"),  # type: ignore[arg-type]
    ],
)
def test_a_witness_that_does_not_hold_flags_its_token(item: WitnessedToken) -> None:
    run = bringing(item)
    (row,) = run.rows()
    assert (row.token_id, row.flagged_by, row.certifier) == (item.token, ("stub",), "maxent")
    assert row.verdict == ("unspeakable" if item.token == CENTRE else "speakable")


def test_a_witness_that_float32_cannot_settle_is_settled() -> None:
    near = np.array([2**-40, -(2.0**-41)])
    run = bringing(WitnessedToken(0, near))
    assert (run.row(0).verdict, run.row(0).certifier) == ("speakable", "stub")


def test_witnesses_of_tokens_that_were_not_asked_for_are_left_out() -> None:
    run = bringing(WitnessedToken(0, EAST), WitnessedToken(1), tokens=f"1,{CENTRE}")
    assert [row.token_id for row in run.rows()] == [1, CENTRE]


@pytest.mark.parametrize(
    "items", [[WitnessedToken(5, EAST)], [WitnessedToken(-1)], [WitnessedToken(0), Candidate(0)]]
)
def test_a_detector_that_names_no_token_or_one_twice_is_broken(items: list[Any]) -> None:
    with pytest.raises(PluginError, match="no detector worked"):
        bringing(*items)
