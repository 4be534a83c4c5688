"""Tokens of sentencepiece models, as the library and transformers decode them."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest
import transformers
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from support.tokenizers import LINES, as_json, kinds, of_kind, read, texts

pytestmark = pytest.mark.usefixtures("own_folder")


def train(path: str, **options: Any) -> SentencePieceProcessor:
    """Train a sentencepiece model on a tiny corpus and save it."""
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
    assert f"does not know how {kind} numbers the pieces of spiece.model" in found.notes[0]


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
