"""A trial on a toy model, which tells whether the rules of reading are right for its class."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from geom import Agreement, InputError, Readout
from geom_plugins.agreement import requirements
from geom_plugins.agreement.verdict import agreement


def toy_trial(
    config: Mapping[str, Any], notes: Sequence[str], read: Callable[[Path], Readout]
) -> Agreement:
    """Build a toy model of a checkpoint's class, read it as the checkpoint is read, and compare.

    Parameters
    ----------
    config : mapping
        What the checkpoint's ``config.json`` holds.
    notes : sequence of str
        The notes of the checkpoint's readout: what geom does to the toy and says so, it must have
        done to the checkpoint.
    read : callable
        ``read(folder)`` is the readout of the checkpoint in a folder, read by the same rules.
    """
    what = "a toy model"
    if not requirements.can_build():
        return Agreement(what, agrees=None, note=requirements.needs())
    from geom_plugins.agreement.model_logits import model_logits
    from geom_plugins.agreement.toy_model import build, head_class, save
    from geom_plugins.agreement.toy_sizes import TEXT_IDS

    try:
        name = head_class(config)
        what = f"a toy {name}"
        model = build(config, name)
        logits = model_logits(model, TEXT_IDS)
        with TemporaryDirectory() as folder:
            where = save(model, Path(folder))
            try:
                readout = read(where)
            except InputError as error:
                reason = str(error).replace(str(where), "the toy model")
                return Agreement(what, agrees=None, note=f"refused: {reason}")
            _refuse_other_notes(readout.notes, notes)
            return agreement(what, readout, logits)
    except InputError as error:
        return Agreement(what, agrees=None, note=str(error))


def _refuse_other_notes(toy: Sequence[str], checkpoint: Sequence[str]) -> None:
    """Raise InputError for a note of the toy's readout that the checkpoint's does not have."""
    known = {_bare(note) for note in checkpoint}
    for note in toy:
        if _bare(note) not in known:
            raise InputError(f"the toy model is read in another way than the checkpoint: {note}")


def _bare(note: str) -> str:
    """Return a note without its numbers, and without the prefixes of tensors."""
    return re.sub(r"\d[\d.e+-]*", "", re.sub(r"\b(?:\w+\.)+(?=\w+\.(?:weight|bias)\b)", "", note))
