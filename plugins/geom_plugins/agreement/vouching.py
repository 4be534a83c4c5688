"""What is guessed about an architecture that the table does not have is tried before it is used."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from geom import InputError, Readout
from geom_plugins.agreement import requirements
from geom_plugins.agreement.toy_trial import toy_trial
from geom_plugins.architectures.named_parts import Parts
from geom_plugins.architectures.record import Config

Vouch = Callable[[Config, Parts, str], str]
"""``vouch(config, parts, where)`` returns a note on the guesses in ``parts``, or refuses them."""


def vouched(config: Config, parts: Parts, where: str, read: Callable[[Path], Readout]) -> str:
    """Return a note that says what speaks for the guesses in ``parts``.

    Parameters
    ----------
    config
        What the checkpoint's ``config.json`` holds.
    parts
        The parts of its readout.
    where
        The checkpoint's name for messages.
    read
        ``read(folder)`` is the readout of another checkpoint, read by the same rules.

    Raises
    ------
    InputError
        If transformers is installed and a toy model of the same class does not agree, or cannot be
        built. The message says how to name the parts by hand.
    """
    if not requirements.can_build():
        return (
            "these guesses were not tried: with the extra replay, which geom doctor says how to "
            "install, geom tries them on a toy model"
        )
    trial = toy_trial(config, parts.notes, read)
    if trial.agrees:
        return (
            f"the guesses were tried on {trial.compared} of transformers "
            f"{version('transformers')}: read so, it gives its own logits"
        )
    tried = f"{trial.compared} does not agree" if trial.agrees is False else "it was not tried"
    raise InputError(
        f"{where} is {'; '.join(parts.notes)}; {tried}: {trial.note}; if you know how its readout "
        f"is made, give all of it, for example {_by_hand(parts)}"
    )


def _by_hand(parts: Parts) -> str:
    """Return the query that names the parts as they are guessed."""
    named = {
        "unembed": parts.unembed,
        "bias": parts.bias,
        "norm": parts.norm or "none",
        "gamma": parts.gamma,
        "beta": parts.beta,
        "gamma_plus_one": "yes" if parts.plus_one else None,
    }
    return "?" + "&".join(f"{key}={value}" for key, value in named.items() if value is not None)
