"""The tokens of a model of CTranslate2: its vocabulary, and what a tokenizer beside it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from geom_plugins.checkpoints.older_vocabularies import guessed_scheme, guessed_suffix
from geom_plugins.checkpoints.token_texts import find_vocabulary
from geom_plugins.checkpoints.tokenizer_files import CONVENTIONAL, TokenizerError, damaged, parsed
from geom_plugins.checkpoints.vocabulary import Tokens, Vocabulary

if TYPE_CHECKING:
    from geom_plugins.checkpoints.folders import Folder

_STEMS = ("target_vocabulary", "shared_vocabulary", "vocabulary")
"""The names of the vocabulary that the output layer emits, without ``.json`` or ``.txt``."""

_NAMED = ("unk_token", "bos_token", "eos_token", "decoder_start_token")


def read_tokens(folder: Folder, config: Mapping[str, Any], V: int) -> Tokens | None:
    """Return the tokens of ids 0 to V - 1, or None without a vocabulary.

    The ids are those of CTranslate2's own vocabulary, if there is one. A tokenizer in the folder
    says how pieces encode text and which tokens are special, if it has the same pieces. A
    vocabulary that cannot be read leaves the tokens without texts, and a note says why.
    """
    try:
        listed = _listed(folder)
        beside = find_vocabulary(folder)
    except TokenizerError as error:
        return Tokens(None, None, (f"token texts are left out: {error}",))
    if beside is not None and (listed is None or _agree(beside, listed)):
        return beside.tokens(V)
    return None if listed is None else _own(listed, config).tokens(V)


def _listed(folder: Folder) -> list[str] | None:
    """Return the pieces of CTranslate2's own vocabulary, in order of their ids."""
    for stem in _STEMS:
        if folder.has(f"{stem}.json"):
            pieces: list[str] = parsed(folder, f"{stem}.json", list[str])
            return pieces
        if folder.has(f"{stem}.txt"):
            return _lines(folder, f"{stem}.txt")
    return None


def _lines(folder: Folder, name: str) -> list[str]:
    """Split as CTranslate2 does: pieces may end in a carriage return, unless all lines do."""
    try:
        text = folder.read(name).decode("utf-8")
    except UnicodeDecodeError as error:
        raise damaged(name, error) from error
    found = text.removesuffix("\n").split("\n") if text else []
    if all(line.endswith("\r") for line in found):
        return [line[:-1] for line in found]
    return found


def _agree(beside: Vocabulary, listed: list[str]) -> bool:
    """Return whether a tokenizer has the pieces of the list, where it has any."""
    both = {**beside.pieces, **beside.added}
    return all(both.get(id, piece) == piece for id, piece in enumerate(listed))


def _own(listed: list[str], config: Mapping[str, Any]) -> Vocabulary:
    named = {token for token in (config.get(key) for key in _NAMED) if isinstance(token, str)}
    ids = {piece: id for id, piece in enumerate(listed)}
    special = named | CONVENTIONAL
    special |= {piece for piece in ids if piece.startswith("<|") and piece.endswith("|>")}
    return Vocabulary(
        guessed_scheme(ids), dict(enumerate(listed)), guessed_suffix(ids), special=special
    )
