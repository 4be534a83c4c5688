"""Token text, made safe to print: it comes from strangers."""

from __future__ import annotations

import unicodedata


def visible(text: str | None) -> str:
    r"""``text`` in quotes, with everything that is no plain visible character spelled out.

    Control characters, line ends, bidirectional marks and other invisible characters become
    escapes (``\n``, ``\u202e``), so that no token can move the cursor or reorder a line; a
    combining mark is escaped too, as it would join the quote. None, an id without text, is ``-``.
    """
    if text is None:
        return "-"
    return '"' + "".join(_visible(character) for character in text) + '"'


def _visible(character: str) -> str:
    if character.isprintable() and not unicodedata.category(character).startswith("M"):
        return character
    return character.encode("unicode_escape").decode("ascii")
