"""Several runs side by side: the counts of each model, and the unspeakable tokens they share."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import KW_ONLY, asdict, dataclass
from pathlib import Path
from typing import Any

from geom.nouns import Noun
from geom.reprs import short_repr
from geom.store import Run, TokenRow, open_file
from geom.text import TokenKind


@dataclass(frozen=True)
class ModelSummary:
    """The numbers of tokens that a run decided, by verdict.

    Attributes
    ----------
    model : str
        The name of the run's weights.
    path : str or None
        The run's file, or None for a run in memory.
    V : int
        The number of tokens of the model.
    d : int
        The width of its residual stream.
    domain : str
        The name of the domain.
    unspeakable : int
        The number of tokens that no point makes win.
    undecided : int
        The number of tokens that were examined without a proof.
    hard : int
        The number of tokens that are speakable, but not along their own direction.
    own : int
        The number of tokens that win along their own direction.
    rest : int
        The number of tokens that were not examined: not flagged, not asked for, or not reached
        yet.
    padding : int
        The number of padding rows that are speakable: rows beyond the tokenizer's tokens, which a
        sampler may pick and no tokenizer decodes. They are among the above.
    noun : Noun
        What the run calls its rows.
    """

    model: str
    _: KW_ONLY
    path: str | None
    V: int
    d: int
    domain: str
    unspeakable: int
    undecided: int
    hard: int
    own: int
    rest: int
    padding: int
    noun: Noun = Noun.TOKEN

    __repr__ = short_repr


@dataclass(frozen=True)
class SharedToken:
    """A token, by its text and kind, that is unspeakable in more than one of the runs.

    Attributes
    ----------
    token : str
        The text.
    token_kind : TokenKind or None
        The kind.
    places : tuple of int
        The indices of those runs, in the order in which they were given.
    """

    token: str
    token_kind: TokenKind | None
    places: tuple[int, ...]

    __repr__ = short_repr


@dataclass(frozen=True)
class Summary:
    """Several runs side by side.

    Attributes
    ----------
    models : tuple of ModelSummary
        One summary per run, in their order.
    shared : tuple of SharedToken
        The tokens that are unspeakable in several runs, the most common first. A run without
        texts of tokens shares none.
    """

    models: tuple[ModelSummary, ...]
    shared: tuple[SharedToken, ...]

    __repr__ = short_repr

    def as_dict(self) -> dict[str, Any]:
        """Return the summary in the form written as JSON.

        Returns
        -------
        dict
            The fields by name.
        """
        return asdict(self)


def summarise(runs: Iterable[Run | str | Path]) -> Summary:
    """Put several runs side by side.

    Parameters
    ----------
    runs : iterable of Run, str or Path
        Open runs, or files.

    Returns
    -------
    Summary
        The counts of each run, and the tokens that they share.

    Raises
    ------
    StoreError
        If a file is not a run.
    """
    models: list[ModelSummary] = []
    places: dict[tuple[str, TokenKind | None], list[int]] = defaultdict(list)
    for place, run in enumerate(runs):
        with nullcontext(run) if isinstance(run, Run) else open_file(run) as opened:
            rows = list(opened.rows())
            models.append(summarise_rows(opened, rows))
        silent = {(r.token, r.token_kind) for r in rows if r.verdict == "unspeakable"}
        for text, kind in silent:
            if text is not None:
                places[text, kind].append(place)
    shared = [
        SharedToken(text, kind, tuple(found))
        for (text, kind), found in places.items()
        if len(found) > 1
    ]
    shared.sort(key=lambda item: (-len(item.places), item.token, item.token_kind or ""))
    return Summary(tuple(models), tuple(shared))


def summarise_rows(run: Run, rows: list[TokenRow]) -> ModelSummary:
    """Return the summary of one run, whose rows have been read."""
    settings = run.settings
    V = int(settings.get("V", 0))
    counts = Counter(row.label for row in rows)
    return ModelSummary(
        run.model,
        path=None if run.path is None else str(run.path),
        V=V,
        d=int(settings.get("d", 0)),
        domain=str(settings.get("domain", {}).get("name")),
        unspeakable=counts["unspeakable"],
        undecided=counts["undecided"],
        hard=counts["hard"],
        own=counts["speakable"],
        rest=V - len(rows),
        padding=sum(row.undecodable for row in rows),
        noun=run.noun,
    )
