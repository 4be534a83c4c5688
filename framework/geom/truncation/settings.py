"""The settings of sampling: a temperature, and the filters that drop all but the likeliest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

from geom.errors import InputError, unknown
from geom.reprs import short_repr

_NAMES = ("top-k", "top-p", "min-p", "temperature")


@dataclass(frozen=True)
class Truncation:
    """The filters of a sampler, and the temperature at which they see the probabilities.

    Attributes
    ----------
    top_k : int, optional
        The number of likeliest tokens that are kept, at least 1; None for all.
    top_p : float, optional
        The mass of the likeliest tokens that are kept, with the token that crosses it; above 0 and
        at most 1.
    min_p : float, optional
        The least probability that is kept, as a share of the highest; above 0 and at most 1.
    temperature : float, optional
        What logits are divided by before the filters; finite and above 0.

    Raises
    ------
    InputError
        If a number is out of its range, or no filter is set.
    """

    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    temperature: float = 1.0

    __repr__ = short_repr

    def __post_init__(self) -> None:
        if self.top_k is not None and not (_whole(self.top_k) and self.top_k >= 1):
            raise InputError(f"top-k={self.top_k}: give a whole number from 1, or leave it out")
        for name, share in (("top-p", self.top_p), ("min-p", self.min_p)):
            if share is not None and not (_number(share) and 0.0 < share <= 1.0):
                raise InputError(
                    f"{name}={share}: give a number above 0, at most 1, or leave it out"
                )
        if not (_number(self.temperature) and 0.0 < self.temperature < math.inf):
            raise InputError(
                f"temperature={self.temperature}: give a finite number above 0; at 0 only the "
                "argmax is sampled, and the verdicts say which can be that"
            )
        if self.top_k is self.top_p is self.min_p is None:
            raise InputError(
                "no filter is set, so everything can be sampled: give top-k, top-p or min-p"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read settings from a text.

        Parameters
        ----------
        text : str
            Settings such as ``top-k=40,top-p=0.9,min-p=0.05,temperature=0.8``, in any order.

        Returns
        -------
        Truncation
            The settings.

        Raises
        ------
        InputError
            If a name is unknown or given twice, or a value does not fit.
        """
        given: dict[str, Any] = {}
        for part in text.split(","):
            name, equals, value = (item.strip() for item in part.partition("="))
            if not equals:
                raise InputError(f"{part.strip()!r} is not a setting of sampling: write NAME=VALUE")
            if name not in _NAMES:
                raise unknown("setting of sampling", name, _NAMES)
            if name in given:
                raise InputError(f"{name} is set twice: give it once")
            given[name] = _parsed(name, value)
        return cls(**{name.replace("-", "_"): value for name, value in given.items()})

    def __str__(self) -> str:
        values = (self.top_k, self.top_p, self.min_p, self.temperature)
        return ", ".join(
            f"{name} {value}" for name, value in zip(_NAMES, values, strict=True) if value
        )


def _parsed(name: str, value: str) -> int | float:
    try:
        return int(value) if name == "top-k" else float(value)
    except ValueError:
        kind = "a whole number" if name == "top-k" else "a number"
        raise InputError(f"{name}={value}: give {kind}") from None


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
