"""``transformer-lens:DIR_OR_NAME``: the readout of a model as TransformerLens loads it."""

from __future__ import annotations

import gc
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta

import geom
from geom import (
    InputError,
    ModelSource,
    Network,
    Readout,
    hookimpl,
    install_command,
    parse_address,
)

if TYPE_CHECKING:
    from geom_plugins.checkpoints.folders import Folder


@dataclass(frozen=True)
class TransformerLensOptions:
    """The choice between TransformerLens's two forms of a model."""

    processed: Annotated[
        Literal["yes", "no"],
        Meta(description="fold the norm in and centre, as enable_compatibility_mode() does"),
    ] = "yes"


def load(location: str, options: TransformerLensOptions) -> Readout:
    """Load the readout of the TransformerBridge booted from a checkpoint directory or a name.

    The whole model is booted, on the CPU and in float32, TransformerLens's default; the tokenizer
    is read without TransformerLens, and may be missing. Raises InputError if the model cannot be
    found, booted or processed.
    """
    from geom_plugins.checkpoints.token_texts import read_tokens

    name, folder = _found(location)
    with _quiet():
        readout = geom.load(_boot(name, processed=options.processed == "yes"))
    gc.collect()  # the model refers to itself, so only this frees it
    tokens = read_tokens(folder, readout.V)
    if tokens is None:
        return readout
    return replace(
        readout, tokens=tokens.texts, kinds=tokens.kinds, notes=readout.notes + tokens.notes
    )


def network(location: str, options: TransformerLensOptions) -> Network:
    """Boot the bridge of a checkpoint directory or a name, and load its tokenizer.

    Raises InputError as `load` does, and if there is no tokenizer.
    """
    from geom_plugins.networks.bridges import bridge_network
    from geom_plugins.networks.texts import read_tokenizer

    name, _ = _found(location)
    with _quiet():
        bridge = _boot(name, processed=options.processed == "yes")
        return bridge_network(bridge, read_tokenizer(name, fetch=True))


def live(model: object, tokenizer: object) -> Network | None:
    """Return the network of a model of TransformerLens in memory."""
    from geom_plugins.networks.bridges import live_network

    return live_network(model, tokenizer)


def booted(location: str, options: TransformerLensOptions, dtype: str = "float32") -> Any:
    """Boot the bridge as `load` does, to run it, in a type of numbers that torch has."""
    name, _ = _found(location)
    with _quiet():
        return _boot(name, processed=options.processed == "yes", dtype=dtype)


def _found(location: str) -> tuple[str, Folder]:
    """Return the path or the Hub name of a location, and its folder."""
    from geom_plugins.architectures.configuration import read_config
    from geom_plugins.checkpoints.locations import open_folder

    if not location:
        raise InputError(
            "model transformer-lens: names no model; write transformer-lens:DIRECTORY or "
            "transformer-lens:OWNER/NAME"
        )
    path = parse_address(location).path
    if path is None:
        raise InputError(
            f"model transformer-lens: does not take a {location.partition('://')[0]}:// address; "
            "write transformer-lens:DIRECTORY or transformer-lens:OWNER/NAME"
        )
    if location[0] in "./~" and not path.exists():
        raise InputError(f"{location} does not exist; give a checkpoint's directory, or OWNER/NAME")
    name = str(path.resolve()) if path.exists() else _official(location)
    folder = open_folder(name, None)
    _refuse_multimodal(read_config(folder), folder.name)
    return name, folder


def _boot(name: str, processed: bool, dtype: str = "float32") -> Any:
    """Boot the bridge, with a dummy tokenizer."""
    import torch

    bridge_class = _bridge_class()
    try:
        bridge = bridge_class.boot_transformers(
            name, device="cpu", dtype=getattr(torch, dtype), tokenizer=_no_tokenizer()
        )
    except Exception as error:  # TransformerLens and transformers raise anything
        raise InputError(
            f"TransformerLens cannot load {name}: {_one_line(error)}; hf:{name} reads the "
            "checkpoint without it"
        ) from error
    bridge.tokenizer = None
    if not processed:
        return bridge
    try:
        bridge.enable_compatibility_mode(disable_warnings=True)
    except Exception as error:  # as above
        raise InputError(
            f"TransformerLens cannot process {name}: {_one_line(error)}; give ?processed=no"
        ) from error
    return bridge


def _bridge_class() -> Any:
    try:
        from transformer_lens.model_bridge import TransformerBridge
    except ImportError as error:
        raise InputError(
            f"model transformer-lens: needs TransformerLens 4 ({error}): "
            f"{install_command('transformer-lens')}"
        ) from error
    return TransformerBridge


def _official(name: str) -> str:
    """Return the Hub name of a model for which TransformerLens has an alias, such as gpt2-small."""
    with _quiet():
        _bridge_class()
        from transformer_lens.tools.model_registry.registry_io import resolve_model_alias

        return str(resolve_model_alias(name) or name)


def _no_tokenizer() -> Any:
    """Make a tokenizer for a bridge that sees no text; without one, the bridge looks for files."""
    import transformers
    from tokenizers import Tokenizer, models

    fast: Any = transformers.PreTrainedTokenizerFast
    return fast(
        tokenizer_object=Tokenizer(models.WordLevel({"?": 0}, unk_token="?")),
        unk_token="?",
        eos_token="?",
    )


def _refuse_multimodal(config: Any, name: str) -> None:
    """Raise InputError for a model that takes images or sound.

    TransformerLens would also boot its processor, and install packages for that.
    """
    if "vision_config" in config or "audio_config" in config:
        raise InputError(
            f"{name} takes images or sound, and TransformerLens would install packages for it; "
            f"hf:{name} reads its readout, or boot it yourself and give the model to geom.load"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' prints, warnings, log lines and progress bars out of geom's output."""
    handlers, threshold = list(logging.root.handlers), logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), _no_bars():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(threshold)
        logging.root.handlers[:] = handlers  # logging.warning() adds a handler if there is none


@contextmanager
def _no_bars() -> Iterator[None]:
    """Hide the progress bars of transformers, if it is installed."""
    try:
        import transformers
    except ImportError:
        yield
        return
    bars: Any = transformers.logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()


def _one_line(error: Exception) -> str:
    """Return the text of an error, shortened: some errors list every architecture there is."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    text = text.partition(". Available architectures")[0]
    return text if len(text) <= 200 else f"{text[:197]}..."


@hookimpl
def geom_sources() -> Iterator[ModelSource[TransformerLensOptions]]:
    yield ModelSource(
        "transformer-lens",
        "a model as TransformerLens loads it: a directory or a name",
        load,
        TransformerLensOptions,
        network=network,
        live=live,
    )
