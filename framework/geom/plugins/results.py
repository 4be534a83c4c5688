"""The results of plugins, apart from findings: candidates, margins, measurements, agreements."""

from __future__ import annotations

from dataclasses import KW_ONLY, asdict, dataclass
from typing import Any

from geom.certificates import Weights
from geom.numbers.arrays import Floats
from geom.reprs import short_repr


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token that a detector flags.

    Attributes
    ----------
    token : int
        The token.
    argmax_id : int, optional
        The token that wins along its own direction, if the detector knows it.
    """

    token: int
    argmax_id: int | None = None

    __repr__ = short_repr


@dataclass(frozen=True, eq=False, slots=True)
class WitnessedToken:
    """A token that a detector need not flag because it wins at a point of the domain.

    geom checks the point, and flags the token if it does not win there.

    Attributes
    ----------
    token : int
        The token.
    x : ndarray of shape (d,), float64, optional
        The point, or None for the token's own direction (`geom.proofs.own_direction`).
    """

    token: int
    x: Floats | None = None

    __repr__ = short_repr


@dataclass(frozen=True)
class PrecisionMargin:
    """A margin as one arithmetic computes it.

    Attributes
    ----------
    margin : float
        The margin, in logits.
    argmax_id : int
        The token that wins at the point.
    error : float, optional
        The radius around ``margin`` that contains the exact margin, if it is known.
    """

    margin: float
    argmax_id: int
    error: float | None = None

    __repr__ = short_repr


@dataclass(frozen=True, eq=False)
class Measurement:
    """A number for a token, and how precisely it is known.

    Attributes
    ----------
    value : float
        The number in the measure's unit. It may be infinite; it is NaN if there is no number.
    error : float, optional
        A standard error or, if the bounds are proven, a radius around ``value`` that contains the
        true number; None if the error is unknown, 0 if the value is exact.
    proven : bool, optional
        Whether ``value - error`` and ``value + error`` are proven bounds; if so, ``x`` and
        ``weights`` are the evidence, which a run keeps.
    note : str, optional
        A sentence for the reader, such as the reason why there is no number.
    x : ndarray of shape (d,), float64, optional
        A point that shows the number.
    weights : Weights, optional
        Weights that bound the number from the other side.
    """

    value: float
    error: float | None = None
    _: KW_ONLY
    proven: bool = False
    note: str | None = None
    x: Floats | None = None
    weights: Weights | None = None

    __repr__ = short_repr


@dataclass(frozen=True)
class Agreement:
    """Whether a readout gives the logits of a model that was run: one row of `geom.check`.

    Attributes
    ----------
    compared : str
        The model that was run, in words that fit after "compared with".
    agrees : bool or None
        Whether its logits are those of the readout; None if they could not be compared.
    note : str, optional
        What does not agree, or why nothing could be compared; for a model that agrees, what a
        reader should know.
    difference : float, optional
        The largest difference of a logit, as a part of the largest logit.
    """

    compared: str
    _: KW_ONLY
    agrees: bool | None
    note: str | None = None
    difference: float | None = None

    __repr__ = short_repr

    def as_dict(self) -> dict[str, Any]:
        """Return the row in the form written as JSON.

        Returns
        -------
        dict
            The fields.
        """
        return asdict(self)
