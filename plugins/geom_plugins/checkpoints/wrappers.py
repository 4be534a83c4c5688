"""Names of tensors that wrappers of training lengthened.

torch.compile puts a model under ``_orig_mod``, DistributedDataParallel and DataParallel under
``module``, and FullyShardedDataParallel and its checkpointing put every part that they wrap under
``_fsdp_wrapped_module`` and ``_checkpoint_wrapped_module``. A state dict that was saved from the
wrapper and not from the model has these names in it.
"""

from __future__ import annotations

from collections.abc import Collection

from geom import InputError

_ANYWHERE = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
_AROUND = "module"
"""A name for the whole model; inside a model it may be that of a part."""


def unwrapped(names: Collection[str], where: str) -> tuple[dict[str, str], str | None]:
    """Return the name that each tensor has in its file by its name without wrappers, and a note.

    The note is None if no name has a wrapper. Raises InputError if two tensors get the same name.
    """
    around = bool(names) and all(name.startswith(f"{_AROUND}.") for name in names)
    found: dict[str, str] = {}
    seen: set[str] = set()
    for name in names:
        steps = name.split(".")
        seen |= set(steps) & set(_ANYWHERE)
        kept = [step for step in steps if step not in _ANYWHERE]
        if around and kept[0] == _AROUND:
            kept = kept[1:]
        short = ".".join(kept)
        if short in found:
            raise InputError(
                f"{where} has {found[short]!r} and {name!r}, which are one tensor with and without "
                "the names of a wrapper of training; save the state dict of the model itself "
                "(model.module, or model._orig_mod)"
            )
        found[short] = name
    if around:
        seen.add(_AROUND)
    if not seen:
        return found, None
    wrappers = ", ".join(f"{name}." for name in sorted(seen))
    return found, f"tensors are named without {wrappers} which a wrapper of training put there"
