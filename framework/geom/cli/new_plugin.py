"""``geom new-plugin``: a plugin of one's own, as a package that installs and passes its tests."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer


def new_plugin(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="source, detector, certifier, precision, measure, reporter or executor.",
        ),
    ],
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What geom is to call it, as in my-detector.")
    ],
    dir: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="The folder to make its folder in.")
    ] = Path(),
) -> None:
    """Write a package with a plugin, its entry point, tests that pass and a README."""
    from geom.cli.display.messages import say
    from geom.cli.display.output import print_line
    from geom.scaffold import new_plugin as write

    place = write(kind, name, dir)
    print_line(place)
    where = shlex.quote(str(place))
    say(f"{kind} {name} is in {place}; to install it, test it and see it:")
    for line in (
        f"python -m pip install -e {shlex.quote(f'{place}[test]')}",
        f"pytest {where}",
        f"geom plugins {name}",
    ):
        say(f"  {line}")
