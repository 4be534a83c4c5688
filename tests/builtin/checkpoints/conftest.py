"""A tokenizer that several test files read."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from support.tokenizers import LINES


@pytest.fixture
def byte_level(own_folder: Path) -> Tokenizer:
    """Save a byte-level BPE like GPT-2's, which splits some characters into bytes."""
    built = Tokenizer(models.BPE())
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    built.train_from_iterator(LINES[::2], trainer)
    built.add_tokens([AddedToken("two Ġwords"), AddedToken("Ġadded"), AddedToken("naïve")])
    built.save("tokenizer.json")
    return built
