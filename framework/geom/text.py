r"""Token text, made safe to print and impossible to mistake: it comes from strangers.

The text of a token is what the tokenizer decodes. A token that is no whole UTF-8 text has its bytes
spelled out instead (``\xe2\x80``), and is of kind ``byte``; there a backslash that is a byte of the
token is ``\x5c``. So text and kind together say which bytes a token is: those of the text in UTF-8,
save that in a ``byte`` text of more than one character every ``\xNN`` is one byte.

What `visible` prints says the same without doubt, as every escape has one meaning:

=====================  =========================================================================
``\"`` and ``\\``      a quote, a backslash
``\n \r \t``           the characters of that name
``\u00a0 \U000e0001``  any other character that is not plainly visible
``\xa0``               a byte, never a character; only in a token of kind ``byte``
=====================  =========================================================================

The kind stands behind the closing quote unless it is ``normal``, and no text can pretend to it.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

TokenKind = Literal["normal", "special", "added", "byte", "unused", "padding"]
"""What a token is, beside its text.

``special`` controls the model (start, end, padding of sequences); ``added`` joined the tokenizer
after its training; ``byte`` is a byte or some that are no whole UTF-8 text; ``unused`` is an id
that the tokenizer has no token for, or one that it reserves; ``padding`` is a row of the readout
beyond the tokenizer's ids.
"""

_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_BLANK = "\u115f\u1160\u2800\u3164\uffa0"
"""Letters and symbols by category that show nothing."""
_SPELLED_BYTE = re.compile(r"(\\x[0-9a-f]{2})")


def visible(text: str | None, kind: TokenKind | None = None) -> str:
    r"""``text`` in quotes, with everything that is no plain visible character spelled out.

    Control characters, line ends, bidirectional marks and other invisible characters become
    escapes (``\n``, ``\u202e``), so that no token can move the cursor or reorder a line; a
    combining mark is escaped too, as it would join the quote. None, an id without text, is ``-``.
    A ``kind`` that is not normal follows: ``"<s>" special``. Two tokens that differ in text or in
    kind never print alike.
    """
    if text is None:
        return "-" + mark(kind)
    parts = _SPELLED_BYTE.split(text) if kind == "byte" else [text]
    # the odd parts are those that the pattern caught
    shown = (part if i % 2 else _unmistakable(part) for i, part in enumerate(parts))
    return f'"{"".join(shown)}"{mark(kind)}'


def mark(kind: TokenKind | None) -> str:
    """What follows a token's text to say its kind: nothing where it is normal or not known."""
    return "" if kind is None or kind == "normal" else f" {kind}"


def harmless(text: str) -> str:
    """``text`` with what could act on a terminal spelled out, for messages; quotes stay quotes."""
    return "".join(_harmless(character) for character in text)


def _unmistakable(text: str) -> str:
    return "".join("\\" + c if c in '\\"' else _harmless(c) for c in text)


def _harmless(character: str) -> str:
    if (
        character.isprintable()
        and character not in _BLANK
        and not unicodedata.category(character).startswith("M")
    ):
        return character
    code = ord(character)
    return _SHORT.get(character) or (f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
