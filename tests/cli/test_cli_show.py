"""``geom show``: output for people, and no token acts on the terminal.

Unicode's own tables give the width of a line, and the run's rows give its contents.
"""

from __future__ import annotations

import re
import sqlite3
import unicodedata
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import geom
from geom import Readout
from support.command import Command
from support.stored_runs import edit
from support.terminal import SEQUENCES, terminal, width

SQUARE = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [0.25, 0.5], [1.0, 1.0]])
TEXTS = [" one", "two", " two", None, "1", "twin"]
NASTY = {
    "\x1b[2J\x1b[31mred": r'"\u001b[2J\u001b[31mred"',
    "two\nlines\r": r'"two\nlines\r"',
    "a\u202eb\u2066": r'"a\u202eb\u2066"',
    "[red]x[/red]": '"[red]x[/red]"',
    "[/b]": '"[/b]"',
    ":smile:": '":smile:"',
    'say "hi"': r'"say \"hi\""',
    "\x00\x07\x9b": r'"\u0000\u0007\u009b"',
    " ": '" "',
    "": '""',
    "日本語": '"日本語"',
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Write a run of the square: corners, a point inside (4), and two equal tokens (0 and 5)."""
    path = tmp_path / "run.db"
    geom.run(Readout.fold(SQUARE, tokens=TEXTS), tokens="0-2,4-5", out=path).close()
    return path


def keep(path: Path, texts: list[str | None]) -> None:
    """Write a run that lists tokens of these texts; the first wins along the others' directions."""
    rest = [[1.0, 0.0]] * (len(texts) - 1)
    readout = Readout.fold([[2.0, 0.0], *rest, [-50.0, 0.0]], tokens=[*texts, "far"])
    listed = range(len(texts))
    geom.run(readout, tokens=listed, certifiers=[], out=path).close()


# Runs


def test_every_token_examined_is_listed(command: Command, run: Path) -> None:
    out = command("show", "run.db").out
    assert re.findall(r"^ *(\d+)  \S.* (?:un)?speakable", out, re.MULTILINE)
    ids = re.findall(r"^ +(\d+)  ", out, re.MULTILINE)
    assert sorted(ids) == ["0", "1", "2", "4", "5"]


def test_the_unspeakable_come_first(command: Command, run: Path) -> None:
    ids = re.findall(r"^ +(\d+)  ", command("show", "run.db").out, re.MULTILINE)
    assert set(ids[:3]) == {"0", "4", "5"}


def shown_ids(out: str) -> list[int]:
    verdicts = "speakable|unspeakable|undecided|hard"
    return [int(i) for i in re.findall(rf"^ *(\d+)  .* (?:{verdicts}) ", out, re.MULTILINE)]


def test_the_order_is_said_as_far_as_it_is_proven(command: Command, run: Path) -> None:
    out = command("show", "run.db").out
    assert "the speakable tokens are in proven order, the hardest first" in out
    assert "≈" not in out
    geom.run(Readout.fold(SQUARE), tokens="1-2", hardest=0, out="loose.db").close()
    assert "the order of the speakable tokens is not proven" in command("show", "loose.db").out
    assert "order" not in command("show", "run.db", "--verdict", "unspeakable").out


def test_tokens_that_are_equally_hard_are_marked(command: Command, own_folder: Path) -> None:
    """The corners of a square alone: a turn by a right angle takes each to the next."""
    geom.run(Readout.fold(SQUARE[:4]), tokens="all", hardest=2, out="ties.db").close()
    out = command("show", "ties.db").out
    assert "in proven order, the hardest first; ≈ marks neighbours" in out
    rows = [line for line in out.splitlines() if re.match(r" +\d ", line)]
    assert len(rows) == 4
    assert all(" ≈ " in line for line in rows)


def test_rows_are_sorted_as_asked_and_cut(command: Command, run: Path) -> None:
    assert shown_ids(command("show", "run.db", "--sort", "id").out) == [0, 1, 2, 4, 5]
    texts = {i: TEXTS[i] or "" for i in (0, 1, 2, 4, 5)}
    found = shown_ids(command("show", "run.db", "--sort", "token").out)
    assert found == sorted(texts, key=lambda i: texts[i])
    assert shown_ids(command("show", "run.db", "--sort", "id", "--limit", "2").out) == [0, 1]
    with geom.open_run("run.db", Readout.fold(SQUARE, tokens=TEXTS)) as opened:
        geom.measure(opened, ["row-norm"], tokens=[0, 1, 2, 4, 5])
    lengths = np.linalg.norm(SQUARE, axis=1)
    shortest = shown_ids(command("show", "run.db", "--sort", "row-norm").out)[0]
    assert lengths[shortest] == lengths.min()
    refused = command("show", "run.db", "--sort", "row-norms")
    assert (refused.code, refused.out) == (2, "")
    assert "unknown sort key 'row-norms': did you mean 'row-norm'?" in refused.err


def numbers(run: Path) -> dict[str, dict[int, float]]:
    """Return what rows are sorted by: bounds on the margin, the verdict's rank, lengths of rows."""
    ranks = ["unspeakable", "undecided", "hard", "speakable"]
    with geom.open_run(run, Readout.fold(SQUARE, tokens=TEXTS)) as opened:
        geom.measure(opened, ["row-norm"], tokens=[0, 1, 2, 4])
        rows = list(opened.rows())
    margins = {
        r.token_id: r.margin_upper if r.margin_lower is None else r.margin_lower for r in rows
    }
    return {
        "id": {r.token_id: r.token_id for r in rows},
        "margin": {token: bound for token, bound in margins.items() if bound is not None},
        "verdict": {r.token_id: ranks.index(r.label) for r in rows},
        "row-norm": {i: float(np.linalg.norm(SQUARE[i])) for i in (0, 1, 2, 4)},
    }


@pytest.mark.parametrize("key", ["id", "margin", "verdict", "row-norm"])
def test_the_least_come_first_or_last_and_those_without_a_number_at_the_end(
    key: str, command: Command, run: Path
) -> None:
    values = numbers(run)[key]
    for sign, given in ((1, key), (-1, f"-{key}")):
        found = shown_ids(command("show", "run.db", "--sort", given).out)
        known = [i for i in found if i in values]
        assert sorted(found) == [0, 1, 2, 4, 5]
        assert found[: len(values)] == known
        assert [sign * values[i] for i in known] == sorted(sign * v for v in values.values())


def test_the_order_of_hardness_can_be_reversed(command: Command, run: Path) -> None:
    hardest = shown_ids(command("show", "run.db").out)
    assert shown_ids(command("show", "run.db", "--sort", "-hardness").out) == hardest[::-1]
    assert shown_ids(command("show", "run.db", "--sort", "hardness").out) == hardest


def test_what_margins_mean_is_said_below_the_table(command: Command, own_folder: Path) -> None:
    """Between 16 and 32 the numbers of bfloat16 are 1/8 apart; a margin of 2 needs no warning."""
    tie, steps = "an upper bound of 0 allows a tie, never a win", "below 0.125 in bfloat16"
    for scale, lost in ((10.0, False), (1e-3, True)):
        rows = scale * SQUARE[:5]
        geom.run(Readout.fold(rows, norm="rmsnorm"), tokens="all", out=f"{scale}.db").close()
        for verdict, said in (("speakable", [False, lost]), ("unspeakable", [True, False])):
            out = command("show", f"{scale}.db", "--verdict", verdict).out
            assert [tie in out, steps in out] == said
    assert tie in command("show", "10.0.db", "--token", "4").out
    assert tie not in command("show", "10.0.db", "--token", "0").out


def test_a_token_says_among_which_logits_its_margin_is_kept(command: Command, run: Path) -> None:
    """2**-7 is the step of bfloat16 from 1 to 2, of float16 from 8 to 16, of float32 to 2**17."""
    with closing(sqlite3.connect(run)) as connection, connection:
        connection.execute("UPDATE tokens SET margin_lower = ? WHERE token_id = 1", (2.0**-7,))
    out = " ".join(command("show", "run.db", "--token", "1").out.split())
    assert "in bfloat16 among logits below 2, in float16 among logits below 16," in out
    assert "in float32 among logits below 1.31e+05" in out


def test_classes_are_counted(command: Command, run: Path) -> None:
    out = command("show", "run.db").out
    counts = dict(reversed(line.split(maxsplit=1)) for line in out.splitlines()[1:4])
    assert {name.split("  ")[0]: n for name, n in counts.items()} == {
        "speakable": "2",
        "unspeakable": "3",
        "not examined": "1",
    }


def test_the_model_and_its_domain_are_named(command: Command, run: Path) -> None:
    first = command("show", "run.db").out.splitlines()[0]
    assert first == "python  6 tokens, d = 2, domain unbounded"


@pytest.mark.parametrize(
    ("verdict", "ids"),
    [("speakable", {"1", "2"}), ("unspeakable", {"0", "4", "5"}), ("undecided", set())],
)
def test_a_verdict_picks_its_tokens(
    verdict: str, ids: set[str], command: Command, run: Path
) -> None:
    done = command("show", "run.db", "--verdict", verdict)
    assert done.code == 0
    assert set(re.findall(r"^ +(\d+)  ", done.out, re.MULTILINE)) == ids


def test_a_hard_token_is_told_from_an_easy_one(command: Command, tmp_path: Path) -> None:
    # all four are corners, but along (9, 2.9) the row (10, 0) scores a little higher
    rows = [[10.0, 0.0], [9.0, 2.9], [-10.0, 0.0], [0.0, -8.0]]
    detail = {"detector.self-argmax.centre": False}
    flags = {"detectors": ["self-argmax"], "options": detail, "tokens": "all"}
    geom.run(Readout.fold(rows), out="run.db", **flags).close()  # type: ignore[arg-type]
    out = command("show", "run.db").out
    assert re.search(r"^1  hard  .*\n3  speakable  ", out, re.MULTILINE)
    assert re.search(r"^ +1  - +hard +witness", out, re.MULTILINE)
    assert shown_ids(command("show", "run.db", "--verdict", "hard").out) == [1]
    assert len(shown_ids(command("show", "run.db", "--verdict", "speakable").out)) == 4
    shown = command("show", "run.db", "--token", "1").out
    assert re.search(r"^verdict +hard \(witness\)", shown, re.MULTILINE)


# Tokens


@pytest.mark.parametrize(
    ("asked", "ids"),
    [("2", [2]), ("two", [1]), (" two", [2]), ("twin", [5]), ("1", [1, 4]), ("0", [0])],
)
def test_a_token_is_found_by_id_and_by_exact_text(
    asked: str, ids: list[int], command: Command, run: Path
) -> None:
    out = command("show", "run.db", "--token", asked).out
    assert re.findall(r"^token +(\d+) ", out, re.MULTILINE) == [str(i) for i in ids]


@pytest.mark.parametrize(
    ("asked", "matched"),
    [("Intf", '" Intf"'), (r"a\nb", r'"a\nb"'), (r'"a\nb"', r'"a\nb"')],
)
def test_a_token_is_found_without_its_space_and_as_it_is_shown(
    asked: str, matched: str, command: Command, tmp_path: Path
) -> None:
    keep(tmp_path / "run.db", ["first", " Intf", "a\nb"])
    done = command("show", "run.db", "--token", asked)
    assert done.code == 0
    assert re.findall(r"^token +\d+ (.*?) *$", done.out, re.MULTILINE) == [matched]
    assert done.err.startswith("geom: no token is ")
    assert done.err.endswith(f"; this is {matched}\n")


def test_an_exact_text_goes_before_one_with_a_space(command: Command, run: Path) -> None:
    """``two`` and `` two`` are both tokens."""
    done = command("show", "run.db", "--token", "two")
    assert re.findall(r"^token +(\d+) ", done.out, re.MULTILINE) == ["1"]
    assert done.err == ""


def test_a_text_that_is_nearly_a_token_is_answered_with_the_token(
    command: Command, run: Path
) -> None:
    assert 'did you mean "two"?' in command("show", "run.db", "--token", "TWO").err
    assert 'did you mean "twin"?' in command("show", "run.db", "--token", "twins").err
    assert "give its id or text" in command("show", "run.db", "--token", "nothing").err


@pytest.mark.parametrize("asked", ["0,1", "0, 1", "0-1", "1,99"])
def test_a_list_of_ids_is_refused_as_a_list(asked: str, command: Command, run: Path) -> None:
    done = command("show", "run.db", "--token", asked)
    said = f"{asked!r} are several ids: give one token at a time, or leave it out to see all"
    assert (done.code, done.out, said in done.err) == (2, "", True)
    assert "not examined" not in done.err


def test_the_order_of_a_single_token_is_not_spoken_of(command: Command, own_folder: Path) -> None:
    geom.run(Readout.fold(SQUARE), tokens="1", hardest=0, out="single.db").close()
    assert "order" not in command("show", "single.db").out


def test_tokens_that_were_passed_over_are_said_not_to_be_there(
    command: Command, own_folder: Path
) -> None:
    geom.run("demo", out="demo.db", certifiers=[]).close()
    done = command("show", "demo.db", "--token", "2")
    assert (done.code, done.out) == (2, "")
    assert "token 2 was not examined in demo.db: passed over by self-argmax: it wins" in done.err
    assert "geom run --tokens 2 proves it" in done.err
    done = command("show", "demo.db", "--token", "not there")
    assert "no token examined in demo.db has the text 'not there': " in done.err
    assert "tokens that the detectors passed over are not in it" in done.err


def test_tokens_of_one_text_are_all_shown(command: Command, tmp_path: Path) -> None:
    keep(tmp_path / "run.db", ["same", "other", "same"])
    out = command("show", "run.db", "--token", "same").out
    assert re.findall(r"^token +(\d+) ", out, re.MULTILINE) == ["0", "2"]


@pytest.mark.parametrize("asked", ["nothing", "TWO", "9" * 30, "9" * 5000, "-1", ""])
def test_a_text_that_no_token_has_is_refused(asked: str, command: Command, run: Path) -> None:
    done = command("show", "run.db", "--token", asked)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "no token examined in run.db has the text " in done.err


def test_a_token_that_was_not_examined_is_refused(command: Command, run: Path) -> None:
    done = command("show", "run.db", "--token", "3")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "was not examined in run.db" in done.err


def test_an_id_that_does_not_exist_is_told_from_one_that_was_not_examined(
    command: Command, run: Path
) -> None:
    asked = command("show", "run.db", "--token", "99")
    assert (asked.code, asked.err) == (2, "geom: there is no token 99 in run.db: ids are 0 to 5\n")
    assert "not in the list that was asked for" in command("show", "run.db", "--token", "3").err


def test_a_speakable_token_comes_with_its_witness(command: Command) -> None:
    readout = Readout.fold(SQUARE, tokens=TEXTS)
    with geom.run(readout, tokens="1", opening=False, out="chain.db") as opened:
        witness = opened.certificate(1)
    assert isinstance(witness, geom.Witness)
    out = command("show", "chain.db", "--token", "two").out
    assert "speakable (witness)" in out
    assert f"2 numbers: {witness.x[0]:.6g}, {witness.x[1]:.6g}" in out


def test_an_unspeakable_token_comes_with_its_weights(command: Command, run: Path) -> None:
    with geom.open_run(run) as opened:
        weights = opened.certificate(4)
    assert isinstance(weights, geom.Weights)
    out = command("show", "run.db", "--token", "4").out
    shown = dict(re.findall(r'^  (\d+) +(0\.\d+|1)(?:  ".*")?\s*$', out, re.MULTILINE))
    assert "the mean of their logits, so weighted, is at least as high" in out
    expected = zip(weights.indices, weights.values, strict=True)
    assert {int(i): float(v) for i, v in shown.items()} == pytest.approx(dict(expected), rel=1e-5)


def test_a_twin_is_named(command: Command, run: Path) -> None:
    shown = command("show", "run.db", "--token", "0").out
    assert "same row and bias as token 5" in shown
    assert re.search(r"^weights on +1 token *$", shown, re.MULTILINE)
    assert re.search(r'^  5 +1  "twin" *$', shown, re.MULTILINE)
    assert "the logit of that token is at least as high at every point of the domain" in shown


def test_an_unspeakable_token_is_said_to_be_how_likely_at_most(command: Command, run: Path) -> None:
    said = "never the argmax, and never more likely than 0.5 (about 1 in 2) at temperature 1"
    assert re.search(rf"^probability +{re.escape(said)}", out_of(command, "--token", "0"), re.M)
    assert "probability" not in command("show", "run.db", "--token", "2").out  # it is speakable
    edit(run, "UPDATE tokens SET probability_upper = 9e999 WHERE token_id = 0")
    assert "never more likely than inf at" in command("show", "run.db", "--token", "0").out


@pytest.mark.parametrize(
    ("lower", "upper", "shown"),
    [
        (0.25, 0.5, "0.25 .. 0.5"),
        (0.25, None, ">= 0.25"),
        (None, 0.5, "<= 0.5"),
        (None, None, "-"),
    ],
)
def test_what_is_known_of_the_largest_margin_is_shown(
    lower: float | None, upper: float | None, shown: str, command: Command, run: Path
) -> None:
    with closing(sqlite3.connect(run)) as connection, connection:
        connection.execute("UPDATE tokens SET margin_lower = ?, margin_upper = ?", (lower, upper))
    assert re.search(rf"^largest margin +{shown} logits", out_of(command, "--token", "0"), re.M)
    assert f"  {shown}  " in out_of(command)


def out_of(command: Command, *arguments: str) -> str:
    return command("show", "run.db", *arguments).out


# Safety


@pytest.mark.parametrize(("text", "shown"), NASTY.items(), ids=map(ascii, NASTY))
@pytest.mark.parametrize("arguments", [[], ["--token", "0"], ["--token", "1"]])
def test_a_token_is_spelled_out_and_unbroken(
    arguments: list[str], text: str, shown: str, command: Command, tmp_path: Path
) -> None:
    keep(tmp_path / "run.db", [text, "loser"])
    out = command("show", "run.db", *arguments).out
    assert f" {shown} " in out.replace("\n", " \n")
    assert not {c for c in out if unicodedata.category(c) in ("Cc", "Cf")} - {"\n"}


@pytest.mark.parametrize("column", ["note", "certifier", "token", "argmax", "flagged_by"])
def test_nothing_in_a_forged_run_acts_on_the_terminal(
    column: str, command: Command, run: Path
) -> None:
    value = '["\\u001b[2J"]' if column == "flagged_by" else "\x1b[2J[/b]\r\u202e"
    with closing(sqlite3.connect(run)) as connection, connection:
        connection.execute(f"UPDATE tokens SET {column} = ?", (value,))
    for arguments in ([], ["--token", "1"]):
        done = command("show", "run.db", *arguments)
        assert done.code == 0
        assert not {c for c in done.out if unicodedata.category(c) in ("Cc", "Cf")} - {"\n"}


@pytest.mark.parametrize("key", ["model", "warnings", "settings"])
def test_nothing_in_the_head_of_a_forged_run_acts_on_the_terminal(
    key: str, command: Command, run: Path
) -> None:
    text = r"\u001b[2J\u202e"
    values = {"model": f'"{text}"', "warnings": f'["{text}"]'}
    domain = '{"name": "unbounded", "shape": "all", "size": null, "zero_sum": false}'
    settings = (
        f'{{"V": 6, "d": 2, "domain": {domain}, "tokens": "candidates", '
        f'"detectors": {{"{text}": {{}}}}}}'
    )
    value = values.get(key, settings)
    with closing(sqlite3.connect(run)) as connection, connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = ?", (value, key))
    done = command("show", "run.db")
    assert r"\u001b[2J\u202e" in done.out
    assert "\x1b" not in done.out + done.err


# Widths


def test_a_file_has_the_same_lines_on_every_terminal(
    command: Command, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = command("show", "run.db").out
    monkeypatch.setenv("COLUMNS", "40")
    assert command("show", "run.db").out == plain


@pytest.mark.parametrize("columns", [80, 100, 200])
def test_lines_fit_the_terminal_and_ids_and_verdicts_stay_whole(
    columns: int, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["日本語のとても長いトークンがここに", "x" * 60, "\x1b" * 20, *"abc"]
    W = 1e-5 * np.random.default_rng(1).normal(size=(6, 2))
    geom.run(Readout.fold(W, tokens=texts), tokens="all", out="wide.db").close()
    terminal(monkeypatch, columns)
    lines = SEQUENCES.sub("", command("show", "wide.db").out).splitlines()
    assert max(map(width, lines)) <= columns
    rows = [line.split() for line in lines if re.match(r" +\d+  ", line)]
    assert sorted(int(row[0]) for row in rows) == list(range(6))
    assert all({"speakable", "unspeakable", "undecided"} & set(row) for row in rows)


@pytest.mark.parametrize("columns", [80, 200])
def test_a_margin_is_never_cut(
    columns: int, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    W = -1.2345e-5 * SQUARE
    geom.run(Readout.fold(W, tokens=["x" * 60] * 6), tokens="all", out="wide.db").close()
    terminal(monkeypatch, columns)
    out = SEQUENCES.sub("", command("show", "wide.db").out)
    with geom.open_run("wide.db") as run:
        assert all(row.margin in out for row in run.rows())


def test_a_path_is_never_broken(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ("long-" * 30 + ".db")
    keep(path, ["a", "b"])
    terminal(monkeypatch, 80)
    assert f"kept in {path}\n" in SEQUENCES.sub("", command("show", str(path)).out)


def test_an_undecided_token_has_a_note(command: Command, run: Path, tmp_path: Path) -> None:
    keep(tmp_path / "none.db", ["a", "b"])
    out = command("show", "none.db", "--token", "b").out
    assert "undecided" in out
    assert "no certifier found a direction or weights" in out
