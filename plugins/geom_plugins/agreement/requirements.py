"""What it takes to run a model."""

from __future__ import annotations

from importlib.util import find_spec

NEEDS = "it needs transformers: pip install 'geom-unembed[replay]'"


def can_build() -> bool:
    """Return whether transformers and torch are installed."""
    return all(find_spec(name) is not None for name in ("torch", "transformers"))
