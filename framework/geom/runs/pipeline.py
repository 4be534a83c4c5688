"""One way through: a readout, detectors, certifiers, `exact`, the store."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

from geom.errors import GeomError, PluginError, Raised, StoreError, draw
from geom.loading import load, open_run
from geom.machine.devices import find_device, using
from geom.machine.threads import limited_threads
from geom.model.domains import Domain
from geom.model.in_memory import Live
from geom.model.problem import Problem
from geom.model.readout import Readout
from geom.model.shared import shared
from geom.plugins.chosen import Chosen
from geom.plugins.options import by_plugin
from geom.plugins.records import Executor
from geom.progress import Watcher, track_progress, watched
from geom.runs.certification import Link, certify, portable
from geom.runs.detection import examine, missing_or_more
from geom.runs.own_directions import EASY, easy, spares_easy
from geom.runs.planning import DEFAULT_CERTIFIERS, DEFAULT_EXECUTOR, Plan, plan, workers
from geom.store import Outcome, Run, Writer, create_or_continue
from geom.token_spec import CANDIDATES, format_tokens


def run(
    readout: Readout | Live | str,
    *,
    detectors: Sequence[str] | None = None,
    certifiers: Sequence[str] = DEFAULT_CERTIFIERS,
    domain: str | Domain = "auto",
    tokens: str | Iterable[int] = CANDIDATES,
    options: Mapping[str, Any] | None = None,
    executor: str = DEFAULT_EXECUTOR,
    device: str = "cpu",
    out: str | Path | None = None,
    progress: Watcher | None = None,
) -> Run:
    """Decide tokens and store the verdicts; continue where an earlier run to ``out`` stopped.

    Parameters
    ----------
    readout : Readout, str or object
        The weights, the name of a model, or a model in memory, as `geom.load` takes it.
    detectors : sequence of str, optional
        Detectors that flag tokens; ``self-argmax`` if None and ``tokens`` is ``candidates``.
    certifiers : sequence of str, optional
        The chain of certifiers, in order; an empty one only detects.
    domain : str or Domain, optional
        Where x lives: a name, or a domain of your own.
    tokens : str or iterable of int, optional
        Ids, or a spec: ``5,9,100-120``, ``@FILE``, ``all`` or ``candidates``.
    options : mapping of str to object, optional
        ``{"KIND.NAME.OPTION": value}``.
    executor : str, optional
        Where the certifiers run.
    device : str, optional
        ``cpu``, ``torch``, ``cuda`` or ``cuda:N``.
    out : str or Path, optional
        The run's file, None for a run in memory.
    progress : callable, optional
        Called with stage, done, total and their unit.

    Returns
    -------
    Run
        The run, open for reading.

    Raises
    ------
    InputError
        For what cannot be asked.
    PluginError
        If a source breaks, or no detector worked.
    StoreError
        For a file that cannot be used.
    """
    given = by_plugin(options or {})
    if not isinstance(readout, Readout):
        with watched(progress):
            readout = load(readout, given)
    asked = plan(
        readout,
        detectors=detectors,
        certifiers=certifiers,
        domain=domain,
        tokens=tokens,
        given=given,
        executor=executor,
        device=device,
    )
    return execute(asked, out, progress)


def execute(
    asked: Plan,
    out: str | Path | None = None,
    progress: Watcher | None = None,
    ready: Callable[[], None] = lambda: None,
) -> Run:
    """Carry out a plan: what `run` does once everything is checked.

    ``ready`` is called when the file is open, and work begins.
    """
    readout = asked.readout
    writer = create_or_continue(
        out, asked.settings, str(readout.source), asked.versions, readout.notes
    )
    try:
        ready()
        with watched(progress), using(asked.device), limited_threads():
            if not writer.run.planned:
                writer.plan(*examine(asked))
            else:
                _refuse_other_rows(asked, writer.run)
            _certify(asked, writer)
        writer.finish()
    except BaseException:
        writer.abandon()
        raise
    if out is None:
        writer.run.find_readout = lambda run: readout
        return writer.run
    writer.close()
    return open_run(out, readout)


def _refuse_other_rows(asked: Plan, run: Run) -> None:
    """Raises StoreError for a run begun that has not the rows that are asked for, and no others.

    Which tokens are candidates only a detector that is `repeatable` is asked again.
    """
    if asked.ids is not None:
        wanted: Collection[int] = asked.ids
    elif all(detector.record.repeatable for detector in asked.detectors):
        wanted = [item.token_id for item in examine(asked)[0]]
    else:
        return
    differing = set(wanted) ^ set(run.tokens())
    if differing:
        raise StoreError(
            f"{run.path} is an edited or damaged run: {missing_or_more(wanted, run.tokens())}; "
            "give another --out"
        )


def _certify(asked: Plan, writer: Writer) -> None:
    """Carry the tokens that are left through bulk proofs and the chain, storing as they come."""
    if spares_easy(asked.chain, sum(writer.run.counts().values())):
        left = writer.run.pending()
        blocks = easy(asked.problem, left)
        for outcomes in track_progress(blocks, "own direction", -(-len(left) // EASY), "blocks"):
            writer.record(outcomes)
    with closing(_outcomes(asked, writer.run.pending())) as rest:
        for outcome in rest:
            writer.record([outcome])


def _outcomes(asked: Plan, tokens: list[int]) -> Generator[Outcome]:
    """The verdicts of the tokens, as the executor brings them."""
    executor = asked.executor
    with ExitStack() as stack:
        readout = asked.readout
        if executor.record.processes and tokens:
            readout = stack.enter_context(shared(readout))
        problem = Problem(readout, asked.problem.domain)
        work = partial(_work, problem, portable(asked.chain), asked.device.name)
        batches = _batches(asked, tokens)
        results = executor.attempt(lambda record, options: record.map(work, batches, options))
        if isinstance(results, Raised):
            raise _broken(executor, results)
        stack.callback(_close, executor, results)
        yield from track_progress(_expected(executor, results, tokens), "certify", len(tokens))


def _batches(asked: Plan, tokens: list[int]) -> list[list[int]]:
    """The tokens in pieces that go round among the workers, none larger than a certifier takes."""
    crew = workers(asked.executor)
    batch = max([1, *(link.record.batch for link in asked.chain)])
    fair = -(-len(tokens) // (4 * crew))
    size = batch if crew == 1 else max(1, min(batch, fair))
    return [tokens[start : start + size] for start in range(0, len(tokens), size)]


def _expected(
    executor: Chosen[Executor[Any]], results: Iterable[Iterable[Any]], tokens: Sequence[int]
) -> Iterator[Outcome]:
    """The first outcome of each token. Raises PluginError for no outcome, and if one is missing."""
    left = set(tokens)
    for outcome in _brought(results):
        if isinstance(outcome, Raised):
            raise _broken(executor, outcome)
        if not isinstance(outcome, Outcome):
            wrong = TypeError(f"it brought back {type(outcome).__name__}, no Outcome")
            raise _broken(executor, Raised(wrong))
        if outcome.token_id in left:  # one that is done again is stored already
            left.remove(outcome.token_id)
            yield outcome
    if left:
        lost = ValueError(f"it brought back nothing for {format_tokens(sorted(left)[:20])}")
        raise _broken(executor, Raised(lost))


def _brought(results: Iterable[Iterable[Any]]) -> Iterator[object]:
    """The values of the results, one by one, and last what is raised in the place of one."""
    for part in draw(lambda: results):
        yield from [part] if isinstance(part, Raised) else draw(partial(iter, part))


def _broken(executor: Chosen[Executor[Any]], what: Raised) -> GeomError:
    """The error that ends a run; geom's own is passed on as it is."""
    if isinstance(what.error, GeomError):
        return what.error
    broken = PluginError(
        f"{executor} raised {what}; what is stored is kept, and the same command goes on from it"
    )
    broken.__cause__ = what.error
    return broken


def _close(executor: Chosen[Executor[Any]], results: object) -> None:
    """End an executor's work, if it can be ended."""
    executor.call(lambda record, options: getattr(results, "close", lambda: None)())


def _work(
    problem: Problem, chain: Sequence[Link], device: str, tokens: Sequence[int]
) -> Iterator[Outcome]:
    """The chain on some tokens, with the device set: what an executor may do elsewhere."""
    with using(find_device(device)[0]):
        yield from certify(problem, chain, tokens)
