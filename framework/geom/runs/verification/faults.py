"""The result of verifying a run: the faults, and what was not checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field

from geom.nouns import Noun
from geom.reprs import short_repr
from geom.text import TokenKind, visible

_SHOWN = 40
"""The number of characters of a text that are shown."""


@dataclass(frozen=True)
class Fault:
    """A claim of a run that does not hold.

    Attributes
    ----------
    token : int or None
        The token, or None for the whole run.
    reason : str
        What is wrong.
    noun : Noun
        What the token is called.
    """

    token: int | None
    reason: str
    noun: Noun = Noun.TOKEN

    __repr__ = short_repr

    def __str__(self) -> str:
        return self.reason if self.token is None else f"{self.noun} {self.token}: {self.reason}"


@dataclass(frozen=True)
class Verification:
    """The result of verifying a run.

    Attributes
    ----------
    confirmed : mapping of str to int
        How many tokens of each verdict hold.
    faults : tuple of Fault
        Everything that does not hold.
    unchecked : tuple of str, optional
        What was not checked, each with the reason; empty if the weights do not match.
    about : str, optional
        The weights, the domain and the tokens that the run was checked for, in words; empty if
        the weights do not match.
    """

    confirmed: Mapping[str, int]
    faults: tuple[Fault, ...]
    _: KW_ONLY
    unchecked: tuple[str, ...] = ()
    about: str = ""

    __repr__ = short_repr

    @property
    def ok(self) -> bool:
        """Whether every claim that was checked holds."""
        return not self.faults


@dataclass
class Found:
    """The faults and the unchecked items that the checks have found so far."""

    noun: Noun = Noun.TOKEN
    faults: list[Fault] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    def fault(self, token: int | None, reason: str) -> None:
        """Record a fault."""
        self.faults.append(Fault(token, reason, self.noun))

    def leave(self, what: str) -> None:
        """Record something that is not checked, once."""
        if what not in self.unchecked:
            self.unchecked.append(what)


def shown(text: str | None, kind: TokenKind | None = None) -> str:
    """Return a text of a run or a tokenizer, safe to print and cut if it is long."""
    if text is None or len(text) <= _SHOWN:
        return visible(text, kind)
    return f"{visible(text[:_SHOWN], kind)} and {len(text) - _SHOWN} characters more"
