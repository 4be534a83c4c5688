"""Tokens: texts as the libraries that tokenize decode them, kinds as those libraries declare them.

A library drops the space at the start of a line, or at its end; what a token adds to the text of
another shows it.
"""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

import geom
from geom import InputError, Readout, TokenKind, visible
from geom_plugins.checkpoints.folders import LocalFolder
from geom_plugins.checkpoints.token_texts import Tokens, piece_kinds, piece_texts, read_tokens
from geom_plugins.sources.demo import CHECKPOINT
from support.command import Command

LINES = [
    "naïve über 日本語 日本 the then them\n\n\t",
    "low lower lowest, the newest widest way",
] * 20
UNKNOWN = "\N{REPLACEMENT CHARACTER}"
SPELLED = re.compile(r"\\x(..)")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(V: int, path: Path = Path()) -> Tokens:
    tokens = read_tokens(LocalFolder(path), V)
    assert tokens is not None
    return tokens


def texts(V: int) -> tuple[str | None, ...]:
    found = read(V).texts
    assert found is not None
    return found


def kinds(V: int) -> tuple[TokenKind, ...]:
    found = read(V).kinds
    assert found is not None
    return found


def of_kind(kind: TokenKind, V: int) -> set[int]:
    return {t for t, found in enumerate(kinds(V)) if found == kind}


def as_json(name: str, content: Any) -> None:
    Path(name).write_text(json.dumps(content), encoding="utf-8")


# tokenizer.json, byte-level


@pytest.fixture
def byte_level() -> Tokenizer:
    """A byte-level BPE like GPT-2's, which cut some characters into bytes."""
    built = Tokenizer(models.BPE())
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    built.train_from_iterator(LINES[::2], trainer)
    built.add_tokens([AddedToken("two Ġwords"), AddedToken("Ġadded"), AddedToken("naïve")])
    built.save("tokenizer.json")
    return built


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
    """Pieces with U+2581 for a space and a piece for every byte, decoded as Llama's file says."""
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


# The older files


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
    built.decoder = decoders.ByteLevel()  # leaves the mark where it is
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


# Sentencepiece models


def train(path: str, **options: Any) -> SentencePieceProcessor:
    """A sentencepiece model of a tiny corpus, in a file."""
    content = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(LINES),
        model_writer=content,
        hard_vocab_limit=False,
        minloglevel=2,
        **{"vocab_size": 60, **options},
    )
    Path(path).write_bytes(content.getvalue())
    return SentencePieceProcessor(model_proto=content.getvalue())


@pytest.mark.parametrize("name", ["tokenizer.model", "spiece.model", "spm.model"])
def test_a_sentencepiece_model_says_its_own_pieces(name: str) -> None:
    model = train(name, byte_fallback=True, vocab_size=330, pad_id=3)
    V = model.get_piece_size()
    anchor = model.piece_to_id("l")
    normal = of_kind("normal", V)
    assert len(normal) > 10
    assert all(texts(V)[t] == model.decode([anchor, t]).removeprefix("l") for t in normal)
    assert of_kind("special", V) == {0, 1, 2, 3}
    assert of_kind("byte", V) == {t for t in range(V) if model.is_byte(t)}
    assert len(of_kind("byte", V)) == 256
    assert [texts(V)[t] for t in range(4)] == [model.id_to_piece(t) for t in range(4)]


def test_tokens_added_to_a_sentencepiece_model_are_marked() -> None:
    V = train("tokenizer.model").get_piece_size()
    as_json("added_tokens.json", {"<image>": V})
    assert (texts(V + 2)[V:], kinds(V + 2)[V:]) == (("<image>", None), ("added", "padding"))


def test_xlm_robertas_ids_are_moved_as_fairseq_has_them() -> None:
    model = train("sentencepiece.bpe.model")
    as_json("config.json", {"model_type": "xlm-roberta"})
    V = model.get_piece_size() + 2
    wrapped = transformers.XLMRobertaTokenizer.from_pretrained(".")
    pieces = wrapped.convert_ids_to_tokens(list(range(V)))
    assert [(text or "").replace(" ", "▁") for text in texts(V)] == pieces
    assert of_kind("special", V) == set(wrapped.all_special_ids)


T5 = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
BYTES = {"byte_fallback": True, "vocab_size": 330, "model_type": "bpe"}


@pytest.mark.parametrize(("value", "expected"), [(2, 2), (0, 0), (-1, 0), ("many", 0)])
def test_t5_says_how_many_sentinels_it_adds(value: Any, expected: int) -> None:
    V = train("spiece.model", **T5).get_piece_size()
    as_json("config.json", {"model_type": "t5"})
    as_json("tokenizer_config.json", {"extra_ids": value})
    added = [f"<extra_id_{n}>" for n in reversed(range(expected))]
    assert list(texts(V + 3)[V:]) == [*added, *[None] * (3 - expected)]


@pytest.mark.parametrize(
    ("kind", "name", "options"), [("llama", "tokenizer.model", BYTES), ("t5", "spiece.model", T5)]
)
def test_a_model_and_what_transformers_converts_it_to_say_the_same(
    kind: str, name: str, options: dict[str, Any]
) -> None:
    train(name, **options)
    as_json("config.json", {"model_type": kind})
    wrapped = transformers.AutoTokenizer.from_pretrained(".")
    wrapped.save_pretrained("converted")
    V = len(wrapped) + 3
    assert Path("converted/tokenizer.json").is_file()
    assert read(V) == read(V, Path("converted"))
    assert of_kind("special", V) == set(wrapped.all_special_ids)


@pytest.mark.parametrize("kind", ["pegasus", "camembert"])
def test_ids_that_are_moved_in_an_unknown_way_have_no_texts(kind: str) -> None:
    train("spiece.model")
    as_json("config.json", {"model_type": kind})
    found = read(5)
    assert (found.texts, found.kinds) == (None, None)
    assert f"how {kind} numbers the pieces of spiece.model is not known" in found.notes[0]


def test_without_sentencepiece_a_note_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train("tokenizer.model")
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    found = read(5)
    assert (found.texts, found.kinds) == (None, None)
    assert "pip install 'geom-unembed[sentencepiece]'" in found.notes[0]


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
def test_marians_ids_come_from_its_vocabulary() -> None:
    source, target = train("source.spm"), train("target.spm", vocab_size=55)
    both = (source, target)
    pieces = {model.id_to_piece(t) for model in both for t in range(3, model.get_piece_size())}
    listed = ["</s>", "<unk>", ">>fr<<", *sorted(pieces), "<pad>"]
    as_json("vocab.json", {piece: t for t, piece in enumerate(listed)})
    V = len(listed)
    wrapped = transformers.MarianTokenizer.from_pretrained(".")
    found = wrapped.convert_ids_to_tokens(list(range(V)))
    assert [(text or "").replace(" ", "▁") for text in texts(V)] == found
    codes = {listed.index(code) for code in wrapped.supported_language_codes}
    assert of_kind("special", V) == {*wrapped.all_special_ids, *codes}


# Files that are missing or damaged


def test_a_checkpoint_without_a_tokenizer_has_no_tokens() -> None:
    assert read_tokens(LocalFolder(Path()), 5) is None


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"model": 3}', '{"model": {}}', "[" * 10**5])
def test_a_tokenizer_json_that_is_none_is_refused(content: str) -> None:
    Path("tokenizer.json").write_text(content)
    with pytest.raises(InputError, match=r"tokenizer\.json of \. is no tokenizer file") as refused:
        read(3)
    assert "remove it to do without" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("vocab.json", b'{"a": "b"}'),
        ("vocab.json", b"\xff"),
        ("vocab.txt", b"\xff\xfe"),
        ("tokenizer.model", b"no protobuf"),
        ("tokenizer.model", b""),
    ],
)
def test_a_damaged_vocabulary_is_one_line(name: str, content: bytes) -> None:
    Path(name).write_bytes(content)
    with pytest.raises(InputError, match=re.escape(f"{name} of . is no tokenizer file")) as refused:
        read(3)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "name", ["added_tokens.json", "special_tokens_map.json", "tokenizer_config.json"]
)
def test_a_damaged_file_beside_the_tokenizer_is_one_line(name: str, byte_level: Tokenizer) -> None:
    Path(name).write_text("[]")
    with pytest.raises(InputError, match=re.escape(f"{name} of . is no tokenizer file")):
        read(3)


def test_entries_that_mean_nothing_are_passed_over(byte_level: Tokenizer) -> None:
    plain = read(300)
    nonsense = {"added_tokens_decoder": {"x": {}, "7": 3, "8": {"content": 1}}, "bos_token": 7}
    as_json("tokenizer_config.json", {**nonsense, "model_max_length": 10**30})
    assert read(300) == plain


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
    """The character for every byte that UTF-8 has, as the tokenizers library writes texts."""
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


# Where they are shown


def keep(tokens: list[str | None], marks: list[TokenKind], path: str = "run.db") -> None:
    """A run that lists tokens of these texts and kinds; the first wins along every direction."""
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


def test_the_kind_is_the_last_key_of_every_export(command: Command) -> None:
    keep(["a", r"\xff", None], ["normal", "byte", "padding"])
    exported = command("export", "run.db").rows
    assert [list(row)[-1] for row in exported] == ["token_kind"] * 3
    assert [row["token_kind"] for row in exported] == ["normal", "byte", "padding"]
    lines = command("export", "run.db", "--format", "csv").out.splitlines()
    assert [line.rpartition(",")[2] for line in lines] == [
        *("token_kind", "normal", "byte", "padding"),
    ]


def test_without_a_tokenizer_the_kind_is_null(command: Command) -> None:
    np.savez("square.npz", W=np.array([[1.0, 0.0], [-1.0, 0.5]]))
    run = ("run", "-m", "npz:square.npz", "-t", "all", "-c", "none", "--format", "jsonl")
    done = command(*run, "--out", "run.db")
    assert [row["token_kind"] for row in done.rows] == [None, None]


@pytest.mark.parametrize(
    ("marks", "reason"),
    [(["normal"], "1 token kinds for 2 rows"), (["normal", "odd"], "token kind 'odd': give")],
)
def test_kinds_that_do_not_fit_are_refused(marks: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        Readout.fold(np.eye(2), tokens=["a", "b"], kinds=marks)


# What is printed can be told apart

PIECES = st.binary(max_size=4) | st.sampled_from(
    [b"\\", b'"', b"\\xa0", b"\xa0", "\u00a0".encode(), b"\\u00a0", b"\\x5cxa0", b'" byte', b"\\\\"]
)
KINDS: st.SearchStrategy[TokenKind] = st.sampled_from(
    ["normal", "special", "added", "byte", "unused", "padding"]
)


def token(data: bytes, spell: bool) -> tuple[str, TokenKind]:
    """A token of these bytes, by the rule that `geom.text` states."""
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
    # a program of its own, as what measures coverage would be measured too
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True)
    seconds, text, *modules = done.stdout.decode().split()
    assert (float(seconds) < 2, text) == (True, words[5])
    assert not {"torch", "transformers", "tokenizers", "sentencepiece"} & set(modules)
