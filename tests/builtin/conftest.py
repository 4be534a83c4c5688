"""Fixtures of the tests of built-in plugins."""

from __future__ import annotations

import pytest


@pytest.fixture
def no_toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read as where transformers is not installed: what is guessed is not tried."""
    monkeypatch.setattr("geom_plugins.agreement.requirements.can_build", lambda: False)
