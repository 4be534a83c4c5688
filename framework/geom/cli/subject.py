"""The subject of a command: a run, with its weights if they are named, or a model."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from geom.loading import DEFAULT_MODEL, load, open_run
from geom.model.readout import Readout
from geom.plugins.options import by_plugin
from geom.progress import Watcher, watched
from geom.store import Run


def subject(
    run: Path | None,
    model: str | None,
    options: Mapping[str, Any],
    watcher: Watcher,
    allow_fetch: bool,
) -> AbstractContextManager[Run | str]:
    """Return the opened run, or without a run the model's name, by default ``demo``."""
    if run is None:
        return nullcontext(model or DEFAULT_MODEL)
    return open_with_weights(run, model, allow_fetch, watcher, options)


def open_with_weights(
    run: Path,
    model: str | None,
    allow_fetch: bool,
    watcher: Watcher | None = None,
    options: Mapping[str, Any] | None = None,
) -> Run:
    """Open the run with the weights of ``model``, or with the weights that it finds itself."""
    weights = named_weights(model, watcher, options)
    return open_run(run, weights, allow_fetch=allow_fetch)


def named_weights(
    model: str | None,
    watcher: Watcher | None = None,
    options: Mapping[str, Any] | None = None,
) -> Readout | None:
    """Return the readout of the model, or None if no model is named."""
    if not model:
        return None
    with watched(watcher):
        return load(model, by_plugin(options or {}))
