r"""Token text, made safe to print and impossible to mistake: it comes from strangers.

The text of a token is what the tokenizer decodes. If its bytes are not complete UTF-8, they are
spelled out instead (``\xe2\x80``) and the kind is ``byte``; a backslash among those bytes is
``\x5c``. So text and kind together determine the token's bytes: those of the text in UTF-8, except
that in a ``byte`` text of more than one character every ``\xNN`` is one byte.

The output of `visible` determines them too, because every escape has one meaning:

=====================  =========================================================================
``\"`` and ``\\``      a quote, a backslash
``\n \r \t``           the characters of that name
``\u00a0 \U000e0001``  any other character that is not plainly visible
``\xa0``               a byte, never a character; only in a token of kind ``byte``
=====================  =========================================================================

The kind follows the closing quote unless it is ``normal``, where no text can imitate it. A text of
more than `SHOWN` characters is cut, and the words after the quote say by how much.

All text from a file, a model or a plugin goes through this module before anybody sees it:
`visible` for the text of a token, `harmless` for any other text, `json_line` for a line of JSON.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any, Literal

TokenKind = Literal["normal", "special", "added", "byte", "unused", "padding"]
"""The kind of a token, in addition to its text.

``special`` controls the model (start, end, padding of sequences); ``added`` joined the tokenizer
after its training; ``byte`` is one or more bytes that are not complete UTF-8; ``unused`` is an id
that the tokenizer has no token for, or reserves; ``padding`` is a row of the readout beyond the
tokenizer's ids.
"""

SHOWN = 1000
"""The most characters of a token that are shown."""
MESSAGE = 2000
"""The most characters of a message that are shown."""
NAME = 200
"""The most characters of the name of a plugin or a unit."""

_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_BLANK = "\u115f\u1160\u2800\u3164\uffa0\U0001d159"
"""Characters whose category is letter or symbol but that show nothing."""
_SPELLED_BYTE = re.compile(r"(\\x[0-9a-f]{2})")


def visible(text: str | None, kind: TokenKind | None = None) -> str:
    r"""Quote a text, with everything that is not a plain visible character spelled out.

    Control characters, line ends, bidirectional marks and other invisible characters become
    escapes (``\n``, ``\u202e``), so that no token can move the cursor or reorder a line; a
    combining mark is escaped too, because it would join the quote. Two tokens that differ in kind,
    or in the first 1000 characters or the length of their texts, never print alike.

    Parameters
    ----------
    text : str or None
        The text of a token, None for an id without a text.
    kind : TokenKind, optional
        Its kind, which follows the quote if it is not normal: ``"<s>" special``.

    Returns
    -------
    str
        The quoted text, ``-`` for None.
    """
    if text is None:
        return "-" + mark(kind)
    more = f" and {len(text) - SHOWN} characters more" if len(text) > SHOWN else ""
    text = text[:SHOWN]
    parts = _SPELLED_BYTE.split(text) if kind == "byte" else [text]
    # the odd parts are those that the pattern caught
    shown = (part if i % 2 else _unmistakable(part) for i, part in enumerate(parts))
    return f'"{"".join(shown)}"{more}{mark(kind)}'


def mark(kind: TokenKind | None) -> str:
    """Return the mark for a kind after a token's text, empty if it is normal or not known."""
    return "" if kind is None or kind == "normal" else f" {kind}"


def harmless(text: str, most: int = MESSAGE) -> str:
    """Spell out the characters of a text that could act on a terminal; quotes stay quotes.

    Parameters
    ----------
    text : str
        Any text except a token's, such as a message.
    most : int, optional
        The most characters to return; the middle of a longer text is left out, and a note says so.

    Returns
    -------
    str
        The text, safe to print.
    """
    seen = text if len(text) <= 2 * most else text[:most] + text[-most:]
    return _cut("".join(map(_harmless, seen)), most, len(text))


def shortened(text: str, most: int = MESSAGE) -> str:
    """Return ``text`` in at most ``most`` characters, without its middle if it is longer."""
    return _cut(text, most, len(text))


def _cut(text: str, most: int, length: int) -> str:
    """Return the two ends of a text, and between them a note that it had ``length`` characters."""
    if len(text) <= most:
        return text
    note = f" ... ({length} characters in all) ... "
    head = (most - len(note)) * 2 // 3
    return text[:head] + note + text[head + len(note) - most :]


def is_plain(name: str) -> bool:
    """Return whether a name can be shown unchanged: not empty, at most `NAME` long, no escapes."""
    return 0 < len(name) <= NAME and harmless(name) == name == name.strip()


def json_line(value: Any) -> str:
    """Write a value as JSON on one line, in which nothing acts on a terminal or ends the line.

    Characters that are not printable, U+2028 and U+2029 among them, become JSON escapes, so that a
    reader gets back what was written.

    Parameters
    ----------
    value : object
        Any value that the ``json`` module can write.

    Returns
    -------
    str
        The line, without a line end.

    Raises
    ------
    ValueError
        If a number is not finite.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


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
