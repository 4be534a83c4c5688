"""Run files that a stranger made: one line and exit code 2, or a text that acts on nothing.

They are made with Python's own sqlite3 and by hand, byte by byte, from a sound run.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import struct
import subprocess
import time
import tracemalloc
from collections.abc import Callable
from contextlib import closing, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import geom
from geom import GeomError, InputError, NoOptions, Readout, StoreError
from geom.cli.display.messages import say
from geom.cli.display.progress import bars
from geom.errors import raised
from geom.store.connection import connect
from geom.store.file_format import APPLICATION_ID, SCHEMA, VERSION
from geom_plugins.reporters import csv_file, jsonl
from geom_plugins.reporters.page_data import page_data
from support.command import GEOM, Command, Done, install, separately
from support.pages import Page, page_of

SQUARE = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [0.25, 0.5], [1.0, 1.0]])
COMMANDS = {
    "show": ["show", "run.db"],
    "show of several": ["show", "run.db", "other.db"],
    "export": ["export", "run.db"],
    "verify": ["verify", "run.db"],
    "measure": ["measure", "run.db", "--measure", "row-norm"],
    "compare": ["compare", "run.db", "-p", "float32"],
    "report": ["report", "run.db"],
    "go on": ["run", "-m", "npz:square.npz", "-t", "all", "--out", "run.db"],
}
BAD = "\x1b[2J\x07\r\x9b31m\u202e\u2066\u200b\u2028\u2029\ufeff\u00ad\U000e0041[red]x[/red]"
"""Escapes, C1, bidirectional and zero-width marks, line and paragraph separators, tags, markup."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights, a run of them with a measure, and the same again."""
    folder = tmp_path_factory.mktemp("sound")
    before = Path.cwd()
    os.chdir(folder)
    try:
        np.savez("square.npz", W=SQUARE)
        texts = [f"t{i}" for i in range(6)]
        with geom.run(Readout.fold(SQUARE, tokens=texts), tokens="all", out="run.db") as run:
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


def edit(path: Path, *statements: str, values: tuple[Any, ...] = ()) -> None:
    """Carries out statements, the last with the values; SQLite lets anything through."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        for statement in statements[:-1]:
            connection.execute(statement)
        connection.execute(statements[-1], values)


def acting(text: str) -> set[str]:
    """The characters of a text that act on a terminal or are not seen; ends of lines may be."""
    return {c for c in text if not c.isprintable()} - {"\n"}


def refusal(done: Done) -> str:
    """The one line of a command that refused its run."""
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("geom: ")
    assert done.err.count("\n") == 1
    assert not acting(done.err)
    assert len(done.err) < 2500
    return done.err


# The schema


def view(path: Path, table: str, select: str) -> None:
    """A view in place of a table."""
    edit(path, f"DROP TABLE {table}", f"CREATE VIEW {table} AS {select}")


ENDLESS = "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n)"


def as_views(path: Path) -> None:
    edit(path, "ALTER TABLE tokens RENAME TO kept", "CREATE VIEW tokens AS SELECT * FROM kept")


def endless(path: Path) -> None:
    columns = ", ".join(f"NULL AS c{i}" for i in range(15))
    view(path, "tokens", f"{ENDLESS} SELECT i AS token_id, {columns} FROM n")


def computed_meta(path: Path) -> None:
    value = "(SELECT max(i) FROM (SELECT * FROM n LIMIT 1000000000))"
    view(path, "meta", f"{ENDLESS} SELECT 'settings' AS key, {value} AS value")


def trigger(path: Path) -> None:
    edit(
        path,
        "CREATE TRIGGER t AFTER INSERT ON measures BEGIN UPDATE tokens SET verdict = NULL; END",
    )


def generated(path: Path) -> None:
    edit(path, "ALTER TABLE tokens ADD COLUMN more GENERATED ALWAYS AS (token_id + 1)")


def generated_in_place(path: Path) -> None:
    sql = "UPDATE sqlite_schema SET sql = replace(sql, 'proof TEXT', ?) WHERE name = 'tokens'"
    edit(path, sql, values=("proof TEXT GENERATED ALWAYS AS ('witness')",))


def without_checks(path: Path) -> None:
    edit(path, "UPDATE sqlite_schema SET sql = replace(sql, 'witness', 'any')")


def more_tables(path: Path) -> None:
    edit(path, *(f"CREATE TABLE t{i} (x)" for i in range(3000)))


def wide_table(path: Path) -> None:
    edit(path, f"CREATE TABLE t ({', '.join(f'c{i}' for i in range(1900))})")


def long_sql(path: Path) -> None:
    edit(path, f"CREATE TABLE t (x /* {'long ' * 200_000} */)")


def index_of_an_expression(path: Path) -> None:
    edit(path, "CREATE INDEX i ON tokens (abs(token_id))")


def virtual_table(path: Path) -> None:
    edit(
        path,
        "INSERT INTO sqlite_schema VALUES ('table', 'v', 'v', 0, "
        "'CREATE VIRTUAL TABLE v USING fts5 (x)')",
    )


def hostile_name(path: Path) -> None:
    edit(path, f'CREATE TABLE "{BAD}" (x)')


def no_schema_at_all(path: Path) -> None:
    edit(path, "DELETE FROM sqlite_schema")


def no_measures(path: Path) -> None:
    edit(path, "DROP TABLE measures")


def nameless(path: Path) -> None:
    edit(path, "INSERT INTO sqlite_schema VALUES (NULL, x'ff', 5, 0, NULL)")


def shared_root(path: Path) -> None:
    root = "(SELECT rootpage FROM sqlite_schema WHERE name = 'tokens')"
    edit(path, f"UPDATE sqlite_schema SET rootpage = {root} WHERE name = 'measures'")


def utf_16(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            f"PRAGMA encoding = 'UTF-16le'; PRAGMA application_id = {APPLICATION_ID};"
            f"PRAGMA user_version = {VERSION}; {SCHEMA}"
        )


def huge_page_count(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[28:32] = b"\xff\xff\xff\xfe"
    data[92:96] = data[24:28]
    path.write_bytes(data)


FORGED: dict[str, Callable[[Path], None]] = {
    "views": as_views,
    "a view without end": endless,
    "a computed meta": computed_meta,
    "a trigger": trigger,
    "a generated column": generated,
    "a generated column in place": generated_in_place,
    "a table without its checks": without_checks,
    "3000 more tables": more_tables,
    "a table of 1900 columns": wide_table,
    "a megabyte of SQL": long_sql,
    "an index of an expression": index_of_an_expression,
    "a virtual table": virtual_table,
    "a table with a hostile name": hostile_name,
    "no table": no_schema_at_all,
    "no measures": no_measures,
    "a nameless thing": nameless,
    "tables that share a page": shared_root,
    "texts in UTF-16": utf_16,
    "four billion pages": huge_page_count,
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED.keys())
def test_a_file_that_is_not_made_as_a_run_is_none(
    forge: Callable[[Path], None], path: Path, command: Command
) -> None:
    forge(path)
    before = path.read_bytes()
    started = time.monotonic()
    for arguments in COMMANDS.values():
        assert "run.db" in refusal(command(*arguments))
    assert time.monotonic() - started < 20.0
    assert path.read_bytes() == before


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED.keys())
def test_such_a_file_is_not_written_to(forge: Callable[[Path], None], path: Path) -> None:
    forge(path)
    with pytest.raises(StoreError):
        connect(path, "rw")


def test_pages_that_are_read_twice_are_a_damaged_run(path: Path) -> None:
    insert = "INSERT INTO tokens (token_id, flagged_by) VALUES (?, '[]')"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(insert, [(i,) for i in range(6, 3000)])
        query = "SELECT rootpage FROM sqlite_schema WHERE name = 'tokens'"
        (root,) = connection.execute(query).fetchone()
    data = bytearray(path.read_bytes())
    page = 4096 * (root - 1)
    assert data[page] == 5  # an inner page: children, each with the last of its ids
    (cells,) = struct.unpack_from(">H", data, page + 3)
    places = struct.unpack_from(f">{cells}H", data, page + 12)
    for place in places[1:]:
        data[page + place : page + place + 4] = data[page + places[0] : page + places[0] + 4]
    path.write_bytes(data)
    with pytest.raises(StoreError, match="damaged run"):
        geom.open_run(path)


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
        assert "is no run of geom" in refusal(command(*arguments)) or arguments[0] == "run"


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
    with pytest.raises(StoreError, match="describes no domain"):
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
    with geom.open_run(path) as run, pytest.raises(StoreError, match="not one value an index"):
        run.evidence(4)


def test_weights_without_their_tokens_are_refused(path: Path) -> None:
    edit(path, "DELETE FROM evidence WHERE token_id = 4 AND name = 'indices'")
    with geom.open_run(path) as run, pytest.raises(StoreError, match="not one value an index"):
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
    with pytest.raises(StoreError, match="the text of token 0 has 1048577 characters"):
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
    """What a reader of all that a run holds says of it, if it refuses it."""
    try:
        with geom.open_run(path, Readout.fold(SQUARE)) as run:
            for row in run.rows():
                run.certificate(row.token_id)
            run._repr_html_()
            page_data(run)
            for reporter in (csv_file, jsonl):
                reporter.write(run, BytesIO(), NoOptions())
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


# One gate


TEXTS = ["token", "argmax", "certifier", "note", "flagged_by"]
PLACES = {
    **{
        f"tokens.{name}": (
            f"UPDATE tokens SET {name} = ?",
            json.dumps([BAD]) if name == "flagged_by" else BAD,
        )
        for name in TEXTS
    },
    "measures.token": ("UPDATE measures SET token = ?", BAD),
    "measures.note": ("UPDATE measures SET note = ?", BAD),
    "measures.options": ("UPDATE measures SET options = ?", json.dumps({BAD: BAD})),
    **{
        f"meta.{key}": (f"UPDATE meta SET value = ? WHERE key = '{key}'", json.dumps(value))
        for key, value in {
            "model": f"npz:{BAD}",
            "notes": [BAD, "\ud800"],
            "warnings": [BAD, "\ud800"],
            "versions": {BAD: BAD},
        }.items()
    },
    **{
        f"settings.{key}": (
            f"UPDATE meta SET value = json_set(value, '$.{key}', json(?)) WHERE key = 'settings'",
            json.dumps(value),
        )
        for key, value in {
            "digest": BAD,
            "tokens": BAD,
            "detectors": {BAD: {BAD: BAD}},
            "certifiers": {BAD: {BAD: BAD}},
        }.items()
    },
}


@pytest.mark.parametrize(("statement", "value"), PLACES.values(), ids=PLACES.keys())
def test_no_text_of_a_file_acts_on_a_terminal(
    statement: str, value: str, path: Path, command: Command
) -> None:
    edit(path, statement, values=(value,))
    ways = [
        *COMMANDS.values(),
        ["show", "run.db", "--token", "0"],
        ["show", "run.db", "--token", "4"],
        ["show", "run.db", "--token", BAD],
        ["verify", "run.db", "-m", "npz:square.npz"],
        ["measure", "run.db", "-m", "npz:square.npz", "--measure", "row-norm"],
        ["compare", "run.db", "-m", "npz:square.npz", "-p", "float32"],
        ["report", "run.db", "-m", "npz:square.npz"],
    ]
    for arguments in ways:
        done = command(*arguments)
        assert not acting(done.out + done.err), arguments
        assert done.code in (0, 1, 2)
    said = command("show", "run.db", "--token", "0").out + command("show", "run.db").out
    assert "[red]x[/red]" in said or statement not in SHOWN


SHOWN = [
    statement
    for place, (statement, _) in PLACES.items()
    if place
    in ("tokens.note", "tokens.certifier", "tokens.flagged_by", "meta.notes", "meta.warnings")
]
"""Those that a command shows whole: markup in them is text."""


@pytest.mark.parametrize(("statement", "value"), PLACES.values(), ids=PLACES.keys())
def test_jsonl_gives_back_what_was_written_a_line_a_token(
    statement: str, value: str, path: Path, command: Command
) -> None:
    edit(path, statement, values=(value,))
    done = command("export", "run.db")
    lines = done.out.removesuffix("\n").split("\n")
    assert (done.code, len(lines), done.out.splitlines()) == (0, 6, lines)
    assert not acting(done.out)
    name = statement.split()[3]
    if statement.startswith("UPDATE tokens"):
        expected = json.loads(value) if name == "flagged_by" else value
        assert [json.loads(line).get(name) for line in lines] == [expected] * 6


@pytest.mark.parametrize(("statement", "value"), PLACES.values(), ids=PLACES.keys())
def test_no_text_of_a_file_acts_in_a_page(statement: str, value: str, path: Path) -> None:
    edit(path, statement, values=(value,))
    with geom.open_run(path, Readout.fold(SQUARE)) as run:
        page = Page(page_of(run))
        shown = run._repr_html_()
    assert not acting(shown)

    def texts(item: Any) -> list[str]:
        if isinstance(item, dict):
            return [text for pair in item.items() for part in pair for text in texts(part)]
        if isinstance(item, list):
            return [text for part in item for text in texts(part)]
        return [item] if isinstance(item, str) else []

    assert not {text for text in texts(page.data) if acting(text)}


def test_a_csv_on_a_terminal_is_spelled_out_and_in_a_pipe_is_not(path: Path) -> None:
    pty = pytest.importorskip("pty")
    edit(path, "UPDATE tokens SET token = ?", values=(f"a{BAD}",))
    arguments = [*GEOM, "export", "run.db", "--format", "csv"]
    piped = subprocess.run(arguments, capture_output=True, timeout=120, check=True)
    assert f"a{BAD}" in piped.stdout.decode()
    ours, theirs = pty.openpty()
    with subprocess.Popen(arguments, stdout=theirs, stderr=subprocess.PIPE) as process:
        os.close(theirs)
        written = b""
        with suppress(OSError):  # Linux says so at the end of a terminal
            while part := os.read(ours, 65536):
                written += part
    os.close(ours)
    shown = written.decode().replace("\r\n", "\n")
    assert process.returncode == 0
    assert not acting(shown)
    assert r"a\u001b[2J" in shown


# Plugins and messages


PLUGIN = """
from dataclasses import dataclass
from typing import Annotated
from msgspec import Meta
from geom import Detector, Measure, Measurement, NoOptions, hookimpl

BAD = {bad!r}

@dataclass(frozen=True)
class Options:
    way: Annotated[str, Meta(description=BAD)] = BAD

@hookimpl
def geom_detectors():
    yield Detector({name!r}, BAD, lambda *given: [], Options)
"""


def test_no_text_of_a_plugin_acts_on_a_terminal(tmp_path: Path) -> None:
    install(tmp_path, "good-name", PLUGIN.format(bad=BAD, name="calm"))
    install(tmp_path, "bad-name", PLUGIN.format(bad=BAD, name=BAD))
    for arguments in (["plugins"], ["plugins", "calm"], ["plugins", "--format", "json"]):
        done = separately(*arguments, python_path=tmp_path)
        assert done.code == 0
        assert not acting(done.out + done.err)
        assert "calm" in done.out
        assert "bad-name 1.5 skipped: PluginError: geom_detectors yields the name" in done.err


def test_a_message_of_any_length_is_a_short_line(capfd: pytest.CaptureFixture[str]) -> None:
    text = f"first {BAD} " + "line\n" * 200_000 + " last"
    say(text)
    said = capfd.readouterr().err
    assert said.startswith(r"geom: first \u001b[2J")
    assert said.endswith("last\n")
    assert "1000" in said  # how long it was
    assert said.count("\n") == 1
    for message in (said.rstrip(), str(InputError(text)), raised(ValueError(text))):
        assert len(message) < 2100
        assert "\n" not in message
    assert not acting(said + str(InputError(text)))


def test_a_stage_of_a_plugin_does_not_act_on_the_terminal(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with bars() as watcher:
        watcher("[red]x[/red]\x1b[2J\u202e", 1.0, 2.0, BAD[-30:])
    said = capfd.readouterr().err
    assert "[red]x[/red]" in said
    assert not acting(said)
