"""Where kinds of tokens are shown, and that no two tokens print alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import geom
from geom import InputError, Readout, TokenKind, visible
from support.command import Command

# Where kinds are shown


def keep(tokens: list[str | None], marks: list[TokenKind], path: str = "run.db") -> None:
    """Write a run of tokens with these texts and kinds; the first wins along every direction."""
    W = np.array([[float(len(tokens) - t), 0.0] for t in range(len(tokens))])
    readout = Readout.fold(W, tokens=tokens, kinds=marks)
    options = {"detector.self-argmax.centre": False}
    with geom.run(
        readout, tokens="all", detectors=["self-argmax"], certifiers=[], options=options, out=path
    ):
        pass


SHOWN: Mapping[str, tuple[str | None, TokenKind]] = {
    '"<|endoftext|>" special': ("<|endoftext|>", "special"),
    r'"\xe2\x80" byte': (r"\xe2\x80", "byte"),
    r'"\u00a0"': ("\u00a0", "normal"),
    r'"\\xa0"': (r"\xa0", "normal"),
    '"<tool>" added': ("<tool>", "added"),
    "- unused": (None, "unused"),
    "- padding": (None, "padding"),
    r'"x\" special"': ('x" special', "normal"),
    r'"\u001b[2J\u202e" added': ("\x1b[2J\u202e", "added"),
}


@pytest.mark.parametrize("arguments", [["show", "run.db"], ["show", "run.db", "--token", "0"]])
def test_a_kind_stands_beside_the_text(arguments: list[str], command: Command) -> None:
    for shown, (text, kind) in SHOWN.items():
        keep([text, "loser"], [kind, "normal"])
        out = command(*arguments).out
        assert re.search(rf"(?:^ *0|token +0) +{re.escape(shown)}(?:  |\n)", out, re.MULTILINE)
        Path("run.db").unlink()


@pytest.mark.parametrize("arguments", [["show", "run.db"], ["show", "run.db", "--token", "1"]])
def test_the_kind_of_a_winner_stands_beside_it(arguments: list[str], command: Command) -> None:
    for shown, (text, kind) in SHOWN.items():
        keep([text, "loser"], [kind, "normal"])
        assert re.search(rf" 0 {re.escape(shown)} *\n", command(*arguments).out)
        Path("run.db").unlink()


@pytest.mark.parametrize("columns", [80, 120])
def test_a_long_text_gives_way_and_its_kind_does_not(
    columns: int, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(["x" * 60, "日本語" * 30], ["special", "added"])
    settings = {"TTY_COMPATIBLE": "1", "COLUMNS": str(columns), "TERM": "xterm", "NO_COLOR": "1"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    out = command("show", "run.db").out
    assert re.search(r"0 +\"x+… special", out)
    assert re.search(r"1 +\"[日本語]+ ?… added", out)


def test_padding_among_the_examined_is_counted(command: Command) -> None:
    keep(["a", "b", None, None], ["normal", "normal", "padding", "padding"])
    out = command("show", "run.db").out
    assert re.search(r"^ *2 +padding +of them: rows beyond the tokenizer's tokens", out, re.M)
    Path("run.db").unlink()
    keep(["a", "b"], ["normal", "special"])
    assert "padding" not in command("show", "run.db").out


def test_later_keys_of_an_export_follow_the_others(command: Command) -> None:
    keep(["a", r"\xff", None], ["normal", "byte", "padding"])
    exported = command("export", "run.db").rows
    assert [list(row)[-2:] for row in exported] == [["token_kind", "probability_upper"]] * 3
    assert [row["token_kind"] for row in exported] == ["normal", "byte", "padding"]
    lines = command("export", "run.db", "--format", "csv").out.splitlines()
    assert [line.split(",")[-2:] for line in lines] == [
        ["token_kind", "probability_upper"],
        *(["normal", ""], ["byte", ""], ["padding", ""]),
    ]


def test_without_a_tokenizer_the_kind_is_null(command: Command) -> None:
    np.savez("square.npz", W=np.array([[1.0, 0.0], [-1.0, 0.5]]))
    run = ("run", "-m", "npz:square.npz", "-t", "all", "-c", "none", "--format", "jsonl")
    done = command(*run, "--out", "run.db")
    assert [row["token_kind"] for row in done.rows] == [None, None]


@pytest.mark.parametrize(
    ("marks", "reason"),
    [(["normal"], "1 kinds for 2 rows"), (["normal", "odd"], "kind 'odd': give")],
)
def test_kinds_that_do_not_fit_are_refused(marks: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        Readout.fold(np.eye(2), tokens=["a", "b"], kinds=marks)


# Printed tokens can be told apart


PIECES = st.binary(max_size=4) | st.sampled_from(
    [b"\\", b'"', b"\\xa0", b"\xa0", "\u00a0".encode(), b"\\u00a0", b"\\x5cxa0", b'" byte', b"\\\\"]
)
KINDS: st.SearchStrategy[TokenKind] = st.sampled_from(
    ["normal", "special", "added", "byte", "unused", "padding"]
)


def token(data: bytes, spell: bool) -> tuple[str, TokenKind]:
    """Return a token of these bytes, by the rule that `geom.text` states."""
    try:
        return data.decode(), "byte" if spell and len(data) == 1 else "normal"
    except UnicodeDecodeError:
        return data.replace(b"\\", rb"\x5c").decode("utf-8", "backslashreplace"), "byte"


@given(PIECES, PIECES, st.booleans())
def test_tokens_of_other_bytes_never_print_alike(a: bytes, b: bytes, spell: bool) -> None:
    assert (visible(*token(a, spell)) == visible(*token(b, spell))) == (a == b)


TEXTS = st.none() | st.text(max_size=4) | st.text('\\x"a0bynute-5c\n', max_size=8)


@given(TEXTS, KINDS, TEXTS, KINDS)
def test_two_tokens_never_print_alike(
    a: str | None, one: TokenKind, b: str | None, other: TokenKind
) -> None:
    assert (visible(a, one) == visible(b, other)) == ((a, one) == (b, other))
