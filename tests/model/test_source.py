"""A readout's source as a value and as text: each converts to the other and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geom import InputError, Readout
from geom.model.source import Source, without_user

words = st.text("abcdefgh-_", min_size=1, max_size=9)
values = st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=9)


@given(words, st.text("abc/.:-_~ ", max_size=12), st.dictionaries(words, values, max_size=3))
def test_the_text_of_a_source_names_it_again(
    name: str, location: str, query: dict[str, str]
) -> None:
    source = Source(name, location, query)
    assert Source.parse(str(source)) == source


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("demo", ("demo", "", {})),
        ("npz:a:b.npz?W=w&b=", ("npz", "a:b.npz", {"W": "w", "b": ""})),
        ("hf:org/model?revision=main", ("hf", "org/model", {"revision": "main"})),
    ],
)
def test_a_text_is_a_name_a_location_and_a_query(
    text: str, parts: tuple[str, str, dict[str, str]]
) -> None:
    assert Source.parse(text) == Source(*parts)
    assert str(Readout.fold(np.eye(2), source=text).source) == text


@pytest.mark.parametrize("text", ["", ":w.npz", "?b=no"])
def test_a_text_without_a_name_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="write SOURCE:LOCATION"):
        Source.parse(text)


def test_a_password_is_not_shown() -> None:
    assert without_user("https://me:secret@host/w.npz") == "https://***@host/w.npz"
    with pytest.raises(InputError) as refusal:
        Source.parse(":https://me:secret@host/w.npz?=&")
    assert "secret" not in str(refusal.value)
