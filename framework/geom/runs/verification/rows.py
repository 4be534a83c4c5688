"""Check a run's rows against the model: which rows there are, and everything but the verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from geom.errors import InputError
from geom.model.problem import Problem
from geom.model.readout import Readout
from geom.numbers.arrays import Ids
from geom.plugins.registry import installed
from geom.runs.detection import examine, missing_or_more
from geom.runs.planning import Plan, plan
from geom.runs.verification.faults import Found, shown
from geom.store import Planned, Run, TokenRow
from geom.text import TokenKind
from geom.token_spec import CANDIDATES


def check_rows(
    problem: Problem,
    run: Run,
    rows: Sequence[TokenRow],
    twins: Ids,
    texts: bool,
    found: Found,
) -> bool:
    """Check which rows there are, and their winners, flags, notes and texts.

    Returns whether it is known which rows there should be; ``twins`` (V,) are those of
    `find_twins`, and ``texts`` says whether the texts can be compared.
    """
    settings = run.settings
    ids = run.tokens()
    inside = [token for token in ids if 0 <= token < problem.readout.V]
    again, complete = _asked_again(problem, settings, inside, found)
    planned = [] if again is None else list(examine(again)[0])
    if complete:
        words = missing_or_more([item.token_id for item in planned], ids, found.noun)
        if words:
            found.fault(None, words)
    repeated = {detector.record.name for detector in again.detectors} if again else set()
    kinds = run.winner_kinds()
    by_id = {row.token_id: row for row in rows}
    for item in planned:
        row = by_id.get(item.token_id)
        if row is not None:
            _compare(row, kinds[row.token_id], item, texts, found)
            _compare_flags(row, item, repeated, settings.get("detectors", {}), found)
    _check_twins(twins.tolist(), rows, found)
    return complete


def _asked_again(
    problem: Problem, settings: Mapping[str, Any], ids: Sequence[int], found: Found
) -> tuple[Plan | None, bool]:
    """Return a plan that finds the rows again, or None, and whether it finds all of them.

    It asks the detectors that are `repeatable`; without any, the run's candidates are accepted.
    """
    detectors: Mapping[str, Any] = settings.get("detectors", {})
    known = {
        item.record.name: item.record for item in installed().listed() if item.kind == "detector"
    }
    repeatable = [name for name in detectors if name in known and known[name].repeatable]
    for name in sorted(detectors.keys() - set(repeatable)):
        found.leave(f"which {problem.readout.noun.plural} {shown(name)} flags")
    tokens: str | Sequence[int] = settings["tokens"]
    complete = tokens != CANDIDATES or len(repeatable) == len(detectors)
    if not complete:
        if not ids:
            return None, False
        tokens = ids
    given = {("detector", name): detectors[name] for name in repeatable}
    try:
        asked = plan(
            problem.readout,
            detectors=repeatable,
            certifiers=(),
            domain=problem.domain,
            tokens=tokens,
            given=given,
        )
    except InputError as error:
        found.fault(None, f"its settings cannot be used: {error}")
        return None, False
    return asked, complete


def comparable_texts(readout: Readout, rows: Sequence[TokenRow], named: bool, found: Found) -> bool:
    """Return whether texts and kinds can be compared: not if only the model or the run has any.

    ``named`` says that the user named the weights. Weights loaded by the run's own name have a
    tokenizer if the run had one, unless the package that reads it is not installed.
    """
    there = any(row.token is not None or row.token_kind is not None for row in rows)
    own = readout.tokens is not None or readout.kinds is not None
    if there and not own:
        found.leave(
            f"texts and kinds of {readout.noun.plural}, as {readout.source} has no tokenizer"
        )
        return False
    if own and rows and not there and named:
        found.leave(f"texts and kinds of {readout.noun.plural}, as the run has none")
        return False
    return own


def _compare(
    row: TokenRow, argmax_kind: TokenKind | None, item: Planned, texts: bool, found: Found
) -> None:
    """Compare the row with the same row found again."""
    token = item.token_id
    if row.argmax_id != item.argmax_id:
        found.fault(
            token,
            f"argmax_id is {row.argmax_id}, and along its own direction {item.argmax_id} wins",
        )
    if row.self_argmax != item.self_argmax:
        found.fault(
            token,
            f"self_argmax is {row.self_argmax}, and along its own direction {item.argmax_id} wins",
        )
    if not texts:
        return
    if (row.token, row.token_kind) != (item.token, item.token_kind):
        found.fault(
            token,
            f"its text is {shown(row.token, row.token_kind)}, and the model's tokenizer has "
            f"{shown(item.token, item.token_kind)}",
        )
    if (row.argmax, argmax_kind) != (item.argmax, item.argmax_kind):
        found.fault(
            token,
            f"the text of its winner is {shown(row.argmax, argmax_kind)}, and the model's "
            f"tokenizer has {shown(item.argmax, item.argmax_kind)}",
        )


def _compare_flags(
    row: TokenRow, item: Planned, repeated: set[str], detectors: Mapping[str, Any], found: Found
) -> None:
    """Compare the flags of the detectors asked again, and refuse names that are not the run's."""
    if set(row.flagged_by) - detectors.keys() or len(set(row.flagged_by)) < len(row.flagged_by):
        names = ", ".join(map(shown, row.flagged_by))
        found.fault(row.token_id, f"flagged_by is not a list of the run's detectors: {names}")
    for name in sorted(repeated):
        if (name in row.flagged_by) != (name in item.flagged_by):
            does = "flags it" if name in item.flagged_by else "does not flag it"
            found.fault(row.token_id, f"flagged_by is wrong: {name} {does}")


def _check_twins(twins: Sequence[int], rows: Sequence[TokenRow], found: Found) -> None:
    """Check the notes that name a token with the same row and bias."""
    for row in rows:
        if not 0 <= row.token_id < len(twins):
            continue
        said = list(row.twins)
        true = twins[row.token_id]
        if said != ([true] if true >= 0 else []):
            has = f"that is {found.noun} {true}" if true >= 0 else "it has none"
            found.fault(
                row.token_id, f"its note names {said or f'no {found.noun}'} as its twin, and {has}"
            )
