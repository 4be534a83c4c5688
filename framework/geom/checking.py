"""Check that a readout is the one that the model itself ends in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from geom.errors import InputError, Raised, answered, one_line, several
from geom.loading import DEFAULT_MODEL, unedited
from geom.model.source import Source
from geom.plugins.chosen import Chosen
from geom.plugins.naming import explained
from geom.plugins.options import Given
from geom.plugins.records import ModelSource
from geom.plugins.registry import installed
from geom.plugins.results import Agreement
from geom.progress import Watcher, watched
from geom.reprs import short_repr
from geom.store.notebook import table_html
from geom.text import harmless


@dataclass(frozen=True, eq=False)
class CheckTable:
    """What a readout was compared with: iterate over it for its rows.

    Attributes
    ----------
    rows : tuple of Agreement
        One row per model that was run, or could not be.
    """

    rows: tuple[Agreement, ...]

    __repr__ = short_repr

    def __iter__(self) -> Iterator[Agreement]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def agrees(self) -> bool | None:
        """Whether all that could be compared agrees; None if nothing could be compared."""
        known = [row.agrees for row in self.rows if row.agrees is not None]
        return all(known) if known else None

    def _repr_html_(self) -> str:
        cells = (
            (row.compared, answer(row.agrees), figure(row.difference), row.note or "-")
            for row in self.rows
        )
        names = ("compared with", "agrees", "differs by", "note")
        return table_html(names, cells, len(self), "rows")


def check(
    model: str | Source = DEFAULT_MODEL,
    given: Given | None = None,
    *,
    progress: Watcher | None = None,
) -> CheckTable:
    """Check that a source reads a model's readout right, by running models.

    The source runs the model itself if it can, and a toy model of the same class with random
    numbers, and compares their logits with those of the readout that it reads from them.

    Parameters
    ----------
    model : str or Source, optional
        The name of a model, as `geom.load` takes it.
    given : mapping of (str, str) to mapping, optional
        Further options of the source, under ``("source", NAME)``.
    progress : callable, optional
        A function called with the stage, the amount done, the total and their unit.

    Returns
    -------
    CheckTable
        One row per model that was run or could not be.

    Raises
    ------
    InputError
        If the source is unknown, has no check, or refuses the location or an option.
    PluginError
        If the source breaks.
    """
    source, asked = unedited(model, given)
    check = source.record.check
    if check is None:
        raise InputError(
            f"{source} has no check, because it reads numbers without a model to run; sources that "
            f"have one: {', '.join(_checking())}"
        )
    rows = []
    with watched(progress), explained(model, asked):
        for row in source.draw(
            lambda record, options: several(check(asked.location, options), "Agreement"), "check"
        ):
            if isinstance(row, Raised):
                raise row.as_error(str(source))
            rows.append(_own(source, row))
    return CheckTable(tuple(rows))


def answer(agrees: bool | None) -> str:
    """Return the answer in a word."""
    return "not compared" if agrees is None else "yes" if agrees else "NO"


def figure(difference: float | None) -> str:
    """Return a difference in few digits."""
    return "-" if difference is None else f"{difference:.1e}"


def _checking() -> list[str]:
    """Return the names of the installed sources that have a check."""
    listed = installed().listed()
    return [item.record.name for item in listed if getattr(item.record, "check", None) is not None]


def _own(source: Chosen[ModelSource[Any]], row: object) -> Agreement:
    """Return our own copy of a row. Raises PluginError if it is not a valid one."""
    own: Agreement = source.call(lambda *_: _copied(answered(row, Agreement, "yielded")), "check")
    return own


def _copied(row: Agreement) -> Agreement:
    return Agreement(
        harmless(one_line(str(row.compared))),
        agrees=None if row.agrees is None else bool(row.agrees),
        note=None if row.note is None else harmless(one_line(str(row.note))),
        difference=None if row.difference is None else float(row.difference),
    )
