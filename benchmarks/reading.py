"""The time to read a whole checkpoint of GPT-2's shape, against the time to read its W.

    tox -e bench

The checkpoint is made here, in float32, with all 124 million parameters and a byte-level tokenizer
of GPT-2's size; ``geom.load`` runs in a separate process. The yardsticks are NumPy's reading of the
same bytes of the unembedding, and its size in float32.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

V, D, PARAMETERS = 50257, 768, 124_439_808

_LOAD = """
import resource, sys, time
started = time.perf_counter()
import geom
readout = geom.load(sys.argv[1])
assert (readout.V, readout.d) == (50257, 768)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(time.perf_counter() - started, peak, "torch" in sys.modules)
"""


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder)
        loads = [load(f"hf:{folder}") for _ in range(3)]
        raw = statistics.median(read(folder) for _ in range(3))
    seconds = statistics.median(taken for taken, _, _ in loads)
    peak = max(kib for _, kib, _ in loads) * 1024 / (V * D * 4)
    print(
        f"geom.load of a {V} x {D} checkpoint: {seconds:.2f} s with imports; NumPy's reading of W: "
        f"{raw:.2f} s; ratio {seconds / raw:.1f}; peak {peak:.2f} x W in float32; "
        f"torch imported: {any(torch for _, _, torch in loads)}"
    )


def make(folder: Path) -> None:
    """Write a GPT-2 checkpoint with random weights, and a tokenizer with as many tokens."""
    rng = np.random.default_rng(0)
    tensors = {
        "wte.weight": rng.standard_normal((V, D), dtype=np.float32),
        "ln_f.weight": rng.standard_normal(D, dtype=np.float32),
        "ln_f.bias": rng.standard_normal(D, dtype=np.float32),
    }
    tensors["h"] = np.zeros(PARAMETERS - sum(map(np.size, tensors.values())), dtype=np.float32)
    header, begin = {}, 0
    for key, tensor in tensors.items():
        end = begin + tensor.nbytes
        header[key] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            tensor.tofile(file)
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    vocabulary = {f"token{i}": i for i in range(V)}
    model = {"type": "BPE", "vocab": vocabulary, "merges": []}
    (folder / "tokenizer.json").write_text(
        json.dumps({"model": model, "decoder": {"type": "ByteLevel"}, "added_tokens": []})
    )


def load(model: str) -> tuple[float, int, bool]:
    """Return a new process's seconds, its peak memory in KiB, and whether it imported torch."""
    done = subprocess.run(
        [sys.executable, "-c", _LOAD, model], check=True, capture_output=True, text=True
    )
    seconds, peak, torch = done.stdout.split()
    return float(seconds), int(peak), torch == "True"


def read(folder: Path) -> float:
    """Return the time that NumPy takes to read the bytes of W alone."""
    started = time.perf_counter()
    np.fromfile(folder / "model.safetensors", np.float32, V * D, offset=512)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
