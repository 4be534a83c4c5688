"""The embedded demo, against transformers' own GPT-2 and tokenizers' own decoder.

A hook on the final LayerNorm records the vectors that GPT-2 hands to its readout, and the tests
normalise them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import AutoTokenizer, GPT2LMHeadModel

import geom
from geom import Readout
from geom_plugins.sources import demo

TEXT = "def load(path):\n    return json.loads(path.read_text(encoding='utf-8'))  # naïve 日本\n"


@pytest.fixture(scope="module")
def readout() -> Readout:
    return geom.load("demo")


@pytest.fixture(scope="module")
def network() -> Iterator[GPT2LMHeadModel]:
    """Yield the checkpoint as anyone would load it, computing in float64."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield GPT2LMHeadModel.from_pretrained(demo.CHECKPOINT).double().eval()
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(demo.CHECKPOINT / "tokenizer.json"))


@pytest.fixture(scope="module")
def seen(
    network: GPT2LMHeadModel, tokenizer: Tokenizer
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the normalised vectors before the readout, and the network's logits there."""
    hidden = []
    final = network.transformer.ln_f
    hook = final.register_forward_hook(lambda _, inputs, __: hidden.append(inputs[0]))
    ids = tokenizer.encode(TEXT).ids[: network.config.n_positions]
    with torch.no_grad():
        logits = network(torch.tensor([ids])).logits[0].numpy()
    hook.remove()
    h = hidden[0][0].numpy()
    centred = h - h.mean(axis=1, keepdims=True)
    x = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + final.eps)
    return x, logits


def test_the_readout_has_the_shape_of_the_checkpoint(
    readout: Readout, network: GPT2LMHeadModel
) -> None:
    assert (readout.V, readout.d) == tuple(network.transformer.wte.weight.shape)
    assert (readout.norm, readout.has_bias) == ("layernorm", True)


def test_logits_are_those_of_the_network(
    readout: Readout, seen: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> None:
    x, logits = seen
    assert np.abs(readout.logits(x) - logits).max() <= 1e-12 * np.abs(logits).max()


def test_the_network_says_what_the_readout_says(
    readout: Readout, seen: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> None:
    x, logits = seen
    assert (readout.logits(x).argmax(axis=1) == logits.argmax(axis=1)).all()


def test_what_the_network_hands_over_lies_in_the_domain(
    readout: Readout, seen: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> None:
    x, _ = seen
    assert readout.domain.name == "layernorm"
    assert np.linalg.norm(x, axis=1).max() < np.sqrt(readout.d)
    assert np.abs(x.sum(axis=1)).max() < 1e-12


def test_folding_the_scale_rounded_nothing(readout: Readout, network: GPT2LMHeadModel) -> None:
    W = network.transformer.wte.weight.detach().numpy()
    scale = network.transformer.ln_f.weight.detach().numpy()
    assert (W * scale == readout.W).all()


def test_whole_texts_are_those_that_the_tokenizer_decodes(
    readout: Readout, tokenizer: Tokenizer
) -> None:
    decoded = [tokenizer.decode([t], skip_special_tokens=False) for t in range(readout.V)]
    whole = [t for t in range(readout.V) if "\N{REPLACEMENT CHARACTER}" not in decoded[t]]
    assert len(whole) > readout.V // 2
    assert [readout.text(t) for t in whole] == [decoded[t] for t in whole]


def test_the_other_texts_spell_out_bytes(readout: Readout, tokenizer: Tokenizer) -> None:
    decoded = [tokenizer.decode([t], skip_special_tokens=False) for t in range(readout.V)]
    parts = [t for t in range(readout.V) if "\N{REPLACEMENT CHARACTER}" in decoded[t]]
    assert len(parts) >= 128
    assert all(r"\x" in (readout.text(t) or "") for t in parts)


def test_every_byte_has_a_token(readout: Readout) -> None:
    texts = {readout.text(t) for t in range(readout.V)}
    bytes_above = {rf"\x{byte:02x}" for byte in range(0x80, 0x100)}
    assert {chr(byte) for byte in range(0x80)} | bytes_above <= texts


def test_transformers_finds_the_tokenizer_too(readout: Readout) -> None:
    ids = AutoTokenizer.from_pretrained(demo.CHECKPOINT)(TEXT)["input_ids"]
    ascii_ids = [t for t in ids if (readout.text(t) or "").isascii()]
    assert "".join(readout.text(t) or "" for t in ascii_ids).startswith("def load(path):\n    ")


def test_demo_is_the_default_model(readout: Readout) -> None:
    assert geom.load().digest == readout.digest
    assert (str(geom.load().source), str(readout.source)) == ("demo", "demo")


def test_the_bias_can_be_dropped() -> None:
    assert not geom.load("demo?bias=no").has_bias


def test_easy_hard_unspeakable_and_borderline_tokens_occur_and_all_are_proven() -> None:
    readout = geom.load("demo")
    with geom.run(readout, detectors=["self-argmax"], certifiers=["highs"]) as run:
        counts = run.counts()
        borderline = [row for row in run.rows("speakable") if (row.margin_upper or 1.0) < 1e-3]
        assert geom.verify(run, readout).ok
    flagged = sum(counts.values())
    assert flagged < 0.15 * readout.V
    assert counts["speakable"] > 100
    assert counts["unspeakable"] > 10
    assert (counts["undecided"], counts["pending"]) == (0, 0)
    assert len(borderline) > 10
