"""The vocabulary of ``tokenizer.json``, the format of every fast tokenizer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from geom_plugins.checkpoints.tokenizer_files import parsed, read_declared
from geom_plugins.checkpoints.vocabulary import SPACE, Scheme, Vocabulary

if TYPE_CHECKING:
    from geom_plugins.checkpoints.folders import Folder

TOKENIZER_JSON = "tokenizer.json"


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


def read_tokenizer_json(folder: Folder) -> Vocabulary:
    """Read ``tokenizer.json``. Raises TokenizerError if it is damaged."""
    file = parsed(folder, TOKENIZER_JSON, _TokenizerFile)
    model = file.model
    pieces = (
        {id: piece for id, (piece, _) in enumerate(model.vocab)}
        if isinstance(model.vocab, list)
        else {id: piece for piece, id in model.vocab.items()}
    )
    scheme, suffix = _decoder_scheme(file.decoder)
    declared = read_declared(folder)
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
