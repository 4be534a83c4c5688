"""``geom diff``: tables that fit, lines of JSON, Markdown in which no token acts, exit codes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import geom
from geom import Readout
from support.command import Command
from support.terminal import SEQUENCES, terminal, width

SQUARE = [[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]
BEFORE = [*SQUARE, [1.5, 0.0], [0.0, 1.75], [0.0, -1.5]]
AFTER = [*SQUARE, [0.5, 0.0], [0.0, 1.25], [1.0, 1.0]]
NASTY = "`|`<b>\x1b[2J\n|x|日本語" + "y" * 40
KINDS: list[geom.TokenKind] = [*["normal"] * 4, "special", "byte", "added"]  # type: ignore[list-item]


def keep(path: str, rows: list[list[float]], last: str = NASTY, tokens: str = "all") -> None:
    texts = ["a", "b", "c", "d", "<s>", r"\xe2", last]
    readout = Readout.fold(rows, tokens=texts[: len(rows)], kinds=KINDS[: len(rows)])
    geom.run(readout, tokens=tokens, hardest=len(rows), out=path).close()


@pytest.fixture
def runs(own_folder: Path) -> tuple[str, str]:
    """Write two runs: 4 falls into the hull, 6 becomes a twin of 0, the margin of 5 sinks."""
    keep("a.db", BEFORE)
    keep("b.db", AFTER)
    return "a.db", "b.db"


def test_the_summary_comes_first(command: Command, runs: tuple[str, str]) -> None:
    done = command("diff", *runs)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "before  a.db  7 tokens, d = 2, domain unbounded"
    assert lines[2].startswith("after   b.db  7 tokens")
    summary = "\n".join(lines[4 : lines.index("")])
    assert re.search(r"^ *3  newly unspeakable ", summary, re.M)
    assert re.search(r"^ *1  new groups of twins +2 tokens", summary, re.M)
    assert re.search(r"^ *1  margins sank ", summary, re.M)
    assert re.search(r"^ *4  \"<s>\" special +speakable +unspeakable ", done.out, re.M)
    assert re.search(r"^ *0, 6 +\"a\", .* +2 alone", done.out, re.M)
    sank = done.out[done.out.index("margins that sank") :]
    assert re.search(r"^ *5  \"\\xe2\" byte ", sank, re.M)


def test_a_token_that_was_hard_is_said_to_have_been(command: Command, own_folder: Path) -> None:
    """Along (9, 2.9) the row (10, 0) scores a little higher; (1, 0) is inside."""
    detail = {"detector.self-argmax.centre": False}
    for path, row in (("a.db", [9.0, 2.9]), ("b.db", [1.0, 0.0])):
        rows = [[10.0, 0.0], row, [-10.0, 0.0], [0.0, -8.0], [0.0, 8.0]]
        flags = {"detectors": ["self-argmax"], "options": detail, "tokens": "all"}
        geom.run(Readout.fold(rows), out=path, **flags).close()  # type: ignore[arg-type]
    assert re.search(r"^ +1 +- +hard +unspeakable ", command("diff", "a.db", "b.db").out, re.M)
    (change,) = (
        row
        for row in command("diff", "a.db", "b.db", "--format", "jsonl").rows[1:]
        if row.get("token_id") == 1 and row["change"] == "verdict"
    )
    assert (change["before"], change["hard_before"]) == ("speakable", True)
    assert (change["after"], change["hard_after"]) == ("unspeakable", False)


def test_two_runs_that_say_the_same_do_not_differ(command: Command, runs: tuple[str, str]) -> None:
    out = command("diff", "a.db", "a.db").out
    assert "newly" not in out
    assert "sank" not in out
    one, other = Readout.fold(SQUARE), Readout.fold(SQUARE)
    geom.run(one, tokens="0", hardest=0, certifiers=[], out="c.db").close()
    geom.run(other, tokens="0", hardest=0, certifiers=[], out="d.db").close()
    assert command("diff", "c.db", "d.db").out.endswith("nothing that is known differs\n")


def test_jsonl_says_the_same_as_python(command: Command, runs: tuple[str, str]) -> None:
    done = command("diff", *runs, "--format", "jsonl")
    assert done.rows == list(geom.diff(*runs).as_dicts())
    assert done.rows[0]["change"] == "summary"
    assert done.err == ""


@pytest.mark.parametrize("columns", [80, 120])
def test_tables_fit_the_terminal(
    columns: int, command: Command, runs: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal(monkeypatch, columns)
    lines = SEQUENCES.sub("", command("diff", *runs).out).splitlines()
    assert max(map(width, lines)) <= columns
    assert any(re.search(r'^ *4  "<s>" special +speakable +unspeakable', line) for line in lines)


def test_limit_cuts_every_table(command: Command, runs: tuple[str, str]) -> None:
    out = command("diff", *runs, "--limit", "1").out
    assert "2 more: give --limit or --format jsonl" in out
    assert len(re.findall(r"^ *0  ", out, re.M)) == 1
    assert not re.findall(r"^ *[46]  ", out, re.M)
    for format in ("table", "markdown"):
        assert "newly unspeakable" in command("diff", *runs, "--limit", "0", "--format", format).out


def test_tokens_that_detectors_pass_over_are_counted_and_not_listed(command: Command) -> None:
    """Token 1 is a corner in both, and beaten along its own direction in the second alone."""
    rest = [[-10.0, 0.0], [-9.0, -8.0], [0.0, 1.0], [1.0, 1.0]]
    keep("c.db", [[10.0, 0.0], [9.0, 4.0], *rest, [9.0, -9.0]], tokens="candidates")
    keep("d.db", [[10.0, 0.0], [9.0, 2.0], *rest, [0.5, 0.0]], tokens="candidates")
    found = geom.diff("c.db", "d.db").only_after
    assert [(item.token_id, item.before, item.after) for item in found] == [
        (6, "not flagged", "unspeakable"),
        (1, "not flagged", "speakable"),
    ]
    out = command("diff", "c.db", "d.db").out
    assert re.search(r"^ *2  examined only after", out, re.M)
    listed = out[out.index("\nexamined only after") :]
    assert re.search(r"^ *6  .* not flagged +unspeakable", listed, re.M)
    assert not re.search(r"^ *1  ", listed, re.M)
    lines = command("diff", "c.db", "d.db", "--format", "jsonl").rows
    assert [line["token_id"] for line in lines if line["change"] == "only after"] == [6, 1]


def test_markdown_is_tables_in_which_no_token_acts(command: Command, runs: tuple[str, str]) -> None:
    out = command("diff", *runs, "--format", "markdown").out
    assert "\x1b" not in out
    rows = [line for line in out.splitlines() if line.startswith("| 6 |")]
    assert rows
    for row in rows:
        cells = re.split(r"(?<!\\)\|", row)
        head = next(line for line in out.splitlines() if line.startswith("| id |"))
        assert len(cells) == head.count("|") + 1
        assert cells[2].strip().startswith('``"`')
        assert "<b>" in cells[2]
        assert cells[2].strip().endswith("``")
    assert out.count("<details>") == out.count("</details>") > 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (
            ["newly-unspeakable"],
            1,
            'failed: 3 tokens are newly unspeakable: 0 "a", 4 "<s>" special',
        ),
        (["newly-unspeakable", "--ignore", "special,added"], 1, "1 token is newly unspeakable: 0"),
        (["new-twins"], 1, 'failed: 2 tokens are twins, in 1 new group: 0 "a", 6 '),
        (["newly-undecided"], 0, "--fail-on newly-undecided passed: none"),
    ],
)
def test_a_change_that_is_watched_for_fails(
    words: list[str], code: int, said: str, command: Command, runs: tuple[str, str]
) -> None:
    for format in ("table", "jsonl", "markdown"):
        done = command("diff", *runs, "--format", format, "--fail-on", *words)
        assert done.code == code
        assert said in done.err
        assert done.err.count("\n") == 1
    back = command("diff", runs[1], runs[0], "--fail-on", "newly-unspeakable")
    assert back.code == 0
    assert done.out != ""


def test_a_second_run_that_proved_nothing_cannot_pass(
    command: Command, runs: tuple[str, str]
) -> None:
    geom.run(Readout.fold(AFTER), tokens="all", certifiers=[], out="none.db").close()
    done = command("diff", "a.db", "none.db", "--fail-on", "newly-unspeakable")
    assert done.code == 1
    assert "--fail-on failed: nothing was proven: it has no certifier" in done.err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["a.db", "absent.db"], "absent.db does not exist"),
        (["a.db"], "Missing argument 'RUN_B'"),
        (["a.db", "b.db", "--fail-on", "unspeakable"], "did you mean 'newly-unspeakable'?"),
        (["a.db", "b.db", "--ignore", "special"], "--ignore is for --fail-on"),
        (
            ["a.db", "b.db", "--fail-on", "new-twins", "--ignore", "normal"],
            "unknown kind to ignore",
        ),
        (["a.db", "other.db"], 'token 6 is "'),
        (["a.db", "short.db"], "special in a.db"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    words: list[str], why: str, command: Command, runs: tuple[str, str]
) -> None:
    keep("other.db", BEFORE, last="another")
    geom.run(Readout.fold(SQUARE), tokens="all", out="short.db").close()
    if "short.db" in words:
        why = "a.db has 7 tokens and short.db has 4, and no texts tell which are the same; --force"
    done = command("diff", *words)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert why in done.err


def test_force_compares_what_is_the_same(command: Command, runs: tuple[str, str]) -> None:
    keep("other.db", AFTER, last="another")
    done = command("diff", "a.db", "other.db", "--force")
    assert done.code == 0
    assert "note: not compared, as the texts differ: 1 token" in done.out
    assert "2  newly unspeakable" in done.out


def test_show_of_two_runs_says_how_to_compare_them(command: Command, runs: tuple[str, str]) -> None:
    assert command("show", *runs).err == "geom: what differs: geom diff a.db b.db\n"
    assert command("show", *runs, runs[0]).err == ""
