"""``geom show --sampling``: its table, its counts, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import geom
from geom import Readout
from support.command import Command

SQUARE = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [0.25, 0.5], [1.0, 1.0]])
TEXTS = [" one", "two", "\x1b[2J", None, "1", "twin"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Write a run of the square: three corners, a point inside (4), and two equal tokens (0, 5)."""
    path = tmp_path / "run.db"
    readout = Readout.fold(SQUARE, [0.0, 0.0, 0.0, 0.0, -5.0, 0.0], tokens=TEXTS)
    geom.run(readout, tokens="0-2,4-5", domain="rmsnorm", certifiers=["maxent"], out=path).close()
    return path


def test_it_lists_what_no_state_can_sample_and_counts_the_rest(command: Command, run: Path) -> None:
    lines = command(
        "show", "run.db", "--sampling", "min-p=0.05,top-k=1,temperature=0.8"
    ).out.splitlines()
    assert lines[1] == "sampling with top-k 1, min-p 0.05, temperature 0.8"
    assert [line.split("  ")[0].strip() for line in lines[2:6]] == ["1", "2", "2", "1"]
    assert [line.split()[0] for line in lines[9:12]] == ["0", "4", "5"]
    assert "top-k (ties)" in lines[9]
    assert lines[10].split()[-2:] == ["top-k,", "min-p"]


def test_a_limit_shortens_the_list_and_says_so(command: Command, run: Path) -> None:
    out = command("show", "run.db", "--sampling", "top-k=1", "--limit", "1").out
    assert "2 more: give a larger --limit" in out
    assert " twin" not in out


def test_if_nothing_is_dropped_there_are_counts_alone(command: Command, run: Path) -> None:
    out = command("show", "run.db", "--sampling", "top-p=1").out
    assert "never sampled" not in out
    assert "dropped by" not in out
    assert "not known" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sampling", "top=3"], "unknown setting of sampling 'top'"),
        (["--sampling", "temperature=1"], "no filter is set"),
        (
            ["--sampling", "top-k=1", "--verdict", "unspeakable"],
            "--sampling makes its own list: leave out --verdict, --token and --sort",
        ),
        (["run.db", "--sampling", "top-k=1"], "--sampling are for one run: give one RUN"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    command: Command, run: Path, arguments: list[str], said: str
) -> None:
    done = command("show", "run.db", *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert len(done.err.strip().splitlines()) == 1
