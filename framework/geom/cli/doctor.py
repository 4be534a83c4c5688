"""``geom doctor``: what geom runs on, for bug reports."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from geom.cli.plugins import Format


def doctor(
    format: Annotated[Format, typer.Option(help="How to print.")] = Format.table,
) -> int:
    """Print versions, extras, threads, devices, plugins; exit code 1 where something is amiss."""
    from geom.cli.display.output import print_line
    from geom.cli.display.tables import print_diagnosis
    from geom.diagnosis import diagnose

    findings = diagnose()
    if format is Format.json:
        print_line(json.dumps([vars(found) for found in findings], indent=2))
    else:
        print_diagnosis(findings)
    return 0 if all(found.sound for found in findings) else 1
