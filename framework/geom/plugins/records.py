"""The records that hooks yield: a name, a summary, an options type and a callable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Generic, Literal, TypeVar

from geom.certificates import Finding, Weights
from geom.model.domains import Domain
from geom.model.problem import Problem
from geom.model.readout import Readout
from geom.numbers.arrays import Floats
from geom.numbers.enclosures import Enclosure
from geom.reprs import short_repr

if TYPE_CHECKING:
    from geom.store import Run

O = TypeVar("O")  # noqa: E741 - the options type of a plugin


@dataclass(frozen=True)
class NoOptions:
    """The options of a plugin that has none."""


def never(options: object) -> bool:
    """The answer no, whatever the options."""
    return False


def one(options: object) -> int:
    """The answer 1, whatever the options."""
    return 1


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token that a detector flags; ``argmax_id`` wins along its own direction, where seen."""

    token: int
    argmax_id: int | None = None

    __repr__ = short_repr


@dataclass(frozen=True, eq=False, slots=True)
class WitnessedToken:
    """A token that a detector need not flag, as it wins at the point ``x`` (d,) of the domain.

    Without ``x`` it is the token's own direction (`geom.proofs.own_direction`). geom checks it, and
    flags the token where it does not hold.
    """

    token: int
    x: Floats | None = None

    __repr__ = short_repr


@dataclass(frozen=True)
class ModelSource(Generic[O]):
    """Reads a readout: ``load(location, options)``; raises InputError for what it cannot read.

    ``options`` is a frozen dataclass whose fields have defaults; their values come from the query
    of ``--model NAME:LOCATION?key=value``. ``reads`` says what loading may open, for a run file
    that a stranger wrote names a location too, and options: ``nothing``, but what comes with the
    source; a ``file``, which is the location, a path or an address; a ``checkpoint``, a folder that
    is the location, or else of the Hub; or ``anything``. No option of the first three names a
    place. What a run file names is loaded unasked only where it is nothing, or in the run's folder.
    """

    name: str
    summary: str
    load: Callable[[str, O], Readout]
    options: type[O]
    _: KW_ONLY
    reads: Literal["nothing", "file", "checkpoint", "anything"] = "anything"

    __repr__ = short_repr


@dataclass(frozen=True)
class Detector(Generic[O]):
    """Flags tokens worth certifying: ``detect(readout, domain, options)``.

    It must be deterministic. It may also yield, as `WitnessedToken`, the tokens that it found a
    witness for: they are part of the run then, as speakable. ``devices`` are the kinds of
    `geom.current_device` that it can use. ``memory(readout, options)`` says how many bytes it takes
    besides the readout, at most. One that is ``repeatable`` says the same on every machine and is
    quick: `geom verify`, and a run that goes on, ask it again.
    """

    name: str
    summary: str
    detect: Callable[[Readout, Domain, O], Iterable[Candidate | WitnessedToken]]
    options: type[O]
    _: KW_ONLY
    devices: tuple[str, ...] = ("cpu",)
    memory: Callable[[Readout, O], int] | None = None
    repeatable: bool = False

    __repr__ = short_repr


@dataclass(frozen=True)
class Certifier(Generic[O]):
    """Looks for a point or for weights: ``certify(problem, token, prior, options)``.

    ``prior`` is what the chain has found so far. A certifier is asked only about tokens that are
    still undecided, unless it ``verifies``: then it sees every token's finding. One that works
    better on many tokens at once also gives ``certify_many(problem, tokens, priors, options)``,
    which yields a finding a token, in order, and the most tokens to give it, ``batch``; each
    finding is stored when it comes. Where ``hard_only(options)`` holds, the tokens that win along
    their own direction are left to geom, which proves them in bulk. ``prepare(problem, options)``
    is called once before a run begins, and raises InputError where the certifier cannot serve this
    problem. ``devices`` are the kinds of `geom.current_device` that it can use, and
    ``memory(readout, options)`` says how many bytes it takes besides the readout, at most.
    """

    name: str
    summary: str
    certify: Callable[[Problem, int, Finding, O], Finding]
    options: type[O]
    _: KW_ONLY
    verifies: bool = False
    certify_many: (
        Callable[[Problem, Sequence[int], Sequence[Finding], O], Iterable[Finding]] | None
    ) = None
    batch: int = 1
    hard_only: Callable[[O], bool] = never
    prepare: Callable[[Problem, O], None] | None = None
    devices: tuple[str, ...] = ("cpu",)
    memory: Callable[[Readout, O], int] | None = None

    __repr__ = short_repr


@dataclass(frozen=True)
class PrecisionMargin:
    """A margin as one arithmetic sees it: its value, the winner and, where known, its error."""

    margin: float
    argmax_id: int
    error: float | None = None

    __repr__ = short_repr


@dataclass(frozen=True)
class Precision(Generic[O]):
    """One arithmetic: ``margin(readout, token, x, options)``, computed as its machine would.

    ``roundoff(options)`` is its unit roundoff, 0 where it is exact: it orders arithmetics from
    coarse to fine. A rigorous one also gives ``products(rows, x, options)``: for float64 ``rows``
    (n, k) and ``x`` (k,) an enclosure of each exact ``rows_i . x``, so that others can prove with
    it; it raises ArithmeticError where it has none, as where it overflows. ``memory(readout,
    options)`` says how many bytes it takes besides the readout, at most.
    """

    name: str
    summary: str
    margin: Callable[[Readout, int, Floats, O], PrecisionMargin]
    options: type[O]
    _: KW_ONLY
    roundoff: Callable[[O], float]
    products: Callable[[Floats, Floats, O], Sequence[Enclosure]] | None = None
    memory: Callable[[Readout, O], int] | None = None

    __repr__ = short_repr


@dataclass(frozen=True, eq=False)
class Measurement:
    """A number for a token, and how well it is known.

    ``error`` is a standard error or, where the bounds are ``proven``, a radius around ``value``
    that holds the truth; None where nothing is known of it, 0 where nothing is lost. The value may
    be infinite, and NaN where there is none, which ``note`` then explains. ``x`` (d,) is a point
    that shows it, where there is one, and ``weights`` bound it from the other side: of what is
    ``proven`` they are the evidence, which a run keeps.
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
class Measure(Generic[O]):
    """A number for a token: ``measure(problem, token, prior, options)``, in ``unit``.

    ``prior`` is what a run has found for the token, empty where there is none. A measure whose
    numbers are ``proven`` also gives ``bounds(problem, token, evidence, options, widen)``: the ends
    that the point and the weights of a measurement prove, without a search for better ones.
    `geom verify` calls it with ``widen`` 1, to be handed to `geom.judge` and its like. The number
    must hold those ends on any machine, as it does if it was made with the default of ``widen``.
    """

    name: str
    summary: str
    measure: Callable[[Problem, int, Finding, O], Measurement]
    options: type[O]
    _: KW_ONLY
    unit: str
    bounds: Callable[[Problem, int, Finding, O, float], tuple[float, float]] | None = None

    __repr__ = short_repr


@dataclass(frozen=True)
class Reporter(Generic[O]):
    """Writes a run to a file open for bytes: ``write(run, file, options)``.

    ``suffix`` is the usual ending of its files; ``text`` says that they can go to a terminal.
    """

    name: str
    summary: str
    write: Callable[[Run, BinaryIO, O], None]
    options: type[O]
    _: KW_ONLY
    suffix: str
    text: bool = True

    __repr__ = short_repr


@dataclass(frozen=True)
class Executor(Generic[O]):
    """Applies a function to items: ``map(function, items, options)`` yields results as they come.

    A result is an iterable that does its work as it is gone through. What is yielded is results, or
    pieces of them: lists of values. A value is to be yielded as soon as it is made, not when its
    item is done, as it is stored then and no kill can take it. An item whose process died may be
    done again from its start. Function and items can be sent to other processes.
    ``workers(options)`` says how many items are in work at once, so that they can be cut small
    enough to go round; ``processes`` that each is a process on this machine, for which the weights
    are put into a file that all of them map.
    """

    name: str
    summary: str
    map: Callable[[Callable[[Any], Iterable[Any]], Sequence[Any], O], Iterator[Iterable[Any]]]
    options: type[O]
    _: KW_ONLY
    workers: Callable[[O], int] = one
    processes: bool = False

    __repr__ = short_repr


Record = (
    ModelSource[Any]
    | Detector[Any]
    | Certifier[Any]
    | Precision[Any]
    | Measure[Any]
    | Reporter[Any]
    | Executor[Any]
)
"""Any of the records above."""
