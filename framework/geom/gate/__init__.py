"""The gate: which findings of a run, or of a difference of two runs, fail a build."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from geom.difference.records import Difference
from geom.errors import InputError
from geom.gate.baselines import check_problem, check_run, opened
from geom.gate.checks import IGNORABLE, NAMED, Check, Token, are, named, parse_names, unproven
from geom.model.problem import Problem
from geom.nouns import Noun
from geom.store import Run, TokenRow
from geom.text import TokenKind

PADDING = "speakable-padding"
"""The finding about padding rows. To ignore padding does not ignore it: it asks for them."""

FINDINGS: Mapping[str, tuple[str, Callable[[TokenRow], bool]]] = {
    "unspeakable": ("unspeakable", lambda row: row.verdict == "unspeakable"),
    "undecided": ("undecided", lambda row: row.verdict == "undecided"),
    PADDING: ("speakable padding", lambda row: row.undecodable),
}
"""What the gate of a run can watch for: the words for it, and whether a token is that."""

CHANGES = ("newly-unspeakable", "newly-undecided", "new-twins")
"""What the gate of a difference can watch for."""


@dataclass(frozen=True)
class Gate:
    """What fails a build.

    ``fail_on`` has names of `FINDINGS`. Tokens of the kinds in ``ignore`` do not count, except
    padding rows as speakable padding. If ``baseline`` has a finding of the same token, that does
    not count either; it is a run, a file, or a folder with a run of each model. A sentence names
    the first ``named`` tokens.
    """

    fail_on: tuple[str, ...]
    ignore: frozenset[TokenKind] = frozenset()
    baseline: Run | Path | None = None
    named: int = NAMED

    @classmethod
    def asked(
        cls,
        fail_on: str | Iterable[str],
        ignore: str | Iterable[str] = (),
        baseline: Run | str | Path | None = None,
        named: int = NAMED,
    ) -> Gate:
        """Make a gate of names, each of which may be several, separated by commas.

        Raises InputError for an unknown name, or a gate that watches for nothing.
        """
        watched = parse_names("finding to fail on", fail_on, FINDINGS)
        kinds = parse_names("kind to ignore", ignore, IGNORABLE)
        if not watched:
            raise InputError(f"a gate that watches for nothing: name {' or '.join(FINDINGS)}")
        place = Path(baseline) if isinstance(baseline, str) else baseline
        if isinstance(place, Path) and not place.exists():
            raise InputError(f"the baseline {place} does not exist; name a file that geom wrote")
        return cls(watched, frozenset(_kinds(kinds)), place, named)

    def check_problem(self, problem: Problem, out: Path | None = None) -> None:
        """Check the baseline before a run to ``out`` begins. Raises InputError if it cannot serve.

        It must be of the same vocabulary and domain, and another run.
        """
        with opened(self.baseline, str(problem.readout.source)) as baseline:
            if baseline is not None:
                check_problem(baseline, problem, out)

    def checks(self, run: Run) -> list[Check]:
        """Judge a run: what is wrong with the run itself, then one check per thing watched for.

        Raises InputError if the baseline is of another vocabulary or domain.
        """
        rows, known, note = list(run.rows()), dict[int, TokenRow](), ""
        with opened(self.baseline, run.model) as baseline:
            if baseline is not None:
                check_run(baseline, run)
                known = {row.token_id: row for row in baseline.rows()}
            elif self.baseline is not None:
                note = f"; {self.baseline} has no run of {run.model}"
        checks = unproven(run, rows, self.ignore)
        return [*checks, *(self._check(what, rows, known, note, run.noun) for what in self.fail_on)]

    def _check(
        self,
        what: str,
        rows: Sequence[TokenRow],
        known: Mapping[int, TokenRow],
        note: str,
        noun: Noun,
    ) -> Check:
        words, is_found = FINDINGS[what]
        ignore = self.ignore - {"padding"} if what == PADDING else self.ignore
        found = [row for row in rows if is_found(row)]
        wanted = [row for row in found if row.token_kind not in ignore]
        new = [row for row in wanted if not _was(what, row, known.get(row.token_id))]
        ignored = Counter(row.token_kind for row in found if row.token_kind in ignore)
        aside = [f"{n} {kind} ignored" for kind, n in sorted(ignored.items(), key=str)]
        if len(wanted) > len(new):
            aside.append(f"{len(wanted) - len(new)} in the baseline")
        if ignore and rows and all(row.token_kind is None for row in rows):
            aside.append(f"no kinds of {noun.plural} are known, so none is ignored")
        more = f" ({', '.join(aside)}){note}" if aside else note
        if new:
            tokens = named(_tokens(new), self.named)
            return Check(what, True, f"{are(noun, len(new), words)}: {tokens}{more}")
        other = "other " if found else ""
        return Check(what, False, f"no {other}{noun} of {len(rows)} examined is {words}{more}")


def changes(
    found: Difference, after: Run, fail_on: Iterable[str], ignore: Iterable[str] = ()
) -> list[Check]:
    """Judge a difference of two runs, the second of which is ``after``.

    Raises InputError for an unknown name.
    """
    watched = parse_names("change to fail on", fail_on, CHANGES)
    kinds = _kinds(parse_names("kind to ignore", ignore, IGNORABLE))
    checks = unproven(after, list(after.rows()), kinds)
    for what in watched:
        if what == "new-twins":
            groups = [group for group in found.twins if not set(group.kinds) <= set(kinds)]
            tokens = [
                token
                for group in groups
                for token in zip(group.tokens, group.texts, group.kinds, strict=True)
            ]
            words = f"twins, in {len(groups)} new group{'' if len(groups) == 1 else 's'}"
        else:
            newly = what == "newly-unspeakable"
            changed = found.newly_unspeakable if newly else found.newly_undecided
            tokens = [
                (item.token_id, item.token, item.token_kind)
                for item in changed
                if item.token_kind not in kinds
            ]
            words = what.replace("-", " ")
        said = f"{are(found.noun, len(tokens), words)}: {named(tokens)}" if tokens else "none"
        checks.append(Check(what, bool(tokens), said))
    return checks


def check_names(fail_on: Iterable[str], ignore: Iterable[str]) -> None:
    """Check the names of a difference's gate before any run is read. Raises InputError."""
    parse_names("change to fail on", fail_on, CHANGES)
    parse_names("kind to ignore", ignore, IGNORABLE)


def _kinds(names: Collection[str]) -> list[TokenKind]:
    return [kind for kind in IGNORABLE if kind in names]


def _tokens(rows: Iterable[TokenRow]) -> list[Token]:
    return [(row.token_id, row.token, row.token_kind) for row in rows]


def _was(what: str, row: TokenRow, before: TokenRow | None) -> bool:
    """Return whether the baseline has the finding, of the same token.

    A padding row that has become a token is another token. An undecided token is no news if it was
    undecided or unspeakable.
    """
    if before is None:
        return False
    known = row.token_kind is not None and before.token_kind is not None
    if known and row.token != before.token:
        return False
    if what == "undecided":
        return before.verdict in ("undecided", "unspeakable")
    return FINDINGS[what][1](before)
