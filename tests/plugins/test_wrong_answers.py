"""Plugins that answer with something else than was asked for: what they are told, and where."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import geom
from geom import (
    Candidate,
    Certifier,
    Detector,
    Executor,
    Finding,
    Measure,
    Measurement,
    ModelSource,
    NoOptions,
    PluginError,
    Precision,
    Readout,
    Weights,
    WitnessedToken,
    hookimpl,
)
from support.plugins import Use, installed_and

READOUT = Readout.fold([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [0.25, 0.5]])


def answering(value: Any) -> Callable[..., Any]:
    def answer(*_: Any) -> Any:  # its line
        return value

    return answer


def yielding(*values: Any) -> Callable[..., Any]:
    def items(*_: Any) -> Iterator[Any]:  # their line
        yield from values

    return items


def place(mark: str) -> str:
    """Return the file and line of this module that ends in a mark."""
    lines = Path(__file__).read_text().splitlines()
    (found,) = [i for i, line in enumerate(lines, 1) if line.endswith(f"# {mark}")]
    return f"({Path(__file__).name}:{found})"


def using(use: Use, hook: str, *records: Any) -> None:
    class Plugin:
        pass

    def yields(_: Any) -> Iterator[Any]:
        yield from records

    setattr(Plugin, hook, hookimpl(yields))
    use(installed_and(Plugin()))


DETECTORS = {
    "an int": (yielding(5), "TypeError: it yielded int, not a Candidate"),
    "None": (yielding(None), "TypeError: it yielded None, not a Candidate"),
    "a list of ids": (answering([1, 2]), "TypeError: it yielded int, not a Candidate"),
    "nothing at all": (
        answering(None),
        "TypeError: it returned None, not Candidates: yield them, or return a list",
    ),
    "an id too high": (
        yielding(Candidate(5)),
        "ValueError: it yielded Candidate(token=5): 5 is outside the vocabulary: 0 to 4",
    ),
    "a winner below 0": (
        yielding(Candidate(0, argmax_id=-1)),
        "ValueError: it yielded Candidate(token=0, argmax_id=-1): -1 is outside the vocabulary: "
        "0 to 4",
    ),
    "an id twice": (
        yielding(Candidate(1), WitnessedToken(1)),
        "ValueError: it yielded WitnessedToken(token=1), and token 1 before: each token once",
    ),
    "an id that is no number": (
        yielding(Candidate("1")),  # type: ignore[arg-type]
        "TypeError: 'str' object cannot be interpreted as an integer",
    ),
}


@pytest.mark.parametrize(("detect", "said"), DETECTORS.values(), ids=DETECTORS)
def test_a_detector_is_told_what_was_wrong_and_where(
    detect: Callable[..., Any], said: str, use: Use
) -> None:
    using(use, "geom_detectors", Detector("mine", "", detect, NoOptions))
    where = place("its line" if detect.__name__ == "answer" else "their line")
    with geom.run(READOUT, detectors=["mine", "self-argmax"]) as run:
        assert run.warnings == [f"detector mine raised {said} {where}"]


FINDINGS = {
    "a bool": (True, "TypeError: it returned bool, not a Finding"),
    "None": (None, "TypeError: it returned None, not a Finding"),
    "a point of one number too many": (
        Finding(x=[1, 2, 3]),  # type: ignore[arg-type]
        "ValueError: its x has shape (3,), not (2,)",
    ),
    "a matrix": (Finding(x=np.eye(2)), "ValueError: its x has shape (2, 2), not (2,)"),
    "weights one short": (
        Finding(weights=Weights(np.arange(2), np.ones(1))),
        "ValueError: its weights have indices of shape (2,) and values of shape (1,), not one "
        "value per index",
    ),
}


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize(("answer", "said"), FINDINGS.values(), ids=FINDINGS)
def test_a_certifier_is_told_what_was_wrong_and_where(
    answer: Any, said: str, many: bool, use: Use
) -> None:
    asked: Any = {"certify_many": yielding(answer), "batch": 1} if many else {}
    using(use, "geom_certifiers", Certifier("mine", "", answering(answer), NoOptions, **asked))
    where = place("their line" if many else "its line")
    with geom.run(READOUT, tokens="0", certifiers=["mine"], opening=False, hardest=0) as run:
        row = run.row(0)
    assert (row.verdict, row.note) == ("undecided", f"mine raised {said} {where}")


def test_a_list_of_the_right_length_is_a_point(use: Use) -> None:
    using(
        use,
        "geom_certifiers",
        Certifier("mine", "", answering(Finding(x=[1, 1])), NoOptions),  # type: ignore[arg-type]
    )
    with geom.run(READOUT, tokens="0", certifiers=["mine"], opening=False, hardest=0) as run:
        assert run.row(0).verdict == "speakable"


@pytest.mark.parametrize("many", [False, True])
def test_a_measure_is_told_what_was_wrong_and_where(many: bool, use: Use) -> None:
    asked: Any = {"measure_many": yielding(1.5), "batch": 1} if many else {}
    using(
        use, "geom_measures", Measure("mine", "", answering(1.5), NoOptions, unit="logits", **asked)
    )
    (row,) = geom.measure(READOUT, "mine", [0])
    where = place("their line" if many else "its line")
    assert row.note == f"it raised TypeError: it returned float, not a Measurement {where}"


@pytest.mark.parametrize("many", [False, True])
def test_a_number_that_is_missing_says_so_until_the_plugin_is_repaired(
    many: bool, use: Use
) -> None:
    def measuring(value: float) -> None:
        found = Measurement(value)
        asked: Any = {"measure_many": yielding(found, found), "batch": 2} if many else {}
        measure = Measure("mine", "", answering(found), NoOptions, unit="logits", **asked)
        using(use, "geom_measures", measure)

    said = "it raised ValueError: it returned NaN, which is no number, and no note that says why"
    where = place("their line" if many else "its line")
    with geom.run(READOUT, tokens="0,1") as run:
        measuring(float("nan"))
        rows = geom.measure(run, "mine", [0, 1])
        assert [(row.value, row.note) for row in rows] == [(None, f"{said} {where}")] * 2
        measuring(2.5)
        assert [row.value for row in geom.measure(run, "mine", [0, 1])] == [2.5, 2.5]


def test_a_source_is_told_what_was_wrong_and_where(use: Use) -> None:
    using(use, "geom_sources", ModelSource("mine", "", answering([[1.0]]), NoOptions))
    said = f"source mine raised TypeError: it returned list, not a Readout {place('its line')}"
    with pytest.raises(PluginError, match=f"^{re.escape(said)}$"):
        geom.load("mine:")


def test_a_precision_is_told_what_was_wrong_and_where(use: Use) -> None:
    using(
        use,
        "geom_precisions",
        Precision("mine", "", answering(1.0), NoOptions, roundoff=lambda _: 0.1),
    )
    found = geom.compare(READOUT, [0], ["mine"])
    said = f"it returned float, not a PrecisionMargin {place('its line')}"
    assert found.notes == (f"precision mine raised TypeError: {said}: token 0",)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "it returned None, not results: yield them, or return a list"),
        ([["x"]], "it brought back str, not an Outcome"),
    ],
)
def test_an_executor_is_told_what_was_wrong_and_where(answer: Any, said: str, use: Use) -> None:
    using(use, "geom_executors", Executor("mine", "", answering(answer), NoOptions))
    said = f"executor mine raised TypeError: {said} {place('its line')}; what is stored"
    with pytest.raises(PluginError, match=f"^{re.escape(said)}"):
        geom.run(READOUT, tokens="all", executor="mine", opening=False)


def test_the_line_of_an_object_that_can_be_called_is_that_of_its_method(use: Use) -> None:
    class Detects:
        def __call__(self, *_: Any) -> Any:  # the method
            return 7

    using(use, "geom_detectors", Detector("mine", "", Detects(), NoOptions))
    with geom.run(READOUT, detectors=["mine", "self-argmax"]) as run:
        (said,) = run.warnings
    assert said.endswith(place("the method"))


def test_a_builtin_function_has_no_line(use: Use) -> None:
    using(use, "geom_detectors", Detector("mine", "", max, NoOptions))
    with geom.run(READOUT, detectors=["mine", "self-argmax"]) as run:
        (said,) = run.warnings
    assert said.startswith("detector mine raised TypeError: ")
    assert "(" not in said.rpartition("'")[2]
