"""Every example in the hookspecs is a whole plugin: it is registered, and what it yields is used.

What the records should answer comes from NumPy here, from the rows of a square with its centre
(the corners can be said, the centre cannot), and from `geom.verify`.
"""

from __future__ import annotations

import inspect
import io
import sys
import textwrap
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import geom
from geom import Finding, InputError, Problem, Readout, Run
from geom.plugins import hookspecs
from geom.plugins.registry import HOOKS, Origin, Plugins, using
from geom.runs.pipeline import execute
from geom.runs.planning import plan

SPECIFICATIONS = {
    name: function
    for name, function in inspect.getmembers(hookspecs, inspect.isfunction)
    if name.startswith("geom_")
}

CENTRE = 4
SQUARE = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0], [0.0, 0.0]])


def example(hook: str) -> str:
    """The code of the section Examples in a hook's docstring."""
    docstring = inspect.getdoc(SPECIFICATIONS[hook])
    _, mark, code = docstring.partition("Examples\n--------\n::\n")
    assert mark, f"{hook} shows no example"
    return textwrap.dedent(code)


@pytest.fixture
def plugins() -> Plugins:
    found = Plugins()
    found.discover()
    return found


@pytest.fixture
def use(plugins: Plugins, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Registers a hook's example beside the installed plugins and returns its one record."""

    def register(hook: str) -> Any:
        module = types.ModuleType(f"example_{hook}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(example(hook), f"<{hook}>", "exec"), module.__dict__)
        plugins.register(module, "example", Origin("the-docs", "0", module.__name__))
        assert not plugins.skipped
        (item,) = [item for item in plugins.listed() if item.origin.distribution == "the-docs"]
        return item.record

    return register


def decided(plugins: Plugins, readout: Readout, **asked: Any) -> Run:
    with using(plugins):
        return execute(plan(readout, **asked))


def without_time(run: Run) -> list[dict[str, Any]]:
    return [row.as_dict() | {"seconds": None} for row in run.rows()]


def test_every_hook_has_a_kind() -> None:
    assert {hook for hook, _ in HOOKS.values()} == SPECIFICATIONS.keys()


@pytest.mark.parametrize("hook", SPECIFICATIONS)
def test_the_example_is_a_plugin_of_its_kind(hook: str, use: Callable[[str], Any]) -> None:
    (record_type,) = [record_type for name, record_type in HOOKS.values() if name == hook]
    assert isinstance(use(hook), record_type)


@pytest.mark.parametrize("hook", SPECIFICATIONS)
def test_the_example_is_used_below(hook: str) -> None:
    assert f'use("{hook}")' in inspect.getsource(sys.modules[__name__])


def test_the_source_reads_a_csv_file(use: Callable[[str], Any], tmp_path: Path) -> None:
    source = use("geom_sources")
    np.savetxt(tmp_path / "W.csv", SQUARE, delimiter=",")
    readout = source.load(str(tmp_path / "W.csv"), source.options(norm="layernorm"))
    assert (readout.W == SQUARE).all()
    assert readout.domain.name == "layernorm"


def test_the_source_refuses_what_is_no_table(use: Callable[[str], Any], tmp_path: Path) -> None:
    source = use("geom_sources")
    (tmp_path / "W.csv").write_text("one,two\n")
    for path in (tmp_path / "W.csv", tmp_path / "absent.csv"):
        with pytest.raises(InputError, match="CSV"):
            source.load(str(path), source.options())


def test_the_detector_flags_the_row_nearest_the_mean(
    use: Callable[[str], Any], plugins: Plugins
) -> None:
    detector = use("geom_detectors")
    with decided(
        plugins, Readout.fold(SQUARE), detectors=[detector.name], certifiers=[]
    ) as flagged:
        assert [(row.token_id, row.flagged_by) for row in flagged.rows()] == [
            (CENTRE, (detector.name,))
        ]


def test_the_certifier_finds_points_that_verify(
    use: Callable[[str], Any], plugins: Plugins
) -> None:
    certifier = use("geom_certifiers")
    readout = Readout.fold(np.random.default_rng(0).normal(size=(9, 4)), norm="layernorm")
    with decided(plugins, readout, certifiers=[certifier.name], tokens="all") as found:
        speakable = [row.token_id for row in found.rows("speakable")]
        assert speakable
        for token in speakable:
            logits = readout.logits(found.certificate(token).x)
            assert logits[token] > np.delete(logits, token).max()
        assert geom.verify(found, readout).ok


def test_the_precision_computes_in_float32(use: Callable[[str], Any]) -> None:
    precision = use("geom_precisions")
    W = np.array([[1.0 + 2.0**-30, 0.0], [1.0, 0.0], [0.5, 0.0]])
    readout = Readout.fold(W)
    x = np.array([1.0, 0.0])
    seen = precision.margin(readout, 0, x, precision.options())
    single = (W.astype(np.float32) @ x.astype(np.float32)).tolist()
    assert seen.margin == single[0] - max(single[1:]) == 0.0
    assert seen.argmax_id == single.index(max(single))


def test_the_measure_is_the_largest_entry(use: Callable[[str], Any]) -> None:
    measure = use("geom_measures")
    readout = Readout.fold(np.array([[1.0, -3.0], [0.0, 0.5], [-7.0, 2.0]]))
    problem = Problem(readout, readout.domain)
    found = [measure.measure(problem, t, Finding(), measure.options()) for t in range(3)]
    assert [item.value for item in found] == [3.0, 0.5, 7.0]


def test_the_reporter_writes_the_tokens_that_cannot_be_said(
    use: Callable[[str], Any], plugins: Plugins
) -> None:
    reporter = use("geom_reporters")
    file = io.BytesIO()
    with decided(plugins, Readout.fold(SQUARE), tokens="all") as run:
        reporter.write(run, file, reporter.options())
    assert file.getvalue() == b"%d\n" % CENTRE


def test_the_executor_brings_the_verdicts_of_the_serial_one(
    use: Callable[[str], Any], plugins: Plugins
) -> None:
    executor = use("geom_executors")
    readout = Readout.fold(np.random.default_rng(1).normal(size=(12, 3)), norm="layernorm")
    rows = []
    for name in (executor.name, "serial"):
        with decided(plugins, readout, tokens="all", executor=name) as run:
            rows.append(without_time(run))
    assert rows[0] == rows[1]
    assert len(rows[0]) == readout.V
