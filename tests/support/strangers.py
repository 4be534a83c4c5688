"""Run files and checkpoints from strangers, and the way they are refused."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

import geom
from support.command import Done

SQUARE = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [0.25, 0.5]])
W = SQUARE.astype(np.float32)
NORM = np.ones(2, np.float32)

SECRET = "root:$6$hunter2$x7:19000:0:99999:7:::\nbackup = correct horse battery staple\n"

READERS: dict[str, tuple[str, ...]] = {
    "W.npz": ("run", "-m", "npz:W.npz", "--out", "run.db"),
    "W.npy": ("run", "-m", "npz:W.npy", "--out", "run.db"),
    "W.safetensors": ("run", "-m", "safetensors:W.safetensors", "--out", "run.db"),
    "W.gguf": ("run", "-m", "gguf:W.gguf", "--out", "run.db"),
    "ids.txt": ("run", "-t", "@ids.txt", "--out", "run.db"),
    "geom.toml": ("run", "--config", "geom.toml", "--out", "run.db"),
    "x.npy": ("compare", "-t", "0", "--at", "x.npy"),
    "run.db": ("verify", "run.db"),
    "model/config.json": ("run", "-m", "hf:model", "-t", "0", "--out", "run.db"),
    "model/model.safetensors": ("run", "-m", "hf:model", "-t", "0", "--out", "run.db"),
}
"""Every kind of file that is opened by name, with a command that opens it."""


def refused(done: Done) -> str:
    """Return the single line of a command that must fail."""
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("geom: ")
    assert done.err.count("\n") == 1
    return done.err


def stranger(name: str, model: str) -> Path:
    """Write a run of the square whose file claims that its weights are elsewhere."""
    path = Path(name)
    path.unlink(missing_ok=True)
    geom.run(geom.Readout.fold(W), tokens="all", out=path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        value = json.dumps(model)
        statement = "UPDATE meta SET value = ? WHERE key = 'model'"
        assert connection.execute(statement, (value,)).rowcount == 1
    return path


def checkpoint(folder: Path, index: dict[str, str] | None = None) -> Path:
    """Write a checkpoint of the square, in one file or as the index splits it."""
    folder.mkdir(parents=True)
    config = {"model_type": "llama", "hidden_size": 2, "tie_word_embeddings": False}
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {"lm_head.weight": W, "model.norm.weight": NORM}
    if index is None:
        save_file(tensors, folder / "model.safetensors")
    else:
        weight_map = json.dumps({"metadata": {}, "weight_map": index})
        (folder / "model.safetensors.index.json").write_text(weight_map)
    return folder


def named(file: str) -> dict[str, str]:
    return {"lm_head.weight": file, "model.norm.weight": file}
