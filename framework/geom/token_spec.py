"""Lists of tokens as users write them: ``5,9,100-120``, texts, ``@FILE``, ``all``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from geom.errors import InputError
from geom.files.opening import read_regular
from geom.nouns import Noun
from geom.token_names import Vocabulary, entries, named, near

_LARGEST_LIST = 64 << 20
"""The most bytes of a file of ids."""

CANDIDATES = "candidates"
ALL = "all"


def parse_tokens(spec: str, V: int, noun: Noun = Noun.TOKEN) -> list[int]:
    """List the ids that a spec such as ``5,9,100-120`` names.

    Parameters
    ----------
    spec : str
        Ids and ranges, ``@FILE`` for a file of them, or ``all``.
    V : int
        The size of the vocabulary.
    noun : Noun, optional
        What the ids stand for, in messages.

    Returns
    -------
    list of int
        The ids, ascending, each once.

    Raises
    ------
    InputError
        If a part, which the message names, is not an id or a range, or is outside the vocabulary.
    """
    if spec == ALL:  # a set of every id of a long vocabulary would take more than its rows
        return list(range(V))
    return sorted({token for part in _parts(spec, V, noun) for token in part})


def listed_ids(asked: str | Iterable[int | str], vocabulary: Vocabulary) -> list[int]:
    """List the ids in the order in which they are asked for, repeated ids included.

    A spec may have exact texts in place of ids, and so may a list: all tokens of a text are meant.
    Raises InputError as `parse_tokens`, and for a text that no token has.
    """
    V = vocabulary.V
    if isinstance(asked, str):
        return [token for part in _parts(asked, V, vocabulary.noun, vocabulary) for token in part]
    ids: list[int] = []
    for item in asked:
        ids += _named(item, vocabulary) if isinstance(item, str) else [int(item)]
    if not ids:
        raise InputError("the list of ids is empty")
    for token in (min(ids), max(ids)):
        if not 0 <= token < V:
            every = vocabulary.noun.every
            raise InputError(f"id {token} is outside {every}: ids are 0 to {V - 1}")
    return ids


def asked_ids(asked: str | Iterable[int | str], vocabulary: Vocabulary) -> list[int]:
    """List the ids asked for, ascending, each once. Raises as `listed_ids`."""
    if isinstance(asked, str) and asked == ALL:  # as above
        return list(range(vocabulary.V))
    return sorted(set(listed_ids(asked, vocabulary)))


def format_tokens(ids: Iterable[int]) -> str:
    """Return the shortest spec of an ascending list: ``5,9,100-120``."""
    parts = []
    for _, run in groupby(enumerate(ids), key=lambda pair: pair[1] - pair[0]):
        block = [token for _, token in run]
        parts.append(f"{block[0]}-{block[-1]}" if len(block) > 1 else str(block[0]))
    return ",".join(parts)


def few_ids(ids: Iterable[int], noun: Noun) -> str:
    """Return the ids after their noun, as a spec that is cut if long: ``tokens 5,9,100-120``."""
    known = sorted(ids)
    text = format_tokens(known)
    if len(text) > 60:
        text = f"{text[:60].rpartition(',')[0]}, ..."
    return f"{noun if len(known) == 1 else noun.plural} {text}"


def _parts(spec: str, V: int, noun: Noun, vocabulary: Vocabulary | None = None) -> list[range]:
    """Return the ids and ranges of a spec, in order.

    With a vocabulary, a spec that is not ids may be a text, or have texts among them.
    """
    if spec == ALL:
        return [range(V)]
    if vocabulary is not None and not spec.startswith("@") and not _is_ids(spec):
        return [range(token, token + 1) for token in _texts(spec, vocabulary)]
    where, text, from_file = spec, spec, spec.startswith("@")
    if from_file:
        where = spec[1:]
        remedy = "give a text file of ids"
        try:
            content = read_regular(Path(where), _LARGEST_LIST, remedy).decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"list of ids {where} is not UTF-8; {remedy}") from error
        text = ",".join(content.split())
    parts = filter(None, (piece.strip() for piece in text.split(",")))
    # the text of a file is shown only if it is ids: it may not be the file that was meant
    found = [
        _ids(part, V, where, f"entry {number}" if from_file else repr(part), noun)
        for number, part in enumerate(parts, 1)
    ]
    if not found:
        raise InputError(f"list of ids {where!r} names none")
    return found


def _texts(spec: str, vocabulary: Vocabulary) -> list[int]:
    """Return the ids of a spec that is a text, or a list of ids, ranges and texts."""
    known = list(entries(vocabulary))
    found = named(known, spec)
    if found:
        return found
    ids: list[int] = []
    for part in filter(None, (piece.strip() for piece in spec.split(","))):
        texts = [] if _is_ids(part) else named(known, part)
        try:
            ids += texts or _ids(part, vocabulary.V, spec, repr(part), vocabulary.noun)
        except InputError as error:
            raise InputError(f"{error}{_unnamed(part, vocabulary)}") from error
    if not ids:
        raise InputError(f"list of ids {spec!r} names none")
    return ids


def _named(text: str, vocabulary: Vocabulary) -> list[int]:
    """Return the id that a text in a list is, or the ids of the tokens with that text."""
    if text.isdecimal() and len(text) <= 40:
        return [int(text)]
    found = named(list(entries(vocabulary)), text)
    if not found:
        raise InputError(f"{text!r} is not an id{_unnamed(text, vocabulary)}")
    return found


def _unnamed(text: str, vocabulary: Vocabulary) -> str:
    """Say that no token has a text, and which texts are near it."""
    if vocabulary.tokens is None:
        return f", and the {vocabulary.noun.plural} of this model have no texts"
    close = near(list(entries(vocabulary)), text)
    remedy = f": did you mean {' or '.join(close)}?" if close else ""
    return f", and no {vocabulary.noun} has that text{remedy}"


def _is_ids(spec: str) -> bool:
    """Return whether a spec can only be ids and ranges, right or wrong, and is no text."""
    return re.fullmatch(r"[\d\s,-]+", spec) is not None and re.search(r"\d", spec) is not None


def _ids(part: str, V: int, where: str, what: str, noun: Noun) -> range:
    """Return the ids of one part, which ``what`` names."""
    first, dash, last = part.partition("-")
    listed = first.isdecimal() and (last.isdecimal() if dash else not last)
    if not listed or len(part) > 40:  # int() itself refuses thousands of digits
        raise InputError(
            f"list of ids {where!r}: {what} is neither an id nor a range such as 100-120"
        )
    low, high = int(first), int(last if dash else first)
    if high < low or high >= V:
        problem = "runs backwards" if high < low else f"is outside {noun.every}: 0 to {V - 1}"
        raise InputError(f"list of ids {where!r}: {part} {problem}")
    return range(low, high + 1)
