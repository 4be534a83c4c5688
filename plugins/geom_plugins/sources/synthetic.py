"""``synthetic:gpt2-like`` and ``synthetic:real-like``: readouts drawn at random.

``real-like`` is calibrated on real models: see `.real_like`. ``gpt2-like`` is plainer: it follows
the findings that studies of trained embeddings share. Rows have a large common mean (Mu and
Viswanath, All-but-the-Top, ICLR 2018; Gao et al., Representation Degeneration, ICLR 2019), their
spread about it decays along its principal directions, frequent and rare rows differ in length, and
rows that training hardly touched sit in a small clump near the centre. Nearly all its tokens win
along their own direction, where real vocabularies have 13 to 22 % that do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta

from geom import InputError, ModelSource, Readout, check_memory, hookimpl
from geom_plugins.sources.real_like import Singles, draw, drawing_memory

NotNegative = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]


@dataclass(frozen=True)
class SyntheticOptions:
    """The shape of the cloud of rows. A row's spread, 1, is the unit of lengths.

    None is the default of the kind of rows; a kind has none of an option that is not its own.
    """

    V: Annotated[int, Meta(ge=1, description="tokens")] = 4096
    d: Annotated[int, Meta(ge=1, description="width")] = 64
    seed: Annotated[int, Meta(ge=0, description="seed of the generator")] = 0
    mean: Annotated[
        NotNegative | None, Meta(description="length of the common mean; 0.7, real-like 1")
    ] = None
    decay: Annotated[
        NotNegative | None,
        Meta(description="gpt2-like: principal spreads fall as rank to minus this; 0.3"),
    ] = None
    length_spread: Annotated[
        NotNegative | None,
        Meta(description="gpt2-like: standard deviation of the log of rows' lengths; 0.15"),
    ] = None
    untrained: Annotated[
        Share | None,
        Meta(description="share of tokens that are nearly alike; 0.01, real-like 0.003"),
    ] = None
    untrained_spread: Annotated[
        NotNegative | None, Meta(description="gpt2-like: spread of the untrained tokens; 0.2")
    ] = None
    rogue: Annotated[
        Share | None, Meta(description="real-like: spread along the rogue direction; 0.36")
    ] = None
    relatives: Annotated[
        Annotated[float, Meta(ge=1)] | None,
        Meta(description="real-like: tokens in a family of similar rows; 8"),
    ] = None
    bias: Annotated[
        NotNegative | None, Meta(description="length of the norm's shift; 0.1, real-like 0 (none)")
    ] = None
    norm: Annotated[
        Literal["layernorm", "rmsnorm", "none"] | None,
        Meta(description="the final norm; layernorm, real-like rmsnorm"),
    ] = None


DEFAULTS: dict[str, dict[str, Any]] = {
    "gpt2-like": {
        "mean": 0.7,
        "decay": 0.3,
        "length_spread": 0.15,
        "untrained": 0.01,
        "untrained_spread": 0.2,
        "bias": 0.1,
        "norm": "layernorm",
    },
    "real-like": {
        "mean": 1.0,
        "untrained": 0.003,
        "rogue": 0.36,
        "relatives": 8.0,
        "bias": 0.0,
        "norm": "rmsnorm",
    },
}
"""Each kind of rows, with its options and their defaults."""


def load(location: str, options: SyntheticOptions) -> Readout:
    """Draw a readout of float32 numbers, the same for the same options.

    Raises InputError for a location that is no kind of rows, and for an option of another kind.
    """
    if location not in DEFAULTS:
        known = " or ".join(f"synthetic:{name}" for name in DEFAULTS)
        raise InputError(f"model synthetic:{location}: write {known}")
    shape = _shape(location, options)
    rng = np.random.default_rng(options.seed)
    with np.errstate(over="ignore", invalid="ignore"):  # the fold refuses infinity and NaN
        if location == "gpt2-like":
            rows = _gpt2_like(rng, options.V, options.d, shape)
        else:
            rows = _real_like(rng, options.V, options.d, shape)
        beta = (shape["bias"] * rng.standard_normal(options.d) / np.sqrt(options.d)).astype(
            np.float32
        )
    rows.flags.writeable = False  # so that the readout holds them without a copy
    return Readout.fold(
        rows,
        norm=None if shape["norm"] == "none" else shape["norm"],
        beta=beta if shape["bias"] else None,
    )


def shape(location: str, options: SyntheticOptions) -> tuple[int, int]:
    """Return (V, d)."""
    return options.V, options.d


def _shape(kind: str, options: SyntheticOptions) -> dict[str, Any]:
    """Return a kind's options. Raises InputError if an option of another kind is given."""
    shape = dict(DEFAULTS[kind])
    for name in dict.fromkeys(name for defaults in DEFAULTS.values() for name in defaults):
        given = getattr(options, name)
        if given is not None and name not in shape:
            raise InputError(
                f"option source.synthetic.{name}: synthetic:{kind} has {', '.join(shape)}"
            )
        if given is not None:
            shape[name] = given
    return shape


def _gpt2_like(rng: np.random.Generator, V: int, d: int, shape: dict[str, Any]) -> Singles:
    """Draw rows (V, d)."""
    check_memory(16 * V * d + 24 * V + 24 * d * d, f"drawing {V} x {d} rows")
    spread = np.arange(1, d + 1) ** -shape["decay"]
    spread /= np.linalg.norm(spread)
    basis = np.linalg.qr(rng.standard_normal((d, d)))[0]
    rows = rng.standard_normal((V, d))
    rows *= spread
    rows = rows @ basis.T
    rows *= np.exp(shape["length_spread"] * rng.standard_normal((V, 1)))
    clump = rng.permutation(V)[: round(shape["untrained"] * V)]
    rows[clump] *= shape["untrained_spread"]
    direction = rng.standard_normal(d)
    rows += shape["mean"] * direction / np.linalg.norm(direction)
    single: Singles = rows.astype(np.float32)
    return single


def _real_like(rng: np.random.Generator, V: int, d: int, shape: dict[str, Any]) -> Singles:
    """Draw rows (V, d), a block at a time."""
    check_memory(drawing_memory(V, d), f"drawing {V} x {d} rows")
    names = ("mean", "rogue", "relatives", "untrained")
    return draw(rng, V, d, **{name: shape[name] for name in names})


@hookimpl
def geom_sources() -> Iterator[ModelSource[SyntheticOptions]]:
    yield ModelSource(
        "synthetic",
        "random readouts: synthetic:gpt2-like?V=4096&d=64, or real-like",
        load,
        SyntheticOptions,
        reads="nothing",
        shape=shape,
    )
