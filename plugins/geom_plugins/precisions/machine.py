"""The precisions ``float32``, ``float64`` and ``longdouble``: the types that processors compute in.

W, b and x are rounded to the type, and products and sums are computed in it. In float32 and float64
the order of summation is that of the BLAS library; ``longdouble`` is C's long double on this
machine, with 64 bits of precision on x86, and is summed by NumPy. The margin is one subtraction in
the type. A margin that is NaN gives no answer: it stays NaN, without an error radius.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from geom import Enclosure, Floats, NoOptions, Precision, PrecisionMargin, Readout, hookimpl
from geom_plugins.precisions.bounds import (
    EXACT,
    FLOAT64,
    UP,
    Rounding,
    answer,
    enclosed,
    logit_errors,
)
from geom_plugins.precisions.kept import BLOCK, rounded_rows

FLOAT32 = Rounding(2.0**-24, 2.0**-126)
LONGDOUBLE = Rounding(float(np.finfo(np.longdouble).eps) / 2.0, 2.0**-1022)


def float32_margin(readout: Readout, token: int, x: Floats, options: NoOptions) -> PrecisionMargin:
    """Compute the margin of ``token`` at ``x`` (d,) in IEEE binary32."""
    with np.errstate(all="ignore"):
        W = rounded_rows(readout, "float32", _single)
        logits = W @ _single(x) + _single(readout.b)
        errors = logit_errors(readout.row_norms, x, readout.b, inputs=FLOAT32, sums=FLOAT32)
        return answer(logits, token, errors + readout.bias_errors * UP, FLOAT32.relative)


def _single(values: Floats) -> NDArray[np.float32]:
    return values.astype(np.float32)


def float64_margin(readout: Readout, token: int, x: Floats, options: NoOptions) -> PrecisionMargin:
    """Compute the margin of ``token`` at ``x`` (d,) in IEEE binary64, which holds all inputs."""
    with np.errstate(all="ignore"):
        errors = logit_errors(readout.row_norms, x, readout.b, inputs=EXACT, sums=FLOAT64)
        return answer(readout.logits(x), token, errors + readout.bias_errors * UP, FLOAT64.relative)


def longdouble_margin(
    readout: Readout, token: int, x: Floats, options: NoOptions
) -> PrecisionMargin:
    """Compute the margin of ``token`` at ``x`` (d,) in long double, rounded to float64 last."""
    long = x.astype(np.longdouble)
    logits = np.empty(readout.V, dtype=np.longdouble)
    height = max(1, BLOCK // readout.d)
    with np.errstate(all="ignore"):
        for start in range(0, readout.V, height):
            rows = slice(start, start + height)
            logits[rows] = readout.rows[rows].astype(np.longdouble) @ long + readout.b[rows]
        errors = logit_errors(readout.row_norms, x, readout.b, inputs=EXACT, sums=LONGDOUBLE)
        return answer(logits, token, errors + readout.bias_errors * UP, LONGDOUBLE.relative)


def float32_products(rows: Floats, x: Floats, options: NoOptions) -> list[Enclosure]:
    """Compute ``rows @ x`` in IEEE binary32, for ``rows`` (n, k) and ``x`` (k,)."""
    with np.errstate(all="ignore"):
        values = _single(rows) @ _single(x)
    return enclosed(values, rows, x, FLOAT32, FLOAT32)


def float64_products(rows: Floats, x: Floats, options: NoOptions) -> list[Enclosure]:
    """Compute ``rows @ x`` in IEEE binary64, for ``rows`` (n, k) and ``x`` (k,)."""
    with np.errstate(all="ignore"):
        values = rows @ x
    return enclosed(values, rows, x, EXACT, FLOAT64)


def longdouble_products(rows: Floats, x: Floats, options: NoOptions) -> list[Enclosure]:
    """Compute ``rows @ x`` in long double, for ``rows`` (n, k) and ``x`` (k,)."""
    with np.errstate(all="ignore"):
        values = rows.astype(np.longdouble) @ x.astype(np.longdouble)
    return enclosed(values, rows, x, EXACT, LONGDOUBLE)


def _float32_memory(readout: Readout, options: NoOptions) -> int:
    """Return the bytes of the rounded rows, which are kept."""
    return 4 * readout.V * readout.d


@hookimpl
def geom_precisions() -> Iterator[Precision[NoOptions]]:
    yield Precision(
        "float32",
        "IEEE binary32",
        float32_margin,
        NoOptions,
        roundoff=lambda _: FLOAT32.relative,
        products=float32_products,
        memory=_float32_memory,
    )
    yield Precision(
        "float64",
        "IEEE binary64",
        float64_margin,
        NoOptions,
        roundoff=lambda _: FLOAT64.relative,
        products=float64_products,
    )
    yield Precision(
        "longdouble",
        "C's long double on this machine",
        longdouble_margin,
        NoOptions,
        roundoff=lambda _: LONGDOUBLE.relative,
        products=longdouble_products,
    )
