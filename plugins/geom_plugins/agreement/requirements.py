"""What it takes to run a model."""

from __future__ import annotations

from importlib.util import find_spec

from geom import install_command


def needs() -> str:
    """Return what a user reads who lacks it."""
    return f"it needs transformers: {install_command('replay')}"


def can_build() -> bool:
    """Return whether transformers and torch are installed."""
    return all(find_spec(name) is not None for name in ("torch", "transformers"))
