"""The tokens that a name means: an id, a text, or a text as it is shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import NamedTuple, Protocol

from geom.nouns import Noun
from geom.text import TokenKind, mark, visible

_LONGEST = 100
"""The most characters of texts that are compared for being nearly the same."""

_PART = 3
"""The fewest characters that are looked for within other texts."""

_NEAR = 3
"""The most texts that are suggested."""


class Named(Protocol):
    """A token with its text and kind, such as a row of a run."""

    @property
    def token_id(self) -> int:
        """The id."""

    @property
    def token(self) -> str | None:
        """The text."""

    @property
    def token_kind(self) -> TokenKind | None:
        """The kind."""


class Vocabulary(Protocol):
    """What has a text for each id, such as a readout."""

    @property
    def V(self) -> int:  # noqa: N802 - the symbol of the papers
        """The number of ids."""

    @property
    def tokens(self) -> Sequence[str | None] | None:
        """The texts, None if there are none."""

    @property
    def kinds(self) -> Sequence[TokenKind] | None:
        """The kinds, None if they are not known."""

    @property
    def noun(self) -> Noun:
        """What an id stands for."""


class Entry(NamedTuple):
    """A token of which no more than the text and the kind is known."""

    token_id: int
    token: str | None
    token_kind: TokenKind | None


def entries(vocabulary: Vocabulary) -> Iterator[Named]:
    """Yield the tokens of a vocabulary that have a text."""
    kinds = vocabulary.kinds
    for token, text in enumerate(vocabulary.tokens or ()):
        if text is not None:
            yield Entry(token, text, None if kinds is None else kinds[token])


def named(tokens: Sequence[Named], name: str) -> list[int]:
    """Return the id that the name is, then the ids of that text; empty if there is none.

    Without a token of that id or exact text, the name is taken for a text as it is shown, and else
    for a text without the space that it begins with.
    """
    for forms in (_exact, _shown, _spaced):
        found = [item.token_id for item in tokens if name in forms(item)]
        if found:
            return sorted(found, key=lambda token: str(token) != name)
    return []


def near(tokens: Sequence[Named], name: str) -> list[str]:
    """Return up to three texts, as they are shown: those with the name in them, then the alike."""
    wanted = _plain(name)
    texts: dict[str, Named] = {}
    for item in tokens:
        if item.token is not None and len(item.token) <= _LONGEST:
            texts.setdefault(_plain(item.token), item)
    if not wanted or len(wanted) > _LONGEST:
        return []
    holding = [text for text in texts if len(wanted) >= _PART and wanted in text]
    holding.sort(key=len)
    alike = get_close_matches(wanted, texts, n=_NEAR, cutoff=0.7) if len(holding) < _NEAR else []
    found = list(dict.fromkeys([*holding, *alike]))[:_NEAR]
    return [visible(texts[text].token, texts[text].token_kind) for text in found]


def _plain(text: str) -> str:
    return text.strip().casefold()


def _exact(item: Named) -> tuple[str | None, ...]:
    return str(item.token_id), item.token


def _shown(item: Named) -> tuple[str, ...]:
    if item.token is None:
        return ()
    whole = visible(item.token, item.token_kind)
    quoted = whole.removesuffix(mark(item.token_kind))
    return whole, quoted, quoted[1:-1]


def _spaced(item: Named) -> tuple[str, ...]:
    return (item.token[1:],) if item.token and item.token[0] == " " else ()
