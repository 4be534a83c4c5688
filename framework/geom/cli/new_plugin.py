"""``geom new-plugin``: write a plugin package that installs and passes its tests."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from geom.cli import completion


def new_plugin(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="source, detector, certifier, precision, measure, reporter or executor.",
            autocompletion=completion.one_of(completion.kinds),
        ),
    ],
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The plugin's name in geom, such as my-detector.")
    ],
    dir: Annotated[
        Path,
        typer.Option("--dir", metavar="DIR", help="The folder in which to create the package."),
    ] = Path(),
) -> None:
    """Write a plugin as a package.

    The package has an entry point, tests that pass and a README.
    """
    from geom.cli.display.messages import say
    from geom.cli.display.output import print_line
    from geom.scaffold import new_plugin as write

    place = write(kind, name, dir)
    print_line(place)
    where = shlex.quote(str(place))
    say(f"{kind} {name} is in {place}; to install it, test it and list it:")
    for line in (
        f"python -m pip install -e {shlex.quote(f'{place}[test]')}",
        f"pytest {where}",
        f"geom plugins {name}",
    ):
        say(f"  {line}")
