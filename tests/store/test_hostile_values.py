"""Runs that hold values of another kind: the head, arrays, long texts, anything in any column."""

from __future__ import annotations

import json
import sqlite3
import struct
import time
import tracemalloc
from contextlib import closing, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

import geom
from geom import GeomError, Readout, StoreError
from geom_plugins.reporters import csv_file, jsonl
from geom_plugins.reporters.page_data import page_data
from geom_plugins.reporters.row_options import RowOptions
from support.command import Command
from support.hostile_runs import BAD, COMMANDS, SQUARE, acting, edit, refusal

# The head


@pytest.mark.parametrize(
    "name",
    [
        *("layernorm ", " layernorm", "LayerNorm", "layer-norm", "1ayernorm", "l\u0430yernorm"),
        *("layernorm\u200b", "rms norm", "rrnsnorm", "unb0unded", "box."),
        *("", "\x1b[2J", "x" * 200, "a  b"),
    ],
)
def test_a_domain_that_only_looks_like_a_known_one_is_none(
    name: str, path: Path, command: Command
) -> None:
    with geom.open_run(path) as run:
        settings = run.settings
    settings["domain"] |= {"name": name, "shape": "ball", "size": "1"}
    edit(
        path,
        "UPDATE meta SET value = ? WHERE key = 'settings'",
        values=(json.dumps(settings),),
    )
    for arguments in COMMANDS.values():
        assert "is not a run of geom" in refusal(command(*arguments)) or arguments[0] == "run"


@pytest.mark.parametrize(
    "begun", ["soon", "2026-13-01T00:00:00+00:00", "2026-01-01T00:00:00", "\x1b[2J", 5, ["x"]]
)
def test_a_beginning_that_is_no_time_in_utc_is_damage(begun: object, path: Path) -> None:
    edit(path, "UPDATE meta SET value = ? WHERE key = 'begun'", values=(json.dumps(begun),))
    with geom.open_run(path) as run, pytest.raises(StoreError, match="is a damaged run"):
        assert run.begun


def test_a_run_of_an_older_geom_has_no_beginning(path: Path) -> None:
    edit(path, "DELETE FROM meta WHERE key = 'begun'")
    with geom.open_run(path) as run:
        assert run.begun is None
        assert page_data(run)["begun"] == ""


@pytest.mark.parametrize("change", [{"zero_sum": "false"}, {"size": 2}, {"name": 5}])
def test_a_domain_of_the_wrong_types_is_none(change: dict[str, Any], path: Path) -> None:
    with geom.open_run(path) as run:
        settings = run.settings
    settings["domain"] |= {"name": "own", "shape": "ball", "size": "2"} | change
    edit(
        path,
        "UPDATE meta SET value = ? WHERE key = 'settings'",
        values=(json.dumps(settings),),
    )
    with pytest.raises(StoreError, match="does not describe a domain"):
        geom.open_run(path)


# Arrays


def npy(header: str, data: bytes = b"") -> bytes:
    """A .npy file with this header."""
    text = header.ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def of(descr: str, shape: str, data: bytes = bytes(16)) -> bytes:
    return npy(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}", data)


BLOBS = {
    "no bytes an item": of("'|S0'", f"({10**9},)", b""),
    "no bytes an item, as text": of("'<U0'", f"({10**9},)", b""),
    "void": of("'|V0'", f"({10**9},)", b""),
    "strings": of("'|S8'", "(2,)"),
    "texts": of("'<U2'", "(2,)"),
    "no dimension": of("'<f8'", "()", bytes(8)),
    "two dimensions": of("'<f8'", "(1, 2)"),
    "records": of("[('a', '<f8')]", "(2,)"),
    "records of nothing": of("[]", f"({10**9},)", b""),
    "dates": of("'<M8[s]'", "(2,)"),
    "objects": of("'|O'", "(2,)"),
    "complex": of("'<c16'", "(2,)", bytes(32)),
    "float32": of("'<f4'", "(2,)", bytes(8)),
    "big-endian": of("'>f8'", "(2,)"),
    "integers": of("'<i8'", "(2,)"),
    "truth values": of("'|b1'", "(2,)", bytes(2)),
    "many": of("'<f8'", f"({10**12},)"),
    "more than any": of("'<f8'", f"({10**30},)"),
    "fewer than none": of("'<f8'", "(-2,)"),
    "none": of("'<f8'", "(0,)", b""),
    "one": of("'<f8'", "(1,)", bytes(8)),
    "three": of("'<f8'", "(3,)", bytes(24)),
    "more bytes than numbers": of("'<f8'", "(2,)", bytes(24)),
    "fewer bytes than numbers": of("'<f8'", "(2,)", bytes(8)),
    "by columns": npy("{'descr': '<f8', 'fortran_order': True, 'shape': (2,), }", bytes(16)),
    "an expression": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2**9,), }"),
    "a long header": npy(
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }" + " " * 60_000
    ),
    "megabytes": bytes(20_000_000),
    "a text": "x",
    "a number": 5,
    "a real": 0.5,
}


@pytest.mark.parametrize("blob", BLOBS.values(), ids=BLOBS.keys())
@pytest.mark.parametrize("name", ["x", "indices", "values"])
def test_an_array_of_another_kind_is_refused_in_little_memory(
    name: str, blob: Any, path: Path, command: Command
) -> None:
    if name == "indices" and blob == BLOBS["integers"]:
        blob = BLOBS["truth values"]
    if name == "values" and blob in (BLOBS["one"], BLOBS["three"]):
        return  # weights of another length: see below
    token = 4 if name != "x" else 0
    edit(
        path,
        f"UPDATE evidence SET data = ? WHERE token_id = {token} AND name = '{name}'",
        values=(blob,),
    )
    with geom.open_run(path) as run:
        assert run.evidence(1) is not None
        tracemalloc.start()
        try:
            with pytest.raises(StoreError, match="damaged"):
                run.evidence(token)
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
        finally:
            tracemalloc.stop()
    assert "damaged" in refusal(command("show", "run.db", "--token", str(token)))
    assert command("verify", "run.db").code == 1


def test_weights_of_two_lengths_are_refused(path: Path) -> None:
    edit(
        path,
        "UPDATE evidence SET data = ? WHERE token_id = 4 AND name = 'values'",
        values=(of("'<f8'", "(1,)", struct.pack("<d", 1.0)),),
    )
    with geom.open_run(path) as run, pytest.raises(StoreError, match="not one value per index"):
        run.evidence(4)


def test_weights_without_their_tokens_are_refused(path: Path) -> None:
    edit(path, "DELETE FROM evidence WHERE token_id = 4 AND name = 'indices'")
    with geom.open_run(path) as run, pytest.raises(StoreError, match="not one value per index"):
        run.evidence(4)


# Long texts


LONG = "x" * 20_000_000


@pytest.mark.parametrize(
    ("statement", "value"),
    [
        ("UPDATE tokens SET token = ? WHERE token_id = 1", LONG),
        ("UPDATE tokens SET note = ?", LONG),
        ("UPDATE tokens SET flagged_by = ?", "[" + "[]," * 300_000 + "[]]"),
        ("UPDATE tokens SET flagged_by = ?", "[" * 1_000_000),
        ("UPDATE measures SET token = ?", LONG),
        ("UPDATE measures SET options = ?", json.dumps({"a": LONG})),
        ("UPDATE measures SET x = ?", bytes(20_000_000)),
        ("UPDATE measures SET measure = ?", BAD),
        ("UPDATE measures SET measure = ?", "x" * 1000),
        ("UPDATE measures SET unit = ?", "a\u202eb"),
        ("UPDATE meta SET value = ? WHERE key = 'notes'", json.dumps([LONG])),
        ("UPDATE meta SET value = ? WHERE key = 'warnings'", "[" + "[]," * 300_000 + "[]]"),
        ("UPDATE meta SET value = ? WHERE key = 'settings'", "[" * 8_000_000),
    ],
)
def test_a_text_longer_than_any_is_one_line(
    statement: str, value: Any, path: Path, command: Command
) -> None:
    edit(path, statement, values=(value,))
    started = time.monotonic()
    tracemalloc.start()
    try:
        refusal(command("show", "run.db"))
        assert tracemalloc.get_traced_memory()[1] < 150_000_000
    finally:
        tracemalloc.stop()
    assert time.monotonic() - started < 10.0


def test_a_token_that_no_reader_would_take_is_not_written(tmp_path: Path) -> None:
    readout = Readout.fold(SQUARE, tokens=["x" * (2**20 + 1), *"abcde"])
    with pytest.raises(StoreError, match="the text of id 0 has 1048577 characters"):
        geom.run(readout, tokens="all", out=tmp_path / "run.db")


# Anything in any column


VALUES = [None, 0, -1, 2, 2**62, 0.5, 1e308, float("inf"), "", "text", BAD, b"", b"\xff\xfe", "[1]"]
COLUMNS = [
    (table, column)
    for table, columns in {
        "meta": "key value",
        "tokens": "token_id token self_argmax argmax_id argmax flagged_by verdict proof certifier "
        "margin_lower margin_upper seconds note token_kind argmax_kind recipe",
        "evidence": "token_id kind name data",
        "measures": "token_id measure token token_kind value error unit proven note seconds "
        "options x indices weights",
    }.items()
    for column in columns.split()
]


def complaint(path: Path) -> str | None:
    """The error, if any, with which a reader of everything in a run refuses it."""
    try:
        with geom.open_run(path, Readout.fold(SQUARE)) as run:
            for row in run.rows():
                run.certificate(row.token_id)
            run._repr_html_()
            page_data(run)
            for reporter in (csv_file, jsonl):
                reporter.write(run, BytesIO(), RowOptions())
        geom.summarise([path])
    except GeomError as error:
        return str(error)
    return None


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_any_value_in_any_column_is_read_or_refused_in_one_line(
    table: str, column: str, path: Path, tmp_path: Path
) -> None:
    content = path.read_bytes()
    refused = 0
    for value in VALUES:
        path.write_bytes(content)
        loose = "UPDATE sqlite_schema SET sql = replace(sql, ' NOT NULL', '')"
        strict = "UPDATE sqlite_schema SET sql = ? WHERE name = ?"
        with closing(sqlite3.connect(path)) as connection:
            schema = connection.execute("SELECT name, sql FROM sqlite_schema").fetchall()
        edit(path, loose)
        with suppress(sqlite3.IntegrityError):  # a key that has to be another's
            edit(path, f"UPDATE OR IGNORE {table} SET {column} = ?", values=(value,))
        for name, sql in schema:
            edit(path, strict, values=(sql, name))
        error = complaint(path)
        if error is not None:
            refused += 1
            assert not acting(error)
            assert "\n" not in error
            assert len(error) < 2500
    free = [("meta", "key"), ("evidence", "token_id"), ("tokens", "argmax")]
    assert refused or (table, column) in free
