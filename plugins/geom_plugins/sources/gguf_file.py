"""``gguf:FILE_OR_ADDRESS``: the readout of a model in llama.cpp's own format."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeGuard

from msgspec import Meta

from geom import InputError, ModelSource, Network, Readout, TokenKind, hookimpl
from geom_plugins.checkpoints.scales import PLUS_ONE, YesNo, scale_of

if TYPE_CHECKING:
    from pathlib import Path

    from geom import Agreement
    from geom_plugins.checkpoints.gguf_format import Model, Setting
    from geom_plugins.checkpoints.gguf_tensors import Tensor
    from geom_plugins.checkpoints.vocabulary import Scheme

Norm = Literal["layernorm", "rmsnorm", "none"]

_ENCODER = "an encoder, stored without a head over the vocabulary"
_HEADLESS = {
    "bert": _ENCODER,
    "modern-bert": _ENCODER,
    "nomic-bert": _ENCODER,
    "nomic-bert-moe": _ENCODER,
    "neo-bert": _ENCODER,
    "jina-bert-v2": _ENCODER,
    "jina-bert-v3": _ENCODER,
    "eurobert": _ENCODER,
    "gemma-embedding": _ENCODER,
    "llama-embed": _ENCODER,
    "t5encoder": _ENCODER,
    "clip": "an encoder of images or sound",
    "wavtokenizer-dec": "a decoder of sound",
    "chameleon": "whose image tokens llama.cpp never emits, whatever their rows",
}
"""The architectures whose tensors make no readout, each with a reason that follows its name."""

_FINAL_NORMS = {
    "t5": "dec.output_norm",
    "lfm2": "token_embd_norm",
    "lfm2moe": "token_embd_norm",
}
"""The final norms not named ``output_norm``; LFM2's name is an old slip that llama.cpp keeps."""

_UNSCALED = ("olmo",)
"""The architectures whose final norm has neither scale nor shift."""

_BY_HAND = "give ?unembed=NAME&norm=layernorm|rmsnorm|none and, for the norm, &gamma=NAME&beta=NAME"

_INTEGERS = ("I8", "I16", "I32", "I64")
"""The types whose numbers are no weights."""


@dataclass(frozen=True)
class GgufOptions:
    """The parts that the names and the metadata do not give, or give wrongly."""

    unembed: Annotated[str | None, Meta(description="name of the unembedding, (V, d)")] = None
    bias: Annotated[str | None, Meta(description="name of its bias, (V,)")] = None
    gamma: Annotated[str | None, Meta(description="name of the final norm's scale, (d,)")] = None
    beta: Annotated[str | None, Meta(description="name of the final norm's shift, (d,)")] = None
    norm: Annotated[Norm | None, Meta(description="the final norm")] = None
    gamma_plus_one: Annotated[YesNo, Meta(description=PLUS_ONE)] = "no"
    download: Annotated[
        str | None, Meta(description="ignored; the Hub's pages put ?download=true after addresses")
    ] = None


@dataclass(frozen=True)
class _Parts:
    """The names of the readout's tensors, None if it has none."""

    unembed: str
    bias: str | None
    gamma: str | None
    beta: str | None
    norm: Norm


def load(location: str, options: GgufOptions) -> Readout:
    """Load the readout of a GGUF file, whole or split, reading only the readout's tensors.

    Of a file on the Hub or another server, only the header and these tensors are fetched.
    Block-quantised tensors are dequantised to float32 and named in the notes. Raises InputError if
    the file is missing or damaged, or if its readout is not certain.
    """
    from geom_plugins.checkpoints.gguf_format import open_gguf
    from geom_plugins.checkpoints.gguf_places import gguf_place

    model = open_gguf(gguf_place(location))
    parts = _given(options) or _found(model, options)
    W = model.tensor(parts.unembed)
    if W.type in _INTEGERS:
        raise InputError(
            f"{model.name}: {parts.unembed} is stored as {W.type}, integers without scales; give a "
            "file whose output tensor is of another type"
        )
    b, gamma, beta = (
        None if name is None else model.tensor(name)
        for name in (parts.bias, parts.gamma, parts.beta)
    )
    texts, kinds, remarks = _tokens(model, W.shape[0])
    read = [tensor for tensor in (W, b, gamma, beta) if tensor is not None]
    return Readout.fold(
        W,
        b,
        norm=None if parts.norm == "none" else parts.norm,
        gamma=scale_of(gamma, options.gamma_plus_one == "yes"),
        beta=beta,
        tokens=texts,
        kinds=kinds,
        notes=(*_quantised(read), *_remarks(model, parts), *remarks),
    )


def check(location: str, options: GgufOptions) -> Iterator[Agreement]:
    """Compare the readout with the logits of the whole model, as transformers reads the file."""
    from geom_plugins.agreement.real_model import gguf_trial
    from geom_plugins.checkpoints.locations import local_path

    path = local_path(location)
    yield gguf_trial(path, _numbers(path), load(location, options))


def network(location: str, options: GgufOptions) -> Network:
    """Load the network of a file on this machine, as transformers dequantises it.

    Raises InputError if transformers does not run it, or makes no tokenizer of the file.
    """
    from geom_plugins.checkpoints.locations import local_path
    from geom_plugins.networks.transformers_networks import gguf_network

    path = local_path(location)
    return gguf_network(path, loaded(path))


def loaded(path: Path) -> Any:
    """Return the model of a file on this machine, as transformers dequantises it."""
    from geom_plugins.agreement.real_model import load_gguf

    try:
        return load_gguf(path, _numbers(path), attention=None)
    except InputError as error:
        raise InputError(f"{path} cannot be run: {error}") from error


def _numbers(path: Path) -> int:
    """Return how many weights a file holds."""
    from geom_plugins.checkpoints.gguf_format import open_gguf

    return sum(math.prod(tensor.shape) for tensor in open_gguf(path).tensors.values())


# Which tensors


def _given(options: GgufOptions) -> _Parts | None:
    """Return exactly the parts that the user names, or None if they are not enough."""
    if options.unembed is None or options.norm is None:
        return None
    return _Parts(options.unembed, options.bias, options.gamma, options.beta, options.norm)


def _found(model: Model, options: GgufOptions) -> _Parts:
    """Find the parts by llama.cpp's names. Raises InputError if the result is not certain."""
    arch = _architecture(model)
    _refuse_headless(model, arch)
    unembed = options.unembed or _first(model, "output.weight", "token_embd.weight")
    if unembed is None:
        raise InputError(
            f"{model.name} has neither output.weight nor token_embd.weight; {_BY_HAND}"
        )
    for name in model.tensors:
        if name.startswith("output.") and name not in ("output.weight", "output.bias"):
            raise InputError(
                f"{model.name} has {name} beside its output tensor, which geom does not read; give "
                "a file whose output tensor is of another type"
            )
    module = _FINAL_NORMS.get(arch, "output_norm")
    gamma = options.gamma or _first(model, f"{module}.weight")
    if gamma is None and arch not in _UNSCALED and options.norm is None:
        raise InputError(f"{model.name} has no {module}.weight, the final norm's scale; {_BY_HAND}")
    beta = options.beta or (gamma and _first(model, gamma.removesuffix("weight") + "bias"))
    bias = options.bias or _first(model, "output.bias")
    norm = options.norm or _kind_of_norm(model, arch, beta)
    return _Parts(unembed, bias, gamma, beta, norm)


def _architecture(model: Model) -> str:
    kind = model.settings.get("general.type", "model")
    if kind != "model":
        raise InputError(f"{model.name} has the type {kind!r}; give the model's own file")
    arch = model.settings.get("general.architecture")
    if not isinstance(arch, str):
        raise InputError(f"{model.name} does not name its architecture; {_BY_HAND}")
    return arch


def _refuse_headless(model: Model, arch: str) -> None:
    why = _HEADLESS.get(arch)
    if why is None and model.settings.get(f"{arch}.pooling_type", 0) != 0:
        why = "converted as an embedding model"
    if why is not None:
        raise InputError(
            f"{model.name} is {arch}, {why}; to examine one of its matrices anyway, {_BY_HAND}"
        )


def _kind_of_norm(model: Model, arch: str, beta: str | None) -> Norm:
    """Return the kind of the final norm, by the epsilon in the metadata.

    If both epsilons are there, some part inside the model has the other kind: Nemotron's norms have
    a shift and are LayerNorm; those of T5 and GLM's indexed models have none and are RMSNorm.
    """
    rms = f"{arch}.attention.layer_norm_rms_epsilon" in model.settings
    layer = f"{arch}.attention.layer_norm_epsilon" in model.settings
    if not rms and not layer:
        raise InputError(
            f"{model.name}: the metadata has no epsilon of {arch}'s norms, so their kind is not "
            "known; give ?norm=layernorm or ?norm=rmsnorm"
        )
    return "layernorm" if layer and (beta is not None or not rms) else "rmsnorm"


def _first(model: Model, *names: str) -> str | None:
    return next((name for name in names if name in model.tensors), None)


# What a reader should know


def _quantised(tensors: Iterable[Tensor]) -> Iterator[str]:
    for tensor in tensors:
        if tensor.is_quantised:
            yield f"{tensor.name} is {tensor.type}, dequantised to float32 as llama.cpp defines"


def _remarks(model: Model, parts: _Parts) -> Iterator[str]:
    """Describe what the model does between W x + b and its logits."""
    arch = str(model.settings.get("general.architecture"))
    scale = model.settings.get(f"{arch}.logit_scale")
    if scale is not None:
        if not _is_number(scale) or scale <= 0:
            raise InputError(
                f"{arch}.logit_scale of {model.name} is {scale!r}: geom reads models whose logits "
                "are scaled by a positive number"
            )
        if scale != 1:
            yield f"the model scales its logits (logit_scale {scale:g}); no argmax changes"
    cap = model.settings.get(f"{arch}.final_logit_softcapping")
    if _is_number(cap) and cap:
        yield f"the model caps its logits softly at {cap:g}; no argmax changes"
    if arch == "phimoe" and parts.norm == "rmsnorm":
        yield (
            "llama.cpp runs phimoe with RMSNorm, as read here; the original has LayerNorm, "
            "?norm=layernorm"
        )


def _is_number(value: Setting | None) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


# Tokens

_SCHEMES: dict[str, Scheme] = {
    "llama": "sentencepiece",
    "t5": "sentencepiece",
    "bert": "sentencepiece",  # the converter inverts WordPiece's marks
    "gemma4": "sentencepiece",
    "plamo2": "sentencepiece",
    "gpt2": "byte-level",
}
"""The encoding of pieces by ``tokenizer.ggml.model``; other models' pieces are left as they are."""

_KINDS: dict[object, TokenKind] = {2: "special", 3: "special", 4: "added", 5: "unused", 6: "byte"}
"""The kinds of tokens by the number of ``tokenizer.ggml.token_type``; 1 is normal."""

_Texts = tuple[str | None, ...]


def _tokens(
    model: Model, V: int
) -> tuple[_Texts | None, tuple[TokenKind, ...] | None, tuple[str, ...]]:
    """Return the texts and kinds of ids 0 to V - 1, None if the file has no tokens, and remarks."""
    pieces = model.settings.get("tokenizer.ggml.tokens")
    if not isinstance(pieces, list) or not all(isinstance(piece, str) for piece in pieces):
        return None, None, ()
    types = model.settings.get("tokenizer.ggml.token_type")
    if not isinstance(types, list) or len(types) != len(pieces):
        types = [1] * len(pieces)
    sort = str(model.settings.get("tokenizer.ggml.model"))
    tokens = _typed(pieces, types, sort)[:V]
    tokens += [(None, "padding")] * (V - len(tokens))
    beyond = len(pieces) - V
    remarks = (f"the tokenizer has {beyond} tokens beyond the {V} rows",) if beyond > 0 else ()
    return tuple(text for text, _ in tokens), tuple(kind for _, kind in tokens), remarks


def _typed(
    pieces: Sequence[str], types: Sequence[object], sort: str
) -> list[tuple[str | None, TokenKind]]:
    """Return the text and the kind of each piece, for the tokenizer model ``sort``.

    As in llama.cpp, only normal and byte tokens are encoded in the vocabulary's own way; the pieces
    of special and added tokens are their texts.
    """
    from geom_plugins.checkpoints.vocabulary import piece_kinds, piece_texts

    scheme = _SCHEMES.get(sort, "plain")
    if sort == "rwkv":
        texts, own_kinds = zip(*map(_unescaped, pieces), strict=True) if pieces else ((), ())
    else:
        texts, own_kinds = piece_texts(pieces, scheme), piece_kinds(pieces, scheme)
    out: list[tuple[str | None, TokenKind]] = []
    for id, (piece, kind) in enumerate(zip(pieces, types, strict=True)):
        if kind == 5 and piece == f"[PAD{id}]":  # the converter's name for a row without a token
            out.append((None, "padding"))
        elif kind in (1, 6):
            out.append((texts[id], "byte" if kind == 6 else own_kinds[id]))
        else:
            out.append((piece, _KINDS.get(kind, "normal")))
    return out


_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_ESCAPED = {b"t": b"\t", b"n": b"\n", b"r": b"\r"}


def _unescaped(piece: str) -> tuple[str, TokenKind]:
    """Decode a piece of RWKV, which has its bytes in Python's notation, to its text and kind."""
    data = _ESCAPE.sub(
        lambda found: (
            bytes.fromhex(found[1].decode()) if found[1] else _ESCAPED.get(found[2], found[2])
        ),
        piece.encode(),
    )
    try:
        return data.decode(), "normal"
    except UnicodeDecodeError:
        return data.decode("utf-8", "backslashreplace"), "byte"


@hookimpl
def geom_sources() -> Iterator[ModelSource[GgufOptions]]:
    yield ModelSource(
        "gguf",
        "a model in llama.cpp's format: gguf:FILE, or gguf:OWNER/NAME/FILE on the Hub",
        load,
        GgufOptions,
        reads="checkpoint",
        check=check,
        network=network,
        suffixes=(".gguf",),
    )
