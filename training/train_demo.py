"""Train the embedded demo model: a small GPT-2 on Python's standard library.

    python training/train_demo.py --out DIR

DIR becomes an ordinary Hugging Face checkpoint directory with two additions: ``training.json``,
the recipe, corpus digests and figures, and ``training_counts.npy``, how often each token occurs in
the training text. The vocabulary is learned on more text than the model is trained on, so some
tokens never occur in training, as happened to GPT-2's. Nothing else is done to any token.

Everything is seeded, and one thread is the default because the number of threads changes the
order of sums: the same versions on the same kind of machine give the same weights. They are
stored as float16.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import platform
import sys
import sysconfig
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import GPT2Config, GPT2LMHeadModel

END_OF_TEXT = "<|endoftext|>"
END_OF_TEXT_ID = 0

# Only the tokenizer reads these: tests, character tables, an editor, an old grammar, a help text.
TOKENIZER_ONLY = frozenset(
    {"encodings", "idlelib", "lib2to3", "pydoc_data", "test", "tests", "turtledemo"}
)
# Not part of the standard library proper: third-party packages, files that describe one machine.
LEFT_OUT = ("__pycache__", "site-packages", "config-", "_sysconfigdata")

# One file in twenty is held out for validation, starting with the eighth.
VALIDATION_STRIDE = 20
VALIDATION_PHASE = 7

REPORT_EVERY = 250
LOSS_WINDOW = 200

TokenIds = npt.NDArray[np.uint16]
Counts = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Recipe:
    """The settings that decide the model, together with the corpus and the library versions."""

    vocab_size: int = 3072
    width: int = 64
    layers: int = 2
    heads: int = 4
    context: int = 64
    batch: int = 16
    steps: int = 4500
    warmup_steps: int = 100
    learning_rate: float = 8e-3
    final_learning_rate_fraction: float = 0.02
    betas: tuple[float, float] = (0.9, 0.99)
    initializer_range: float = 0.004
    weight_decay: float = 0.1
    embedding_weight_decay: float = 0.45
    epsilon: float = 1e-8
    embedding_epsilon: float = 1e-5
    gradient_clip: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Corpus:
    """Texts by their path in the standard library, in the order of the paths."""

    training: Mapping[str, str]
    validation: Mapping[str, str]
    tokenizer_only: Mapping[str, str]

    def all_texts(self) -> Iterator[str]:
        """Yield every text the tokenizer learns from."""
        for part in (self.training, self.validation, self.tokenizer_only):
            yield from part.values()


@dataclass(frozen=True)
class Losses:
    """The mean cross-entropy in nats per token."""

    train: float
    validation: float


def log(message: str) -> None:
    """Write a line of progress to standard error."""
    print(message, file=sys.stderr, flush=True)


def library_files(root: Path) -> Iterator[tuple[PurePosixPath, Path]]:
    """Yield the library's Python files, (path below the root, full path), sorted by the former."""
    found = {PurePosixPath(path.relative_to(root).as_posix()): path for path in root.rglob("*.py")}
    for relative in sorted(found):
        if not any(part.startswith(LEFT_OUT) for part in relative.parts):
            yield relative, found[relative]


def read_corpus(root: Path) -> Corpus:
    """Read the library below ``root`` and divide it. Files that are not UTF-8 are skipped."""
    narrow: dict[str, str] = {}
    tokenizer_only: dict[str, str] = {}
    for relative, path in library_files(root):
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        wide = not TOKENIZER_ONLY.isdisjoint(relative.parts[:-1])
        (tokenizer_only if wide else narrow)[str(relative)] = text
    if not narrow or not tokenizer_only:
        raise FileNotFoundError(f"{root} lacks parts of the standard library, such as its tests")
    held_out = set(list(narrow)[VALIDATION_PHASE::VALIDATION_STRIDE])
    return Corpus(
        training={name: text for name, text in narrow.items() if name not in held_out},
        validation={name: text for name, text in narrow.items() if name in held_out},
        tokenizer_only=tokenizer_only,
    )


def digest(texts: Mapping[str, str]) -> str:
    """Return the SHA-256 of names and texts, each followed by a zero byte."""
    sha = hashlib.sha256()
    for name, text in texts.items():
        sha.update(f"{name}\0{text}\0".encode())
    return sha.hexdigest()


def learn_vocabulary(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Learn a byte-level BPE vocabulary of ``vocab_size`` tokens, GPT-2's kind."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, texts: Iterable[str]) -> TokenIds:
    """Return the token ids of the texts, shape (n,), with an end-of-text token after each."""
    ids: list[int] = []
    for text in texts:
        ids.extend(tokenizer.encode(text).ids)
        ids.append(END_OF_TEXT_ID)
    return np.array(ids, dtype=np.uint16)


def count_tokens(ids: TokenIds, vocab_size: int) -> Counts:
    """Return how often each token occurs in ``ids``, shape (vocab_size,)."""
    return np.bincount(ids, minlength=vocab_size).astype(np.uint32)


def build_model(recipe: Recipe) -> GPT2LMHeadModel:
    """Return a GPT-2 with random weights. Its readout is its input embedding, like GPT-2's."""
    torch.manual_seed(recipe.seed)
    config = GPT2Config(
        vocab_size=recipe.vocab_size,
        n_positions=recipe.context,
        n_embd=recipe.width,
        n_layer=recipe.layers,
        n_head=recipe.heads,
        initializer_range=recipe.initializer_range,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=END_OF_TEXT_ID,
        eos_token_id=END_OF_TEXT_ID,
    )
    return GPT2LMHeadModel(config)


def build_optimizer(model: GPT2LMHeadModel, recipe: Recipe) -> torch.optim.AdamW:
    """Return an AdamW that decays matrices, not vectors.

    The embedding has its own settings. A token that never occurs has a tiny gradient, all of one
    sign, which Adam divides by its own size: with the usual epsilon such tokens march outward
    together for as long as training lasts. The larger epsilon lets their steps shrink with their
    gradients, and the stronger decay makes them forget where they started, so they gather near one
    point.
    """
    embedding = model.transformer.wte.weight
    others = [parameter for parameter in model.parameters() if parameter is not embedding]
    matrices = [parameter for parameter in others if parameter.dim() > 1]
    vectors = [parameter for parameter in others if parameter.dim() <= 1]
    groups: list[dict[str, Any]] = [
        {
            "params": [embedding],
            "weight_decay": recipe.embedding_weight_decay,
            "eps": recipe.embedding_epsilon,
        },
        {"params": matrices},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups,
        lr=recipe.learning_rate,
        betas=recipe.betas,
        eps=recipe.epsilon,
        weight_decay=recipe.weight_decay,
    )


def learning_rate(step: int, recipe: Recipe) -> float:
    """Return the rate: a linear warm-up, then a cosine down to the final fraction."""
    warmup = min(1.0, (step + 1) / recipe.warmup_steps)
    cosine = 0.5 * (1.0 + math.cos(math.pi * step / recipe.steps))
    floor = recipe.final_learning_rate_fraction
    return recipe.learning_rate * warmup * (floor + (1.0 - floor) * cosine)


def windows(ids: Tensor, starts: Tensor, context: int) -> tuple[Tensor, Tensor]:
    """Return inputs and targets, both (len(starts), context); the targets are one token later."""
    positions = starts[:, None] + torch.arange(context)
    return ids[positions], ids[positions + 1]


def batches(ids: Tensor, recipe: Recipe) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches endlessly; each pass cuts the text at another offset and visits it all once."""
    generator = torch.Generator().manual_seed(recipe.seed)
    while True:
        offset = int(torch.randint(recipe.context, (1,), generator=generator))
        starts = torch.arange(offset, len(ids) - recipe.context, recipe.context)
        starts = starts[torch.randperm(len(starts), generator=generator)]
        for first in range(0, len(starts), recipe.batch):
            yield windows(ids, starts[first : first + recipe.batch], recipe.context)


def token_loss(model: GPT2LMHeadModel, inputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy in nats per token, a scalar."""
    logits: Tensor = model(inputs).logits
    return cross_entropy(logits.flatten(0, 1), targets.flatten())


def train(model: GPT2LMHeadModel, ids: TokenIds, recipe: Recipe) -> float:
    """Train in place and return the mean loss of the last steps, in nats per token."""
    optimizer = build_optimizer(model, recipe)
    stream = batches(torch.from_numpy(ids.astype(np.int64)), recipe)
    losses: list[float] = []
    started = time.monotonic()
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, recipe)
        loss = token_loss(model, *next(stream))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.gradient_clip)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % REPORT_EVERY == 0:
            recent = float(np.mean(losses[-LOSS_WINDOW:]))
            log(f"step {step + 1}: loss {recent:.3f}, {time.monotonic() - started:.0f} s")
    return float(np.mean(losses[-LOSS_WINDOW:]))


def round_weights(model: torch.nn.Module) -> None:
    """Round the weights in place to float16, the stored form, so that the figures refer to it.

    Arithmetic stays in float32.
    """
    model.half().float()


@torch.no_grad()
def evaluate(model: GPT2LMHeadModel, ids: TokenIds, recipe: Recipe) -> float:
    """Return the mean loss over consecutive windows of ``ids``, in nats per token."""
    tokens = torch.from_numpy(ids.astype(np.int64))
    starts = torch.arange(0, len(tokens) - recipe.context, recipe.context)
    total = 0.0
    for first in range(0, len(starts), recipe.batch):
        chunk = starts[first : first + recipe.batch]
        loss = token_loss(model, *windows(tokens, chunk, recipe.context))
        total += loss.item() * len(chunk)
    return total / len(starts)


@torch.no_grad()
def sample(model: GPT2LMHeadModel, tokenizer: Tokenizer, prompt: str, recipe: Recipe) -> str:
    """Continue ``prompt`` to the end of the context, at temperature 0.8."""
    torch.manual_seed(recipe.seed)
    ids: list[int] = tokenizer.encode(prompt).ids
    while len(ids) < recipe.context:
        logits: Tensor = model(torch.tensor([ids])).logits[0, -1]
        ids.append(int(torch.multinomial(torch.softmax(logits / 0.8, dim=-1), 1)))
    return str(tokenizer.decode(ids))


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write ``content`` as indented JSON with a final newline."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def save_checkpoint(
    out: Path, model: GPT2LMHeadModel, tokenizer: Tokenizer, recipe: Recipe
) -> None:
    """Write the files from which ``from_pretrained`` reads a model and its tokenizer."""
    torch.nn.Module.half(model)
    model.save_pretrained(out)
    (out / "generation_config.json").unlink(missing_ok=True)
    tokenizer.save(str(out / "tokenizer.json"), pretty=False)
    write_json(
        out / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": END_OF_TEXT,
            "eos_token": END_OF_TEXT,
            "unk_token": END_OF_TEXT,
            "model_max_length": recipe.context,
            "clean_up_tokenization_spaces": False,
        },
    )


def describe_corpus(corpus: Corpus) -> dict[str, object]:
    """Return the files, characters and digest of each part of the corpus."""
    return {
        name: {
            "files": len(texts),
            "characters": sum(map(len, texts.values())),
            "sha256": digest(texts),
        }
        for name, texts in vars(corpus).items()
    }


def describe_training(
    recipe: Recipe, corpus: Corpus, counts: Counts, losses: Losses, seconds: float, text: str
) -> dict[str, object]:
    """Return the content of ``training.json``."""
    libraries = ("numpy", "tokenizers", "torch", "transformers")
    return {
        "recipe": asdict(recipe),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in libraries},
        "threads": torch.get_num_threads(),
        "corpus": describe_corpus(corpus),
        "training_tokens": int(counts.sum()),
        "tokens_never_seen": int(np.count_nonzero(counts == 0)),
        "train_loss_nats": round(losses.train, 4),
        "validation_loss_nats": round(losses.validation, 4),
        "validation_perplexity": round(math.exp(losses.validation), 2),
        "training_seconds": round(seconds),
        "sample": text,
    }


def run(out: Path, recipe: Recipe) -> None:
    """Learn the vocabulary, train the model, and write both with their figures to ``out``."""
    corpus = read_corpus(Path(sysconfig.get_path("stdlib")))
    log(f"training text: {len(corpus.training)} files, SHA-256 {digest(corpus.training)}")
    tokenizer = learn_vocabulary(corpus.all_texts(), recipe.vocab_size)
    ids = encode(tokenizer, corpus.training.values())
    counts = count_tokens(ids, recipe.vocab_size)
    log(f"{len(ids)} training tokens; {np.count_nonzero(counts == 0)} tokens never occur")

    model = build_model(recipe)
    started = time.monotonic()
    train_loss = train(model, ids, recipe)
    seconds = time.monotonic() - started
    round_weights(model)
    held_out = encode(tokenizer, corpus.validation.values())
    losses = Losses(train=train_loss, validation=evaluate(model, held_out, recipe))
    log(f"loss: training {losses.train:.3f}, validation {losses.validation:.3f} nats per token")

    out.mkdir(parents=True, exist_ok=True)
    text = sample(model, tokenizer, "def ", recipe)
    save_checkpoint(out, model, tokenizer, recipe)
    np.save(out / "training_counts.npy", counts)
    write_json(
        out / "training.json",
        describe_training(recipe, corpus, counts, losses, seconds, text),
    )
    log(f"wrote {out}")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train geom's embedded demo model.")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint directory to write")
    parser.add_argument(
        "--steps", type=int, default=Recipe.steps, help="optimizer steps (default: %(default)s)"
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=1,
        help="CPU threads; changes the weights' last digits (default: %(default)s)",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the model that the command line describes."""
    options = parse_arguments(arguments)
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(True)
    run(options.out, Recipe(steps=options.steps))


if __name__ == "__main__":
    main()
