"""What the tokenizer of a checkpoint decodes, id by id."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, decoders, pre_tokenizers

from geom import InputError


def read_token_texts(path: Path, V: int) -> tuple[str | None, ...]:
    r"""The texts of ids 0 to V - 1 by a ``tokenizer.json`` file; None for an id without a token.

    A byte-level token that is no whole UTF-8 text has its bytes spelled out, as ``\xe2\x80``.
    Raises InputError where the file is no tokenizer.
    """
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise InputError(f"{path} is no tokenizer file: {error}") from error
    pieces = map(tokenizer.id_to_token, range(V))
    if not isinstance(tokenizer.decoder, decoders.ByteLevel):
        return tuple(pieces)
    return tuple(None if piece is None else _decoded(piece) for piece in pieces)


def _decoded(piece: str) -> str:
    """The text of a byte-level piece; as the library does, one of other characters is its own."""
    if not all(character in _BYTES for character in piece):
        return piece
    return bytes(_BYTES[character] for character in piece).decode("utf-8", "backslashreplace")


def _byte_characters() -> dict[str, int]:
    """The character that stands for each byte in a byte-level vocabulary, turned round.

    A byte that is a visible Latin-1 character stands for itself; the others follow from U+0100
    on, in order, so that the library's unordered alphabet is enough to tell them apart.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    own = {character: ord(character) for character in alphabet if ord(character) < 256}
    moved = [character for character in alphabet if ord(character) >= 256]
    rest = sorted(set(range(256)) - set(own.values()))
    return own | dict(zip(moved, rest, strict=True))


_BYTES = _byte_characters()
