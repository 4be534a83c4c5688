"""Models in memory: logits by torch's own norms, bits decoded by hand, texts by tokenizers."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models
from torch.nn import functional

import geom
from geom import InputError, visible
from geom_plugins.sources import demo

D, V = 8, 13
EPS = 1e-5


@dataclass
class Model:
    """The attributes that geom reads from a model in memory."""

    W_U: Any
    b_U: Any
    cfg: Any = None
    ln_final: Any = None
    tokenizer: Any = None


def tensors(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"W_U": (D, V), "b_U": (V,), "w": (D,), "b": (D,), "h": (5, D)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def hooked(kind: str | None, *names: str, **cfg: Any) -> Model:
    """Return a model like a HookedTransformer, whose final norm has the named parts."""
    parts = tensors()
    norm = SimpleNamespace(**{name: parts[name] for name in names})
    cfg = {"normalization_type": kind, **cfg}
    return Model(parts["W_U"], parts["b_U"], SimpleNamespace(**cfg), norm)


def normalised(h: torch.Tensor, norm: str | None) -> NDArray[np.float64]:
    """Return ``h`` as the norm leaves it before its scale and shift."""
    if norm == "layernorm":
        h = functional.layer_norm(h.double(), (D,), eps=EPS)
    elif norm == "rmsnorm":
        h = functional.rms_norm(h.double(), (D,), eps=EPS)
    return h.double().numpy()


def test_arrays_will_do() -> None:
    W_U, b_U = np.random.default_rng(0).normal(size=(D, V)), np.arange(V) / 8
    readout = geom.load(Model(W_U, b_U))
    assert (readout.W == W_U.T).all()
    assert (readout.b == b_U).all()
    assert (readout.norm, readout.tokens, str(readout.source)) == (None, None, "python")


def test_torch_is_not_imported_for_arrays() -> None:
    code = (
        "import sys, types, numpy, geom;"
        "geom.load(types.SimpleNamespace(W_U=numpy.eye(3), b_U=numpy.ones(3)));"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("kind", "parts", "norm"),
    [
        ("LN", "wb", "layernorm"),
        ("LNPre", "", "layernorm"),
        ("RMS", "w", "rmsnorm"),
        ("RMSPre", "", "rmsnorm"),
        (None, "", None),
    ],
)
def test_logits_are_those_of_norm_and_unembedding(
    kind: str | None, parts: str, norm: str | None
) -> None:
    readout = geom.load(hooked(kind, *parts))
    t = {name: tensor.double() for name, tensor in tensors().items()}
    x = torch.from_numpy(normalised(t["h"], norm))
    scaled = x * (t["w"] if "w" in parts else 1.0) + (t["b"] if "b" in parts else 0.0)
    logits = (scaled @ t["W_U"] + t["b_U"]).numpy()
    assert readout.norm == norm
    assert readout.logits(x.numpy()) == pytest.approx(logits, rel=1e-12, abs=1e-12)


def test_final_rms_makes_the_last_norm_an_rmsnorm() -> None:
    assert geom.load(hooked("LN", "w", final_rms=True)).norm == "rmsnorm"


def test_a_norm_that_scales_by_one_plus_its_weight_is_folded_so() -> None:
    model = hooked("RMS", "w")
    model.ln_final.uses_weight_offset = True
    t = tensors()
    scale = (np.float32(1) + t["w"].numpy()).astype(np.float64)
    assert (t["W_U"].double().numpy().T * scale == geom.load(model).W).all()


def test_without_a_final_norm_the_domain_is_unbounded_and_a_note_says_so() -> None:
    model = hooked("LN")
    model.ln_final = None
    readout = geom.load(model)
    assert readout.domain.name == "unbounded"
    assert any("no ln_final" in note for note in readout.notes)


def test_a_norm_folded_before_needs_no_final_norm() -> None:
    model = hooked("RMSPre")
    model.ln_final = None
    assert geom.load(model).domain.name == "rmsnorm"


def test_bfloat16_keeps_every_bit() -> None:
    W_U = tensors()["W_U"].bfloat16()
    bits = W_U.view(torch.int16).numpy().view(np.uint16).astype(np.uint32) << 16
    readout = geom.load(Model(W_U, torch.zeros(V)))
    assert (readout.W == bits.view(np.float32).T).all()
    assert "bfloat16" in readout.notes[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_other_floats_keep_every_bit(dtype: torch.dtype) -> None:
    W_U = torch.randn((D, V), dtype=torch.float64).to(dtype)
    readout = geom.load(Model(W_U, torch.zeros(V, dtype=dtype)))
    assert (readout.W == W_U.numpy().T).all()


def test_parameters_that_ask_for_gradients_are_read() -> None:
    W_U = torch.nn.Parameter(torch.randn(D, V))
    assert (geom.load(Model(W_U, torch.zeros(V))).W == W_U.detach().numpy().T).all()


def test_later_changes_to_the_model_do_not_reach_the_readout() -> None:
    model = hooked("LNPre")
    readout = geom.load(model)
    before = readout.W.copy()
    model.W_U.zero_()
    assert (before == readout.W).all()


def test_columns_are_fetched_a_block_at_a_time() -> None:
    fetched = []

    class Recorded:
        shape = (128, 70_000)
        dtype = "float32"

        def __getitem__(self, at: tuple[slice, slice]) -> NDArray[np.float32]:
            fetched.append(at[1].stop - at[1].start)
            return np.full((128, fetched[-1]), len(fetched), dtype=np.float32)

    readout = geom.load(Model(Recorded(), np.zeros(70_000)))
    assert sum(fetched) == readout.V
    assert max(fetched) <= readout.V // 2
    assert (readout.W[0, 0], readout.W[-1, 0]) == (1, len(fetched))


def test_centred_rows_are_noted_and_others_are_not() -> None:
    W_U = torch.randn(D, 400, generator=torch.Generator().manual_seed(0))
    raw = geom.load(Model(W_U, torch.zeros(400))).notes
    W_U = W_U - W_U.mean(0, keepdim=True)
    W_U = W_U - W_U.mean(1, keepdim=True)
    both = geom.load(Model(W_U, torch.zeros(400))).notes
    assert raw == ("W_U of a Model in float32",)
    assert both[0] == "W_U of a Model in float32, centred over d, centred over the vocabulary"
    assert "rounded" in both[1]


def test_run_takes_a_model_in_memory() -> None:
    model = Model(np.array([[1.0, -1.0, 0.0]]), np.zeros(3))
    with geom.run(model, tokens="all", domain="box") as run:
        verdicts = [row.verdict for row in run.rows()]
    assert verdicts == ["speakable", "speakable", "unspeakable"]


def test_load_gives_a_readout_back() -> None:
    readout = geom.load(hooked("LNPre"))
    assert geom.load(readout) is readout


class _Broken:
    b_U = np.zeros(3)

    @property
    def W_U(self) -> Any:  # noqa: N802 - TransformerLens's name
        raise RuntimeError("not\nloaded")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (42, "^int is not a model: give a Readout, a model's name, an object with W_U"),
        (np.zeros((V, D)), r"^ndarray is not a model: .* geom.Readout.fold\(W, b\)"),
        (
            torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(2, 3)),
            r"^Sequential is not a model: .* geom.load\(model\[-1\]\)",
        ),
        (torch.nn.Sequential(), "^Sequential is not a model: give a Readout"),
        (_Broken(), "_Broken cannot be read: RuntimeError: not loaded"),
        (Model(np.zeros((V, D)), np.zeros(V)), r"W_U of shape \(13, 8\) and b_U of shape \(13,\)"),
        (Model(np.zeros(V), np.zeros(V)), r"W_U must be \(d, V\)"),
        (Model(np.zeros((D, V)), None), r"b_U of shape \(\)"),
        (Model(torch.empty((D, V), device="meta"), torch.zeros(V)), "W_U is on the meta device"),
        (Model(torch.zeros((D, V), dtype=torch.int8), torch.zeros(V)), "W_U is torch.int8"),
        (Model(np.full((D, V), np.nan), np.zeros(V)), r"W\[\(0, 0\)\] is nan"),
        (hooked("SoftMax"), "normalization_type is 'SoftMax', and geom knows LN"),
        (Model(np.zeros((D, V), dtype=complex), np.zeros(V)), "W has dtype complex128"),
    ],
)
@pytest.mark.parametrize("call", [geom.load, geom.run])
def test_what_is_no_model_is_refused_in_one_line(call: Any, model: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        call(model)
    assert "\n" not in str(refused.value)


# tokens


def texts(tokenizer: Tokenizer, size: int) -> list[str | None]:
    """Return the texts of a readout of this size, with the tokenizer as transformers wraps it."""
    wrapper = SimpleNamespace(backend_tokenizer=tokenizer)
    model = Model(np.ones((2, size)), np.zeros(size), tokenizer=wrapper)
    return list(geom.load(model).tokens or ())


def test_byte_level_texts_are_those_of_the_demo() -> None:
    tokenizer = Tokenizer.from_file(str(demo.CHECKPOINT / "tokenizer.json"))
    known = geom.load("demo").tokens
    assert known is not None
    found = texts(tokenizer, len(known) + 2)
    assert found == [*known, None, None]
    assert r"\xe2\x80" in found


def test_kinds_are_those_of_the_checkpoint_that_the_tokenizer_is_from() -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(demo.CHECKPOINT)
    known = geom.load("demo")
    model = Model(np.ones((2, known.V)), np.zeros(known.V), tokenizer=tokenizer)
    found = geom.load(model)
    assert (found.tokens, found.kinds) == (known.tokens, known.kinds)
    assert found.kinds is not None
    assert found.tokens is not None
    cent = tokenizer.convert_tokens_to_ids("¢")  # stands for the byte A2, alone no text
    assert visible(found.tokens[cent], found.kinds[cent]) == r'"\xa2" byte'
    shown = geom.load(Model(np.ones((2, 4)), np.zeros(4), tokenizer=tokenizer))
    assert shown.notes[-1].startswith("the tokenizer has 3068 tokens beyond the readout's 4 rows")


def test_sentencepiece_texts_keep_their_leading_space() -> None:
    vocabulary = {"<unk>": 0, "<0xE2>": 1, "a": 2, "▁the": 3, "ing": 4, "▁": 5}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    assert texts(tokenizer, 7) == ["<unk>", r"\xe2", "a", " the", "ing", " ", None]


def test_another_kind_of_tokenizer_gives_no_texts() -> None:
    model = Model(np.ones((2, 3)), np.zeros(3), tokenizer=SimpleNamespace(decode=str))
    assert geom.load(model).tokens is None
