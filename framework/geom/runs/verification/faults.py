"""What a check of a run comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field

from geom.reprs import short_repr
from geom.text import TokenKind, visible

_SHOWN = 40
"""Characters of a text that are shown."""


@dataclass(frozen=True)
class Fault:
    """Something a run claims that does not hold.

    Attributes
    ----------
    token : int or None
        The token, None for the whole run.
    reason : str
        What is wrong.
    """

    token: int | None
    reason: str

    __repr__ = short_repr

    def __str__(self) -> str:
        return self.reason if self.token is None else f"token {self.token}: {self.reason}"


@dataclass(frozen=True)
class Verification:
    """What came of checking a run.

    Attributes
    ----------
    confirmed : mapping of str to int
        How many tokens of each verdict hold.
    faults : tuple of Fault
        Everything that does not hold.
    unchecked : tuple of str, optional
        What was not checked, each with the reason; empty if the weights are others.
    about : str, optional
        The weights, the domain and the tokens that the run was checked for, in words; empty if
        the weights are others.
    """

    confirmed: Mapping[str, int]
    faults: tuple[Fault, ...]
    _: KW_ONLY
    unchecked: tuple[str, ...] = ()
    about: str = ""

    __repr__ = short_repr

    @property
    def ok(self) -> bool:
        """Whether everything the run claims, of what was checked, holds."""
        return not self.faults


@dataclass
class Found:
    """Faults and what could not be checked, as the checks come upon them."""

    faults: list[Fault] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    def fault(self, token: int | None, reason: str) -> None:
        """Keep a fault."""
        self.faults.append(Fault(token, reason))

    def leave(self, what: str) -> None:
        """Keep what is not checked, once."""
        if what not in self.unchecked:
            self.unchecked.append(what)


def shown(text: str | None, kind: TokenKind | None = None) -> str:
    """A text of a run or a tokenizer, cut where it is long, and safe to print."""
    if text is None or len(text) <= _SHOWN:
        return visible(text, kind)
    return f"{visible(text[:_SHOWN], kind)} and {len(text) - _SHOWN} characters more"
