"""A checkpoint in two dimensions whose tokens are of every kind that a gate tells apart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel

CORNERS = [[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]
WORD, SPECIAL, ADDED, OUTER, INNER = 4, 5, 6, 7, 8
"""A word, a special and an added token within the hull; padding that can win, and that cannot."""

ROWS = {WORD: [0.2, 0.1], SPECIAL: [0.1, 0.3], ADDED: [-0.3, 0.1], OUTER: [1.5, 0], INNER: [0, 0.2]}


def save_model(
    folder: str, rows: dict[int, list[float]] | None = None, words: str = "abcde"
) -> str:
    """Save the checkpoint with these rows in place of `ROWS`; return what ``--model`` takes."""
    path = Path(folder)
    path.mkdir(exist_ok=True)
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token=words[0]))
    tokenizer.add_special_tokens([AddedToken("<s>", special=True)])
    tokenizer.add_tokens([AddedToken("<tool>", special=False)])
    tokenizer.save(str(path / "tokenizer.json"))
    all_rows = ROWS | (rows or {})
    W = np.array([*CORNERS, *(all_rows[token] for token in sorted(all_rows))], dtype=np.float32)
    save_file({"W": W}, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps({"model_type": "toy"}))
    return f"hf:{folder}?unembed=W&norm=none"
