"""Tokens of a tokenizer.json: texts and kinds agree with the libraries that tokenize.

A library drops a space at the start of a line, or at its end. The text that a token adds to another
token's text shows the space.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from support.tokenizers import LINES, SPELLED, UNKNOWN, as_json, kinds, of_kind, read, texts

pytestmark = pytest.mark.usefixtures("own_folder")


# tokenizer.json, byte-level


def test_whole_texts_are_those_that_the_tokenizer_decodes(byte_level: Tokenizer) -> None:
    V = byte_level.get_vocab_size()
    decoded = [byte_level.decode([t], skip_special_tokens=False) for t in range(V)]
    whole = [t for t in range(V) if UNKNOWN not in decoded[t]]
    assert len(whole) > 100
    assert [texts(V)[t] for t in whole] == [decoded[t] for t in whole]


def test_parts_of_characters_are_spelled_out_as_bytes(byte_level: Tokenizer) -> None:
    single = {text for text in texts(byte_level.get_vocab_size()) if SPELLED.fullmatch(text or "")}
    assert {f"\\x{byte:02x}" for byte in range(0x80, 0x100)} <= single


def test_parts_of_characters_are_of_kind_byte(byte_level: Tokenizer) -> None:
    V = byte_level.get_vocab_size()
    decoded = [byte_level.decode([t], skip_special_tokens=False) for t in range(V)]
    parts = {t for t in range(V) if UNKNOWN in decoded[t]} - {byte_level.token_to_id("naïve")}
    assert of_kind("byte", V) == parts


def test_the_texts_of_a_sentence_join_to_its_bytes(byte_level: Tokenizer) -> None:
    found = texts(byte_level.get_vocab_size())
    sentence = "日本 über ÿ\x00 🙂"
    joined = "".join(found[t] or "" for t in byte_level.encode(sentence).ids).encode()
    spelled = re.compile(rb"\\x(..)")
    assert spelled.search(joined)
    assert spelled.sub(lambda found: bytes.fromhex(found[1].decode()), joined) == sentence.encode()


def test_special_and_added_tokens_are_what_the_tokenizer_decodes(byte_level: Tokenizer) -> None:
    found = texts(byte_level.get_vocab_size())
    assert (found[0], *found[-3:-1]) == ("<|endoftext|>", "two Ġwords", " added")


def test_an_added_token_that_the_tokenizer_garbles_is_as_it_was_added(
    byte_level: Tokenizer,
) -> None:
    V = byte_level.get_vocab_size()
    assert UNKNOWN in byte_level.decode([V - 1])
    assert (texts(V)[-1], kinds(V)[-1]) == ("naïve", "added")


def test_special_and_added_tokens_are_told_apart(byte_level: Tokenizer) -> None:
    V = byte_level.get_vocab_size()
    assert (of_kind("special", V), of_kind("added", V)) == ({0}, {V - 3, V - 2, V - 1})


def test_rows_beyond_the_tokenizer_are_padding(byte_level: Tokenizer) -> None:
    V = byte_level.get_vocab_size()
    assert (texts(V + 3)[-3:], of_kind("padding", V + 3)) == ((None,) * 3, {V, V + 1, V + 2})


def test_tokens_beyond_the_rows_are_remarked(byte_level: Tokenizer) -> None:
    V = byte_level.get_vocab_size()
    assert read(V).notes == ()
    (note,) = read(V - 2).notes
    assert f"2 tokens beyond the readout's {V - 2} rows (ids up to {V - 1})" in note
    assert "1 token beyond" in read(V - 1).notes[0]


def test_an_id_below_the_size_without_a_token_is_unused() -> None:
    Tokenizer(models.WordLevel({"a": 0, "b": 3}, unk_token="a")).save("tokenizer.json")
    assert texts(5) == ("a", None, None, "b", None)
    assert kinds(5) == ("special", "unused", "unused", "normal", "padding")


@pytest.mark.parametrize("name", ["[unused7]", "<unused7>", "[UNUSED_TOKEN_7]", "madeupword0007"])
def test_a_token_named_unused_is_unused(name: str) -> None:
    built = Tokenizer(models.WordLevel({"a": 0, "unused": 1}, unk_token="a"))
    built.add_tokens([name])
    built.save("tokenizer.json")
    assert (texts(3)[1:], kinds(3)[1:]) == (("unused", name), ("normal", "unused"))


# tokenizer.json, other schemes


@pytest.fixture
def llama_like() -> Tokenizer:
    """Return pieces with U+2581 for a space and one for each byte, decoded like Llama's file."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words = ["▁the", "▁", "the", "▁▁", "日本", "\\", "a"]
    scored = [(piece, 0.0) for piece in pieces] + [(word, -1.0) for word in words]
    built = Tokenizer(models.Unigram(scored, 0, byte_fallback=True))
    built.pre_tokenizer = pre_tokenizers.Metaspace()
    built.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    built.add_special_tokens(["<unk>", "<s>", "</s>"])
    built.add_tokens(["<|tool|>"])
    built.save("tokenizer.json")
    return built


def test_sentencepiece_texts_are_what_a_token_adds_to_another(llama_like: Tokenizer) -> None:
    V = llama_like.get_vocab_size()
    added = [llama_like.decode([V - 2, t], skip_special_tokens=False)[1:] for t in range(V)]
    whole = [t for t in range(V) if UNKNOWN not in added[t]]
    assert len(whole) == V - 128
    assert [texts(V)[t] for t in whole] == [added[t] for t in whole]


def test_a_byte_token_above_ascii_is_spelled_out(llama_like: Tokenizer) -> None:
    found = texts(llama_like.get_vocab_size())
    assert list(found[3 + 128 : 3 + 256]) == [f"\\x{byte:02x}" for byte in range(128, 256)]


def test_kinds_of_a_sentencepiece_tokenizer(llama_like: Tokenizer) -> None:
    V = llama_like.get_vocab_size()
    assert (of_kind("special", V), of_kind("added", V)) == ({0, 1, 2}, {V - 1})
    assert of_kind("byte", V) == set(range(3, 3 + 256))


@pytest.mark.parametrize(
    "decoder", [decoders.Metaspace(), decoders.Sequence([decoders.Metaspace()])]
)
def test_a_metaspace_is_a_space(decoder: Any) -> None:
    built = Tokenizer(models.Unigram([("<unk>", 0.0), ("▁a", -1.0), ("b", -1.0)], 0, False))
    built.decoder = decoder
    built.save("tokenizer.json")
    assert texts(3) == ("<unk>", " a", "b")
    assert built.decode([2, 1]).removeprefix("b") == " a"
    assert kinds(3) == ("special", "normal", "normal")


def test_wordpieces_are_left_as_they_are() -> None:
    built = Tokenizer(models.WordPiece({"[UNK]": 0, "low": 1, "##est": 2}, unk_token="[UNK]"))
    built.decoder = decoders.WordPiece()
    built.save("tokenizer.json")
    assert texts(3) == ("[UNK]", "low", "##est")
    assert kinds(3) == ("special", "normal", "normal")


def test_an_end_of_word_is_a_space() -> None:
    built = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    built.pre_tokenizer = pre_tokenizers.Whitespace()
    built.decoder = decoders.BPEDecoder("</w>")
    trainer = trainers.BpeTrainer(
        vocab_size=80, special_tokens=["<unk>"], end_of_word_suffix="</w>", show_progress=False
    )
    built.train_from_iterator(LINES[1::2], trainer)
    built.save("tokenizer.json")
    V = built.get_vocab_size()
    last = built.token_to_id("l")
    joined = [built.decode([t, last], skip_special_tokens=False) for t in range(V)]
    assert "low " in texts(V)
    assert list(texts(V)) == [text.removesuffix("l") for text in joined]


def test_pieces_that_are_no_bytes_are_left_as_they_are() -> None:
    Tokenizer(models.WordLevel({"Ġa": 0, "##b": 1}, unk_token="Ġa")).save("tokenizer.json")
    assert texts(2) == ("Ġa", "##b")


def test_transformers_declares_the_same_special_and_added_tokens(byte_level: Tokenizer) -> None:
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_file="tokenizer.json",
        bos_token="the",
        pad_token="<pad>",
        additional_special_tokens=["<|user|>"],
    )
    wrapped.add_tokens(["<plain>"])
    wrapped.save_pretrained(".")
    V = len(wrapped)
    added = set(wrapped.added_tokens_decoder)
    assert of_kind("special", V) == {0, *wrapped.all_special_ids}
    assert of_kind("added", V) == added - {0, *wrapped.all_special_ids}


# Speed


PROGRAM = """
import sys, time
from pathlib import Path
from geom_plugins.checkpoints.folders import LocalFolder
from geom_plugins.checkpoints.token_texts import read_tokens

begin = time.process_time()
tokens = read_tokens(LocalFolder(Path()), 256_000)
print(time.process_time() - begin, tokens.texts[5], *sys.modules)
"""


def test_a_large_vocabulary_is_read_in_two_seconds_and_little_is_imported(
    byte_level: Tokenizer,
) -> None:
    file = json.loads(Path("tokenizer.json").read_text())
    words = [base64.b64encode(n.to_bytes(6)).decode() for n in range(256_000)]
    vocabulary = {"Ġ" + word: id for id, word in enumerate(words)}
    file["model"] |= {"vocab": vocabulary, "merges": [["a", "b"]] * len(vocabulary)}
    as_json("tokenizer.json", file)
    # a separate program, because a coverage tool would be measured too
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True)
    seconds, text, *modules = done.stdout.decode().split()
    assert (float(seconds) < 2, text) == (True, words[5])
    assert not {"torch", "transformers", "tokenizers", "sentencepiece"} & set(modules)
