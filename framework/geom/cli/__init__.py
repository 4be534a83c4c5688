"""The command line: one module per command, and no logic that the Python API lacks."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import typer
from typer.exceptions import TyperException

from geom.cli import (
    activations,
    check,
    compare,
    diff,
    doctor,
    export,
    measure,
    new_plugin,
    plugins,
    repair,
    report,
    run,
    show,
    verify,
)
from geom.cli.display.commands import explained, typed
from geom.cli.display.messages import say, say_interrupted
from geom.cli.display.output import reserved
from geom.cli.display.tracebacks import Tracebacks
from geom.cli.examples import epilog
from geom.errors import Escape, GeomError, contained, raised, watched_errors
from geom.plugins.at_work import looked_on


@contextmanager
def _interruptible() -> Iterator[None]:
    """Say that Ctrl-C ended a command, unless the command has said more about it."""
    with looked_on():
        try:
            yield
        except KeyboardInterrupt:
            say_interrupted()
            raise typer.Exit(130) from None


@contextmanager
def _cut_short() -> Iterator[None]:
    """End a command quietly, as a shell says it, if the reader of its output has gone."""
    try:
        yield
    except BrokenPipeError:
        raise typer.Exit(128 + 13) from None


def _summary(command: Callable[..., object]) -> str:
    """Return the first sentence of a command's help, which typer would cut at its width."""
    return " ".join((command.__doc__ or "").split()).partition(". ")[0].rstrip(".") + "."


app = typer.Typer(
    name="geom",
    help="Prove which tokens a language model can and cannot say.",
    epilog="\b\nExamples:\n  geom run --out audit.db\n  geom show audit.db\n  geom run --help",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in (
    run.run,
    show.show,
    diff.diff,
    export.export,
    verify.verify,
    check.check,
    compare.compare,
    measure.measure,
    repair.repair,
    activations.activations,
    report.report,
    plugins.plugins,
    new_plugin.new_plugin,
    doctor.doctor,
):
    _name = _command.__name__.replace("_", "-")
    app.command(_name, short_help=_summary(_command), epilog=epilog(_name))(
        _cut_short()(reserved()(_interruptible()(contained()(_command))))
    )


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"geom {version('geom-unembed')}")
        raise typer.Exit()


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
    debug: bool = typer.Option(
        False, "--debug", help="Print the traceback of every error, also of those of plugins."
    ),
) -> None:
    """Prove which tokens a language model can and cannot say."""
    context.ensure_object(Tracebacks).wanted = debug
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code; every expected error is one line."""
    tracebacks = Tracebacks()
    typed(sys.argv[1:] if arguments is None else arguments)
    try:
        with watched_errors(tracebacks):
            code = app(args=arguments, prog_name="geom", standalone_mode=False, obj=tracebacks)
    except GeomError as error:
        tracebacks.ended(error)
        code = _refuse(explained(error))
    except Escape as error:  # raised by a plugin at a point that does not expect one
        tracebacks.ended(error)
        code = _refuse(f"a plugin raised {raised(error)}; plugins cannot end a command of geom")
    except TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "geom"
        code = _refuse(f"{error.format_message().rstrip('.')}; see {command} --help")
    except (OSError, MemoryError) as error:
        tracebacks.ended(error)
        code = _refuse(str(error) or "out of memory")
        _drop_unwritable_output()
    sys.exit(code if isinstance(code, int) else 0)


def _refuse(message: str) -> int:
    say(message)
    return 2


def _drop_unwritable_output() -> None:
    """Discard output that cannot be written; else Python tries again at exit and exits with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
