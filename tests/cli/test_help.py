"""Help at 80 columns: nothing is cut, and every example works as it stands."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer

import geom
from geom.cli import app
from geom.cli.examples import EXAMPLES
from support.command import GEOM, Command
from support.terminal import terminal

COMMANDS = list(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
PAGES = [(), *((name,) for name in COMMANDS)]


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize("page", PAGES, ids=lambda page: " ".join(page) or "geom")
def test_no_help_is_cut_or_wider_than_80_columns(
    page: tuple[str, ...], columns: int, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    done = command(*page, "--help")
    assert done.code == 0
    usage, *lines = done.out.splitlines()
    assert usage.startswith("Usage: geom ")
    for line in lines:
        assert len(line) <= 80
        assert not line.rstrip().endswith(("...", "…"))


def test_the_list_of_commands_takes_a_line_each(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _, _, listed = command("--help").out.partition("Commands:\n")
    lines = listed.partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in lines] == COMMANDS
    assert all(line.endswith(".") for line in lines)


@pytest.mark.parametrize("arguments", [("plugins",), ("plugins", "solid-angle"), ("doctor",)])
def test_lists_of_plugins_are_not_cut(
    arguments: tuple[str, ...], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal(monkeypatch, 80)
    assert "…" not in command(*arguments).out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_ends_in_examples_of_its_command(name: str, command: Command) -> None:
    _, _, end = command(name, "--help").out.partition("\n  Examples:\n")
    assert [line.strip() for line in end.splitlines()] == list(EXAMPLES[name])
    assert EXAMPLES[name][0].split()[:2] == ["geom", name]


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what the examples name."""
    folder = tmp_path_factory.mktemp("before")
    for name in ("audit", "before", "after"):
        geom.run("demo", tokens="96,116,183,2262", out=folder / f"{name}.db").close()
    np.savez(folder / "model.npz", W=np.eye(4))
    (folder / "text.txt").write_text("Some words to read, one after the other. " * 400)
    from geom_plugins.sources.demo import CHECKPOINT

    shutil.copytree(CHECKPOINT, folder / "path" / "to" / "checkpoint")
    return folder


@pytest.mark.parametrize("line", [line for lines in EXAMPLES.values() for line in lines])
def test_every_example_works(line: str, before: Path, own_folder: Path, command: Command) -> None:
    shutil.copytree(before, own_folder, dirs_exist_ok=True)
    if line == "geom run --out audit.db":
        (own_folder / "audit.db").unlink()
    geom_, *arguments = shlex.split(line, comments=True)
    assert geom_ == "geom"
    done = command(*arguments)
    assert (done.code, done.err if done.code else "") == (0, "")


def test_a_shell_completes_commands_and_options() -> None:
    def completed(words: str) -> list[str]:
        asked = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        environment = os.environ | {"_GEOM_COMPLETE": "complete_bash"} | asked
        done = subprocess.run(
            GEOM, env=environment, capture_output=True, text=True, check=True, timeout=100
        )
        return done.stdout.split()

    assert completed("geom re") == ["repair", "report"]
    assert completed("geom run --det") == ["--detector"]


def test_python_runs_the_command_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "geom", "plugins", "npz"],
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    assert done.stdout.startswith("source npz: ")
