"""Tokenizer files that are missing or damaged: the tokens have no texts, and a note says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from geom_plugins.checkpoints.folders import LocalFolder
from geom_plugins.checkpoints.token_texts import read_tokens
from support.command import Command
from support.tokenizers import as_json, read

pytestmark = pytest.mark.usefixtures("own_folder")


def note(V: int = 3) -> str:
    """Return the one line that stands in place of the texts."""
    found = read(V)
    assert (found.texts, found.kinds) == (None, None)
    (line,) = found.notes
    assert line.startswith("token texts are left out: ")
    assert "\n" not in line
    return line


def test_a_checkpoint_without_a_tokenizer_has_no_tokens() -> None:
    assert read_tokens(LocalFolder(Path()), 5) is None


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"model": 3}', '{"model": {}}', "[" * 10**5])
def test_a_tokenizer_json_that_is_none_is_named(content: str) -> None:
    Path("tokenizer.json").write_text(content)
    line = note()
    assert "tokenizer.json is not a tokenizer file that geom knows, or is damaged" in line
    assert line.endswith("; fetch it again")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("vocab.json", b'{"a": "b"}'),
        ("vocab.json", b"\xff"),
        ("vocab-tgt.json", b"[]"),
        ("vocab.txt", b"\xff\xfe"),
        ("tokenizer.model", b"no protobuf"),
        ("tokenizer.model", b""),
        ("prophetnet.tokenizer", b"\xff"),
        ("prophetnet.tokenizer", b"\n no protobuf"),
        ("tekken.json", b"{}"),
        ("qwen.tiktoken", b"IQ== 0\nIg== one\n"),
        ("rwkv_vocab_v20230424.txt", b"1 'a' 1\n2 __import__('os') 5\n"),
    ],
)
def test_a_damaged_vocabulary_is_named(name: str, content: bytes) -> None:
    Path(name).write_bytes(content)
    assert f"{name} is not a tokenizer file" in note()


@pytest.mark.parametrize(
    "name", ["added_tokens.json", "special_tokens_map.json", "tokenizer_config.json"]
)
def test_a_damaged_file_beside_the_tokenizer_is_named(name: str, byte_level: Tokenizer) -> None:
    Path(name).write_text("[]")
    assert f"{name} is not a tokenizer file" in note()


def test_a_run_goes_on_without_texts_and_says_so(command: Command) -> None:
    import shutil

    from geom_plugins.sources.demo import CHECKPOINT

    shutil.copytree(CHECKPOINT, "model")
    Path("model/tokenizer.json").write_text("{}")
    done = command("run", "-m", "hf:model", "-t", "0-3", "--out", "run.db")
    assert done.code == 0
    assert "token texts are left out: tokenizer.json is not a tokenizer file" in done.out


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"tokenizer_class": "OwnTokenizer"},
            "no file of the tokenizer that tokenizer_config.json",
        ),
        ({}, "no file of the tokenizer that tokenizer_config.json describes (None)"),
    ],
)
def test_a_tokenizer_whose_files_are_not_known_is_told(settings: dict[str, Any], says: str) -> None:
    as_json("tokenizer_config.json", settings)
    assert says in note()


@pytest.mark.parametrize("kind", ["CpmAntTokenizer", "GPTNeoXJapaneseTokenizer"])
def test_lines_that_are_not_texts_are_not_taken_for_texts(kind: str) -> None:
    Path("vocab.txt").write_text("a,b\n</_>\n")
    as_json("tokenizer_config.json", {"tokenizer_class": kind})
    assert f"geom does not read the vocab.txt of {kind}" in note()


def test_a_vocabulary_of_many_languages_needs_one(own_folder: Path) -> None:
    as_json("vocab.json", {"eng": {"a": 0}, "deu": {"ß": 0}})
    assert "the vocabularies of 2 languages, and tokenizer_config.json does not say" in note()


def test_entries_that_mean_nothing_are_passed_over(byte_level: Tokenizer) -> None:
    plain = read(300)
    nonsense = {"added_tokens_decoder": {"x": {}, "7": 3, "8": {"content": 1}}, "bos_token": 7}
    as_json("tokenizer_config.json", {**nonsense, "model_max_length": 10**30})
    assert read(300) == plain
