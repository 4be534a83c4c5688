"""The readout of a fitted linear classifier in memory, as scikit-learn makes them.

An estimator of that form has ``coef_`` (k, d), ``intercept_`` (k,) and ``classes_``, and predicts
the class with the largest of ``coef_ x + intercept_``. With two classes it has one row, and
predicts the second class where its score is above 0: two rows, the first of them zero, give the
same scores and, as an argmax takes the first of equals, the same answer to a tie. This module
imports no library for it.

What ``coef_`` means is for the estimator to say: the rows of ``SVC(kernel="linear")`` stand for
pairs of classes, and an estimator of several labels predicts one for each row. So what is read is
compared with the estimator's own ``predict`` at some points, and refused if they differ.
"""

from __future__ import annotations

import warnings
from typing import Any, Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray

from geom.errors import InputError
from geom.model.readout import Readout
from geom.nouns import Noun
from geom.numbers.arrays import Floats, Ids

_FITTED = ("coef_", "intercept_", "classes_")

_POINTS = 64
"""The number of points of each length at which `predict` is asked."""

_LENGTHS = (0.0, 0.1, 1.0, 10.0, 1000.0)
"""The lengths of these points, in units of the length at which biases weigh as much as rows."""

_CLEAR = 1e-3
"""A margin above this share of the largest score cannot be lost to rounding, in float32 either."""


class Classifier(Protocol):
    """An estimator that learns from examples and predicts; once fitted, it has `_FITTED` too."""

    @property
    def fit(self) -> Any:
        """Learn from examples."""

    @property
    def predict(self) -> Any:
        """Predict the class of each row of an array."""


def is_classifier(model: object) -> TypeGuard[Classifier]:
    """Return whether an object says that it is an estimator that learns and predicts."""
    return hasattr(model, "fit") and hasattr(model, "predict")


def read_classifier(model: Any) -> Readout:
    """Return the readout of a linear classifier, its classes as texts.

    Raises InputError if it is not linear, not fitted, or predicts otherwise than by the largest
    score, and any error of the estimator's own code.
    """
    kind = type(model).__name__
    _refuse_wrapped(model, kind)
    missing = [name for name in _FITTED if not hasattr(model, name)]
    if missing:
        raise InputError(
            f"{kind} has no {' and no '.join(missing)}: give a linear classifier with one row of "
            "coef_ for each class, after fit"
        )
    classes = model.classes_
    if not hasattr(classes, "shape") or len(classes.shape) != 1:
        raise InputError(f"{kind} predicts several labels at once: give one classifier for each")
    rows, biases = _array(model.coef_), _array(model.intercept_)
    if rows.ndim == 1 and len(classes) == 2:
        rows = rows[None]
    if rows.ndim != 2 or biases.ndim > 1 or (biases.ndim == 1 and len(biases) != len(rows)):
        raise InputError(
            f"{kind} has coef_ of shape {rows.shape} and intercept_ of shape {biases.shape}: they "
            "must be (k, d) and (k,)"
        )
    biases = np.broadcast_to(biases, len(rows))
    if len(classes) == 2 and len(rows) == 1:
        rows = np.concatenate([np.zeros_like(rows), rows])
        biases = np.concatenate([np.zeros_like(biases), biases])
    if len(rows) != len(classes):
        raise InputError(
            f"{kind} has {len(rows)} rows of coef_ for {len(classes)} classes: its prediction is "
            "not the largest of their scores"
        )
    texts = tuple(str(name) for name in classes)
    note = f"coef_ and intercept_ of a {kind}"
    readout = Readout.fold(rows, biases, tokens=texts, notes=(note,), noun=Noun.CLASS)
    _compare(model, kind, readout)
    return readout


def _refuse_wrapped(model: Any, kind: str) -> None:
    """Raise InputError for an estimator that only passes its work on to others."""
    if hasattr(model, "steps"):
        raise InputError(
            f"{kind} changes the features before they reach its classifier: give the last step, as "
            "in geom.load(pipeline[-1]), whose x is what the steps before it return"
        )
    if hasattr(model, "best_estimator_"):
        raise InputError(f"{kind} only searches for a classifier: give its best_estimator_")


def _array(values: Any) -> NDArray[Any]:
    """Return numbers, which may be a sparse matrix."""
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values)


def _compare(model: Any, kind: str, readout: Readout) -> None:
    """Ask the estimator to predict at some points. Raises InputError if its answers differ.

    A point at which two scores are so close that rounding may decide is not compared.
    """
    points = _points(readout)
    logits = readout.logits(points)
    high = np.sort(logits, axis=1)[:, ::-1]
    clear = high[:, 0] - high[:, 1] > _CLEAR * np.abs(logits).max(axis=1)
    answers = _answers(model, points)
    if answers.shape != clear.shape:  # also where every score is a tie, and none is compared
        raise InputError(
            f"{kind} predicts {answers.shape} values for {len(points)} points, one for each label: "
            "give one classifier for each"
        )
    expected = np.asarray(model.classes_)[logits.argmax(axis=1)]
    if (answers != expected)[clear].any():
        raise InputError(
            f"{kind} does not predict the class with the largest score of coef_ x + intercept_: "
            "give a classifier that does, such as LogisticRegression or LinearSVC"
        )


def predicted(model: Any, points: Floats) -> Ids:
    """Return the places in ``classes_`` of an estimator's predictions (n,) at points (n, d)."""
    places = {name: place for place, name in enumerate(np.asarray(model.classes_).tolist())}
    return np.array([places[answer] for answer in _answers(model, points).tolist()])


def _answers(model: Any, points: Floats) -> NDArray[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the points have no names of features
        return np.asarray(model.predict(points))


def _points(readout: Readout) -> Floats:
    """Return points (n, d), the origin among them, at which rows, biases or both decide."""
    row, bias = float(readout.row_norms.max()), float(np.abs(readout.b).max())
    unit = bias / row if bias > 0.0 and row > 0.0 else 1.0
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((_POINTS, readout.d))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return np.concatenate([length * unit * directions for length in _LENGTHS])
