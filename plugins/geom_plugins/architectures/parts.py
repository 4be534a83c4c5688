"""The parts of a checkpoint's readout, found by its configuration and the names of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Collection

from geom import InputError
from geom_plugins.architectures.configuration import language_model, without_vocabulary
from geom_plugins.architectures.heads import PREFIXES
from geom_plugins.architectures.named_parts import BY_HAND, ByHand, Parts
from geom_plugins.architectures.record import Architecture, Config
from geom_plugins.architectures.table import ARCHITECTURES
from geom_plugins.architectures.tabled import tabled
from geom_plugins.architectures.usual_names import by_usual_names
from geom_plugins.architectures.without_a_readout import WITHOUT_A_READOUT

Form = Callable[[], str | None]

__all__ = ["ByHand", "Parts", "find_parts", "norm_paths"]


def _unknown_form() -> None:
    return None


def find_parts(
    config: Config, names: Collection[str], where: str, by_hand: ByHand, form: Form = _unknown_form
) -> Parts:
    """Find the readout's tensors among ``names``, for the checkpoint called ``where``.

    The table of architectures decides; for an architecture that is not in it, the names that most
    architectures share, and `Parts.guesses` says what is guessed.

    Parameters
    ----------
    config
        The whole of ``config.json``.
    names
        The names of all tensors.
    where
        The checkpoint's name for messages.
    by_hand
        What the user names.
    form
        Returns what the metadata of the checkpoint's files call their format: ``"pt"``, ``"mlx"``.
        It is asked only if the architecture's final norm depends on it.

    Raises
    ------
    InputError
        If a part is not certain, saying what to give by hand.
    """
    if by_hand.unembed is not None and by_hand.norm is not None:
        return _given(by_hand)
    return _found(config, names, where, by_hand, form)


def _found(
    config: Config, names: Collection[str], where: str, by_hand: ByHand, form: Form
) -> Parts:
    """Find the parts that the user has not named."""
    model = language_model(config)
    for kind in (model.larger, model.kind):
        if kind in WITHOUT_A_READOUT:
            raise InputError(
                f"{where} is {kind}, and {WITHOUT_A_READOUT[kind]}; to examine one of its matrices "
                f"anyway, {BY_HAND}"
            )
    other = without_vocabulary(config)
    if other is not None and by_hand.unembed is None:
        raise InputError(
            f"{where} was saved from {other}, whose head does not score tokens; give the language "
            "model that it was made from"
        )
    if model.config.get("norm_head"):  # as in the code of Bailing's and Ling's checkpoints
        raise InputError(
            f"{where} is {model.kind}, and its norm_head says that the columns of its head are "
            f"divided by their lengths, which geom does not read; {BY_HAND}"
        )
    rows, logits = model.config.get("vocab_size"), model.config.get("unpadded_vocab_size")
    if logits is not None and logits != rows:
        counted = isinstance(rows, int) and isinstance(logits, int) and logits < rows
        cut = f"its last {rows - logits} rows" if counted else f"some of its {rows!r} rows"
        raise InputError(
            f"{where} is {model.kind}, and its unpadded_vocab_size is {logits!r}: the model drops "
            f"the logits of {cut}; to examine all rows anyway, {BY_HAND}"
        )
    entry = ARCHITECTURES.get(model.kind)
    if entry is None:
        return by_usual_names(model, names, where, by_hand)
    mlx = entry.plus_one and (any(".switch_mlp." in name for name in names) or form() == "mlx")
    return tabled(entry, model, names, where, by_hand, mlx)


def norm_paths(entry: Architecture, config: Config) -> list[str]:
    """Return the paths the final norm may have in the model that transformers builds."""
    module = entry.final_norm_of(config)
    return [prefix + stem + module for prefix in PREFIXES for stem in entry.stems]


def _given(by_hand: ByHand) -> Parts:
    """Return exactly the parts that the user names."""
    assert by_hand.unembed is not None
    return Parts(
        by_hand.unembed,
        by_hand.bias,
        by_hand.gamma,
        by_hand.beta,
        None if by_hand.norm == "none" else by_hand.norm,
        bool(by_hand.gamma_plus_one),
    )
