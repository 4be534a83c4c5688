"""``geom doctor``: a description of the installation, for bug reports."""

from __future__ import annotations

import json

from geom.cli.arguments import ListFormat, PrintList


def doctor(format: PrintList = ListFormat.table) -> int:
    """Print versions, extras, threads, devices and plugins.

    The exit code is 1 if something is wrong.
    """
    from geom.cli.display.output import print_line
    from geom.cli.display.plugin_tables import print_diagnosis
    from geom.diagnosis import diagnose

    findings = diagnose()
    if format is ListFormat.json:
        print_line(json.dumps([vars(found) for found in findings], indent=2))
    else:
        print_diagnosis(findings)
    return 0 if all(found.sound for found in findings) else 1
