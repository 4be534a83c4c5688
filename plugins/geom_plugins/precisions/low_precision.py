"""The precisions ``float16``, ``bfloat16`` and ``float8-e4m3``: the short types of accelerators.

W, b and x are each rounded to the type, to nearest with ties to even, directly from float64. Then

- ``accumulate=float32`` does as accelerators do, and torch on a CPU: products and sums in float32,
  in which a product of two short numbers is exact, in the BLAS library's order; the bias added in
  float32; and one rounding of each logit to the type.
- ``accumulate=same`` rounds every product and every partial sum to the type. The sum runs from the
  first coordinate to the last, and the bias is added at the end. Its error radius is a running
  bound, from the values computed on the way: N. J. Higham, Accuracy and Stability of Numerical
  Algorithms, 2nd ed., SIAM 2002, section 3.3.

The margin is one subtraction in the type. IEEE float16 (u = 2^-11) overflows to infinity from 65520
on; bfloat16 (u = 2^-8) has the range of float32. The type ``float8_e4m3fn`` of the Open Compute
Project (u = 2^-4) has no infinity: a number that rounds beyond 448 is NaN, as in ml_dtypes, and
nothing saturates. There are no scale factors, which a quantised model would have. A margin that is
NaN gives no answer: it stays NaN, without an error radius.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import ml_dtypes
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from geom import Floats, Precision, PrecisionMargin, Readout, hookimpl
from geom_plugins.precisions.bounds import EXACT, UP, Rounding, answer, logit_errors
from geom_plugins.precisions.kept import rounded_rows

FLOAT32 = Rounding(2.0**-24, 2.0**-126)
"""The rounding of sums in float32, whether subnormal numbers are kept or flushed to zero."""


@dataclass(frozen=True)
class ShortOptions:
    """The type in which the products are summed."""

    accumulate: Annotated[
        Literal["float32", "same"],
        Meta(description="float32: sums in float32, as accelerators do; same: in the type itself"),
    ] = "float32"


@dataclass(frozen=True)
class Short:
    """A short type: its NumPy type, and the error of a rounding to it."""

    name: str
    summary: str
    dtype: np.dtype[Any]
    rounding: Rounding


TYPES = (
    Short("float16", "IEEE binary16", np.dtype(np.float16), Rounding(2.0**-11, 2.0**-25)),
    Short(
        "bfloat16",
        "bfloat16: float32 with 8 bits of precision",
        np.dtype(ml_dtypes.bfloat16),
        Rounding(2.0**-8, 2.0**-133),
    ),
    Short(
        "float8-e4m3",
        "the 8-bit float with 4 bits of precision, no scale factors",
        np.dtype(ml_dtypes.float8_e4m3fn),
        Rounding(2.0**-4, 2.0**-10),
    ),
)


def shortened(values: Floats, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Round ``values`` to the type, once, to nearest with ties to even.

    ml_dtypes first rounds float64 to float32, which can create ties. Float32 rounded to odd keeps
    the bit that decides: S. Boldo and G. Melquiond, Emulation of a FMA and correctly rounded sums,
    IEEE Transactions on Computers 57 (2008).
    """
    if dtype == np.float16:
        return values.astype(np.float16)
    near = values.astype(np.float32)
    back = near.astype(np.float64)
    inexact = back != values
    if inexact.any():
        bits = near.view(np.uint32)
        bits -= np.abs(back) > np.abs(values)  # toward zero
        bits |= inexact
    return near.astype(dtype)


def margin(
    kind: Short, readout: Readout, token: int, x: Floats, options: ShortOptions
) -> PrecisionMargin:
    """Compute the margin of ``token`` at ``x`` (d,) as a machine of that type does."""
    unit, tiny = kind.rounding.relative, kind.rounding.tiny
    norms, b = readout.row_norms, readout.b
    with np.errstate(all="ignore"):
        if options.accumulate == "float32":
            logits = _wide_logits(kind, readout, x)
            errors = logit_errors(norms, x, b, inputs=kind.rounding, sums=FLOAT32)
            errors = errors + np.abs(logits.astype(np.float64)) * unit + tiny
        else:
            logits, passed = _narrow_logits(kind, readout, x)
            errors = logit_errors(norms, x, b, inputs=kind.rounding, sums=EXACT)
            lost = passed * (unit / (1.0 - unit)) + 2 * (readout.d + 1) * tiny
            errors = (errors + lost) * UP
        return answer(logits, token, errors + readout.bias_errors * UP, unit)


def _wide_logits(kind: Short, readout: Readout, x: Floats) -> NDArray[Any]:
    """Sum in float32, then round once to the type."""

    def widened(values: Floats) -> NDArray[np.float32]:
        return shortened(values, kind.dtype).astype(np.float32)

    W = rounded_rows(readout, (kind.name, "float32"), widened)
    sums = W @ widened(x) + widened(readout.b)
    return np.asarray(sums.astype(kind.dtype))


def _narrow_logits(kind: Short, readout: Readout, x: Floats) -> tuple[NDArray[Any], Floats]:
    """Compute everything in the type, coordinate by coordinate, for all rows at once.

    The second result is the sum of the sizes of all products and partial sums, rounded up: each is
    off by no more than ``u / (1 - u)`` of its computed value (Higham).
    """
    W = rounded_rows(readout, (kind.name, "same"), lambda rows: shortened(rows, kind.dtype))
    short = shortened(x, kind.dtype)
    sums = np.zeros(readout.V, dtype=kind.dtype)
    passed = np.zeros(readout.V, dtype=np.float32)
    for start in range(0, readout.d, 32):  # columns side by side are read much faster
        columns = np.ascontiguousarray(W[:, start : start + 32].T)
        for column, entry in zip(columns, short[start : start + 32], strict=True):
            products = column * entry
            sums = sums + products
            passed += np.abs(products).astype(np.float32)
            passed += np.abs(sums).astype(np.float32)
    sums = sums + shortened(readout.b, kind.dtype)
    passed += np.abs(sums).astype(np.float32)
    rounded = 1.0 + 2 * (2 * readout.d + 1) * FLOAT32.relative
    return np.asarray(sums), passed.astype(np.float64) * rounded


@hookimpl
def geom_precisions() -> Iterator[Precision[ShortOptions]]:
    for kind in TYPES:
        yield Precision(
            kind.name,
            kind.summary,
            partial(margin, kind),
            ShortOptions,
            roundoff=partial(_roundoff, kind),
            memory=partial(_memory, kind),
        )


def _roundoff(kind: Short, options: ShortOptions) -> float:
    return kind.rounding.relative


def _memory(kind: Short, readout: Readout, options: ShortOptions) -> int:
    """Return the bytes of the rounded rows, which are kept: as float32, or in the type."""
    width = 4 if options.accumulate == "float32" else kind.dtype.itemsize
    return width * readout.V * readout.d
