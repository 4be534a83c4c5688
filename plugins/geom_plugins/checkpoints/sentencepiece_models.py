"""Sentencepiece models, and how the architectures number their pieces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from geom_plugins.checkpoints.tokenizer_files import (
    Declared,
    TokenizerError,
    damaged,
    read_declared,
    tokenizer_class,
)
from geom_plugins.checkpoints.vocabulary import Vocabulary

if TYPE_CHECKING:
    from geom import TokenKind
    from geom_plugins.checkpoints.folders import Folder

_Of = TypeVar("_Of")

SENTENCEPIECE_FILES = (
    "tokenizer.model",
    "spiece.model",
    "spm.model",
    "spm_char.model",
    "sentencepiece.model",
    "sentencepiece.bpe.model",
)


@dataclass(frozen=True)
class _Numbering:
    """How a class of tokenizers numbers pieces that were numbered by fairseq or by Pegasus.

    The tokens ``first`` take the places of the first ``replaced`` pieces, and the others move.
    After the pieces come the tokens that the files declare, if ``codes`` are expected (a language
    each), and the tokens ``last``.
    """

    first: tuple[str, ...]
    replaced: int
    codes: bool = False
    last: tuple[str, ...] = ()


_FAIRSEQ = ("<s>", "<pad>", "</s>", "<unk>")
_MASKED = _Numbering(_FAIRSEQ, 3, last=("<mask>",))
_TRANSLATING = _Numbering(_FAIRSEQ, 3, codes=True, last=("<mask>",))

_NUMBERINGS = {
    "XLMRobertaTokenizer": _MASKED,
    "LayoutXLMTokenizer": _MASKED,
    "MBartTokenizer": _TRANSLATING,
    "MBart50Tokenizer": _TRANSLATING,
    "NllbTokenizer": _TRANSLATING,
    "PLBartTokenizer": _TRANSLATING,
    "XGLMTokenizer": _Numbering(_FAIRSEQ, 3, last=tuple(f"<madeupword{n}>" for n in range(7))),
    "SeamlessM4TTokenizer": _Numbering(("<pad>", "<unk>", "<s>", "</s>"), 3, codes=True),
    "CamembertTokenizer": _Numbering(
        ("<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED"), 1, last=("<mask>",)
    ),
    "XLMProphetNetTokenizer": _Numbering(
        ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]", *(f"[unused{n}]" for n in range(10))), 3
    ),
}
"""The numberings by the tokenizer's class, without ``Fast``."""

_PEGASUS = "PegasusTokenizer"
_OWN = ("BarthezTokenizer",)
"""The classes that keep the ids of a ``sentencepiece.bpe.model``."""

_CLASSES = {
    "camembert": "CamembertTokenizer",
    "m2m_100": "NllbTokenizer",  # M2M100's own has a vocab.json, which is read first
    "mbart": "MBartTokenizer",
    "nllb-moe": "NllbTokenizer",
    "pegasus": _PEGASUS,
    "pegasus_x": _PEGASUS,
    "plbart": "PLBartTokenizer",
    "seamless_m4t": "SeamlessM4TTokenizer",
    "seamless_m4t_v2": "SeamlessM4TTokenizer",
    "t5": "T5Tokenizer",
    "xglm": "XGLMTokenizer",
    "xlm-prophetnet": "XLMProphetNetTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
    "xlm-roberta-xl": "XLMRobertaTokenizer",
    "xmod": "XLMRobertaTokenizer",
}
"""The tokenizers of architectures whose files do not name one."""


def read_sentencepiece(folder: Folder, name: str) -> Vocabulary:
    """Read a sentencepiece model, with its own ids unless the tokenizer renumbers them.

    Raises TokenizerError if it is damaged, if its ids are not known, or without sentencepiece.
    """
    model = _model(folder, name)
    declared = read_declared(folder)
    given, architecture = tokenizer_class(folder, declared)
    kind = given or _CLASSES.get(architecture or "")
    numbering = _numbering(kind, architecture, declared)
    if numbering is None and name == "sentencepiece.bpe.model" and kind not in _OWN:
        raise TokenizerError(
            f"geom does not know how {kind or architecture} numbers the pieces of {name}"
        )
    vocabulary = _with_own_ids(model, declared)
    if kind == "T5Tokenizer":
        vocabulary.added = _t5_extra_ids(declared, len(vocabulary.pieces)) | vocabulary.added
        vocabulary.special |= set(vocabulary.added.values())
    return vocabulary if numbering is None else _renumbered(vocabulary, numbering, declared)


def _model(folder: Folder, name: str) -> Any:
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError as error:
        raise TokenizerError(
            f"{name} needs the extra sentencepiece, which geom doctor says how to install"
        ) from error
    content = folder.read(name)
    try:
        model = SentencePieceProcessor()
        model.LoadFromSerializedProto(content)
    except Exception as error:  # the library raises bare RuntimeError, OSError and TypeError
        raise damaged(name, error) from error
    return model


def _numbering(kind: str | None, architecture: str | None, declared: Declared) -> _Numbering | None:
    """Return how the class renumbers pieces, or None if it keeps their ids."""
    if kind == "PLBartTokenizer" and declared.settings.get("language_codes", "base") != "base":
        return _Numbering(_FAIRSEQ, 3, codes=True)
    if kind != _PEGASUS and architecture != "bigbird_pegasus":
        return _NUMBERINGS.get(kind or "")
    offset = declared.settings.get("offset", 0 if architecture == "bigbird_pegasus" else 103)
    if offset == 0:
        return None
    if not isinstance(offset, int) or not 2 < offset < 10_000:
        raise TokenizerError(f"tokenizer_config.json has an offset of {offset!r}")
    unknown = (f"<unk_{n}>" for n in range(2, offset))
    return _Numbering(("<pad>", "</s>", "<mask_1>", "<mask_2>", *unknown), 2)


def _with_own_ids(model: Any, declared: Declared) -> Vocabulary:
    ids = list(range(model.get_piece_size()))
    kinds: dict[int, TokenKind] = {}
    if ids:
        unused, control, unknown = (
            ask(ids) for ask in (model.is_unused, model.is_control, model.is_unknown)
        )
        kinds |= {id: "special" for id in ids if control[id] or unknown[id]}
        kinds |= {id: "unused" for id in ids if unused[id]}
    pieces = dict(enumerate(model.id_to_piece(ids))) if ids else {}
    return Vocabulary("sentencepiece", pieces, None, declared.added, set(declared.special), kinds)


def _t5_extra_ids(declared: Declared, size: int) -> dict[int, str]:
    """Return the sentinels, counted down, that T5's tokenizer adds and no file lists."""
    count = declared.settings.get("extra_ids", 100)
    if not isinstance(count, int) or not 0 <= count < 10_000:
        return {}
    return {size + n: f"<extra_id_{count - 1 - n}>" for n in range(count)}


def _renumbered(vocabulary: Vocabulary, numbering: _Numbering, declared: Declared) -> Vocabulary:
    """Move the pieces, and put the tokens that are not pieces before and after them."""
    offset = len(numbering.first) - numbering.replaced
    end = len(vocabulary.pieces) + offset
    given = declared.added
    elsewhere = {*numbering.first, *numbering.last}
    codes = [token for token in declared.listed if token not in elsewhere | {*given.values()}]
    out = Vocabulary(
        "sentencepiece",
        dict(enumerate(numbering.first)) | _moved(vocabulary.pieces, numbering, offset),
        added=dict(given),
        special=vocabulary.special | elsewhere,
        kinds=_moved(vocabulary.kinds, numbering, offset),
    )
    if numbering.codes and not codes and not any(id >= end for id in given):
        out.beyond = "special"
        out.notes = (f"no file names the languages whose tokens follow the pieces, from id {end}",)
        return out
    last = enumerate((*(codes if numbering.codes else ()), *numbering.last), end)
    known = set(given.values())
    out.added |= {id: token for id, token in last if token not in known and id not in given}
    return out


def _moved(by_id: Mapping[int, _Of], numbering: _Numbering, offset: int) -> dict[int, _Of]:
    return {id + offset: of for id, of in by_id.items() if id >= numbering.replaced}
