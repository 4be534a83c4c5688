"""Whether two runs are of one vocabulary, so that an id means the same token in both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from geom.errors import InputError
from geom.nouns import Noun
from geom.store import TokenRow
from geom.text import harmless, visible


@dataclass(frozen=True)
class Vocabulary:
    """What is known of the tokens of a run: a name for it, its size, and texts by id."""

    name: str
    V: int
    texts: Mapping[int, str]
    noun: Noun = Noun.TOKEN

    @classmethod
    def of(cls, name: str, V: int, rows: Iterable[TokenRow], noun: Noun = Noun.TOKEN) -> Vocabulary:
        """Return the vocabulary of a run, as far as the run's rows tell."""
        return cls(
            name, V, {row.token_id: row.token for row in rows if row.token is not None}, noun
        )


def check_vocabularies(one: Vocabulary, other: Vocabulary, remedy: str = "") -> str | None:
    """Check that an id is the same token in both vocabularies.

    They have the same size and no text that differs; or one is longer, and the texts that both
    have, at least one, are equal: then it has grown, which the sentence that is returned says.

    Raises InputError for other vocabularies; ``remedy`` follows what it says.
    """
    noun = Noun.shared(one.noun, other.noun)
    end = f": an id is not the same {noun} in both{remedy}"
    for token in disagreeing(one, other):
        first, second = (visible(v.texts[token]) for v in (one, other))
        raise InputError(
            harmless(f"{noun} {token} is {first} in {one.name} and {second} in {other.name}{end}")
        )
    if one.V == other.V:
        return None
    if not one.texts.keys() & other.texts.keys():
        sizes = f"{one.name} has {noun.counted(one.V)} and {other.name} has {other.V}"
        raise InputError(f"{sizes}, and no texts tell which are the same{remedy}")
    short, long = sorted((one, other), key=lambda vocabulary: vocabulary.V)
    return f"{long.name} has {noun.counted(long.V - short.V)} more than {short.name}"


def disagreeing(one: Vocabulary, other: Vocabulary) -> Iterator[int]:
    """Yield the ids whose texts are known in both and differ, ascending."""
    for token in sorted(one.texts.keys() & other.texts.keys()):
        if one.texts[token] != other.texts[token]:
            yield token
