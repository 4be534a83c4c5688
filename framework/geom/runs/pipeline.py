"""One way through: a readout, detectors, certifiers, `exact`, the store."""

from __future__ import annotations

import platform
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geom import exact
from geom.certificates import Finding
from geom.errors import (
    GeomError,
    InputError,
    PluginError,
    StoreError,
    contained,
    drawn,
    plugin_work,
    raised,
)
from geom.exact import bulk
from geom.exact.bulk import prove_own_directions, prove_points
from geom.loading import load, open_run, split
from geom.machine import memory
from geom.machine.devices import Device, find_device, using
from geom.machine.threads import limited_threads
from geom.model import domains
from geom.model.domains import Domain
from geom.model.in_memory import Live
from geom.model.problem import Problem
from geom.model.readout import Readout
from geom.model.shared import shared
from geom.numbers.rounding import Floats
from geom.plugins import selection
from geom.plugins.options import Given, as_plain, by_plugin
from geom.plugins.records import Certifier, Detector, Executor, WitnessedToken
from geom.plugins.registry import Plugins, installed
from geom.plugins.selection import chosen, distinct, prepare, refuse_unused
from geom.progress import Watcher, track_progress, watched
from geom.runs.certification import (
    EASY,
    Link,
    as_kept,
    certify,
    easy,
    own_direction_outcome,
    portable,
    spares_easy,
)
from geom.self_argmax import own_winners, own_winners_memory
from geom.store import Outcome, Planned, Run, Writer, create_or_continue
from geom.token_spec import (
    ALL,
    CANDIDATES,
    check_tokens,
    few_tokens,
    format_tokens,
    parse_tokens,
)

Flags = NDArray[np.bool_]
Ids = NDArray[np.int64]

DEFAULT_DETECTORS = ("self-argmax",)
DEFAULT_CERTIFIERS = ("maxent", "highs")
DEFAULT_EXECUTOR = "serial"

_SMALLER = "free some memory, or give fewer workers or smaller options of memory"
_WORKER = 64 * 2**20
"""Bytes that a worker process takes for itself."""

ARRAYS = 128
"""Bytes for each token of the vocabulary, whatever the run examines: lengths of rows, flags,
winners and bounds of all, and logits with their errors of the one being judged."""

EXAMINED = 512
"""Bytes for each token that is examined: its id, its row on the way to the store, and in a table
of all of them."""

_UNKNOWN = -1
"""In place of the id of a winner: nobody has said who it is."""


@dataclass(frozen=True)
class Plan:
    """A run that has been checked and not begun: every name known, every option valid.

    ``memory`` is an estimate of the bytes that it takes at its peak, the weights among them.
    """

    problem: Problem
    detectors: tuple[tuple[Detector[Any], Any], ...]
    chain: tuple[Link, ...]
    executor: tuple[Executor[Any], Any]
    tokens: str
    device: Device
    versions: Mapping[str, str]
    memory: int
    warnings: tuple[str, ...] = ()

    @property
    def readout(self) -> Readout:
        """The weights."""
        return self.problem.readout

    @property
    def settings(self) -> dict[str, Any]:
        """What makes two runs the same: weights, domain, tokens, plugins and their options."""
        return {
            "digest": self.readout.digest,
            "V": self.readout.V,
            "d": self.readout.d,
            "domain": domains.as_settings(self.problem.domain),
            "tokens": self.tokens,
            "detectors": {detector.name: as_plain(values) for detector, values in self.detectors},
            "certifiers": {link.certifier.name: as_plain(link.options) for link in self.chain},
        }


def plan(
    readout: Readout,
    *,
    detectors: Sequence[str] | None = None,
    certifiers: Sequence[str] = DEFAULT_CERTIFIERS,
    domain: str | Domain = "auto",
    tokens: str | Iterable[int] = CANDIDATES,
    given: Given | None = None,
    executor: str = DEFAULT_EXECUTOR,
    device: str = "cpu",
    plugins: Plugins | None = None,
) -> Plan:
    """Check everything that a run is asked for, and write nothing. See `run` for the parameters.

    Raises InputError for unknown names, options that fit nothing, impossible lists of tokens.
    """
    plugins = plugins or installed()
    given = given or {}
    where = selection.domain(readout, domain, given)
    wanted = tokens if isinstance(tokens, str) else format_tokens(check_tokens(tokens, readout.V))
    if wanted not in (CANDIDATES, ALL):
        wanted = format_tokens(parse_tokens(wanted, readout.V))
    if detectors is None:
        detectors = DEFAULT_DETECTORS if wanted == CANDIDATES else ()
    if not detectors and wanted == CANDIDATES:
        raise InputError("no detector to find candidates: name one, or the tokens to examine")
    names = {
        "source": [split(readout.source)[0]],
        "detector": distinct("detector", detectors),
        "certifier": distinct("certifier", certifiers),
        "executor": [executor],
    }
    refuse_unused(plugins, given, names)
    records = {kind: chosen(plugins, kind, names[kind], given) for kind in list(names)[1:]}
    on, warnings = _device(device, [*records["detector"], *records["certifier"]])
    problem = Problem(readout, where)
    prepare(problem, records["certifier"])
    need = _memory(readout, wanted, records["detector"], records["certifier"], *records["executor"])
    memory.check_memory(need - readout.W.nbytes, "the run, besides the weights,", _SMALLER)
    return Plan(
        problem,
        tuple(records["detector"]),
        tuple(Link(record, values) for record, values in records["certifier"]),
        records["executor"][0],
        wanted,
        on,
        _versions(plugins, names),
        need,
        warnings,
    )


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

    ``readout`` is a Readout, the name of a model, or a model in memory as `geom.load` takes it.
    ``detectors`` (default ``self-argmax`` where ``tokens`` is ``candidates``) flag tokens;
    ``certifiers`` are the chain, in order; an empty one only detects. ``domain`` is a name or a
    Domain, ``tokens`` a spec or ids, ``options`` are ``{"KIND.NAME.OPTION": value}``. ``out`` is
    the run's file, None for one in memory. ``progress`` is called with stage, done, total and
    their unit.

    Raises InputError for what cannot be asked, StoreError for a file that cannot be used.
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
    writer = create_or_continue(out, asked.settings, readout.source, asked.versions, readout.notes)
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
        writer.run.weights = lambda run: readout
        return writer.run
    writer.close()
    return open_run(out, readout)


def candidates(problem: Problem, run: Run | None = None) -> list[int]:
    """The tokens that a run's detectors flagged, ascending; the default ones, without a run."""
    if run is not None:
        return [row.token_id for row in run.rows() if row.flagged_by]
    planned, _, _ = examine(plan(problem.readout, certifiers=(), domain=problem.domain))
    return [item.token_id for item in planned]


def _refuse_other_rows(asked: Plan, run: Run) -> None:
    """Raises StoreError for a run begun that has not the rows that are asked for, and no others.

    Which tokens are candidates only a detector that is `repeatable` is asked again.
    """
    if asked.tokens != CANDIDATES:
        wanted = parse_tokens(asked.tokens, asked.readout.V)
    elif all(detector.repeatable for detector, _ in asked.detectors):
        wanted = [item.token_id for item in examine(asked)[0]]
    else:
        return
    differing = set(wanted) ^ set(run.tokens())
    if differing:
        raise StoreError(
            f"{run.path} is an edited or damaged run: {missing_or_more(wanted, run.tokens())}; "
            "give another --out"
        )


def missing_or_more(wanted: Iterable[int], there: Iterable[int]) -> str:
    """Which rows a run lacks of those ``wanted``, and which it has besides, in words."""
    lacking, besides = set(wanted) - set(there), set(there) - set(wanted)
    said = []
    if lacking:
        said.append(f"it has no row of {few_tokens(lacking)}, asked for by its settings")
    if besides:
        said.append(f"it has a row of {few_tokens(besides)}, which its settings do not ask for")
    return "; ".join(said)


def examine(asked: Plan) -> tuple[Iterator[Planned], list[str], Iterable[Outcome]]:
    """The tokens to examine, with what the detectors say of them, and what went wrong.

    A vocabulary may be long: what is known of each token is in arrays of V, not in objects.
    """
    readout = asked.readout
    flagged: list[tuple[str, Flags]] = []
    winners = np.full(readout.V, _UNKNOWN)
    known: dict[int, Outcome] = {}
    warnings = list(asked.warnings)
    for detector, values in asked.detectors:
        try:
            with contained():
                flags, theirs, witnessed = _detected(detector, values, asked)
        except GeomError:
            raise
        except Exception as error:  # a stranger's detector may raise anything
            warnings.append(f"detector {detector.name} raised {raised(error)}")
            continue
        for outcome in _witnessed(asked, detector.name, witnessed):
            known.setdefault(outcome.token_id, outcome)
        flags[[item.token for item in witnessed if item.token not in known]] = True
        flagged.append((detector.name, flags))
        winners = np.where(winners == _UNKNOWN, theirs, winners)
    failed = len(warnings) - len(asked.warnings)
    if failed and failed == len(asked.detectors) and asked.tokens == CANDIDATES:
        raise PluginError(f"no detector worked: {'; '.join(warnings)}")
    if asked.tokens == CANDIDATES:
        chosen = np.zeros(readout.V, dtype=np.bool_)
        for _, flags in flagged:
            chosen |= flags
        chosen[list(known)] = True
        ids = np.flatnonzero(chosen)
    else:
        ids = np.array(parse_tokens(asked.tokens, readout.V))
        inside = set(ids.tolist()) if known else ()
        known = {token: outcome for token, outcome in known.items() if token in inside}
    missing = ids[winners[ids] == _UNKNOWN]
    if missing.size:
        winners[missing] = own_winners(readout, missing)
    return _planned(readout, ids, winners, flagged), warnings, known.values()


def _planned(
    readout: Readout, ids: Ids, winners: Ids, flagged: Sequence[tuple[str, Flags]]
) -> Iterator[Planned]:
    """The tokens as the store has them, one after another."""
    for token in map(int, ids):
        winner = int(winners[token])
        yield Planned(
            token,
            readout.text(token),
            winner == token,
            winner,
            readout.text(winner),
            tuple(name for name, flags in flagged if flags[token]),
            readout.kind(token),
            readout.kind(winner),
        )


def _detected(
    detector: Detector[Any], values: Any, asked: Plan
) -> tuple[Flags, Ids, list[WitnessedToken]]:
    """What a detector yields, checked: ids of the vocabulary, none twice.

    Which tokens (V,) are candidates, who wins (V,) along their directions where it says so, and
    the tokens that it found a witness for.
    """
    V = asked.readout.V
    flags, winners = np.zeros(V, dtype=np.bool_), np.full(V, _UNKNOWN)
    seen = np.zeros(V, dtype=np.bool_)
    witnessed: list[WitnessedToken] = []
    for found in detector.detect(asked.readout, asked.problem.domain, values):
        token = index(found.token)  # NumPy's integers are not SQLite's
        winner = None if isinstance(found, WitnessedToken) else found.argmax_id
        ids = (token, token if winner is None else index(winner))
        if not all(0 <= i < V for i in ids) or seen[token]:
            raise ValueError(f"{found} is outside the vocabulary or named twice")
        seen[token] = True
        if isinstance(found, WitnessedToken):
            witnessed.append(WitnessedToken(token, found.x))
            continue
        flags[token] = True
        if winner is not None:
            winners[token] = index(winner)
    return flags, winners, witnessed


def _witnessed(asked: Plan, detector: str, items: Sequence[WitnessedToken]) -> Iterator[Outcome]:
    """The outcomes of the tokens whose witness holds."""
    problem = asked.problem
    own = [item.token for item in items if item.x is None]
    for token, margin in _proven(prove_own_directions(problem, np.array(own, dtype=np.int64)), own):
        yield own_direction_outcome(token, margin, 0.0)
    found = {item.token: as_kept(Finding(x=item.x)) for item in items if item.x is not None}
    inside = [token for token, finding in found.items() if exact.is_point(problem, finding.x)]
    for start in range(0, len(inside), EASY):
        block = inside[start : start + EASY]
        points = np.array([found[token].x for token in block])
        lower = prove_points(problem, np.array(block), points)
        margins = dict(_proven(lower, block))
        for token in block:
            bound = margins.get(token)
            if bound is None:  # float32 leaves it open
                verdict = exact.judge(problem, token, found[token])
                bound = verdict.margin_lower if verdict.name == "speakable" else None
            if bound is not None:
                yield Outcome(
                    token, "speakable", "witness", detector, bound, None, 0.0, None, found[token]
                )


def _proven(lower: Floats, tokens: Sequence[int]) -> Iterator[tuple[int, float]]:
    """The tokens whose bound is above zero, with it."""
    for token, margin in zip(tokens, lower.tolist(), strict=True):
        if margin > 0.0:
            yield token, margin


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
    executor, values = asked.executor
    workers = _workers(executor, values)
    batch = max([1, *(link.certifier.batch for link in asked.chain)])
    fair = -(-len(tokens) // (4 * workers))
    size = batch if workers == 1 else max(1, min(batch, fair))
    batches = [tokens[start : start + size] for start in range(0, len(tokens), size)]
    with ExitStack() as stack:
        readout = asked.readout
        if executor.processes and tokens:
            readout = stack.enter_context(shared(readout))
        problem = Problem(readout, asked.problem.domain)
        work = partial(_work, problem, portable(asked.chain), asked.device.name)
        try:
            with contained():
                results = executor.map(work, batches, values)
            stack.callback(_close, executor, results)
            yield from track_progress(_expected(executor, results, tokens), "certify", len(tokens))
        except GeomError:
            raise
        except Exception as error:  # a stranger's executor may raise anything
            raise PluginError(
                f"executor {executor.name} raised {raised(error)}; what is stored is kept, and the "
                "same command goes on from it"
            ) from error


def _expected(
    executor: Executor[Any], results: Iterable[Iterable[Any]], tokens: Sequence[int]
) -> Iterator[Outcome]:
    """The first outcome of each token. Raises PluginError for no outcome, and if one is missing."""
    left = set(tokens)
    for part in drawn(results):
        for outcome in drawn(part):
            if not isinstance(outcome, Outcome):
                raise TypeError(f"it brought back {type(outcome).__name__}, no Outcome")
            if outcome.token_id in left:  # one that is done again is stored already
                left.remove(outcome.token_id)
                yield outcome
    if left:
        raise ValueError(f"it brought back nothing for {format_tokens(sorted(left)[:20])}")


def _close(executor: Executor[Any], results: object) -> None:
    """End an executor's work, if it can be ended."""
    with plugin_work(f"executor {executor.name}"):
        getattr(results, "close", lambda: None)()


def _workers(executor: Executor[Any], values: Any) -> int:
    """How many items the executor has in work at once, as it says."""
    with plugin_work(f"executor {executor.name}, asked for its workers,"):
        return max(1, index(executor.workers(values)))


def _work(
    problem: Problem, chain: Sequence[Link], device: str, tokens: Sequence[int]
) -> Iterator[Outcome]:
    """The chain on some tokens, with the device set: what an executor may do elsewhere."""
    with using(find_device(device)[0]):
        yield from certify(problem, chain, tokens)


def _device(name: str, chosen: Sequence[tuple[Any, Any]]) -> tuple[Device, tuple[str, ...]]:
    """The device to use, and what should be said of it. Refuses one that nothing would use."""
    found, warning = find_device(name)
    kind = name.partition(":")[0]
    if chosen and not any(kind in record.devices for record, _ in chosen):
        names = ", ".join(record.name for record, _ in chosen)
        raise InputError(f"device {name!r}: nothing here runs on it ({names}); leave it out")
    return found, (warning,) if warning else ()


def _memory(
    readout: Readout,
    tokens: str,
    detectors: Sequence[tuple[Detector[Any], Any]],
    certifiers: Sequence[tuple[Certifier[Any], Any]],
    executor: tuple[Executor[Any], Any],
) -> int:
    """An estimate of the run's peak: the weights, what each token takes, and the largest stage.

    Every token may turn out a candidate; in a narrow matrix nearly all of them are.
    """
    record, values = executor
    weights = readout.W.nbytes + readout.b.nbytes
    listed = tokens in (CANDIDATES, ALL)
    examined = readout.V if listed else len(parse_tokens(tokens, readout.V))
    each = ARRAYS * readout.V + EXAMINED * examined

    def most(chosen: Sequence[tuple[Any, Any]]) -> int:
        return max([0, *(_need(readout, plugin, options) for plugin, options in chosen)])

    chain = most(certifiers)
    if record.processes:
        chain = weights + _workers(record, values) * (_WORKER + chain)
    return (
        weights
        + each
        + max(bulk.memory(readout), own_winners_memory(readout), most(detectors), chain)
    )


def _need(readout: Readout, plugin: Detector[Any] | Certifier[Any], options: Any) -> int:
    """Bytes that a plugin says it takes, 0 if it says nothing."""
    if plugin.memory is None:
        return 0
    kind = "detector" if isinstance(plugin, Detector) else "certifier"
    with plugin_work(f"{kind} {plugin.name}, asked for its memory,"):
        return int(plugin.memory(readout, options))


def _versions(plugins: Plugins, names: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Versions of Python, of the packages that compute, and of the plugins in use."""
    packages = ("geom-unembed", "numpy", "scipy", "highspy", "mpmath", "python-flint")
    used = {
        item.origin.distribution: item.origin.version
        for item in plugins.listed()
        if item.record.name in names.get(item.kind, ())
    }
    return {"python": platform.python_version(), **{p: version(p) for p in packages}, **used}
