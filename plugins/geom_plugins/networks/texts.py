"""Tokenizers of transformers, from a checkpoint or at hand: a text as ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from geom import InputError
from geom_plugins.agreement.toy_model import quiet


def read_tokenizer(where: str, *, fetch: bool = False, **given: str) -> Any:
    """Load the tokenizer of a checkpoint: one on this machine or, with ``fetch``, of the Hub.

    Raises InputError if it has none.
    """
    from transformers import AutoTokenizer

    make: Any = AutoTokenizer
    try:
        with quiet():
            return make.from_pretrained(
                where, local_files_only=not fetch, trust_remote_code=False, **given
            )
    except Exception as error:  # transformers may raise anything over a checkpoint
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(
            f"transformers finds no tokenizer in {where} that it can load ({reason}); save the "
            "model's tokenizer beside it"
        ) from error


def encoder(tokenizer: Any) -> Callable[[str], Sequence[int]]:
    """Return the function that makes ids of a text, without the tokens that tell its ends."""

    def encode(text: str) -> Sequence[int]:
        with quiet():
            ids: Sequence[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    return encode


def opening(tokenizer: Any) -> tuple[int, ...]:
    """Return the ids that the tokenizer puts before a text, as many a model was trained to see."""
    with quiet():
        plain = list(tokenizer("a", add_special_tokens=False)["input_ids"])
        whole = list(tokenizer("a")["input_ids"])
    for start in range(len(whole) - len(plain) + 1):
        if plain and whole[start : start + len(plain)] == plain:
            return tuple(whole[:start])
    return ()
