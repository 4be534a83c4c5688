"""``geom compare``: what each arithmetic says of a margin, beside what it is exactly."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geom.cli.run import Format
from geom.cli.subject import AllowFetch

if TYPE_CHECKING:
    from geom.numbers.arrays import Floats


def compare(
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="A file that geom run wrote.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="SOURCE:LOCATION",
            help="The model; beside a RUN, its weights.  [default: demo]",
        ),
    ] = None,
    precisions: Annotated[
        list[str] | None,
        typer.Option(
            "--precision",
            "-p",
            metavar="NAME",
            help="An arithmetic, as in arb?bits=300; may be given again.  [default: all installed]",
        ),
    ] = None,
    tokens: Annotated[
        str | None,
        typer.Option(
            "--tokens",
            "-t",
            metavar="SPEC",
            help="5,9,100-120, @FILE, all, candidates, borderline or borderline=N, the N nearest.  "
            "[default: the 20 of the run nearest the border]",
        ),
    ] = None,
    multiple: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="borderline: a margin within X epsilons of float32, relative to |w||x|.  "
            "[default: 8]",
        ),
    ] = None,
    at: Annotated[
        Path | None,
        typer.Option(metavar="FILE.npy", help="Points to look at: (d,), or (n, d) for n tokens."),
    ] = None,
    solver: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A certifier: look at the directions it returns."),
    ] = None,
    domain: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Of a model: auto, layernorm, rmsnorm, box or unbounded."
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", metavar="KIND.NAME.OPTION=VALUE", help="A plugin's option."),
    ] = None,
    allow_fetch: AllowFetch = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.png|.svg", help="Draw a plot there as well.")
    ] = None,
    format: Annotated[Format, typer.Option(help="What to print.")] = Format.table,
) -> None:
    """Compare margins in several arithmetics with the exact one, token by token."""
    from geom.cli.display.lines import print_lines
    from geom.cli.display.messages import say
    from geom.cli.display.progress import bars
    from geom.cli.subject import subject
    from geom.comparison import compare as compared
    from geom.comparison.plot import check_plot
    from geom.plugins.options import parse_assignments
    from geom.plugins.registry import installed

    for skipped in installed().skipped:
        say(str(skipped))
    if out is not None:
        check_plot(out)
    points = None if at is None else _points(at)
    options = parse_assignments(option or [])
    with bars() as watcher, subject(run, model, options, watcher, allow_fetch) as opened:
        result = compared(
            opened,
            tokens,
            precisions or None,
            points,
            solver,
            options,
            domain=domain,
            multiple=multiple,
            progress=watcher,
        )
    if out is not None and result.points:
        result.plot(out)
    for note in result.notes:
        say(note)
    if format is Format.table:
        from geom.cli.display.tables import print_comparison

        print_comparison(result)
        return
    for claim in result.claims:
        say(str(claim))
    print_lines(result)


def _points(path: Path) -> Floats:
    """The array of a .npy file. Raises InputError where it is none."""
    import numpy as np

    from geom.errors import InputError
    from geom.files.opening import open_regular

    try:
        with open_regular(path, "give a .npy file") as file:
            array = np.load(file, allow_pickle=False)
            if not isinstance(array, np.ndarray):
                raise InputError(f"{path} holds several arrays; give a .npy file, which holds one")
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is no .npy file of numbers; write it with numpy.save") from error
    return array
