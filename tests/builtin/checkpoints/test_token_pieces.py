"""Texts and kinds of pieces, for sources that bring their own, and the demo's."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers

import geom
from geom_plugins.checkpoints.vocabulary import piece_kinds, piece_texts
from geom_plugins.sources.demo import CHECKPOINT
from support.tokenizers import UNKNOWN

# Pieces, for sources that bring their own


def test_pieces_become_texts_and_kinds() -> None:
    pieces = ["Ġhi", "Ċ", "âĢ", None, "a b"]
    assert piece_texts(pieces, "byte-level") == (" hi", "\n", r"\xe2\x80", None, "a b")
    assert piece_kinds(pieces, "byte-level") == ("normal", "normal", "byte", "unused", "normal")
    pieces = ["▁hi", "<0x0A>", "<0xE2>", "<0x5C>", None, "<unused3>"]
    assert piece_texts(pieces, "sentencepiece") == (
        *(" hi", "\n", r"\xe2", "\\", None, "<unused3>"),
    )
    assert piece_kinds(pieces, "sentencepiece") == (
        *("normal", "byte", "byte", "byte", "unused", "unused"),
    )
    assert piece_texts(["▁hi", "Ġ", "##x"], "plain") == ("▁hi", "Ġ", "##x")


def byte_pieces() -> dict[int, str]:
    """Return the character for each byte that UTF-8 uses, as the tokenizers library has it."""
    step = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    codes = [*range(0xD800), *range(0xE000, 0x10000), *range(0x10000, 0x110000, 0x1000)]
    written = ((chr(code), step.pre_tokenize_str(chr(code))[0][0]) for code in codes)
    return dict(pair for text, piece in written for pair in zip(text.encode(), piece, strict=True))


BYTE_PIECES = byte_pieces()


@given(st.lists(st.sampled_from(sorted(BYTE_PIECES)), min_size=1, max_size=6).map(bytes))
def test_the_bytes_of_a_token_can_be_had_back_from_text_and_kind(data: bytes) -> None:
    piece = "".join(BYTE_PIECES[byte] for byte in data)
    (text,), (kind,) = piece_texts([piece], "byte-level"), piece_kinds([piece], "byte-level")
    found = (text or "").encode()
    if kind == "byte":
        found = re.sub(rb"\\x(..)", lambda spelled: bytes.fromhex(spelled[1].decode()), found)
    assert found == data


# The demo


def test_the_demos_tokens_are_those_of_its_tokenizer() -> None:
    library = Tokenizer.from_file(str(CHECKPOINT / "tokenizer.json"))
    readout = geom.load("demo")
    V, size = readout.V, library.get_vocab_size()
    decoded = [library.decode([t], skip_special_tokens=False) for t in range(size)]
    assert [readout.kind(t) for t in range(size, V)] == ["padding"] * (V - size)
    assert [t for t in range(V) if readout.kind(t) == "special"] == [0]
    parts = [t for t in range(size) if UNKNOWN in decoded[t]]
    assert [t for t in range(V) if readout.kind(t) == "byte"] == parts
