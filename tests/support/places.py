"""The places that are told with what a plugin raised: ``ValueError: boom (mine.py:31)``."""

import re


def bare(text: str | None, file: str) -> str:
    """Return the text without the place in the file, which it must have once."""
    found, places = re.subn(rf" \({re.escape(file)}:\d+\)", "", text or "")
    assert places == 1
    return found
