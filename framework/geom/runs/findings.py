"""Findings as a certifier returns them, copied into arrays that nobody else can write to."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from geom.certificates import Finding, Weights
from geom.errors import Raised, answered, attempt, one_line
from geom.model.problem import Problem

T = TypeVar("T", np.float64, np.int64)


def as_kept(finding: Finding) -> Finding:
    """Return the finding with arrays of our own, or an empty finding if they are not numbers."""
    kept = attempt(lambda: checked(finding))
    return Finding() if isinstance(kept, Raised) else kept


def fitting(answer: object, problem: Problem) -> Finding:
    """Return the answer with arrays of our own, if their shapes fit the problem.

    Raises ValueError if they do not, and what `checked` raises. What the numbers prove, and whether
    they are a point of the domain, is for `geom.exact` to say.
    """
    found = checked(answer)
    k = problem.domain.coordinates
    if found.x is not None and found.x.shape != (k,):
        raise ValueError(f"its x has shape {found.x.shape}, not ({k},)")
    if found.weights is not None:
        indices, values = found.weights.indices.shape, found.weights.values.shape
        if len(indices) != 1 or indices != values:
            raise ValueError(
                f"its weights have indices of shape {indices} and values of shape {values}, not "
                "one value per index"
            )
    return found


def checked(answer: object) -> Finding:
    """Return the answer with arrays of our own.

    Raises TypeError, or whatever its objects raise, if the answer is not a finding.
    """
    answer = answered(answer, Finding)
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
