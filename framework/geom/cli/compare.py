"""``geom compare``: what each arithmetic says of a margin, beside what it is exactly."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geom.cli.run import Format

if TYPE_CHECKING:
    from geom.comparison.table import Comparison
    from geom.rounding import Floats


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
            help="An arithmetic; may be given again.  [default: all installed]",
        ),
    ] = None,
    tokens: Annotated[
        str | None,
        typer.Option(
            "--tokens",
            "-t",
            metavar="SPEC",
            help="5,9,100-120, @FILE, all, borderline or borderline=N, the N nearest.  "
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
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.png|.svg", help="Draw a plot there as well.")
    ] = None,
    format: Annotated[Format, typer.Option(help="What to print.")] = Format.table,
) -> None:
    """Compare margins in several arithmetics with the exact one, token by token."""
    from geom.cli.messages import say
    from geom.cli.progress import bars
    from geom.comparison import compare as compared
    from geom.figures import check_plot
    from geom.loading import DEFAULT_MODEL, load, open_run
    from geom.options import by_plugin, parse_assignments
    from geom.plugins import installed
    from geom.progress import watched

    for skipped in installed().skipped:
        say(str(skipped))
    if out is not None:
        check_plot(out)
    points = None if at is None else _points(at)
    options = parse_assignments(option or [])
    with ExitStack() as stack:
        watcher = stack.enter_context(bars())
        subject: Any
        if run is None:
            subject = model or DEFAULT_MODEL
        else:
            with watched(watcher):
                weights = load(model, by_plugin(options)) if model else None
            subject = stack.enter_context(open_run(run, weights))
        result = compared(
            subject,
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
    _print(result, format)


def _points(path: Path) -> Floats:
    """The array of a .npy file. Raises InputError where it is none."""
    import numpy as np

    from geom.errors import InputError

    try:
        array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror or 'no array in it'}; give a .npy file"
        ) from error
    except (ValueError, EOFError) as error:
        raise InputError(f"{path} is no .npy file of numbers; write it with numpy.save") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} holds several arrays; give a .npy file, which holds one")
    return array


def _print(result: Comparison, format: Format) -> None:
    if format is Format.table:
        from geom.cli.tables import print_comparison

        print_comparison(result)
        return
    import json
    import sys

    from geom.cli.messages import say

    for claim in result.claims:
        say(str(claim))
    for row in result:
        line = json.dumps(row.as_dict(), ensure_ascii=False, allow_nan=False)
        sys.stdout.buffer.write(line.encode("utf-8", "backslashreplace") + b"\n")
    sys.stdout.buffer.flush()
