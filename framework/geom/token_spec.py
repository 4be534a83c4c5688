"""Lists of tokens as users write them: ``5,9,100-120``, ``@FILE``, ``all``, ``candidates``."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from geom.errors import InputError
from geom.files.opening import read_regular
from geom.nouns import Noun

_LARGEST_LIST = 64 << 20
"""The most bytes of a file of ids."""

CANDIDATES = "candidates"
ALL = "all"


def parse_tokens(spec: str, V: int) -> list[int]:
    """List the ids that a spec such as ``5,9,100-120`` names.

    Parameters
    ----------
    spec : str
        Ids and ranges, ``@FILE`` for a file of them, or ``all``.
    V : int
        The size of the vocabulary.

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
    return sorted({token for part in _parts(spec, V) for token in part})


def listed_tokens(spec: str, V: int) -> list[int]:
    """List the ids in the order of ``spec``, repeated ids included. Raises as `parse_tokens`."""
    return [token for part in _parts(spec, V) for token in part]


def check_tokens(tokens: Iterable[int], V: int) -> list[int]:
    """List the ids, ascending, each once. Raises InputError if one is outside ``range(V)``."""
    ids = sorted({int(token) for token in tokens})
    if not ids:
        raise InputError("the list of ids is empty")
    for token in (ids[0], ids[-1]):
        if not 0 <= token < V:
            raise InputError(f"id {token} is outside the vocabulary: ids are 0 to {V - 1}")
    return ids


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


def _parts(spec: str, V: int) -> list[range]:
    """Return the ids and ranges of a spec, in order."""
    if spec == ALL:
        return [range(V)]
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
        _ids(part, V, where, f"entry {number}" if from_file else repr(part))
        for number, part in enumerate(parts, 1)
    ]
    if not found:
        raise InputError(f"list of ids {where!r} names none")
    return found


def _ids(part: str, V: int, where: str, what: str) -> range:
    """Return the ids of one part, which ``what`` names."""
    first, dash, last = part.partition("-")
    listed = first.isdecimal() and (last.isdecimal() if dash else not last)
    if not listed or len(part) > 40:  # int() itself refuses thousands of digits
        raise InputError(
            f"list of ids {where!r}: {what} is neither an id nor a range such as 100-120"
        )
    low, high = int(first), int(last if dash else first)
    if high < low or high >= V:
        problem = "runs backwards" if high < low else f"is outside the vocabulary: 0 to {V - 1}"
        raise InputError(f"list of ids {where!r}: {part} {problem}")
    return range(low, high + 1)
