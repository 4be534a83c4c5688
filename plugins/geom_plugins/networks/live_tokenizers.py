"""The tokens of a tokenizer in memory, by the files that it saves: as a checkpoint's are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from geom_plugins.checkpoints.folders import LocalFolder
from geom_plugins.checkpoints.token_texts import read_tokens
from geom_plugins.checkpoints.tokenizer_json import TOKENIZER_JSON

if TYPE_CHECKING:
    from geom_plugins.checkpoints.vocabulary import Tokens


def live_tokens(tokenizer: Any, V: int) -> Tokens | None:
    """Return the tokens of ids 0 to V - 1, or None for an object that is no tokenizer.

    It is a tokenizer of transformers, one of the library tokenizers, or a wrapper of the latter.
    """
    save = _saver(tokenizer)
    if save is None:
        return None
    with TemporaryDirectory(prefix="geom-") as folder:
        save(Path(folder))
        return read_tokens(LocalFolder(Path(folder)), V)


def _saver(tokenizer: Any) -> Callable[[Path], object] | None:
    """Return the function that saves a tokenizer's files in a folder, None if there is none."""
    if any(kind.__name__ == "PreTrainedTokenizerBase" for kind in type(tokenizer).__mro__):
        from geom_plugins.agreement.toy_model import quiet

        def saved(folder: Path) -> None:
            with quiet():
                tokenizer.save_pretrained(str(folder))

        return saved
    inner = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if hasattr(inner, "id_to_token") and hasattr(inner, "save"):
        return lambda folder: inner.save(str(folder / TOKENIZER_JSON))
    return None
