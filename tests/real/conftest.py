"""The two real models, loaded once for all tests. ``tox -e real`` runs this folder."""

from __future__ import annotations

import pytest

from support import real_models
from support.real_models import Real


@pytest.fixture(scope="session")
def smollm2() -> Real:
    return real_models.smollm2()


@pytest.fixture(scope="session")
def whisper() -> Real:
    return real_models.whisper()


@pytest.fixture(params=["smollm2", "whisper"])
def real(request: pytest.FixtureRequest) -> Real:
    """Give the test each model in turn."""
    found: Real = request.getfixturevalue(request.param)
    return found
