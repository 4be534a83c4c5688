"""The run file, seen with Python's own sqlite3, damaged and forged."""

from __future__ import annotations

import io
import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import geom
from geom import Finding, InputError, Readout, StoreError, Weights, store
from geom.store import Outcome, Planned, Writer, create_or_continue, open_file
from geom.store.file_format import APPLICATION_ID, VERSION
from support.pages import hostile
from support.stored_runs import edit

UNBOUNDED = {"name": "unbounded", "shape": "all", "size": None, "zero_sum": False}
SETTINGS = {"digest": "0" * 64, "V": 3, "d": 2, "domain": UNBOUNDED, "tokens": "all"}
X = np.array([0.5, -0.25])
LAM = Weights(np.array([0, 2]), np.array([0.5, 0.5]))
EXPORTED = [
    *("token_id", "token", "self_argmax", "argmax_id", "argmax", "flagged_by", "verdict"),
    *("proof", "certifier", "margin_lower", "margin_upper", "seconds", "note", "token_kind"),
    "probability_upper",
]

Open = Callable[[], Writer]


def planned(token: int) -> Planned:
    return Planned(
        token,
        token=f" t{token}",
        self_argmax=False,
        argmax_id=0,
        argmax=" t0",
        flagged_by=("self-argmax",),
        token_kind="normal",
        argmax_kind="special",
    )


def outcome(token: int, evidence: Finding | None = None, **fields: Any) -> Outcome:
    found = {
        "verdict": "speakable",
        "proof": "witness",
        "certifier": "stub",
        "margin_lower": 0.25,
        "margin_upper": None,
        "seconds": 0.5,
        "note": None,
    }
    return Outcome(token, **(found | fields), evidence=evidence or Finding(x=X, weights=LAM))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


@pytest.fixture
def begin(path: Path) -> Iterator[Open]:
    """Opens writers to the same file, with the same settings, and closes them in the end."""
    writers: list[Writer] = []

    def open_writer() -> Writer:
        writers.append(create_or_continue(path, SETTINGS, "python", {"geom": "0"}))
        return writers[-1]

    yield open_writer
    for writer in writers:
        writer.close()


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A finished run's bytes: token 0 speakable, 1 unspeakable, 2 undecided."""
    path = tmp_path_factory.mktemp("finished") / "run.db"
    writer = create_or_continue(path, SETTINGS, "python", {"geom": "0"}, ["a note"])
    writer.plan(map(planned, range(3)), ["a warning"])
    writer.record([outcome(0)])
    writer.record([outcome(1, verdict="unspeakable", proof="slack", margin_upper=-0.5)])
    writer.record([outcome(2, Finding(), verdict="undecided", proof=None, note="why")])
    writer.finish()
    writer.close()
    return path.read_bytes()


@pytest.fixture
def finished(content: bytes, path: Path) -> Path:
    path.write_bytes(content)
    return path


def query(path: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


# What is in the file


def test_the_tables_and_columns_are_those_documented(finished: Path) -> None:
    tables = [name for (name,) in query(finished, "SELECT name FROM sqlite_schema WHERE sql > ''")]
    assert sorted(tables) == ["evidence", "measures", "meta", "tokens"]
    for table in tables:
        columns = [row[1] for row in query(finished, f"PRAGMA table_info({table})")]
        documented = re.search(rf"``{table}\(([^)]*)\)``", store.__doc__ or "")
        assert documented is not None
        assert columns == documented.group(1).replace(",", " ").split()


def test_the_marks_of_the_format_are_those_documented(finished: Path) -> None:
    assert query(finished, "PRAGMA application_id") == [(int.from_bytes(b"geom"),)]
    assert query(finished, "PRAGMA user_version") == [(7,)]


def test_meta_holds_json_under_the_documented_keys(finished: Path) -> None:
    meta = {key: json.loads(value) for key, value in query(finished, "SELECT * FROM meta")}
    assert datetime.fromisoformat(meta.pop("begun")).utcoffset() == timedelta()
    assert meta == {
        "settings": SETTINGS,
        "model": "python",
        "versions": {"geom": "0"},
        "notes": ["a note"],
        "noun": "token",
        "planned": True,
        "warnings": ["a warning"],
    }


def test_arrays_are_npy_files_that_need_no_pickle(finished: Path) -> None:
    stored = {
        (kind, name): np.load(io.BytesIO(data), allow_pickle=False)
        for kind, name, data in query(
            finished, "SELECT kind, name, data FROM evidence WHERE token_id = 0"
        )
    }
    assert stored["witness", "x"].tolist() == X.tolist()
    assert stored["weights", "indices"].tolist() == LAM.indices.tolist()
    assert stored["weights", "values"].tolist() == LAM.values.tolist()


def test_rows_have_the_fields_of_the_contract_in_its_order(finished: Path) -> None:
    with open_file(finished) as run:
        rows = [row.as_dict() for row in run.rows()]
    assert [list(row) for row in rows] == [EXPORTED] * 3
    assert rows[0] == {
        "token_id": 0,
        "token": " t0",
        "self_argmax": False,
        "argmax_id": 0,
        "argmax": " t0",
        "flagged_by": ["self-argmax"],
        "verdict": "speakable",
        "proof": "witness",
        "certifier": "stub",
        "margin_lower": 0.25,
        "margin_upper": None,
        "seconds": 0.5,
        "note": None,
        "token_kind": "normal",
        "probability_upper": None,
    }


def test_rows_can_be_asked_for_by_verdict(finished: Path) -> None:
    with open_file(finished) as run:
        for token, verdict in enumerate(["speakable", "unspeakable", "undecided"]):
            assert [row.token_id for row in run.rows(verdict)] == [token]
            assert run.bounds(verdict)[0].tolist() == [token]
        assert run.counts() == {"speakable": 1, "unspeakable": 1, "undecided": 1, "pending": 0}


def test_hard_tokens_are_speakable_and_do_not_win_along_their_own_direction(begin: Open) -> None:
    writer = begin()
    writer.plan([replace(planned(1), self_argmax=True), planned(2), planned(3)], [])
    writer.record([outcome(1), outcome(2)])
    run = writer.run
    for ask in (run.rows, lambda verdict: iter(run.ranking(verdict).rows)):
        assert [row.token_id for row in ask("hard")] == [2]
        assert [row.token_id for row in ask("speakable")] == [1, 2]
    assert [(row.hard, row.label, row.verdict) for row in run] == [
        (False, "speakable", "speakable"),
        (True, "hard", "speakable"),
    ]
    assert run.bounds("hard")[0].tolist() == [2]


def test_a_verdict_that_does_not_exist_is_refused_at_once(finished: Path) -> None:
    with open_file(finished) as run:
        for ask in (run.rows, run.ranking, run.bounds):
            with pytest.raises(InputError, match="speakable, unspeakable, undecided or hard"):
                ask("hard to speak")


def test_the_certificate_is_what_proves_the_verdict(finished: Path) -> None:
    with open_file(finished) as run:
        witness, weights = run.certificate(0), run.certificate(1)
        assert isinstance(witness, geom.Witness)
        assert witness.x.tolist() == X.tolist()
        assert isinstance(weights, geom.Weights)
        assert weights.indices.tolist() == LAM.indices.tolist()
        assert run.certificate(2) is None


def test_a_token_that_was_not_examined_is_refused(finished: Path) -> None:
    with open_file(finished) as run:
        for ask in (run.row, run.certificate):
            with pytest.raises(InputError, match=r"there is no token 7 in .*: ids are 0 to 2"):
                ask(7)


def test_a_token_that_is_pending_has_no_row_yet(begin: Open, path: Path) -> None:
    begin().plan([planned(3)], [])
    with open_file(path) as run:
        assert (list(run.rows()), run.pending()) == ([], [3])
        with pytest.raises(InputError, match="token 3 was not examined"):
            run.row(3)


def test_a_run_says_where_it_is_and_what_it_holds(finished: Path) -> None:
    with open_file(finished) as run:
        assert repr(run) == f"<Run {finished}: 1 hard, 1 unspeakable, 1 undecided; 1 warning>"


def test_a_run_is_its_rows(finished: Path) -> None:
    with open_file(finished) as run:
        assert list(run) == list(run.rows())
        assert len(run) == len(list(run)) == 3
        frame = run.to_pandas()
    place = EXPORTED.index("verdict") + 1
    assert list(frame.columns) == [*EXPORTED[:place], "hard", *EXPORTED[place:]]
    assert list(frame.verdict) == ["hard", "unspeakable", "undecided"]
    assert frame.hard.dtype == bool


def test_a_run_is_as_long_as_what_it_examined(begin: Open) -> None:
    writer = begin()
    writer.plan([planned(1), planned(2)], [])
    writer.record([outcome(2)])
    assert len(writer.run) == len(list(writer.run)) == 1


def test_a_run_without_a_file_is_held_in_memory() -> None:
    with create_or_continue(None, SETTINGS, "python", {}).run as run:
        assert (run.path, run.settings) == (None, SETTINGS)


# How it is written


def test_a_token_that_cannot_be_stored_whole_is_not_stored_at_all(begin: Open, path: Path) -> None:
    writer = begin()
    writer.plan([planned(0)], [])
    no_array = Weights(np.array([0]), np.array([object()]))
    with pytest.raises(ValueError, match="allow_pickle"):
        writer.record([outcome(0, Finding(x=X, weights=no_array))])
    assert query(path, "SELECT count(*) FROM evidence") == [(0,)]
    with open_file(path) as run:
        assert run.pending() == [0]


def test_what_is_recorded_can_be_read_at_once_by_others(begin: Open, path: Path) -> None:
    writer = begin()
    writer.plan(map(planned, range(2)), [])
    for token in range(2):
        writer.record([outcome(token)])
        with open_file(path) as run:
            assert [row.token_id for row in run.rows()] == list(range(token + 1))
            assert run.certificate(token) is not None


def test_a_finished_run_is_one_file(finished: Path) -> None:
    assert [file.name for file in finished.parent.iterdir()] == [finished.name]


def test_a_finished_run_can_be_read_elsewhere_and_read_only(finished: Path) -> None:
    away = finished.parent / "away"
    away.mkdir()
    copied = away / "copy.db"
    copied.write_bytes(finished.read_bytes())
    copied.chmod(0o444)
    away.chmod(0o555)
    with open_file(copied) as run:
        assert len(list(run.rows())) == 3
        assert [file.name for file in away.iterdir()] == ["copy.db"]


def test_an_open_run_cannot_be_written_to(finished: Path) -> None:
    with open_file(finished) as run, pytest.raises(sqlite3.OperationalError, match="readonly"):
        run._file.connection.execute("DELETE FROM tokens")


def test_a_reader_that_stays_does_not_stop_the_writer(begin: Open, path: Path) -> None:
    writer = begin()
    writer.plan([planned(0)], [])
    with open_file(path) as run:
        assert run.pending() == [0]
        writer.record([outcome(0)])
        writer.finish()
        assert run.pending() == []
    writer.finish()
    writer.close()
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_run_has_one_writer_and_the_next_goes_on(begin: Open, path: Path) -> None:
    first = begin()
    first.plan([planned(0)], [])
    with pytest.raises(StoreError, match=r"run\.db: another process is writing it: wait for it"):
        begin()
    first.record([outcome(0)])
    first.close()
    assert begin().run.counts()["speakable"] == 1


def test_a_lock_that_nobody_holds_is_no_hindrance(begin: Open, path: Path) -> None:
    path.with_name("run.db-lock").touch()
    writer = begin()
    writer.finish()
    writer.close()
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["run #1 100%?.db", "ä b&c=d.db", ":memory:", "file:run.db"])
def test_any_file_name_will_do(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    create_or_continue(Path(name), SETTINGS, "python", {}).close()
    with open_file(name) as run:
        assert run.settings == SETTINGS
    assert (tmp_path / name).is_file()


# What is refused


def test_the_same_settings_go_on(finished: Path, begin: Open) -> None:
    assert len(list(begin().run.rows())) == 3


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"digest": "1" * 64}, "digest"),
        ({"domain": {"name": "box", "radius": 1.0}}, "domain"),
        ({"tokens": "1-5"}, "tokens"),
        ({"device": "cuda"}, "device"),
        ({"digest": "1" * 64, "tokens": "5"}, "digest, tokens"),
    ],
)
def test_other_settings_are_refused_by_name(
    change: dict[str, Any], named: str, finished: Path
) -> None:
    before = finished.read_bytes()
    with pytest.raises(StoreError, match=rf"\({named} differ: .*give another --out"):
        create_or_continue(finished, SETTINGS | change, "python", {})
    assert finished.read_bytes() == before


def no_run(kind: str, path: Path, run: bytes) -> None:
    """Puts something at ``path`` that is not a run."""
    contents = {
        "text": b"a text that somebody still needs\n" * 100,
        "short text": b"x",
        "short database": run[:50],
        "header only": run[:100],
        "cut in the middle": run[: len(run) // 2 + 100],
        "another format": b"PK\x03\x04" + bytes(5000),
    }
    if kind in contents:
        path.write_bytes(contents[kind])
    elif kind == "database of somebody else":
        edit(path, "CREATE TABLE tokens (token_id INTEGER)")
    elif kind == "of a later version":
        path.write_bytes(run)
        edit(path, f"PRAGMA user_version = {VERSION + 1}")
    elif kind == "without tables":
        edit(path, f"PRAGMA application_id = {APPLICATION_ID}")
        edit(path, "PRAGMA user_version = 2")
    elif kind == "directory":
        path.mkdir()


NO_RUNS = [
    "text",
    "short text",
    "short database",
    "header only",
    "cut in the middle",
    "another format",
    "database of somebody else",
    "of a later version",
    "without tables",
    "directory",
]


def read(path: Path) -> None:
    """Reads all of a run: a file cut short opens, and breaks when it is read."""
    with open_file(path) as run:
        assert run.settings
        list(run.rows())


def go_on(path: Path) -> None:
    """Goes on with a run, as the pipeline does."""
    with create_or_continue(path, SETTINGS, "python", {}).run as run:
        list(run.rows())


@pytest.mark.parametrize("kind", NO_RUNS)
def test_what_is_no_run_is_not_read(kind: str, finished: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    no_run(kind, other, finished.read_bytes())
    with pytest.raises(StoreError) as refused:
        read(other)
    assert str(other) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", NO_RUNS)
def test_what_is_no_run_is_not_overwritten(kind: str, finished: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    no_run(kind, other, finished.read_bytes())
    before = other.read_bytes() if other.is_file() else None
    with pytest.raises(StoreError) as refused:
        go_on(other)
    assert str(other) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert (other.read_bytes() if other.is_file() else None) == before


@pytest.mark.parametrize("place", ["absent/run.db", "file/run.db", ".", ""])
def test_a_place_that_cannot_be_written_is_refused(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreError, match="give an --out in a folder you can write to"):
        create_or_continue(place, SETTINGS, "python", {})
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_file_that_is_absent_is_named(path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist; name a file that geom run wrote"):
        open_file(path)
    assert not path.exists()


def test_a_pipe_or_a_folder_is_no_run(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", tmp_path, Path("/dev/null")):
        with pytest.raises(StoreError, match="is not a file; name a file that geom run wrote"):
            open_file(place)


def test_an_empty_file_is_no_run_and_may_become_one(path: Path, begin: Open) -> None:
    path.touch()
    with pytest.raises(StoreError, match="is not a run of geom"):
        open_file(path)
    assert begin().run.settings == SETTINGS


def test_a_file_that_another_program_locks_is_refused(finished: Path) -> None:
    with closing(sqlite3.connect(finished)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="locked"):
            create_or_continue(finished, SETTINGS, "python", {})


# Files that somebody has tampered with


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


DAMAGED_BLOBS = {
    "pickled objects": npy(np.array([Path("/")], dtype=object)),
    "a pickle": b"\x80\x04.",
    "no bytes": b"",
    "text": "x",
    "a number": 5,
    "cut short": npy(X)[:-3],
    "cut in its header": npy(X)[:20],
    "header alone": npy(X)[:128],
    "header that never ends": npy(X)[:10] + b"{'descr': (" + b" " * 107,
    "header of no dictionary": npy(X)[:10] + b"[" * 107 + b" " * 11,
    "header of another type": npy(X).replace(b"'<f8'", b"()   "),
    "a huge shape": npy(X).replace(b"(2,), }", b"(2000000000000000000,), }"),
}


@pytest.mark.parametrize("data", DAMAGED_BLOBS.values(), ids=DAMAGED_BLOBS.keys())
def test_a_damaged_certificate_is_refused(data: Any, finished: Path) -> None:
    edit(finished, "UPDATE evidence SET data = ? WHERE token_id = 0 AND name = 'x'", data)
    with open_file(finished) as run, pytest.raises(StoreError, match="damaged") as refused:
        run.certificate(0)
    assert "\n" not in str(refused.value)


@given(place=st.integers(0, 127), byte=st.integers(0, 255))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_certificate_with_a_wrong_byte_is_read_or_refused(
    place: int, byte: int, finished: Path
) -> None:
    data = bytearray(npy(X))
    data[place] = byte
    edit(finished, "UPDATE evidence SET data = ? WHERE token_id = 0 AND name = 'x'", bytes(data))
    with open_file(finished) as run, suppress(StoreError):
        assert isinstance(run.certificate(0), geom.Witness)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("settings", "no json"),
        ("settings", "[1]"),
        ("settings", '"text"'),
        ("settings", "null"),
        ("settings", "[" * 100_000),
        ("settings", b"\xff\xfe\x00"),
        ("settings", 5),
        ("model", "[]"),
        ("versions", "1"),
        ("warnings", "{}"),
        ("planned", "2"),
    ],
)
def test_meta_of_the_wrong_type_is_refused(key: str, value: Any, finished: Path) -> None:
    edit(finished, "UPDATE meta SET value = ? WHERE key = ?", value, key)
    with pytest.raises(StoreError, match=f"its {key} are") as refused:
        open_file(finished)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("V", value) for value in ("x", True, 0, -1, 2**41, 1e3, None)),
        *(("d", value) for value in (1.5, 0, [2], None)),
        *(("domain", value) for value in (3, None, {}, {"name": "unbounded"})),
        *(("detectors", value) for value in (3, ["self-argmax"], {"self-argmax": 1})),
        ("certifiers", "maxent"),
        ("tokens", 5),
    ],
)
def test_settings_of_the_wrong_type_are_refused(key: str, value: Any, finished: Path) -> None:
    text = json.dumps(SETTINGS | {key: value})
    edit(finished, "UPDATE meta SET value = ? WHERE key = 'settings'", text)
    said = (
        "does not describe a domain"
        if key == "domain" and isinstance(value, dict)
        else rf"\$\.{key}"
    )
    with pytest.raises(StoreError, match=f"is not a run of geom: its settings: .*{said}"):
        open_file(finished)


@pytest.mark.parametrize("key", ["V", "d", "domain"])
def test_settings_without_what_readers_rely_on_are_refused(key: str, finished: Path) -> None:
    text = json.dumps({name: value for name, value in SETTINGS.items() if name != key})
    edit(finished, "UPDATE meta SET value = ? WHERE key = 'settings'", text)
    with pytest.raises(StoreError, match=f"missing required field {key}"):
        open_file(finished)


@pytest.mark.parametrize("key", ["settings", "planned"])
def test_a_run_with_damaged_meta_does_not_go_on(key: str, finished: Path) -> None:
    edit(finished, "UPDATE meta SET value = 'no json' WHERE key = ?", key)
    with pytest.raises(StoreError, match=str(finished)):
        geom.run(Readout.fold(np.eye(3)), tokens="all", out=finished)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("flagged_by", "no json"),
        ("flagged_by", '{"a": 1}'),
        ("flagged_by", "[1]"),
        ("flagged_by", "[" * 100_000),
        ("margin_lower", "high"),
        ("margin_upper", b"\x00"),
        ("seconds", "long"),
        ("seconds", None),
        ("argmax_id", "first"),
        ("argmax_id", 0.5),
        ("token", b"\xff"),
        ("note", b"\xff"),
        ("token_kind", "rare"),
    ],
)
def test_a_row_of_the_wrong_types_is_refused(column: str, value: Any, finished: Path) -> None:
    edit(finished, f"UPDATE tokens SET {column} = ? WHERE token_id = 1", value)
    with open_file(finished) as run:
        assert run.row(0).token_id == 0
        with pytest.raises(StoreError, match="id 1: ") as refused:
            list(run.rows())
    assert "\n" not in str(refused.value)


def test_a_notebook_shows_the_counts_and_the_unspeakable_first() -> None:
    shown = hostile()._repr_html_()
    (verdict,) = re.findall(r"<tr><td>8</td><td>(.*?)</td><td>(.*?)</td>", shown)
    assert verdict == ("&quot;inside&quot;", "unspeakable")
    assert shown.index("<td>8</td>") < shown.index("<td>0</td>")
    assert "8 speakable, 1 unspeakable" in shown
    assert "<script" not in shown
    assert "\u202e" not in shown
    many = geom.run("demo", certifiers=[])._repr_html_()
    assert many.count("<tr>") == 21
    assert "393 more" in many


@pytest.mark.parametrize("where", [b" t1", b"argmax_id INTEGER", b"CREATE TABLE tokens"])
def test_text_that_is_no_utf8_is_a_damaged_run(where: bytes, finished: Path) -> None:
    content = finished.read_bytes()
    assert where in content
    finished.write_bytes(content.replace(where, b"\xff" + where[1:]))
    damaged = pytest.raises(StoreError, match=r"run\.db is not a run of geom, or a damaged one")
    with damaged, open_file(finished) as run:
        list(run.rows())


def test_bounds_are_those_of_the_rows(begin: Open, path: Path) -> None:
    writer = begin()
    writer.plan(map(planned, range(3)), [])
    writer.record([outcome(0), outcome(2, margin_upper=1.5)])
    tokens, lower, upper = writer.run.bounds("speakable")
    assert tokens.tolist() == [0, 2]
    assert lower.tolist() == [0.25, 0.25]
    assert np.isnan(upper[0])
    assert upper[1] == 1.5
    assert writer.run.bounds("unspeakable")[1].shape == (0,)
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("UPDATE tokens SET margin_upper = 'much' WHERE token_id = 2")
    with pytest.raises(StoreError, match="damaged run: margins"):
        writer.run.bounds("speakable")
