"""A file of a checkpoint that lies outside the checkpoint's folder is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.numpy import save_file

import geom
from geom import InputError
from support.command import Command
from support.strangers import NORM, SECRET, W, checkpoint, named, refused

pytestmark = pytest.mark.usefixtures("work")


@pytest.mark.parametrize(
    "name",
    [
        "../secret.safetensors",
        "sub/../../secret.safetensors",
        "./secret.safetensors",
        "..",
        "",
        "/tmp/secret.safetensors",
        "sub//secret.safetensors",
        "..\\secret.safetensors",
        "C:secret.safetensors",
        "\\\\host\\share\\secret.safetensors",
        "http://127.0.0.1/secret.safetensors",
        "secret.safetensors\0",
    ],
)
@pytest.mark.parametrize("kind", ["model.safetensors", "pytorch_model.bin"])
def test_an_index_names_no_file_outside_its_folder(
    name: str, kind: str, tmp_path: Path, command: Command
) -> None:
    secret = {"lm_head.weight": W, "model.norm.weight": NORM}
    save_file(secret, tmp_path / "work" / "secret.safetensors")
    folder = checkpoint(Path("model"), named(name))
    (folder / "model.safetensors.index.json").rename(folder / f"{kind}.index.json")
    line = refused(command("run", "-m", "hf:model", "-t", "0", "--out", "run.db"))
    assert "index.json of model names the file" in line
    assert "which is not one of its own" in line


@pytest.mark.parametrize("name", ["shard.safetensors", "sub/shard.safetensors"])
def test_a_shard_is_no_link_out_of_its_folder(name: str, tmp_path: Path, command: Command) -> None:
    save_file({"lm_head.weight": W, "model.norm.weight": NORM}, tmp_path / "secret.safetensors")
    folder = checkpoint(Path("model"), named(name))
    if "/" in name:
        (folder / "sub").symlink_to(tmp_path)
        (tmp_path / "shard.safetensors").symlink_to(tmp_path / "secret.safetensors")
    else:
        (folder / name).symlink_to(tmp_path / "secret.safetensors")
    line = refused(command("run", "-m", "hf:model", "-t", "0", "--out", "run.db"))
    assert "is a link that leads out of the folder; put the file itself there" in line


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_no_file_of_a_checkpoint_is_a_link_out_of_it(
    name: str, tmp_path: Path, command: Command
) -> None:
    (tmp_path / "shadow").write_text(SECRET)
    folder = checkpoint(Path("model"))
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(tmp_path / "shadow")
    line = refused(command("run", "-m", "hf:model", "-t", "0", "--out", "run.db"))
    assert "is a link that leads out of the folder" in line


def test_links_within_a_folder_and_in_the_hubs_cache_are_followed(tmp_path: Path) -> None:
    inside = checkpoint(Path("model"), named("shard.safetensors"))
    tensors = {"lm_head.weight": W, "model.norm.weight": NORM}
    (inside / "data").mkdir()
    save_file(tensors, inside / "data" / "blob")
    (inside / "shard.safetensors").symlink_to("data/blob")
    digest = geom.load("hf:model").digest
    repository = tmp_path / "hub" / "models--owner--name"
    snapshot = checkpoint(repository / "snapshots" / "c0ffee", named("shard.safetensors"))
    (repository / "blobs").mkdir()
    save_file(tensors, repository / "blobs" / "a")
    (snapshot / "shard.safetensors").symlink_to("../../blobs/a")
    for name in ("config.json", "model.safetensors.index.json"):
        (snapshot / name).rename(repository / "blobs" / name)
        (snapshot / name).symlink_to(Path("../../blobs") / name)
    assert geom.load(f"hf:{snapshot}").digest == digest
    Path("elsewhere").symlink_to(snapshot)
    assert geom.load("hf:elsewhere").digest == digest
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to("../../refs")
    with pytest.raises(InputError, match="leads out of the folder"):
        geom.load(f"hf:{snapshot}")


@pytest.mark.parametrize("revision", ["../x", "a/../../b", "/etc", "a\\b", "..", ""])
def test_a_revision_is_no_path(revision: str, command: Command) -> None:
    model = f"hf:owner/name?revision={revision}"
    line = refused(command("run", "-m", model, "--out", "run.db"))
    assert "is not a revision of owner/name; give one of its branches, tags or commits" in line
