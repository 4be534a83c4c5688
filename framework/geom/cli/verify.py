"""``geom verify``: check a run again, without a solver."""

from __future__ import annotations

from typing import Annotated

import typer

from geom.cli.arguments import AllowFetch, RunFile, model_option


def verify(
    run: RunFile,
    model: Annotated[str | None, model_option("The weights.  [default: the run's]")] = None,
    allow_fetch: AllowFetch = False,
) -> None:
    """Check all that a run's readers rely on, in exact arithmetic.

    The first line says what is not checked. The exit code is 1 if a check fails, if the run has no
    verdict, or if the run is unfinished. No solver is called.
    """
    from geom.cli.display.messages import plain
    from geom.cli.display.output import print_line
    from geom.cli.display.progress import bars
    from geom.cli.subject import named_weights
    from geom.loading import open_run
    from geom.runs.verification import verify as check

    with open_run(run) as opened, bars() as watcher:
        readout = named_weights(model, watcher)
        checked = check(opened, readout, watcher, allow_fetch=allow_fetch)
    if checked.about:
        print_line(f"not checked: {plain('; '.join(checked.unchecked))}")
        print_line(f"checked: {plain(checked.about)}")
    for fault in checked.faults:
        print_line(f"BAD  {plain(str(fault))}")
    if checked.about:
        confirmed = dict(checked.confirmed)
        undecided = confirmed.pop("undecided", 0)
        held = ", ".join(f"{n} {verdict}" for verdict, n in sorted(confirmed.items())) or "nothing"
        open_ = f"; undecided: {undecided}" if undecided else ""
        print_line(f"holds: {held}{open_}; fails: {len(checked.faults)}")
    if not checked.ok:
        raise typer.Exit(1)
