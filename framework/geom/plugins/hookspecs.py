"""Every extension point of geom, on one page.

A plugin is a module (or object) with functions of these names, marked with `geom.hookimpl` and
registered under the entry-point group ``geom``. Each function yields records; each record has a
name, a summary, an options type and a callable. Options are a frozen dataclass in which every field
has a default; a field may be ``Annotated`` with `msgspec.Meta` for its bounds and description. The
examples are complete modules.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pluggy

from geom.plugins.records import (
    Certifier,
    Detector,
    Executor,
    Measure,
    ModelSource,
    Precision,
    Reporter,
)

hookspec = pluggy.HookspecMarker("geom")
hookimpl = pluggy.HookimplMarker("geom")


@hookspec
def geom_sources() -> Iterable[ModelSource[Any]]:
    """Model sources: where a readout comes from.

    ``load(location, options)`` gets the text after the colon in ``--model NAME:LOCATION``.

    Returns
    -------
    iterable of ModelSource
        One record per source.

    Examples
    --------
    ::

        from dataclasses import dataclass

        import numpy as np

        from geom import InputError, ModelSource, Readout, hookimpl


        @dataclass(frozen=True)
        class CsvOptions:
            norm: str = "none"


        def load(location: str, options: CsvOptions) -> Readout:
            try:
                W = np.loadtxt(location, delimiter=",", ndmin=2)
            except (OSError, ValueError) as error:
                raise InputError(f"{location}: {error}; give a CSV file of numbers") from error
            return Readout.fold(W, norm=None if options.norm == "none" else options.norm)


        @hookimpl
        def geom_sources():
            yield ModelSource("csv", "a matrix in a CSV file, one token a row", load, CsvOptions)
    """
    raise AssertionError("specifications are never called")


@hookspec
def geom_detectors() -> Iterable[Detector[Any]]:
    """Detectors: which tokens are worth a certifier's time.

    ``detect(readout, domain, options)`` yields candidates, in any order, none twice. A detector
    that has found a point where a token wins may yield ``WitnessedToken(token, x)`` for the token:
    geom checks the point and adds the token to the run as speakable.

    Returns
    -------
    iterable of Detector
        One record per detector.

    Examples
    --------
    ::

        from collections.abc import Iterator
        from dataclasses import dataclass
        from typing import Annotated

        import numpy as np
        from msgspec import Meta

        from geom import Candidate, Detector, Domain, Readout, hookimpl


        @dataclass(frozen=True)
        class NormOptions:
            share: Annotated[float, Meta(gt=0, le=1, description="share of tokens to flag")] = 0.01


        def detect(readout: Readout, domain: Domain, options: NormOptions) -> Iterator[Candidate]:
            centred = readout.W - readout.W.mean(axis=0)
            count = max(1, int(options.share * readout.V))
            for token in np.argsort(np.linalg.norm(centred, axis=1))[:count]:
                yield Candidate(int(token))


        @hookimpl
        def geom_detectors():
            yield Detector("small-norm", "the tokens nearest the centroid", detect, NormOptions)
    """
    raise AssertionError("specifications are never called")


@hookspec
def geom_certifiers() -> Iterable[Certifier[Any]]:
    """Certifiers: a point of the domain where the token wins, or weights that show it cannot.

    ``certify(problem, token, prior, options)`` returns a finding. A finding decides nothing: geom
    checks each one in exact arithmetic, so a wrong finding costs time but never the truth.

    A verdict needs only a margin's sign. A certifier that can go on to the largest margin says so
    with ``tighten``, which turns its options into those that do: the hardest tokens of a run are
    put in proven order with it (``geom run --hardest``).

    Returns
    -------
    iterable of Certifier
        One record per certifier.

    Examples
    --------
    ::

        from geom import Certifier, Finding, NoOptions, Problem, hookimpl


        def certify(problem: Problem, token: int, prior: Finding, options: NoOptions) -> Finding:
            rows = problem.readout.rows
            own = rows[token] - rows.mean
            return Finding(x=problem.domain.fit(own), note="its centred row")


        @hookimpl
        def geom_certifiers():
            yield Certifier("centred-row", "tries the token's centred row", certify, NoOptions)
    """
    raise AssertionError("specifications are never called")


@hookspec
def geom_precisions() -> Iterable[Precision[Any]]:
    """Precisions: the margin of a token at a point, as one arithmetic computes it.

    ``margin(readout, token, x, options)`` gets ``x`` (d,) in float64 and rounds it as a machine of
    that arithmetic would.

    Returns
    -------
    iterable of Precision
        One record per precision.

    Examples
    --------
    ::

        import numpy as np

        from geom import NoOptions, Precision, PrecisionMargin, Readout, hookimpl


        def margin(readout: Readout, token: int, x: np.ndarray, options: NoOptions):
            W, b = readout.W.astype(np.float32), readout.b.astype(np.float32)
            logits = W @ x.astype(np.float32) + b
            rivals = np.delete(logits, token)
            return PrecisionMargin(float(logits[token] - rivals.max()), int(logits.argmax()))


        @hookimpl
        def geom_precisions():
            yield Precision("single", "IEEE binary32 throughout", margin, NoOptions,
                            roundoff=lambda options: 2.0**-24)
    """
    raise AssertionError("specifications are never called")


@hookspec
def geom_measures() -> Iterable[Measure[Any]]:
    """Measures: a number for a token, with its error.

    ``measure(problem, token, prior, options)`` returns the value and a standard error or proven
    radius; ``prior`` is the `Finding` of the run, or an empty one without a run. A measure whose
    numbers are called proven needs ``bounds``: with it `geom verify` proves them again from each
    measurement's point and weights. A measure whose tokens can share work also has
    ``measure_many(problem, tokens, priors, options)``, which yields one measurement per token, and
    ``batch``, the most tokens to give to it.

    Returns
    -------
    iterable of Measure
        One record per measure.

    Examples
    --------
    ::

        import numpy as np

        from geom import Finding, Measure, Measurement, NoOptions, Problem, hookimpl


        def measure(problem: Problem, token: int, prior: Finding, options: NoOptions):
            return Measurement(float(np.abs(problem.readout.rows[token]).max()))


        @hookimpl
        def geom_measures():
            yield Measure("largest-weight", "largest entry of the row", measure, NoOptions,
                          unit="logits")
    """
    raise AssertionError("specifications are never called")


@hookspec
def geom_reporters() -> Iterable[Reporter[Any]]:
    r"""Reporters: a run as a file.

    ``write(run, file, options)`` reads the run (``run.rows()``, ``run.certificate(token)``,
    ``run.settings``) and writes bytes to the open file.

    Returns
    -------
    iterable of Reporter
        One record per reporter.

    Examples
    --------
    ::

        from typing import BinaryIO

        from geom import NoOptions, Reporter, Run, hookimpl


        def write(run: Run, file: BinaryIO, options: NoOptions) -> None:
            for row in run.rows(verdict="unspeakable"):
                file.write(b"%d\n" % row.token_id)


        @hookimpl
        def geom_reporters():
            yield Reporter("unspeakable-ids", "ids of the unspeakable tokens, one a line", write,
                           NoOptions, suffix=".txt")
    """
    raise AssertionError("specifications are never called")


@hookspec
def geom_executors() -> Iterable[Executor[Any]]:
    """Executors: where the certifiers run.

    ``map(function, items, options)`` yields the results in any order. The function and the items
    can be sent to other processes. A result is an iterable that does its work while it is iterated:
    iterate over it where the work should be done, and yield each value, in a list, as soon as it is
    made, so that it is stored whatever happens to the rest.

    Returns
    -------
    iterable of Executor
        One record per executor.

    Examples
    --------
    ::

        from collections.abc import Callable, Iterator, Sequence
        from concurrent.futures import Future, ThreadPoolExecutor
        from dataclasses import dataclass
        from queue import SimpleQueue
        from typing import Annotated, Any

        from msgspec import Meta

        from geom import Executor, hookimpl


        @dataclass(frozen=True)
        class ThreadOptions:
            workers: Annotated[int, Meta(ge=1, description="threads")] = 2


        def run(function: Callable[[Any], Any], items: Sequence[Any],
                options: ThreadOptions) -> Iterator[Any]:
            made: SimpleQueue[Any] = SimpleQueue()

            def work(item: Any) -> None:
                for value in function(item):
                    made.put([value])

            with ThreadPoolExecutor(options.workers) as pool:
                for item in items:
                    pool.submit(work, item).add_done_callback(made.put)
                left = len(items)
                while left:
                    value = made.get()
                    if isinstance(value, Future):
                        value.result()  # raises what the function raised
                        left -= 1
                    else:
                        yield value


        @hookimpl
        def geom_executors():
            yield Executor("threads", "a pool of threads in this process", run, ThreadOptions,
                           workers=lambda options: options.workers)
    """
    raise AssertionError("specifications are never called")
