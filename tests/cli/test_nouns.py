"""What a row is called, everywhere that a user reads of it: classes, items, tokens."""

from __future__ import annotations

import re
import sqlite3
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import geom
from geom import InputError, Noun, Readout, StoreError
from support.command import Command

SQUARE = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [0.5, 0.25], [0.5, 0.25]])
"""Four corners, and two equal points inside them."""

TEXTS = np.array(["ne", "se", "nw", "sw", "in", "too"])


def save(name: str, W: NDArray[np.float64] = SQUARE) -> str:
    """Save the rows, and return the name of the model of classes."""
    np.savez(name, W=W, texts=TEXTS)
    return f"npz:{name}?noun=class"


@pytest.fixture(autouse=True)
def _alone(own_folder: Path) -> None:
    """Work in a folder of its own."""


def test_every_command_speaks_of_classes(command: Command) -> None:
    one, other = save("one.npz"), save("other.npz", SQUARE[::-1].copy())
    out = command("run", "--model", one, "--tokens", "0-4", "--out", "one.db").out
    assert "6 classes, d = 2" in out
    assert re.search("1 +unspeakable +cannot be predicted: no point of the domain makes it", out)
    assert "not in the list of classes" in out
    assert re.search(r"id +class +verdict", out)
    assert "the speakable classes are in proven order" in out
    shown = command("show", "one.db", "--token", "in").out
    assert "same row and bias as class 5" in shown
    assert re.search(r"weights on +1 class *\n", shown)
    absent = command("show", "one.db", "--token", "out")
    assert (absent.code, "class 'out' was not examined" in absent.err) == (2, True)
    assert "domain unbounded, classes 0-4" in command("verify", "one.db").out
    command("run", "--model", other, "--tokens", "all", "--out", "other.db")
    assert "6 classes, d = 2" in command("diff", "one.db", "other.db").out
    markdown = command("diff", "one.db", "other.db", "--format", "markdown").out
    assert "| run | classes | domain |" in markdown
    assert re.search(r"model +classes +d", command("show", "one.db", "other.db").out)
    gate = command("run", "--model", one, "--tokens", "all", "--fail-on", "unspeakable")
    assert gate.code == 1
    assert '2 classes are unspeakable: 4 "in", 5 "too"' in gate.err
    measured = command("measure", "--model", one, "--measure", "row-norm", "--tokens", "0").out
    assert re.search("id +class +row-norm", measured)
    compared = command("compare", "--model", one, "--precision", "float32", "--tokens", "0").out
    assert re.search("id +class +exactly", compared)


def test_no_command_speaks_of_tokens(command: Command) -> None:
    command("run", "--model", save("x.npz"), "--tokens", "0-4", "--out", "x.db")
    for arguments in (
        ("show", "x.db"),
        ("show", "x.db", "--token", "in"),
        ("show", "x.db", "x.db"),
        ("verify", "x.db"),
        ("diff", "x.db", "x.db"),
        ("diff", "x.db", "x.db", "--format", "markdown"),
        ("measure", "x.db", "--measure", "row-norm"),
        ("compare", "x.db", "--precision", "float32"),
    ):
        done = command(*arguments)
        assert (done.code, "token" in done.out) == (0, False), arguments
    with geom.open_run("x.db") as run:
        assert "token" not in run._repr_html_()


def test_the_keys_of_json_lines_are_the_same_for_all(command: Command) -> None:
    lines = []
    for model in (save("x.npz"), "npz:x.npz"):
        done = command("run", "--model", model, "--tokens", "0", "--format", "jsonl")
        lines.append([{**row, "seconds": None} for row in done.rows])
    assert lines[0] == lines[1]


def test_a_report_speaks_of_items() -> None:
    run = geom.run(Readout.fold(SQUARE, tokens=TEXTS.tolist(), noun="item"), tokens="all")
    file = BytesIO()
    geom.export(run, "html", file)
    page = file.getvalue().decode()
    assert "the items that cannot be recommended" in page
    assert "All items" in page
    assert '<h2 id="tokens-title">Items</h2>' in page


def test_a_head_that_is_edited_or_shared_keeps_its_noun() -> None:
    readout = Readout.fold(SQUARE, noun="item")
    assert readout.cast("float16").noun == readout.with_new_rows(1).noun == Noun.ITEM
    assert readout.with_rows([0], SQUARE[:1]).noun == readout.without_bias().noun == Noun.ITEM
    run = geom.run(
        readout,
        tokens="all",
        opening=False,
        executor="local",
        options={"executor.local.workers": 2},
    )
    assert run.row(4).note == "same row and bias as item 5"


def test_verify_sees_another_word_in_the_file() -> None:
    geom.run(save("x.npz"), tokens="all", out="x.db").close()
    with sqlite3.connect("x.db") as file:
        file.execute("UPDATE meta SET value = '\"item\"' WHERE key = 'noun'")
    file.close()
    with geom.open_run("x.db") as run:
        assert [str(fault) for fault in geom.verify(run).faults] == [
            "its rows are items, and the model's classes"
        ]
        named = geom.verify(run, geom.load("npz:x.npz"))
        assert named.ok
        assert "that its rows are items: those of npz:x.npz are tokens" in named.unchecked


def test_a_word_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="unknown noun 'tokens': did you mean 'token'"):
        Readout.fold(SQUARE, noun="tokens")
    geom.run(save("x.npz"), tokens="all", out="x.db").close()
    with sqlite3.connect("x.db") as file:
        file.execute("UPDATE meta SET value = '\"\\u001b[2J\"' WHERE key = 'noun'")
    file.close()
    with pytest.raises(StoreError, match=r"x\.db is a damaged run: unknown noun '.x1b\[2J'"):
        geom.open_run("x.db")


def test_runs_of_older_versions_are_of_tokens() -> None:
    geom.run(save("x.npz"), tokens="all", out="x.db").close()
    with sqlite3.connect("x.db") as file:
        file.execute("DELETE FROM meta WHERE key = 'noun'")
    file.close()
    with geom.open_run("x.db") as run:
        assert run.noun == "token"


@pytest.mark.parametrize(
    ("noun", "one", "many", "chosen"),
    [
        ("token", "1 token", "2 tokens", "said"),
        ("class", "1 class", "2 classes", "predicted"),
        ("item", "1 item", "2 items", "recommended"),
    ],
)
def test_the_words(noun: str, one: str, many: str, chosen: str) -> None:
    word = Noun.named(noun)
    assert (word.counted(1), word.counted(2), word.chosen) == (one, many, chosen)


def test_readouts_of_several_kinds_are_of_tokens_together() -> None:
    assert Noun.shared(Noun.CLASS, Noun.ITEM) == Noun.TOKEN
    assert Noun.shared(Noun.CLASS, Noun.CLASS) == Noun.CLASS
