"""The work of ``geom run`` on several models: one after another, then a summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from geom.cli.arguments import RowFormat
from geom.cli.display.lines import print_lines
from geom.cli.display.messages import say
from geom.cli.display.run_tables import print_summary
from geom.cli.one_model import Request, decide, say_troubles
from geom.errors import GeomError, InputError
from geom.plugins.naming import named_source
from geom.store import TokenRow
from geom.summary import summarise


def run_several(models: Sequence[str], request: Request, folder: Path | None) -> bool:
    """Run the models and print the summary; return whether one of them fails the command.

    A model that fails is named, and the others still run; then InputError is raised.
    """
    if folder is not None:
        _make(folder)
    sources = set(filter(None, map(_source, models)))
    paths: list[Path] = []
    failed, broken = False, 0
    for place, model in enumerate(models, 1):
        say(f"{model} ({place} of {len(models)})")
        try:
            with decide(model, _own(request, model, sources), None, folder) as finished:
                say_troubles(finished, request.format)
                if request.format is RowFormat.jsonl:
                    print_lines(_RowOfModel(model, row) for row in finished.rows())
                failed = request.failed(finished) or failed
                if finished.path is not None:
                    paths.append(finished.path)
        except GeomError as error:
            say(str(error))
            broken += 1
    if request.format is RowFormat.table:
        print_summary(summarise(paths), request.limit)
    if broken:
        raise InputError(f"{broken} of {len(models)} models failed; see above")
    return failed


def _make(folder: Path) -> None:
    """Make the folder unless it exists. Raises InputError if a file has that name."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: for several models, give a folder as --out")
    folder.mkdir(parents=True, exist_ok=True)


def _own(request: Request, model: str, sources: set[str]) -> Request:
    """Return the request without the options of sources that only other models use."""
    others = {("source", name) for name in sources if name != _source(model)}
    given = {key: values for key, values in request.given.items() if key not in others}
    return replace(request, given=given)


def _source(model: str) -> str | None:
    """Return the name of the model's source, None if loading the model will refuse it."""
    try:
        return named_source(model).name
    except InputError:
        return None


@dataclass(frozen=True)
class _RowOfModel:
    """A row, with the model it belongs to."""

    model: str
    row: TokenRow

    def as_dict(self) -> dict[str, Any]:
        return {"model": self.model, **self.row.as_dict()}
