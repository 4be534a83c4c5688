"""The results of plugins, apart from findings: candidates, margins, measurements, networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geom.certificates import Weights
from geom.model.readout import Readout
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
    x : ndarray of shape (k,), float64, optional
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
    x : ndarray of shape (k,), float64, optional
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


@dataclass(frozen=True, eq=False)
class Network:
    """A whole network, loaded: it can be run on a text, to see what reaches its readout.

    Attributes
    ----------
    name : str
        What is run, for the reader: its class and the type of its numbers.
    layer : str
        The name of the layer whose output is the readout's ``x``.
    window : int
        The most ids that it takes at once.
    encode : callable
        ``encode(text)`` returns the ids of a text, without ids that tell its beginning or end.
    states : callable
        ``states(ids, places)`` runs it on ids (n,) and returns what its final norm emits at some
        of their places, before scale and shift: an array (k, d) of float32.
    logits : callable
        ``logits(ids)`` returns its own logits (n, V), float64, at each of the ids.
    start : tuple of int, optional
        The ids that it expects before a text.
    unit : float, optional
        The distance from 1 to the next number of the type that it computes in.
    versions : mapping of str to str, optional
        The versions of the libraries that run it.
    readout : callable, optional
        ``readout()`` loads the readout of a model in memory that `geom.load` does not take, such as
        one that names the checkpoint it was loaded from.
    """

    name: str
    layer: str
    window: int
    encode: Callable[[str], Sequence[int]]
    states: Callable[[Sequence[int], Sequence[int]], NDArray[np.float32]]
    logits: Callable[[Sequence[int]], Floats]
    _: KW_ONLY
    start: tuple[int, ...] = ()
    unit: float = 2.0**-23
    versions: Mapping[str, str] = field(default_factory=dict)
    readout: Callable[[], Readout] | None = None

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
