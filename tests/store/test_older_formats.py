"""Runs of format 6, which an older geom wrote: what this one does with them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import geom
from geom import Readout, StoreError
from support.command import Command
from support.stored_runs import edit

FORMAT_6 = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE tokens (
    token_id INTEGER PRIMARY KEY,
    token TEXT,
    self_argmax INTEGER,
    argmax_id INTEGER,
    argmax TEXT,
    flagged_by TEXT NOT NULL,
    verdict TEXT CHECK (verdict IN ('speakable', 'unspeakable', 'undecided')),
    proof TEXT CHECK (proof IN ('witness', 'slack', 'interior', 'rational')),
    certifier TEXT,
    margin_lower REAL,
    margin_upper REAL,
    seconds REAL,
    note TEXT,
    token_kind TEXT,
    argmax_kind TEXT,
    recipe TEXT CHECK (recipe IN ('own-direction'))
);
CREATE TABLE evidence (
    token_id INTEGER NOT NULL REFERENCES tokens (token_id),
    kind TEXT NOT NULL CHECK (kind IN ('witness', 'weights')),
    name TEXT NOT NULL CHECK (name IN ('x', 'indices', 'values')),
    data BLOB NOT NULL,
    PRIMARY KEY (token_id, kind, name)
) WITHOUT ROWID;
CREATE TABLE measures (
    token_id INTEGER NOT NULL,
    measure TEXT NOT NULL,
    token TEXT,
    token_kind TEXT,
    value REAL,
    error REAL,
    unit TEXT NOT NULL,
    proven INTEGER NOT NULL,
    note TEXT,
    seconds REAL NOT NULL,
    options TEXT NOT NULL,
    x BLOB,
    indices BLOB,
    weights BLOB,
    PRIMARY KEY (token_id, measure)
);
"""
"""The tables of format 6, to the letter."""

W = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0], [0.0, 0.0], [0.0, 0.0]])
READOUT = Readout.fold(W, norm="rmsnorm", source="npz:w.npz?norm=rmsnorm")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Return a run in the form in which an older geom has written it."""
    new, path = tmp_path / "new.db", tmp_path / "run.db"
    geom.run(READOUT, tokens="all", out=new).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(FORMAT_6)
        connection.execute("ATTACH ? AS new", (str(new),))
        for table in ("meta", "tokens", "evidence"):
            info = connection.execute(f"PRAGMA main.table_info({table})")
            columns = ", ".join(name for _, name, *_ in info)
            connection.execute(f"INSERT INTO main.{table} SELECT {columns} FROM new.{table}")
        connection.execute(f"PRAGMA application_id = {int.from_bytes(b'geom')}")
        connection.execute("PRAGMA user_version = 6")
    return path


def test_it_is_read_and_has_no_caps(old: Path) -> None:
    with geom.open_run(old) as run:
        assert run.format == 6
        assert [row.verdict for row in run.rows()] == ["speakable"] * 3 + ["unspeakable"] * 2
        assert {row.probability_upper for row in run.rows()} == {None}
        assert run.row(3).token_id == 3
        assert run.to_pandas()["probability_upper"].isna().all()


def test_it_is_verified_measured_and_exported(old: Path, command: Command) -> None:
    np.savez("w.npz", W=W)
    assert command("verify", "run.db").code == 0
    assert command("measure", "run.db", "--measure", "row-norm", "--tokens", "0").code == 0
    rows = command("export", "run.db", "--format", "jsonl").rows
    assert [row["probability_upper"] for row in rows] == [None] * 5
    proofs = command("export", "run.db", "--format", "certificate").rows[3:]
    assert [float.fromhex(proof["probability_upper"]) for proof in proofs] == [0.5, 0.5]  # twins
    assert command("show", "run.db", "--token", "3").code == 0
    edit(old, "UPDATE tokens SET verdict = 'speakable' WHERE token_id = 3")
    assert command("verify", "run.db").code == 1


def test_it_is_not_continued(old: Path) -> None:
    with pytest.raises(StoreError, match=r"is a run of format 6, .* give another --out"):
        geom.run(READOUT, tokens="all", out=old)


def test_a_run_of_this_format_with_the_mark_of_format_6_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    geom.run(READOUT, tokens="all", out=path).close()
    edit(path, "PRAGMA user_version = 6")
    with pytest.raises(StoreError, match="its table 'tokens' is not as geom makes it"):
        geom.open_run(path)


def test_a_run_of_format_5_is_refused(old: Path) -> None:
    edit(old, "PRAGMA user_version = 5")
    with pytest.raises(StoreError, match="is a run of format 5, made by an older geom: run again"):
        geom.open_run(old)
