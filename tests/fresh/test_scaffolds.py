"""Plugins of every kind as ``geom new-plugin`` writes them: built, installed, tested and used.

This installs packages, so it runs in its own environment: ``tox -e fresh``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

USES = {
    "source": ("run", "--model", "my-source:tests/square.csv", "--tokens", "all"),
    "detector": ("run", "--detector", "my-detector"),
    "certifier": ("run", "--certifier", "my-certifier", "--certifier", "highs"),
    "precision": ("compare", "--tokens", "2310", "--precision", "my-precision"),
    "measure": ("measure", "--measure", "my-measure", "--tokens", "2310"),
    "reporter": ("export", "run.db", "--format", "my-reporter"),
    "executor": ("run", "--executor", "my-executor", "--tokens", "100-140"),
}
"""The commands in each kind's README, or equivalent ones."""


def call(*words: str, where: Path) -> str:
    done = subprocess.run(words, cwd=where, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def geom(*words: str, where: Path) -> str:
    return call(sys.executable, "-m", "geom.cli", *words, where=where)


@pytest.fixture(params=USES)
def kind(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield a kind of plugin, and uninstall its package afterwards."""
    yield request.param
    pip = [sys.executable, "-m", "pip", "uninstall", "-q", "-y", f"geom-my-{request.param}"]
    subprocess.run(pip, capture_output=True, check=True)


def test_a_new_plugin_installs_passes_its_tests_and_works(kind: str, tmp_path: Path) -> None:
    name = f"my-{kind}"
    place = Path(geom("new-plugin", kind, name, "--dir", str(tmp_path), where=tmp_path).strip())
    assert place == tmp_path / name
    call(sys.executable, "-m", "pip", "install", "-q", ".[test]", where=place)
    assert " passed" in call(sys.executable, "-m", "pytest", "-W", "error", where=place)
    (listed,) = json.loads(geom("plugins", name, "--format", "json", where=place))
    assert (listed["kind"], listed["distribution"]) == (kind, f"geom-{name}")
    if kind == "reporter":
        geom("run", "--tokens", "2305-2311", "--out", "run.db", where=place)
    assert geom(*USES[kind], where=place)
