"""Makes the files of tests/builtin/quantised/stored, each by its format's own library.

Run once, in an environment of its own, and kept because the libraries are large:

    pip install 'mlx[cpu]==0.32.4' compressed-tensors==0.20.1 bitsandbytes==0.50.2 safetensors
    python tests/support/quantised_fixtures.py mlx compressed_tensors bitsandbytes

Each case of a file has the tensors of the head as the library stores them, and ``dequantised``,
which is what the library makes of them in float32.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

STORED = Path(__file__).parent.parent / "builtin" / "quantised" / "stored"


def drawn(seed: int, V: int = 8, d: int = 128) -> np.ndarray:
    """Return a matrix whose groups differ in size, so that a wrong group shows."""
    rng = np.random.default_rng(seed)
    sizes = 2.0 ** rng.integers(-3, 3, (V, d // 16)).repeat(16, axis=1)
    return (rng.standard_normal((V, d)) * sizes).astype(np.float32)


def mlx() -> tuple[dict[str, np.ndarray], dict[str, object]]:
    import mlx.core as mx

    tensors, configs = {}, {}
    cases = [("affine", bits, 64) for bits in (1, 2, 3, 4, 5, 6, 8)]
    cases += [("affine", 4, 32), ("affine", 4, 128), ("affine", 8, 32)]
    cases += [("mxfp4", 4, 32), ("mxfp8", 8, 32), ("nvfp4", 4, 16)]
    for seed, (mode, bits, group) in enumerate(cases):
        name = f"{mode}-{bits}-{group}"
        W = mx.array(drawn(seed)).astype(mx.float16)
        stored = mx.quantize(W, group_size=group, bits=bits, mode=mode)
        wide = [part.astype(mx.float32) if mode == "affine" else part for part in stored[1:]]
        dequantised = mx.dequantize(
            stored[0], *wide, group_size=group, bits=bits, mode=mode, dtype=mx.float32
        )
        for part, array in zip(("weight", "scales", "biases"), stored, strict=False):
            tensors[f"{name}.{part}"] = np.array(array)
        tensors[f"{name}.dequantised"] = np.array(dequantised)
        configs[name] = {"quantization": {"group_size": group, "bits": bits, "mode": mode}}
    return tensors, configs


def compressed_tensors() -> tuple[dict[str, np.ndarray], dict[str, object]]:
    import torch
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.lifecycle.forward import dequantize
    from compressed_tensors.quantization.utils import calculate_qparams

    cases = {
        "pack-4-group": ("pack-quantized", {"num_bits": 4, "strategy": "group", "group_size": 32}),
        "pack-4-zero": (
            "pack-quantized",
            {"num_bits": 4, "strategy": "group", "group_size": 48, "symmetric": False},
        ),
        "pack-8-channel": ("pack-quantized", {"num_bits": 8, "strategy": "channel"}),
        "pack-4-channel-zero": (
            "pack-quantized",
            {"num_bits": 4, "strategy": "channel", "symmetric": False},
        ),
        "pack-3-group": ("pack-quantized", {"num_bits": 3, "strategy": "group", "group_size": 48}),
        "pack-4-tensor": ("pack-quantized", {"num_bits": 4, "strategy": "tensor"}),
        "pack-6-group": ("pack-quantized", {"num_bits": 6, "strategy": "group", "group_size": 48}),
        "int-8-group": ("int-quantized", {"num_bits": 8, "strategy": "group", "group_size": 32}),
        "float-8-group": (
            "float-quantized",
            {"num_bits": 8, "type": "float", "strategy": "group", "group_size": 32},
        ),
        "int-8-channel": ("int-quantized", {"num_bits": 8, "strategy": "channel"}),
        "int-8-zero": (
            "int-quantized",
            {"num_bits": 8, "strategy": "channel", "symmetric": False},
        ),
        "int-8-tensor": ("int-quantized", {"num_bits": 8, "strategy": "tensor"}),
        "float-8-tensor": (
            "float-quantized",
            {"num_bits": 8, "type": "float", "strategy": "tensor"},
        ),
        "float-8-channel": (
            "float-quantized",
            {"num_bits": 8, "type": "float", "strategy": "channel"},
        ),
        "float-8-block": (
            "float-quantized",
            {"num_bits": 8, "type": "float", "strategy": "block", "block_structure": [4, 48]},
        ),
        "nvfp4": (
            "nvfp4-pack-quantized",
            {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16},
        ),
        "mxfp4": (
            "mxfp4-pack-quantized",
            {"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32},
        ),
        "mxfp6": (
            "mxfp6-pack-quantized",
            {"num_bits": 6, "type": "float", "strategy": "group", "group_size": 32},
        ),
        "mxfp8": (
            "mxfp8-quantized",
            {"num_bits": 8, "type": "float", "strategy": "group", "group_size": 32},
        ),
    }
    tensors, configs = {}, {}
    for seed, (name, (form, about)) in enumerate(cases.items()):
        args = QuantizationArgs(**about)
        scheme = QuantizationScheme(targets=["Linear"], weights=args)
        W = torch.from_numpy(drawn(100 + seed, 16, 96))
        least, most = (_extreme(W, about, largest) for largest in (False, True))
        state = {"weight": W}
        if form.startswith("mx"):
            largest = torch.maximum(least.abs(), most.abs())
            scale = 2.0 ** torch.floor(torch.log2(largest / 4))
        elif form.startswith("nv"):
            state["weight_global_scale"] = (448 * 6 / W.abs().max()).reshape(1)
            largest = torch.maximum(least.abs(), most.abs()) / 6
            scale = (largest * state["weight_global_scale"]).to(torch.float8_e4m3fn).float()
        else:
            scale, zero = calculate_qparams(least, most, args)
            scale = scale.to(torch.bfloat16).float()
            if not args.symmetric:
                state["weight_zero_point"] = zero
        state["weight_scale"] = scale
        compressor = BaseCompressor.get_value_from_registry(form)
        stored = compressor.compress(state, scheme)
        opened = compressor.decompress(dict(stored), scheme)
        if form.startswith("nv"):  # decompress rounds to bfloat16: its parts, in float32
            codes = unpack_fp4_from_uint8(stored["weight_packed"], 16, 96, torch.float32)
            shared = {"global_scale": state["weight_global_scale"], "args": args}
            opened["weight"] = dequantize(codes, scale, dtype=torch.float32, **shared)
        stored = {key: value for key, value in stored.items() if value is not None}
        for key, value in stored.items():
            if value.dtype in (torch.float8_e4m3fn,):
                tensors[f"{name}.{key}:F8_E4M3"] = value.view(torch.uint8).numpy()
            else:
                tensors[f"{name}.{key}"] = value.contiguous().numpy()
        tensors[f"{name}.dequantised"] = opened["weight"].float().numpy()
        configs[name] = {
            "quantization_config": {
                "quant_method": "compressed-tensors",
                "format": form,
                "config_groups": {"group_0": {"targets": ["Linear"], "weights": about}},
                "ignore": [],
            }
        }
    return tensors, configs


def _extreme(W, about, largest: bool):
    import torch

    ask = torch.amax if largest else torch.amin
    strategy = about["strategy"]
    if strategy == "tensor":
        return ask(W).reshape(1)
    if strategy == "channel":
        return ask(W, dim=1, keepdim=True)
    if strategy == "block":
        height, width = about["block_structure"]
        padded = torch.nn.functional.pad(W, (0, -W.shape[1] % width, 0, -W.shape[0] % height))
        blocks = padded.reshape(len(padded) // height, height, -1, width)
        return ask(blocks, dim=(1, 3))
    return ask(W.reshape(len(W), -1, about["group_size"]), dim=2)


def bitsandbytes() -> tuple[dict[str, np.ndarray], dict[str, object]]:
    import torch
    from bitsandbytes import functional

    tensors, configs = {}, {}
    for seed, (kind, nested, storage) in enumerate(
        [
            ("nf4", False, torch.uint8),
            ("fp4", False, torch.uint8),
            ("nf4", True, torch.uint8),
            ("nf4", False, torch.bfloat16),
        ]
    ):
        name = f"{kind}-{'nested' if nested else 'plain'}-{str(storage).removeprefix('torch.')}"
        W = torch.from_numpy(drawn(200 + seed))
        words, state = functional.quantize_4bit(
            W, blocksize=64, compress_statistics=nested, quant_type=kind, quant_storage=storage
        )
        tag = ":BF16" if storage is torch.bfloat16 else ""
        tensors[f"{name}.weight{tag}"] = words.view(torch.uint8).numpy()
        for key, value in state.as_dict(packed=True).items():
            tensors[f"{name}.weight.{key}"] = value.numpy()
        tensors[f"{name}.dequantised"] = functional.dequantize_4bit(words, state).numpy()
        configs[name] = {"quantization_config": {"quant_method": "bitsandbytes"}}
    W = torch.from_numpy(drawn(210)).half()
    words, scales, _ = functional.int8_vectorwise_quant(W)
    tensors["int8.weight"], tensors["int8.SCB"] = words.numpy(), scales.numpy()
    tensors["int8.weight_format"] = np.zeros((), np.uint8)
    tensors["int8.dequantised"] = functional.int8_vectorwise_dequant(words, scales).numpy()
    configs["int8"] = {"quantization_config": {"quant_method": "bitsandbytes"}}
    return tensors, configs


if __name__ == "__main__":
    STORED.mkdir(exist_ok=True)
    for library in sys.argv[1:]:
        tensors, configs = globals()[library]()
        metadata = {"configs": json.dumps(configs)}
        save_file(tensors, STORED / f"{library}.safetensors", metadata)
        print(library, len(configs), sum(array.nbytes for array in tensors.values()))
