"""Whole runs: the chain of certifiers, executors, the store and progress."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import geom
from geom import (
    Finding,
    PluginError,
    Problem,
    Readout,
    StoreError,
)
from geom.runs.pipeline import execute
from support.square_runs import (
    CENTRE,
    READOUT,
    SQUARE,
    Given,
    certifier,
    contents,
    executed,
    ids,
    planned,
)

# The chain


def test_the_chain_decides_the_square() -> None:
    with geom.run(READOUT, tokens="all", certifiers=["highs", "mpmath"], opening=False) as run:
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


@pytest.mark.parametrize("opening", [True, False])
def test_a_twin_is_named_in_the_note(opening: bool) -> None:
    readout = Readout.fold(SQUARE[[0, 1, 2, 3, 0]])
    with geom.run(readout, tokens="all", opening=opening) as run:
        assert [row.verdict for row in run.rows("unspeakable")] == ["unspeakable"] * 2
        assert "same row and bias as token 4" in run.row(0).note
        assert "same row and bias as token 0" in run.row(4).note
        assert run.row(1).note is None


def test_work_is_handed_out_in_batches_of_the_largest_that_a_certifier_takes() -> None:
    sizes = []

    def certify_many(problem: Problem, tokens: Any, priors: Any, options: Any) -> list[Finding]:
        sizes.append(len(tokens))
        return [Finding() for _ in tokens]

    stub = certifier(certify_many=certify_many, batch=2)
    plugin = Given(certifiers=(stub, certifier("single")))
    asked = planned(plugin, certifiers=["single", "stub"], tokens="all", opening=False)
    with execute(asked):
        assert sizes == [1]  # only the centre is left for it, in a batch of its own
    with execute(replace(asked, chain=asked.chain[1:])):
        assert sizes == [1, 2, 2, 1]


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

    kept = r"OSError: the cluster is gone \(test_pipeline\.py:\d+\); what is stored is kept"
    with pytest.raises(PluginError, match=kept):
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


def test_a_run_in_memory_is_the_run_on_disk(tmp_path: Path) -> None:
    readout = geom.load("synthetic:gpt2-like?V=60&d=4")
    with geom.run(readout) as memory, geom.run(readout, out=tmp_path / "run.db") as disk:
        assert contents(memory) == contents(disk) != []
        assert memory.settings == disk.settings
        assert (memory.model, disk.path) == (str(readout.source), tmp_path / "run.db")


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


@pytest.mark.parametrize("opening", [True, False])
def test_every_stage_reports_from_nothing_to_its_total(opening: bool) -> None:
    seen: dict[str, list[tuple[float, float]]] = {}
    fresh = Readout.fold(READOUT.W, READOUT.b)  # own directions are remembered with a readout
    with geom.run(
        fresh,
        tokens="all",
        detectors=["self-argmax", "random-directions"],
        opening=opening,
        progress=lambda stage, done, total, unit: seen.setdefault(stage, []).append((done, total)),
    ):
        pass
    bulk = {"own direction", "shared step", "hard tokens"} if opening else set()
    assert seen.keys() == {"self-argmax", "random-directions", "certify", "hardest"} | bulk
    for steps in seen.values():
        assert steps[0][0] == 0
        assert steps[-1][0] == steps[-1][1]
    assert seen["certify"][-1] == ((0, 0) if opening else (5, 5))
    if opening:  # the centre is decided last
        ends = {stage: seen[stage][-1] for stage in bulk}
        assert ends == {"own direction": (4, 4), "shared step": (1, 1), "hard tokens": (1, 1)}
