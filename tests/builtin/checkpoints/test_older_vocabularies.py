"""Tokens from the files that preceded tokenizer.json: vocab.json, merges.txt, vocab.txt."""

from __future__ import annotations

from pathlib import Path

import pytest
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from support.tokenizers import LINES, UNKNOWN, as_json, kinds, of_kind, read, texts

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
