"""Check a run's settings against the weights, and against the form in which a run writes them."""

from __future__ import annotations

from typing import Any

from geom.errors import InputError
from geom.model import domains
from geom.model.problem import Problem
from geom.runs.verification.faults import Found, shown
from geom.store import Run
from geom.token_spec import ALL, CANDIDATES, format_tokens, parse_tokens

_KEYS = {"digest", "V", "d", "domain", "tokens", "detectors", "certifiers", "opening"}

_NEWER = {"hardest"}
"""Keys that the runs of older versions lack."""


def check_settings(problem: Problem, run: Run, found: Found) -> bool:
    """Compare the settings exactly; return whether the tokens that they ask for are known."""
    settings, readout = run.settings, problem.readout
    strange = (settings.keys() ^ _KEYS) - _NEWER
    if strange:
        names = ", ".join(shown(str(key)) for key in sorted(strange))
        found.fault(None, f"its settings are not those that a run writes: {names}")
    for key, size in (("V", readout.V), ("d", readout.d)):
        if type(settings.get(key)) is not int or settings[key] != size:
            found.fault(
                None, f"its {key} is {_short(settings.get(key))}, and the model's is {size}"
            )
    domain = settings.get("domain")
    if not _same(domain, domains.as_settings(problem.domain)):
        found.fault(None, f"its domain is not written as a run writes it: {_short(domain)}")
    elif problem.domain != readout.domain:
        found.leave(
            f"that {problem.domain} is the domain to ask about, where the model's own is "
            f"{readout.domain}"
        )
    if type(settings.get("opening")) is not bool:
        opening = _short(settings.get("opening"))
        found.fault(None, f"its opening is {opening}, neither true nor false")
    for key in ("detectors", "certifiers"):
        plugins = settings.get(key)
        if not isinstance(plugins, dict) or not all(
            isinstance(values, dict) for values in plugins.values()
        ):
            found.fault(None, f"its {key} are {_short(plugins)}, which is not a table of plugins")
            return False
    many = readout.noun.plural
    if not _is_spec(settings.get("tokens"), readout.V):
        tokens = _short(settings.get("tokens"))
        found.fault(None, f"its {many} are {tokens}, which is not a list that a run writes")
        return False
    if settings["tokens"] == CANDIDATES and not settings["detectors"]:
        found.fault(None, f"its {many} are candidates, and it has no detector to find any")
        return False
    return True


def _is_spec(spec: Any, V: int) -> bool:
    """Return whether it is a list of tokens in the one form that a run keeps; read no file."""
    if spec in (CANDIDATES, ALL):
        return True
    if not isinstance(spec, str) or spec.startswith("@"):
        return False
    try:
        return format_tokens(parse_tokens(spec, V)) == spec
    except InputError:
        return False


def _same(stored: Any, written: dict[str, Any]) -> bool:
    """Return whether two domains are written alike, with the same types: 1 is not true."""
    return bool(stored == written) and type(stored["zero_sum"]) is bool


def _short(value: Any) -> str:
    return shown(repr(value))
