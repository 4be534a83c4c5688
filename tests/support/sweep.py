"""Every class of transformers with a head over a vocabulary: built, read by ``hf:``, compared.

``python -m support.sweep``, in the folder ``tests``, writes the table that the documentation shows.
"""

from __future__ import annotations

import re
from dataclasses import astuple, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import geom
from geom import InputError, Readout, track_progress
from geom_plugins.agreement.model_logits import model_logits
from geom_plugins.agreement.toy_model import build, headed_classes, save
from geom_plugins.agreement.toy_sizes import TEXT_IDS
from geom_plugins.agreement.verdict import agreement
from support.checkpoint_settings import SETTINGS

TABLE = Path(__file__).parents[2] / "docs" / "transformers-classes.tsv"

_LINE = 160
"""The most characters of a reason in the table."""


@dataclass(frozen=True)
class Swept:
    """What became of a class: ``right``, ``wrong``, ``refused`` or ``not compared``, and how."""

    kind: str
    name: str
    result: str
    how: str

    def __str__(self) -> str:
        return "\t".join(astuple(self))


def classes() -> list[tuple[str, str]]:
    """Return every ``model_type`` with each of its classes."""
    return [(kind, name) for kind, names in headed_classes().items() for name in names]


def swept(kind: str, name: str) -> Swept:
    """Build a toy model of a class, read it as anyone would, and compare its logits."""
    try:
        model = build({"model_type": kind} | SETTINGS.get(kind, {}), name)
        logits = model_logits(model, TEXT_IDS)
    except InputError as error:
        return Swept(kind, name, "not compared", _short(str(error)))
    with TemporaryDirectory() as folder:
        where = save(model, Path(folder))
        try:
            readout = _read(where)
        except InputError as error:
            return Swept(kind, name, "refused", _short(str(error).replace(str(where), "it")))
        found = agreement(name, readout, logits)
    guessed = any("read by the usual names" in note for note in readout.notes)
    how = "usual names" if guessed else "table"
    if found.agrees is None:
        return Swept(kind, name, "not compared", _short(str(found.note)))
    if not found.agrees:
        return Swept(kind, name, "wrong", _short(f"{how}: {found.note}"))
    remarks = f"; {_short(found.note)}" if found.note else ""
    return Swept(kind, name, "right", how + remarks)


def _read(where: Path) -> Readout:
    """Read a checkpoint as where transformers is not installed: guesses stay guesses."""
    with patch("geom_plugins.agreement.requirements.can_build", lambda: False):
        return geom.load(f"hf:{where}")


def _short(text: str) -> str:
    """Return one line without what differs from machine to machine."""
    line = re.sub(r"\s+", " ", text.replace("`", "'"))
    line = line.partition("; give ")[0]
    return line if len(line) <= _LINE else f"{line[: _LINE - 3]}..."


def written() -> dict[tuple[str, str], Swept]:
    """Return the rows of the table in the documentation."""
    rows = (Swept(*line.split("\t")) for line in TABLE.read_text("utf-8").splitlines())
    return {(row.kind, row.name): row for row in rows}


def main() -> None:
    """Write the table."""
    todo = classes()
    rows = [swept(*each) for each in track_progress(todo, "sweep", len(todo), "classes")]
    TABLE.write_text("".join(f"{row}\n" for row in rows), "utf-8")
    for result in ("right", "refused", "not compared", "wrong"):
        print(result, sum(row.result == result for row in rows))


if __name__ == "__main__":
    main()
