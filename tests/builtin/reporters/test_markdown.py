"""``markdown``, read by another program: what it shows is the run, and no text of a token acts."""

from __future__ import annotations

import io
import re
import shlex
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import geom
from geom import Readout, Run, visible
from geom_plugins.reporters.origin import command as command_of
from support.command import Command

HOSTILE = [
    "`",
    "``` a `b",
    "|",
    r"\|",
    r"\\|",
    "a | b | c",
    "<script>alert(1)</script>",
    "<!-- ",
    "</table>",
    "![x](http://h/x.png)",
    "[x](javascript:y)",
    "@everyone #1 $x^2$",
    "\n\n# title\n\n",
    "\x1b[31m\x07",
    "\u202eabc",
    "&lt;b&gt;",
    " ",
    "",
    "**b** _i_ ~~s~~",
    "| --- |",
]


def written(run: Run, **options: object) -> str:
    file = io.BytesIO()
    given = {f"reporter.markdown.{name}": value for name, value in options.items()}
    geom.export(run, "markdown", file, given)
    return file.getvalue().decode()


class Page(HTMLParser):
    """The tags of a page, and the texts of the cells of its tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.tables: list[list[list[str]]] = []
        self.titles: list[str] = []
        self._into: list[str] | None = None
        self.feed(MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(text))

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self._into = self.tables[-1][-1]
            self._into.append("")
        elif tag in ("h1", "h2", "h3", "h4"):
            self._into = self.titles
            self._into.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "h1", "h2", "h3", "h4"):
            self._into = None

    def handle_data(self, data: str) -> None:
        if self._into is not None:
            self._into[-1] += data


PLAIN = {"h3", "h4", "p", "table", "thead", "tbody", "tr", "th", "td", "code"}


def of_texts(texts: list[str]) -> Run:
    """Return a run in which half of the tokens are twins, and so unspeakable."""
    n = len(texts)
    angles = np.arange(n) // 2 * (2 * np.pi / n)
    W = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    W[-1] *= 2
    return geom.run(Readout.fold(W, tokens=texts), tokens="all")


def test_no_text_of_a_token_acts_or_breaks_a_table() -> None:
    run = of_texts(HOSTILE)
    page = Page(written(run, limit=100))
    assert page.tags == PLAIN
    assert page.titles == [
        "Which tokens can be said",
        "Unspeakable",
        "The hardest to speak",
    ]
    rows = [row for table in page.tables[2:] for row in table[1:]]
    assert all(len(row) == 5 for row in rows)
    shown = {int(row[0]): row[1] for row in rows}
    assert shown.keys() == set(range(len(HOSTILE)))
    for token, text in enumerate(HOSTILE):
        assert shown[token] == visible(text)


@given(st.text(max_size=30))
def test_any_text_is_shown_as_it_is_in_code(text: str) -> None:
    cell = geom.markdown_code(visible(text))
    (table,) = Page("\n".join(geom.markdown_table(("a", "b"), [(cell, "end")]))).tables
    assert table == [["a", "b"], [visible(text), "end"]]


@given(st.text(alphabet="\\|`a <", min_size=1, max_size=12))
def test_backslashes_and_bars_end_no_cell(text: str) -> None:
    lines = geom.markdown_table(("a", "b"), [(geom.markdown_code(text), "end")])
    (table,) = Page("\n".join(lines)).tables
    assert [len(row) for row in table] == [2, 2]
    assert table[1][1] == "end"


@given(st.text(max_size=30))
def test_escaped_text_is_only_text(text: str) -> None:
    page = Page("x " + geom.markdown_text(text))
    assert page.tags <= {"p"}


def test_what_identifies_the_run_is_there() -> None:
    with geom.run("demo", tokens="96,116,183") as run:
        page = Page(written(run))
        versions = run.versions
    facts = dict(page.tables[0][1:])
    assert facts["model"] == "demo"
    assert facts["SHA-256 of the readout"] == geom.load("demo").digest
    assert facts["readout"] == "3072 tokens, d = 64"
    assert facts["domain"] == "layernorm"
    assert facts["versions"].startswith(f"geom-unembed {versions['geom-unembed']}, python ")
    assert page.tables[1][1:] == [
        ["3", "unspeakable", "no point of the domain makes it win"],
        ["3069", "not examined", "not in the list of tokens"],
    ]


def test_a_limit_leaves_rows_and_says_how_many() -> None:
    run = of_texts([f"t{i}" for i in range(40)])
    counts = run.counts()
    text = written(run, limit=3)
    assert f"\n{counts['unspeakable'] - 3} more.\n" in text
    rows = [len(table) - 1 for table in Page(text).tables[2:]]
    assert rows == [3, min(3, counts["speakable"])]
    assert len(Page(written(run, limit=0)).tables) == 2
    with pytest.raises(geom.InputError, match=r"reporter\.markdown\.limit=-1"):
        written(run, limit=-1)


def test_the_hardest_are_said_to_be_so_only_where_it_is_proven() -> None:
    proven = "They are proven to be the hardest of those that can be said, in order."
    with geom.run("demo", tokens="20-40", hardest=3) as run:
        assert proven in written(run, limit=3)
        assert "The first 3 speakable tokens are the hardest, in proven order" in written(run)
        assert proven not in written(run)


def test_what_is_shown_is_explained_and_nothing_else() -> None:
    """The centre of a square can only tie; a corner is ahead of the others."""
    W = np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [0.0, 0.0]])
    tie = "An upper bound of 0 allows a tie, never a win."
    with geom.run(geom.Readout.fold(W), tokens="all", domain="box") as run:
        assert run.row(4).margin_upper == 0.0
        text = written(run)
        assert f"\n\n{tie}\n\nMargins are in logits: " in text
        assert tie not in written(run, limit=0)
    with geom.run(geom.Readout.fold(W), tokens=[0, 1], domain="box") as run:
        assert tie not in written(run)


@pytest.mark.parametrize(
    "words",
    [
        ("--tokens", "20-30"),
        ("--detector", "random-directions", "-o", "detector.random-directions.samples=200"),
        ("--certifier", "none", "--tokens", "1-3"),
        ("--domain", "box", "-o", "domain.box.radius=2.5", "--tokens", "20", "--opening", "no"),
        ("--hardest", "0", "--tokens", "20,21"),
    ],
    ids=" ".join,
)
def test_the_command_makes_the_same_run(words: tuple[str, ...], command: Command) -> None:
    np.save("W.npy", np.random.default_rng(0).normal(size=(40, 3)))
    assert command("run", "-m", "W.npy", *words, "--out", "run.db").code == 0
    with geom.open_run("run.db") as run:
        geom_, *again = shlex.split(command_of(run))
        settings, ids = run.settings, run.tokens()
    assert geom_ == "geom"
    assert command(*again, "--out", "again.db").code == 0
    with geom.open_run("again.db") as run:
        assert (run.settings, run.tokens()) == (settings, ids)


def test_it_is_text_and_is_named_md(command: Command) -> None:
    assert command("run", "--tokens", "20-22", "--out", "run.db").code == 0
    done = command("export", "run.db", "--format", "markdown", "-o", "reporter.markdown.limit=1")
    assert done.code == 0
    assert re.match("### ", done.out)
    assert command("export", "run.db", "--format", "markdown", "--out", "run.md").code == 0


def test_a_winner_that_was_not_examined_has_its_kind() -> None:
    readout = Readout.fold(
        np.array([[2.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]),
        tokens=[r"\xa2", "b", "c"],
        kinds=["byte", "normal", "normal"],
    )
    file = io.BytesIO()
    geom.export(geom.run(readout, tokens=[1]), "markdown", file)
    assert r'0 `"\xa2" byte`' in file.getvalue().decode()
