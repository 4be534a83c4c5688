"""A sound run, which tests edit."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import geom
from geom import Readout
from support.hostile_runs import SQUARE


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights, a run of them with a measure, and the same again."""
    folder = tmp_path_factory.mktemp("sound")
    before = Path.cwd()
    os.chdir(folder)
    try:
        np.savez("square.npz", W=SQUARE)
        texts = [f"t{i}" for i in range(6)]
        readout = Readout.fold(SQUARE, tokens=texts)
        with geom.run(readout, tokens="all", opening=False, out="run.db") as run:
            geom.measure(run, ["row-norm"], tokens=[0])
        with closing(sqlite3.connect("run.db")) as connection, connection:
            connection.execute("UPDATE meta SET value = '\"npz:square.npz\"' WHERE key = 'model'")
        shutil.copy("run.db", "other.db")
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def path(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run, in the folder of the test."""
    shutil.copytree(sound, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run.db"
