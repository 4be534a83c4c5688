"""The records of the table: where an architecture keeps its readout, and what is special about it.

To add a family, find out four things in its modelling code, and write down what differs from the
entry it is most like (most are ``replace(RMSNORM_DECODER, family="...")``):

1. the last norm before the head: its kind, its module, whether it multiplies by ``1 + weight``;
2. the module of the head, its bias, and whatever lies between norm and head or behind the head;
3. ``tied``: what ``tie_word_embeddings`` is in its configuration class if nobody sets it;
4. if the language model is part of a larger one, a `Wrapper` for the larger one's ``model_type``.

Put the entry in the file for its kind, and the settings of a toy model in
``tests/support/toy_models.py`` if the usual ones do not build it. The tests then take it up by
themselves: they build the model with transformers, compare logits, and compare ``tied`` with the
class. If the head is not one linear map of one normalised vector, the type goes into
``without_a_readout.py`` with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Config = Mapping[str, Any]

Task = Literal["causal", "masked", "seq2seq"]


@dataclass(frozen=True)
class Architecture:
    """The place where the checkpoints of an architecture keep their readout.

    Attributes
    ----------
    family
        The name that people use.
    norm
        The kind of the final norm, as its code computes it. Names of settings do not tell it.
    final_norm
        The norm's module in the model, after a stem; it may depend on the configuration.
    stored_norms
        The names that the module has in files instead, if it is another one there.
    stems
        The prefixes under which the model's own tensors may lie, the usual one first.
    embed
        The modules of the embedding that the head is tied to, after a stem, in the order in which
        they are tried.
    heads
        The modules the head may be, by their full names.
    head_bias
        The full names that the head's bias may have. A bias under the head's module that is not
        among them is refused.
    beside
        Modules under the head's name that come before the final norm, such as BERT's transform.
    tied
        Whether head and embedding are one matrix if ``config.json`` does not say.
    tie_flags
        The keys of ``config.json`` that say it; the first one that is there decides.
    scale, shift
        Whether the norm has a weight and a bias: always, never, or (None) if the file has one.
    plus_one
        Whether the norm multiplies by 1 + weight.
    mlx
        What MLX's converters do about that 1: ``"adds"`` it to the stored weight, ``"keeps"`` the
        weight as it is, or (None) nobody looked, and such a checkpoint is refused.
    unit_rows
        Whether the head divides each of its rows by its length; it may depend on the configuration.
    projection
        A module between norm and head, after a stem.
    logit_scale, softcap
        Keys of the configuration for what the model does to its logits afterwards, or functions of
        the configuration.
    divides
        Whether the logits are divided by the scale, and not multiplied.
    task
        Which of transformers' classes has the head.
    refused
        Returns the reason why a configuration of this architecture is not read, or None.
    quirk
        What a reader of the table should know.
    """

    family: str
    norm: Literal["layernorm", "rmsnorm"]
    final_norm: str | Callable[[Config], str]
    stems: tuple[str, ...] = ("model.", "")
    embed: tuple[str, ...] = ("embed_tokens",)
    heads: tuple[str, ...] = ("lm_head",)
    head_bias: tuple[str, ...] = ()
    stored_norms: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    tied: bool = False
    tie_flags: tuple[str, ...] = ("tie_word_embeddings",)
    scale: bool = True
    shift: bool | None = False
    plus_one: bool = False
    mlx: Literal["adds", "keeps"] | None = None
    unit_rows: Callable[[Config], bool] | None = None
    projection: str | None = None
    logit_scale: str | Callable[[Config], float | None] | None = None
    softcap: str | Callable[[Config], float | None] | None = None
    divides: bool = False
    task: Task = "causal"
    refused: Callable[[Config], str | None] | None = None
    quirk: str = ""

    def final_norm_of(self, config: Config) -> str:
        """Return the name of the final norm's module for a configuration."""
        return self.final_norm if isinstance(self.final_norm, str) else self.final_norm(config)


@dataclass(frozen=True)
class Wrapper:
    """A model that has a language model inside, whose configuration is nested in its own.

    Attributes
    ----------
    family
        The name that people use.
    text
        The ``model_type`` of the language model if the nested configuration does not name one.
    tied
        Whether head and embedding are one matrix if ``config.json`` does not say, by the larger
        model's configuration class.
    flag
        Whose ``tie_word_embeddings`` transformers reads: the ``"outer"`` one if the larger model
        owns the head; the ``"inner"`` one if a whole language model with its head is inside;
        ``"either"`` if the class ties as soon as one of the two says so; ``"outer, inner"`` if the
        inner one decides when the outer one is absent.
    nested
        The keys that lead to the language model's configuration. A checkpoint without the first
        key is an older one, whose settings all lie in the outer configuration.
    scales
        Whether the larger model scales its logits as the language model alone does.
    """

    family: str
    text: str
    tied: bool = False
    flag: Literal["outer", "inner", "either", "outer, inner"] = "outer"
    nested: tuple[str, ...] = ("text_config",)
    scales: bool = True
