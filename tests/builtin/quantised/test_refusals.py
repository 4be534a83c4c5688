"""A head in another form than its parts say is one clear line, never a wrong matrix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import geom
from geom import InputError
from geom_plugins.quantised import codes
from support.quantised import Tensors, case, model_of, save

V, D = 16, 96
FLOATS = torch.ones(V, D)
WORDS = torch.ones(V, 12, dtype=torch.int32)
BYTES = torch.ones(V, D, dtype=torch.int8)
FP8 = torch.ones(V, D).to(torch.float8_e4m3fn)


def refusal(tensors: Tensors, config: dict[str, Any], folder: Path) -> str:
    where = save(model_of(np.ones((V, D))), folder / "checkpoint", tensors, config)
    with pytest.raises(InputError) as caught:
        geom.load(f"hf:{where}")
    message = str(caught.value)
    assert "\n" not in message
    assert "lm_head" in message
    return message.removeprefix(f"{where}: ")


def said(**about: Any) -> dict[str, Any]:
    return {"quantization_config": about}


@pytest.mark.parametrize(
    ("tensors", "config", "form"),
    [
        ({"trellis": WORDS, "suh": FLOATS[0]}, said(quant_method="exl3"), "EXL3"),
        ({"q_weight": WORDS, "q_scale": WORDS}, said(quant_method="exl2"), "EXL2"),
        ({"W_q": WORDS, "meta": FLOATS}, said(quant_method="hqq"), "HQQ"),
        ({"codes": BYTES, "codebooks": FLOATS, "scales": FLOATS}, {}, "AQLM"),
        ({"indices": WORDS, "centroids.weight": FLOATS}, {}, "VPTQ"),
        ({"_weight_qdata": BYTES, "_weight_scale": FLOATS}, {}, "torchao"),
        ({"weight._data": BYTES, "weight._scale": FLOATS}, {}, "optimum-quanto"),
        ({"weight": BYTES, "weight_scales": FLOATS[0]}, said(quant_method="eetq"), "EETQ"),
        ({"weight": FP8, "scale_inv": FLOATS[0]}, {}, "scale_inv"),
        ({"weight": FP8, "weight_scale": FLOATS[0, 0]}, said(quant_method="quark"), "'quark'"),
        ({"weight": BYTES, "weight_scale": FLOATS[:, :1]}, said(quant_method="quark"), "'quark'"),
        ({"weight": FP8}, said(quant_method="fp8"), "scale is missing"),
        ({"weight": BYTES}, {}, "I8, integers without scales"),
        ({"weight": WORDS}, {}, "I32, integers without scales"),
        ({"qweight": WORDS}, {}, "nothing says how"),
        ({"qweight": WORDS}, said(quant_method="unheard-of"), "by 'unheard-of'"),
        ({"weight_packed": WORDS}, {}, "nothing says how"),
        ({"weight": FLOATS, "weight_scale": FLOATS}, {}, "F32 with lm_head.weight_scale"),
        ({"weight": FLOATS, "weight_scale_inv": FLOATS}, {}, "F32 with lm_head.weight_scale_inv"),
        ({"weight": FLOATS, "lora_A.default.weight": FLOATS}, {}, "adapts lm_head"),
        ({"base_layer.weight": FLOATS, "lora_A.weight": FLOATS}, {}, "adapts lm_head"),
        ({"weight": FLOATS, "weight.absmax": FLOATS[0]}, {}, "descriptions"),
        ({"weight_g": FLOATS[:, :1], "weight_v": FLOATS}, {}, "weight norm"),
        ({"qweight": WORDS}, said(quant_method="gptq", bits=4, checkpoint_format="marlin"), "mar"),
        ({"qweight": WORDS}, said(quant_method="awq", bits=4, version="gemv"), "gemv"),
    ],
)
def test_a_form_that_is_not_read_is_named(
    tensors: Tensors, config: dict[str, Any], form: str, tmp_path: Path
) -> None:
    message = refusal(tensors, config, tmp_path)
    assert form in message
    assert "give" in message


def gptq(**changes: torch.Tensor) -> Tensors:
    return {
        "qweight": torch.zeros(12, 32, dtype=torch.int32),
        "qzeros": torch.zeros(3, 4, dtype=torch.int32),
        "scales": torch.ones(3, 32).half(),
        "g_idx": (torch.arange(96) // 32).int(),
    } | changes


GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False}


@pytest.mark.parametrize(
    ("changes", "about", "message"),
    [
        ({"qzeros": torch.full((3, 4), -1, dtype=torch.int32)}, {}, "zeros of 15"),
        ({"g_idx": torch.full((96,), 3).int()}, {}, "groups outside of the 3"),
        ({"g_idx": torch.full((96,), -1).int()}, {"desc_act": True}, "groups outside of the 3"),
        ({"g_idx": torch.arange(96).flip(0).int() // 32}, {}, "does not say desc_act"),
        ({"scales": torch.ones(2, 32).half()}, {}, "scales has shape .2, 32., and needs 3 x 32"),
        ({"scales": torch.ones(3, 32).int()}, {}, "scales is I32, and not"),
        ({"qzeros": torch.ones(3, 5).int()}, {}, "qzeros has shape"),
        ({}, {"bits": 5}, "config.json says 5 bits"),
        ({}, {"bits": "4"}, "has bits '4': its quantisation needs an integer"),
        ({}, {"bits": True}, "has bits True"),
        ({}, {"group_size": 0}, "groups of 0"),
        ({}, {"group_size": 10**30}, "outside of the 1"),
        ({"extra": FLOATS}, {}, "lm_head.extra"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    changes: Tensors, about: dict[str, Any], message: str, tmp_path: Path
) -> None:
    where = save(
        model_of(np.ones((32, 96))),
        tmp_path / "checkpoint",
        gptq(**changes),
        said(**GPTQ | about),
    )
    with pytest.raises(InputError, match=message):
        geom.load(f"hf:{where}")


@pytest.mark.parametrize(
    ("library", "name", "part", "value", "message"),
    [
        ("mlx", "affine-4-64", "scales", torch.ones(8, 3).half(), "do not hold 3 groups of 64"),
        ("mlx", "affine-4-64", "biases", torch.ones(8, 1).half(), "biases has shape"),
        ("mlx", "affine-4-64", "global_scale", torch.ones(1), "lm_head.global_scale"),
        ("mlx", "nvfp4-4-16", "biases", torch.ones(8, 8), "lm_head.biases"),
        (
            "compressed_tensors",
            "pack-4-group",
            "weight_shape",
            torch.tensor([16, 97]),
            "do not hold 97",
        ),
        ("compressed_tensors", "pack-4-group", "weight_shape", torch.tensor([-1, 96]), "-1 x 96"),
        ("compressed_tensors", "pack-4-group", "weight_g_idx", torch.arange(96), "weight_g_idx"),
        ("compressed_tensors", "pack-4-group", "weight", FLOATS, "lm_head.weight,"),
        ("compressed_tensors", "pack-4-group", "weight_scale", torch.ones(16, 5), "16 x 96 numb"),
        ("compressed_tensors", "pack-4-group", "weight_scale", torch.ones(16, 1), "by channel"),
        ("compressed_tensors", "nvfp4", "weight_global_scale", torch.zeros(1), "not one positive"),
        ("bitsandbytes", "int8", "weight_format", torch.ones((), dtype=torch.uint8), "older"),
        ("bitsandbytes", "int8", "SCB", torch.ones(7), "SCB has shape"),
        ("bitsandbytes", "nf4-plain-uint8", "weight.quant_map", torch.ones(16), "not that of nf4"),
    ],
)
def test_a_part_of_another_head_is_refused(
    library: str, name: str, part: str, value: torch.Tensor, message: str, tmp_path: Path
) -> None:
    tensors, config, dequantised = case(library, name)
    tensors[part] = value
    where = save(model_of(dequantised), tmp_path / "checkpoint", tensors, config)
    with pytest.raises(InputError, match=message):
        geom.load(f"hf:{where}")


@pytest.mark.parametrize("entry", [{"shape": [2**40, 128]}, {"blocksize": 0}, {"quant_type": "x"}])
def test_what_bitsandbytes_says_of_a_tensor_is_not_believed(
    entry: dict[str, Any], tmp_path: Path
) -> None:
    tensors, config, dequantised = case("bitsandbytes", "nf4-nested-uint8")
    key = "weight.quant_state.bitsandbytes__nf4"
    state = json.loads(tensors[key].numpy().tobytes()) | entry
    tensors[key] = torch.frombuffer(bytearray(json.dumps(state).encode()), dtype=torch.uint8)
    where = save(model_of(dequantised), tmp_path / "checkpoint", tensors, config)
    with pytest.raises(InputError):
        geom.load(f"hf:{where}")


def test_numbers_that_are_none_are_refused_where_they_are(tmp_path: Path) -> None:
    tensors, config, dequantised = case("mlx", "affine-4-64")
    tensors["scales"][3, 1] = float("inf")
    where = save(model_of(dequantised), tmp_path / "checkpoint", tensors, config)
    with pytest.raises(InputError, match=r"W\[\(3, \d+\)\] is inf"):
        geom.load(f"hf:{where}")


@pytest.mark.parametrize(
    ("library", "name"),
    [
        ("mlx", "affine-4-64"),
        ("mlx", "mxfp4-4-32"),
        ("compressed_tensors", "pack-4-group"),
        ("compressed_tensors", "int-8-channel"),
        ("compressed_tensors", "nvfp4"),
    ],
)
def test_one_file_without_its_config_is_refused(library: str, name: str, tmp_path: Path) -> None:
    tensors, _, _ = case(library, name)
    file = tmp_path / "model.safetensors"
    save_file({f"lm_head.{key}": value for key, value in tensors.items()}, file)
    with pytest.raises(InputError, match=r"lm_head\.weight is stored as .*; give"):
        geom.load(f"safetensors:{file}")


def test_one_file_that_says_all_itself_is_read(tmp_path: Path) -> None:
    tensors, _, dequantised = case("bitsandbytes", "int8")
    file = tmp_path / "model.safetensors"
    save_file({f"lm_head.{key}": value for key, value in tensors.items()}, file)
    readout = geom.load(f"safetensors:{file}")
    np.testing.assert_allclose(readout.W, dequantised, rtol=1e-6, atol=1e-7)
    assert readout.notes[0].startswith("lm_head is int8 by bitsandbytes")


def test_a_weight_of_any_name_has_what_begins_with_its_name(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    others = {"W2": FLOATS, "W2_pos": FLOATS.clone(), "W_U": FLOATS.clone()}
    save_file({"W": FP8, "W_scale": torch.tensor(0.5), **others}, file)
    assert geom.load(f"safetensors:{file}?unembed=W").W.max() == 0.5
    assert geom.load(f"safetensors:{file}?unembed=W2").notes == ()


@pytest.mark.parametrize("bits", [3, 5, 6, 7])
def test_words_with_gaps_are_refused(bits: int, tmp_path: Path) -> None:
    tensors, config, dequantised = case("compressed_tensors", "pack-4-group")
    weights = config["quantization_config"]["config_groups"]["group_0"]["weights"]
    weights["num_bits"] = bits
    tensors["weight_packed"] = torch.ones(16, -(-96 // (32 // bits)), dtype=torch.int32)
    where = save(model_of(dequantised), tmp_path / "checkpoint", tensors, config)
    with pytest.raises(InputError, match=f"{bits} bits, which its releases pack differently"):
        geom.load(f"hf:{where}")


@pytest.mark.parametrize("bits", range(1, 9))
def test_codes_are_the_bits_in_a_row(bits: int) -> None:
    line = np.random.default_rng(bits).integers(0, 256, 29, np.uint8)
    number = int.from_bytes(line.tobytes(), "little")
    wanted = [number >> bits * i & 2**bits - 1 for i in range(29 * 8 // bits)]
    assert codes.unpacked(line[None], bits, len(wanted))[0].tolist() == wanted
