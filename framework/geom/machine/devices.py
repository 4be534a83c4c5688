"""Where arrays live and products are computed: NumPy, or torch on the processor or on a GPU.

Code for a device is written once, in the functions of the Python array API standard: ``device.xp``
is the namespace, `Device.put` and `Device.get` move arrays there and back. The code that runs
plugins sets the device with `using`; a plugin asks for it with `current_device`. The result of a
device is either a suggestion, or is bounded for any order of summation in the float type it is
computed in, so no verdict depends on the device.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from geom.errors import InputError
from geom.reprs import short_repr

NAMES = ("cpu", "torch", "cuda")
"""The values of ``--device``; ``cuda:1`` is the second GPU, ``torch`` is torch on the processor."""


@dataclass(frozen=True)
class Device:
    """A place for arrays: NumPy's memory, or torch's on the processor or on a GPU.

    Attributes
    ----------
    name : str
        ``cpu``, ``torch`` or ``cuda:N``.
    xp : module
        The functions of the array API standard for those arrays.
    """

    name: str
    xp: Any

    __repr__ = short_repr

    def put(self, array: NDArray[Any], dtype: DTypeLike | None = None) -> Any:
        """Move an array to the device, copying it if needed.

        Parameters
        ----------
        array : ndarray
            The array.
        dtype : DTypeLike, optional
            The type of the array there; its own type if None.

        Returns
        -------
        array
            The device's array, with the same shape.
        """
        values = np.asarray(array, dtype=dtype)
        if self.name == "cpu":
            return values
        if not values.flags.writeable:  # torch would warn that it might write to this memory
            values = values.copy()
        where = "cpu" if self.name == "torch" else self.name
        return self.xp.asarray(values, device=where)

    def get(self, array: Any) -> NDArray[Any]:
        """Move an array back to NumPy.

        Parameters
        ----------
        array : array
            The device's array.

        Returns
        -------
        ndarray
            NumPy's array, with the same shape and type.
        """
        return np.asarray(array if self.name == "cpu" else array.cpu().numpy())


def find_device(name: str) -> tuple[Device, str | None]:
    """Return the device of that name; if torch or the GPU is missing, NumPy and a warning.

    Raises InputError if the name is not one of `NAMES`.
    """
    if name == "cpu":
        return CPU, None
    if name != "torch" and not re.fullmatch(r"cuda(:\d+)?", name):
        raise InputError(f"device {name!r}: give cpu, cuda, cuda:1 or torch")
    try:
        import torch
        from array_api_compat import torch as xp
    except ImportError:
        return CPU, f"device {name}: torch is not installed, so NumPy computes; install torch"
    if name == "torch":
        return Device(name, xp), None
    index = int(name.partition(":")[2] or 0)
    if not torch.cuda.is_available():
        return CPU, f"device {name}: torch finds no GPU here, so NumPy computes"
    if index >= torch.cuda.device_count():
        raise InputError(f"device {name!r}: torch finds {torch.cuda.device_count()} GPUs here")
    return Device(f"cuda:{index}", xp), None


@contextmanager
def using(chosen: Device) -> Iterator[None]:
    """Make `current_device` return ``chosen`` within the block, with true float32 products.

    A GPU may be set to round the factors of such products to ten bits (TF32), which the bounds on
    rounding would not cover.
    """
    token = _device.set(chosen)
    try:
        with _full_float32() if chosen.name != "cpu" else nullcontext():
            yield
    finally:
        _device.reset(token)


@contextmanager
def _full_float32() -> Iterator[None]:
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def current_device() -> Device:
    """Return the device that plugins are asked to use.

    Returns
    -------
    Device
        NumPy, unless the run was given another device.
    """
    return _device.get()


CPU = Device("cpu", np)
"""NumPy, which has the functions of the standard."""

_device: ContextVar[Device] = ContextVar("geom_device", default=CPU)
