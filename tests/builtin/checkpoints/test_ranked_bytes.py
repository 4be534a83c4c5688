"""Tokens of tiktoken's, Mistral's and RWKV's vocabularies, which are strings of bytes."""

from __future__ import annotations

import ast
import base64
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geom_plugins.checkpoints.folders import LocalFolder
from geom_plugins.checkpoints.ranked_bytes import read_rwkv
from geom_plugins.checkpoints.vocabulary import byte_level_piece
from support.tokenizers import as_json, kinds, of_kind, read, texts

pytestmark = pytest.mark.usefixtures("own_folder")

TOKENS = [bytes([byte]) for byte in range(256)]
TOKENS += [b" the", "日".encode(), "日本".encode(), "日".encode()[:2], b"\n\n", b"a\\x41"]
SIZE = len(TOKENS)


def ranked(tokens: list[bytes]) -> str:
    return "".join(f"{base64.b64encode(t).decode()} {n}\n" for n, t in enumerate(tokens))


def back(text: str | None, kind: str) -> bytes:
    """Return a token's bytes by the rule of docs/tokens.md."""
    import re

    data = (text or "").encode()
    if kind == "byte" and len(data) > 1:
        data = re.sub(rb"\\x(..)", lambda found: bytes.fromhex(found[1].decode()), data)
    return data


def bytes_of(V: int) -> list[bytes]:
    return [back(text, kind) for text, kind in zip(texts(V), kinds(V), strict=True)]


# tiktoken


@pytest.mark.parametrize("name", ["own.tiktoken", "tiktoken.model", "tokenizer.model"])
def test_the_bytes_are_those_that_tiktoken_reads(name: str) -> None:
    Path(name).write_text(ranked(TOKENS))
    assert bytes_of(SIZE) == TOKENS
    assert {t for t in range(SIZE) if kinds(SIZE)[t] == "byte"} == {*range(0x80, 0x100), SIZE - 3}
    theirs = pytest.importorskip("tiktoken.load").load_tiktoken_bpe(name)
    assert sorted(theirs, key=theirs.__getitem__) == TOKENS


def test_of_several_files_none_is_chosen() -> None:
    for name in ("gpt2.tiktoken", "multilingual.tiktoken"):
        Path(name).write_text(ranked(TOKENS))
    found = read(SIZE)
    assert found.texts is None
    assert "there are gpt2.tiktoken and multilingual.tiktoken; remove" in found.notes[0]


def test_the_first_qwen_has_its_special_tokens_after_the_ranks() -> None:
    Path("qwen.tiktoken").write_text(ranked(TOKENS))
    V = SIZE + 3 + 205 + 2
    found = texts(V)
    assert found[SIZE : SIZE + 3] == ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    assert (found[SIZE + 3], found[V - 3], found[V - 2]) == ("<|extra_0|>", "<|extra_204|>", None)
    assert of_kind("special", V) == set(range(SIZE, V - 2))
    assert of_kind("padding", V) == {V - 2, V - 1}


def test_special_tokens_are_those_that_the_configuration_places() -> None:
    Path("tiktoken.model").write_text(ranked(TOKENS))
    entries = {SIZE: {"content": "[BOS]", "special": True}, SIZE + 2: {"content": "<tool>"}}
    as_json(
        "tokenizer_config.json", {"added_tokens_decoder": {str(k): e for k, e in entries.items()}}
    )
    assert texts(SIZE + 4)[SIZE:] == ("[BOS]", None, "<tool>", None)
    assert kinds(SIZE + 4)[SIZE:] == ("special", "unused", "added", "padding")
    assert read(SIZE + 4).notes == ()


def test_llamas_file_does_not_name_its_special_tokens() -> None:
    Path("tokenizer.model").write_text(ranked(TOKENS))
    found = read(SIZE + 2)
    assert found.kinds is not None
    assert found.kinds[SIZE:] == ("special", "special")
    assert found.notes == (
        f"no file names the special tokens, which follow the ranks from id {SIZE}",
    )


@pytest.mark.parametrize(
    "content",
    ["IQ== 0\nIQ== 0\n", "IQ== 0\nI 1\n", "IQ== 0\nIg==\n", "IQ== 0\nIg== 99999999\n"],
)
def test_damaged_ranks_leave_the_texts_out(content: str) -> None:
    Path("qwen.tiktoken").write_text(content)
    found = read(5)
    assert found.texts is None
    assert "qwen.tiktoken is not a tokenizer file" in found.notes[0]


# tekken.json


def tekken(special: list[dict[str, Any]] | None, count: int, size: int) -> dict[str, Any]:
    vocab = [
        {"rank": n, "token_bytes": base64.b64encode(t).decode(), "token_str": None}
        for n, t in enumerate(TOKENS)
    ]
    config = {
        "pattern": ".",
        "num_vocab_tokens": len(vocab),
        "default_vocab_size": size,
        "default_num_special_tokens": count,
        "version": "v3",
    }
    more = {} if special is None else {"special_tokens": special}
    return {"config": config, "vocab": vocab, **more}


SPECIAL = [
    {"rank": 0, "token_str": "<unk>", "is_control": True},
    {"rank": 1, "token_str": "<s>", "is_control": True},
    {"rank": 2, "token_str": "[THINK]", "is_control": False},
]


def test_mistrals_special_tokens_come_first() -> None:
    as_json("tekken.json", tekken(SPECIAL, 5, SIZE + 3))
    V = SIZE + 5
    found = texts(V)
    assert found[:5] == ("<unk>", "<s>", "[THINK]", "<SPECIAL_3>", "<SPECIAL_4>")
    assert kinds(V)[:5] == ("special", "special", "added", "unused", "unused")
    assert bytes_of(V)[5 : SIZE + 3] == TOKENS[: SIZE - 2]  # as many as the vocabulary's size says
    assert found[SIZE + 3 :] == (None, None)


def test_the_ids_are_those_of_mistrals_own_library() -> None:
    library = pytest.importorskip("mistral_common.tokens.tokenizers.tekken", exc_type=ImportError)
    as_json("tekken.json", tekken(None, 30, SIZE + 25))
    theirs = library.Tekkenizer.from_file("tekken.json")
    V = theirs.n_words
    assert list(texts(V)[:30]) == [theirs.id_to_piece(t) for t in range(30)]
    assert bytes_of(V)[30:] == [theirs.id_to_byte_piece(t) for t in range(30, V)]


def test_an_older_file_has_twenty_special_tokens_by_definition() -> None:
    as_json("tekken.json", tekken(None, 25, SIZE + 25))
    found = texts(SIZE + 25)
    assert (found[2], found[9], found[19], found[20]) == (
        *("</s>", "[TOOL_CALLS]", "[TOOL_CONTENT]", "<SPECIAL_20>"),
    )


@pytest.mark.parametrize(
    ("special", "count", "size"),
    [
        (SPECIAL, 2, SIZE),
        (SPECIAL, 5, SIZE + 6),
        (SPECIAL, 9, 8),
        (SPECIAL, -1, 8),
        (SPECIAL + SPECIAL, 9, SIZE),
        ([{"rank": 0, "token_str": 7}], 5, SIZE),
    ],
)
def test_a_tekken_file_that_contradicts_itself_leaves_the_texts_out(
    special: list[dict[str, Any]], count: int, size: int
) -> None:
    as_json("tekken.json", tekken(special, count, size))
    found = read(SIZE)
    assert found.texts is None
    assert "tekken.json is not a tokenizer file" in found.notes[0]


def test_ranks_out_of_order_leave_the_texts_out() -> None:
    whole = tekken(SPECIAL, 5, SIZE + 3)
    whole["vocab"][3]["rank"] = 4
    as_json("tekken.json", whole)
    assert read(SIZE).texts is None


# RWKV


def rwkv(tokens: dict[int, str | bytes]) -> str:
    """Write tokens as the files of RWKV have them: ``repr`` of a text, or of bytes."""
    lengths = {n: len(t.encode() if isinstance(t, str) else t) for n, t in tokens.items()}
    return "".join(f"{n} {t!r} {lengths[n]}\n" for n, t in tokens.items())


WORLD: dict[int, str | bytes] = {
    1: "\x00",
    2: "'",
    3: '"',
    4: "'\"",
    5: "\\",
    6: "\n\t\r",
    7: "日本",
    8: b"\xe2\x80",
    9: " it's",
    10: "\u2028\x85\U000e0001",
    12: b"a'\\",
}


@pytest.mark.parametrize("name", ["rwkv_vocab_v20230424.txt", "vocab.txt"])
def test_rwkvs_literals_are_read_and_not_evaluated(name: str) -> None:
    Path(name).write_text(rwkv(WORLD), encoding="utf-8", newline="\n")
    own = [t if isinstance(t, bytes) else t.encode() for t in WORLD.values()]
    found = bytes_of(14)
    assert [found[id] for id in WORLD] == own
    assert (texts(14)[0], texts(14)[11], texts(14)[13]) == ("<|endoftext|>", None, None)
    assert (kinds(14)[0], kinds(14)[8], kinds(14)[11]) == ("special", "byte", "unused")


def test_the_first_token_of_rwkv_has_the_name_that_the_files_give(own_folder: Path) -> None:
    Path("rwkv_vocab_v20230424.txt").write_text(rwkv({1: "a"}))
    as_json("added_tokens.json", {"<s>": 0})
    assert (texts(2), kinds(2)) == (("<s>", "a"), ("special", "normal"))


@given(st.one_of(st.text(min_size=1), st.binary(min_size=1)))
def test_every_literal_of_python_is_read_as_python_reads_it(token: str | bytes) -> None:
    if isinstance(token, str) and any("\ud800" <= c <= "\udfff" for c in token):
        return
    Path("one").write_text(rwkv({1: token}), encoding="utf-8", newline="\n")
    value = ast.literal_eval(Path("one").read_text().split(" ", 1)[1].rsplit(" ", 1)[0])
    data = value if isinstance(value, bytes) else value.encode()
    assert read_rwkv(LocalFolder(Path()), "one").pieces[1] == byte_level_piece(data)


@pytest.mark.parametrize(
    "line",
    [
        "1 'a' 2",
        "1 'a'+'b' 2",
        "1 f'a' 1",
        "1 open('x') 1",
        r"1 '\q' 2",
        r"1 b'\u0041' 1",
        r"1 '\ud800' 3",
        "1 b'日' 3",
        "1 'a'",
        "-1 'a' 1",
        "1 'a' 1\n1 'b' 1",
    ],
)
def test_anything_but_a_literal_leaves_the_texts_out(line: str) -> None:
    Path("rwkv_vocab_v20230424.txt").write_text(line + "\n", encoding="utf-8")
    found = read(3)
    assert found.texts is None
    assert "rwkv_vocab_v20230424.txt is not a tokenizer file" in found.notes[0]


@given(st.binary())
def test_a_piece_stands_for_its_bytes(data: bytes) -> None:
    from tokenizers import pre_tokenizers

    piece = byte_level_piece(data)
    assert len(piece) == len(data)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    step = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    assert "".join(part for part, _ in step.pre_tokenize_str(text)) == piece
