"""A readout with an adapter on it, as peft computes it when the two are loaded together.

``W x + b`` and ``scale * B (A x)`` are one matrix in exact arithmetic: ``W + scale * B A``. That
matrix is read, not the one that peft's ``merge`` rounds to the type of the weights.

In a model whose head is tied to its embedding, the layer that peft puts around the one leaves the
other alone, except that rows trained for single tokens go to both (peft's ``TrainableTokens``).
Merged by peft, the one matrix of both has what either layer adds to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geom import InputError, SlicedArray
from geom_plugins.adapters.configuration import CONFIG, AdapterConfig
from geom_plugins.adapters.low_rank import LowRank, OfLength, WithRows, numbers
from geom_plugins.adapters.pieces import Piece, Role, leads_into, parsed, same
from geom_plugins.architectures.heads import PLAIN, head_of
from geom_plugins.architectures.named_parts import Parts
from geom_plugins.architectures.table import ARCHITECTURES
from geom_plugins.checkpoints.weights import Weights

_HEADS = frozenset(PLAIN) | {head for entry in ARCHITECTURES.values() for head in entry.heads}
"""The names that heads have in models, also in those that store none because it is tied."""

_MERGE = "merge the adapter with peft (merge_and_unload) and give that checkpoint"


@dataclass(frozen=True)
class Arrays:
    """The arrays of a readout: the matrix, its bias, the final norm's scale and shift."""

    W: SlicedArray
    b: NDArray[Any] | None
    gamma: NDArray[Any] | None
    beta: NDArray[Any] | None


@dataclass(frozen=True)
class Adapter:
    """An adapter: its tensors, what each is, and its configuration, None if there is none.

    ``merged`` asks for the model that peft's ``merge_and_unload`` leaves, which is another one if
    the head is tied to an embedding with a LoRA.
    """

    where: str
    config: AdapterConfig | None
    weights: Weights
    pieces: tuple[Piece, ...]
    merged: bool = False
    _notes: list[str] = field(default_factory=list)

    def applied(self, parts: Parts, arrays: Arrays) -> tuple[Arrays, tuple[str, ...]]:
        """Return the arrays as the adapter leaves them, and notes on what it does.

        Raises InputError if the adapter changes the readout in a way that is not read.
        """
        self._refuse_unknown(parts)
        self._notes.clear()
        names = {p.adapter for p in self._touching(parts) if p.adapter is not None}
        if len(names) > 1:
            raise InputError(
                f"{self.where} has several adapters of its readout, {', '.join(sorted(names))}; "
                f"{_MERGE}"
            )
        W, b = self._head(parts, arrays.W, arrays.b)
        if parts.bias is not None and not same(_module(parts.bias), _module(parts.unembed)):
            b = self._replaced(parts.bias, b)
        if parts.projection is not None and self._of(_module(parts.projection)):
            raise InputError(f"{self.where} adapts {parts.projection}, which is not read; {_MERGE}")
        gamma = self._norm(parts.gamma, arrays.gamma)
        beta = self._norm(parts.beta, arrays.beta)
        kind = self.config.kind if self.config else "in the checkpoint"
        notes = tuple(self._notes) or ("it leaves the readout as it is",)
        return Arrays(W, b, gamma, beta), tuple(
            f"adapter {self.where} ({kind}): {n}" for n in notes
        )

    # Which tensors

    def _of(self, module: str) -> list[Piece]:
        return [p for p in self.pieces if p.leaf and same(p.module, module)]

    def _of_head(self, parts: Parts) -> list[Piece]:
        """Return the pieces of the head, whose name the checkpoint lacks if it is tied."""
        module = _module(parts.unembed)
        if not _is_tied(parts):
            return self._of(module)
        return [p for p in self.pieces if p.leaf and any(same(p.module, h) for h in _HEADS)]

    def _touching(self, parts: Parts) -> Iterator[Piece]:
        yield from self._of_head(parts)
        for name in (parts.unembed, parts.bias, parts.gamma, parts.beta, parts.projection):
            if name is not None:
                yield from self._of(_module(name))

    def _refuse_unknown(self, parts: Parts) -> None:
        """Raise InputError for a tensor of the readout that no rule here explains."""
        named = (parts.unembed, parts.bias, parts.gamma, parts.beta, parts.projection)
        modules = {_module(name) for name in named if name is not None}
        if _is_tied(parts):
            modules |= _HEADS
        for piece in self.pieces:
            if piece.kind == "ignored":
                continue
            explained = piece.kind != "unknown" and any(same(piece.module, m) for m in modules)
            path = f"{piece.module}.{piece.leaf}".rstrip(".")
            strange = head_of(path) is not None or any(leads_into(piece.module, m) for m in modules)
            if strange and not explained:
                kind = self.config.kind if self.config else "unknown"
                raise InputError(
                    f"{self.where} is an adapter of the kind {kind} that changes the readout by "
                    f"{piece.name}, which geom does not read; {_MERGE}"
                )

    def _tensor(self, piece: Piece) -> SlicedArray:
        return self.weights.tensor(piece.name)

    # The norm, and a bias of its own

    def _norm(self, name: str | None, array: NDArray[Any] | None) -> NDArray[Any] | None:
        if name is None:
            return array
        for piece in self._of(_module(name)):
            if piece.kind == "role":
                raise InputError(
                    f"{self.where} adapts the final norm by {piece.name}, which geom does not "
                    f"read; {_MERGE}"
                )
        return self._replaced(name, array)

    def _replaced(self, name: str, array: NDArray[Any] | None) -> NDArray[Any] | None:
        """Return the adapter's copy of a parameter, or the base's."""
        leaf = name.rpartition(".")[2]
        mine = [p for p in self._of(_module(name)) if p.leaf == leaf and p.kind != "role"]
        piece = self._chosen(mine)
        if piece is None:
            return array
        found = self._tensor(piece)
        if array is not None and found.shape != array.shape and leaf != "bias":
            raise InputError(
                f"{self.where}: {piece.name} has shape {found.shape}, and {name} of the base "
                f"{array.shape}; the adapter was made for another base"
            )
        self._notes.append(f"{name} is its own")
        return found[:]

    def _chosen(self, pieces: Sequence[Piece]) -> Piece | None:
        """Return the parameter in use: a copy that takes the place of the base's own comes first.

        Raises InputError if two could be meant.
        """
        for kinds in (("saved", "plain"), ("base",)):
            found = [p for p in pieces if p.kind in kinds]
            if len(found) > 1 and any(p.kind == "saved" for p in found):
                found = [p for p in found if p.kind == "saved"]
            if len(found) > 1:
                raise InputError(
                    f"{self.where} has both {found[0].name} and {found[1].name}; {_MERGE}"
                )
            if found:
                return found[0]
        return None

    # The head

    def _head(
        self, parts: Parts, W: SlicedArray, b: NDArray[Any] | None
    ) -> tuple[SlicedArray, NDArray[Any] | None]:
        head = self._of_head(parts)
        tied = self._of(_module(parts.unembed)) if _is_tied(parts) else []
        own = self._chosen([p for p in head if p.leaf == "weight" and p.kind != "role"])
        if own is None and tied:
            own = self._of_embedding(tied, bool(head), W)
        if own is not None:
            W = self._own(own, parts, W)
        bias = f"{_module(parts.unembed)}.bias"
        if any(p.leaf == "bias" and p.kind != "role" for p in head) and not tied:
            b = self._replaced(bias, b)
        rows = [p for p in head if p.role == "tokens"]
        shared = [p for p in tied if p.role == "tokens"]
        if rows and shared and self.merged:
            raise InputError(
                f"{self.where} trains tokens of the head and of the embedding that it is tied to, "
                f"which merged are one; {_MERGE}"
            )
        low = self._roles(head)
        below = self._roles([p for p in tied if p.role not in (None, "tokens")])
        if rows or shared:
            if low or (below and self.merged):
                raise InputError(
                    f"{self.where} adapts the head by {(rows or shared)[0].name} and by "
                    f"{(low or below)[0].name}; {_MERGE}"
                )
            return self._with_rows(rows or shared, W), b
        if below and self.merged:
            W = self._low_rank_embedding(below, parts, W)
        elif below:
            self._notes.append(
                f"its LoRA of {_module(parts.unembed)} leaves the head alone, which is tied to it; "
                "merged by peft the head would be another, ?adapter=merged"
            )
        if low:
            W, b = self._low_rank(low, parts, W, b)
        return W, b

    def _of_embedding(self, tied: list[Piece], has_head: bool, W: SlicedArray) -> Piece | None:
        """Return the weight of the embedding if the adapter changes the tied parameter itself."""
        found = self._chosen([p for p in tied if p.leaf == "weight" and p.kind != "role"])
        if found is None:
            return None
        copy = found.kind == "saved" or (
            self.config is not None and self.config.saves(found.module)
        )
        if not copy or found.kind == "base":
            return found
        shape = self._tensor(found).shape
        if shape != W.shape and not has_head:
            raise InputError(
                f"{self.where} has an embedding of shape {shape}, and the base a tied one of "
                f"{W.shape}: the head was resized with it, and its new rows are not there; {_MERGE}"
            )
        self._notes.append(
            f"its own {found.module} is not the head, which keeps the base's: peft copies the "
            "embedding of a tied model"
        )
        return None

    def _own(self, piece: Piece, parts: Parts, W: SlicedArray) -> SlicedArray:
        found = self._tensor(piece)
        if len(found.shape) != 2 or found.shape[1] != W.shape[1]:
            raise InputError(
                f"{self.where}: {piece.name} has shape {found.shape}, and {parts.unembed} of the "
                f"base {W.shape}; the adapter was made for another base"
            )
        resized = "" if found.shape == W.shape else f", with {found.shape[0]} rows for {W.shape[0]}"
        self._notes.append(f"the head is its own {piece.module}.{piece.leaf}{resized}")
        return found

    def _roles(self, head: list[Piece]) -> list[Piece]:
        low = [p for p in head if p.kind == "role" and p.role != "tokens"]
        if low and (self.config is None or self.config.kind != "LORA"):
            kind = f"an adapter of the kind {self.config.kind}" if self.config else "not described"
            missing = "" if self.config else f": there is no {CONFIG}"
            raise InputError(
                f"{self.where} adapts {low[0].module} by {low[0].name}, and is {kind}{missing}; "
                f"{_MERGE}"
            )
        return low

    def _low_rank(
        self, low: list[Piece], parts: Parts, W: SlicedArray, b: NDArray[Any] | None
    ) -> tuple[SlicedArray, NDArray[Any] | None]:
        """Return W + s B A, with DoRA's lengths if it has them, and the bias that B may have."""
        assert self.config is not None
        found = self._by_role(low)
        A, B = found.get(("A", "weight")), found.get(("B", "weight"))
        if A is None or B is None or any(role.endswith("embedding") for role, _ in found):
            raise InputError(f"{self.where} has {low[0].name} alone for the head; fetch it again")
        right = numbers(self._tensor(A), A.name)
        left = self._tensor(B)
        V, d = W.shape
        if right.ndim != 2 or left.shape != (V, right.shape[0]) or right.shape[1] != d:
            raise InputError(
                f"{self.where}: {A.name} and {B.name} have the shapes {right.shape} and "
                f"{left.shape}, and the head {W.shape}; the adapter was made for another base"
            )
        scale = self.config.scale(B.module, len(right))
        W = LowRank(W, left, right, scale, B.module)
        words = f"the head is W + {scale:g} B A, every sum exact and then rounded to float64"
        lengths = found.get(("magnitude", "weight"))
        if bool(self.config.values.get("use_dora")) != (lengths is not None):
            raise InputError(
                f"{self.where}: use_dora of {CONFIG} does not go with its tensors; fetch it again"
            )
        if lengths is not None:
            sizes = numbers(self._tensor(lengths), lengths.name).reshape(-1)
            if sizes.shape != (V,):
                raise InputError(f"{self.where}: {lengths.name} has {sizes.size} numbers, not {V}")
            W = OfLength(W, sizes, B.module)
            words += ", its rows stretched to DoRA's lengths in float64"
        shift = found.get(("B", "bias"))
        if shift is not None:
            added = scale * numbers(self._tensor(shift), shift.name)
            b = added if b is None else np.asarray(b).reshape(-1).astype(np.float64) + added
            words += ", and its bias is added"
        self._notes.append(f"{words}; peft's own merge rounds it to the type of the weights")
        return W, b

    def _low_rank_embedding(self, below: list[Piece], parts: Parts, W: SlicedArray) -> SlicedArray:
        """Return W + s (B A)^T: the embedding with its LoRA, which is the head too once merged."""
        assert self.config is not None
        found = self._by_role(below)
        A = found.pop(("A_embedding", "weight"), None)
        B = found.pop(("B_embedding", "weight"), None)
        if A is None or B is None or found:
            raise InputError(
                f"{self.where} adapts the tied embedding by {below[0].name} and others, which geom "
                f"does not read merged; {_MERGE}"
            )
        left = numbers(self._tensor(A), A.name).T.copy()
        right = numbers(self._tensor(B), B.name).T.copy()
        if left.shape != (W.shape[0], len(right)) or right.shape[1:] != W.shape[1:]:
            raise InputError(
                f"{self.where}: {A.name} and {B.name} do not fit the embedding of {W.shape}; the "
                "adapter was made for another base"
            )
        scale = self.config.scale(A.module, len(right))
        self._notes.append(
            f"merged, the tied head is W + {scale:g} (B A)^T of {_module(parts.unembed)}, each sum "
            "exact and then rounded to float64; peft rounds it to the type of the weights"
        )
        return LowRank(W, left, right, scale, A.module)

    def _by_role(self, low: list[Piece]) -> dict[tuple[Role, str], Piece]:
        found: dict[tuple[Role, str], Piece] = {}
        for piece in low:
            assert piece.role is not None
            twin = found.setdefault((piece.role, piece.leaf), piece)
            if twin is not piece:
                raise InputError(f"{self.where} has both {twin.name} and {piece.name}; {_MERGE}")
        return found

    def _with_rows(self, pieces: list[Piece], W: SlicedArray) -> SlicedArray:
        if len(pieces) > 1:
            raise InputError(
                f"{self.where} has both {pieces[0].name} and {pieces[1].name}; {_MERGE}"
            )
        if self.config is None:
            raise InputError(
                f"{self.where} has {pieces[0].name}, and no {CONFIG} that says of which tokens; "
                f"{_MERGE}"
            )
        piece, (V, d) = pieces[0], W.shape
        ids = self.config.token_ids(piece.module)
        rows = self._tensor(piece)[:]
        if rows.shape != (len(ids), d) or len(set(ids)) < len(ids):
            raise InputError(
                f"{self.where}: {piece.name} has shape {rows.shape}, and {CONFIG} names "
                f"{len(set(ids))} tokens of {d} numbers; fetch the adapter again"
            )
        if not all(0 <= id < V for id in ids):
            raise InputError(
                f"{self.where} trains token {max(ids)}, and the base has {V} rows; the adapter was "
                "made for another base"
            )
        self._notes.append(f"the rows of {len(ids)} tokens are its own")
        return WithRows(W, np.array(ids, dtype=np.intp), np.asarray(rows))


def of_weights(
    where: str, config: AdapterConfig | None, weights: Weights, merged: bool = False
) -> Adapter:
    """Return the adapter whose tensors these are."""
    pieces = tuple(
        replace(piece, kind="saved")
        if piece.kind == "plain" and config is not None and config.saves(piece.module)
        else piece
        for piece in map(parsed, weights.names)
    )
    return Adapter(where, config, weights, pieces, merged)


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def _is_tied(parts: Parts) -> bool:
    """Return whether the unembedding is the embedding's matrix, by its name."""
    return not any(same(_module(parts.unembed), head) for head in _HEADS)
