"""Tokenizers to save in a test's folder, and the tokens that geom reads from there."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from geom import TokenKind
from geom_plugins.checkpoints.folders import LocalFolder
from geom_plugins.checkpoints.token_texts import read_tokens
from geom_plugins.checkpoints.vocabulary import Tokens

LINES = [
    "naïve über 日本語 日本 the then them\n\n\t",
    "low lower lowest, the newest widest way",
] * 20
UNKNOWN = "\N{REPLACEMENT CHARACTER}"
SPELLED = re.compile(r"\\x(..)")


def read(V: int, path: Path = Path()) -> Tokens:
    tokens = read_tokens(LocalFolder(path), V)
    assert tokens is not None
    return tokens


def texts(V: int) -> tuple[str | None, ...]:
    found = read(V).texts
    assert found is not None
    return found


def kinds(V: int) -> tuple[TokenKind, ...]:
    found = read(V).kinds
    assert found is not None
    return found


def of_kind(kind: TokenKind, V: int) -> set[int]:
    return {t for t, found in enumerate(kinds(V)) if found == kind}


def as_json(name: str, content: Any) -> None:
    Path(name).write_text(json.dumps(content), encoding="utf-8")


def train(path: str, **options: Any) -> SentencePieceProcessor:
    """Train a sentencepiece model on a tiny corpus and save it."""
    content = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(LINES),
        model_writer=content,
        hard_vocab_limit=False,
        minloglevel=2,
        **{"vocab_size": 60, **options},
    )
    Path(path).write_bytes(content.getvalue())
    return SentencePieceProcessor(model_proto=content.getvalue())
