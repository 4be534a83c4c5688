"""geom: which tokens a language model can and cannot say, with proof.

What stands in ``__all__`` is the public API; plugins import from here and nowhere else. Names are
imported when they are first asked for, so that ``import geom`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geom.certificates import Certificate, Finding, Verdict, Weights, Witness
    from geom.comparison import compare
    from geom.comparison.table import Comparison
    from geom.errors import ArithmeticModeError, GeomError, InputError, PluginError, StoreError
    from geom.exact import judge
    from geom.exact.angles import angle_bounds
    from geom.exact.balls import ball_bounds
    from geom.exact.bulk import own_direction, prove_own_directions, prove_points
    from geom.exact.changes import freeing_bounds, silencing_bounds
    from geom.exact.margins import margin_bounds
    from geom.exact.weights import rational_weights
    from geom.exporting import export
    from geom.files.addresses import Address, address
    from geom.files.opening import open_regular, read_regular
    from geom.loading import load, open_run
    from geom.machine.devices import Device, device
    from geom.machine.memory import check_memory
    from geom.machine.threads import cores, limited_threads
    from geom.measuring import Measurements, measure
    from geom.model.domains import Domain
    from geom.model.problem import Problem
    from geom.model.readout import Readout, Rows
    from geom.model.shift import Shift
    from geom.numbers.enclosures import Enclosure
    from geom.numbers.printing import rounded_down, rounded_up
    from geom.plugins.arithmetics import Arithmetic, arithmetic
    from geom.plugins.hookspecs import hookimpl
    from geom.plugins.records import (
        Candidate,
        Certifier,
        Detector,
        Executor,
        Measure,
        Measurement,
        ModelSource,
        NoOptions,
        Precision,
        PrecisionMargin,
        Reporter,
        Witnessed,
    )
    from geom.progress import report, track
    from geom.runs.pipeline import run
    from geom.runs.verification import Verification, verify
    from geom.scaffold import new_plugin
    from geom.self_argmax import own_winners, own_winners_memory
    from geom.store import Measured, Row, Run
    from geom.summary import Summary, summarise
    from geom.text import TokenKind, harmless, json_line, visible
    from geom.token_spec import parse_tokens

_HOME = {
    "geom.files.addresses": ("Address", "address"),
    "geom.plugins.arithmetics": ("Arithmetic", "arithmetic"),
    "geom.certificates": ("Certificate", "Finding", "Verdict", "Weights", "Witness"),
    "geom.comparison": ("compare",),
    "geom.comparison.table": ("Comparison",),
    "geom.machine.devices": ("Device", "device"),
    "geom.model.domains": ("Domain",),
    "geom.numbers.enclosures": ("Enclosure",),
    "geom.errors": ("ArithmeticModeError", "GeomError", "InputError", "PluginError", "StoreError"),
    "geom.exact": ("judge",),
    "geom.exact.angles": ("angle_bounds",),
    "geom.exact.balls": ("ball_bounds",),
    "geom.exact.bulk": ("own_direction", "prove_own_directions", "prove_points"),
    "geom.exact.changes": ("freeing_bounds", "silencing_bounds"),
    "geom.exact.margins": ("margin_bounds",),
    "geom.exact.weights": ("rational_weights",),
    "geom.exporting": ("export",),
    "geom.files.opening": ("open_regular", "read_regular"),
    "geom.plugins.hookspecs": ("hookimpl",),
    "geom.loading": ("load", "open_run"),
    "geom.measuring": ("Measurements", "measure"),
    "geom.machine.memory": ("check_memory",),
    "geom.runs.pipeline": ("run",),
    "geom.numbers.printing": ("rounded_down", "rounded_up"),
    "geom.model.problem": ("Problem",),
    "geom.progress": ("report", "track"),
    "geom.model.readout": ("Readout", "Rows"),
    "geom.plugins.records": (
        "Candidate",
        "Certifier",
        "Detector",
        "Executor",
        "Measure",
        "Measurement",
        "ModelSource",
        "NoOptions",
        "Precision",
        "PrecisionMargin",
        "Reporter",
        "Witnessed",
    ),
    "geom.scaffold": ("new_plugin",),
    "geom.self_argmax": ("own_winners", "own_winners_memory"),
    "geom.model.shift": ("Shift",),
    "geom.store": ("Measured", "Row", "Run"),
    "geom.summary": ("Summary", "summarise"),
    "geom.text": ("TokenKind", "harmless", "json_line", "visible"),
    "geom.machine.threads": ("cores", "limited_threads"),
    "geom.token_spec": ("parse_tokens",),
    "geom.runs.verification": ("Verification", "verify"),
}

__all__ = [
    "Address",
    "Arithmetic",
    "ArithmeticModeError",
    "Candidate",
    "Certificate",
    "Certifier",
    "Comparison",
    "Detector",
    "Device",
    "Domain",
    "Enclosure",
    "Executor",
    "Finding",
    "GeomError",
    "InputError",
    "Measure",
    "Measured",
    "Measurement",
    "Measurements",
    "ModelSource",
    "NoOptions",
    "PluginError",
    "Precision",
    "PrecisionMargin",
    "Problem",
    "Readout",
    "Reporter",
    "Row",
    "Rows",
    "Run",
    "Shift",
    "StoreError",
    "Summary",
    "TokenKind",
    "Verdict",
    "Verification",
    "Weights",
    "Witness",
    "Witnessed",
    "address",
    "angle_bounds",
    "arithmetic",
    "ball_bounds",
    "check_memory",
    "compare",
    "cores",
    "device",
    "export",
    "freeing_bounds",
    "harmless",
    "hookimpl",
    "json_line",
    "judge",
    "limited_threads",
    "load",
    "margin_bounds",
    "measure",
    "new_plugin",
    "open_regular",
    "open_run",
    "own_direction",
    "own_winners",
    "own_winners_memory",
    "parse_tokens",
    "prove_own_directions",
    "prove_points",
    "rational_weights",
    "read_regular",
    "report",
    "rounded_down",
    "rounded_up",
    "run",
    "silencing_bounds",
    "summarise",
    "track",
    "verify",
    "visible",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            value = getattr(import_module(module), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'geom' has no attribute {name!r}")
