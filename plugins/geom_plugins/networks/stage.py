"""A loaded model, stopped at its final norm or started there.

A hook on the final norm tells what reaches the readout on real text: the model stops there, before
it computes any logits, and the norm's own code is applied to its input with scale 1 and shift 0. In
the other direction, the hook puts given vectors, scaled and shifted, in the place of the norm's
output, and the model's own head answers, with its rounding, scaling and soft cap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geom import Floats, InputError
from geom_plugins.agreement.toy_model import quiet
from geom_plugins.networks.final_norm import FinalNorm

_TRIED = 2
"""How many points the two ways of replaying are compared on."""

_ALIKE = 2.0**-7
"""The least difference, as a share of the largest logit, at which the two ways disagree."""


class _SeenError(Exception):
    """Raised by a hook to stop the model where nothing more is asked of it."""


@dataclass(eq=False)
class Stage:
    """A model and its final norm.

    ``run`` calls the model on ids (n, k) and returns its logits (n, k, V). Replayed points go
    through the head all at once, as one text, if ``_whole``, which the first call finds out.
    ``normalized`` is the module whose output is the norm's before scale and shift, if it has one.
    """

    run: Callable[[torch.Tensor], torch.Tensor]
    norm: FinalNorm
    device: torch.device
    dtype: str
    normalized: Any = None
    _whole: bool | None = field(default=None, init=False)

    def vectors(self, ids: Sequence[int], places: Sequence[int]) -> NDArray[np.float32]:
        """Return the norm's output, unscaled and unshifted, at some places (k, d) of a text."""
        h = self._seen(ids)
        h = h.reshape(-1, h.shape[-1])[torch.tensor(list(places), device=h.device)]
        if self.normalized is None:
            with torch.no_grad():
                h = torch.func.functional_call(self.norm.module, self._neutral(), (h[None],))[0]
        return np.asarray(h.float().cpu().numpy())

    def _seen(self, ids: Sequence[int]) -> torch.Tensor:
        """Return what comes into the norm or, if that can be seen, out of it unscaled."""
        seen: list[Any] = []

        def look(module: Any, given: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
            seen.extend([*given, *named.values()] if self.normalized is None else [output])
            raise _SeenError

        module = self.norm.module if self.normalized is None else self.normalized
        handle = module.register_forward_hook(look, with_kwargs=True)
        try:
            with torch.no_grad(), quiet():
                self.run(self._ids([list(ids)]))
        except _SeenError:
            pass
        finally:
            handle.remove()
        if len(seen) != 1 or not isinstance(seen[0], torch.Tensor):
            raise InputError(f"{self.norm.path} does not take vectors, and nothing else")
        return seen[0]

    def logits(self, ids: Sequence[int]) -> Floats:
        """Return the model's own logits (n, V) at every place of a text."""
        with torch.no_grad(), quiet():
            found = self.run(self._ids([list(ids)]))
        return np.asarray(found[0].double().cpu().numpy())

    def replayed(self, points: Floats) -> Floats:
        """Return the logits (n, V) with ``points`` (n, d) as the norm's unscaled output.

        The body runs on one token, and all points go through the head in its place, as if they
        were a text. If the code after the norm does not allow that, or answers otherwise, the body
        runs on as many texts as there are points.
        """
        if self._whole is None:
            self._whole = self._is_whole(points[:_TRIED])
        return self._from(points, 1 if self._whole else len(points))

    def _is_whole(self, points: Floats) -> bool:
        """Return whether points may go through the head as one text."""
        apart = self._from(points, len(points))
        try:
            together = self._from(points, 1)
        except Exception:  # the code after the norm may insist on the shape of its input
            return False
        if together.shape != apart.shape:
            return False
        return bool(np.abs(together - apart).max() <= _ALIKE * np.abs(apart).max())

    def _from(self, points: Floats, texts: int) -> Floats:
        """Run the body on that many texts of one token, and the head on all points."""

        def put(module: Any, given: tuple[Any, ...], output: Any) -> Any:
            scaled = self._scaled(points).to(output.dtype)
            shape = (texts, -1) if output.ndim == 3 else (-1,)
            return scaled.view(*shape, scaled.shape[-1])

        with _hooked(self.norm.module, put), torch.no_grad():
            found = self.run(self._ids([[0]] * texts))
        return np.asarray(found.reshape(-1, found.shape[-1]).double().cpu().numpy())

    def _scaled(self, points: Floats) -> torch.Tensor:
        """Apply the norm's scale and shift in float64."""
        y = torch.from_numpy(np.ascontiguousarray(points)).to(self.device)
        scale, shift = (_number(self.norm.module, name) for name in ("weight", "bias"))
        if scale is not None:
            y = y * (scale.float() + 1 if self.norm.plus_one else scale).double()
        return y if shift is None else y + shift.double()

    def _neutral(self) -> dict[str, torch.Tensor]:
        """Return the scale and shift with which the norm leaves its output as it is."""
        out = {}
        for name in ("weight", "bias"):
            part = _number(self.norm.module, name)
            if part is not None:
                plain = name == "bias" or self.norm.plus_one
                out[name] = torch.zeros_like(part) if plain else torch.ones_like(part)
        return out

    def _ids(self, ids: list[list[int]]) -> torch.Tensor:
        return torch.tensor(ids, dtype=torch.long, device=self.device)


def _number(module: Any, name: str) -> torch.Tensor | None:
    part = getattr(module, name, None)
    return part if isinstance(part, torch.Tensor) else None


@contextmanager
def _hooked(module: Any, hook: Callable[..., Any]) -> Iterator[None]:
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
