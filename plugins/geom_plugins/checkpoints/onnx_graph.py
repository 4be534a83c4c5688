"""How an ONNX graph uses a matrix: as the head of a model, after which norm, with which bias."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from geom import InputError
from geom_plugins.checkpoints.onnx_format import FLOATS, Graph, Initialiser, Model, Node

Layout = Literal["vd", "dv"]
Norm = Literal["layernorm", "rmsnorm"]

_SAME = ("Cast", "Identity")
_ARRANGING = (
    *_SAME,
    *("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Gather", "GatherND", "Slice", "Dropout"),
)
"""The operators that keep or choose vectors, and change none of them."""

_MONOTONE = (*_ARRANGING, "Softmax", "LogSoftmax", "ArgMax", "TopK")
"""The operators after logits that keep their order."""

_ASKING = ("Shape", "Size")
"""The operators that take nothing of the logits but their number."""

_NORMS: dict[str, tuple[Norm, int]] = {
    "LayerNormalization": ("layernorm", 1),
    "SkipLayerNormalization": ("layernorm", 2),
    "RMSNormalization": ("rmsnorm", 1),
    "SimplifiedLayerNormalization": ("rmsnorm", 1),
    "SkipSimplifiedLayerNormalization": ("rmsnorm", 2),
}
"""The norms that are one operator: their kind, and which of the inputs is the scale.

A shift follows the scale, but in the last of them, which adds a bias before it normalises.
"""

_QUANTISED = (
    *("DequantizeLinear", "DynamicQuantizeMatMul", "MatMulNBits", "MatMulBnb4", "MatMulInteger"),
    *("MatMulIntegerToFloat", "QLinearMatMul", "QGemm", "MatMulFpQ4", "GatherBlockQuantized"),
)
"""The operators that take quantised weights, of ONNX and of onnxruntime."""


@dataclass(frozen=True)
class Use:
    """A product with a matrix: how it lies, and what the graph puts before and after it.

    Names are None for what the graph does not have. ``norm`` is None if no norm that is one
    operator comes before the product. ``after`` names operators that may change logits.
    """

    layout: Layout
    bias: str | None = None
    norm: Norm | None = None
    gamma: str | None = None
    beta: str | None = None
    after: tuple[str, ...] = ()


def find_use(model: Model, name: str) -> Use | None:
    """Return how the graph uses an initialiser as a matrix, or None if it is in no product.

    Raises InputError if it is quantised, or if the graph uses it in different ways.
    """
    uses = list(dict.fromkeys(_all_uses(model, name)))
    if len(uses) > 1:
        raise InputError(
            f"{model.name} uses {name} in {len(uses)} products, which differ in layout, norm or "
            "bias: give &layout=, &norm=, &gamma=, &beta= and &bias= of the one that you mean"
        )
    return uses[0] if uses else None


def likely_heads(model: Model) -> list[Initialiser]:
    """Return the matrices in products that may be a head, those with the longest side first."""
    views = [_View(model, graph) for graph in model.graphs]
    found = [
        tensor
        for name, (tensor, *_) in model.initialisers.items()
        if len(tensor.shape) == 2
        and tensor.type in FLOATS
        and any(view.products(name) for view in views)
    ]
    return sorted(found, key=lambda tensor: -max(tensor.shape))


def quantised_by(model: Model, names: Iterable[str] | None = None) -> list[str]:
    """Return the operators that take quantised weights: those of some names, or all."""
    wanted = None if names is None else set(names)
    return sorted(
        {
            node.op
            for graph in model.graphs
            for node in graph.nodes
            if node.op in _QUANTISED and (wanted is None or wanted & set(node.inputs))
        }
    )


def _all_uses(model: Model, name: str) -> Iterator[Use]:
    quantising = quantised_by(model, [name])
    if quantising:
        raise InputError(
            f"{name} of {model.name} is quantised, by {', '.join(quantising)}; give the model "
            "before it was quantised"
        )
    for graph in model.graphs:
        view = _View(model, graph)
        for node, layout in view.products(name):
            yield view.described(node, layout, name)


class _View:
    """A graph with its values by the operators that take them and give them."""

    def __init__(self, model: Model, graph: Graph) -> None:
        self._model = model
        self._takers: dict[str, list[Node]] = {}
        self._givers: dict[str, Node] = {}
        for node in graph.nodes:
            if not (node.inputs and node.outputs):
                continue
            for value in set(node.inputs):
                self._takers.setdefault(value, []).append(node)
            for value in node.outputs:
                self._givers[value] = node

    def products(self, name: str) -> list[tuple[Node, Layout]]:
        """Return the products with a matrix, which may be transposed before, and how it lies."""
        found: list[tuple[Node, Layout]] = []
        seen = {(name, False)}
        waiting = [(name, False)]
        while waiting:
            value, turned = waiting.pop()
            for node in self._takers.get(value, ()):
                if node.op in ("MatMul", "Gemm", "FusedMatMul"):
                    if node.inputs[1:2] == (value,):
                        by_rows = node.integers.get("transB", (0,)) != (0,)
                        found.append((node, "vd" if by_rows != turned else "dv"))
                    continue
                turns = node.op == "Transpose" and node.integers.get("perm", (1, 0)) == (1, 0)
                following = (node.outputs[0], turned != turns)
                if (turns or node.op in _SAME) and following not in seen:
                    seen.add(following)
                    waiting.append(following)
        return found

    def described(self, node: Node, layout: Layout, name: str) -> Use:
        """Return what comes before and after a product."""
        use = self._after(node, replace(self._norm(node.inputs[0]), layout=layout))
        alpha, beta = (node.floats.get(key, 1.0) for key in ("alpha", "beta"))
        if not alpha > 0 or (use.bias is not None and (alpha, beta) != (1.0, 1.0)):
            raise InputError(
                f"{self._model.name} scales the product with {name} or its bias by {node.op}'s "
                "alpha and beta, which geom does not read; give &layout=, &norm= and &bias= by hand"
            )
        return use

    def _norm(self, value: str) -> Use:
        """Return the norm that gives a value, if it is one operator with weights of its own."""
        node = self._back(value, _ARRANGING)
        none = Use("vd")
        if node is None or node.op not in _NORMS or node.integers.get("axis", (-1,)) != (-1,):
            return none
        kind, at = _NORMS[node.op]
        names = [self._origin(name) for name in node.inputs[at : at + 2] if name]
        shifted = kind == "layernorm" and len(node.inputs) > at + 1
        given = names if shifted else names[:1]
        if not given or any(name not in self._model.initialisers for name in given):
            return none
        return Use("vd", None, kind, given[0], given[1] if len(given) > 1 else None)

    def _back(self, value: str, through: tuple[str, ...]) -> Node | None:
        """Return the operator that gives a value as its first, before those to go through."""
        seen: set[str] = set()
        while value not in seen:
            seen.add(value)
            node = self._givers.get(value)
            if node is None or value != node.outputs[0]:
                return None
            if node.op not in through:
                return node
            value = node.inputs[0]
        return None

    def _origin(self, value: str) -> str:
        """Return the name of the initialiser behind a value that may be cast, else the value."""
        seen: set[str] = set()
        name = value
        while name not in self._model.initialisers:
            node = self._givers.get(name)
            if node is None or node.op not in _SAME or name in seen:
                return value
            seen.add(name)
            name = node.inputs[0]
        return name

    def _after(self, node: Node, use: Use) -> Use:
        """Add the bias, and the operators after it that may change logits."""
        bias = self._origin(node.inputs[2]) if node.inputs[2:] not in ((), ("",)) else None
        seen: set[str] = set()
        after: list[str] = []
        values = [node.outputs[0]]
        while values:
            value = values.pop()
            for taker in self._takers.get(value, ()):
                if taker.op in _ASKING:
                    continue
                added = self._added(taker, value)
                if added is not None and bias is None and not after:
                    bias = added
                elif taker.op not in _MONOTONE:
                    after.append(taker.op)
                    continue
                if taker.outputs[0] not in seen:
                    seen.add(taker.outputs[0])
                    values.append(taker.outputs[0])
        return replace(use, bias=bias, after=tuple(dict.fromkeys(after)))

    def _added(self, node: Node, value: str) -> str | None:
        """Return the initialiser that an operator adds to a value, None if it does not."""
        if node.op != "Add":
            return None
        others = [self._origin(name) for name in node.inputs if name != value]
        known = [name for name in others if name in self._model.initialisers]
        return known[0] if len(known) == 1 else None
