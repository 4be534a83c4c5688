"""Tokens from the files that preceded tokenizer.json: vocab.json, merges.txt, vocab.txt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from support.tokenizers import LINES, UNKNOWN, as_json, kinds, of_kind, read, texts, train

pytestmark = pytest.mark.usefixtures("own_folder")


def test_gpt2_files_say_the_same_as_its_tokenizer(byte_level: Tokenizer) -> None:
    V = byte_level.get_vocab_size() - 3
    whole = texts(V), kinds(V)
    Path("older").mkdir()
    byte_level.model.save("older")
    older = read(V, Path("older"))
    assert (older.texts, older.kinds) == whole


def test_tokens_added_to_gpt2_files_are_marked(byte_level: Tokenizer) -> None:
    Path("tokenizer.json").unlink()
    byte_level.model.save(".")
    V = byte_level.get_vocab_size() - 3
    as_json("added_tokens.json", {"<plain>": V, "<|user|>": V + 2})
    as_json("special_tokens_map.json", {"eos_token": {"content": "<|endoftext|>"}})
    entry = {"content": "<|user|>", "special": True}
    as_json("tokenizer_config.json", {"added_tokens_decoder": {str(V + 2): entry}})
    assert texts(V + 4)[V:] == ("<plain>", None, "<|user|>", None)
    assert kinds(V + 4)[V:] == ("added", "unused", "special", "padding")
    assert of_kind("special", V) == {0}


def test_an_end_of_word_in_byte_level_files_is_a_space() -> None:
    built = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|startoftext|>", "<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    built.train_from_iterator(LINES, trainer)
    built.model.save(".")
    wrapped = transformers.CLIPTokenizer.from_pretrained(".")
    V = len(wrapped)
    built.decoder = decoders.ByteLevel()  # leaves the mark in place
    decoded = [built.decode([t], skip_special_tokens=False) for t in range(V)]
    marked = [text.replace("</w>", " ") for text in decoded]
    whole = [t for t in range(V) if UNKNOWN not in marked[t]]
    assert any((texts(V)[t] or "").endswith("lower ") for t in whole)
    assert [texts(V)[t] for t in whole] == [marked[t] for t in whole]
    assert of_kind("special", V) == set(wrapped.all_special_ids)


def test_a_vocab_json_of_characters_is_left_as_it_is() -> None:
    as_json("vocab.json", {"<pad>": 0, "|": 1, "E": 2, "Ġ": 3})
    assert texts(4) == ("<pad>", "|", "E", "Ġ")
    assert of_kind("special", 4) == {0}


def test_a_vocab_json_of_sentencepiece_pieces_has_spaces() -> None:
    as_json("vocab.json", {"<unk>": 0, "▁the": 1, "re": 2, "<0x0A>": 3})
    assert (texts(4), kinds(4)[2:]) == (("<unk>", " the", "re", "\n"), ("normal", "byte"))


def test_lines_of_a_vocab_txt_are_wordpieces() -> None:
    lines = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "日", "##est", "#"]
    Path("vocab.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    wrapped = transformers.BertTokenizer.from_pretrained(".")
    assert list(texts(9)) == wrapped.convert_ids_to_tokens(list(range(9))) == lines
    assert of_kind("special", 9) == set(wrapped.all_special_ids)
    assert (of_kind("unused", 9), of_kind("padding", 11)) == ({1}, {9, 10})


# The slow tokenizers, each with its own files

ENDS = ["lo</w>", "w", "er</w>", "new</w>", "est</w>", "wi", "dest</w>"]
FIRST = ["<s>", "<pad>", "</s>", "<unk>"]


def pieces_of(wrapped: Any) -> list[str]:
    """Return the pieces with the marks of word ends as the spaces that geom writes."""
    found = wrapped.convert_ids_to_tokens(list(range(len(wrapped))))
    return [piece.replace("</w>", " ") for piece in found]


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
@pytest.mark.parametrize(
    ("kind", "vocabulary"),
    [
        ("BioGptTokenizer", [*FIRST, *ENDS]),
        ("XLMTokenizer", ["<s>", "</s>", "<pad>", "<unk>", "<special0>", "<special1>", *ENDS]),
        ("CTRLTokenizer", ["<unk>", "lo@@", "w", "new"]),
        ("BlenderbotSmallTokenizer", ["__null__", "__start__", "__end__", "__unk__", "lo@@", "w"]),
    ],
)
def test_a_slow_tokenizers_vocab_json_is_its_own(kind: str, vocabulary: list[str]) -> None:
    pytest.importorskip("sacremoses")
    as_json("vocab.json", {piece: id for id, piece in enumerate(vocabulary)})
    Path("merges.txt").write_text("#version: 0.2\nl o\n")
    wrapped = getattr(transformers, kind).from_pretrained(".")
    V = len(vocabulary)
    assert list(texts(V)) == pieces_of(wrapped)[:V]


def test_fsmts_decoder_emits_the_targets_vocabulary() -> None:
    pytest.importorskip("sacremoses")
    as_json("vocab-src.json", {piece: id for id, piece in enumerate([*FIRST, "other"])})
    as_json("vocab-tgt.json", {piece: id for id, piece in enumerate([*FIRST, *ENDS])})
    Path("merges.txt").write_text("#version\nl o 3\n")
    as_json("tokenizer_config.json", {"langs": ["en", "de"]})
    wrapped = transformers.FSMTTokenizer.from_pretrained(".")
    V = wrapped.tgt_vocab_size
    assert list(texts(V)) == [
        piece.replace("</w>", " ") for piece in wrapped.convert_ids_to_tokens(list(range(V)))
    ]


@pytest.mark.parametrize("kind", ["PhobertTokenizer", "BertweetTokenizer"])
@pytest.mark.filterwarnings("ignore")
def test_a_dictionary_of_fairseq_begins_at_four(kind: str) -> None:
    Path("vocab.txt").write_text("lo@@ 100\nw 90\nnew 9\n")
    Path("bpe.codes").write_text("l o 4\n")
    wrapped = getattr(transformers, kind).from_pretrained(".")
    assert list(texts(len(wrapped))) == pieces_of(wrapped)
    assert of_kind("special", 8) == set(wrapped.all_special_ids)
    Path("vocab.txt").write_text("lo@@ 100\nw\n")
    assert "line 2 is not a token and its count" in read(8).notes[0]


def test_prophetnets_lines_are_wordpieces() -> None:
    lines = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[X_SEP]", "the", "##re"]
    Path("prophetnet.tokenizer").write_text("\n".join(lines))
    wrapped = transformers.ProphetNetTokenizer.from_pretrained(".")
    assert list(texts(9)) == wrapped.convert_ids_to_tokens(list(range(9))) == lines


def test_byt5_has_bytes_and_no_file() -> None:
    as_json("tokenizer_config.json", {"tokenizer_class": "ByT5Tokenizer"})
    wrapped = transformers.ByT5Tokenizer.from_pretrained(".")
    V = len(wrapped)
    found = wrapped.convert_ids_to_tokens(list(range(V)))
    spelled = [
        f"\\x{ord(piece):02x}" if 3 <= t < 259 and ord(piece) >= 0x80 else piece
        for t, piece in enumerate(found)
    ]
    assert list(texts(V)) == spelled
    assert of_kind("byte", V) == set(range(3, 259))
    assert of_kind("special", V) == set(wrapped.all_special_ids)


def test_mms_takes_the_vocabulary_of_its_language() -> None:
    languages = {"eng": {"<pad>": 0, "|": 1, "e": 2}, "deu": {"<pad>": 0, "ß": 1}}
    as_json("vocab.json", languages)
    as_json("tokenizer_config.json", {"target_lang": "deu"})
    assert texts(3) == ("<pad>", "ß", None)


@pytest.mark.parametrize("listed", [False, True])
def test_m2m100s_languages_follow_its_vocabulary(listed: bool) -> None:
    from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES

    train("sentencepiece.bpe.model")
    as_json("vocab.json", {piece: id for id, piece in enumerate([*FIRST, "▁the", "re"])})
    wrapped = transformers.M2M100Tokenizer.from_pretrained(".")
    if listed:
        codes = [f"__{code}__" for code in FAIRSEQ_LANGUAGE_CODES["m2m100"]]
        as_json("special_tokens_map.json", {"additional_special_tokens": codes})
        assert [wrapped.get_lang_id(code[2:-2]) for code in codes] == list(range(6, 106))
        assert list(texts(106)[6:]) == codes
        assert of_kind("special", 106) == {*range(4), *range(6, 106)}
    found = [(text or "").replace(" ", "▁") for text in texts(6)]
    assert found == wrapped.convert_ids_to_tokens(list(range(6)))
