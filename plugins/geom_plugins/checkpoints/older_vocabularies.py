"""The vocabularies that preceded ``tokenizer.json``: pieces with their ids, or one in a line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from geom_plugins.checkpoints.sentencepiece_models import SENTENCEPIECE_FILES
from geom_plugins.checkpoints.tokenizer_files import (
    Declared,
    TokenizerError,
    damaged,
    lines,
    parsed,
    read_declared,
    tokenizer_class,
)
from geom_plugins.checkpoints.vocabulary import BYTE_ALPHABET, SPACE, Scheme, Vocabulary

if TYPE_CHECKING:
    from geom_plugins.checkpoints.folders import Folder

VOCAB_JSON, VOCAB_TXT = "vocab.json", "vocab.txt"
FSMT_TARGET = "vocab-tgt.json"
"""The target's vocabulary of FSMT, which is what its decoder emits."""

PROPHETNET = "prophetnet.tokenizer"

_MERGES_BY_COUNT = "bpe.codes"
"""The merges of PhoBERT and BERTweet, whose vocab.txt is a dictionary of fairseq."""

_DICTIONARY_FIRST = ("<s>", "<pad>", "</s>", "<unk>")
"""The tokens that fairseq numbers before the lines of a dictionary."""

_OTHERS = ("CpmAntTokenizer", "GPTNeoXJapaneseTokenizer")
"""The classes that take the lines of a vocab.txt for something else than their texts."""


def read_vocab_json(folder: Folder) -> Vocabulary:
    """Read the format of GPT-2, or of Marian, whose pieces come from sentencepiece models.

    Raises TokenizerError if a file is damaged.
    """
    marian = folder.has("source.spm") or folder.has("target.spm")
    target = marian and folder.has("target_vocab.json")  # what the decoder emits
    declared = read_declared(folder)
    ids = _ids(folder, "target_vocab.json" if target else VOCAB_JSON, declared)
    special = declared.special_among(ids)
    if marian:
        special |= {piece for piece in ids if piece.startswith(">>") and piece.endswith("<<")}
    from_sentencepiece = marian or any(folder.has(name) for name in SENTENCEPIECE_FILES)
    scheme: Scheme = "sentencepiece" if from_sentencepiece else guessed_scheme(ids)
    suffix = None if from_sentencepiece else guessed_suffix(ids)
    added = dict(declared.added)
    if from_sentencepiece and not marian:  # M2M100 numbers its languages after its vocabulary
        placed = {*ids, *added.values()}
        start = 1 + max(ids.values(), default=-1)
        languages = [token for token in declared.listed if token not in placed]
        added |= {start + n: token for n, token in enumerate(languages)}
    return Vocabulary(scheme, {id: piece for piece, id in ids.items()}, suffix, added, special)


def _ids(folder: Folder, name: str, declared: Declared) -> dict[str, int]:
    """Return the ids of pieces; MMS keeps a vocabulary for each language, one of them in use."""
    found = parsed(folder, name, dict[str, int | dict[str, int]])
    nested = {key: value for key, value in found.items() if isinstance(value, dict)}
    if not nested:
        return {piece: id for piece, id in found.items() if isinstance(id, int)}
    language = declared.settings.get("target_lang")
    if language not in nested:
        raise TokenizerError(
            f"{name} has the vocabularies of {len(nested)} languages, and tokenizer_config.json "
            "does not say which is used (target_lang)"
        )
    return nested[language]


def read_fsmt(folder: Folder) -> Vocabulary:
    """Read the vocabulary of FSMT's decoder. Raises TokenizerError if it is damaged."""
    ids = parsed(folder, FSMT_TARGET, dict[str, int])
    declared = read_declared(folder)
    special = declared.special_among(ids)
    pieces = {id: piece for piece, id in ids.items()}
    return Vocabulary("plain", pieces, guessed_suffix(ids), declared.added, special)


def guessed_scheme(pieces: Iterable[str]) -> Scheme:
    """Guess how pieces encode text: a byte-level vocabulary has a piece for every byte."""
    known = set(pieces)
    if {piece.removesuffix("</w>") for piece in known} >= BYTE_ALPHABET:
        return "byte-level"
    spaced = sum(piece.startswith(SPACE) for piece in known)
    return "sentencepiece" if 10 * spaced > len(known) else "plain"


def guessed_suffix(pieces: Mapping[str, int]) -> str | None:
    """Guess whether pieces mark the ends of words."""
    marked = sum(piece.endswith("</w>") for piece in pieces)
    return "</w>" if 10 * marked > len(pieces) else None


def read_vocab_txt(folder: Folder, name: str = VOCAB_TXT) -> Vocabulary:
    """Read WordPiece's format, one token per line, or fairseq's, a token and its count per line.

    Raises TokenizerError if a file is damaged, or if the lines are not the tokens' texts.
    """
    declared = read_declared(folder)
    kind, _ = tokenizer_class(folder, declared)
    if kind in _OTHERS:
        raise TokenizerError(f"geom does not read the {name} of {kind}")
    if folder.has(_MERGES_BY_COUNT):
        return read_dictionary(folder, name, declared)
    found = lines(folder, name)
    special = declared.special_among(found)
    return Vocabulary("plain", dict(enumerate(found)), None, declared.added, special)


def read_dictionary(
    folder: Folder, name: str, declared: Declared, scheme: Scheme = "plain"
) -> Vocabulary:
    """Read a dictionary of fairseq: four tokens come before its lines, the mask after them."""
    pieces = dict(enumerate(_DICTIONARY_FIRST))
    for number, line in enumerate(lines(folder, name), 1):
        token, space, count = line.strip().rpartition(" ")
        if not (space and count.isdecimal()):
            raise damaged(name, f"line {number} is not a token and its count")
        pieces[len(pieces)] = token
    pieces[len(pieces)] = "<mask>"
    special = declared.special | set(_DICTIONARY_FIRST) | {"<mask>"}
    return Vocabulary(scheme, pieces, None, declared.added, special)
