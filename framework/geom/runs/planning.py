"""Plan a run: check everything it is asked for before anything is written."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from operator import index
from typing import Any

from geom.errors import InputError
from geom.exact import products, symmetric
from geom.machine import memory
from geom.machine.devices import Device, find_device, using
from geom.model import domains
from geom.model.domains import Domain
from geom.model.problem import Problem
from geom.model.readout import Readout
from geom.opening import corners, rounds, shared_step
from geom.plugins.chosen import Chosen
from geom.plugins.domain_options import domain as chosen_domain
from geom.plugins.options import Given, as_plain
from geom.plugins.records import Certifier, Detector, Executor
from geom.plugins.registry import installed
from geom.plugins.selection import choose, distinct, prepare, refuse_unused
from geom.runs.certification import Link
from geom.self_argmax import own_winners_memory
from geom.token_spec import ALL, CANDIDATES, asked_ids, format_tokens

DEFAULT_DETECTORS = ("self-argmax",)
DEFAULT_CERTIFIERS = ("maxent", "highs")
DEFAULT_EXECUTOR = "serial"

HARDEST = 10
"""The number of hardest tokens whose order is proven unless told otherwise."""

_SMALLER = "free some memory, or give fewer workers or smaller memory options"
_WORKER = 64 * 2**20
"""The bytes that a worker process takes for itself."""

ARRAYS = 128
"""The bytes for each token of the vocabulary, whatever the run examines: the lengths of all rows,
the flags, winners and bounds of all tokens, and the logits and errors of the token being judged."""

EXAMINED = 512
"""The bytes for each token that is examined: its id, its row on the way to the store, and its row
in a table of all of them."""


@dataclass(frozen=True)
class Plan:
    """A run that has been checked but not begun: every name is known, every option valid.

    ``tokens`` is ``candidates``, ``all`` or the ids, ascending. ``memory`` is an estimate of the
    bytes that the run takes at its peak, the weights included. ``hardest`` is the number of tokens
    whose order is to be proven.
    """

    problem: Problem
    detectors: tuple[Chosen[Detector[Any]], ...]
    chain: tuple[Link, ...]
    executor: Chosen[Executor[Any]]
    tokens: str | tuple[int, ...]
    hardest: int
    device: Device
    opening: bool
    versions: Mapping[str, str]
    memory: int
    warnings: tuple[str, ...] = ()

    @property
    def readout(self) -> Readout:
        """The weights."""
        return self.problem.readout

    @property
    def ids(self) -> Sequence[int] | None:
        """The ids to examine, ascending, or None if the detectors choose them."""
        return _ids(self.tokens, self.readout.V)

    @property
    def settings(self) -> dict[str, Any]:
        """What makes two runs the same: weights, domain, tokens, plugins and their options."""
        return {
            "digest": self.readout.digest,
            "V": self.readout.V,
            "d": self.readout.d,
            "domain": domains.as_settings(self.problem.domain),
            "tokens": self.tokens if isinstance(self.tokens, str) else format_tokens(self.tokens),
            "detectors": {item.record.name: as_plain(item.options) for item in self.detectors},
            "certifiers": {item.record.name: as_plain(item.options) for item in self.chain},
            "opening": self.opening,
            "hardest": self.hardest,
        }


def plan(
    readout: Readout,
    *,
    detectors: Sequence[str] | None = None,
    certifiers: Sequence[str] = DEFAULT_CERTIFIERS,
    domain: str | Domain = "auto",
    tokens: str | Iterable[int | str] = CANDIDATES,
    given: Given | None = None,
    executor: str = DEFAULT_EXECUTOR,
    device: str = "cpu",
    opening: bool = True,
    hardest: int | None = None,
) -> Plan:
    """Check everything that a run is asked for, and write nothing. See `run` for the parameters.

    Raises InputError for an unknown name, an option that no plugin takes or a bad list of tokens.
    """
    given = given or {}
    where = chosen_domain(readout, domain, given)
    wanted = _tokens(tokens, readout)
    if detectors is None:
        detectors = DEFAULT_DETECTORS if wanted == CANDIDATES else ()
    if not detectors and wanted == CANDIDATES:
        raise InputError(
            f"no detector to find candidates: name one, or the {readout.noun.plural} to examine"
        )
    names = {
        "source": [readout.source.name],
        "detector": distinct("detector", detectors),
        "certifier": distinct("certifier", certifiers),
        "executor": [executor],
    }
    refuse_unused(given, names)
    found = choose("detector", detectors, given)
    chain = choose("certifier", certifiers, given)
    (crew,) = choose("executor", [executor], given)
    on, warnings = _device(device, [*found, *chain])
    problem = Problem(readout, where)
    prepare(problem, chain)
    places, doubts = _hardest(problem, chain, hardest)
    with using(on):  # what is kept in memory may depend on where it is computed
        need = _memory(problem, _ids(wanted, readout.V), found, chain, crew)
    memory.check_memory(need - readout.rows.nbytes, "the run, not counting the weights,", _SMALLER)
    return Plan(
        problem=problem,
        detectors=tuple(found),
        chain=tuple(chain),
        executor=crew,
        tokens=wanted,
        hardest=places,
        device=on,
        opening=opening,
        versions=_versions(names),
        memory=need,
        warnings=(*warnings, *doubts),
    )


def workers(executor: Chosen[Executor[Any]]) -> int:
    """Return how many items the executor says it works on at once."""
    return executor.call(
        lambda record, options: max(1, index(record.workers(options))),
        "workers",
        "asked for its workers",
    )


def _tokens(asked: str | Iterable[int | str], readout: Readout) -> str | tuple[int, ...]:
    """Return the tokens asked for: ``candidates``, ``all`` or the ids, ascending."""
    if isinstance(asked, str) and asked in (CANDIDATES, ALL):
        return asked
    return tuple(asked_ids(asked, readout))


def _ids(tokens: str | tuple[int, ...], V: int) -> Sequence[int] | None:
    """Return the ids to examine, or None if the detectors choose them."""
    if isinstance(tokens, str):
        return range(V) if tokens == ALL else None
    return tokens


def no_order(problem: Problem, chain: Sequence[Link]) -> str | None:
    """Say why the hardest tokens cannot be put in order, or None if they can.

    Without a bias, or on a ball or an ellipsoid, geom finds the largest margins itself.
    """
    if not problem.domain.bounded and not problem.homogeneous:
        return "on an unbounded domain with biases, most largest margins are infinite"
    if problem.domain.shape in ("box", "simplex") and all(
        link.record.tighten is None for link in chain
    ):
        names = ", ".join(link.record.name for link in chain) or "none"
        return f"no certifier of the chain ({names}) goes on to largest margins; add maxent"
    return None


def _hardest(
    problem: Problem, chain: Sequence[Link], asked: int | None
) -> tuple[int, tuple[str, ...]]:
    """Return how many of the hardest tokens to put in order, and a warning if that cannot be done.

    Raises InputError for a number below 0.
    """
    if asked is None:
        return HARDEST, ()
    if asked < 0:
        raise InputError(f"hardest {asked}: give a whole number, 0 or more")
    reason = no_order(problem, chain) if asked else None
    many = problem.readout.noun.plural
    return asked, () if reason is None else (f"the hardest {many} are not in order: {reason}",)


def _device(
    name: str, chosen: Sequence[Chosen[Detector[Any]] | Chosen[Certifier[Any]]]
) -> tuple[Device, tuple[str, ...]]:
    """Return the device to use and any warning about it. Refuse a device that nothing would use."""
    found, warning = find_device(name)
    kind = name.partition(":")[0]
    if chosen and not any(kind in item.record.devices for item in chosen):
        names = ", ".join(item.record.name for item in chosen)
        raise InputError(f"device {name!r}: nothing here runs on it ({names}); leave it out")
    return found, (warning,) if warning else ()


def _memory(
    problem: Problem,
    ids: Sequence[int] | None,
    detectors: Sequence[Chosen[Detector[Any]]],
    certifiers: Sequence[Link],
    executor: Chosen[Executor[Any]],
) -> int:
    """Estimate the run's peak: the weights, what each token takes, the domain, the largest stage.

    Any token may turn out to be a candidate; in a narrow matrix nearly all of them are.
    """
    readout = problem.readout
    weights = readout.rows.most_bytes + readout.b.nbytes
    each = ARRAYS * readout.V + EXAMINED * (readout.V if ids is None else len(ids))

    def most(chosen: Sequence[Chosen[Detector[Any]] | Chosen[Certifier[Any]]]) -> int:
        return max([0, *(_need(readout, plugin) for plugin in chosen)])

    chain, domain = most(certifiers), frame_memory(problem)
    if executor.record.processes:
        chain = weights + workers(executor) * (_WORKER + chain + domain)
    opening = shared_step.memory(readout) + rounds.memory(readout) if certifiers else 0
    bulk = products.memory(readout) + max(symmetric.memory(readout), opening)
    if problem.domain.shape == "simplex":
        bulk = max(bulk, corners.memory(problem))
    return weights + each + domain + max(bulk, own_winners_memory(readout), most(detectors), chain)


def frame_memory(problem: Problem) -> int:
    """Return the bytes that the vectors of a domain take, and those made of them; 0 without any.

    Exact vectors take two more copies (`geom.numbers.exact_products`), and an ellipsoid has the
    rows along its axes.
    """
    frame = problem.domain.frame
    if frame is None:
        return 0
    k, d = frame.axes.shape
    rows = 0 if problem.domain.shape == "simplex" else problem.readout.V * k
    return int(8 * (3 * (k + 1) * d + rows))


def _need(readout: Readout, plugin: Chosen[Detector[Any]] | Chosen[Certifier[Any]]) -> int:
    """Return the bytes that a plugin says it takes, or 0 if it does not say."""
    say = plugin.record.memory
    if say is None:
        return 0
    return plugin.call(
        lambda _, options: int(say(readout, options)), "memory", "asked for its memory"
    )


def _versions(names: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the versions of Python, of the packages that compute and of the plugins in use."""
    packages = ("geom-unembed", "numpy", "scipy", "highspy", "mpmath", "python-flint")
    used = {
        item.origin.distribution: item.origin.version
        for item in installed().listed()
        if item.record.name in names.get(item.kind, ())
    }
    return {"python": platform.python_version(), **{p: version(p) for p in packages}, **used}
