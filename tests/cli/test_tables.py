"""Tables in a narrow terminal: nothing that tells tokens apart is cut, and nothing is lost unsaid.

The columns are laid out for every width, and what is shown is compared with what was given.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

import geom
from geom import Readout
from geom.cli.display.columns import Column, laid_out, needed
from geom.cli.display.cutting import Cut, cut, token_cell
from support.command import GEOM, Command
from support.terminal import SEQUENCES, Screen, terminal, width

TEXTS = ["日本語のとても長いトークンがここに", "x" * 60, "\x1b" * 20, *"abc"]
SMALL = 1e-5 * np.random.default_rng(1).normal(size=(6, 2))
WIDTHS = [50, 60, 80, 120]


def cells(*texts: str) -> list[Text]:
    return [Text(text) for text in texts]


IDS = Column("id", cells("123456", "7"), right=True)
TOKENS = Column("token", [Cut('"a token of some length" special', 8), Cut('"b"')])
ALIKE = Column("proof", cells("witness", "witness"), same=True, spare=True)
VERDICTS = Column("verdict", cells("unspeakable", "hard"), same=True)
MARGINS = Column("largest margin", cells("1.23456e-05 .. 1.23457e-05", ">= 2"), right=True)
WINNERS = Column("won by", [Cut('5 "a long winner"', 0, 1), Cut('66 "b"', 0, 2)], spare=True)


def test_what_is_the_same_goes_before_the_text_of_a_token_does() -> None:
    columns = [IDS, TOKENS, VERDICTS, ALIKE]
    whole = needed(columns, Column.widest)
    (found,) = laid_out(columns, [], whole)
    assert (found.columns, found.same, found.missing) == (columns, [], [])
    (found,) = laid_out(columns, [], whole - 1)
    assert (found.columns, found.same, found.missing) == ([IDS, TOKENS, VERDICTS], [ALIKE], [])


def test_the_winner_and_the_proof_go_before_the_text_of_a_token_is_cut() -> None:
    proofs = Column("proof", cells("witness", "slack"), same=True, spare=True)
    columns = [IDS, TOKENS, VERDICTS, proofs, MARGINS, WINNERS]
    left = [*columns]
    for goes in (None, WINNERS, proofs):
        if goes is not None:
            left.remove(goes)
        whole = needed(left, Column.short)
        (found,) = laid_out(columns, [], whole)
        assert found.columns == left
        assert found.missing == [column for column in columns if column not in left]
    (found,) = laid_out(columns, [], whole - 1)
    assert [column.name for column in found.columns] == ["id", "token", "verdict", "largest margin"]
    assert "\n" in found.columns[3].cells[0].plain  # type: ignore[union-attr]
    assert found.columns[1].easy() == TOKENS.easy()


def test_numbers_fold_last_and_further_columns_get_tables_of_their_own() -> None:
    more = [Column(f"measure-{i}", cells(f"{i}.123456 ± 2e-09", ""), right=True) for i in range(4)]
    tables = laid_out([IDS, TOKENS, VERDICTS, MARGINS], more, 70)
    assert all(table.fits for table in tables)
    names = [column.name for table in tables for column in table.columns]
    assert [name for name in names if name.startswith("measure")] == [c.name for c in more]
    assert tables[0].columns[3].cells[0].plain == "1.23456e-05 ..\n1.23457e-05"  # type: ignore[union-attr]
    for table in tables[1:]:
        assert [column.name for column in table.columns[:2]] == ["id", "token"]
        assert {len(column.cells) for column in table.columns} == {1}  # the other row says nothing


def test_empty_columns_go_first() -> None:
    more = [Column(name, cells(text, ""), same=True) for name, text in (("a" * 30, ""), ("b", "1"))]
    (found,) = laid_out(
        [IDS, TOKENS, ALIKE], more, needed([IDS, TOKENS, ALIKE, more[1]], Column.widest)
    )
    assert (found.columns, found.same) == ([IDS, TOKENS, ALIKE, more[1]], [more[0]])


@given(st.integers(20, 200), st.lists(st.sampled_from([VERDICTS, ALIKE, MARGINS, WINNERS])))
def test_every_column_is_shown_or_named(columns: int, more: list[Column]) -> None:
    tables = laid_out([IDS, TOKENS], more, columns)
    found = [c.name for table in tables for c in (*table.columns, *table.same, *table.missing)]
    further = 2 * (len(tables) - 1)  # id and token again
    assert len(found) - further == 2 + len(more)
    assert all(needed(t.columns, Column.least) <= columns for t in tables if t.fits)


# Runs


@pytest.fixture
def measured(own_folder: Path) -> list[str]:
    """Write a run with margins and measures of many digits; return what tells its rows apart."""
    readout = Readout.fold(SMALL, tokens=TEXTS)
    names = ["angular-margin", "logit-bias", "row-norm", "perturbation"]
    with geom.run(readout, tokens="all", out="run.db") as run:
        geom.measure(run, names, tokens=range(6))
        return [row.margin for row in run.rows()]


def shown(command: Command, *arguments: str) -> list[str]:
    return SEQUENCES.sub("", command("show", "run.db", *arguments).out).splitlines()


@pytest.mark.parametrize("columns", WIDTHS)
def test_no_id_verdict_or_margin_is_cut_and_no_token_is_lost(
    columns: int, command: Command, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal(monkeypatch, columns)
    lines = shown(command)
    table = [line for line in lines if not re.match(r"(the|kept|an upper|margins|rounding) ", line)]
    assert max(map(width, table)) <= columns
    rows = [line for line in lines if re.match(r" +\d  ", line)]
    assert {line.split()[0] for line in rows} == set("012345")
    assert not [line for line in rows if re.match(r" +\d  …", line)]
    together = " ".join(" ".join(lines).split())
    for margin in measured:
        assert all(part in together for part in margin.split(" .. "))
    named = (
        "verdict",
        "proof",
        "margin",
        "won by",
        "angular-",
        "logit-",
        "row-norm",
        "perturbation",
    )
    assert all(name in together for name in named)


def test_a_pipe_from_a_terminal_is_as_wide_as_the_terminal(
    measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``geom show | head`` prints no line that the terminal would break."""
    monkeypatch.delenv("COLUMNS", raising=False)
    screen = Screen(60, 24)
    done = subprocess.run(
        [*GEOM, "show", "run.db"], stdout=subprocess.PIPE, stderr=screen.slave, check=True
    )
    screen.hang_up()
    table = [line for line in done.stdout.decode().splitlines() if line.startswith(" ")]
    assert table
    assert max(map(width, table)) <= 60


@pytest.mark.parametrize("command", ["show", "export"])
def test_a_reader_that_has_seen_enough_ends_the_command_quietly(
    command: str, own_folder: Path
) -> None:
    geom.run(Readout.fold(SMALL[:2]), tokens="all", out="run.db").close()
    end, write = os.pipe()
    os.close(end)
    done = subprocess.run(
        [*GEOM, command, "run.db"], stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (128 + 13, b"")  # as of a program that SIGPIPE ended


# The pager


def paged(*arguments: str, lines: int, pager: str | None = "cat >pager.txt") -> list[str]:
    """Run show at a terminal; a script stands in for the pager. Return what the terminal shows."""
    script = Path("page")
    script.write_text(f"#!/bin/sh\n{pager}\n")
    script.chmod(0o755)
    screen = Screen(100, lines)
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "PAGER")}
    environment |= {"TERM": "xterm", "PAGER": str(script.resolve()) if pager else ""}
    subprocess.run(
        [*GEOM, "show", "run.db", *arguments],
        stdin=screen.slave,
        stdout=screen.slave,
        stderr=screen.slave,
        env=environment,
        check=True,
    )
    screen.hang_up()
    return screen.lines


@pytest.fixture
def long(own_folder: Path) -> None:
    geom.run(Readout.fold(np.eye(40)), tokens="all", out="run.db").close()


def test_what_does_not_fit_is_paged(long: None) -> None:
    assert paged(lines=24) == [""]
    text = SEQUENCES.sub("", Path("pager.txt").read_text(encoding="utf-8"))
    assert re.findall(r"^ +(\d+)  -", text, re.MULTILINE) == [str(i) for i in range(40)]
    assert "\x1b[" in Path("pager.txt").read_text(encoding="utf-8")


def test_a_pager_prints_to_the_terminal(long: None) -> None:
    assert paged(lines=24, pager="echo; echo paged") == ["", "paged"]


@pytest.mark.parametrize("arguments", [["--limit", "3"], ["--token", "5"]])
def test_what_fits_is_printed(arguments: list[str], long: None) -> None:
    assert len(paged(*arguments, lines=24)) > 5
    assert not Path("pager.txt").exists()


def test_pages_can_be_turned_off(long: None) -> None:
    assert len(paged("--no-pager", lines=24)) > 5
    assert len(paged(lines=24, pager=None)) > 5
    assert not Path("pager.txt").exists()


# Texts of real vocabularies

REAL = [
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<reponame>", "<file_sep>"),
    *("<filename>", "<gh_stars>", "<issue_start>", "<issue_comment>", "<issue_closed>"),
    *("<jupyter_start>", "<jupyter_text>", "<jupyter_code>", "<jupyter_output>"),
    *("<jupyter_script>", "<empty_output>", "PlaneProtection", "ManagementPlaneProtection"),
    *(" transistorsum", " InstancePreprocess", "-" * 32, "-" * 48, "-" * 64),
]


@given(st.lists(st.text("ab<>_日 ", max_size=40), max_size=12), st.integers(2, 40))
def test_texts_that_differ_look_different_however_little_room_there_is(
    texts: list[str], room: int
) -> None:
    shown = cut([token_cell(text, "special" if len(text) % 2 else None) for text in texts], room)
    assert len(set(zip(texts, shown, strict=True))) == len(set(texts)) == len(set(shown))
    if room >= 20:
        assert all(width(line) <= room for text in shown for line in text.split("\n"))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a run of real texts, many of them of tokens inside the hull of the others."""
    folder = tmp_path_factory.mktemp("real")
    W = np.random.default_rng(3).normal(size=(len(REAL), 3)).astype(np.float32)
    W[5:21] *= np.float32(0.05)
    np.savez(folder / "w.npz", W=W, texts=np.array(REAL))
    model = f"npz:{folder}/w.npz?norm=rmsnorm"
    geom.run(model, tokens="all", out=folder / "real.db").close()
    geom.run(f"{model}&cast=float8-e4m3", tokens="all", out=folder / "cast.db").close()
    return folder


NARROW = {
    "show": ["show", "real.db"],
    "sampling": ["show", "real.db", "--sampling", "top-k=1"],
    "measure": ["measure", "real.db", "-t", "all", "--limit", "99"],
    "compare": ["compare", "real.db", "-t", "all", "-p", "float32", "-p", "bfloat16"],
    "diff": ["diff", "real.db", "cast.db"],
    "repair": ["repair", "real.db", "--out", "rows.safetensors"],
}


@pytest.mark.parametrize("columns", [60, 80, 100])
@pytest.mark.parametrize("arguments", NARROW.values(), ids=NARROW.keys())
def test_real_texts_are_told_apart_in_every_table(
    arguments: list[str],
    columns: int,
    real: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(real)
    terminal(monkeypatch, columns)
    lines = SEQUENCES.sub("", command(*arguments).out).splitlines()
    found = [re.match(r' *(\d+)  ("[^"]*)', line) for line in lines]
    rows = {(int(row[1]), row[2].strip()) for row in found if row is not None}
    assert rows
    short = [(token, text) for token, text in rows if len(REAL[token]) <= 26]
    whole = [text == f'"{REAL[token]}' for token, text in short]
    assert all(whole) or columns < 80
    assert len({text for _, text in short}) == len({token for token, _ in short})
