"""The baseline of a gate: an earlier run, whose findings are not held against a new one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from geom.difference.vocabularies import Vocabulary, check_vocabularies
from geom.errors import InputError
from geom.model import domains
from geom.model.problem import Problem
from geom.store import Run, open_file


@contextmanager
def opened(baseline: Run | Path | None, model: str) -> Iterator[Run | None]:
    """Open the baseline of a model: a run, a file, or the run of that model in a folder.

    Yields None without a baseline, and for a folder that has no run of the model.
    """
    if baseline is None or isinstance(baseline, Run):
        yield baseline
    elif baseline.is_dir():
        yield from _of_model(baseline, model)
    else:
        with open_file(baseline) as run:
            yield run


def _of_model(folder: Path, model: str) -> Iterator[Run | None]:
    for path in sorted(folder.glob("*.db")):
        with open_file(path) as run:
            if run.model == model:
                yield run
                return
    yield None


def check_problem(baseline: Run, problem: Problem, out: Path | None) -> None:
    """Check that the baseline is of the same vocabulary and domain as a run that is to begin.

    ``out`` is the file of that run. Raises InputError if it is not, or if it is that file.
    """
    path = baseline.path
    if path is not None and out is not None and out.exists() and path.samefile(out):
        raise InputError(f"the baseline {path} is the run itself; give an earlier run")
    readout = problem.readout
    texts = {token: text for token, text in enumerate(readout.tokens or ()) if text is not None}
    here = Vocabulary(str(readout.source), readout.V, texts, readout.noun)
    _check(baseline, here, domains.as_settings(problem.domain))


def check_run(baseline: Run, run: Run) -> None:
    """Check that the baseline is of the same vocabulary and domain as a run. Raises InputError."""
    settings = run.settings
    here = Vocabulary.of(str(run.path or run.model), settings["V"], run.rows(), run.noun)
    _check(baseline, here, settings["domain"])


def _check(baseline: Run, here: Vocabulary, domain: Mapping[str, Any]) -> None:
    settings = baseline.settings
    name = f"the baseline {baseline.path or baseline.model}"
    there = Vocabulary.of(name, settings["V"], baseline.rows(), baseline.noun)
    check_vocabularies(there, here, "; give a run of this vocabulary")
    names = (settings["domain"].get("name"), domain.get("name"))
    if names[0] != names[1]:
        raise InputError(
            f"{name} is on the domain {names[0]}, and this run on {names[1]}; give a run on the "
            "same domain"
        )
