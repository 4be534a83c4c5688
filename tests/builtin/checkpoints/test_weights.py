"""Weights in the folders that people have: shards, wrappers' names, what is there instead."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import geom
from geom import InputError
from support.strangers import NORM, W, checkpoint
from support.toy_models import build, save

pytestmark = pytest.mark.usefixtures("work")

TENSORS = {"lm_head.weight": W, "model.norm.weight": NORM, "model.layers.0.w": W[:1]}
POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)


def empty_folder(name: str = "model") -> Path:
    """Make a checkpoint's folder without weights."""
    folder = checkpoint(Path(name))
    (folder / "model.safetensors").unlink()
    return folder


@pytest.fixture
def truth() -> str:
    return geom.load(f"hf:{checkpoint(Path('whole'))}").digest


def shards(folder: Path, *parts: dict[str, Any], suffix: str = ".safetensors") -> None:
    stem = "model" if suffix == ".safetensors" else "pytorch_model"
    for n, tensors in enumerate(parts, start=1):
        path = folder / f"{stem}-{n:05}-of-{len(parts):05}{suffix}"
        if suffix == ".safetensors":
            save_file(tensors, path)
        else:
            torch.save({name: torch.from_numpy(array) for name, array in tensors.items()}, path)


PARTS: tuple[dict[str, Any], ...] = (
    {"model.layers.0.w": W[:1]},
    {"lm_head.weight": W},
    {"model.norm.weight": NORM},
)


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_shards_without_an_index_are_all_read(suffix: str, truth: str) -> None:
    folder = empty_folder()
    shards(folder, *PARTS, suffix=suffix)
    readout = geom.load("hf:model")
    assert readout.digest == truth
    assert any("all 3 shards are read by their names" in note for note in readout.notes)


def test_a_shard_that_is_missing_is_named() -> None:
    folder = empty_folder()
    shards(folder, *PARTS)
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(InputError, match=r"2 of 3 shards: model-00002-of-00003\.safetensors is"):
        geom.load("hf:model")


def test_a_tensor_in_two_shards_is_refused() -> None:
    folder = empty_folder()
    shards(folder, *PARTS[:2], {"model.norm.weight": NORM, "lm_head.weight": W})
    with pytest.raises(InputError, match=r"has tensor 'lm_head\.weight', and so has model-00002"):
        geom.load("hf:model")


def test_shards_of_two_checkpoints_are_refused() -> None:
    folder = empty_folder()
    shards(folder, *PARTS)
    shards(folder, *PARTS[:2])
    with pytest.raises(InputError, match="has shards of 2 checkpoints, of 00002 and of 00003"):
        geom.load("hf:model")


def test_a_claim_of_many_shards_takes_no_time() -> None:
    folder = empty_folder()
    save_file(TENSORS, folder / "model-00001-of-99999.safetensors")
    with pytest.raises(InputError, match="has 1 of 99999 shards"):
        geom.load("hf:model")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module.{name}",
        lambda name: f"module._orig_mod.{name}",
        lambda name: f"_fsdp_wrapped_module.{name}",
        lambda name: name.replace("layers.0.", "layers.0._fsdp_wrapped_module."),
        lambda name: name.replace("layers.0.", "layers.0._checkpoint_wrapped_module."),
    ],
)
def test_names_that_a_wrapper_of_training_lengthened_are_read(
    wrap: Callable[[str], str], truth: str
) -> None:
    folder = empty_folder()
    save_file({wrap(name): array for name, array in TENSORS.items()}, folder / "model.safetensors")
    readout = geom.load("hf:model")
    assert readout.digest == truth
    assert any("which a wrapper of training put there" in note for note in readout.notes)


def test_a_tensor_with_and_without_a_wrapper_is_refused() -> None:
    folder = empty_folder()
    twice = TENSORS | {"_orig_mod.lm_head.weight": W}
    save_file(twice, folder / "model.safetensors")
    with pytest.raises(InputError, match="are one tensor with and without the names of a wrapper"):
        geom.load("hf:model")


def test_an_empty_tensor_names_zero_3_and_its_script() -> None:
    folder = empty_folder()
    save_file(TENSORS | {"lm_head.weight": W[:0, 0]}, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"empty, of shape \(0,\): DeepSpeed.*zero_to_fp32\.py"):
        geom.load("hf:model")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "pytorch_model.bin"])
def test_a_pointer_of_git_lfs_is_named_as_one(name: str) -> None:
    folder = empty_folder() if name == "pytorch_model.bin" else checkpoint(Path("model"))
    (folder / name).write_bytes(POINTER)
    with pytest.raises(InputError, match=rf"{name} is a pointer of Git LFS.* run git lfs pull"):
        geom.load("hf:model")


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("model.safetensors", r"model\.safetensors is not a safetensors file.*: it is empty"),
        ("pytorch_model.bin/", "it has pytorch_model.bin: a folder, not a file"),
        ("global_step100/", "global_step100: a checkpoint of DeepSpeed.*zero_to_fp32.py"),
        ("zero_to_fp32.py", "a checkpoint of DeepSpeed"),
        ("__0_0.distcp", "a checkpoint of torch.distributed.*dcp_to_torch"),
        ("pytorch_model_fsdp_0/", "a checkpoint of torch.distributed"),
        ("checkpoint-500/", "checkpoint-500: the folder of a training run; give one of"),
        ("tf_model.h5", r"TensorFlow's format; convert it with transformers 4 \(from_tf=True\)"),
        ("flax_model.msgpack", "Flax's format; convert it with transformers 4"),
        ("model.Q4_K_M.gguf", "a GGUF file; give it as gguf:"),
        ("adapter_model.safetensors", "an adapter's weights; its adapter_config.json is missing"),
        ("weights.safetensors", "a file of another name; give it as safetensors:"),
        ("notes.txt", "give a checkpoint that transformers saved"),
    ],
)
def test_what_is_there_instead_of_weights_is_named(entry: str, reason: str) -> None:
    folder = empty_folder()
    path = folder / entry
    path.mkdir() if entry.endswith("/") else path.touch()
    with pytest.raises(InputError, match=reason):
        geom.load("hf:model")


# The Hub's cache


def cached(commits: dict[str, str]) -> Path:
    """Write a model's folder in the Hub's cache, with references to snapshots."""
    repository = Path("models--owner--name")
    for commit in ("c0ffee", "decade"):
        folder = checkpoint(repository / "snapshots" / commit)
        if commit == "decade":
            save_file(TENSORS | {"lm_head.weight": 2 * W}, folder / "model.safetensors")
    (repository / "refs").mkdir()
    for reference, commit in commits.items():
        (repository / "refs" / reference).write_text(commit)
    return repository


def test_a_folder_of_the_cache_stands_for_the_snapshot_of_its_branch(truth: str) -> None:
    repository = cached({"main": "c0ffee", "old": "decade"})
    assert geom.load(f"hf:{repository}").digest == truth
    assert geom.load(f"hf:{repository}?revision=c0ffee").digest == truth
    old = geom.load(f"hf:{repository}?revision=old")
    assert old.digest != truth
    assert geom.load(f"hf:{repository}?revision=decade").digest == old.digest


@pytest.mark.parametrize("reference", [{}, {"main": "gone"}, {"main": "../../.."}])
def test_without_its_branch_the_snapshots_are_named(reference: dict[str, str]) -> None:
    repository = cached(reference)
    with pytest.raises(InputError, match=r"no snapshot of 'main'; .*/c0ffee, .*/decade"):
        geom.load(f"hf:{repository}")


def test_a_snapshot_that_is_a_link_out_of_the_cache_is_refused() -> None:
    elsewhere = checkpoint(Path("elsewhere"))
    repository = cached({"main": "linked"})
    (repository / "snapshots" / "linked").symlink_to(elsewhere.resolve())
    with pytest.raises(InputError, match="is a link that leads out of"):
        geom.load(f"hf:{repository}")


# Mistral's and Meta's own form


def consolidated(folder: Path, params: dict[str, Any], tensors: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / "params.json").write_text(json.dumps(params))
    save_file(tensors, folder / "consolidated.safetensors")
    return folder


MISTRAL = {"output.weight": W, "norm.weight": NORM, "tok_embeddings.weight": W[::-1].copy()}
PARAMS: dict[str, Any] = {"dim": 2, "n_layers": 1, "norm_eps": 1e-5, "vocab_size": 5}


def test_mistrals_form_makes_the_logits_of_the_same_model_in_transformers(tmp_path: Path) -> None:
    import transformers

    config = transformers.MistralConfig(
        vocab_size=19,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=8,
        rms_norm_eps=1e-6,
    )
    torch.manual_seed(3)
    model = transformers.MistralForCausalLM(config).eval()
    model.model.norm.weight.data.uniform_(0.5, 2)
    params = {"dim": 8, "n_layers": 1, "norm_eps": 1e-6, "vocab_size": 19}
    tensors = {
        "output.weight": model.lm_head.weight.detach().numpy(),
        "norm.weight": model.model.norm.weight.detach().numpy(),
        "tok_embeddings.weight": model.model.embed_tokens.weight.detach().numpy(),
    }
    readout = geom.load(f"hf:{consolidated(Path('mistral'), params, tensors)}")
    caught: list[torch.Tensor] = []
    model.model.norm.register_forward_pre_hook(lambda _, given: caught.append(given[0]))
    with torch.no_grad():
        logits = model(torch.tensor([[1, 5, 9]])).logits[0].double().numpy()
    x = caught[0][0].detach().double()
    x = x / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()
    np.testing.assert_allclose(readout.logits(x.numpy()), logits, rtol=0, atol=1e-5)
    assert readout.norm == "rmsnorm"
    assert any("as params.json says: output.weight" in note for note in readout.notes)


@pytest.mark.parametrize("flag", ["tied_embeddings", "tie_embeddings"])
def test_a_tied_model_of_mistral_has_its_embedding_for_a_head(flag: str) -> None:
    tensors = {name: array for name, array in MISTRAL.items() if name != "output.weight"}
    consolidated(Path("tied"), PARAMS | {flag: True}, tensors)
    np.testing.assert_array_equal(geom.load("hf:tied").W, W[::-1])
    consolidated(Path("untied"), PARAMS, tensors)
    with pytest.raises(InputError, match=r"lacks output\.weight, and params\.json does not say"):
        geom.load("hf:untied")


def test_the_head_of_metas_form_is_its_parts_in_order() -> None:
    folder = Path("meta")
    folder.mkdir()
    (folder / "params.json").write_text(json.dumps(PARAMS))
    for n, rows in enumerate((W[:2], W[2:])):
        part = {"output.weight": torch.from_numpy(rows), "norm.weight": torch.from_numpy(NORM)}
        torch.save(part, folder / f"consolidated.{n:02}.pth")
    np.testing.assert_array_equal(geom.load("hf:meta").W, W)
    (folder / "consolidated.00.pth").rename(folder / "consolidated.02.pth")
    with pytest.raises(InputError, match=r"has 2 parts, and consolidated\.00\.pth is missing"):
        geom.load("hf:meta")


@pytest.mark.parametrize(
    ("params", "more", "reason"),
    [
        (PARAMS, {"output.qscale_weight": NORM}, "form that geom does not read"),
        (PARAMS | {"model_type": "mamba"}, {}, "is 'mamba' by its params.json"),
        (PARAMS | {"tied_embeddings": "no"}, {}, "is 'no', not a bool"),
        ([], {}, "is not a JSON object"),
    ],
)
def test_other_forms_of_mistral_are_refused(params: Any, more: dict[str, Any], reason: str) -> None:
    consolidated(Path("model"), params, MISTRAL | more)
    with pytest.raises(InputError, match=reason):
        geom.load("hf:model")


def test_a_folder_in_both_forms_is_read_as_transformers_does(truth: str) -> None:
    folder = checkpoint(Path("both"))
    (folder / "params.json").write_text(json.dumps(PARAMS))
    save_file(MISTRAL | {"output.weight": 3 * W}, folder / "consolidated.safetensors")
    assert geom.load("hf:both").digest == truth


# a bare file, with the folder's config.json beside it


@pytest.mark.parametrize("kind", ["gpt2", "llama", "gemma", "cohere"])
def test_a_bare_file_is_read_by_the_configuration_beside_it(kind: str) -> None:
    folder = save(build(kind), Path(kind))
    whole, bare = geom.load(f"hf:{folder}"), geom.load(str(folder / "model.safetensors"))
    assert bare.digest == whole.digest
    assert str(bare.domain) == str(whole.domain)
    assert bare.notes == ("read by the config.json beside the file, as its folder is", *whole.notes)


def test_a_shard_stands_for_its_checkpoint_and_a_file_of_another_name_for_the_only_one(
    truth: str,
) -> None:
    folder = empty_folder()
    shards(folder, *PARTS)
    assert geom.load(f"safetensors:{folder}/model-00002-of-00003.safetensors").digest == truth
    alone = empty_folder("alone")
    save_file(TENSORS, alone / "tuned.safetensors")
    assert geom.load(f"{alone}/tuned.safetensors").digest == truth


def test_a_file_that_is_not_the_folders_is_refused_unless_its_tensors_are_named() -> None:
    folder = checkpoint(Path("model"))
    save_file(TENSORS, folder / "tuned.safetensors")
    said = "beside a config.json, .*: the weights of that folder are model.safetensors; or name its"
    with pytest.raises(InputError, match=said):
        geom.load(f"{folder}/tuned.safetensors")
    named = geom.load(f"{folder}/tuned.safetensors?norm=none")
    assert (named.W == W).all()
    assert named.notes[-1].startswith("config.json beside the file is not read")
    (folder / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"cannot be read by it: .*, as in \?unembed=lm_head"):
        geom.load(f"{folder}/model.safetensors")
