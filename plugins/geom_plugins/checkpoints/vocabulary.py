"""A vocabulary: its pieces, how they encode text, and the kinds of tokens they show."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, final

if TYPE_CHECKING:
    from geom import TokenKind

Scheme = Literal["byte-level", "sentencepiece", "plain"]
"""How pieces encode text: bytes as characters; U+2581 for a space and <0x0A>; as they are."""

SPACE = "\u2581"
_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_RESERVED = re.compile(r"[\[<]\|?unused(_token)?_?\d+\|?[\]>]|madeupword\d+", re.IGNORECASE)


@final
@dataclass(frozen=True)
class Tokens:
    """The text (None without one) and the kind of each readout row's token, and notes on both.

    Texts and kinds are None if the tokenizer's format cannot be read; a note says why.
    """

    texts: tuple[str | None, ...] | None
    kinds: tuple[TokenKind, ...] | None
    notes: tuple[str, ...] = ()


@dataclass
class Vocabulary:
    """A tokenizer: the pieces of its model by id, and the tokens declared outside the model.

    ``beyond`` is the kind of the ids after the last, ``notes`` what a reader should know.
    """

    scheme: Scheme
    pieces: dict[int, str]
    suffix: str | None = None
    added: dict[int, str] = field(default_factory=dict)
    special: set[str] = field(default_factory=set)
    kinds: dict[int, TokenKind] = field(default_factory=dict)
    beyond: TokenKind = "padding"
    notes: tuple[str, ...] = ()

    def tokens(self, V: int) -> Tokens:
        """Return the tokens of ids 0 to V - 1."""
        size = 1 + max((id for ids in (self.pieces, self.added) for id in ids), default=-1)
        both = [self._token(id, size) for id in range(V)]
        return Tokens(
            tuple(text for text, _ in both),
            tuple(kind for _, kind in both),
            (*self.notes, *_beyond(self.pieces.keys() | self.added.keys(), size, V)),
        )

    def _token(self, id: int, size: int) -> tuple[str | None, TokenKind]:
        content = self.added.get(id)
        piece = self.pieces.get(id) if content is None else content
        if piece is None:
            return None, "unused" if id < size else self.beyond
        if _is_reserved(piece):
            return piece, "unused"
        if id in self.kinds:
            return piece, self.kinds[id]
        if piece in self.special:
            return piece, "special"
        if content is not None:
            return self._added(content), "added"
        end = ""
        if self.suffix and piece.endswith(self.suffix):
            piece, end = piece.removesuffix(self.suffix), " "
        text, spelled = _DECODERS[self.scheme](piece)
        return text + end, "byte" if spelled else "normal"

    def _added(self, content: str) -> str:
        """Return the content or, if a byte-level library reads it as bytes of a text, that text."""
        text, spelled = _byte_level(content) if self.scheme == "byte-level" else (content, False)
        return content if spelled else text


def _beyond(ids: Iterable[int], size: int, V: int) -> Iterable[str]:
    beyond = sum(id >= V for id in ids)
    if beyond:
        tokens = "1 token" if beyond == 1 else f"{beyond} tokens"
        yield (
            f"the tokenizer has {tokens} beyond the readout's {V} rows (ids up to {size - 1}): "
            "they were added and never given a row"
        )


def piece_texts(pieces: Iterable[str | None], scheme: Scheme) -> tuple[str | None, ...]:
    r"""Return the text of each piece of a vocabulary, None for None.

    A piece that is not valid UTF-8 has its bytes spelled out, as ``\xe2\x80``.
    """
    decode = _DECODERS[scheme]
    return tuple(None if piece is None else decode(piece)[0] for piece in pieces)


def piece_kinds(pieces: Iterable[str | None], scheme: Scheme) -> tuple[TokenKind, ...]:
    """Return the kind each piece of a vocabulary shows: ``normal``, ``byte`` or ``unused``."""
    decode = _DECODERS[scheme]
    return tuple(
        "unused"
        if piece is None or _is_reserved(piece)
        else "byte"
        if decode(piece)[1]
        else "normal"
        for piece in pieces
    )


# One piece


def _byte_level(piece: str) -> tuple[str, bool]:
    """Return the text of a byte-level piece, and whether it spells out bytes.

    As in the library, a piece with a character that does not stand for a byte is its own text.
    """
    if piece.isascii() and " " not in piece and piece.isprintable():
        return piece, False
    try:
        data = piece.translate(_BYTES).encode("latin-1")
    except UnicodeEncodeError:
        return piece, False
    return _whole_or_spelled(data)


def _sentencepiece(piece: str) -> tuple[str, bool]:
    found = _BYTE_PIECE.fullmatch(piece)
    if found:
        return _whole_or_spelled(bytes.fromhex(found[1]))[0], True
    return piece.replace(SPACE, " "), False


def _plain(piece: str) -> tuple[str, bool]:
    return piece, False


_DECODERS: Mapping[Scheme, Callable[[str], tuple[str, bool]]] = {
    "byte-level": _byte_level,
    "sentencepiece": _sentencepiece,
    "plain": _plain,
}


def _whole_or_spelled(data: bytes) -> tuple[str, bool]:
    r"""Return bytes as text, or spelled out if not UTF-8, backslash too: ``\x`` is a byte."""
    try:
        return data.decode("utf-8"), False
    except UnicodeDecodeError:
        return data.replace(b"\\", b"\\x5c").decode("utf-8", "backslashreplace"), True


def _byte_characters() -> dict[int, int]:
    """Return the byte that each character of a byte-level vocabulary stands for.

    A byte that is a visible character of Latin-1 stands for itself; the others follow in order from
    U+0100. A Latin-1 character that stands for no byte is mapped to 0x100, which is not a byte.
    """
    own = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    rest = [byte for byte in range(256) if byte not in own]
    moved = {0x100 + n: byte for n, byte in enumerate(rest)}
    return moved | dict.fromkeys(rest, 0x100)


_BYTES = _byte_characters()

_CHARACTERS = {byte: code for code, byte in _BYTES.items() if byte < 0x100} | {
    byte: byte for byte in range(0x100) if byte not in _BYTES
}


def byte_level_piece(data: bytes) -> str:
    """Return the piece of a byte-level vocabulary that stands for some bytes."""
    return data.decode("latin-1").translate(_CHARACTERS)


BYTE_ALPHABET = frozenset(chr(code) for code in range(0x200) if (code in _BYTES) == (code >= 0x100))
"""The characters of a byte-level vocabulary, one for every byte."""


def _is_reserved(piece: str) -> bool:
    """Return whether a piece's name says that training never used it, as in ``[unused7]``."""
    return _RESERVED.fullmatch(piece) is not None
