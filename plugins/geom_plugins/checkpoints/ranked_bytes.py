"""Vocabularies of byte strings: tiktoken's, Mistral's ``tekken.json``, and RWKV's."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from typing import TYPE_CHECKING

import msgspec

from geom_plugins.checkpoints.tokenizer_files import damaged, lines, parsed, read_declared
from geom_plugins.checkpoints.vocabulary import Vocabulary, byte_level_piece

if TYPE_CHECKING:
    from geom import TokenKind
    from geom_plugins.checkpoints.folders import Folder

TEKKEN = "tekken.json"

QWEN = "qwen.tiktoken"
TIKTOKEN = re.compile(r"tiktoken\.model|.*\.tiktoken")
RWKV = re.compile(r"rwkv_vocab.*\.txt")
"""The names of the files of either format."""

_LARGEST_ID = 1 << 24
"""Ids above it are damage: the largest vocabularies have a million."""


# tiktoken

_RANKED = re.compile(r"([A-Za-z0-9+/]+={0,2}) (\d{1,8})")

_QWEN_SPECIAL = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    *(f"<|extra_{n}|>" for n in range(205)),
)
"""The special tokens of the first Qwen, which follow its ranks (``tokenization_qwen.py``)."""


def is_tiktoken(content: bytes) -> bool:
    """Return whether a file begins as tiktoken's do; Llama's has the name of sentencepiece's."""
    first = content[:1000].partition(b"\n")[0].decode("latin-1")
    return _RANKED.fullmatch(first.rstrip("\r")) is not None


def read_tiktoken(folder: Folder, name: str) -> Vocabulary:
    """Read tiktoken's format: a line has a token's bytes in base64, and its rank, which is its id.

    Special tokens are not in the file: they are those that ``tokenizer_config.json`` declares, or
    Qwen's. Raises TokenizerError if the file is damaged.
    """
    pieces: dict[int, str] = {}
    for number, line in enumerate(lines(folder, name), 1):
        found = _RANKED.fullmatch(line)
        if found is None:
            if not line.strip():
                continue
            raise damaged(name, f"line {number} is not a token in base64 and its rank")
        _place(pieces, int(found[2]), _decoded(found[1], name), name)
    declared = read_declared(folder)
    size = 1 + max(pieces, default=-1)
    added, special = dict(declared.added), set(declared.special)
    if name == QWEN:
        added = {size + n: token for n, token in enumerate(_QWEN_SPECIAL)} | added
        special |= set(_QWEN_SPECIAL)
    out = Vocabulary("byte-level", pieces, None, added, special)
    if not any(id >= size for id in added):
        out.beyond = "special"
        out.notes = (f"no file names the special tokens, which follow the ranks from id {size}",)
    return out


def _decoded(text: str, name: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except binascii.Error as error:
        raise damaged(name, "it has a token that is not base64") from error


def _place(pieces: dict[int, str], id: int, data: bytes, name: str) -> None:
    """Give an id its token. Raises TokenizerError if it has one already, or is too large."""
    if id in pieces or id >= _LARGEST_ID:
        raise damaged(name, f"id {id} is {'too large' if id >= _LARGEST_ID else 'there twice'}")
    pieces[id] = byte_level_piece(data)


# tekken.json


class _Bytes(msgspec.Struct):
    rank: int
    token_bytes: str


class _Special(msgspec.Struct):
    rank: int
    token_str: str
    is_control: bool = True


class _Settings(msgspec.Struct):
    default_vocab_size: int
    default_num_special_tokens: int


class _Tekken(msgspec.Struct):
    config: _Settings
    vocab: list[_Bytes]
    special_tokens: list[_Special] | None = None


_TEKKEN_SPECIAL = (
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
    *("[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]"),
    *("[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
    "[TOOL_CONTENT]",
)
"""The special tokens of files that list none (``tekken.py`` of mistral-common)."""


def read_tekken(folder: Folder) -> Vocabulary:
    """Read ``tekken.json``: the special tokens come first, the others follow in order of rank.

    Of these, the first are used, up to the size of the vocabulary. Raises TokenizerError if the
    file is damaged.
    """
    file: _Tekken = parsed(folder, TEKKEN, _Tekken)
    count, size = file.config.default_num_special_tokens, file.config.default_vocab_size
    if not 0 <= count <= size <= min(_LARGEST_ID, count + len(file.vocab)):
        raise damaged(TEKKEN, f"it claims {count} special tokens, and {size} in all")
    given = file.special_tokens
    if given is None:
        given = [_Special(rank, token) for rank, token in enumerate(_TEKKEN_SPECIAL)]
    special = {token.rank: token for token in given}
    if len(special) != len(given) or any(not 0 <= rank < count for rank in special):
        raise damaged(TEKKEN, "its special tokens do not have ranks of their own below their count")
    pieces: dict[int, str] = {}
    for rank, token in enumerate(file.vocab[: size - count]):
        if token.rank != rank:
            raise damaged(TEKKEN, f"the token at place {rank} has rank {token.rank}")
        _place(pieces, count + rank, _decoded(token.token_bytes, TEKKEN), TEKKEN)
    filler = {id: f"<SPECIAL_{id}>" for id in range(count) if id not in special}
    kinds: dict[int, TokenKind] = dict.fromkeys(filler, "unused")
    kinds |= {id: "special" if token.is_control else "added" for id, token in special.items()}
    added = filler | {id: token.token_str for id, token in special.items()}
    return Vocabulary("byte-level", pieces, None, added, kinds=kinds)


# RWKV

_LITERAL = re.compile(r"""(\d{1,8}) (b?)(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)") (\d{1,6})""")
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))")
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", "'": "'", '"': '"'}
_RWKV_END = "<|endoftext|>"


def is_rwkv(content: bytes) -> bool:
    """Return whether a file begins as RWKV's do: some have WordPiece's name."""
    first = content[:1000].partition(b"\n")[0].decode("utf-8", "replace")
    return _LITERAL.fullmatch(first.rstrip("\r")) is not None


def read_rwkv(folder: Folder, name: str) -> Vocabulary:
    """Read RWKV's format: a line has an id, a literal of Python, text or bytes, and its length.

    Id 0 ends a text. Raises TokenizerError if the file is damaged.
    """
    pieces: dict[int, str] = {}
    for number, line in enumerate(lines(folder, name), 1):
        found = _LITERAL.fullmatch(line)
        data = None if found is None else _literal(found[3] or found[4] or "", bool(found[2]))
        if found is None or data is None or len(data) != int(found[5]):
            raise damaged(name, f"line {number} is not an id, a literal and its length")
        _place(pieces, int(found[1]), data, name)
    declared = read_declared(folder)
    added = dict(declared.added)
    if 0 not in pieces:
        added.setdefault(0, _RWKV_END)
    return Vocabulary(
        "byte-level", pieces, None, added, declared.special | {added.get(0, _RWKV_END)}
    )


def _literal(text: str, is_bytes: bool) -> bytes | None:
    """Return the bytes of what stands between the quotes of a literal, None if it is not one."""
    try:
        value = _ESCAPE.sub(lambda found: _character(found, is_bytes), text)
        return value.encode("latin-1" if is_bytes else "utf-8")
    except (KeyError, ValueError):
        return None


def _character(found: re.Match[str], is_bytes: bool) -> str:
    code = found[1] or (None if is_bytes else found[2] or found[3])
    return _ESCAPED[found[4] or ""] if code is None else chr(int(code, 16))
