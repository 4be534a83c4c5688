"""Check a run's measurements against the points and weights that it keeps for them."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from geom.certificates import Finding
from geom.errors import InputError, Raised, attempt
from geom.files.addresses import parse_address
from geom.model.problem import Problem
from geom.plugins.options import validate
from geom.plugins.records import Measure
from geom.plugins.registry import installed
from geom.runs.verification.faults import Found, shown
from geom.store import MeasureRow, Run
from geom.text import harmless

Bounds = Callable[[Problem, int, Finding, Any, float], tuple[float, float]]
"""The ``bounds`` of a measure, which prove its number again."""


def check_measures(
    problem: Problem, run: Run, texts: bool, found: Found, allow_fetch: bool
) -> None:
    """Prove again the numbers that are called proven; record those without a proof as unchecked.

    So are those whose proof needs a file that is not here or, unless ``allow_fetch``, is outside
    the run's own folder.
    """
    folder = None if allow_fetch or run.path is None else run.path.resolve().parent
    listed = [item.record for item in installed().listed() if item.kind == "measure"]
    known = {record.name: record for record in listed if isinstance(record, Measure)}
    for token, items in run.measured().items():
        for name, item in items.items():
            if not 0 <= token < problem.readout.V:
                every = problem.readout.noun.every
                found.fault(token, f"{shown(name)} is measured outside {every}")
            elif name not in known:
                found.leave(f"the measure {shown(name)}, which is not installed")
            else:
                for reason in _faults(problem, item, known[name], texts, found, folder):
                    found.fault(token, f"{name}: {reason}")


def _faults(
    problem: Problem,
    item: MeasureRow,
    record: Measure[Any],
    texts: bool,
    found: Found,
    folder: Path | None,
) -> list[str]:
    """Return what does not hold in one measurement."""
    readout, token = problem.readout, item.token_id
    out = []
    if texts and (item.token, item.token_kind) != (readout.text(token), readout.kind(token)):
        out.append(
            f"the {readout.noun}'s text is {shown(item.token, item.token_kind)}, and the model's "
            f"tokenizer has {shown(readout.text(token), readout.kind(token))}"
        )
    if item.unit != record.unit:
        out.append(f"its unit is {shown(item.unit)}, and the measure's is {record.unit}")
    kept = item.x is not None or item.weights is not None
    if not item.proven and not (record.bounds is not None and kept):
        found.leave(f"the measure {record.name}, where it is an estimate")
        return out
    if record.bounds is None:
        found.leave(f"the measure {record.name}, which keeps no proof")
        return out
    unopened = attempt(partial(_unopened, item, record, folder))
    if isinstance(unopened, str):
        found.leave(f"the measure {record.name}, {unopened}")
        return out
    if isinstance(unopened, Raised):
        return [*out, f"its options {unopened.first_line}"]
    proven = attempt(partial(_bounds, problem, item, record, record.bounds))
    if isinstance(proven, Raised):
        refused = isinstance(proven.error, InputError)
        return [*out, str(proven.error) if refused else f"its proof {proven.first_line}"]
    return out + _against(item, *proven)


def _unopened(item: MeasureRow, record: Measure[Any], folder: Path | None) -> str | None:
    """Say why a file that the proof needs is not opened; None if all can be.

    The author of the run chose its name: without permission it has to be in ``folder``.
    """
    if record.places is None:
        return None
    for place in record.places(validate("measure", record, item.options)):
        address = parse_address(place)
        if folder is not None and not address.is_within(folder):
            return (
                f"whose file {harmless(place)} is outside the run's own folder (give --allow-fetch "
                "if you trust the run)"
            )
        if address.path is None or not address.path.exists():
            return f"whose file {harmless(place)} is not here"
    return None


def _bounds(
    problem: Problem, item: MeasureRow, record: Measure[Any], bounds: Bounds
) -> tuple[float, float]:
    """Return the ends that a measurement's evidence proves. Raises what the measure raises."""
    options = validate("measure", record, item.options)
    low, high = bounds(problem, item.token_id, Finding(item.x, item.weights), options, 1.0)
    return low, high


def _against(item: MeasureRow, low: float, high: float) -> list[str]:
    """Return the claims of the row that the two proven ends do not support."""
    proven = f"its evidence proves {low!r} to {high!r}"
    if item.value is None or not item.proven:
        known = math.isfinite(low) or math.isfinite(high) or low == high
        what = "has no number" if item.value is None else "is called an estimate"
        return [f"it {what}, and {proven}"] if known else []
    if item.error is None or not encloses(item.value, item.error, low, high):
        error = "no radius" if item.error is None else f"± {item.error!r}"
        return [f"it is {item.value!r}, {error}, and {proven}"]
    return []


def encloses(value: float, error: float, low: float, high: float) -> bool:
    """Return whether all of ``low`` to ``high`` lies within ``error`` of the value, exactly.

    With an infinite error the value is one proven end; an infinite value is both ends.
    """
    if not low <= high or not error >= 0.0:
        return False
    if math.isinf(value):
        return error == 0.0 and low == high == value
    if math.isinf(error):
        return high <= value or low >= value
    if math.isinf(low) or math.isinf(high):
        return False
    middle, radius = Fraction(value), Fraction(error)
    return middle - radius <= Fraction(low) and Fraction(high) <= middle + radius
