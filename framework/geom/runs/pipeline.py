"""The one path of a run: a readout, detectors, certifiers, `exact`, the store."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

from geom.errors import GeomError, Raised, StoreError, demand, error_watcher, several
from geom.loading import load, open_run
from geom.machine.devices import find_device, using
from geom.machine.threads import limited_threads
from geom.model.domains import Domain
from geom.model.in_memory import Live, own_choice
from geom.model.problem import Problem
from geom.model.readout import Readout
from geom.model.shared import shared
from geom.plugins.chosen import Chosen
from geom.plugins.options import by_plugin
from geom.plugins.records import Executor
from geom.progress import Watcher, track_progress, watched
from geom.runs.certification import Link, certify, portable, sees_all
from geom.runs.detection import examine, missing_or_more
from geom.runs.hardest import order_hardest
from geom.runs.opening import opening as open_in_bulk
from geom.runs.planning import DEFAULT_CERTIFIERS, DEFAULT_EXECUTOR, Plan, no_order, plan, workers
from geom.runs.predictions import Choice, note_lost_leads
from geom.runs.worker_errors import SentTraceback, with_tracebacks
from geom.store import Outcome, Run, Writer, create_or_continue
from geom.token_spec import CANDIDATES, format_tokens


def run(
    readout: Readout | Live | str,
    *,
    detectors: Sequence[str] | None = None,
    certifiers: Sequence[str] = DEFAULT_CERTIFIERS,
    domain: str | Domain = "auto",
    tokens: str | Iterable[int | str] = CANDIDATES,
    options: Mapping[str, Any] | None = None,
    executor: str = DEFAULT_EXECUTOR,
    device: str = "cpu",
    opening: bool = True,
    hardest: int | None = None,
    out: str | Path | None = None,
    progress: Watcher | None = None,
) -> Run:
    """Decide tokens and store the verdicts; continue from where an earlier run to ``out`` stopped.

    Parameters
    ----------
    readout : Readout, str or object
        The weights, the name of a model, or a model in memory, as for `geom.load`.
    detectors : sequence of str, optional
        Detectors that flag tokens; ``self-argmax`` if None and ``tokens`` is ``candidates``.
    certifiers : sequence of str, optional
        The chain of certifiers, in order; with an empty chain the run only detects.
    domain : str or Domain, optional
        The set where x lives: a name, or your own domain.
    tokens : str or iterable of int or str, optional
        Ids or texts, or a spec: ``5,9,100-120``, a text, ``@FILE``, ``all`` or ``candidates``.
    options : mapping of str to object, optional
        ``{"KIND.NAME.OPTION": value}``.
    executor : str, optional
        The executor, which runs the certifiers.
    device : str, optional
        ``cpu``, ``torch``, ``cuda`` or ``cuda:N``.
    opening : bool, optional
        Whether the run opens with what can be decided in bulk, whatever the chain.
    hardest : int, optional
        The number of speakable tokens with the least largest margins whose order is proven, 10 if
        None; 0 leaves the bounds as the chain finds them.
    out : str or Path, optional
        The run's file, or None for a run in memory.
    progress : callable, optional
        A function called with the stage, the amount done, the total and their unit.

    Returns
    -------
    Run
        The run, open for reading.

    Raises
    ------
    InputError
        If a name, an option or the list of tokens is unknown or does not fit.
    PluginError
        If a source breaks, or every detector fails.
    StoreError
        If the file cannot be used.
    """
    given = by_plugin(options or {})
    choice: Choice | None = None
    if not isinstance(readout, Readout):
        model = readout
        with watched(progress):
            readout = load(model, given)
        choice = demand("the model", lambda: own_choice(model))
    asked = plan(
        readout,
        detectors=detectors,
        certifiers=certifiers,
        domain=domain,
        tokens=tokens,
        given=given,
        executor=executor,
        device=device,
        opening=opening,
        hardest=hardest,
    )
    return execute(asked, out, progress, choice=choice)


def execute(
    asked: Plan,
    out: str | Path | None = None,
    progress: Watcher | None = None,
    ready: Callable[[], None] = lambda: None,
    choice: Choice | None = None,
) -> Run:
    """Carry out a plan: the part of `run` that follows the checks.

    ``ready`` is called once the file is open, just before the work begins. ``choice`` gives the
    answers of a model in memory.
    """
    readout = asked.readout
    writer = create_or_continue(
        out,
        asked.settings,
        str(readout.source),
        asked.versions,
        readout.notes,
        readout.noun,
        asked.problem.domain.frame,
    )
    try:
        ready()
        with watched(progress, readout.noun), using(asked.device), limited_threads():
            if not writer.run.planned:
                writer.plan(*examine(asked))
            else:
                _refuse_other_rows(asked, writer.run)
            _certify(asked, writer)
            _order(asked, writer)
            note_lost_leads(asked.problem, writer, choice)
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
    """Raise StoreError unless the begun run has exactly the rows that are asked for.

    For candidates the detectors are asked again, and only if all of them are `repeatable`.
    """
    if asked.ids is not None:
        wanted: Collection[int] = asked.ids
    elif all(detector.record.repeatable for detector in asked.detectors):
        wanted = [item.token_id for item in examine(asked)[0]]
    else:
        return
    differing = set(wanted) ^ set(run.tokens())
    if differing:
        what = missing_or_more(wanted, run.tokens(), run.noun)
        raise StoreError(f"{run.path} is an edited or damaged run: {what}; give another --out")


def _certify(asked: Plan, writer: Writer) -> None:
    """Send the remaining tokens through bulk proofs and the chain; store each as it is done."""
    known: dict[int, Outcome] = {}
    if asked.opening and asked.chain:
        more = any(sees_all(link) for link in asked.chain)
        for outcomes in open_in_bulk(asked.problem, *writer.run.pending_winners()):
            if more:
                known |= {outcome.token_id: outcome for outcome in outcomes}
            else:
                writer.record(outcomes)
    left = [known.get(token, token) for token in writer.run.pending()]
    with closing(_outcomes(asked, left)) as rest:
        for outcome in rest:
            writer.record([outcome])


def _order(asked: Plan, writer: Writer) -> None:
    """Prove which tokens are the hardest, and their order; store each bound as it is found."""
    if not asked.hardest or no_order(asked.problem, asked.chain) is not None:
        return
    if not writer.run.ordered:
        for outcomes in order_hardest(asked, writer.run):
            writer.record(outcomes)
        writer.end_order()


def _outcomes(asked: Plan, tokens: list[int | Outcome]) -> Generator[Outcome]:
    """Yield the outcomes of the tokens in the order the executor returns them.

    A token may come with its outcome so far.
    """
    executor = asked.executor
    with ExitStack() as stack:
        readout = asked.readout
        if executor.record.processes and tokens:
            readout = stack.enter_context(shared(readout))
        problem = Problem(readout, asked.problem.domain)
        told = executor.record.processes and error_watcher() is not None
        work = partial(_work, problem, portable(asked.chain), asked.device.name, told)
        batches = _batches(asked, tokens)
        results = executor.attempt(
            lambda record, options: record.map(work, batches, options), "map"
        )
        if isinstance(results, Raised):
            raise _broken(executor, results)
        stack.callback(_close, executor, results)
        ids = [token.token_id if isinstance(token, Outcome) else token for token in tokens]
        yield from track_progress(_expected(executor, results, ids), "certify", len(ids))


def _batches(asked: Plan, tokens: list[int | Outcome]) -> list[list[int | Outcome]]:
    """Cut the tokens into pieces: enough for every worker, none larger than a certifier takes."""
    crew = workers(asked.executor)
    batch = max([1, *(link.record.batch for link in asked.chain)])
    fair = -(-len(tokens) // (4 * crew))
    size = batch if crew == 1 else max(1, min(batch, fair))
    return [tokens[start : start + size] for start in range(0, len(tokens), size)]


def _expected(
    executor: Chosen[Executor[Any]], results: Iterable[Iterable[Any]], tokens: Sequence[int]
) -> Iterator[Outcome]:
    """Yield the first outcome of each token.

    Raises PluginError if a value is not an Outcome, or the outcome of a token is missing.
    """
    left = set(tokens)
    for outcome in _brought(executor, results):
        if isinstance(outcome, Raised):
            raise _broken(executor, outcome)
        if isinstance(outcome, SentTraceback):
            if (watcher := error_watcher()) is not None:
                watcher.told(str(outcome.text))
            continue
        if not isinstance(outcome, Outcome):
            wrong = TypeError(f"it brought back {type(outcome).__name__}, not an Outcome")
            raise _broken(executor, Raised(wrong, executor.record.map))
        if outcome.token_id in left:  # a token that is done again is already stored
            left.remove(outcome.token_id)
            yield outcome
    if left:
        lost = ValueError(f"it brought back nothing for {format_tokens(sorted(left)[:20])}")
        raise _broken(executor, Raised(lost, executor.record.map))


def _brought(executor: Chosen[Executor[Any]], results: Iterable[Iterable[Any]]) -> Iterator[object]:
    """Yield the values of the results one by one and, if one raises, end with what it raised."""
    for part in executor.draw(lambda *_: several(results, "result"), "map"):
        if isinstance(part, Raised):
            yield part
        else:
            yield from executor.draw(partial(_unchanged, part), "map")


def _unchanged(part: Iterable[Any], record: object, options: object) -> Iterable[Any]:
    return part


def _broken(executor: Chosen[Executor[Any]], what: Raised) -> GeomError:
    """Return the error that ends a run; one of geom's own errors is passed on unchanged."""
    remedy = "; what is stored is kept: run the same command again to continue"
    return what.as_error(str(executor), remedy)


def _close(executor: Chosen[Executor[Any]], results: object) -> None:
    """End an executor's work if its results can be closed."""
    executor.call(lambda record, options: getattr(results, "close", lambda: None)(), "map")


def _work(
    problem: Problem,
    chain: Sequence[Link],
    device: str,
    told: bool,
    tokens: Sequence[int | Outcome],
) -> Iterator[Outcome | SentTraceback]:
    """Run the chain on some tokens with the device set; an executor calls this anywhere.

    With ``told``, tracebacks of what the chain raises come among the outcomes.
    """
    with using(find_device(device)[0]):
        found = certify(problem, chain, tokens)
        yield from with_tracebacks(found) if told else found
