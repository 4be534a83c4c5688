"""What a shell offers for a value, by typer's own protocol."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest

from support.command import GEOM, Command, environment, install

OFFERED = {
    "geom run --detector ": {"hull-vertex", "random-directions", "reflections", "self-argmax"},
    "geom run --detector self": {"self-argmax"},
    "geom run -c m": {"maxent", "mpmath"},
    "geom run -c no": {"none"},
    "geom run --executor ": {"dask", "local", "serial"},
    "geom run --domain ": {
        "auto", "layernorm", "rmsnorm", "box", "unbounded", "hull", "ellipsoid",
    },
    "geom run --format ": {"table", "jsonl"},
    "geom show run.db --verdict ": {"speakable", "unspeakable", "undecided", "hard"},
    "geom export run.db --verdict un": {"unspeakable", "undecided"},
    "geom export run.db --format c": {"csv", "certificate"},
    "geom measure --measure max": {"max-margin", "max-probability"},
    "geom measure --domain h": {"hull"},
    "geom compare --precision float": {"float16", "float32", "float64", "float8-e4m3"},
    "geom compare --solver hi": {"highs"},
    "geom new-plugin me": {"measure"},
    "geom plugins surp": {"surprise"},
    "geom run --model sy": {"synthetic:"},
    "geom run --model W": {"W.npz", "Weights/"},
    "geom run --model npz:W": {"npz:W.npz", "npz:Weights/"},
    "geom run --model Weights/": {"Weights/x.gguf"},
    "geom check Weights/x": {"Weights/x.gguf"},
    "geom run --model nowhere/at/all/": set(),
    "geom run --model nosuch:W": set(),
    "geom run --detector zzz": set(),
}  # fmt: skip


def asked(line: str) -> dict[str, str]:
    """Return how bash asks what may follow at the end of a line."""
    words = shlex.split(line) + ([""] if line.endswith(" ") else [])
    return {
        "_GEOM_COMPLETE": "complete_bash",
        "COMP_WORDS": "\n".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }


def offered(line: str, folder: Path) -> set[str]:
    """Return what a process of its own offers at the end of a line."""
    done = subprocess.run(
        GEOM,
        env=environment(folder) | asked(line),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("completion")
    np.savez(place / "W.npz", W=np.eye(2))
    (place / "W.txt").touch()
    (place / "Weights").mkdir()
    (place / "Weights" / "x.gguf").touch()
    return place


@pytest.mark.parametrize("line", OFFERED)
def test_values_are_completed(
    line: str, folder: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    for name, value in asked(line).items():
        monkeypatch.setenv(name, value)
    done = command()
    assert (done.code, done.err) == (0, "")
    found = set(done.out.split())
    if line == "geom compare --precision float":
        assert found >= {"float32", "float64"}
    elif line.endswith("max"):
        assert found >= {"max-probability"}
    else:
        assert found == OFFERED[line]


LOUD = """
import sys
from geom import Detector, NoOptions, hookimpl

print("loud")
print("loud", file=sys.stderr)

@hookimpl
def geom_detectors():
    print("loud")
    yield Detector("mine", "", lambda *_: [], NoOptions)
"""


def test_strangers_plugins_are_offered_and_what_they_print_is_not(tmp_path: Path) -> None:
    install(tmp_path, "loud-geom", LOUD)
    assert offered("geom run --detector mi", tmp_path) == {"mine"}


def test_no_library_of_networks_is_loaded_for_a_completion(tmp_path: Path) -> None:
    for library in ("torch", "transformers", "pandas", "matplotlib"):
        (tmp_path / f"{library}.py").write_text("raise SystemExit('loaded')")
    found = offered("geom run --detector ", tmp_path)
    assert found == OFFERED["geom run --detector "]


def test_plugins_of_one_name_offer_nothing_and_say_nothing(tmp_path: Path) -> None:
    install(tmp_path, "loud-geom", LOUD.replace('"mine"', '"self-argmax"'))
    assert offered("geom run --detector ", tmp_path) == set()
