"""Arrays within a run file: one-dimensional, of int64 or float64, in NumPy's own .npy format.

The header is checked against what a run can hold, and against the length of the bytes, before any
array is made: a file may claim a shape of 10^9, or a type whose items take no bytes at all.
"""

from __future__ import annotations

import io
import re
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from geom.errors import StoreError

HEADER = 128
"""The bytes before the numbers, as NumPy writes them for one dimension."""

ITEM = 8
"""The bytes of one number."""

_PREFIX = re.compile(
    rb"\x93NUMPY\x01\x00(?s:(?P<length>..))"
    rb"\{'descr': '<(?P<kind>[fi]8)', 'fortran_order': False, 'shape': \((?P<count>\d{1,15}),\), \}"
    rb" *\n"
)


def blob(array: NDArray[Any]) -> bytes:
    """Return an array as the bytes that the file stores."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def array(data: object, kind: Literal["f8", "i8"], least: int, most: int) -> NDArray[Any]:
    """Read an array of ``kind`` with ``least`` to ``most`` numbers from bytes.

    Raises StoreError for anything else. Nothing is unpickled, and it takes no more memory than the
    bytes do.
    """
    if not isinstance(data, bytes):
        raise _damaged(f"it is {type(data).__name__}, not bytes")
    found = _PREFIX.match(data)
    if found is None or found.end() != 10 + int.from_bytes(found["length"], "little"):
        raise _damaged("its header is not that of a vector of float64 or int64")
    count = int(found["count"])
    if found["kind"] != kind.encode():
        raise _damaged(f"it holds {found['kind'].decode()} numbers, not {kind}")
    if not least <= count <= most:
        asked = f"{least}" if least == most else f"{least} to {most}"
        raise _damaged(f"it claims {count} numbers, not {asked}")
    if len(data) != found.end() + ITEM * count:
        raise _damaged(f"it claims {count} numbers and holds {len(data) - found.end()} bytes")
    return np.frombuffer(data, dtype=f"<{kind}", offset=found.end()).astype(kind)


def _damaged(reason: str) -> StoreError:
    return StoreError(f"an array of this run is damaged: {reason}")
