"""The records that hooks yield, each with a name, a summary, an options type and a callable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Generic, Literal, TypeVar

from geom.certificates import Finding
from geom.model.domains import Domain
from geom.model.problem import Problem
from geom.model.readout import Readout
from geom.numbers.arrays import Floats
from geom.numbers.enclosures import Enclosure
from geom.plugins.results import (
    Agreement,
    Candidate,
    Measurement,
    Network,
    PrecisionMargin,
    WitnessedToken,
)
from geom.reprs import short_repr

if TYPE_CHECKING:
    from geom.store import Run

O = TypeVar("O")  # noqa: E741 - the options type of a plugin


@dataclass(frozen=True)
class NoOptions:
    """The options type of a plugin without options."""


def never(options: object) -> bool:
    """Answer no, whatever the options."""
    return False


def one(options: object) -> int:
    """Answer 1, whatever the options."""
    return 1


@dataclass(frozen=True)
class ModelSource(Generic[O]):
    """A model source: it reads a readout.

    A stranger may have written the location and the options in a run file. So geom loads what a run
    file names without being told to only if ``reads`` is ``nothing``, or if it lies in the run's
    folder.

    Attributes
    ----------
    name : str
        The source's name, before the colon of ``--model NAME:LOCATION?key=value``.
    summary : str
        One line for the list of plugins.
    load : callable
        ``load(location, options)`` returns a `Readout`; it raises InputError if it cannot read the
        location.
    options : type
        A frozen dataclass whose fields have defaults; their values come from the query. ``new``,
        ``init``, ``init_seed``, ``rows``, ``cast`` and ``bias=no`` are options of every source:
        geom takes them itself, except those that this type declares.
    reads : {"nothing", "file", "checkpoint", "anything"}, optional
        What loading may open: ``nothing`` except what comes with the source; a ``file``, whose
        path or address is the location; a ``checkpoint``, which is the folder or file at the
        location, or else is on the Hub; or ``anything``. With the first three, no option names a
        place, except those that ``places`` yields.
    places : callable, optional
        ``places(location, options)`` yields the further locations that loading opens, each of the
        same kind as ``reads`` says; for example a checkpoint that the one at the location names.
        A run file has to be trusted with each of them as with the location. It is called only if
        the location itself needs no trust.
    shape : callable, optional
        ``shape(location, options)`` is the shape (V, d) of the readout that ``load`` returns, for a
        source whose options alone say how large it is. A run file that names another shape than
        its own is then refused before any memory is taken.
    check : callable, optional
        ``check(location, options)`` runs the model itself, or models like it, and yields an
        `Agreement` for each: whether its logits are those of the readout that ``load`` returns.
    suffixes : tuple of str, optional
        The suffixes, in small letters, of the files that a user may name without the source:
        ``--model x.gguf``.
    folders : tuple of str, optional
        Names of files, each of which tells that a folder is one the source reads, so that a user
        may name such a folder without the source.
    claims : callable, optional
        ``claims(path)`` looks at an existing folder and tells whether the source alone reads it,
        although a file named in another's ``folders`` lies there too.
    hub_ids : bool, optional
        Whether a name that is no file, no folder and no source is an id of the Hub that this source
        reads: ``--model OWNER/NAME``.
    network : callable, optional
        ``network(location, options)`` loads the whole model and returns a `Network`.
    live : callable, optional
        ``live(model, tokenizer)`` returns the `Network` of a model in memory, or None if the
        object is not of the source's library; ``tokenizer`` is what the caller gave, or None.
    tokenized : callable, optional
        ``tokenized(readout, tokenizer)`` returns the readout of a model in memory with the texts
        and kinds of its tokens, by the tokenizer that the model carries, or None if that is not of
        the source's library.
    """

    name: str
    summary: str
    load: Callable[[str, O], Readout]
    options: type[O]
    _: KW_ONLY
    reads: Literal["nothing", "file", "checkpoint", "anything"] = "anything"
    places: Callable[[str, O], Iterable[str]] | None = None
    shape: Callable[[str, O], tuple[int, int]] | None = None
    check: Callable[[str, O], Iterable[Agreement]] | None = None
    suffixes: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    claims: Callable[[Path], bool] | None = None
    hub_ids: bool = False
    network: Callable[[str, O], Network] | None = None
    live: Callable[[object, object], Network | None] | None = None
    tokenized: Callable[[Readout, object], Readout | None] | None = None

    __repr__ = short_repr


@dataclass(frozen=True)
class Detector(Generic[O]):
    """A detector: it flags tokens worth certifying.

    Attributes
    ----------
    name : str
        The detector's name.
    summary : str
        One line for the list of plugins.
    detect : callable
        ``detect(readout, domain, options)`` yields a `Candidate` for each token that it flags. It
        may also yield a `WitnessedToken` for a token that it found a witness for, which joins the
        run as speakable. It must be deterministic.
    options : type
        A frozen dataclass whose fields have defaults.
    devices : tuple of str, optional
        The kinds of `geom.current_device` that it can use.
    memory : callable, optional
        ``memory(readout, options)`` is an upper bound on the bytes that it takes in addition to
        the readout.
    repeatable : bool, optional
        Whether it is quick and gives the same answer on every machine; if so, `geom verify` and a
        continued run ask it again.
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
    """A certifier: it looks for a point or for weights.

    Attributes
    ----------
    name : str
        The certifier's name.
    summary : str
        One line for the list of plugins.
    certify : callable
        ``certify(problem, token, prior, options)`` returns a `Finding`; ``prior`` is the finding
        of the chain so far.
    options : type
        A frozen dataclass whose fields have defaults.
    verifies : bool, optional
        Whether it sees every token's finding. If not, it is asked only about tokens that are
        still undecided.
    certify_many : callable, optional
        ``certify_many(problem, tokens, priors, options)`` yields one finding per token, in order,
        for a certifier that works better on many tokens at once; each finding is stored as soon as
        it is yielded.
    batch : int, optional
        The most tokens to give to ``certify_many``.
    sees_all : callable, optional
        ``sees_all(options)`` is whether it is asked about every token, as one that verifies is,
        because its options ask for more than a verdict.
    tighten : callable, optional
        ``tighten(options, gap, enough)`` returns the options with which the certifier goes on from
        the sign of the largest margin to its size. It then stops when its bounds are at most
        ``gap`` times the upper one apart, or when the margin at its point is above ``enough``, in
        logits, if that is not None. The order of a run's hardest tokens is proven with it.
    prepare : callable, optional
        ``prepare(problem, options)`` is called once before a run begins; it raises InputError if
        the certifier cannot serve this problem.
    mixtures : bool, optional
        Whether it serves a hull, whose points are the shares of a mixture (k,), not vectors (d,).
        If not, a run on one refuses it before it begins.
    devices : tuple of str, optional
        The kinds of `geom.current_device` that it can use.
    memory : callable, optional
        ``memory(readout, options)`` is an upper bound on the bytes that it takes in addition to
        the readout.
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
    sees_all: Callable[[O], bool] = never
    tighten: Callable[[O, float, float | None], O] | None = None
    prepare: Callable[[Problem, O], None] | None = None
    mixtures: bool = False
    devices: tuple[str, ...] = ("cpu",)
    memory: Callable[[Readout, O], int] | None = None

    __repr__ = short_repr


@dataclass(frozen=True)
class Precision(Generic[O]):
    """A precision: one arithmetic, computed as a machine of that arithmetic would.

    Attributes
    ----------
    name : str
        The precision's name.
    summary : str
        One line for the list of plugins.
    margin : callable
        ``margin(readout, token, x, options)`` returns a `PrecisionMargin` at ``x`` of shape (d,),
        float64.
    options : type
        A frozen dataclass whose fields have defaults.
    roundoff : callable
        ``roundoff(options)`` is its unit roundoff, 0 if it is exact; precisions are ordered by it
        from coarse to fine.
    products : callable, optional
        For a rigorous precision, ``products(rows, x, options)`` returns an `Enclosure` of each
        exact ``rows_i . x``, for float64 ``rows`` of shape (n, k) and ``x`` of shape (k,), so that
        other plugins can prove with it. It raises ArithmeticError if it has no enclosure, for
        example because it overflows.
    memory : callable, optional
        ``memory(readout, options)`` is an upper bound on the bytes that it takes in addition to
        the readout.
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


@dataclass(frozen=True)
class Measure(Generic[O]):
    """A measure: a number for a token.

    Attributes
    ----------
    name : str
        The measure's name.
    summary : str
        One line for the list of plugins.
    measure : callable
        ``measure(problem, token, prior, options)`` returns a `Measurement`; ``prior`` is the
        `Finding` of the run, or an empty one without a run.
    options : type
        A frozen dataclass whose fields have defaults.
    unit : str
        The unit of its numbers. In the unit ``rank`` the value is a whole number that is reached,
        so that it is the upper end, and tables show it so.
    bounds : callable, optional
        ``bounds(problem, token, evidence, options, widen)`` returns the ends that the point and
        the weights of a measurement prove, without a search for better ones; a measure whose
        numbers are proven needs it. `geom verify` calls it with ``widen`` 1, for it to pass on to
        `geom.judge` and similar functions. The number must enclose those ends on any machine, as
        it does if it was made with the default ``widen``.
    quick : bool, optional
        Whether its numbers for all tokens take about as long as reading the rows; such measures
        are taken if the user names none.
    price : str, optional
        What one number costs, for the list of measures: ``0.01 to 0.1 of a product W W^T``; empty
        if that is not known.
    measure_many : callable, optional
        ``measure_many(problem, tokens, priors, options)`` yields one measurement per token, in
        order, for a measure that works better on many tokens at once; each is stored as soon as it
        is yielded. How many tokens it gets depends on the seconds that the last ones took, so that
        little is lost if it is stopped.
    batch : int, optional
        The most tokens to give to ``measure_many``.
    settle : callable, optional
        ``settle(problem, options)`` is called once before any token is measured, and returns the
        options to measure with, which a run keeps: for example with the digest of a file that they
        name. It raises InputError if they do not fit the problem.
    places : callable, optional
        ``places(options)`` yields the files that measuring and its ``bounds`` open. A stranger may
        have written the options in a run file, so `geom verify` opens only files in the run's own
        folder without permission.
    """

    name: str
    summary: str
    measure: Callable[[Problem, int, Finding, O], Measurement]
    options: type[O]
    _: KW_ONLY
    unit: str
    bounds: Callable[[Problem, int, Finding, O, float], tuple[float, float]] | None = None
    quick: bool = False
    price: str = ""
    measure_many: (
        Callable[[Problem, Sequence[int], Sequence[Finding], O], Iterable[Measurement]] | None
    ) = None
    batch: int = 1
    settle: Callable[[Problem, O], O] | None = None
    places: Callable[[O], Iterable[str]] | None = None

    __repr__ = short_repr


@dataclass(frozen=True)
class Reporter(Generic[O]):
    """A reporter: it writes a run to a file.

    Attributes
    ----------
    name : str
        The reporter's name.
    summary : str
        One line for the list of plugins.
    write : callable
        ``write(run, file, options)`` writes the `Run` to a file open for bytes.
    options : type
        A frozen dataclass whose fields have defaults.
    suffix : str
        The usual suffix of its files.
    text : bool, optional
        Whether its files can be printed on a terminal.
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
    """An executor: it applies a function to items, and yields the results as they are made.

    Attributes
    ----------
    name : str
        The executor's name.
    summary : str
        One line for the list of plugins.
    map : callable
        ``map(function, items, options)`` yields results, or pieces of them as lists of values. A
        result is an iterable that does its work while it is iterated. Yield each value as soon as
        it is made, not when its item is done: it is stored then, and survives a kill. An item
        whose process died may be done again from its start. The function and the items can be
        sent to other processes.
    options : type
        A frozen dataclass whose fields have defaults.
    workers : callable, optional
        ``workers(options)`` is the number of items it works on at once; the tokens are cut into
        items small enough that every worker gets some.
    processes : bool, optional
        Whether each worker is a process on this machine; the weights are then put into a file that
        all of them map.
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
