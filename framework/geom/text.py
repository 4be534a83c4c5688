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

The kind stands behind the closing quote unless it is ``normal``, and no text can pretend to it. A
text of more than `SHOWN` characters is cut, and what follows the quote says by how much.

Whatever comes from a file, a model or a plugin goes through this module before anybody sees it:
`visible` for the text of a token, `harmless` for any other, `json_line` for a line of JSON.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any, Literal

TokenKind = Literal["normal", "special", "added", "byte", "unused", "padding"]
"""What a token is, beside its text.

``special`` controls the model (start, end, padding of sequences); ``added`` joined the tokenizer
after its training; ``byte`` is a byte or some that are no whole UTF-8 text; ``unused`` is an id
that the tokenizer has no token for, or one that it reserves; ``padding`` is a row of the readout
beyond the tokenizer's ids.
"""

SHOWN = 1000
"""Characters of a token that are shown."""
MESSAGE = 2000
"""Characters of a message that are shown."""
NAME = 200
"""Characters of a name, of a plugin or a unit."""

_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_BLANK = "\u115f\u1160\u2800\u3164\uffa0\U0001d159"
"""Letters and symbols by category that show nothing."""
_SPELLED_BYTE = re.compile(r"(\\x[0-9a-f]{2})")


def visible(text: str | None, kind: TokenKind | None = None) -> str:
    r"""Quote a text, with everything that is not a plain visible character spelled out.

    Control characters, line ends, bidirectional marks and other invisible characters become
    escapes (``\n``, ``\u202e``), so that no token can move the cursor or reorder a line; a
    combining mark is escaped too, as it would join the quote. Two tokens that differ in kind, or
    in the first 1000 characters of their texts or the length of these, never print alike.

    Parameters
    ----------
    text : str or None
        The text of a token, None for an id without one.
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
    """What follows a token's text to say its kind: nothing where it is normal or not known."""
    return "" if kind is None or kind == "normal" else f" {kind}"


def harmless(text: str, most: int = MESSAGE) -> str:
    """Spell out what in a text could act on a terminal; quotes stay quotes.

    Parameters
    ----------
    text : str
        Any text but a token's, such as a message.
    most : int, optional
        The most characters to return; if there are more, the middle is left out, which it says.

    Returns
    -------
    str
        The text, safe to print.
    """
    seen = text if len(text) <= 2 * most else text[:most] + text[-most:]
    return _cut("".join(map(_harmless, seen)), most, len(text))


def shortened(text: str, most: int = MESSAGE) -> str:
    """``text`` in ``most`` characters, its middle left out where it has more."""
    return _cut(text, most, len(text))


def _cut(text: str, most: int, length: int) -> str:
    """The two ends of a text, and between them that it had ``length`` characters."""
    if len(text) <= most:
        return text
    note = f" ... ({length} characters in all) ... "
    head = (most - len(note)) * 2 // 3
    return text[:head] + note + text[head + len(note) - most :]


def is_plain(name: str) -> bool:
    """Whether a name is shown as it is: no longer than `NAME`, not empty, nothing to spell out."""
    return 0 < len(name) <= NAME and harmless(name) == name == name.strip()


def json_line(value: Any) -> str:
    """Write a value as JSON on one line, in which nothing acts on a terminal or ends the line.

    Characters that are not printable are escaped as JSON has it, U+2028 and U+2029 among them, so
    a reader gets back what was written.

    Parameters
    ----------
    value : object
        What the ``json`` module can write.

    Returns
    -------
    str
        The line, without its end.

    Raises
    ------
    ValueError
        For a number that is not finite.
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
