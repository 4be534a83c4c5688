"""Findings as a certifier returns them, copied into arrays that nobody else can write to."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from geom.certificates import Finding, Weights
from geom.errors import Raised, attempt, one_line

T = TypeVar("T", np.float64, np.int64)


def as_kept(finding: Finding) -> Finding:
    """Return the finding with arrays of our own, or an empty finding if they are not numbers."""
    kept = attempt(lambda: checked(finding))
    return Finding() if isinstance(kept, Raised) else kept


def checked(answer: object) -> Finding:
    """Return the answer with arrays of our own.

    Raises TypeError, or whatever its objects raise, if the answer is not a finding.
    """
    if not isinstance(answer, Finding):
        raise TypeError(f"it returned {type(answer).__name__}, not a Finding")
    x, weights, note = answer.x, answer.weights, answer.note
    if x is not None:
        x = _kept(x, np.float64)
    if weights is not None:
        if not isinstance(weights, Weights):
            raise TypeError(f"its weights are {type(weights).__name__}, not Weights")
        indices, values = _kept(weights.indices, np.int64), _kept(weights.values, np.float64)
        if indices is not weights.indices or values is not weights.values:
            weights = Weights(indices, values)
    if note is not None:
        if not isinstance(note, str):
            raise TypeError(f"its note is {type(note).__name__}, not a str")
        note = one_line(note)
    return Finding(x, weights, note)


def _kept(values: object, dtype: type[T]) -> NDArray[T]:
    """Return the numbers as our own array: a certifier may write to its buffer, or to a prior."""
    if type(values) is np.ndarray and values.dtype == dtype:
        array: NDArray[T] = values
        if array.base is None and not array.flags.writeable:
            return array
    out: NDArray[T] = np.array(values, dtype=dtype)
    out.flags.writeable = False
    return out
