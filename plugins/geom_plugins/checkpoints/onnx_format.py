"""The ONNX format: a graph of operators, and its initialisers, the tensors with the weights.

The format is defined by ``onnx/onnx.proto`` of https://github.com/onnx/onnx, in Protocol Buffers.
Only the few fields that lead to the weights and to their use are read, without the onnx package:
that would take the whole file into memory.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geom import Filed, InputError
from geom_plugins.checkpoints.folders import LocalFolder
from geom_plugins.checkpoints.protobuf_wire import Field, Wire
from geom_plugins.checkpoints.spans import ByteFile, LocalFile

_TYPES = (
    *("UNDEFINED", "FLOAT", "UINT8", "INT8", "UINT16", "INT16", "INT32", "INT64", "STRING"),
    *("BOOL", "FLOAT16", "DOUBLE", "UINT32", "UINT64", "COMPLEX64", "COMPLEX128", "BFLOAT16"),
    *("FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "UINT4", "INT4"),
    *("FLOAT4E2M1", "FLOAT8E8M0", "UINT2", "INT2", "FLOAT6E2M3", "FLOAT6E3M2"),
)
"""The types of tensors in the order of their numbers."""

FLOATS = {"FLOAT": "<f4", "DOUBLE": "<f8", "FLOAT16": "<f2", "BFLOAT16": "bfloat16"}
"""The types that are read, as NumPy names them; integers are quantised, or no weights at all."""

_PACKED = {4: "FLOAT", 10: "DOUBLE"}
"""The fields that hold numbers of a type as the raw bytes do."""

_MOST_INITIALISERS, _MOST_NODES, _DEEPEST = 200_000, 2_000_000, 16
"""The largest models have some thousands of initialisers, and graphs in graphs three deep."""


@dataclass(frozen=True)
class Initialiser:
    """A tensor with its name, type and shape, and where its bytes are, if geom can read them."""

    name: str
    type: str
    shape: tuple[int, ...]
    file: ByteFile | None = None
    begin: int = 0
    end: int = 0
    external: Mapping[str, str] | None = None

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Read a slice of rows, along the first axis. Raises InputError if it cannot be read."""
        return self.filed()[rows]

    def filed(self) -> Filed:
        """Return the tensor as an array in its file."""
        assert self.file is not None
        return self.file.span(self.begin, self.end).filed(_numpy(self.type), self.shape)


@dataclass(frozen=True)
class Node:
    """An operator: the names of what it takes and gives, and those of its settings that matter."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    integers: Mapping[str, tuple[int, ...]]
    floats: Mapping[str, float]


@dataclass
class Graph:
    """The operators of a graph, or of one inside an operator that chooses or repeats."""

    nodes: list[Node] = field(default_factory=list)


@dataclass(frozen=True)
class Model:
    """An ONNX model: its initialisers by name, in all its graphs, and the graphs."""

    name: str
    folder: LocalFolder
    initialisers: Mapping[str, list[Initialiser]]
    graphs: list[Graph]

    def tensor(self, name: str) -> Initialiser:
        """Return an initialiser that can be read. Raises InputError, with the nearest, otherwise.

        Numbers in another file are looked for in the model's own folder.
        """
        if name not in self.initialisers:
            near = get_close_matches(name, self.initialisers, n=1) or list(self.initialisers)[:8]
            raise InputError(
                f"{self.name} has no initialiser {name!r}; it has {', '.join(near) or 'none'}"
            )
        found = self.initialisers[name]
        if len(found) > 1:
            raise InputError(f"{self.name} has {len(found)} initialisers {name!r}, in its graphs")
        tensor = found[0]
        if tensor.type not in FLOATS:
            raise InputError(
                f"{name} of {self.name} is {tensor.type}: geom reads {', '.join(FLOATS)}; give the "
                "model before it was quantised"
            )
        return self._external(tensor) if tensor.external is not None else self._stored(tensor)

    def _stored(self, tensor: Initialiser) -> Initialiser:
        if tensor.file is None:
            raise InputError(
                f"{tensor.name} of {self.name} is not stored as raw bytes; make it anew with "
                "onnx.numpy_helper.from_array, which does"
            )
        return self._checked(tensor)

    def _external(self, tensor: Initialiser) -> Initialiser:
        """Return the tensor in the file beside the model that holds its numbers."""
        given = tensor.external or {}
        try:
            begin, length = int(given.get("offset", "0")), int(given.get("length", "-1"))
        except ValueError as error:
            raise InputError(
                f"{tensor.name} of {self.name} has a place that is no number"
            ) from error
        name = given.get("location", "")
        file = self.folder.open(name)
        end = begin + length if "length" in given else file.size
        if not 0 <= begin <= end <= file.size:
            raise InputError(
                f"{tensor.name} of {self.name} lies outside {name}, which may be cut short; fetch "
                "it again"
            )
        place = Initialiser(tensor.name, tensor.type, tensor.shape, file, begin, end)
        return self._checked(place)

    def _checked(self, tensor: Initialiser) -> Initialiser:
        wanted = prod(tensor.shape) * _numpy(tensor.type).itemsize
        if tensor.end - tensor.begin != wanted:
            raise InputError(
                f"{tensor.name} of {self.name} has {tensor.end - tensor.begin} bytes, and needs "
                f"{wanted}; fetch the model again"
            )
        return tensor


def open_onnx(path: Path) -> Model:
    """Read the graph and the names of the weights; the weights are passed over.

    Raises InputError if the file is not an ONNX model, or is damaged.
    """
    file = LocalFile(path)
    wire = Wire(file)
    reader = _Reader(file, wire)
    try:
        whole = [part for part in wire.fields(0, file.size) if part.number == 7 and part.is_span]
        if len(whole) != 1:
            raise ValueError("it has no graph" if not whole else f"it has {len(whole)} graphs")
        reader.graph(whole[0], depth=0)
    except ValueError as error:
        raise InputError(f"{path} is not an ONNX model, or is damaged: {error}") from error
    return Model(str(path), LocalFolder(path.parent), reader.initialisers, reader.graphs)


def _numpy(name: str) -> np.dtype[Any]:
    if name == "BFLOAT16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)  # type: ignore[no-any-return]  # it has no types
    return np.dtype(FLOATS[name])


class _Reader:
    """Collects the initialisers and graphs of a model. Every method may raise ValueError."""

    def __init__(self, file: ByteFile, wire: Wire) -> None:
        self.initialisers: dict[str, list[Initialiser]] = {}
        self.graphs: list[Graph] = []
        self._file, self._wire = file, wire
        self._counts = {"initialisers": 0, "operators": 0}

    def graph(self, place: Field, depth: int) -> None:
        """Read a GraphProto, and the graphs in its operators."""
        if depth > _DEEPEST:
            raise ValueError("its graphs are nested too deeply")
        graph = Graph()
        self.graphs.append(graph)
        for part in self._spans(place):
            if part.number == 1:
                self._count("operators", _MOST_NODES)
                graph.nodes.append(self._node(part, depth))
            elif part.number == 5:
                self._count("initialisers", _MOST_INITIALISERS)
                tensor = self._tensor(part)
                self.initialisers.setdefault(tensor.name, []).append(tensor)

    def _spans(self, place: Field) -> Iterator[Field]:
        return (f for f in self._wire.fields(place.begin, place.end) if f.is_span)

    def _count(self, what: str, most: int) -> None:
        self._counts[what] += 1
        if self._counts[what] > most:
            raise ValueError(f"it has more than {most} {what}")

    def _node(self, place: Field, depth: int) -> Node:
        texts: dict[int, list[str]] = {1: [], 2: [], 4: []}
        integers: dict[str, tuple[int, ...]] = {}
        floats: dict[str, float] = {}
        for part in self._spans(place):
            if part.number in texts:
                texts[part.number].append(self._wire.text(part))
            elif part.number == 5:
                self._attribute(part, integers, floats, depth)
        op = texts[4][0] if texts[4] else ""
        return Node(op, tuple(texts[1]), tuple(texts[2]), integers, floats)

    def _attribute(
        self,
        place: Field,
        integers: dict[str, tuple[int, ...]],
        floats: dict[str, float],
        depth: int,
    ) -> None:
        """Read an AttributeProto: its numbers, and the graphs in it."""
        name, found = "", []
        for part in self._wire.fields(place.begin, place.end):
            if part.number == 1:
                name = self._wire.text(part)
            elif part.number == 2 and not part.is_span:
                floats[name] = struct.unpack("<f", part.value.to_bytes(8, "little")[:4])[0]
            elif part.number == 3 and not part.is_span:
                found.append(part.value)
            elif part.number == 8 and part.end - part.begin <= 80:  # an order of axes, not data
                found += self._wire.numbers(part)
            elif part.number in (6, 11) and part.is_span:
                self.graph(part, depth + 1)
        if found:
            integers[name] = tuple(n - (1 << 64) if n >> 63 else n for n in found)

    def _tensor(self, place: Field) -> Initialiser:
        """Read a TensorProto up to its numbers, of which only the place is kept."""
        name, kind = "", 0
        shape: list[int] = []
        stored: list[tuple[str | None, Field]] = []
        external: dict[str, str] = {}
        is_external = False
        for part in self._wire.fields(place.begin, place.end):
            if part.number == 1:
                shape += self._wire.numbers(part)
            elif part.number == 2:
                kind = part.value
            elif part.number == 8:
                name = self._wire.text(part)
            elif part.number == 13 and part.is_span:
                key, value = self._entry(part)
                external[key] = value
            elif part.number == 14:
                is_external = part.value == 1
            elif part.number == 9 or part.number in _PACKED:
                stored.append((_PACKED.get(part.number), part))
            if len(shape) > 16:
                raise ValueError(f"its initialiser {name!r} has more than 16 dimensions")
        type = _TYPES[kind] if kind < len(_TYPES) else f"of the unknown type {kind}"
        if any(size >> 62 for size in shape):
            raise ValueError(f"its initialiser {name!r} has a shape that is not one")
        out = Initialiser(name, type, tuple(shape))
        if is_external:
            return Initialiser(name, type, tuple(shape), external=external)
        if len(stored) == 1 and stored[0][1].is_span and stored[0][0] in (None, type):
            span = stored[0][1]
            return Initialiser(name, type, tuple(shape), self._file, span.begin, span.end)
        return out

    def _entry(self, place: Field) -> tuple[str, str]:
        """Read a StringStringEntryProto."""
        texts = {f.number: self._wire.text(f) for f in self._spans(place)}
        return texts.get(1, ""), texts.get(2, "")
