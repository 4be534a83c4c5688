"""Lists of tokens as users write them, with their meanings written out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geom import InputError, Readout
from geom.token_spec import asked_ids, format_tokens, listed_ids, parse_tokens

TEXTS = ("a", "b", " RABIC", "RABIC", "1", "x,y", "a", "<s>", None, "12")
VOCABULARY = Readout.fold([[float(i)] for i in range(10)], tokens=TEXTS)

ids = st.sets(st.integers(0, 99), min_size=1).map(sorted)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("5", [5]),
        ("5,9,30", [5, 9, 30]),
        ("3-6", [3, 4, 5, 6]),
        ("7-7", [7]),
        ("9,5,5", [5, 9]),
        ("4-6,5-7", [4, 5, 6, 7]),
        (" 1 , 2 ,", [1, 2]),
        ("99", [99]),
        ("007", [7]),
    ],
)
def test_ids_and_ranges_are_listed_once_and_ascending(spec: str, expected: list[int]) -> None:
    assert parse_tokens(spec, 100) == expected


def test_all_is_every_token() -> None:
    assert parse_tokens("all", 4) == [0, 1, 2, 3]


def test_a_file_lists_ids_between_commas_and_white_space(tmp_path: Path) -> None:
    file = tmp_path / "ids.txt"
    file.write_text("5, 9\n\n20-22\t1\n", encoding="utf-8")
    assert parse_tokens(f"@{file}", 100) == [1, 5, 9, 20, 21, 22]


@given(ids)
def test_what_is_written_is_read_back(tokens: list[int]) -> None:
    assert parse_tokens(format_tokens(tokens), 100) == tokens


@pytest.mark.parametrize(
    ("tokens", "spec"),
    [([5, 9, 100, 101, 102], "5,9,100-102"), ([0, 1], "0-1"), ([3], "3"), ([], "")],
)
def test_runs_are_written_as_ranges(tokens: list[int], spec: str) -> None:
    assert format_tokens(tokens) == spec


@pytest.mark.parametrize(
    "part", ["x", "-3", "3-", "3-4-5", "1.5", "1e3", "5 9", "--", "²", "0x1", "3..5", "9" * 5000]
)
def test_what_is_no_id_and_no_range_is_named(part: str) -> None:
    with pytest.raises(InputError, match="is neither an id nor a range") as caught:
        parse_tokens(f"1,{part}", 100)
    whole = len(part) < 100  # a longer part is cut short, like every message
    assert (repr(part) if whole else part[:100]) in str(caught.value)
    assert len(str(caught.value)) <= 2000


@pytest.mark.parametrize("spec", ["100", "98-100", "99999999999999999999"])
def test_an_id_outside_the_vocabulary_is_refused(spec: str) -> None:
    with pytest.raises(InputError, match="outside the vocabulary: 0 to 99"):
        parse_tokens(spec, 100)


def test_a_range_that_runs_backwards_is_refused() -> None:
    with pytest.raises(InputError, match="9-5 runs backwards"):
        parse_tokens("9-5", 100)


@pytest.mark.parametrize("spec", ["", ",", " , "])
def test_a_list_of_nothing_is_refused(spec: str) -> None:
    with pytest.raises(InputError, match="names none"):
        parse_tokens(spec, 100)


def test_an_empty_file_is_refused_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "none.txt"
    file.write_text("\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"none\.txt' names none"):
        parse_tokens(f"@{file}", 100)


def test_a_file_that_is_not_there_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.txt"):
        parse_tokens(f"@{tmp_path / 'gone.txt'}", 100)


def test_a_file_that_is_no_text_is_refused_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "ids.bin"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"ids\.bin"):
        parse_tokens(f"@{file}", 100)


def test_ids_given_as_numbers_are_listed_once_and_ascending() -> None:
    assert asked_ids([9, 5, 5], VOCABULARY) == [5, 9]


@pytest.mark.parametrize("token", [-1, 10])
def test_a_number_outside_the_vocabulary_is_refused(token: int) -> None:
    with pytest.raises(InputError, match=f"id {token} is outside the vocabulary"):
        asked_ids([3, token], VOCABULARY)


def test_no_numbers_at_all_are_refused() -> None:
    with pytest.raises(InputError, match="empty"):
        asked_ids([], VOCABULARY)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("RABIC", [3]),
        (" RABIC", [2]),
        ("b, RABIC", [1, 3]),  # the parts of a list are stripped
        ('" RABIC"', [2]),  # as geom shows it
        ("a", [0, 6]),  # every token of that text
        ("x,y", [5]),
        ("0-1,<s>", [0, 1, 7]),
        ("1", [1]),  # an id before a text
        (["RABIC", 1], [1, 3]),
        (["1"], [1]),
        (["a", "<s>"], [0, 6, 7]),
    ],
)
def test_texts_stand_for_their_ids(asked: str | list[int | str], expected: list[int]) -> None:
    assert asked_ids(asked, VOCABULARY) == expected


def test_a_text_that_begins_with_a_space_is_found_without_it() -> None:
    texts = Readout.fold([[0.0], [1.0]], tokens=["a", " cat"])
    assert listed_ids("cat,0,cat", texts) == [1, 0, 1]


@pytest.mark.parametrize("asked", ["ABIC", ["ABIC"]])
def test_a_text_that_no_token_has_is_refused_with_those_that_hold_it(asked: str) -> None:
    refused = 'no token has that text: did you mean "RABIC"|" RABIC"'
    with pytest.raises(InputError, match=refused):
        asked_ids(asked, VOCABULARY)


def test_a_model_without_texts_says_so() -> None:
    bare = Readout.fold([[0.0], [1.0]], noun="class")
    for asked in ("cat", ["cat"]):
        with pytest.raises(InputError, match="the classes of this model have no texts"):
            asked_ids(asked, bare)
