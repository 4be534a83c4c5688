"""``geom doctor``, against pip's metadata of this environment."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from geom import diagnosis, install_command
from geom.diagnosis import diagnose
from support.command import Command, install, separately


def test_it_names_what_pip_lists(command: Command) -> None:
    done = command("doctor", "--format", "json")
    assert done.code == 0
    found = {(row["section"], row["name"]): row["found"] for row in json.loads(done.out)}
    pip = [sys.executable, "-m", "pip", "list", "--format", "json"]
    listed = json.loads(subprocess.run(pip, capture_output=True, check=True).stdout)
    versions = {item["name"].lower().replace("_", "-"): item["version"] for item in listed}
    packages = {name: text for (section, name), text in found.items() if section == "packages"}
    assert packages.keys() >= {"highspy", "mpmath", "numpy", "pluggy", "python-flint", "typer"}
    for name, text in packages.items():
        assert text == versions[name.lower()]
    assert found["system", "geom-unembed"] == version("geom-unembed")
    assert ("plugins", "detector self-argmax") in found
    assert found["devices", "cpu"] == "works"


def test_extras_say_what_is_there_and_what_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str | None:
        return None if name == "distributed" else version(name)

    monkeypatch.setattr(diagnosis, "_version", absent)
    extras = {found.name: found for found in diagnose() if found.section == "extras"}
    assert extras["dask"].found == f"without distributed: {install_command('dask')}"
    assert f"torch {version('torch')}" in extras["torch"].found
    assert "all" not in extras
    assert all(found.sound for found in extras.values())


def test_it_tells_the_threads_that_multiply() -> None:
    np.ones((2, 2)) @ np.ones((2, 2))
    assert [found for found in diagnose() if found.section == "threads"]


def test_a_plugin_that_cannot_be_used_is_amiss(tmp_path: Path) -> None:
    install(tmp_path, "broken-plugin", "import nowhere_to_be_found")
    done = separately("doctor", python_path=tmp_path)
    assert done.code == 1
    assert "skipped: ModuleNotFoundError" in done.out


def test_the_table_is_for_people(command: Command) -> None:
    done = command("doctor")
    assert (done.code, done.err) == (0, "")
    for word in ("system", "packages", "extras", "threads", "devices", "plugins"):
        assert word in done.out
