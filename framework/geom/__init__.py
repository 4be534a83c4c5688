"""geom: which tokens a language model can and cannot say, with proof.

What stands in ``__all__`` is the public API; plugins import from here and nowhere else. Names are
imported when they are first asked for, so that ``import geom`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geom.certificates import Certificate, Finding, Verdict, Weights, Witness
    from geom.domains import Domain
    from geom.errors import GeomError, InputError, PluginError, StoreError
    from geom.exact import judge
    from geom.hookspecs import hookimpl
    from geom.loading import load
    from geom.pipeline import run
    from geom.problem import Problem
    from geom.progress import track
    from geom.readout import Readout, Rows
    from geom.records import (
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
    )
    from geom.self_argmax import own_winners
    from geom.store import Row, Run, open_run
    from geom.text import TokenKind, visible
    from geom.verification import Verification, verify

_HOME = {
    "geom.certificates": ("Certificate", "Finding", "Verdict", "Weights", "Witness"),
    "geom.domains": ("Domain",),
    "geom.errors": ("GeomError", "InputError", "PluginError", "StoreError"),
    "geom.exact": ("judge",),
    "geom.hookspecs": ("hookimpl",),
    "geom.loading": ("load",),
    "geom.pipeline": ("run",),
    "geom.problem": ("Problem",),
    "geom.progress": ("track",),
    "geom.readout": ("Readout", "Rows"),
    "geom.records": (
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
    ),
    "geom.self_argmax": ("own_winners",),
    "geom.store": ("Row", "Run", "open_run"),
    "geom.text": ("TokenKind", "visible"),
    "geom.verification": ("Verification", "verify"),
}

__all__ = [
    "Candidate",
    "Certificate",
    "Certifier",
    "Detector",
    "Domain",
    "Executor",
    "Finding",
    "GeomError",
    "InputError",
    "Measure",
    "Measurement",
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
    "StoreError",
    "TokenKind",
    "Verdict",
    "Verification",
    "Weights",
    "Witness",
    "hookimpl",
    "judge",
    "load",
    "open_run",
    "own_winners",
    "run",
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
