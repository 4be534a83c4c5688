"""The readout of a linear layer in memory, such as ``torch.nn.Linear``.

Such a layer has ``weight`` (V, d), perhaps ``bias`` (V,), and says its sizes as ``out_features``
and ``in_features``. A hook, an adapter or a subclass may make it compute something else, so what is
read is compared with the layer's own outputs. This module imports no library for it.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeGuard

import ml_dtypes
import numpy as np

from geom.errors import InputError
from geom.model.readout import Readout
from geom.model.tensors import Lines, array
from geom.nouns import Noun
from geom.numbers.arrays import Floats, Ids

_POINTS = 4
"""The number of points at which the layer's outputs are compared."""


class LinearLayer(Protocol):
    """A linear layer: ``weight`` (V, d), perhaps ``bias`` (V,), and its sizes."""

    in_features: int
    out_features: int

    @property
    def weight(self) -> Any:
        """The rows."""


def is_linear_layer(model: object) -> TypeGuard[LinearLayer]:
    """Return whether an object says that it is a linear layer."""
    sizes = hasattr(model, "in_features") and hasattr(model, "out_features")
    return sizes and hasattr(getattr(model, "weight", None), "detach")


def read_linear_layer(model: Any) -> Readout:
    """Return the readout of a linear layer, whose outputs are called classes.

    Raises InputError if its outputs are not ``weight x + bias``, and any error of its own code.
    """
    bias = getattr(model, "bias", None)
    stored = str(model.weight.dtype).removeprefix("torch.")
    readout = Readout.fold(
        Lines("weight", model.weight),
        None if bias is None else array("bias", bias),
        notes=(f"weight of a {type(model).__name__} in {stored}",),
        noun=Noun.CLASS,
    )
    _compare(model, readout)
    return readout


def largest_output(model: Any, points: Floats) -> Ids:
    """Return the place of a layer's largest output (n,) at points (n, d), rounded to its type."""
    return np.asarray(_outputs(model, points)[1].argmax(axis=1))


def _outputs(model: Any, points: Floats) -> tuple[Floats, Floats]:
    """Return the points (n, d), rounded to the layer's type, and its outputs (n, V) there."""
    given = model.weight.detach().new_tensor(points)
    outputs = array("outputs", model(given)).astype(np.float64)
    return array("points", given).astype(np.float64), outputs


def _compare(model: Any, readout: Readout) -> None:
    """Ask the layer for its outputs at some points. Raises InputError if they are others.

    Its own rounding is allowed for: of the points, which are rounded to its type before, of the
    outputs, and of a sum of d products, whose errors add up like a random walk's steps.
    """
    points = np.random.default_rng(0).standard_normal((_POINTS, readout.d))
    points, outputs = _outputs(model, points)
    eps = float(ml_dtypes.finfo(readout.head.dtype).eps)  # type: ignore[no-untyped-call]  # it has none
    lengths = np.linalg.norm(points, axis=1)[:, None]
    allowed = eps * (2.0 + readout.d**0.5) * (lengths * readout.row_norms + np.abs(readout.b))
    if (
        outputs.shape != allowed.shape
        or not (np.abs(outputs - readout.logits(points)) <= allowed).all()
    ):
        kind = type(model).__name__
        raise InputError(
            f"{kind} does not return weight x + bias, perhaps because of a hook or an adapter: "
            "merge the adapter or remove the hook, and give the plain layer"
        )
