"""The parts of a readout by the names of their tensors: as found, or as the user gives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from geom import InputError

BY_HAND = "give ?unembed=NAME and, for the final norm, &norm=layernorm|rmsnorm|none&gamma=&beta="


@dataclass(frozen=True)
class ByHand:
    """The parts that the user names; they override those of the architecture."""

    unembed: str | None = None
    bias: str | None = None
    gamma: str | None = None
    beta: str | None = None
    norm: Literal["layernorm", "rmsnorm", "none"] | None = None
    gamma_plus_one: bool | None = None


@dataclass(frozen=True)
class Parts:
    """The names of the readout's tensors, None if it has none.

    Attributes
    ----------
    unembed
        The unembedding's plain weight, ``lm_head.weight``, even if the file holds another form of
        it, such as ``lm_head.qweight``.
    bias, gamma, beta, projection
        The head's bias, the final norm's scale and shift, and a matrix between norm and head.
    norm
        The kind of the final norm.
    plus_one
        Whether the norm multiplies by 1 + gamma.
    unit_rows
        Whether the head divides each of its rows by its length.
    notes
        What a reader of the results should know.
    guesses
        What nothing in the checkpoint says and no table knows, each guess in words.
    """

    unembed: str
    bias: str | None
    gamma: str | None
    beta: str | None
    norm: Literal["layernorm", "rmsnorm"] | None
    plus_one: bool = False
    projection: str | None = None
    notes: tuple[str, ...] = ()
    unit_rows: bool = False
    guesses: tuple[str, ...] = ()


def lacks(where: str, what: str, why: str) -> InputError:
    """Return the error for a part that is not in the checkpoint."""
    return InputError(f"{where} lacks {what} ({why}); {BY_HAND}")
