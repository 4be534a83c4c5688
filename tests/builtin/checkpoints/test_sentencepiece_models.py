"""Tokens of sentencepiece models, as the library and transformers decode them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import transformers

from support.tokenizers import as_json, kinds, of_kind, read, texts, train

pytestmark = pytest.mark.usefixtures("own_folder")


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


BPE = "sentencepiece.bpe.model"
BYTES_FIRST = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}


@pytest.mark.parametrize(
    ("kind", "architecture", "name", "options"),
    [
        ("CamembertTokenizer", "camembert", BPE, {}),
        ("PegasusTokenizer", "pegasus", "spiece.model", BYTES_FIRST),
        ("PegasusTokenizer", "pegasus_x", "spiece.model", BYTES_FIRST),
        ("SeamlessM4TTokenizer", "seamless_m4t", BPE, {"model_type": "bpe"}),
        ("ReformerTokenizer", "reformer", "spiece.model", {}),
        ("SiglipTokenizer", "siglip", "spiece.model", {}),
    ],
)
def test_ids_are_moved_as_transformers_moves_them(
    kind: str, architecture: str, name: str, options: dict[str, Any]
) -> None:
    train(name, **options)
    as_json("config.json", {"model_type": architecture})
    wrapped = getattr(transformers, kind).from_pretrained(".")
    V = len(wrapped)
    assert shown(V) == wrapped.convert_ids_to_tokens(list(range(V)))


def shown(V: int) -> list[str]:
    """Return the texts with sentencepiece's mark in place of spaces."""
    return [(text or "").replace(" ", "▁") for text in texts(V)]


@pytest.mark.parametrize("kind", ["MBartTokenizer", "MBart50Tokenizer", "PLBartTokenizer"])
def test_the_languages_that_the_files_list_follow_the_pieces(kind: str) -> None:
    model = train(BPE)
    as_json("config.json", {"model_type": "plbart" if kind == "PLBartTokenizer" else "mbart"})
    as_json("tokenizer_config.json", {"tokenizer_class": kind})
    wrapped = getattr(transformers, kind).from_pretrained(".")
    pieces = wrapped.convert_ids_to_tokens(list(range(len(wrapped))))
    end = model.get_piece_size() + 1
    codes = pieces[end:-1]
    assert pieces[-1] == "<mask>"
    found = read(len(pieces))
    assert shown(len(pieces))[:end] == pieces[:end]
    assert found.notes == (
        f"no file names the languages whose tokens follow the pieces, from id {end}",
    )
    assert found.kinds is not None
    assert set(found.kinds[end:]) == {"special"}
    as_json("special_tokens_map.json", {"additional_special_tokens": codes, "unk_token": "<unk>"})
    assert shown(len(pieces)) == pieces
    assert read(len(pieces)).notes == ()
    assert of_kind("special", len(pieces)) == {*range(4), *range(end, len(pieces))}


def test_nllbs_languages_are_read_with_the_ids_that_it_saves() -> None:
    """An archive of version 4 lists the ids of all added tokens."""
    model = train(BPE, model_type="bpe")
    as_json("config.json", {"model_type": "m2m_100"})
    end = model.get_piece_size() + 1
    entries = {end: "ace_Arab", end + 1: "zul_Latn", end + 2: "<mask>"}
    table = {str(id): {"content": token, "special": True} for id, token in entries.items()}
    settings = {"added_tokens_decoder": table, "additional_special_tokens": ["ace_Arab"]}
    as_json("tokenizer_config.json", {"tokenizer_class": "NllbTokenizer", **settings})
    assert list(texts(end + 4)[end:]) == [*entries.values(), None]
    wrapped = transformers.NllbTokenizer.from_pretrained(".")
    first = wrapped.convert_ids_to_tokens(list(range(end)))
    assert shown(end) == first


def test_a_token_that_a_user_added_moves_no_other() -> None:
    end = train(BPE).get_piece_size() + 1
    as_json("config.json", {"model_type": "mbart"})
    listed = {"additional_special_tokens": ["ar_AR", "<own>", "cs_CZ"]}
    as_json("special_tokens_map.json", listed)
    as_json("added_tokens.json", {"<own>": end + 3})
    assert list(texts(end + 5)[end:]) == ["ar_AR", "cs_CZ", "<mask>", "<own>", None]


def test_xglms_pieces_move_by_one_and_made_up_words_follow() -> None:
    from transformers.convert_slow_tokenizer import XGLMConverter, import_protobuf

    model = train(BPE)
    proto = import_protobuf().ModelProto.FromString(Path(BPE).read_bytes())
    theirs = [piece for piece, _ in XGLMConverter.vocab(None, proto)]
    assert len(theirs) == model.get_piece_size() + 1 + 7
    as_json("config.json", {"model_type": "xglm"})
    assert shown(len(theirs)) == theirs
    assert of_kind("padding", len(theirs) + 1) == {len(theirs)}


def test_xlm_prophetnets_pieces_move_by_twelve() -> None:
    """As ``tokenization_xlm_prophetnet.py`` of transformers 4 says."""
    model = train("prophetnet.tokenizer")
    as_json("config.json", {"model_type": "xlm-prophetnet"})
    V = model.get_piece_size() + 12
    assert texts(V)[:6] == ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]", "[unused0]")
    assert shown(V)[15:] == [model.id_to_piece(t - 12) for t in range(15, V)]


def test_pegasus_may_say_that_nothing_moves() -> None:
    model = train("spiece.model", **BYTES_FIRST)
    as_json("config.json", {"model_type": "bigbird_pegasus"})
    V = model.get_piece_size()
    assert shown(V) == [model.id_to_piece(t) for t in range(V)]
    as_json("tokenizer_config.json", {"offset": "many"})
    assert "tokenizer_config.json has an offset of 'many'" in read(V).notes[0]


def test_barthez_keeps_the_ids_of_its_model() -> None:
    model = train(BPE)
    as_json("config.json", {"model_type": "mbart"})
    as_json("tokenizer_config.json", {"tokenizer_class": "BarthezTokenizer"})
    wrapped = transformers.BarthezTokenizer.from_pretrained(".")
    V = model.get_piece_size()
    assert shown(V) == wrapped.convert_ids_to_tokens(list(range(V)))


def test_bartphos_ids_are_those_of_its_dictionary() -> None:
    train(BPE)
    Path("dict.txt").write_text("▁the 9\nre 8\n", encoding="utf-8")
    as_json("config.json", {"model_type": "mbart"})
    as_json("tokenizer_config.json", {"tokenizer_class": "BartphoTokenizer"})
    wrapped = transformers.BartphoTokenizer.from_pretrained(".")
    assert shown(len(wrapped)) == wrapped.convert_ids_to_tokens(list(range(len(wrapped))))
    assert of_kind("special", 7) == {0, 1, 2, 3, 6}


@pytest.mark.parametrize("kind", ["luke", None])
def test_ids_that_are_moved_in_an_unknown_way_have_no_texts(kind: str | None) -> None:
    train(BPE)
    as_json("config.json", {} if kind is None else {"model_type": kind})
    found = read(5)
    assert (found.texts, found.kinds) == (None, None)
    assert f"does not know how {kind} numbers the pieces of {BPE}" in found.notes[0]


def test_without_sentencepiece_a_note_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train("tokenizer.model")
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    found = read(5)
    assert (found.texts, found.kinds) == (None, None)
    assert "needs the extra sentencepiece, which geom doctor" in found.notes[0]


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
