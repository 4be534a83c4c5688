"""The text and the kind of each token id, from the checkpoint's tokenizer.

The files are read directly, without the libraries that tokenize: only sentencepiece's models, which
are not in JSON, need their own library. For 50,000 and 150,000 byte-level tokens this takes 0.4 and
1.1 s and 16 and 51 MiB. The tokenizers package takes 0.3 and 1.0 s, 44 and 126 MiB and 12 MB on
disk; it decodes part of a character to U+FFFD instead of its bytes, drops the first space of
sentencepiece's texts, does not give a token's kind, and reads only ``tokenizer.json``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from geom_plugins.checkpoints.older_vocabularies import (
    FSMT_TARGET,
    PROPHETNET,
    VOCAB_JSON,
    VOCAB_TXT,
    read_dictionary,
    read_fsmt,
    read_vocab_json,
    read_vocab_txt,
)
from geom_plugins.checkpoints.ranked_bytes import (
    RWKV,
    TEKKEN,
    TIKTOKEN,
    is_rwkv,
    is_tiktoken,
    read_rwkv,
    read_tekken,
    read_tiktoken,
)
from geom_plugins.checkpoints.sentencepiece_models import SENTENCEPIECE_FILES, read_sentencepiece
from geom_plugins.checkpoints.tokenizer_files import (
    TokenizerError,
    read_declared,
    tokenizer_class,
)
from geom_plugins.checkpoints.tokenizer_json import TOKENIZER_JSON, read_tokenizer_json
from geom_plugins.checkpoints.vocabulary import Tokens, Vocabulary

if TYPE_CHECKING:
    from geom_plugins.checkpoints.folders import Folder

_CONFIG = "tokenizer_config.json"
_BARTPHO = "dict.txt"


def read_tokens(folder: Folder, V: int) -> Tokens | None:
    """Return the tokens of ids 0 to V - 1 by the checkpoint's tokenizer, or None without one.

    Rows beyond the tokenizer's ids are vocabulary padding. A tokenizer that cannot be read leaves
    the tokens without texts and kinds, and a note says why. Raises InputError if a file is not
    available, or leads out of the folder.
    """
    try:
        found = find_vocabulary(folder)
    except TokenizerError as error:
        return Tokens(None, None, (f"token texts are left out: {error}",))
    return None if found is None else found.tokens(V)


def find_vocabulary(folder: Folder) -> Vocabulary | None:
    """Return the vocabulary of the first tokenizer's file that the folder has, None without one.

    Raises TokenizerError if it cannot be read.
    """
    if folder.has(TOKENIZER_JSON):
        return read_tokenizer_json(folder)
    if folder.has(TEKKEN):
        return read_tekken(folder)
    if folder.has(FSMT_TARGET):
        return read_fsmt(folder)
    if folder.has(VOCAB_JSON):
        return read_vocab_json(folder)
    if folder.has(VOCAB_TXT):
        rwkv = is_rwkv(folder.read(VOCAB_TXT))
        return read_rwkv(folder, VOCAB_TXT) if rwkv else read_vocab_txt(folder)
    return _by_name(folder) or _without_known_files(folder)


def _by_name(folder: Folder) -> Vocabulary | None:
    """Read the first of the files whose names say their formats."""
    name = _only(folder, RWKV)
    if name is not None:
        return read_rwkv(folder, name)
    name = _only(folder, TIKTOKEN)
    if name is not None:
        return read_tiktoken(folder, name)
    for name in SENTENCEPIECE_FILES:
        if folder.has(name):
            return _pieces(folder, name)
    if folder.has(PROPHETNET):
        multilingual = folder.read(PROPHETNET)[:1] == b"\n"  # as every sentencepiece model begins
        reader = read_sentencepiece if multilingual else read_vocab_txt
        return reader(folder, PROPHETNET)
    return None


def _only(folder: Folder, names: re.Pattern[str]) -> str | None:
    """Return the file with a name of a pattern, None if there is none.

    Raises TokenizerError if there are several: nothing says which is meant.
    """
    found = sorted(filter(names.fullmatch, folder.entries))
    if len(found) > 1:
        raise TokenizerError(f"there are {' and '.join(found[:2])}; remove those that are not used")
    return found[0] if found and folder.has(found[0]) else None


def _pieces(folder: Folder, name: str) -> Vocabulary:
    """Read what has the name of a sentencepiece model: one, or Llama's tiktoken."""
    if is_tiktoken(folder.read(name)):
        return read_tiktoken(folder, name)
    declared = read_declared(folder)
    if folder.has(_BARTPHO) and tokenizer_class(folder, declared)[0] == "BartphoTokenizer":
        return read_dictionary(folder, _BARTPHO, declared, "sentencepiece")
    return read_sentencepiece(folder, name)


def _without_known_files(folder: Folder) -> Vocabulary | None:
    """Return the vocabulary of bytes that needs no file, or None if no tokenizer is mentioned.

    Raises TokenizerError for a tokenizer whose files have other names.
    """
    if not folder.has(_CONFIG):
        return None
    declared = read_declared(folder)
    kind, _ = tokenizer_class(folder, declared)
    if kind == "ByT5Tokenizer":
        return _bytes(declared.settings.get("extra_ids", 125))
    raise TokenizerError(f"geom knows no file of the tokenizer that {_CONFIG} describes ({kind})")


def _bytes(sentinels: object) -> Vocabulary:
    """Return ByT5's vocabulary: three special tokens, the bytes, and the sentinels."""
    first = ("<pad>", "</s>", "<unk>")
    pieces = dict(enumerate(first)) | {3 + byte: f"<0x{byte:02X}>" for byte in range(256)}
    count = sentinels if isinstance(sentinels, int) and 0 <= sentinels < 10_000 else 0
    added = {259 + n: f"<extra_id_{n}>" for n in range(count)}
    return Vocabulary("sentencepiece", pieces, None, added, {*first, *added.values()})
