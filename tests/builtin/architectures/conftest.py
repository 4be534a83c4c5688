"""The rules of reading, as they are where nothing tries their guesses on a toy model."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def rules_alone(no_toys: None) -> None:
    """Let every test here see what the rules alone make of a checkpoint."""
