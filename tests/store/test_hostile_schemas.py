"""Files that are not made to the letter as a run is: one line, and exit code 2."""

from __future__ import annotations

import sqlite3
import struct
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import geom
from geom import StoreError
from geom.store.connection import connect
from geom.store.file_format import APPLICATION_ID, SCHEMA, VERSION
from support.command import Command
from support.hostile_runs import BAD, COMMANDS, edit, refusal


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
