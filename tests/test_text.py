"""Token text on a terminal: no text from a stranger may act on the terminal."""

from __future__ import annotations

import json
import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geom import harmless, json_line, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" hello", '" hello"'),
        ("", '""'),
        ("日本", '"日本"'),
        ("\n", r'"\n"'),
        ("\t\r", r'"\t\r"'),
        ("\x1b[2J", r'"\u001b[2J"'),
        ("\x07", r'"\u0007"'),
        ("a\u202eb", r'"a\u202eb"'),
        ("\u200b", r'"\u200b"'),
        ("\u00a0", r'"\u00a0"'),
        (r"\xa0", r'"\\xa0"'),
        ('say "hi"', r'"say \"hi\""'),
        ("\u3164", r'"\u3164"'),
        ("\u0301", r'"\u0301"'),
        ("\u20dd", r'"\u20dd"'),
        ("\ufe0f", r'"\ufe0f"'),
        ("\U000e0001", r'"\U000e0001"'),
        ("\ud800", r'"\ud800"'),
    ],
)
def test_what_could_act_on_the_terminal_is_spelled_out(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_an_id_without_text_is_a_dash() -> None:
    assert visible(None) == "-"


@given(st.text())
def test_nothing_shown_controls_joins_or_hides(text: str) -> None:
    categories = {unicodedata.category(character) for character in visible(text)}
    assert not any(category[0] in "CM" or category in ("Zl", "Zp") for category in categories)


@given(
    st.text(
        st.characters(categories=["L", "N", "P"], exclude_characters='\\"\u115f\u1160\u3164\uffa0')
    )
)
def test_plain_text_is_shown_as_it_is(text: str) -> None:
    assert visible(text) == f'"{text}"'


def test_a_long_text_is_cut_and_says_so() -> None:
    assert visible("x" * 1000) == f'"{"x" * 1000}"'
    assert visible("x" * 20_000_000, "added") == (
        f'"{"x" * 1000}" and 19999000 characters more added'
    )


@given(st.text(), st.integers(60, 300))
def test_a_message_is_harmless_and_no_longer_than_it_may_be(text: str, most: int) -> None:
    shown = harmless(text * 50, most)
    assert len(shown) <= most
    assert shown.isprintable()
    assert harmless(shown, most) == shown


@given(st.recursive(st.text() | st.integers(), lambda item: st.dictionaries(st.text(), item)))
def test_a_line_of_json_is_one_line_and_gives_back_what_was_written(value: object) -> None:
    line = json_line(value)
    assert line.isprintable()
    assert json.loads(line) == value


def test_a_line_of_json_keeps_what_is_plainly_visible() -> None:
    assert json_line(["日本", "\u2028", "\U000e0001", "\x9b"]) == (
        '["日本", "\\u2028", "\\udb40\\udc01", "\\u009b"]'
    )
    with pytest.raises(ValueError, match="Out of range"):
        json_line(math.inf)
