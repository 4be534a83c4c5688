"""The logits of a model of transformers, for a few inputs that its class accepts."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from geom import Floats, InputError, track_progress
from geom_plugins.agreement.toy_model import quiet

if TYPE_CHECKING:
    import torch

    from geom_plugins.agreement.toy_model import Model

_LENGTH = 8
"""How many ids a text has."""

_TEXTS = 3
"""How many texts there are."""


_BINS = ("num_mel_bins", "feature_size", "input_feat_per_channel", "feature_projection_input_dim")
"""The names of the number of features that an encoder of sound takes."""


def model_logits(model: Model, ids: Sequence[int]) -> Floats:
    """Return the logits (n, V) of a model at the positions of a few short random texts.

    A decoder gets ids; one with an encoder gets ids for both; an encoder of sound or images gets
    noise.

    Parameters
    ----------
    model : Model
        The model, ready to be called.
    ids : sequence of int
        The ids that the texts are drawn from.

    Raises
    ------
    InputError
        If the class accepts none of the inputs that are known here, or gives no logits.
    """
    import torch

    texts = track_progress(range(_TEXTS), f"run {type(model).__name__}", _TEXTS, "texts")
    draws = (torch.Generator().manual_seed(text) for text in texts)
    return np.concatenate([_of_text(model, ids, draw) for draw in draws])


def _of_text(model: Model, ids: Sequence[int], generator: torch.Generator) -> Floats:
    """Return the logits of one text, for the first inputs that the class accepts."""
    import torch

    name = type(model).__name__
    failures = []
    for given in _inputs(model, ids, generator):
        try:
            with torch.no_grad(), quiet():
                out = model(**given)
        except Exception as error:  # a class may raise anything for inputs that do not suit it
            failures.append(_line(error))
            continue
        found = out.get("logits") if hasattr(out, "get") else None
        if not isinstance(found, torch.Tensor):
            raise InputError(f"{name} returns no logits")
        if found.ndim > 3:
            raise InputError(f"{name} has several heads: its logits are {tuple(found.shape)}")
        return np.asarray(found.reshape(-1, found.shape[-1]).double().cpu().numpy())
    reasons = "; ".join(dict.fromkeys(failures)) or "none is known for it"
    raise InputError(f"{name} accepts none of the inputs that geom tries: {reasons}")


def _line(error: Exception) -> str:
    """Return an error's type and message in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]


def _inputs(
    model: Model, ids: Sequence[int], generator: torch.Generator
) -> Iterator[dict[str, Any]]:
    """Yield inputs, the plainest first."""
    import torch

    takes = inspect.signature(model.forward).parameters
    dtype = next(p.dtype for p in model.parameters() if p.is_floating_point())

    def text(length: int = _LENGTH) -> torch.Tensor:
        places = torch.randperm(len(ids), generator=generator)[:length]
        return torch.tensor([[ids[int(place)] for place in places]])

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    plain: dict[str, Any] = {}
    if "use_cache" in takes:
        plain["use_cache"] = False
    decoder = {"decoder_input_ids": text()} if "decoder_input_ids" in takes else {}
    if "input_ids" in takes:
        yield {"input_ids": text(), **decoder, **plain}
        ones = torch.ones((1, _LENGTH), dtype=torch.long)
        yield {"input_ids": text(), "attention_mask": ones, **decoder, **plain}
        if "bbox" in takes:
            yield {"input_ids": text(), "bbox": torch.zeros((1, _LENGTH, 4)), **decoder, **plain}
    heard = [name for name in ("input_features", "input_values") if name in takes]
    for name in heard:
        words = decoder or ({"input_ids": text()} if "input_ids" in takes else {})
        bins = _setting(model.config, *_BINS)
        long = _setting(model.config, "max_source_positions") or 64
        shapes: list[tuple[int, ...]] = [(1, 16000)] if name == "input_values" else []
        if bins:
            shapes += [(1, bins, 2 * long), (1, 64, bins), (1, bins, 64)]
        for shape in shapes:
            yield {name: noise(*shape), **words, **plain}
    if "pixel_values" in takes:
        size = _setting(model.config, "image_size") or 32
        side = (size, size) if isinstance(size, int) else tuple(size)[-2:]
        words = decoder or ({"input_ids": text()} if "input_ids" in takes else {})
        yield {"pixel_values": noise(1, 3, *side), **words, **plain}
        if "image_attention_mask" in takes:
            plain["image_attention_mask"] = torch.ones((1, _LENGTH, 1), dtype=torch.long)
        yield {"pixel_values": noise(1, 1, 3, *side), **words, **plain}


def _setting(config: Any, *names: str) -> Any:
    """Return the first of these settings that the configuration, or a part of it, has."""
    parts = [config, *(getattr(config, part, None) for part in config.sub_configs)]
    return next(
        (v for part in parts for name in names if (v := getattr(part, name, None)) is not None),
        None,
    )
