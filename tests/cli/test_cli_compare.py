"""``geom compare``: rows, tables, plots and refusals as a user sees them.

In the model of these tests token 0 is ahead of token 1 along (1, 0) by 2^-13, which half precision
cannot see; token 2 is far off, and its text is nasty.
"""

from __future__ import annotations

import re
import sys
import unicodedata
import xml.etree.ElementTree as ElementTree
from html import unescape
from pathlib import Path

import numpy as np
import pytest

import geom
from geom import PrecisionMargin, Readout
from geom.comparison import plot
from support.command import Command, separately
from support.places import bare
from support.plugins import Use
from support.precisions import NAMES, SHIFTED, USUAL, only, precision
from support.terminal import SEQUENCES, terminal, width

GAP = 2.0**-13
ROWS = np.array([[1.0 + GAP, 0.0], [1.0, 0.0], [-1.0, 0.0]])
MODEL = "npz:model.npz"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use: Use) -> None:
    """Write a model, a run and a point in the test's folder."""
    monkeypatch.chdir(tmp_path)
    np.savez("model.npz", W=ROWS)
    np.save("x.npy", np.array([1.0, 0.0]))
    use(only(*USUAL))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "run.db"
    geom.run(MODEL, tokens="all", out=path).close()
    return path


# Rows


def test_a_model_is_compared_row_by_row(command: Command) -> None:
    done = command(
        "compare", "-m", MODEL, "-t", "0", "--at", "x.npy", "-p", "single", "--format", "jsonl"
    )
    assert done.code == 0
    assert done.rows == [
        {
            "token_id": 0,
            "token": None,
            "precision": "single",
            "margin": GAP,
            "argmax_id": 0,
            "sign": 1,
            "agrees": True,
        }
    ]
    assert "compare" in done.err


def test_all_precisions_are_the_default(command: Command) -> None:
    rows = command("compare", "-m", MODEL, "-t", "0", "--format", "jsonl").rows
    assert [row["precision"] for row in rows] == NAMES
    assert [row["agrees"] for row in rows] == [False, True, True, True]


def test_a_run_is_compared_without_naming_tokens(command: Command, run: Path) -> None:
    rows = command("compare", "run.db", "--format", "jsonl").rows
    assert [row["token_id"] for row in rows[:: len(NAMES)]] == [0, 1, 2]
    with geom.open_run(run) as opened:
        expected = [row.as_dict() for row in geom.compare(opened)]
    assert rows == expected


def test_a_run_can_be_told_where_its_weights_are(command: Command, run: Path) -> None:
    Path("model.npz").rename("elsewhere.npz")
    assert command("compare", "run.db", "--format", "jsonl").code == 2
    done = command("compare", "run.db", "-m", "npz:elsewhere.npz", "--format", "jsonl")
    assert (done.code, len(done.rows)) == (0, 12)
    np.savez("other.npz", W=2 * ROWS)
    done = command("compare", "run.db", "-m", "npz:other.npz")
    assert (done.code, done.out, "other weights" in done.err) == (2, "", True)


def test_the_demo_is_the_default_model(command: Command) -> None:
    done = command("compare", "-t", "borderline=1", "-p", "double", "--format", "jsonl")
    assert (done.code, len(done.rows)) == (0, 1)
    assert isinstance(done.rows[0]["token"], str)


def test_points_are_given_one_a_token(command: Command) -> None:
    np.save("xs.npy", np.array([[-2.0, 0.0], [1.0, 0.0]], dtype=np.float32))
    done = command(
        "compare", "-m", MODEL, "-t", "2,0", "--at", "xs.npy", "-p", "double", "--format", "jsonl"
    )
    assert [(row["token_id"], row["margin"]) for row in done.rows] == [(2, 4.0), (0, GAP)]


def test_options_reach_a_precision(command: Command, use: Use) -> None:
    use(only(SHIFTED))
    more = ("-o", "precision.shifted.by=2", "--format", "jsonl")
    (row,) = command("compare", "-m", MODEL, "-t", "0", "--at", "x.npy", *more).rows
    assert row["margin"] == 2.0 + GAP


def test_what_no_number_can_be_is_null(command: Command, use: Use) -> None:
    infinite = precision("infinite", lambda *_: PrecisionMargin(np.inf, 0), 0.5)
    use(only(infinite, precision("bad", lambda *_: 1 / 0, 0.25)))
    done = command("compare", "-m", MODEL, "-t", "0", "--format", "jsonl")
    assert [(row["margin"], row["sign"], row["agrees"]) for row in done.rows] == [
        (None, 1, True),
        (None, None, False),
    ]
    said = "geom: precision bad raised ZeroDivisionError: division by zero: token 0\n"
    assert said in bare(done.err, "test_cli_compare.py")


def test_a_solver_says_what_it_returned(command: Command) -> None:
    np.savez("twins.npz", W=[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0], [1.0, 0.0]])
    asked = ("-m", "npz:twins.npz", "-t", "0", "--domain", "box", "--solver", "linprog-post")
    done = command("compare", *asked, "--format", "jsonl")
    claim = "token 0: linprog-post returned a direction (historical: the post's program calls it"
    assert claim in done.err
    assert [row["sign"] for row in done.rows if row["precision"] == "rational"] == [0]
    assert claim in " ".join(command("compare", *asked).out.split())


# Tables


def test_wrong_answers_are_marked_and_the_least_is_below(command: Command) -> None:
    out = command("compare", "-m", MODEL, "-t", "0,2", "--at", pair(), "-p", "half", "-p", "single")
    lines = [line.split() for line in out.out.splitlines()]
    assert ["0", "-", "0.00012", "0!", "0.00012"] in lines
    assert ["2", "-", "-2.1", "-2", "-2.1"] in lines  # -2 - 2^-13, rounded down
    assert [line for line in lines if line[:1] == ["half"]] == [["half", "0.00049", "1", "2"]]
    assert [line for line in lines if line[:1] == ["single"]] == [["single", "6e-08", "1", "0"]]


def pair() -> str:
    np.save("pair.npy", np.array([[1.0, 0.0], [1.0, 0.0]]))
    return "pair.npy"


def test_an_unproven_answer_and_a_missing_one_are_marked(command: Command, use: Use) -> None:
    use(only(SHIFTED, precision("bad", lambda *_: 1 / 0, 0.5)))
    out = command("compare", "-m", MODEL, "-t", "0", "--at", "x.npy").out
    assert ["0", "-", "0.00012", "-", "0.00012?"] in [line.split() for line in out.splitlines()]


def test_where_none_is_right_the_table_says_so(command: Command) -> None:
    out = command("compare", "-m", MODEL, "-t", "0", "-p", "half").out
    assert re.search(r"^ none +- +1 +0 *$", out, re.MULTILINE)


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_lines_fit_the_terminal_and_no_number_is_cut(
    columns: int, command: Command, monkeypatch: pytest.MonkeyPatch, use: Use
) -> None:
    texts = ["日本語のとても長いトークン", "x" * 60, "\x1b[2J"]
    readout = Readout.fold(ROWS, tokens=texts)
    geom.run(readout, tokens="all", out="wide.db").close()
    more = [precision(f"arithmetic-{k}", USUAL[0].margin, 2.0**-k) for k in range(1, 10)]
    use(only(*USUAL, *more))
    monkeypatch.setattr("geom.loading.weights_of", lambda run, **_: readout)
    terminal(monkeypatch, columns)
    out = command("compare", "wide.db").out
    lines = SEQUENCES.sub("", out).splitlines()
    assert max(map(width, lines)) <= columns
    table = "\n".join(lines)
    assert all(f"arithmetic-{k}" in table for k in range(1, 10))
    assert len(re.findall(r"(?<= )0\.00012 ", table)) >= 12
    assert "\x1b[2J" not in out
    assert r"\u001b" in table
    rows = [line for line in lines if re.match(r" +[012]  ", line)]
    assert not [line for line in rows if "…" in line.split('"')[-1].replace("…", "", 1)]


def test_a_large_table_is_cut_and_says_so(command: Command) -> None:
    angles = 2 * np.pi * np.arange(50) / 50
    np.savez("large.npz", W=np.stack([np.cos(angles), np.sin(angles)], axis=1))
    out = command("compare", "-m", "npz:large.npz", "-t", "all", "-p", "double").out
    assert "10 tokens more: --format jsonl has all" in out
    assert len(re.findall(r"^ +\d+  -  ", out, re.MULTILINE)) == 40


def test_nothing_to_compare_is_no_failure(command: Command) -> None:
    np.savez("square.npz", W=[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    done = command("compare", "-m", "npz:square.npz", "-t", "borderline", "--out", "no.png")
    assert (done.code, done.out) == (0, "no token to compare\n")
    assert "no token's relative margin is within 8 epsilons" in done.err
    assert not Path("no.png").exists()


# Plots


def test_a_plot_is_a_picture(command: Command) -> None:
    from matplotlib.image import imread

    done = command("compare", "-m", MODEL, "-t", "all", "--out", "plot.png")
    assert done.code == 0
    image = imread("plot.png")
    assert image.shape[0] > 400
    assert image[:3, :3, :3].min() == 1.0  # a light background
    colours = {tuple(pixel) for pixel in (255 * image[::2, ::2, :3]).astype(int).reshape(-1, 3)}
    assert {(31, 119, 180), (255, 127, 14), (44, 160, 44)} <= colours  # one line per token


def test_a_plot_spells_tokens_out() -> None:
    readout = Readout.fold(ROWS, tokens=["$x^$", "\x1b[2J<&>", "日本" + "x" * 60])
    geom.compare(readout, "all").plot("plot.svg")
    text = Path("plot.svg").read_text(encoding="utf-8")
    ElementTree.fromstring(text)
    written = [unescape(label) for label in re.findall(r"<!-- (.*?) -->", text)]
    cut = r'2 "\u65e5\u672c' + "x" * 22 + "..."
    assert {'0 "$x^$"', r'1 "\u001b[2J<&>"', cut, *NAMES} <= set(written)
    assert not {c for c in text if unicodedata.category(c) in ("Cc", "Cf")} - {"\n"}


@pytest.mark.parametrize("size", [1e-320, 1e-200, 1.0, 1e200, 1.7e308])
def test_any_size_of_margin_can_be_drawn(size: float, tmp_path: Path) -> None:
    compared = geom.compare(Readout.fold([[size], [0.0], [-size]]), "all", at=[[1.0]] * 3)
    compared.plot(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000


def test_labels_keep_their_distance_and_their_order() -> None:
    places = {"a": 4.0, "b": 4.01, "c": 4.02, "d": 100.0, "e": 101.0}
    shown = [at for _, _, at in plot._spread(places, 0.1)]
    steps = np.diff(np.log10(shown))
    assert [name for name, _, _ in plot._spread(places, 0.1)] == list("abcde")
    assert steps.min() >= 0.1 - 1e-12
    assert shown[-1] <= 101.0 * (1 + 1e-12)


def test_without_matplotlib_it_says_what_to_install(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = command("compare", "-m", MODEL, "-t", "0", "--out", "plot.png")
    assert (done.code, done.out) == (2, "")
    assert geom.install_command("report") in done.err


# Refusals


def refused(command: Command, *arguments: str) -> str:
    done = command("compare", *arguments)
    assert (done.code, done.out) == (2, "")
    (line,) = [line for line in done.err.splitlines() if line.startswith("geom: ")]
    return line


def test_bad_input_is_one_line(command: Command, run: Path) -> None:
    assert "does not exist" in refused(command, "none.db")
    assert "is not a run of geom" in refused(command, "model.npz")
    assert "no id is named" in refused(command, "-m", MODEL)
    assert "outside the vocabulary" in refused(command, "-m", MODEL, "-t", "9")
    geom.run(MODEL, tokens=[0], out="short.db").close()
    assert "was not examined" in refused(command, "short.db", "-t", "1")
    assert "unknown precision" in refused(command, "run.db", "-p", "quadruple")
    assert "write KIND.NAME" in refused(command, "run.db", "-o", "digits=5")
    assert "unknown option" in refused(command, "run.db", "-o", "precision.half.digits=5")
    assert ".png or .svg" in refused(command, "run.db", "--out", "plot.pdf")
    assert "folder does not exist" in refused(command, "run.db", "--out", "none/plot.png")
    assert "leave it out" in refused(command, "run.db", "--multiple", "4")
    assert "its own domain" in refused(command, "run.db", "--domain", "box")


def test_a_damaged_point_of_a_run_is_one_line(command: Command, run: Path) -> None:
    import io
    import sqlite3
    from contextlib import closing

    file = io.BytesIO()
    np.save(file, np.array([np.nan, 0.0]))
    with closing(sqlite3.connect(run)) as connection, connection:
        connection.execute(
            "INSERT OR REPLACE INTO evidence VALUES (1, 'witness', 'x', ?)", (file.getvalue(),)
        )
    assert "check the run with geom verify" in refused(command, "run.db")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not a NumPy file of numbers"),
        (b"no array at all", "is not a NumPy file of numbers"),
        (b"\x93NUMPY\x01\x00\x05\x00{1:2}", "is not a NumPy file of numbers"),
        (None, "does not exist; give a .npy file"),
    ],
)
def test_a_bad_file_of_points_is_one_line(
    content: bytes | None, said: str, command: Command
) -> None:
    if content is not None:
        Path("bad.npy").write_bytes(content)
    assert said in refused(command, "-m", MODEL, "-t", "0", "--at", "bad.npy")


def test_nothing_pickled_is_read(command: Command) -> None:
    np.save("bad.npy", np.array([{}, {}]), allow_pickle=True)
    assert "is not a NumPy file of numbers" in refused(
        command, "-m", MODEL, "-t", "0", "--at", "bad.npy"
    )
    np.savez("two.npz", x=np.ones(2), y=np.ones(2))
    assert "name one, as in two.npz?array=x" in refused(
        command, "-m", MODEL, "-t", "0", "--at", "two.npz"
    )


def test_points_of_another_shape_are_one_line(command: Command) -> None:
    np.save("bad.npy", np.zeros((2, 3)))
    said = refused(command, "-m", MODEL, "-t", "0,1", "--at", "bad.npy")
    assert "points have shape (2, 3): for 2 tokens give (2, 2)" in said


def test_its_help_loads_neither_numpy_nor_matplotlib() -> None:
    done = separately("compare", "--help")
    assert (done.code, done.err) == (0, "")
    assert "borderline" in done.out
