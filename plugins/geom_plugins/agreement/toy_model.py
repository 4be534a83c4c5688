"""A toy model: the class that transformers builds for a configuration, small and random."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from geom import InputError
from geom_plugins.agreement.toy_sizes import V, bounded, shrunk

Model = Any
"""A model of transformers; Any, as its types differ from one release to the next."""

_MAPPINGS = (
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
    "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES",
    "MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES",
)
"""transformers' own tables of the classes that end in a head over a vocabulary."""

_MOST = 20_000_000
"""The most numbers a toy model may have; a configuration that makes more was not understood."""


def headed_classes() -> dict[str, tuple[str, ...]]:
    """Return, by ``model_type``, transformers' classes that end in a head over a vocabulary."""
    from transformers.models.auto import modeling_auto

    out: dict[str, dict[str, None]] = {}
    for mapping in _MAPPINGS:
        for kind, named in getattr(modeling_auto, mapping, {}).items():
            for name in [named] if isinstance(named, str) else named:
                out.setdefault(kind, {})[name] = None
    return {kind: tuple(names) for kind, names in sorted(out.items())}


def head_class(config: Mapping[str, Any]) -> str:
    """Return the name of the class that a checkpoint's configuration asks for.

    It is the one that ``architectures`` names, if that has a head over a vocabulary, else the first
    that transformers' auto classes give. Raises InputError if transformers knows none.
    """
    kind = str(config.get("model_type", ""))
    known = headed_classes().get(kind, ())
    for name in config.get("architectures") or ():
        if name in known:
            return str(name)
    if not known:
        raise InputError(
            f"transformers has no class with a head over a vocabulary for model_type {kind!r}"
        )
    return known[0]


def build(
    config: Mapping[str, Any], name: str | None = None, *, seed: int = 0, **changes: Any
) -> Model:
    """Build the toy model of a configuration, in float32, with all its numbers drawn at random.

    No code but transformers' own is run, and nothing is fetched.

    Parameters
    ----------
    config : mapping
        What ``config.json`` holds; ``{"model_type": ...}`` is enough.
    name : str, optional
        The class, if not the one that `head_class` gives.
    seed : int, optional
        The seed of the numbers.
    **changes
        Settings of the toy that replace the shrunk ones; None removes a setting.

    Raises
    ------
    InputError
        If transformers does not know the class, or cannot build it at toy size.
    """
    name = name or head_class(config)
    try:
        with quiet():
            small = toy_config(config, **changes)
            return _filled(_made(name, small), seed)
    except InputError:
        raise
    except Exception as error:  # the code of a few hundred architectures raises anything
        raise InputError(
            f"transformers cannot build {name} at toy size: {type(error).__name__}: "
            f"{str(error).strip().splitlines()[0][:200] if str(error).strip() else ''}"
        ) from error


def toy_config(config: Mapping[str, Any], **changes: Any) -> Any:
    """Return transformers' configuration of the toy model."""
    from transformers import CONFIG_MAPPING

    made = CONFIG_MAPPING[str(config["model_type"])]
    full = made.from_dict(bounded(config))
    settings = shrunk(full.to_dict()) | changes
    gone = [name for name, value in changes.items() if value is None]
    return made.from_dict({name: settings[name] for name in settings if name not in gone})


def save(model: Model, where: Path, **options: Any) -> Path:
    """Save the model as transformers does."""
    with quiet():
        model.save_pretrained(where, **options)
    return where


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from warning about sizes, and from showing bars."""
    import transformers

    logging: Any = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _made(name: str, config: Any) -> Model:
    """Build the class; raise InputError if it would be large."""
    import torch
    import transformers

    made = getattr(transformers, name)
    if not isinstance(config, made.config_class):
        text = config.get_text_config(decoder=True)
        if isinstance(text, made.config_class):  # the decoder alone, of a larger model
            config = text
    config._attn_implementation = "eager"
    with torch.device("meta"):
        numbers = sum(p.numel() for p in made(config).parameters())
    if numbers > _MOST:
        raise InputError(f"{name} has {numbers} numbers at toy size: a size was not understood")
    return made(config)


def _filled(model: Model, seed: int) -> Model:
    """Draw all numbers of the model.

    Scales, shifts and biases are drawn too, around what they are at first: so a scale read with or
    without its 1, or a bias that is lost, shows.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    stored = model.state_dict().keys()
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if not tensor.is_floating_point() or name not in stored:
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            if isinstance(tensor, torch.nn.Parameter):
                if tensor.ndim <= 1:
                    tensor.add_(0.3 * noise)
                else:
                    tensor.copy_(noise / tensor.shape[-1] ** 0.5)
            elif tensor.shape[-1:] == (V,):  # a bias over the vocabulary
                tensor.copy_(noise)
    return model.eval()
