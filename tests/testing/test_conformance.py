"""geom's own plugins pass the suites that strangers' plugins are tested with.

That a suite catches what it is there for is tried with plugins that each break one promise; that
the answers of the known problems are right, with Qhull and with a simplex method in Fractions.
"""

from __future__ import annotations

import _thread
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from gguf import GGUFWriter
from hypothesis import given
from hypothesis.strategies import data
from msgspec import Meta

from geom import (
    Candidate,
    Certifier,
    Detector,
    Enclosure,
    Executor,
    Finding,
    InputError,
    Measure,
    Measurement,
    ModelSource,
    NoOptions,
    Precision,
    PrecisionMargin,
    Problem,
    Readout,
    Reporter,
    Weights,
    WitnessedToken,
    hookimpl,
)
from geom.plugins.registry import HOOKS, installed
from geom.testing import Check, checks, conformance_test, known_problems, known_tokens
from geom.testing.asked import Asked
from geom.testing.soundness import SUITE, has_options_that_can_be_left_out
from geom.testing.strategies import points, problems
from geom.testing.suites import SUITES
from geom_plugins.sources import demo
from support import ctranslate2_files, games, onnx_files
from support.plugins import Use, installed_and
from support.truth import hull_tokens, largest_margin

EVERY = len(list(known_tokens()))
DECIDES = {"linprog-post": 0, "mpmath": 0, "replay": 0}
"""Certifiers that need not decide every known question."""

FLAGS = {"hull-vertex": 96, "random-directions": 134, "reflections": 96, "self-argmax": 113}
"""How many of the 135 unspeakable tokens of the known problems each detector flags; ``hull-vertex``
and ``reflections`` refuse the hull of points and the ellipsoid, which have 39 of them."""

SAMPLE = Path(tempfile.gettempdir()) / f"geom-sample-{os.getpid()}.npy"
"""A sample of vectors, for the measure that needs one; it is there while the tests run."""

OPTIONS = {"unused-cosine": {"unused": "1,2"}, "surprise": {"activations": str(SAMPLE)}}


@pytest.fixture(autouse=True, scope="module")
def sample() -> Iterator[None]:
    np.save(SAMPLE, np.random.default_rng(0).standard_normal((20, 2)))
    yield
    SAMPLE.unlink()


def own(*kinds: str) -> list[tuple[str, str]]:
    """The kind and name of geom's own plugins of some kinds."""
    return [
        (item.kind, item.record.name)
        for item in installed().listed()
        if item.origin.distribution == "geom-unembed" and item.kind in kinds
    ]


def test_there_is_a_suite_for_every_kind() -> None:
    assert SUITES.keys() == HOOKS.keys()


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(check, id=f"{name}-{check.name}")
        for kind, name in own(*(kind for kind in HOOKS if kind != "source"))
        for check in checks(
            kind,
            name,
            OPTIONS.get(name),
            decides=DECIDES.get(name, EVERY),
            flags=FLAGS.get(name, 1),
            limit=None,
        )
    ],
)
def test_a_plugin_of_geom_passes_the_suite_of_its_kind(check: Check) -> None:
    check()


def locations(folder: Path) -> dict[str, tuple[str, dict[str, str]]]:
    """Something that each source can read, and the options it takes for that."""
    W = np.random.default_rng(0).normal(size=(9, 32)).astype(np.float32)
    np.save(folder / "W.npy", W)
    writer = GGUFWriter(folder / "model.gguf", "llama")
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_tensor("output.weight", W)
    writer.add_tensor("output_norm.weight", W[0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (folder / "model.onnx").write_bytes(onnx_files.written(W, W[0]))
    head = {"decoder/projection/weight": W, "decoder/layer_norm/gamma": W[0]}
    converted = ctranslate2_files.save(folder / "ct2", head)
    weights = {"unembed": "transformer.wte.weight", "norm": "layernorm"}
    return {
        "ct2": (str(converted), {}),
        "demo": ("", {}),
        "gguf": (f"{folder}/model.gguf", {}),
        "hf": (str(demo.CHECKPOINT), {}),
        "npz": (f"{folder}/W.npy", {}),
        "onnx": (f"{folder}/model.onnx", {"unembed": "W"}),
        "safetensors": (f"{demo.CHECKPOINT}/model.safetensors", weights),
        "synthetic": ("gpt2-like", {"V": "40", "d": "8"}),
        "transformer-lens": (str(demo.CHECKPOINT), {}),
    }


@pytest.mark.parametrize("name", [name for _, name in own("source")])
def test_a_source_of_geom_passes_the_suite_of_its_kind(name: str, tmp_path: Path) -> None:
    location, options = locations(tmp_path)[name]
    for check in checks("source", name, options, location=location, limit=None):
        check()


test_the_one_line_that_authors_write = conformance_test("detector", "self-argmax")


def test_answers_without_a_bias_are_qhulls() -> None:
    for known in known_problems():
        W = known.readout.W
        if known.domain.shape == "all" and known.readout.d > 1 and not known.readout.has_bias:
            unlike = np.unique(W, axis=0, return_counts=True)
            single = {tuple(row) for row, count in zip(*unlike, strict=True) if count == 1}
            corners = {t for t in hull_tokens(W) if tuple(W[t]) in single}
            assert known.speakable == corners, known


def test_answers_with_a_bias_are_those_of_a_simplex_in_fractions() -> None:
    for known in known_problems():
        frame = known.domain.frame
        if frame is not None and known.domain.shape == "simplex":
            for token in range(known.readout.V):
                payoffs = games.payoffs(known.readout.W, known.readout.b, token, frame.axes)
                assert (games.value(payoffs) > 0) == (token in known.speakable), (known, token)
        elif known.readout.has_bias and known.domain.shape != "ball":
            radius = known.domain.radius if known.domain.bounded else None
            for token in range(known.readout.V):
                margin = largest_margin(known.readout.W, known.readout.b, token, radius)
                assert (margin > 0) == (token in known.speakable), (known, token)


def test_answers_on_balls_have_a_witness_or_are_seen_not_to() -> None:
    for known in known_problems():
        if known.domain.shape != "ball" or not known.readout.has_bias:
            continue
        draws = known.domain.sample(np.random.default_rng(0), 20_000)
        nearest = known.domain.radius * (1.0 - 1e-9) / np.linalg.norm(draws, axis=1)
        x, _ = known.domain.vectors(np.vstack([draws, draws * nearest[:, None]]))
        logits = known.readout.logits(x)
        assert set(logits.argmax(axis=1).tolist()) == known.speakable, known


# Plugins that break a promise each, and the check that says so.


def asked(kind: str, record: Any, **more: Any) -> Asked:
    return Asked(kind, record, record.options(), **more)


def said_by(check: str, ask: Asked) -> str:
    """The message of the check of that name for a plugin that breaks its promise."""
    (promise,) = [found for found in (*SUITE, *SUITES[ask.kind]) if found.__name__ == check]
    with pytest.raises(AssertionError) as failing:
        promise(ask)
    return str(failing.value)


def detector(detect: Callable[..., Any], **more: Any) -> Asked:
    return asked("detector", Detector("mine", "mine", detect, NoOptions, **more))


def seeded() -> Callable[..., Iterator[Candidate]]:
    draw = np.random.default_rng(0)
    return lambda readout, domain, options: iter([Candidate(int(draw.integers(readout.V)))])


@pytest.mark.parametrize(
    ("broken", "check", "said"),
    [
        (detector(lambda r, *_: [Candidate(r.V)]), "yields_valid_tokens", "names token"),
        (detector(lambda r, *_: [Candidate(-1)]), "yields_valid_tokens", "names token -1"),
        (detector(lambda r, *_: [Candidate(0, r.V)]), "yields_valid_tokens", "names token"),
        (detector(lambda r, *_: [Candidate(0)] * 2), "yields_valid_tokens", "twice"),
        (detector(lambda r, *_: [3]), "yields_valid_tokens", "yields 3"),
        (detector(lambda r, *_: [Candidate(np.int64(0))]), "yields_valid_tokens", "make it an int"),
        (
            detector(lambda r, *_: [WitnessedToken(0, np.full(r.d, np.nan))]),
            "yields_points_of_the_space",
            "not finite",
        ),
        (
            detector(lambda r, *_: [WitnessedToken(0, np.zeros(r.d))]),
            "yields_points_of_the_space",
            "a point of tangents on a segment: its shape",
        ),
        (detector(seeded()), "says_the_same_twice", "second time"),
        (detector(lambda *_: []), "flags_what_cannot_be_said", "flags 0 of the 135 unspeakable"),
        (
            detector(lambda r, *_: [WitnessedToken(0)]),
            "flags_what_cannot_be_said",
            "flags 0 of the 135 unspeakable",
        ),
        (
            detector(lambda *_: [], memory=lambda *_: 1.5),
            "knows_what_memory_it_takes",
            "not an int",
        ),
    ],
)
def test_a_detector_that_breaks_a_promise_is_caught(broken: Asked, check: str, said: str) -> None:
    assert said in said_by(check, broken)


def test_a_detector_of_something_else_may_flag_nothing() -> None:
    silent = replace(detector(lambda *_: []), flags=0)
    for check in SUITES["detector"]:
        check(silent)


def certifier(certify: Callable[..., Any], decides: int = 0, **more: Any) -> Asked:
    return asked(
        "certifier", Certifier("mine", "mine", certify, NoOptions, **more), decides=decides
    )


def outside(problem: Problem, *_: Any) -> Finding:
    return Finding(x=np.full(problem.readout.d, 1e3))


def on_itself(problem: Problem, token: int, *_: Any) -> Finding:
    return Finding(weights=Weights(np.array([token]), np.ones(1)))


def nothing(*_: Any) -> Finding:
    return Finding()


def backwards(problem: Problem, tokens: Any, *_: Any) -> list[Finding]:
    return [Finding()] * (len(tokens) - 1)


def vectors(problem: Problem, token: int, *_: Any) -> Finding:
    """Find what maxent finds, and take its coordinates for a vector."""
    maxent = installed().get("certifier", "maxent")
    found = maxent.certify(problem, token, Finding(), maxent.options())
    return Finding(None if found.x is None else problem.asked.domain.vector(found.x))


def overwrites(problem: Problem, token: int, prior: Finding, *_: Any) -> Finding:
    if prior.x is not None:
        prior.x[:] = 7.0
    return Finding()


@dataclass(frozen=True)
class Enough:
    """Whether something is enough."""

    enough: bool = False


def gives_up(problem: Problem, token: int, prior: Finding, options: Enough) -> Finding:
    """Find what maxent finds, and nothing if it is told what is enough."""
    maxent = installed().get("certifier", "maxent")
    largest = maxent.tighten(maxent.options(), 1e-3, None)
    return Finding() if options.enough else maxent.certify(problem, token, prior, largest)


early = asked(
    "certifier",
    Certifier(
        "mine",
        "mine",
        gives_up,
        Enough,
        tighten=lambda options, gap, enough: Enough(enough is not None),
    ),
)


@pytest.mark.parametrize(
    ("broken", "check", "said"),
    [
        (certifier(outside), "finds_what_can_be_checked", "not in the domain"),
        (
            certifier(vectors, mixtures=True),
            "finds_what_can_be_checked",
            "of tangents on a segment is not in the domain",
        ),
        (certifier(on_itself), "finds_what_can_be_checked", "are not valid"),
        (certifier(lambda *_: None), "finds_what_can_be_checked", "not a Finding"),
        (certifier(nothing, decides=1), "survives_exact_arithmetic", "decides 0"),
        (certifier(overwrites), "goes_on_from_what_others_found", "changes the point"),
        (
            certifier(nothing, certify_many=backwards, batch=4),
            "answers_for_each_of_many",
            "3 findings for 4",
        ),
        (certifier(nothing, tighten=lambda *_: 3), "goes_on_to_the_largest_margin", "returns 3"),
        (
            certifier(nothing, tighten=lambda options, *_: options),
            "goes_on_to_the_largest_margin",
            "brings no bounds of a known question together",
        ),
        (early, "goes_on_to_the_largest_margin", "is enough it stops at 0.0"),
    ],
)
def test_a_certifier_that_breaks_a_promise_is_caught(broken: Asked, check: str, said: str) -> None:
    assert said in said_by(check, broken)


def precision(margin: Callable[..., Any], roundoff: float = 1.0, **more: Any) -> Asked:
    record = Precision("mine", "mine", margin, NoOptions, roundoff=lambda _: roundoff, **more)
    return asked("precision", record)


def too_sure(readout: Readout, token: int, x: Any, *_: Any) -> PrecisionMargin:
    logits = readout.logits(x)
    rival = np.delete(logits, token).max()
    return PrecisionMargin(float(logits[token] - rival) + 2.0**-40, 0, error=2.0**-41)


def no_products(rows: Any, x: Any, *_: Any) -> list[Enclosure]:
    return [Enclosure(Fraction(-1, 8), Fraction(1, 8))] * len(rows)


@pytest.mark.parametrize(
    ("broken", "check", "said"),
    [
        (precision(lambda r, *_: PrecisionMargin(0.0, r.V)), "names_a_winner", "its winner"),
        (precision(too_sure), "encloses_the_exact_margin", "claims an error"),
        (precision(too_sure, 0.0), "is_exact_where_it_says_so", "the margin of token"),
        (precision(too_sure, products=no_products), "encloses_products", "does not hold"),
    ],
)
def test_a_precision_that_breaks_a_promise_is_caught(broken: Asked, check: str, said: str) -> None:
    assert said in said_by(check, broken)


as_vector = asked(
    "measure",
    Measure(
        "mine",
        "mine",
        lambda problem, *_: Measurement(1.0, x=np.zeros(problem.readout.d)),
        NoOptions,
        unit="logits",
    ),
)
"""A measure that shows vectors where the points of a domain are coordinates."""


def measure(found: Any, unit: str = "logits", bounds: Any = None) -> Asked:
    values = iter(range(10**6))
    made = found if callable(found) else lambda *_: found
    return asked(
        "measure",
        Measure("mine", "mine", lambda *_: made(next(values)), NoOptions, unit=unit, bounds=bounds),
    )


def together(many: Callable[..., Any], batch: int = 4) -> Asked:
    record = Measure(
        "mine",
        "mine",
        lambda *_: Measurement(1.0),
        NoOptions,
        unit="logits",
        bounds=lambda problem, token, *_: (token, token),
        measure_many=many,
        batch=batch,
    )
    return asked("measure", record)


def refuses(_: int) -> Measurement:
    raise InputError("not here")


@pytest.mark.parametrize(
    ("broken", "check", "said"),
    [
        (measure(Measurement(1.0), unit=""), "gives_numbers_that_can_be_read", "no unit"),
        (measure(lambda _: Measurement(np.nan)), "gives_numbers_that_can_be_read", "no note"),
        (measure(lambda _: Measurement(1, -1.0)), "gives_numbers_that_can_be_read", "its error"),
        (
            measure(lambda _: Measurement(1.0, proven=True)),
            "knows_an_error_that_it_proves",
            "no radius",
        ),
        (
            measure(lambda _: Measurement(1.0, 0.5, proven=True)),
            "knows_an_error_that_it_proves",
            "no bounds to prove it again by",
        ),
        (
            measure(lambda _: Measurement(1.0, 0.5, proven=True), bounds=lambda *_: (0.5, 1.75)),
            "knows_an_error_that_it_proves",
            "its evidence proves 0.5 to 1.75",
        ),
        (measure(lambda n: Measurement(float(n))), "says_the_same_twice", "the second time"),
        (measure(lambda _: Measurement(1.0, x=np.ones(99))), "shows_points_of_the_space", "shape"),
        (as_vector, "shows_points_of_the_space", "of tangents on a segment: the shape"),
        (measure(refuses), "serves_some_problem", "refuses every"),
        (together(lambda *_: [], 0), "answers_for_each_of_many", "takes 0 tokens"),
        (together(lambda *_: []), "answers_for_each_of_many", "0 numbers for 4 tokens"),
        (
            together(lambda _, tokens, *__: [1.0] * len(tokens)),
            "answers_for_each_of_many",
            "not a Measurement",
        ),
        (
            together(
                lambda _, tokens, *__: [
                    Measurement(float(token), 0.0, proven=True) for token in reversed(tokens)
                ]
            ),
            "answers_for_each_of_many",
            "out of order",
        ),
    ],
)
def test_a_measure_that_breaks_a_promise_is_caught(broken: Asked, check: str, said: str) -> None:
    assert said in said_by(check, broken)


def source(load: Callable[..., Any]) -> Asked:
    return asked("source", ModelSource("mine", "mine", load, NoOptions), location="here")


def drawn() -> Callable[..., Readout]:
    draw = np.random.default_rng(0)
    return lambda *_: Readout.fold(draw.normal(size=(3, 2)))


@pytest.mark.parametrize(
    ("broken", "check", "said"),
    [
        (source(lambda *_: None), "loads_a_readout", "not a Readout"),
        (source(drawn()), "loads_the_same_twice", "other numbers"),
        (source(drawn()), "refuses_what_is_not_there", "which is not there"),
        (source(refuses), "refuses_what_is_not_there", "no/such"),
    ],
)
def test_a_source_that_breaks_a_promise_is_caught(broken: Asked, check: str, said: str) -> None:
    if said == "no/such":
        broken = source(lambda where, _: drawn()() if where == "here" else refuses(0))
    assert said in said_by(check, broken)


def reporter(write: Callable[..., Any]) -> Asked:
    return asked("reporter", Reporter("mine", "mine", write, NoOptions, suffix=".txt"))


def test_a_reporter_that_breaks_a_promise_is_caught() -> None:
    silent = reporter(lambda run, file, options: None)
    assert "writes nothing" in said_by("writes_a_run", silent)


def executor(mapped: Callable[..., Any], workers: int = 1) -> Asked:
    return asked("executor", Executor("mine", "mine", mapped, NoOptions, workers=lambda _: workers))


@pytest.mark.parametrize(
    ("broken", "check", "said"),
    [
        (executor(lambda f, items, _: map(f, items[1:])), "does_every_item_once", "brings back"),
        (executor(lambda f, items, _: [[1]]), "does_nothing_for_nothing", "makes something up"),
        (executor(lambda f, items, _: []), "passes_on_what_is_raised", "swallows"),
        (executor(lambda f, items, _: []), "takes_no_exit_for_an_end", "for the end of the work"),
        (executor(lambda f, items, _: map(f, items), 0), "says_how_much_it_does_at_once", "0"),
    ],
)
def test_an_executor_that_breaks_a_promise_is_caught(broken: Asked, check: str, said: str) -> None:
    assert said in said_by(check, broken)


def test_an_executor_that_keeps_values_back_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geom.testing.executors.PATIENCE", 0.1)
    bursts = executor(lambda f, items, _: [list(f(item)) for item in items])
    assert "until it is done" in said_by("brings_each_value_as_it_is_made", bursts)


@dataclass
class Thawed:
    """Options that can be changed, with a default outside of its bounds."""

    n: Annotated[int, Meta(ge=1)] = 0
    made: Any = field(default_factory=list)


@pytest.mark.parametrize(
    ("change", "check", "said"),
    [
        ({"name": "My Detector"}, "is_named_as_it_is_typed", "my-detector"),
        ({"summary": " "}, "is_named_as_it_is_typed", "what it does"),
        ({"summary": "one\ntwo"}, "is_named_as_it_is_typed", "more than one line"),
        ({"options": Thawed}, "has_options_that_can_be_left_out", "not frozen"),
    ],
)
def test_a_record_that_is_not_sound_is_caught(
    change: dict[str, Any], check: str, said: str
) -> None:
    record = replace(Detector("mine", "mine", lambda *_: [], NoOptions), **change)
    assert said in said_by(check, asked("detector", record))


def test_a_default_outside_its_own_bounds_is_caught() -> None:
    @dataclass(frozen=True)
    class Options:
        n: Annotated[int, Meta(ge=1)] = 0

    record = Detector("mine", "mine", lambda *_: [], Options)
    with pytest.raises(InputError, match=r"option detector\.mine\.n=0"):
        has_options_that_can_be_left_out(asked("detector", record))


def test_what_is_not_installed_has_no_suite() -> None:
    with pytest.raises(InputError, match="did you mean 'self-argmax'"):
        checks("detector", "self-argmx")
    with pytest.raises(InputError, match="unknown kind of plugin 'detektor'"):
        checks("detektor", "self-argmax")
    with pytest.raises(InputError, match="give the location"):
        checks("source", "npz")


@given(data())
def test_strategies_draw_points_of_the_domain(draw: Any) -> None:
    problem = draw.draw(problems())
    x = draw.draw(points(problem))
    assert problem.domain.contains(x)
    assert (np.rint(problem.readout.W * 4) == problem.readout.W * 4).all()


def endless(*_: Any) -> Iterator[Candidate]:
    while True:
        time.sleep(0.001)  # the line it is at
    yield Candidate(0)


def test_a_plugin_that_never_ends_fails_the_check_that_asks_it_and_all_after_it(use: Use) -> None:
    class Plugin:
        @hookimpl
        def geom_detectors(self) -> Iterator[Detector[Any]]:
            yield Detector("mine", "it never ends", endless, NoOptions)

    use(installed_and(Plugin()))
    lines = Path(__file__).read_text().splitlines()
    (line,) = [i for i, text in enumerate(lines, 1) if text.endswith("# the line it is at")]
    passed, failed = [], []
    for check in checks("detector", "mine", limit=0.5):
        try:
            check()
            passed.append(check.name)
        except AssertionError as error:
            failed.append((check.name, str(error)))
    assert passed
    (first, said), *others = failed
    late = f"detector mine: {first} has not ended after 0.5 seconds: it is in endless "
    late += f"(test_conformance.py:{line})"
    assert said == f"{late}; limit=SECONDS gives it longer"
    assert {"yields_points_of_the_space", "says_the_same_twice"} < {name for name, _ in others}
    for name, said in others:
        assert said == f"detector mine: {name} was not tried, as {late}"
    left = [thread for thread in threading.enumerate() if "detector mine" in thread.name]
    for thread in left:
        thread.join(60)
    assert not any(thread.is_alive() for thread in left)


def test_ctrl_c_in_a_check_names_the_plugin_and_where_it_is(use: Use) -> None:
    def stopped(*_: Any) -> Iterator[Candidate]:
        _thread.interrupt_main()
        yield from endless()

    class Plugin:
        @hookimpl
        def geom_detectors(self) -> Iterator[Detector[Any]]:
            yield Detector("mine", "it never ends", stopped, NoOptions)

    use(installed_and(Plugin()))
    (check,) = [c for c in checks("detector", "mine") if c.name == "yields_valid_tokens"]
    said = r"^detector mine: yields_valid_tokens was interrupted: it is in \w+ \(test_conform"
    with pytest.raises(KeyboardInterrupt, match=said):
        check()
