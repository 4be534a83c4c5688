"""What made a run, for a reader: a title, the command that makes it again, settings in words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

from geom import Run, harmless

_LONGEST = 200
"""The most characters of a list of tokens that the command shows."""

_PATH = re.compile(r"[/~.\\]|[A-Za-z]:[/\\]|[^:]*[/\\].*[/\\]")
"""The beginning of a local path; the name of a model on the Hub has one slash at most."""

_SETS = {
    "ball": "vectors of length up to sqrt({size})",
    "box": "vectors with entries between -{radius:g} and {radius:g}",
    "all": "all vectors",
}
"""The sets of the domains that need nothing but a name, by shape."""

_SAID = frozenset(
    ("digest", "V", "d", "domain", "tokens", "detectors", "certifiers", "opening", "hardest")
)
"""The settings that have words of their own, and the digest, which has its own place."""

_CACHED = re.compile(r"models--(.+)")
"""A folder in the cache of the Hub."""


def title(model: str) -> str:
    """Return the name of a model without the folders in which it lies.

    Parameters
    ----------
    model : str
        The name by which `geom.load` finds the model: ``SOURCE:LOCATION?key=value&...``.

    Returns
    -------
    str
        The last part of a local path, or the name that a folder of the Hub's cache stands for, and
        the options; a model that is not at a local path as it is.
    """
    source, location, options = _parts(model)
    short = _short(location)
    return (source if short == location else "") + short + options


def portable(model: str) -> str:
    """Return the name by which somebody else loads a model, from the folder with its files.

    Parameters
    ----------
    model : str
        The name by which `geom.load` finds the model: ``SOURCE:LOCATION?key=value&...``.

    Returns
    -------
    str
        The name without the folders of local paths.
    """
    source, location, options = _parts(model)
    return source + _short(location) + options


def _parts(model: str) -> tuple[str, str, str]:
    """Split a name: the source with its colon, the location, and the options without folders."""
    place, mark, options = model.partition("?")
    source, colon, location = place.partition(":")
    if not (colon and re.fullmatch(r"[\w-]{2,}", source)):
        source, colon, location = "", "", place
    parts = (option.partition("=") for option in options.split("&"))
    shown = "&".join(f"{name}{sign}{_short(value)}" for name, sign, value in parts)
    return source + colon, location, mark + shown


def without_folders(run: Run, text: str) -> str:
    """Return a remark about a run without the folders in which its model lies.

    Parameters
    ----------
    run : Run
        The run.
    text : str
        The remark.

    Returns
    -------
    str
        The remark, in which the files of the model have their names alone.
    """
    _, location, _ = _parts(run.model)
    short = _short(location)
    if short == location:
        return text
    folder = re.match(r".*[/\\]", location.rstrip("/\\"))
    text = text.replace(location, short)
    return text if folder is None else text.replace(folder[0], "")


def elsewhere(run: Run) -> list[str]:
    """Return the words that name the weights in a command on a run, for a page to be shared.

    Parameters
    ----------
    run : Run
        The run.

    Returns
    -------
    list of str
        ``--model`` and a `portable` name, or nothing if the weights lie beside the run.
    """
    _, location, _ = _parts(run.model)
    away = "/" in location or "\\" in location
    return ["--model", portable(run.model)] if away else []


def _short(location: str) -> str:
    """Return a name for a local path, and any other text as it is."""
    if "://" in location or not _PATH.match(location):
        return location
    parts = [part for part in re.split(r"[/\\]", location) if part not in ("", ".", "..", "~")]
    for part in parts:
        if found := _CACHED.fullmatch(part):
            return found[1].replace("--", "/")
    return parts[-1] if parts else location


def command(run: Run) -> str:
    """Return the command that makes the run, from the settings that it keeps."""
    settings = run.settings
    words = ["geom", "run", "--model", portable(run.model)]
    for kind in ("detector", "certifier"):
        chosen = _mapping(settings.get(f"{kind}s"))
        for name, options in chosen.items():
            words += [f"--{kind}", name]
            for option, value in _mapping(options).items():
                words += ["-o", f"{kind}.{name}.{option}={_words(value)}"]
        if kind == "certifier" and not chosen:
            words += ["--certifier", "none"]
    domain = settings["domain"]
    name = domain["name"]
    words += ["--domain", name]
    if name in ("hull", "ellipsoid"):  # the run keeps the points, not the name of their file
        words += ["-o", f"domain.{name}.points=FILE"]
    if domain["shape"] == "box" or name == "ellipsoid":
        words += ["-o", f"domain.{name}.radius={run.domain.radius!r}"]
    tokens = str(settings.get("tokens"))
    if tokens != "candidates":
        words += ["--tokens", tokens if len(tokens) <= _LONGEST else "@FILE"]
    if not settings.get("opening", True):
        words += ["--opening", "no"]
    return shlex.join([*words, "--hardest", str(settings.get("hardest", 0))])


def settings(run: Run) -> Iterator[tuple[str, str]]:
    """Yield what was asked of a run, by name, in words.

    Parameters
    ----------
    run : Run
        The run.

    Yields
    ------
    name, words : str
        A setting. Those that this version does not know follow with their values.
    """
    found, many = run.settings, run.noun.plural
    yield "shape of W", f"{found['V']:,} {many}, d = {found['d']:,}"
    yield "domain", _domain(run)
    tokens = str(found.get("tokens"))
    asked = {"candidates": f"the {many} that the detectors flagged", "all": f"all {many}"}
    yield f"{many} asked for", asked.get(tokens, tokens.replace(",", ", "))
    for kind, between in (("detectors", ", "), ("certifiers", ", then ")):
        chosen = _mapping(found.get(kind))
        yield kind, between.join(_with_options(*item) for item in chosen.items()) or "none"
    opening = found.get("opening", True)
    yield "opening", f"easy {many} in bulk, before the certifiers" if opening else "none"
    hardest = found.get("hardest", 0)
    proven = f"proven for the {hardest} hardest {many} that can be {run.noun.chosen}"
    yield "order", proven if hardest else "not looked for"
    for name, value in found.items():
        if name not in _SAID:
            yield name, _words(value)


def _domain(run: Run) -> str:
    """Say what the domain is."""
    domain = run.domain
    if domain.name not in ("layernorm", "rmsnorm", "box", "unbounded"):
        return str(domain)
    size = "" if domain.size is None else str(domain.size)
    radius = domain.radius if domain.bounded else 0.0
    words = _SETS[domain.shape].format(size=size, radius=radius)
    return f"{domain.name}: {words}{' whose entries add up to 0' if domain.zero_sum else ''}"


def _with_options(name: str, options: Any) -> str:
    chosen = _mapping(options)
    return f"{name} ({_words(chosen)})" if chosen else name


def _words(value: Any) -> str:
    """Write a value of the settings without the marks of JSON."""
    if isinstance(value, dict):
        return ", ".join(f"{name} = {_words(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    if value is None or isinstance(value, bool):
        return {True: "yes", False: "no", None: "none"}[value]
    return _short(value) if isinstance(value, str) else str(value)


def rest(run: Run) -> tuple[str, str]:
    """Return the name of the tokens that the run was not to examine, and what it means."""
    if run.settings.get("tokens") == "candidates":
        detectors = ", ".join(_mapping(run.settings.get("detectors")))
        return "not flagged", f"passed over by {harmless(detectors)}"
    return "not examined", f"not in the list of {run.noun.plural}"


def versions(run: Run) -> dict[str, str]:
    """Return the versions of the programs that made a run, geom and Python first."""
    found = run.versions
    first = [name for name in ("geom-unembed", "python") if name in found]
    return {name: found[name] for name in (*first, *found)}


def _mapping(value: Any) -> dict[str, Any]:
    """Return a value of the settings if it is a mapping, as geom writes it, else an empty one."""
    return value if isinstance(value, dict) else {}
