"""Heads that the libraries of their formats have stored: what they make of them is the readout.

``tests/support/quantised_fixtures.py`` says which releases made the files of ``stored``, and how.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import geom
from support.quantised import case, cases, logits_of, model_of, save

CASES = [
    (library, name)
    for library in ("mlx", "compressed_tensors", "bitsandbytes")
    for name in cases(library)
]


@pytest.mark.parametrize(("library", "name"), CASES)
def test_the_readout_is_what_the_library_dequantises(
    library: str, name: str, tmp_path: Path
) -> None:
    tensors, config, dequantised = case(library, name)
    model = model_of(dequantised)
    where = save(model, tmp_path / "checkpoint", tensors, config)
    readout = geom.load(f"hf:{where}")

    gamma = model.model.norm.weight.detach().double().numpy()
    W = readout.W / gamma
    # the library rounds each number to float32, once or twice
    np.testing.assert_allclose(W, dequantised, rtol=2.0**-22, atol=0 if "-" in name else 1e-7)
    x, logits = logits_of(model)
    np.testing.assert_allclose(readout.logits(x), logits, rtol=0, atol=1e-5 * np.abs(logits).max())
    assert readout.notes[0].startswith("lm_head is ")
    assert "dequantised to float64 as" in readout.notes[0]


def test_a_tied_embedding_has_settings_of_its_own(tmp_path: Path) -> None:
    tensors, config, dequantised = case("mlx", "affine-8-32")
    model = model_of(dequantised)
    whole = {"group_size": 64, "bits": 4, "model.embed_tokens": config["quantization"]}
    about = {"quantization": whole, "tie_word_embeddings": True}
    where = save(model, tmp_path / "checkpoint", tensors, about, "model.embed_tokens")
    readout = geom.load(f"hf:{where}")
    x, logits = logits_of(model)
    # the toy model's embedding is another, but its head is this one
    np.testing.assert_allclose(readout.logits(x), logits, rtol=0, atol=1e-5 * np.abs(logits).max())
    assert readout.notes[0].startswith("model.embed_tokens is MLX 8-bit in groups of 32")


@pytest.mark.parametrize(
    ("library", "name"), [("mlx", "affine-4-64"), ("bitsandbytes", "nf4-plain-bfloat16")]
)
def test_torchs_own_files_are_read_alike(library: str, name: str, tmp_path: Path) -> None:
    tensors, config, dequantised = case(library, name)
    where = save(model_of(dequantised), tmp_path / "checkpoint", tensors, config)
    wanted = geom.load(f"hf:{where}").W
    file = where / "model.safetensors"
    torch.save(load_file(file), where / "pytorch_model.bin")
    file.unlink()
    np.testing.assert_array_equal(geom.load(f"hf:{where}").W, wanted)


@pytest.mark.parametrize(
    ("library", "name", "line"),
    [
        ("mlx", "affine-4-64", 64 + 2 * 2 + 2 * 2),
        ("mlx", "affine-3-64", 48 + 2 * 2 + 2 * 2),
        ("compressed_tensors", "pack-4-group", 48 + 3 * 4),
        ("compressed_tensors", "nvfp4", 48 + 6 * 2),
        ("bitsandbytes", "int8", 128 + 4),
    ],
)
def test_a_readout_holds_a_line_of_bytes_a_row(
    library: str, name: str, line: int, tmp_path: Path
) -> None:
    tensors, config, dequantised = case(library, name)
    where = save(model_of(dequantised), tmp_path / "checkpoint", tensors, config)
    rows = geom.load(f"hf:{where}").rows
    assert rows.nbytes == len(dequantised) * line
    again = pickle.loads(pickle.dumps(rows))
    np.testing.assert_array_equal(again[::3], rows[::3])
    np.testing.assert_array_equal(rows[[4, 1, 4]], rows.whole()[[4, 1, 4]])


def test_a_run_on_a_quantised_head_is_verified_from_its_files(tmp_path: Path) -> None:
    tensors, config, dequantised = case("compressed_tensors", "pack-4-zero")
    where = save(model_of(dequantised), tmp_path / "checkpoint", tensors, config)
    run = geom.run(geom.load(f"hf:{where}"), tokens="all", out=tmp_path / "run.db")
    assert {row.verdict for row in run.rows()} == {"speakable"}  # as 16 rows of 96 numbers are
    found = geom.verify(run)
    assert found.ok
    assert found.confirmed["speakable"] == 16
