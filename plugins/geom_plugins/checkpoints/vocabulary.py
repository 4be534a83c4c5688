"""A vocabulary: its pieces, how they stand for texts, and what they tell of their tokens' kinds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, final

if TYPE_CHECKING:
    from geom import TokenKind

Scheme = Literal["byte-level", "sentencepiece", "plain"]
"""How pieces stand for text: bytes as characters; U+2581 for a space and <0x0A>; as they are."""

SPACE = "\u2581"
_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_RESERVED = re.compile(r"[\[<]\|?unused(_token)?_?\d+\|?[\]>]|madeupword\d+", re.IGNORECASE)


@final
@dataclass(frozen=True)
class Tokens:
    """For each row of a readout its token's text, None without one, and kind; remarks on both.

    Texts and kinds are None where the tokenizer is of a sort that cannot be read; a note says why.
    """

    texts: tuple[str | None, ...] | None
    kinds: tuple[TokenKind, ...] | None
    notes: tuple[str, ...] = ()


@dataclass
class Vocabulary:
    """A tokenizer: the pieces of its model by id, and the tokens declared beside it."""

    scheme: Scheme
    pieces: dict[int, str]
    suffix: str | None = None
    added: dict[int, str] = field(default_factory=dict)
    special: set[str] = field(default_factory=set)
    kinds: dict[int, TokenKind] = field(default_factory=dict)

    def tokens(self, V: int) -> Tokens:
        """The tokens of ids 0 to V - 1."""
        size = 1 + max((id for ids in (self.pieces, self.added) for id in ids), default=-1)
        both = [self._token(id, size) for id in range(V)]
        return Tokens(
            tuple(text for text, _ in both),
            tuple(kind for _, kind in both),
            tuple(_beyond(self.pieces.keys() | self.added.keys(), size, V)),
        )

    def _token(self, id: int, size: int) -> tuple[str | None, TokenKind]:
        content = self.added.get(id)
        piece = self.pieces.get(id) if content is None else content
        if piece is None:
            return None, "unused" if id < size else "padding"
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
        """The content; where a byte-level library reads it as the bytes of a text, that text."""
        text, spelled = _byte_level(content) if self.scheme == "byte-level" else (content, False)
        return content if spelled else text


def _beyond(ids: Iterable[int], size: int, V: int) -> Iterable[str]:
    beyond = sum(id >= V for id in ids)
    if beyond:
        tokens = "1 token" if beyond == 1 else f"{beyond} tokens"
        yield (
            f"the tokenizer has {tokens} beyond the readout's {V} rows (ids up to {size - 1}): "
            "added and never given a row"
        )


def piece_texts(pieces: Iterable[str | None], scheme: Scheme) -> tuple[str | None, ...]:
    r"""The text of each piece of a vocabulary, None for None.

    One that is no whole UTF-8 text has its bytes spelled out, as ``\xe2\x80``.
    """
    decode = _DECODERS[scheme]
    return tuple(None if piece is None else decode(piece)[0] for piece in pieces)


def piece_kinds(pieces: Iterable[str | None], scheme: Scheme) -> tuple[TokenKind, ...]:
    """What the pieces of a vocabulary tell of their kind: ``normal``, ``byte`` or ``unused``."""
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
    """As the library does, a piece of other characters than those that stand for bytes is itself.

    Returns the text, and whether it spells out bytes.
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
    r"""Bytes as text; where they are none, spelled out, and a backslash too: ``\x`` is a byte."""
    try:
        return data.decode("utf-8"), False
    except UnicodeDecodeError:
        return data.replace(b"\\", b"\\x5c").decode("utf-8", "backslashreplace"), True


def _byte_characters() -> dict[int, int]:
    """The byte that each character of a byte-level vocabulary stands for.

    A byte that is a visible character of Latin-1 stands for itself, the others follow in order from
    U+0100 on. A Latin-1 character that stands for nothing is sent where no byte is.
    """
    own = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    rest = [byte for byte in range(256) if byte not in own]
    moved = {0x100 + n: byte for n, byte in enumerate(rest)}
    return moved | dict.fromkeys(rest, 0x100)


_BYTES = _byte_characters()

BYTE_ALPHABET = frozenset(chr(code) for code in range(0x200) if (code in _BYTES) == (code >= 0x100))
"""The characters of a byte-level vocabulary, one for every byte."""


def _is_reserved(piece: str) -> bool:
    """Whether the name says that training never used it: ``[unused7]``, ``<unused7>``."""
    return _RESERVED.fullmatch(piece) is not None
