"""What the author of a plugin is told of an error: its line, and with --debug the traceback."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from geom.errors import attempt
from support.command import Done, install, separately

PLUGIN = """
import numpy as np
from geom import Candidate, Certifier, Detector, Finding, InputError, NoOptions, hookimpl

def deep(x):
    return np.linalg.inv(x)  # numpy raises, and this line asked

def detect(readout, domain, options):
    yield Candidate(0)
    deep(np.zeros((2, 2)))

def certify(problem, token, prior, options):
    raise ValueError("no idea")

def refuse(problem, options):
    raise InputError("give another model")

@hookimpl
def geom_detectors():
    yield Detector("mine", "", detect, NoOptions)

@hookimpl
def geom_certifiers():
    yield Certifier("mine", "", certify, NoOptions)
    yield Certifier("choosy", "", certify, NoOptions, prepare=refuse)
"""

RUN = ("run", "-m", "npz:square.npz", "--opening", "no", "--hardest", "0", "--out", "run.db")


@pytest.fixture
def geom_(own_folder: Path) -> Callable[..., Done]:
    """Return the command in an environment with the plugin."""
    install(own_folder, "bad-geom", PLUGIN)
    square = [[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]
    np.savez(own_folder / "square.npz", W=square)
    return lambda *arguments: separately(*arguments, python_path=own_folder)


def line_of(code: str) -> int:
    (found,) = [i for i, line in enumerate(PLUGIN.splitlines(), 1) if code in line]
    return found


def test_an_error_names_the_line_of_the_plugin_not_that_of_a_library(
    geom_: Callable[..., Done],
) -> None:
    done = geom_(*RUN, "-d", "mine", "-d", "self-argmax", "-c", "maxent")
    place = f"(bad_geom.py:{line_of('numpy raises')})"
    assert f"detector mine raised LinAlgError: Singular matrix {place}" in done.out
    assert "Traceback" not in done.out + done.err


def test_debug_prints_each_traceback_once_whatever_it_costs(geom_: Callable[..., Done]) -> None:
    done = geom_("--debug", *RUN, "-t", "all", "-c", "mine", "--format", "jsonl")
    assert (done.code, len(done.rows)) == (0, 4)  # standard output holds results alone
    assert done.err.count("Traceback (most recent call last):") == 1
    place = rf'File ".*bad_geom\.py", line {line_of("no idea")}, in certify'
    assert re.search(place, done.err)
    assert f"certifier mine raised ValueError: no idea (bad_geom.py:{line_of('no idea')})" in (
        done.err
    )


def test_debug_prints_the_tracebacks_of_worker_processes_once(geom_: Callable[..., Done]) -> None:
    workers = ("--executor", "local", "-o", "executor.local.workers=2")
    done = geom_("--debug", *RUN, "-t", "all", "-c", "mine", *workers, "--format", "jsonl")
    assert (done.code, len(done.rows)) == (0, 4)
    assert done.err.count("Traceback (most recent call last):") == 1
    assert re.search(rf'File ".*bad_geom\.py", line {line_of("no idea")}, in certify', done.err)
    plain = geom_(*RUN[:-1], "plain.db", "-t", "all", "-c", "mine", *workers, "--format", "jsonl")
    assert (plain.code, "Traceback" in plain.err) == (0, False)
    with closing(sqlite3.connect("run.db")) as file:
        assert "Traceback" not in "".join(file.iterdump())


def test_debug_prints_where_a_refusal_comes_from(geom_: Callable[..., Done]) -> None:
    done = geom_("--debug", *RUN, "-c", "choosy")
    assert (done.code, done.out) == (2, "")
    assert f'bad_geom.py", line {line_of("raise InputError")}, in refuse' in done.err
    assert done.err.endswith("\ngeom: give another model\n")
    assert geom_(*RUN, "-c", "choosy").err == "geom: give another model\n"


def test_a_package_is_named_with_its_folder(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = own_folder / "strange_package"
    (folder / "inner").mkdir(parents=True)
    (folder / "__init__.py").write_text("def fails():\n    raise KeyError(1)\n")
    (folder / "inner" / "__init__.py").touch()
    (folder / "inner" / "part.py").write_text("\ndef fails():\n    raise KeyError(2)\n")
    monkeypatch.syspath_prepend(own_folder)
    import strange_package  # type: ignore[import-not-found]
    from strange_package.inner import part  # type: ignore[import-not-found]

    assert str(attempt(strange_package.fails)) == "KeyError: 1 (strange_package/__init__.py:2)"
    assert str(attempt(part.fails)) == "KeyError: 2 (strange_package/inner/part.py:3)"


def test_what_no_code_of_a_plugin_led_to_has_no_place() -> None:
    assert str(attempt(dict[str, int]().popitem)) == "KeyError: 'popitem(): dictionary is empty'"
