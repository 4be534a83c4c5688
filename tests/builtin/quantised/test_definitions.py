"""Forms whose libraries are not at hand, packed and dequantised here as their sources define it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers.integrations.finegrained_fp8 import Fp8Dequantize
from transformers.integrations.metal_quantization import (
    _affine_dequantize_tensor,
    _affine_quantize_tensor,
)

import geom
from support.quantised import Tensors, logits_of, model_of, save

V, D = 64, 96


def agrees(
    W: NDArray[Any], tensors: Tensors, config: dict[str, Any], folder: Path, note: str
) -> None:
    """Check the readout of a toy model against W, exactly, and against the model's logits."""
    model = model_of(W)
    readout = geom.load(f"hf:{save(model, folder / 'checkpoint', tensors, config)}")
    ungained = geom.load(
        f"hf:{folder / 'checkpoint'}?unembed=lm_head.weight&norm=none"
    )  # without the norm's scale, W itself
    np.testing.assert_array_equal(ungained.W, np.asarray(W, np.float64))
    x, logits = logits_of(model)
    np.testing.assert_allclose(readout.logits(x), logits, rtol=0, atol=1e-5 * np.abs(logits).max())
    assert note in readout.notes[0], readout.notes


def bits_of(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Return integers (n, m) as the bits (n, m * bits) that stand for them, the lowest first."""
    return (values[..., None] >> torch.arange(bits) & 1).reshape(len(values), -1)


def words_of(bits: torch.Tensor) -> torch.Tensor:
    """Return bits (n, 32 m), the lowest first, as words (n, m) of int32."""
    parts = bits.reshape(len(bits), -1, 32).to(torch.int64) << torch.arange(32)
    return parts.sum(-1).to(torch.int64).numpy().astype(np.uint32).view(np.int32)


def packed(values: torch.Tensor, bits: int) -> torch.Tensor:
    return torch.from_numpy(np.array(words_of(bits_of(values, bits))))


@pytest.mark.parametrize("form", ["gptq", "gptq_v2"])
@pytest.mark.parametrize(("bits", "group"), [(4, 32), (8, 96), (3, 32), (2, 24), (4, 40)])
@pytest.mark.parametrize("desc_act", [False, True])
def test_gptq(form: str, bits: int, group: int, desc_act: bool, tmp_path: Path) -> None:
    """GPTQModel, qlinear/__init__.py: ``scales[g_idx] * (weight - zeros[g_idx])``.

    ``test_three_bits_lie_in_a_row`` is about its words of 3 bits.
    """
    rng = torch.Generator().manual_seed(bits)
    q = torch.randint(0, 2**bits, (D, V), generator=rng)
    groups = -(-D // group)
    zeros = torch.randint(1, 2**bits, (groups, V), generator=rng)
    scales = (torch.rand(groups, V, generator=rng) + 0.01).half()
    g_idx = torch.arange(D) // group
    if desc_act:
        g_idx = g_idx[torch.randperm(D, generator=rng)]
    W = scales[g_idx].double() * (q - zeros[g_idx])
    tensors = {
        "qweight": packed(q.T, bits).T,
        "qzeros": packed(zeros - int(form == "gptq"), bits),
        "scales": scales,
        "g_idx": g_idx.int(),
    }
    config = {
        "quant_method": "gptq",
        "bits": bits,
        "group_size": group if group != D else -1,
        "desc_act": desc_act,
        "checkpoint_format": form,
        "lm_head": True,
    }
    name = "GPTQ v2" if form == "gptq_v2" else "GPTQ"
    agrees(W.T.numpy(), tensors, {"quantization_config": config}, tmp_path, f"{name} {bits}-bit in")


def test_three_bits_lie_in_a_row() -> None:
    """GPTQModel packs 32 integers in 3 words: 10 and 2 bits, 1 bit and 10 and 1, 2 bits and 10."""
    q = [int(value) for value in torch.randint(0, 8, (32,))]
    first = sum(q[i] << 3 * i for i in range(10)) | (q[10] & 3) << 30
    second = q[10] >> 2 | sum(q[11 + i] << 3 * i + 1 for i in range(10)) | (q[21] & 1) << 31
    third = q[21] >> 1 | sum(q[22 + i] << 3 * i + 2 for i in range(10))
    words = packed(torch.tensor([q]), 3).numpy().view(np.uint32)
    assert words.tolist() == [[first, second, third]]


@pytest.mark.parametrize("group", [32, -1])
def test_awq(group: int, tmp_path: Path) -> None:
    """AutoAWQ, gemm.py: place i of a word has the token ``order_map[i]`` of its eight."""
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    rng = torch.Generator().manual_seed(0)
    size = D if group == -1 else group
    q = torch.randint(0, 16, (D, V), generator=rng)
    zeros = torch.randint(0, 16, (D // size, V), generator=rng)
    scales = (torch.rand(D // size, V, generator=rng) + 0.01).half()
    W = scales.repeat_interleave(size, 0).double() * (q - zeros.repeat_interleave(size, 0))
    tensors = {
        key: packed(values.reshape(len(values), -1, 8)[:, :, order].reshape(len(values), -1), 4)
        for key, values in (("qweight", q), ("qzeros", zeros))
    }
    config = {"quant_method": "awq", "bits": 4, "group_size": group, "version": "gemm"}
    agrees(
        W.T.numpy(),
        {**tensors, "scales": scales},
        {"quantization_config": config},
        tmp_path,
        f"AWQ 4-bit in groups of {size}",
    )


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_metal(bits: int, tmp_path: Path) -> None:
    """Transformers' own functions pack and dequantise it, in float32."""
    weight = torch.randn(V, D).bfloat16().float()
    words, scales, biases = _affine_quantize_tensor(weight, 32, bits)
    scales, biases = scales.half(), biases.half()
    W = _affine_dequantize_tensor(words, scales, biases, 32, bits)
    config = {"quant_method": "metal", "bits": bits, "group_size": 32}
    tensors = {"weight": words, "scales": scales, "qbiases": biases}
    model = model_of(W.numpy())
    where = save(model, tmp_path / "checkpoint", tensors, {"quantization_config": config})
    readout = geom.load(f"hf:{where}?unembed=lm_head.weight&norm=none")
    np.testing.assert_allclose(readout.W, W.numpy(), rtol=2.0**-22, atol=1e-6)


BLOCKS = {
    "blocks": ("fp8", "weight_scale_inv", (4, 3), {"weight_block_size": [16, 32]}),
    "ragged blocks": ("fp8", "weight_scale_inv", (2, 3), {"weight_block_size": [48, 40]}),
    "128 x 128 unless told": ("fp8", "weight_scale_inv", (1, 1), {}),
    "one": ("fp8", "weight_scale_inv", (), {"weight_block_size": None}),
    "rows": ("fbgemm_fp8", "weight_scale", (V, 1), {}),
    "DeepSeek's program": ("fp8", "scale", (4, 3), {"weight_block_size": [16, 32]}),
    "Mistral": (None, "qscale_weight", (), {}),
    "Model Optimizer": ("modelopt", "weight_scale", (), {"quant_algo": "FP8"}),
}


@pytest.mark.parametrize("kind", ["F32", "BF16", "E8M0"])
@pytest.mark.parametrize("name", BLOCKS)
def test_float8(name: str, kind: str, tmp_path: Path) -> None:
    """Transformers' Fp8Dequantize: a weight times the scale of its block, in float32."""
    method, child, shape, about = BLOCKS[name]
    rng = torch.Generator().manual_seed(len(name))
    weight = torch.randn(V, D, generator=rng).to(torch.float8_e4m3fn)
    scales = torch.rand(shape, generator=rng) + 0.01
    if kind == "E8M0":
        scales = scales.to(torch.float8_e8m0fnu)
    elif kind == "BF16":
        scales = scales.bfloat16()
    height, width = 1, 1
    if len(shape) == 2:
        height, width = about.get("weight_block_size") or (-(-V // shape[0]), -(-D // shape[1]))
    grid = scales.double().reshape(shape or (1, 1))
    spread = grid.repeat_interleave(height if shape else V, 0).repeat_interleave(
        width if shape else D, 1
    )[:V, :D]
    W = weight.double() * spread
    if name != "ragged blocks":  # transformers' way does not take them
        theirs = Fp8Dequantize(None)._dequantize_one(weight, scales, torch.float32)
        np.testing.assert_allclose(W.numpy(), theirs.numpy(), rtol=2.0**-23)
    config = {"quantization_config": {"quant_method": method, **about}} if method else {}
    agrees(W.numpy(), {"weight": weight, child: scales}, config, tmp_path, "FP8")


def test_nvfp4_of_model_optimizer(tmp_path: Path) -> None:
    """Its nvfp4_tensor.py: E2M1 codes, the first low, times both scales."""
    numbers = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6], dtype=torch.float64)
    numbers = torch.cat([numbers, -numbers])
    codes = torch.randint(0, 16, (V, D))
    scales = (torch.rand(V, D // 16) * 400).to(torch.float8_e4m3fn)
    second = torch.tensor(0.0123)
    W = numbers[codes] * scales.double().repeat_interleave(16, 1) * second.double()
    tensors = {
        "weight": (codes[:, ::2] | codes[:, 1::2] << 4).to(torch.uint8),
        "weight_scale": scales,
        "weight_scale_2": second,
        "input_scale": torch.tensor(0.1),
    }
    config = {"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}}
    agrees(W.numpy(), tensors, config, tmp_path, "NVFP4 of Model Optimizer")
