"""The text and the kind of each token id, from the checkpoint's tokenizer.

The files are read directly, without the libraries that tokenize: only sentencepiece's models, which
are not in JSON, need their own library. For 50,000 and 150,000 byte-level tokens this takes 0.4 and
1.1 s and 16 and 51 MiB. The tokenizers package takes 0.3 and 1.0 s, 44 and 126 MiB and 12 MB on
disk; it decodes part of a character to U+FFFD instead of its bytes, drops the first space of
sentencepiece's texts, does not give a token's kind, and reads only ``tokenizer.json``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from geom import InputError
from geom_plugins.checkpoints.vocabulary import BYTE_ALPHABET, SPACE, Scheme, Tokens, Vocabulary

if TYPE_CHECKING:
    from geom import TokenKind
    from geom_plugins.checkpoints.folders import Folder

SENTENCEPIECE_FILES = (
    "tokenizer.model",
    "spiece.model",
    "spm.model",
    "sentencepiece.model",
    "sentencepiece.bpe.model",
)
_CONVENTIONAL = {
    *("<s>", "</s>", "<pad>", "<unk>", "<mask>", "<|startoftext|>", "<|endoftext|>"),
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
}
"""The names taken as special if a tokenizer of an older format declares none."""


def read_tokens(folder: Folder, V: int) -> Tokens | None:
    """Return the tokens of ids 0 to V - 1 by the checkpoint's tokenizer, or None without one.

    Looks for ``tokenizer.json``, ``vocab.json``, ``vocab.txt`` and a sentencepiece model, in this
    order. Rows beyond the tokenizer's ids are vocabulary padding. Raises InputError if one of the
    tokenizer's files is damaged.
    """
    if folder.has("tokenizer.json"):
        return _from_tokenizer_json(folder).tokens(V)
    if folder.has("vocab.json"):
        return _from_vocab_json(folder).tokens(V)
    if folder.has("vocab.txt"):
        return _from_vocab_txt(folder).tokens(V)
    for name in SENTENCEPIECE_FILES:
        if folder.has(name):
            return _from_sentencepiece(folder, name, V)
    return None


# tokenizer.json


class _AddedToken(msgspec.Struct):
    id: int
    content: str
    special: bool = False


class _Model(msgspec.Struct):
    vocab: dict[str, int] | list[tuple[str, float]]
    unk_token: str | None = None
    unk_id: int | None = None
    end_of_word_suffix: str | None = None


class _TokenizerFile(msgspec.Struct):
    """The parts of the file that are needed; the merges, most of the file, are skipped."""

    model: _Model
    added_tokens: list[_AddedToken] = []
    decoder: dict[str, Any] | None = None


def _from_tokenizer_json(folder: Folder) -> Vocabulary:
    file = _parsed(folder, "tokenizer.json", _TokenizerFile)
    model = file.model
    pieces = (
        {id: piece for id, (piece, _) in enumerate(model.vocab)}
        if isinstance(model.vocab, list)
        else {id: piece for piece, id in model.vocab.items()}
    )
    scheme, suffix = _decoder_scheme(file.decoder)
    declared = _declared(folder)
    vocabulary = Vocabulary(
        scheme,
        pieces,
        suffix or model.end_of_word_suffix or None,
        declared.added | {token.id: token.content for token in file.added_tokens},
        declared.special | {token.content for token in file.added_tokens if token.special},
    )
    unknown = model.unk_token if model.unk_id is None else pieces.get(model.unk_id)
    if unknown is not None:
        vocabulary.special.add(unknown)
    return vocabulary


def _decoder_scheme(decoder: dict[str, Any] | None) -> tuple[Scheme, str | None]:
    """Return how pieces encode text, by the file's decoder, and the mark of a word's end."""
    steps = list(_flat(decoder or {}))
    types = {step.get("type") for step in steps}
    if "ByteLevel" in types:
        return "byte-level", None
    for step in steps:
        if step.get("type") == "BPEDecoder":
            return "plain", str(step.get("suffix") or "") or None
    replaces_space = any(
        step.get("type") == "Replace" and step.get("pattern") == {"String": SPACE} for step in steps
    )
    if replaces_space or types & {"Metaspace", "ByteFallback"}:
        return "sentencepiece", None
    return "plain", None


def _flat(decoder: dict[str, Any]) -> Iterable[dict[str, Any]]:
    if decoder.get("type") != "Sequence":
        yield decoder
        return
    for step in decoder.get("decoders") or []:
        if isinstance(step, dict):
            yield from _flat(step)


# The older files


def _from_vocab_json(folder: Folder) -> Vocabulary:
    """Read the format of GPT-2, or of Marian, whose pieces come from sentencepiece models."""
    marian = folder.has("source.spm") or folder.has("target.spm")
    target = marian and folder.has("target_vocab.json")  # what the decoder emits
    ids = _parsed(folder, "target_vocab.json" if target else "vocab.json", dict[str, int])
    pieces = {id: piece for piece, id in ids.items()}
    declared = _declared(folder)
    special = declared.special or (_CONVENTIONAL & ids.keys())
    if marian:
        special |= {piece for piece in ids if piece.startswith(">>") and piece.endswith("<<")}
    from_sentencepiece = marian or any(folder.has(name) for name in SENTENCEPIECE_FILES)
    scheme: Scheme = "sentencepiece" if from_sentencepiece else _guessed_scheme(ids)
    suffix = None if from_sentencepiece else _guessed_suffix(ids)
    return Vocabulary(scheme, pieces, suffix, declared.added, set(special))


def _guessed_scheme(pieces: Mapping[str, int]) -> Scheme:
    """Guess how pieces encode text: a byte-level vocabulary has a piece for every byte."""
    if {piece.removesuffix("</w>") for piece in pieces} >= BYTE_ALPHABET:
        return "byte-level"
    spaced = sum(piece.startswith(SPACE) for piece in pieces)
    return "sentencepiece" if 10 * spaced > len(pieces) else "plain"


def _guessed_suffix(pieces: Mapping[str, int]) -> str | None:
    marked = sum(piece.endswith("</w>") for piece in pieces)
    return "</w>" if 10 * marked > len(pieces) else None


def _from_vocab_txt(folder: Folder) -> Vocabulary:
    """Read WordPiece's format: one token per line."""
    content = folder.read("vocab.txt")
    try:
        text = content.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise _damaged(folder, "vocab.txt", error) from error
    lines = text.removesuffix("\n").split("\n") if text else []
    declared = _declared(folder)
    special = declared.special or (_CONVENTIONAL & set(lines))
    return Vocabulary("plain", dict(enumerate(lines)), None, declared.added, set(special))


# Sentencepiece models


_AS_XLM_ROBERTA = ("xlm-roberta", "xlm-roberta-xl")
_SHIFTED = (
    *("bigbird_pegasus", "camembert", "m2m_100", "mbart", "nllb-moe", "pegasus", "pegasus_x"),
    *("plbart", "seamless_m4t", "seamless_m4t_v2", "xglm", "xlm-prophetnet"),
)
"""The architectures whose tokenizers renumber the pieces of their sentencepiece model."""


def _from_sentencepiece(folder: Folder, name: str, V: int) -> Tokens:
    """Read a sentencepiece model, with its own ids unless the architecture renumbers them."""
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError:
        note = (
            f"token texts are left out: {name} needs sentencepiece, "
            "python -m pip install 'geom-unembed[sentencepiece]'"
        )
        return _without_texts(note)
    config = _parsed(folder, "config.json", dict[str, Any]) if folder.has("config.json") else {}
    kind = config.get("model_type")
    moved = kind in _AS_XLM_ROBERTA
    if kind in _SHIFTED or (name == "sentencepiece.bpe.model" and not moved):
        return _without_texts(
            f"token texts are left out: geom does not know how {kind} numbers the pieces of {name}"
        )
    content = folder.read(name)
    try:
        model = SentencePieceProcessor()
        model.LoadFromSerializedProto(content)
    except Exception as error:  # the library raises bare RuntimeError, OSError and TypeError
        raise _damaged(folder, name, error) from error
    vocabulary = _sentencepiece_vocabulary(model, folder)
    if kind == "t5":
        vocabulary.added = _t5_extra_ids(folder, len(vocabulary.pieces)) | vocabulary.added
        vocabulary.special |= set(vocabulary.added.values())
    return (_as_xlm_roberta(vocabulary) if moved else vocabulary).tokens(V)


def _sentencepiece_vocabulary(model: Any, folder: Folder) -> Vocabulary:
    ids = list(range(model.get_piece_size()))
    kinds: dict[int, TokenKind] = {}
    if ids:
        unused, control, unknown = (
            ask(ids) for ask in (model.is_unused, model.is_control, model.is_unknown)
        )
        kinds |= {id: "special" for id in ids if control[id] or unknown[id]}
        kinds |= {id: "unused" for id in ids if unused[id]}
    declared = _declared(folder)
    pieces = dict(enumerate(model.id_to_piece(ids))) if ids else {}
    return Vocabulary("sentencepiece", pieces, None, declared.added, set(declared.special), kinds)


def _t5_extra_ids(folder: Folder, size: int) -> dict[int, str]:
    """Return the sentinels, counted down, that T5's tokenizer adds and no file lists."""
    name = "tokenizer_config.json"
    values = _parsed(folder, name, dict[str, Any]) if folder.has(name) else {}
    count = values.get("extra_ids", 100)
    if not isinstance(count, int) or not 0 <= count < 10_000:
        return {}
    return {size + n: f"<extra_id_{count - 1 - n}>" for n in range(count)}


def _as_xlm_roberta(vocabulary: Vocabulary) -> Vocabulary:
    """Renumber: four tokens first in fairseq's order, the others one id later, the mask last."""
    pieces = {id + 1: piece for id, piece in vocabulary.pieces.items() if id >= 3}
    pieces |= dict(enumerate(["<s>", "<pad>", "</s>", "<unk>"]))
    mask = len(vocabulary.pieces) + 1
    kinds = {id + 1: kind for id, kind in vocabulary.kinds.items() if id >= 3}
    special = vocabulary.special | _CONVENTIONAL
    return Vocabulary(
        "sentencepiece", pieces, None, {mask: "<mask>"} | vocabulary.added, special, kinds
    )


def _without_texts(note: str) -> Tokens:
    return Tokens(None, None, (note,))


# The files beside a vocabulary


@dataclass(frozen=True)
class _Declared:
    """The tokens added to a vocabulary, and the contents that are special."""

    added: dict[int, str]
    special: set[str]


def _declared(folder: Folder) -> _Declared:
    """Read added_tokens.json, special_tokens_map.json and tokenizer_config.json."""
    added: dict[int, str] = {}
    special: set[str] = set()
    if folder.has("added_tokens.json"):
        found = _parsed(folder, "added_tokens.json", dict[str, int])
        added |= {id: content for content, id in found.items()}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if folder.has(name):
            values = _parsed(folder, name, dict[str, Any])
            special |= _named_special(values)
            for id, token in _decoder_table(values.get("added_tokens_decoder")):
                added[id] = token.content
                special |= {token.content} if token.special else set()
    return _Declared(added, special)


def _named_special(values: Mapping[str, Any]) -> set[str]:
    """Return the contents of ``bos_token`` and the like, and of the lists of special tokens."""
    given = [value for key, value in values.items() if key.endswith("_token")]
    for key in ("additional_special_tokens", "extra_special_tokens"):
        more = values.get(key)
        given += more.values() if isinstance(more, dict) else more if isinstance(more, list) else []
    contents = (value.get("content") if isinstance(value, dict) else value for value in given)
    return {content for content in contents if isinstance(content, str)}


def _decoder_table(table: Any) -> Iterable[tuple[int, _AddedToken]]:
    """Yield the entries of ``added_tokens_decoder`` that can be parsed."""
    for id, entry in table.items() if isinstance(table, dict) else ():
        try:
            token = msgspec.convert({**entry, "id": int(id)}, _AddedToken)
        except (TypeError, ValueError):
            continue
        yield token.id, token


def _parsed(folder: Folder, name: str, type: type[Any]) -> Any:
    """Parse a JSON file of the folder, checked against ``type``."""
    content = folder.read(name)
    try:
        return msgspec.json.decode(content, type=type)
    except (ValueError, RecursionError) as error:
        raise _damaged(folder, name, error) from error


def _damaged(folder: Folder, name: str, error: Exception) -> InputError:
    undecoded = isinstance(error, UnicodeDecodeError)  # its message shows a byte of the file
    reason = "it is not UTF-8" if undecoded else " ".join(str(error).split())
    return InputError(
        f"{name} of {folder.name} is not a tokenizer file, or is damaged: {reason}; fetch it "
        "again, or remove it to do without token texts"
    )
