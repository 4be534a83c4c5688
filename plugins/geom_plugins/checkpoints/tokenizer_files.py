"""The files of a tokenizer, parsed strictly, and the tokens declared beside its vocabulary."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from geom_plugins.checkpoints.folders import Folder

CONVENTIONAL = {
    *("<s>", "</s>", "<pad>", "<unk>", "<mask>", "<|startoftext|>", "<|endoftext|>"),
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
}
"""The names taken as special if a tokenizer of an older format declares none."""


class TokenizerError(Exception):
    """A tokenizer that cannot be read; the message says in one line which file, why, what to do."""


@dataclass(frozen=True)
class Declared:
    """The tokens added to a vocabulary by id, and the contents that are special.

    ``listed`` has the additional special tokens in the order of the files, ``settings`` all of
    ``tokenizer_config.json``.
    """

    added: dict[int, str]
    special: set[str]
    listed: tuple[str, ...]
    settings: Mapping[str, Any]

    def special_among(self, pieces: Iterable[str]) -> set[str]:
        """Return the special contents; those with the usual names if no role is declared."""
        if self.special - set(self.listed):
            return set(self.special)
        return self.special | (CONVENTIONAL & set(pieces))


class _AddedToken(msgspec.Struct):
    id: int
    content: str
    special: bool = False


def read_declared(folder: Folder) -> Declared:
    """Read added_tokens.json, special_tokens_map.json and tokenizer_config.json.

    Raises TokenizerError if one of them is damaged.
    """
    added: dict[int, str] = {}
    special: set[str] = set()
    listed: dict[str, None] = {}
    settings: Mapping[str, Any] = {}
    if folder.has("added_tokens.json"):
        found = parsed(folder, "added_tokens.json", dict[str, int])
        added |= {id: content for content, id in found.items()}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if folder.has(name):
            settings = parsed(folder, name, dict[str, Any])
            more = _additional(settings)
            listed |= dict.fromkeys(more)
            special |= {*more, *_contents(v for key, v in settings.items() if key[-6:] == "_token")}
            for id, token in _decoder_table(settings.get("added_tokens_decoder")):
                added[id] = token.content
                special |= {token.content} if token.special else set()
    if not folder.has("tokenizer_config.json"):
        settings = {}
    return Declared(added, special, tuple(listed), settings)


def _additional(values: Mapping[str, Any]) -> list[str]:
    """Return the contents of the lists of special tokens."""
    given: list[Any] = []
    for key in ("additional_special_tokens", "extra_special_tokens"):
        more = values.get(key)
        given += more.values() if isinstance(more, dict) else more if isinstance(more, list) else []
    return _contents(given)


def _contents(given: Iterable[Any]) -> list[str]:
    """Return the contents of tokens that are written as texts or as objects."""
    contents = (value.get("content") if isinstance(value, dict) else value for value in given)
    return [content for content in contents if isinstance(content, str)]


def _decoder_table(table: Any) -> Iterable[tuple[int, _AddedToken]]:
    """Yield the entries of ``added_tokens_decoder`` that can be parsed."""
    for id, entry in table.items() if isinstance(table, dict) else ():
        try:
            token = msgspec.convert({**entry, "id": int(id)}, _AddedToken)
        except (TypeError, ValueError):
            continue
        yield token.id, token


def tokenizer_class(folder: Folder, declared: Declared) -> tuple[str | None, str | None]:
    """Return the class that tokenizes, as the files name it, and the architecture's ``model_type``.

    None stands for what is not said. A class that reads any tokenizer.json is not named.
    """
    config = parsed(folder, "config.json", dict[str, Any]) if folder.has("config.json") else {}
    for values in (declared.settings, config):
        name = values.get("tokenizer_class")
        if isinstance(name, str) and name not in _GENERAL:
            return name.removesuffix("Fast"), _text(config.get("model_type"))
    return None, _text(config.get("model_type"))


_GENERAL = ("PreTrainedTokenizer", "PreTrainedTokenizerFast", "TokenizersBackend")


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def parsed(folder: Folder, name: str, type: type[Any]) -> Any:
    """Parse a JSON file of the folder, checked against ``type``."""
    content = folder.read(name)
    try:
        return msgspec.json.decode(content, type=type)
    except (ValueError, RecursionError) as error:
        raise damaged(name, error) from error


def lines(folder: Folder, name: str) -> list[str]:
    """Return the lines of a text file of the folder, without their ends."""
    content = folder.read(name)
    try:
        text = content.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise damaged(name, error) from error
    return text.removesuffix("\n").split("\n") if text else []


def damaged(name: str, error: Exception | str) -> TokenizerError:
    """Describe a file that is not what its name says."""
    undecoded = isinstance(error, UnicodeDecodeError)  # its message shows a byte of the file
    reason = "it is not UTF-8" if undecoded else " ".join(str(error).split())
    return TokenizerError(
        f"{name} is not a tokenizer file that geom knows, or is damaged: {reason}; fetch it again"
    )
