"""Damaged files for every reader: each gives a readout, a run, or one line that says why not.

    python -m pip install atheris
    python tests/support/fuzzing.py safetensors -runs=100000

This searches for further damaged files, guided by the branches that each file reaches (libFuzzer).
`test_fuzzing.py` draws some hundreds for each reader at random, and `campaigns/readers.py`
thousands.
"""

from __future__ import annotations

import json
import sys
import tempfile
import zipfile
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import FunctionType

import numpy as np

import geom
from geom import GeomError, Readout
from geom_plugins.reporters.row_options import RowOptions

V, D = 12, 4


@dataclass(frozen=True)
class Target:
    """A reader under test: its name, a sound file, the file's name, and the reading function."""

    name: str
    sound: Callable[[Path], bytes]
    file: str
    read: Callable[[Path], object]


Damage = Callable[[np.random.Generator, bytes], bytes]

NUMBERS = [b"\xff" * 8, b"\x00" * 8, b"\x7f" + b"\xff" * 7, b"\x00\x00\x00\x80", b"9" * 12, b"-1"]


def flip(rng: np.random.Generator, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        out[rng.integers(len(out))] ^= 1 << int(rng.integers(8))
    return bytes(out)


def cut(rng: np.random.Generator, data: bytes) -> bytes:
    return data[: rng.integers(len(data))]


def repeat(rng: np.random.Generator, data: bytes) -> bytes:
    a, b = sorted(rng.integers(len(data), size=2))
    return data[:b] + data[a:b] + data[b:]


def leave_out(rng: np.random.Generator, data: bytes) -> bytes:
    a = int(rng.integers(len(data)))
    return data[:a] + data[a + int(rng.integers(1, 40)) :]


def lie(rng: np.random.Generator, data: bytes) -> bytes:
    """Put an extreme number in place of some bytes."""
    number = NUMBERS[rng.integers(len(NUMBERS))]
    at = int(rng.integers(len(data)))
    return data[:at] + number + data[at + len(number) :]


DAMAGES: list[Damage] = [flip, cut, repeat, leave_out, lie]


def feed(target: Target, folder: Path, data: bytes) -> bool:
    """Return whether the file is read: False for geom's own errors; any other error propagates."""
    path = folder / target.file
    path.write_bytes(data)
    try:
        target.read(path)
    except GeomError as error:
        message = str(error)
    else:
        return True
    if not message.isprintable() or len(message) > 2500:
        raise AssertionError(f"the message is not one short line: {message!r}")
    return False


@contextmanager
def files(target: Target) -> Iterator[tuple[Path, bytes]]:
    """Yield a folder that holds the target's other files, and a sound file for the target."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sound = target.sound(folder)
        assert feed(target, folder, sound), target.name
        yield folder, sound


def matrix() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((V, D)).astype(np.float32)


def npz(folder: Path) -> bytes:
    file = BytesIO()
    np.savez(file, W=matrix(), b=np.zeros(V))
    return file.getvalue()


def packed_npz(folder: Path) -> bytes:
    file = BytesIO()
    np.savez_compressed(file, W=matrix(), b=np.zeros(V))
    return file.getvalue()


def npy(folder: Path) -> bytes:
    file = BytesIO()
    np.save(file, matrix())
    return file.getvalue()


def safetensors(folder: Path) -> bytes:
    from safetensors.numpy import save

    return save({"lm_head.weight": matrix(), "norm": np.ones(D, np.float32)})


def gguf(folder: Path) -> bytes:
    from gguf import GGUFWriter

    writer = GGUFWriter(folder / "sound", "llama")
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"t{i}" for i in range(V)])
    writer.add_token_types([1] * V)
    writer.add_tensor("output.weight", matrix())
    writer.add_tensor("output_norm.weight", np.ones(D, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return (folder / "sound").read_bytes()


def torch_bin(folder: Path) -> bytes:
    import torch

    checkpoint(folder)
    file = BytesIO()
    tensors = {"lm_head.weight": torch.tensor(matrix()), "model.norm.weight": torch.ones(D)}
    torch.save(tensors, file)
    return file.getvalue()


def repacked(folder: Path) -> bytes:
    """Return the torch file, deflated."""
    file = BytesIO()
    with (
        zipfile.ZipFile(BytesIO(torch_bin(folder))) as before,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as after,
    ):
        for name in before.namelist():
            after.writestr(name, before.read(name))
    return file.getvalue()


CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": D,
    "vocab_size": V,
    "tie_word_embeddings": False,
}


def checkpoint(folder: Path) -> None:
    """Write the file that belongs next to the weights."""
    (folder / "config.json").write_text(json.dumps(CONFIG))


def config(folder: Path) -> bytes:
    from safetensors.numpy import save_file

    weights = {"lm_head.weight": matrix(), "model.norm.weight": np.ones(D, np.float32)}
    save_file(weights, folder / "model.safetensors")
    return json.dumps(CONFIG).encode()


def tokenizer(folder: Path) -> bytes:
    (folder / "config.json").write_bytes(config(folder))
    model = {"type": "BPE", "vocab": {f"t{i}": i for i in range(V)}, "merges": []}
    added = [{"id": 0, "content": "t0", "special": True}]
    return json.dumps({"model": model, "added_tokens": added}).encode()


def onnx(folder: Path) -> bytes:
    from support.onnx_files import written

    return written(matrix(), np.ones(D, np.float32))


TOKENS = [b"'", b"\n", b"the", b"\xe2\x80", *(bytes([65 + i]) for i in range(V))]


def tekken(folder: Path) -> bytes:
    (folder / "config.json").write_bytes(config(folder))
    tokens = [{"rank": i, "token_bytes": b64encode(t).decode()} for i, t in enumerate(TOKENS)]
    counts = {"default_vocab_size": V, "default_num_special_tokens": 2}
    special = [{"rank": 0, "token_str": "<s>", "is_control": True}]
    return json.dumps({"config": counts, "vocab": tokens, "special_tokens": special}).encode()


def tiktoken(folder: Path) -> bytes:
    (folder / "config.json").write_bytes(config(folder))
    return b"".join(b64encode(token) + b" %d\n" % i for i, token in enumerate(TOKENS))


def rwkv(folder: Path) -> bytes:
    (folder / "config.json").write_bytes(config(folder))
    lines = (f"{i} {token!r} {len(token)}\n" for i, token in enumerate(TOKENS, 1))
    return "".join(lines).encode()


def ctranslate2(folder: Path) -> bytes:
    from support.ctranslate2_files import save

    whole = {"decoder/embeddings/weight": (matrix() * 40).astype(np.int8)}
    whole |= {"decoder/embeddings/weight_scale": np.ones(V, np.float32)}
    whole |= {"decoder/layer_norm/gamma": np.ones(D, np.float32)}
    whole |= {"decoder/pre_norm": np.ones((), np.int8)}
    aliases = [("decoder/projection/weight", "decoder/embeddings/weight")]
    return (save(folder / "sound", whole, aliases) / "model.bin").read_bytes()


def run(folder: Path) -> bytes:
    path = folder / "sound.db"
    readout = Readout.fold([*matrix()[:-1], matrix()[:-1].mean(axis=0)], tokens=["a"] * V)
    asked = {"detectors": ["self-argmax"], "tokens": "all", "opening": False}
    with geom.run(readout, out=path, **asked) as found:  # type: ignore[arg-type]
        geom.measure(found, ["row-norm"], tokens=[0])
    return path.read_bytes()


def look(path: Path) -> None:
    """Read all that a run holds, in every form."""
    from geom_plugins.reporters import csv_file, html_page, jsonl

    with geom.open_run(path, Readout.fold(matrix())) as found:
        for row in found.rows():
            found.certificate(row.token_id)
            found.evidence(row.token_id)
        found.measured()
        found._repr_html_()
        for reporter in (csv_file, jsonl, html_page):
            reporter.write(found, BytesIO(), RowOptions())
    geom.summarise([path])


def settings(folder: Path) -> bytes:
    return b'models = ["demo"]\ntokens = "5"\n[certifier.mpmath]\ndigits = 80\n'


def configure(path: Path) -> None:
    from geom.cli.config import configure

    configure(path, [])


def model(form: str) -> Callable[[Path], Readout]:
    return lambda path: geom.load(form.format(file=path, folder=path.parent))


def texts(path: Path) -> None:
    """Load a model for its texts: without them, the note about the tokenizer is the error."""
    readout = geom.load(f"hf:{path.parent}")
    if readout.tokens is None:
        raise GeomError(readout.notes[-1])


TARGETS = [
    Target("npz", npz, "W.npz", model("npz:{file}")),
    Target("npz-packed", packed_npz, "W.npz", model("npz:{file}")),
    Target("npy", npy, "W.npy", model("npz:{file}")),
    Target(
        "safetensors",
        safetensors,
        "W.safetensors",
        model("safetensors:{file}?unembed=lm_head.weight&gamma=norm&norm=rmsnorm"),
    ),
    Target("gguf", gguf, "W.gguf", model("gguf:{file}")),
    Target("torch", torch_bin, "pytorch_model.bin", model("hf:{folder}")),
    Target("torch-packed", repacked, "pytorch_model.bin", model("hf:{folder}")),
    Target("config", config, "config.json", model("hf:{folder}")),
    Target("ct2", ctranslate2, "model.bin", model("ct2:{folder}")),
    Target("onnx", onnx, "model.onnx", model("onnx:{file}?unembed=W")),
    Target("tokenizer", tokenizer, "tokenizer.json", texts),
    Target("tekken", tekken, "tekken.json", texts),
    Target("tiktoken", tiktoken, "qwen.tiktoken", texts),
    Target("rwkv", rwkv, "rwkv_vocab_v20230424.txt", texts),
    Target("run", run, "run.db", look),
    Target("settings", settings, "geom.toml", configure),
]


def ours() -> Iterator[FunctionType]:
    """Yield geom's functions and methods in all modules imported to read a sound file."""
    modules = [module for name, module in sys.modules.items() if name.startswith("geom")]
    found = {id(value): value for module in modules for value in vars(module).values()}
    for value in found.values():
        members = vars(value).values() if isinstance(value, type) else [value]
        for member in members:
            if isinstance(member, FunctionType) and member.__module__.startswith("geom"):
                yield member


def main() -> None:
    """Fuzz one target with atheris, from its sound file; libFuzzer's own flags follow its name."""
    import atheris

    name = sys.argv.pop(1)
    (target,) = (target for target in TARGETS if target.name == name)
    with files(target) as (folder, sound), tempfile.TemporaryDirectory() as corpus:
        (Path(corpus) / "sound").write_bytes(sound)
        for function in ours():
            atheris.instrument_func(function)
        read = [0, 0]

        def one(data: bytes) -> None:
            read[feed(target, folder, data)] += 1
            if sum(read) % 10_000 == 0:
                print(f"{target.name}: {read[0]} refused, {read[1]} read", flush=True)

        atheris.Setup([*sys.argv, "-len_control=0", corpus], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
