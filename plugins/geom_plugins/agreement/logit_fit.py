"""Whether logits are those of a readout, told without a look into the model.

A model hands its readout some ``x``, which nobody outside sees. Yet its logits, for any input, must
be ``W x + b`` for some ``x``, so least squares must leave nothing; and that ``x`` must be what the
final norm emits: of length ``sqrt(d)``, up to its epsilon, and for LayerNorm of sum zero. A bias
that is lost and a wrong matrix break the first; a wrong scale or shift of the norm, or of the
logits, break the second; the wrong kind of norm breaks the sum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from geom import Floats, Ids, Readout

FLOAT32 = 2.0**-23
"""The distance from 1 to the next float32."""

_SHORT = 0.02
"""How far below sqrt(d) a length may be: the norm's epsilon makes it shorter."""

_FLAT = 1e-3
"""A sum below this part of the largest possible one is zero; random numbers give 1 / sqrt(d)."""

_VAGUE = 0.1
"""If lengths are known no better than this, nothing is said about them."""

_DEVIATIONS = 6
"""How many standard deviations of noise are allowed for."""

_MASKED = -1e9
"""A logit below this is a mask, not a product."""


@dataclass(frozen=True)
class Fit:
    """How well logits fit a readout.

    Attributes
    ----------
    residual : float
        The largest ``|W x + b - logit|``, as a part of the largest logit; NaN without an ``x``.
    shortest, longest : float
        The least and the greatest ``|x| / sqrt(d)``.
    lean : float
        The largest ``|sum(x)| / (sqrt(d) |x|)``, from 0 to 1.
    faults : tuple of str
        What does not fit; empty if the readout is the model's own.
    remarks : tuple of str
        What could not be told, and what is not a fault.
    told : bool
        Whether the logits could have contradicted the readout.
    """

    residual: float = math.nan
    shortest: float = math.nan
    longest: float = math.nan
    lean: float = math.nan
    faults: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    told: bool = True

    @property
    def agrees(self) -> bool | None:
        """Whether the logits are those of the readout; None if nothing could be told."""
        return not self.faults if self.told else None


def fit(
    readout: Readout,
    logits: Floats,
    *,
    unit: float = FLOAT32,
    cap: float | None = None,
    scale: float | None = None,
) -> Fit:
    """Fit logits by a readout.

    Parameters
    ----------
    readout : Readout
        The readout.
    logits : ndarray of shape (n, V)
        What the model emitted, at n positions.
    unit : float, optional
        The distance from 1 to the next number of the type that the model computed in.
    cap : float, optional
        The soft cap that the readout's notes state; it is undone first.
    scale : float, optional
        The positive number that the logits are multiplied by, as the readout's notes state. It is
        NaN if they do not say how large it is: then any number is accepted if it is the same
        everywhere.
    """
    V, d = readout.V, readout.d
    if logits.shape[1] != V:
        fault = f"the model has {logits.shape[1]} logits, and the readout {V} rows"
        return Fit(faults=(fault,))
    masked = np.flatnonzero((~(logits > _MASKED)).all(axis=0))
    if len(masked):
        fault = f"the model masks {len(masked)} tokens ({_few(masked)}), and the readout does not"
        return Fit(faults=(fault,))
    if cap is not None:
        with np.errstate(all="ignore"):
            logits = cap * np.arctanh(logits / cap)
    logits = logits[np.isfinite(logits).all(axis=1)]  # at the cap nothing can be undone
    if not logits.any():
        return Fit(told=False, remarks=("the model's logits are not finite, or all zero",))
    if d >= V:
        remark = f"{V} rows of {d} numbers fit any logits, so they tell nothing"
        return Fit(told=False, remarks=(remark,))
    found = _solve(readout, logits, scale)
    tolerance = 4 * unit + 16 * FLOAT32 * math.sqrt(d)
    faults = [*_residual_faults(readout, logits, found, tolerance)]
    remarks = []
    if scale is not None and math.isnan(scale) and abs(found.factor - 1) > tolerance:
        remarks.append(
            f"its logits are {found.factor:.4g} times W x + b; the notes do not say by how much"
        )
    vague = 2 * unit + found.blur
    if readout.norm is None:
        remarks.append("no final norm is known, so any x will do")
    elif found.rank < d:
        remarks.append(f"W has rank {found.rank} of {d}, so |x| is known from below only")
        if found.longest > 1 + max(vague, _FLAT):
            faults.append(_lengths(found, scale))
    elif not faults and vague > _VAGUE:
        remarks.append("the model computes in a type too coarse to tell |x|")
    elif not faults:
        faults += _norm_faults(readout.norm, found, max(vague, 1e-4), scale)
    return Fit(
        found.residual, found.shortest, found.longest, found.lean, tuple(faults), tuple(remarks)
    )


@dataclass(frozen=True, eq=False)
class _Solution:
    """The ``x`` (n, d) with ``factor (W x + b)`` nearest to the logits, by pseudo-inverse.

    ``sample`` are the rows of ``W`` that it comes from, ``inverse`` (d, rows) their pseudo-inverse,
    ``rank`` their rank. ``blur`` bounds the error of ``|x| / sqrt(d)`` that rounding of the logits
    makes, judged by what least squares leaves of it.
    """

    x: Floats
    factor: float
    residual: float
    sample: Ids
    inverse: Floats
    rank: int
    blur: float

    @property
    def _lengths(self) -> Floats:
        lengths: Floats = np.linalg.norm(self.x, axis=1) / math.sqrt(self.x.shape[1])
        return lengths

    @property
    def shortest(self) -> float:
        """The least ``|x| / sqrt(d)``."""
        return float(self._lengths.min())

    @property
    def longest(self) -> float:
        """The greatest ``|x| / sqrt(d)``."""
        return float(self._lengths.max())

    @property
    def lean(self) -> float:
        """The largest ``|sum(x)| / (sqrt(d) |x|)``."""
        lengths = np.maximum(self._lengths, np.finfo(np.float64).tiny)
        return float((np.abs(self.x.sum(axis=1)) / (self.x.shape[1] * lengths)).max())


def _solve(readout: Readout, logits: Floats, scale: float | None) -> _Solution:
    """Solve for ``x`` by some of the rows; the residual is over all of them.

    The logits are ``scale (W x + b)``, with the factor that suits the norm if ``scale`` is NaN.
    """
    V, d = readout.V, readout.d
    every = 8 * d >= V
    sample = np.arange(V) if every else np.linspace(0, V - 1, 4 * d).astype(np.int64)
    W, b = readout.rows[sample], readout.b
    left, sigma, right = np.linalg.svd(W, full_matrices=False)
    rank = int((sigma > sigma[0] * 1e-9).sum())
    inverse = (right[:rank].T / sigma[:rank]) @ left[:, :rank].T
    products, constant = logits[:, sample] @ inverse.T, inverse @ b[sample]
    factor = 1.0 if scale is None else scale
    if math.isnan(factor):
        factor = _factor(products, constant, d)
    x = products / factor - constant
    off = readout.logits(x) - logits / factor
    residual = float(np.abs(off).max() / np.abs(logits / factor).max())
    noise = float(np.linalg.norm(off[:, sample], axis=1).max()) / math.sqrt(len(sample) - rank)
    blur = _DEVIATIONS * noise * float(np.linalg.norm(1 / sigma[:rank])) / math.sqrt(d)
    return _Solution(x, factor, residual, sample, inverse, rank, blur)


def _factor(products: Floats, constant: Floats, d: int) -> float:
    """Return the ``s > 0`` for which ``|products / s - constant|`` is nearest to sqrt(d)."""
    rest = float(constant @ constant) - d
    roots: list[float] = []
    for product in products:
        square, cross = float(product @ product), float(product @ constant)
        below = cross**2 - square * rest
        if square > 0 and below >= 0:
            ends = [(cross + sign * math.sqrt(below)) / square for sign in (1, -1)]
            roots += [1 / end for end in ends if end > 0]

    def apart(s: float) -> float:
        lengths = np.linalg.norm(products / s - constant, axis=1) / math.sqrt(d)
        return float(np.abs(lengths - 1).max())

    return min(roots, key=apart, default=1.0)


def _residual_faults(
    readout: Readout, logits: Floats, found: _Solution, tolerance: float
) -> list[str]:
    """Say what is wrong if the logits are not ``W x + b``."""
    if found.residual <= tolerance:
        return []
    text = (
        "its logits are not W x + b for any x: the nearest differ by "
        f"{found.residual:.2g} of the largest"
    )
    apart = logits - logits[0]  # W (x - x'), whatever the bias
    off = readout.rows @ (found.inverse @ apart[-1, found.sample]) - apart[-1]
    if apart.any() and np.abs(off).max() <= tolerance * np.abs(logits).max():
        return [f"{text}; between two inputs they agree, so a bias is lost, or is too much"]
    return [f"{text}; W is another matrix, or something unknown is done to the logits"]


def _norm_faults(
    norm: Literal["layernorm", "rmsnorm"], found: _Solution, tolerance: float, scale: float | None
) -> list[str]:
    """Say what is wrong if the final norm does not emit such ``x``."""
    faults = []
    flat = found.lean <= max(_FLAT, tolerance)
    right = found.longest <= 1 + tolerance and found.shortest >= 1 - _SHORT - tolerance
    if norm == "layernorm" and not flat:
        why = "the norm is RMSNorm" if right else "the norm is RMSNorm, or its scale is another"
        faults.append(
            f"x does not sum to zero, as LayerNorm's does, but to {found.lean:.2g} of the largest "
            f"sum there can be: {why}"
        )
    if norm == "rmsnorm" and flat:
        faults.append("x sums to zero everywhere: the norm is LayerNorm, not RMSNorm")
    return faults if right else [*faults, _lengths(found, scale)]


def _lengths(found: _Solution, scale: float | None) -> str:
    """Say what lengths there are instead of sqrt(d)."""
    low, high = found.shortest, found.longest
    if high - low <= 1e-3 * high:
        how = "and no note says so" if scale is None else f"and not by {scale:.4g} as the notes say"
        return (
            f"|x| is {high:.4g} sqrt(d) everywhere, and not sqrt(d): the model scales its logits, "
            f"{how}"
        )
    return (
        f"|x| is from {low:.4g} to {high:.4g} sqrt(d), and not sqrt(d): the norm's scale or shift "
        "is another (1 + weight, or lost)"
    )


def _few(ids: Ids) -> str:
    """Name the first of some ids."""
    shown = ", ".join(map(str, ids[:5].tolist()))
    return f"{shown}, ..." if len(ids) > 5 else shown
