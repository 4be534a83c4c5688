"""What a run is asked for, checked before anything is written."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from operator import index
from typing import Any

from geom.errors import InputError, plugin_work
from geom.exact import bulk
from geom.loading import split
from geom.machine import memory
from geom.machine.devices import Device, find_device
from geom.model import domains
from geom.model.domains import Domain
from geom.model.problem import Problem
from geom.model.readout import Readout
from geom.plugins import selection
from geom.plugins.options import Given, as_plain
from geom.plugins.records import Certifier, Detector, Executor
from geom.plugins.registry import Plugins, installed
from geom.plugins.selection import chosen, distinct, prepare, refuse_unused
from geom.runs.certification import Link
from geom.self_argmax import own_winners_memory
from geom.token_spec import ALL, CANDIDATES, check_tokens, format_tokens, parse_tokens

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
) -> Plan:
    """Check everything that a run is asked for, and write nothing. See `run` for the parameters.

    Raises InputError for unknown names, options that fit nothing, impossible lists of tokens.
    """
    plugins = installed()
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
        problem=problem,
        detectors=tuple(records["detector"]),
        chain=tuple(Link(record, values) for record, values in records["certifier"]),
        executor=records["executor"][0],
        tokens=wanted,
        device=on,
        versions=_versions(plugins, names),
        memory=need,
        warnings=warnings,
    )


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
        chain = weights + workers(record, values) * (_WORKER + chain)
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


def workers(executor: Executor[Any], values: Any) -> int:
    """How many items the executor has in work at once, as it says."""
    with plugin_work(f"executor {executor.name}, asked for its workers,"):
        return max(1, index(executor.workers(values)))


def _versions(plugins: Plugins, names: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Versions of Python, of the packages that compute, and of the plugins in use."""
    packages = ("geom-unembed", "numpy", "scipy", "highspy", "mpmath", "python-flint")
    used = {
        item.origin.distribution: item.origin.version
        for item in plugins.listed()
        if item.record.name in names.get(item.kind, ())
    }
    return {"python": platform.python_version(), **{p: version(p) for p in packages}, **used}
