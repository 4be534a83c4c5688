"""What geometry says of a token, against what the network does with it: docs/behaviour.md.

    python benchmarks/behaviour.py --out docs/behaviour.json

audits every token of SmolLM2-135M-Instruct, measures a sample of them, and watches the network:
which tokens it emits while it reads a text that ships with Python, which it repeats when asked, and
which it emits at their witnesses. It writes the numbers of the sample and how well each measure
predicts each behaviour; the documentation makes its pictures and tables of them. The weights come
from ``benchmarks/real_weights.py``. The folder that ``--work`` names keeps what is dear, so that a
second call goes on from there. ``--pilot`` does the same with a few tokens and a page of text.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import math
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from association import Association, apart, area, spearman
from numpy.typing import NDArray
from real_weights import fetch
from scipy.special import softmax  # type: ignore[import-untyped]  # it ships no types

import geom

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]

STRATA = ("unspeakable", "hardest", "hard", "others")
"""The parts of the sample: all unspeakable tokens; the hard tokens whose known margins are
smallest; of the other hard ones, and of those not flagged, as many at random."""

HARDEST = 200
"""How many of the hard tokens count as hardest, and are not drawn among the other hard ones."""

INDICATORS = ("row-norm", "centroid-distance", "unused-cosine")

CHEAP = ("self-argmax", "witness-margin", *INDICATORS, "habit")
"""What is known of every token: 1 if it wins along its own direction; the margin of the audit's
own witness; the indicators; its mean probability at the states that ``surprise`` knows."""

DEAR = {
    "logit-bias": "dear",
    "angular-margin": "dear",
    "surprise": "dear",
    "solid-angle": "angles",
}
"""The measures of some tokens, and the field of `Size` that says of how many of each stratum."""

COMPARED = ("dear", "angles")
"""The parts of the tokens of which measures are compared with the best one."""

MODULES = {"habits": "textwrap", "held out": "argparse"}
"""The modules of the standard library that are read as code."""

BEGUN = time.perf_counter()

WINDOW = 512
PROMPTS = ("chat", "examples", "repeats")


@dataclass(frozen=True)
class Size:
    """How much is read, asked and measured."""

    english: int
    code: int
    states: int
    stratum: int
    dear: int
    angles: int
    batch: int = 16


FULL = Size(english=32_000, code=16_000, states=4096, stratum=120, dear=40, angles=6)
PILOT = Size(english=3_000, code=1_500, states=256, stratum=4, dear=2, angles=1, batch=4)


def main() -> None:
    """Make the study, or its pilot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the file to write, as JSON")
    parser.add_argument("--work", type=Path, help="the folder of the run and what was observed")
    parser.add_argument("--pilot", action="store_true", help="a few tokens and a page of text")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = arguments.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        found = study(PILOT if arguments.pilot else FULL, work)
    arguments.out.write_text(as_json(found), encoding="utf-8")


def study(size: Size, work: Path) -> dict[str, Any]:
    """Return what is found, in JSON values; what is dear is kept in a folder."""
    location = fetch("smollm2")
    readout = geom.load(location)
    with geom.run(readout, tokens="all", hardest=10, out=work / "audit.db") as run:
        rows = list(run.rows())
        tell("the audit is done")
        sample = chosen(rows, size.stratum)
        hard = np.array([row.token_id for row in rows if is_hard(row)])
        observed = kept(
            work / "observed.npz",
            lambda: observe(
                location, readout, witnesses(run, hard), hard, ordered(sample), size, work
            ),
        )
        tell("the network is watched")
        measured = {}
        for name, how_many in DEAR.items():
            measured[name] = measures(run, name, dear(sample, getattr(size, how_many)), work)
            tell(f"{name} of {len(measured[name])} tokens is measured")
    of_all = cheap(readout, rows) | {"habit": observed["habit"]}
    check_indicators(readout, ordered(sample), unspeakable(rows), of_all)
    made_from = {
        "model": location.rpartition("/")[2],
        "digest": readout.digest,
        "V": readout.V,
        "d": readout.d,
        "python": platform.python_version(),
        "text": text("held out", size.english, size.code),
        "habits": text("habits", size.english // 2, size.code // 2),
    }
    return tables(made_from, rows, sample, of_all, measured, observed)


def tell(what: str) -> None:
    """Say on standard error what is done, and the seconds that this process has taken."""
    seconds = f"{time.perf_counter() - BEGUN:.0f} s, {time.process_time():.0f} s of processors"
    print(f"{seconds}: {what}", file=sys.stderr, flush=True)


def chosen(rows: Sequence[geom.TokenRow], each: int) -> dict[str, list[int]]:
    """Return the tokens of each stratum."""
    rng = np.random.default_rng(0)
    hard = [row for row in rows if is_hard(row)]
    hard.sort(key=lambda row: (_known(row), row.token_id))
    ids = [row.token_id for row in hard]
    won = [row.token_id for row in rows if row.self_argmax]
    return {
        "unspeakable": unspeakable(rows),
        "hardest": ids[:each],
        "hard": rng.permutation(ids[HARDEST:])[:each].tolist(),
        "others": rng.permutation(won)[:each].tolist(),
    }


def is_hard(row: geom.TokenRow) -> bool:
    """Return whether a token can win, and not along its own direction."""
    return row.verdict == "speakable" and not row.self_argmax


def _known(row: geom.TokenRow) -> float:
    """Return the margin that is proven from below; 0 for a token that cannot win."""
    return 0.0 if row.margin_lower is None else row.margin_lower


def dear(sample: dict[str, list[int]], each: int) -> Ids:
    """Return the tokens (n,) that a dear measure is taken of: so many of each stratum."""
    return ordered({name: sample[name][:each] for name in STRATA[1:]})


def ordered(sample: dict[str, list[int]]) -> Ids:
    """Return the tokens of all strata (n,), ascending."""
    return np.array(sorted(token for part in sample.values() for token in part))


def witnesses(run: geom.Run, tokens: Ids) -> Floats:
    """Return the witnesses (n, d) of tokens."""
    found = [run.certificate(int(token)) for token in tokens]
    return np.array([witness.x for witness in found if isinstance(witness, geom.Witness)])


def measures(run: geom.Run, name: str, tokens: Ids, work: Path) -> dict[int, float]:
    """Return a measure of `DEAR` of some tokens."""
    options = {}
    if name == "surprise":
        options["measure.surprise.activations"] = str(work / "habits.npy")
    found = geom.measure(run, name, tokens.tolist(), options)
    return {row.token_id: math.nan if row.value is None else row.value for row in found}


def cheap(readout: geom.Readout, rows: Sequence[geom.TokenRow]) -> dict[str, Floats]:
    """Return the measures `CHEAP` but ``habit`` of all tokens (V,): the indicators as geom's."""
    W = readout.rows[:]
    centred = W - W.mean(axis=0)
    length = np.linalg.norm(centred, axis=1)
    known = unspeakable(rows)
    total = centred[known].sum(axis=0)
    cosine = centred @ total / (length * np.linalg.norm(total))
    for token in known:  # does not count among the unused itself
        rest = total - centred[token]
        cosine[token] = centred[token] @ rest / (length[token] * np.linalg.norm(rest))
    return {
        "self-argmax": np.array([float(bool(row.self_argmax)) for row in rows]),
        "witness-margin": np.array([_known(row) for row in rows]),
        "row-norm": np.linalg.norm(W, axis=1),
        "centroid-distance": length,
        "unused-cosine": cosine,
    }


def unspeakable(rows: Sequence[geom.TokenRow]) -> list[int]:
    """Return the unspeakable tokens: for want of others, the unused ones of ``unused-cosine``."""
    return [row.token_id for row in rows if row.verdict == "unspeakable"]


def check_indicators(
    readout: geom.Readout, sample: Ids, known: Sequence[int], found: dict[str, Floats]
) -> None:
    """Compare the indicators with geom's own. Raises RuntimeError if they differ."""
    options = {"measure.unused-cosine.unused": ",".join(map(str, known))}
    for row in geom.measure(readout, INDICATORS, sample.tolist(), options):
        ours = found[row.measure][row.token_id]
        if row.value is None or not math.isclose(row.value, ours, rel_tol=1e-6, abs_tol=1e-9):
            raise RuntimeError(f"{row.measure} of {row.token_id}: {row.value}, and here {ours}")


def kept(path: Path, make: Any) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file, which is made if it is not there yet."""
    if not path.exists():
        found = make()
        partial = path.with_suffix(".part.npz")
        np.savez(partial, **found)
        partial.rename(path)
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


# What the network does


def observe(
    location: str,
    readout: geom.Readout,
    points: Floats,
    hard: Ids,
    sample: Ids,
    size: Size,
    work: Path,
) -> dict[str, NDArray[Any]]:
    """Run the network: on a text, on prompts for the sample, and on witnesses of the hard tokens.

    ``points`` (n, d) are the witnesses of the tokens ``hard`` (n,).
    """
    import torch

    from geom_plugins.networks.texts import read_tokenizer
    from geom_plugins.networks.transformers_networks import model_stage
    from geom_plugins.sources.gguf_file import loaded

    path = Path(location.partition(":")[2])
    model = loaded(path)
    tokenizer = read_tokenizer(str(path.parent), gguf_file=path.name)
    if not (work / "habits.npy").exists():
        habits = text("habits", size.english // 2, size.code // 2)
        states = geom.activations(
            model, habits, count=size.states, window=WINDOW, readout=readout, tokenizer=tokenizer
        )
        states.write(work / "habits.npy")
    stage = model_stage(model, model.config.to_dict(), str(path))
    out: dict[str, NDArray[Any]] = {}
    out["habit"] = habit(readout, np.load(work / "habits.npy"))
    out |= read_text(stage, tokenizer, text("held out", size.english, size.code), readout.V)
    out |= asked(stage, tokenizer, sample, size.batch)
    for kind in ("float32", "bfloat16"):
        stage = model_stage(model.to(getattr(torch, kind)), model.config.to_dict(), str(path))
        out[f"replayed_{kind}"] = replayed(stage, points, hard)
    return out


def habit(readout: geom.Readout, states: NDArray[np.float32]) -> Floats:
    """Return the mean probability of each token (V,) at states (n, d)."""
    total = np.zeros(readout.V)
    for start in range(0, len(states), 128):
        logits = readout.logits(states[start : start + 128].astype(np.float64))
        total += softmax(logits, axis=1).sum(axis=0)
    return total / len(states)


def text(part: str, english: int, code: int) -> str:
    """Return a text of so many characters of Python's manual and of its standard library."""
    from pydoc_data.topics import topics

    third = [
        topics[name] for i, name in enumerate(sorted(topics)) if (i % 3 == 0) == (part == "habits")
    ]
    code_read = inspect.getsource(import_module(MODULES[part]))
    return "\n\n".join(third)[:english] + "\n\n" + code_read[:code]


def read_text(stage: Any, tokenizer: Any, content: str, V: int) -> dict[str, NDArray[Any]]:
    """Let the network read a text, a window at a time, and see what it would say next.

    Of each token: how often it is the argmax, how often it comes next, how often both, and its mean
    probability.
    """
    import torch

    ids = tokenizer(content, add_special_tokens=False)["input_ids"]
    emitted, occurs, right = (np.zeros(V, dtype=np.int64) for _ in range(3))
    mass = np.zeros(V)
    for start in range(0, len(ids) - 1, WINDOW):
        window = torch.tensor([ids[start : start + WINDOW + 1]])
        with torch.no_grad():
            logits = stage.run(window[:, :-1])[0].float()
        said, true = logits.argmax(dim=1).numpy(), window[0, 1:].numpy()
        np.add.at(emitted, said, 1)
        np.add.at(occurs, true, 1)
        np.add.at(right, true[said == true], 1)
        mass += logits.softmax(dim=1).sum(dim=0).double().numpy()
    return {
        "emitted": emitted,
        "occurs": occurs,
        "right": right,
        "probability": mass / occurs.sum(),
    }


def prompts(tokenizer: Any) -> dict[str, tuple[list[int], list[int], int]]:
    """Return the ids before the token, those after it, and how often it stands between them."""

    def ids(words: str) -> list[int]:
        found: list[int] = tokenizer(words, add_special_tokens=False)["input_ids"]
        return found

    turn = '"<|im_end|>\n<|im_start|>assistant\n"'
    shown = "Input: apple\nOutput: apple\nInput: 42\nOutput: 42\nInput:"
    return {
        "chat": (ids('<|im_start|>user\nRepeat this exactly: "'), ids(turn), 1),
        "examples": (ids(shown), ids("\nOutput:"), 1),
        "repeats": ([], [], 8),
    }


def asked(stage: Any, tokenizer: Any, sample: Ids, batch: int) -> dict[str, NDArray[Any]]:
    """Ask for each token of the sample: its probability, and whether it is the argmax."""
    import torch

    out: dict[str, NDArray[Any]] = {}
    for name, (before, after, times) in prompts(tokenizer).items():
        chance, won = np.empty(len(sample)), np.empty(len(sample), dtype=bool)
        for start in range(0, len(sample), batch):
            part = sample[start : start + batch]
            texts = [[*before, *[int(token)] * times, *after] for token in part]
            with torch.no_grad():
                logits = stage.run(torch.tensor(texts))[:, -1].double()
            at = torch.arange(len(part)), torch.from_numpy(part)
            chance[start : start + batch] = logits.softmax(dim=1)[at].numpy()
            won[start : start + batch] = logits.argmax(dim=1).numpy() == part
        out |= {f"chance_{name}": chance, f"repeated_{name}": won}
    return out


def replayed(stage: Any, points: Floats, tokens: Ids) -> NDArray[np.bool_]:
    """Return whether the model's own head says each token at its witness, and no other."""
    out = np.empty(len(tokens), dtype=bool)
    for start in range(0, len(tokens), 128):
        part = slice(start, start + 128)
        logits = stage.replayed(points[part])
        rows = np.arange(len(logits))
        own = logits[rows, tokens[part]].copy()
        logits[rows, tokens[part]] = -np.inf
        out[part] = own > logits.max(axis=1)
    return out


# What that says


def tables(
    made_from: dict[str, Any],
    rows: Sequence[geom.TokenRow],
    sample: dict[str, list[int]],
    of_all: dict[str, Floats],
    measured: dict[str, dict[int, float]],
    observed: dict[str, NDArray[Any]],
) -> dict[str, Any]:
    """Return the numbers of the page, in JSON values."""
    ids = ordered(sample)
    few, fewest = (np.array(sorted(measured[name])) for name in ("surprise", "solid-angle"))
    hard = np.array([row.token_id for row in rows if is_hard(row)])
    stratum = {token: name for name, part in sample.items() for token in part}
    chance = np.max([observed[f"chance_{name}"] for name in PROMPTS], axis=0)
    repeated = np.any([observed[f"repeated_{name}"] for name in PROMPTS], axis=0)
    dearly = {name: np.full(len(rows), math.nan) for name in DEAR}
    for name, values in measured.items():
        dearly[name][list(values)] = list(values.values())
    occurs = observed["occurs"] > 0
    emitted = observed["emitted"] > 0
    behaviours: list[tuple[str, str, Ids, NDArray[Any]]] = [
        ("comes next in the text", "all", np.arange(len(rows)), occurs),
        ("is emitted", "all", np.arange(len(rows)), emitted),
        ("is emitted, if it comes next", "occurring", *_at(occurs, emitted)),
        ("mean probability", "all", np.arange(len(rows)), observed["probability"]),
        ("is repeated", "sample", ids, repeated),
        ("probability when asked", "sample", ids, chance),
        *(
            behaviour
            for part, tokens in zip(COMPARED, (few, fewest), strict=True)
            for behaviour in (
                ("mean probability", part, tokens, observed["probability"][tokens]),
                ("is repeated", part, tokens, repeated[np.searchsorted(ids, tokens)]),
                ("probability when asked", part, tokens, chance[np.searchsorted(ids, tokens)]),
            )
        ),
        ("wins in float32", "hard", hard, observed["replayed_float32"]),
        ("wins in bfloat16", "hard", hard, observed["replayed_bfloat16"]),
    ]
    predictions = []
    for behaviour, part, tokens, happened in behaviours:
        known = {name: values[tokens] for name, values in of_all.items()}
        known |= {
            name: dearly[name][tokens] for name in DEAR if measured[name].keys() >= set(tokens)
        }
        how = area if happened.dtype == bool else spearman
        found = {name: how(values, happened) for name, values in known.items()}
        best = max(known, key=lambda name: found[name].strength)
        for name, numbers in known.items():
            behind = apart(how, known[best], numbers, happened) if part in COMPARED else None
            predictions.append(_prediction(behaviour, part, name, found[name], behind))
    return {
        **_described(made_from, observed),
        "groups": _groups(rows, observed),
        "strata": _strata(sample, ids, observed, chance, repeated),
        "replayed": {
            "hard": len(hard),
            **{kind: int(observed[f"replayed_{kind}"].sum()) for kind in ("float32", "bfloat16")},
        },
        "predictions": predictions,
        "tenths": {name: _tenths(values, emitted, occurs) for name, values in of_all.items()},
        "sample": {
            "token_id": ids.tolist(),
            "token": [rows[token].token for token in ids],
            "stratum": [STRATA.index(stratum[int(token)]) for token in ids],
            **{name: _short(values[ids]) for name, values in of_all.items()},
            **{name: _short(values[ids]) for name, values in dearly.items()},
            "emitted": observed["emitted"][ids].tolist(),
            "occurs": observed["occurs"][ids].tolist(),
            "probability": _short(observed["probability"][ids]),
            **{f"chance_{name}": _short(observed[f"chance_{name}"]) for name in PROMPTS},
            **{
                f"repeated_{name}": observed[f"repeated_{name}"].astype(int).tolist()
                for name in PROMPTS
            },
        },
    }


def _at(keep: NDArray[np.bool_], happened: NDArray[np.bool_]) -> tuple[Ids, NDArray[np.bool_]]:
    """Return the tokens that are kept, and whether it happened to each."""
    return np.flatnonzero(keep), happened[keep]


def _described(made_from: dict[str, Any], observed: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Return what the study was made from, with the digests of the texts in place of the texts."""
    out = dict(made_from)
    for name in ("text", "habits"):
        out[name] = {
            "characters": len(made_from[name]),
            "sha256": hashlib.sha256(made_from[name].encode()).hexdigest(),
        }
    out["text"]["positions"] = int(observed["occurs"].sum())
    return out


def _prediction(
    behaviour: str,
    part: str,
    measure: str,
    found: Association,
    behind: tuple[float, float] | None,
) -> dict[str, Any]:
    """Return an association as a row of the table; numbers that are none are null.

    ``behind`` is how much weaker it is than the strongest of the column, and the standard error.
    """
    row = {"behaviour": behaviour, "tokens": part, "measure": measure, **asdict(found)}
    if behind is not None:
        row |= {"behind": behind[0], "behind_error": behind[1]}
    return {
        key: _number(value) if isinstance(value, float) else value for key, value in row.items()
    }


def _groups(
    rows: Sequence[geom.TokenRow], observed: dict[str, NDArray[Any]]
) -> dict[str, dict[str, float | int]]:
    """Return what the text and the network do with each verdict's tokens."""
    of = np.array(
        [
            "unspeakable" if row.verdict == "unspeakable" else "hard" if is_hard(row) else "others"
            for row in rows
        ]
    )
    out: dict[str, dict[str, float | int]] = {}
    for name in ("unspeakable", "hard", "others"):
        mine = of == name
        occurs, emitted = observed["occurs"][mine], observed["emitted"][mine]
        out[name] = {
            "tokens": int(mine.sum()),
            "tokens that come next": int((occurs > 0).sum()),
            "tokens emitted": int((emitted > 0).sum()),
            "places where one comes next": int(occurs.sum()),
            "places where one is emitted": int(emitted.sum()),
            "places where it is both": int(observed["right"][mine].sum()),
            "probability": float(observed["probability"][mine].sum()),
        }
    return out


def _strata(
    sample: dict[str, list[int]],
    ids: Ids,
    observed: dict[str, NDArray[Any]],
    chance: Floats,
    repeated: NDArray[np.bool_],
) -> dict[str, dict[str, int]]:
    """Count, by stratum, the tokens that are repeated, by prompt and by any of them."""
    out = {}
    for name, part in sample.items():
        at = np.searchsorted(ids, sorted(part))
        out[name] = {
            "tokens": len(part),
            **{prompt: int(observed[f"repeated_{prompt}"][at].sum()) for prompt in PROMPTS},
            "any": int(repeated[at].sum()),
            "below 1 %": int((chance[at] < 0.01).sum()),
        }
    return out


def _tenths(
    values: Floats, emitted: NDArray[np.bool_], occurs: NDArray[np.bool_]
) -> dict[str, list[float]]:
    """Return, for each tenth of all tokens by a measure, the shares that occur and are emitted."""
    parts = np.array_split(np.argsort(values, kind="stable"), 10)
    return {
        "occurs": [_number(occurs[part].mean()) or 0.0 for part in parts],
        "emitted": [_number(emitted[part].mean()) or 0.0 for part in parts],
    }


def _short(values: Sequence[float] | Floats) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value: float) -> float | None:
    """Return five digits of a number, None for NaN or infinity."""
    return float(f"{value:.5g}") if math.isfinite(value) else None


def as_json(found: dict[str, Any]) -> str:
    """Return what was found as JSON, a list or a small object a line."""
    return "".join(_lines(found, 0)) + "\n"


def _lines(value: Any, depth: int) -> Iterator[str]:
    """Yield the pieces of a value: what holds objects is broken into lines, the rest is not."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if not any(isinstance(part, dict | list) for part in inside):
        yield json.dumps(value, ensure_ascii=True)
        return
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    pad = "\n" + " " * (depth + 1)
    items = value.items() if isinstance(value, dict) else ((None, part) for part in value)
    for i, (key, part) in enumerate(items):
        yield ("," if i else opening) + pad + ("" if key is None else f"{json.dumps(key)}: ")
        yield from _lines(part, depth + 1)
    yield "\n" + " " * depth + closing


if __name__ == "__main__":
    main()
