"""The data of a run that a report shows, as JSON: columns for the table and for the pictures.

Numbers of all tokens are little-endian arrays in base64; texts are made visible by `geom.visible`,
so that they contain no control characters. The vocabulary is drawn from the weights of the run; if
they cannot be found, the page says so, and shows what the run file itself contains.
"""

from __future__ import annotations

import base64
import math
import shlex
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh  # type: ignore[import-untyped]  # no types

from geom import (
    Floats,
    GeomError,
    InputError,
    MeasureRow,
    Noun,
    Readout,
    Rows,
    Run,
    TokenRow,
    Weights,
    harmless,
    track_progress,
    visible,
)
from geom_plugins.reporters.origin import (
    command,
    elsewhere,
    portable,
    rest,
    settings,
    title,
    versions,
    without_folders,
)

TIED = "\N{ALMOST EQUAL TO}"
"""The mark of a token that is as hard as a neighbour as far as is proven."""

CLASSES = ("unspeakable", "undecided", "hard", "speakable")
"""The classes of examined tokens, the most remarkable first; other tokens have no class."""

HEAVIEST, HEAD = 20, 6
"""The most weights of a certificate, and numbers of a witness, that the page shows."""

_IDS = 2**31
"""The size of the largest vocabulary that a page can show."""

NAMED = 10
"""The most ids that are named in a sentence."""

STRANGE = 40
"""The most characters of one text that are named."""

_BLOCK = 4096
"""The rows of W that are projected at a time."""


def page_data(run: Run) -> dict[str, Any]:
    """Return everything that the page shows, ready for JSON."""
    order = _ordered(run)
    rows = order.rows
    readout = _weights(run)
    name = "RUN" if run.path is None else run.path.name
    recipes = run.recipes()
    found = run.settings
    about = {
        "model": portable(run.model),
        "title": title(run.model),
        "file": "" if run.path is None else run.path.name,
        "V": found["V"],
        "d": found["d"],
        "domain": {"name": run.domain.name, "bounded": run.domain.bounded},
        "digest": str(found.get("digest", "-")),
        "begun": "" if run.begun is None else f"{run.begun:%Y-%m-%d %H:%M} UTC",
        "command": [shlex.quote(word) for word in shlex.split(command(run))],
        "settings": [list(item) for item in settings(run)],
        "versions": versions(run),
        "notes": [without_folders(run, note) for note in run.notes],
        "warnings": [without_folders(run, warning) for warning in run.warnings],
        "verify": shlex.join(["geom", "verify", name, *elsewhere(run)]),
        "redraw": _redraw(run, name) if readout is None else "",
        "padding": _padding(rows),
        "capped": _capped(rows, run.noun),
    }
    return {
        **_harmless(about),
        "noun": {"one": run.noun, "many": run.noun.plural, "chosen": run.noun.chosen},
        "pending": run.counts()["pending"],
        "rest": dict(zip(("name", "meaning"), rest(run), strict=True)),
        "classes": CLASSES,
        "order": [*order.sentences],
        "legend": [*order.legend],
        "rows": _columns(order),
        "measures": _measures(run, rows),
        "chances": _chances(run, rows),
        "certificates": {
            str(row.token_id): _certificate(run, row)
            for row in track_progress(rows, "certificates", len(rows), run.noun.plural)
            if row.verdict != "undecided" and row.token_id not in recipes
        },
        "texts": _texts(run, rows, readout),
        "strange": {str(row.token_id): n for row in rows if (n := strange(row.token))},
        "cloud": None if readout is None else _cloud(readout),
    }


@dataclass(frozen=True)
class _Order:
    """The rows of the page in order, and what is proven of it.

    Attributes
    ----------
    rows : list of TokenRow
        The rows by class, and the hardest first within each.
    tied : frozenset of int
        The tokens whose order with a neighbour is not proven.
    sentences, legend : tuple of str
        What is proven of the order, and what the margins mean.
    """

    rows: list[TokenRow]
    tied: frozenset[int]
    sentences: tuple[str, ...]
    legend: tuple[str, ...]


def _ordered(run: Run) -> _Order:
    """Put the rows in order, each class by itself, and say what is proven of that.

    The head of the whole ranking is in proven order and harder than all that follows, so its
    tokens that are not hard are in proven order, too, and the hardest of their class.
    """
    ranked, hard = run.ranking(), run.ranking("hard")
    rows = sorted(ranked.rows, key=lambda row: CLASSES.index(row.label))
    said = [row for row in ranked.rows if row.verdict == "speakable"]
    others = sum(not row.hard for row in said)
    head = sum(not row.hard for row in said[: ranked.proven])
    tied = hard.tied | {
        row.token_id for row in said if row.token_id in ranked.tied and not row.hard
    }
    sentences = [
        _proven_order("hard", hard.proven, len(hard.rows), run.noun),
        _proven_order("speakable", head, others, run.noun),
        f"{TIED} marks neighbours whose order is not proven" if tied else "",
    ]
    return _Order(rows, frozenset(tied), tuple(filter(None, sentences)), ranked.legend)


def _proven_order(name: str, proven: int, total: int, noun: Noun) -> str:
    """Say how many tokens of a class, from its head, are in proven order."""
    some = f"{name} {noun.plural}"
    if not total:
        return ""
    if proven == total:
        return f"the {some} are in proven order, the hardest first"
    if not proven:
        return (
            f"the order of the {some} is not proven: the bounds on their largest margins are too "
            "far apart"
        )
    first = f"the first {proven} {some} are proven to be the hardest of these, in this order"
    if proven == 1:
        first = f"the first {name} {noun} is proven to be the hardest of these"
    return f"{first}; the others follow by what is known of their margins"


def _padding(rows: Sequence[TokenRow]) -> str:
    """Return what is to be said of the padding rows that can win, empty without any."""
    ids = [str(row.token_id) for row in rows if row.undecodable]
    if not ids:
        return ""
    more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
    rows_can = "1 padding row" if len(ids) == 1 else f"{len(ids)} padding rows"
    return (
        f"{rows_can} can win ({', '.join(ids[:NAMED])}{more}): a sampler may pick ids that no "
        "tokenizer decodes"
    )


def _capped(rows: Sequence[TokenRow], noun: Noun) -> str:
    """Return how likely the unspeakable tokens are at most, empty if nothing is known of that."""
    capped = [row for row in rows if row.probability_upper is not None]
    if not capped:
        return ""
    likeliest = max(capped, key=lambda row: row.probability_upper or 0.0)
    each = f"The unspeakable {noun} is" if len(capped) == 1 else f"Each unspeakable {noun} is"
    return (
        f"{each} never the argmax, and never more likely than {likeliest.chance} at temperature 1"
    )


def _harmless(value: Any) -> Any:
    """Return the value with `geom.harmless` texts, because a run file may come from a stranger."""
    if isinstance(value, str):
        return harmless(value)
    if isinstance(value, dict):
        return {harmless(key): _harmless(item) for key, item in value.items()}
    return [_harmless(item) for item in value] if isinstance(value, list) else value


def _columns(order: _Order) -> dict[str, Any]:
    """Return the columns that every examined token has.

    ``known`` is 1 for a token whose largest margin is known, or need not be: it is unspeakable.
    """
    rows = order.rows
    winners = [-1 if row.argmax_id is None else row.argmax_id for row in rows]
    ids = [row.token_id for row in rows]
    for token in (*ids, *winners):
        if not -1 <= token < _IDS:
            raise InputError(f"id {token} is in no vocabulary: check the run with geom verify")
    return {
        "id": _packed(ids, "<i4"),
        "class": _packed([CLASSES.index(row.label) for row in rows], "<i4"),
        "lower": _packed([_number(row.margin_lower) for row in rows], "<f8"),
        "upper": _packed([_number(row.margin_upper) for row in rows], "<f8"),
        "known": _packed([row.known or row.verdict == "unspeakable" for row in rows], "<i4"),
        "margin": [
            f"{row.margin} {TIED}" if row.token_id in order.tied else row.margin for row in rows
        ],
        "winner": _packed(winners, "<i4"),
        "proof": [row.proof for row in rows],
        "chance": [row.chance for row in rows],
        "probability": _packed([_number(row.probability_upper) for row in rows], "<f8"),
        "certifier": [_harmless(row.certifier) for row in rows],
        "flagged_by": [_harmless(", ".join(row.flagged_by)) for row in rows],
        "note": {str(row.token_id): harmless(row.note) for row in rows if row.note},
    }


def strange(text: str | None) -> list[str]:
    """Return the characters that `geom.visible` spells out, by code point and name."""
    found = [c for c in dict.fromkeys(text or "") if visible(c) != f'"{c}"' and c not in '"\\']
    names = [f"U+{ord(c):04X} {unicodedata.name(c, 'control character')}" for c in found[:STRANGE]]
    return names if len(found) <= STRANGE else [*names, f"and {len(found) - STRANGE} more"]


def _weights(run: Run) -> Readout | None:
    """Return the weights, None if they are not available: why holds for this machine alone."""
    try:
        return run.problem.readout
    except GeomError:
        return None


def _redraw(run: Run, name: str) -> str:
    """Return the command that makes the page with the weights."""
    if run.model == "python":
        return f"geom.export(geom.open_run({name!r}, readout), 'html', 'page.html')"
    return shlex.join(["geom", "report", name, "--model", portable(run.model)])


def _texts(run: Run, rows: Sequence[TokenRow], readout: Readout | None) -> dict[str, str]:
    """Return the visible text of every token that is known to have one, by id."""
    kinds = run.winner_kinds()
    found = {row.argmax_id: visible(row.argmax, kinds[row.token_id]) for row in rows}
    found |= {row.token_id: visible(row.token, row.token_kind) for row in rows}
    if readout is not None:
        found |= {i: visible(readout.text(i), readout.kind(i)) for i in range(readout.V)}
    return {str(token): text for token, text in found.items() if text != "-"}


def _certificate(run: Run, row: TokenRow) -> dict[str, Any]:
    """Return the proof of a verdict, short enough to read: percentages and numbers are texts."""
    certificate = run.certificate(row.token_id)
    if certificate is None:
        return {}
    if isinstance(certificate, Weights):
        order = np.argsort(-certificate.values, kind="stable")[:HEAVIEST]
        with np.errstate(all="ignore"):  # a damaged run may hold any number
            shares = certificate.values / certificate.values.sum()
        return {
            "count": int(certificate.indices.size),
            "heaviest": [[int(certificate.indices[i]), f"{100 * shares[i]:.3g}"] for i in order],
        }
    x = run.domain.vector(certificate.x)
    with np.errstate(all="ignore"):
        length = float(np.linalg.norm(x))
    return {
        "count": int(x.size),
        "length": f"{length:.3g}",
        "head": [f"{value:.6g}" for value in x[:HEAD].tolist()],
    }


def _measures(run: Run, rows: Sequence[TokenRow]) -> list[dict[str, Any]]:
    """Return every measure of the run: its name, unit and values, in the order of the rows.

    The values are for sorting; the page shows their text, rounded as in `geom`.
    """
    measured = run.measured()
    found = {item.measure: item for by_name in measured.values() for item in by_name.values()}
    out = []
    for name in sorted(found):
        items = [measured.get(row.token_id, {}).get(name) for row in rows]
        out.append(
            {
                "name": harmless(name),
                "unit": harmless(found[name].unit),
                "value": _packed([_number(i.value if i else None) for i in items], "<f8"),
                "shown": [i.shown if i and i.value is not None else "" for i in items],
            }
        )
    return out


def _chances(run: Run, rows: Sequence[TokenRow]) -> dict[str, Any] | None:
    """Return the largest probabilities that were measured, None without any.

    ``row`` holds places among the rows, ``value`` log10 of the probability; ``temperature`` is None
    if the probabilities are of several temperatures.
    """
    measured = run.measured()
    found: list[tuple[int, MeasureRow]] = []
    for place, row in enumerate(rows):
        item = measured.get(row.token_id, {}).get("max-probability")
        if item is not None and item.unit == "log10 probability" and _usual(item.value):
            found.append((place, item))
    if not found:
        return None
    first, *more = (item.options.get("temperature", 1.0) for _, item in found)
    common = first if isinstance(first, int | float) and all(t == first for t in more) else None
    return {
        "row": _packed([place for place, _ in found], "<i4"),
        "value": _packed([_number(item.value) for _, item in found], "<f8"),
        "shown": [item.shown for _, item in found],
        "temperature": common if _usual(common) else None,
    }


def _usual(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _cloud(readout: Readout) -> dict[str, Any]:
    """Return each row of W as seen from the centroid: its distance, and two coordinates.

    The coordinates are along the two principal axes.
    """
    W, mean = readout.rows, readout.rows.mean
    norms, places = np.empty(readout.V), np.zeros((readout.V, 2))
    axes = _principal(W, mean)
    for start in track_progress(
        range(0, readout.V, _BLOCK), "rows", -(-readout.V // _BLOCK), "blocks"
    ):
        rows = slice(start, start + _BLOCK)
        off = W[rows] - mean
        norms[rows] = np.linalg.norm(off, axis=1)
        places[rows, : axes.shape[1]] = off @ axes
    return {
        "norm": _packed(norms, "<f4"),
        "x": _packed(places[:, 0], "<f4"),
        "y": _packed(places[:, 1], "<f4"),
    }


def _principal(W: Rows, mean: Floats) -> Floats:
    """Return the two directions (d, 2) along which rows spread most, with reproducible signs."""
    d = W.shape[1]
    if d <= 2:
        return np.eye(d)

    def spread(v: Floats) -> Floats:
        v = v.ravel()
        along = W @ v - mean @ v
        return np.asarray(along @ W - along.sum() * mean)

    operator = LinearOperator((d, d), matvec=spread, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(d)
    values, vectors = eigsh(operator, k=2, v0=start, tol=1e-6)
    vectors = vectors[:, np.argsort(-values)]
    signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), [0, 1]])
    return np.asarray(vectors * signs)


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def _packed(values: Sequence[float] | Floats, kind: str) -> str:
    return base64.b64encode(np.asarray(values, dtype=kind).tobytes()).decode()
