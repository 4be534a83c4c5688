"""Tokenizer files that are missing or damaged."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from geom import InputError
from geom_plugins.checkpoints.folders import LocalFolder
from geom_plugins.checkpoints.token_texts import read_tokens
from support.tokenizers import as_json, read

pytestmark = pytest.mark.usefixtures("own_folder")


def test_a_checkpoint_without_a_tokenizer_has_no_tokens() -> None:
    assert read_tokens(LocalFolder(Path()), 5) is None


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"model": 3}', '{"model": {}}', "[" * 10**5])
def test_a_tokenizer_json_that_is_none_is_refused(content: str) -> None:
    Path("tokenizer.json").write_text(content)
    with pytest.raises(
        InputError, match=r"tokenizer\.json of \. is not a tokenizer file"
    ) as refused:
        read(3)
    assert "remove it to do without token texts" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("vocab.json", b'{"a": "b"}'),
        ("vocab.json", b"\xff"),
        ("vocab.txt", b"\xff\xfe"),
        ("tokenizer.model", b"no protobuf"),
        ("tokenizer.model", b""),
    ],
)
def test_a_damaged_vocabulary_is_one_line(name: str, content: bytes) -> None:
    Path(name).write_bytes(content)
    with pytest.raises(
        InputError, match=re.escape(f"{name} of . is not a tokenizer file")
    ) as refused:
        read(3)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "name", ["added_tokens.json", "special_tokens_map.json", "tokenizer_config.json"]
)
def test_a_damaged_file_beside_the_tokenizer_is_one_line(name: str, byte_level: Tokenizer) -> None:
    Path(name).write_text("[]")
    with pytest.raises(InputError, match=re.escape(f"{name} of . is not a tokenizer file")):
        read(3)


def test_entries_that_mean_nothing_are_passed_over(byte_level: Tokenizer) -> None:
    plain = read(300)
    nonsense = {"added_tokens_decoder": {"x": {}, "7": 3, "8": {"content": 1}}, "bos_token": 7}
    as_json("tokenizer_config.json", {**nonsense, "model_max_length": 10**30})
    assert read(300) == plain
