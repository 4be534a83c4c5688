"""The environment of geom, for bug reports: versions, extras, threads, memory, devices, plugins."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from threadpoolctl import threadpool_info  # type: ignore[import-untyped]  # has no types

from geom.distribution import DISTRIBUTION, install_command
from geom.machine.devices import find_device
from geom.machine.memory import available, describe
from geom.machine.threads import cores
from geom.plugins.registry import installed

_REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)[^;]*(?:;.*extra\s*==\s*[\"']([^\"']+))?")


@dataclass(frozen=True)
class Symptom:
    """One line of a diagnosis: a section, a name, the finding, and whether all is well."""

    section: str
    name: str
    found: str
    sound: bool = True


def diagnose() -> list[Symptom]:
    """Examine geom's own installation and the machine, by section; load nothing of a model."""
    return list(_findings())


def _findings() -> Iterator[Symptom]:
    yield Symptom("system", DISTRIBUTION, version(DISTRIBUTION))
    yield Symptom("system", "python", f"{platform.python_version()} at {sys.executable}")
    yield Symptom("system", "platform", platform.platform())
    yield Symptom("system", "cores", str(cores()))
    yield Symptom("system", "memory", f"{describe(available())} available")
    yield from _packages()
    yield from _threads()
    yield from _devices()
    plugins = installed()
    for item in plugins.listed():
        yield Symptom("plugins", f"{item.kind} {item.record.name}", str(item.origin))
    for skipped in plugins.skipped:
        yield Symptom("plugins", skipped.name, f"skipped: {skipped.reason}", sound=False)


def _packages() -> Iterator[Symptom]:
    """Check the packages that geom needs, and those that each of its extras needs."""
    extras: dict[str, list[str]] = {name: [] for name in _extras()}
    for requirement in requires(DISTRIBUTION) or []:
        match = _REQUIREMENT.match(requirement)
        assert match is not None
        name, extra = match.groups()
        if extra is None:
            found = _version(name)
            yield Symptom("packages", name, found or "missing", sound=found is not None)
        elif name != DISTRIBUTION:
            extras[extra].append(name)
    for extra, names in ((extra, names) for extra, names in extras.items() if names):
        absent = [name for name in names if _version(name) is None]
        if absent:
            remedy = install_command(extra)
            yield Symptom("extras", extra, f"without {', '.join(absent)}: {remedy}")
        else:
            yield Symptom("extras", extra, ", ".join(f"{n} {_version(n)}" for n in names))


def _extras() -> list[str]:
    return metadata(DISTRIBUTION).get_all("Provides-Extra") or []


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _threads() -> Iterator[Symptom]:
    """List the libraries that multiply matrices, with their numbers of threads."""
    import numpy  # noqa: F401 - loads numpy's own library

    for pool in threadpool_info():
        name = str(pool.get("internal_api") or pool.get("prefix"))
        kind = str(pool.get("version") or "")
        yield Symptom("threads", name, f"{kind} in {pool.get('num_threads')} threads".strip())


def _devices() -> Iterator[Symptom]:
    """List the devices that ``--device`` accepts here, and why it does not accept the others."""
    for name in ("cpu", "cuda"):
        _, why_not = find_device(name)
        yield Symptom("devices", name, why_not or "works")
