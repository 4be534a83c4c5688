"""The hardest tokens of a run, in order: better bounds until the head of the list is proven.

A verdict needs only the sign of a token's largest margin, so the bounds that come with it are
loose, and a list sorted by them says little. Let the *limit* be the N-th smallest upper bound of
the speakable tokens. N tokens have a largest margin of at most the limit, so a token whose lower
bound is above it is not among the N hardest. Best first, by lower bound, the others

1. take the shared step, if they were proven along their own direction alone: it brings nearly all
   of them above the limit, which the other tokens have brought down before;
2. go through rounds of small programs (`geom.opening.rounds`) until their bounds meet, or until the
   lower one is above the limit, which falls all the while;
3. are then given to the first certifier of the chain that goes on to largest margins, if the rounds
   did not settle them, or if the domain is not a ball.

In the end the bounds of all tokens not above the limit meet. Neighbours in the list whose intervals
still overlap are tightened once more; if that does not separate them, they are equal as far as can
be proven.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from geom.certificates import Finding, Weights
from geom.errors import Raised
from geom.exact.bulk import own_direction
from geom.exact.products import POINTS
from geom.exact.weights import prove_unspeakable
from geom.numbers.arrays import Flags, Floats, Ids
from geom.numbers.rounding import CLAIM
from geom.opening.rounds import GROUP, Best, Goal, find
from geom.progress import report_progress
from geom.runs.certification import seen_again, tighten
from geom.runs.opening import SHARED_STEP, bulk_below, points_below, shared_points
from geom.runs.outcomes import OWN_DIRECTION
from geom.runs.planning import Plan
from geom.store import Outcome, Run, TokenRow

FIRST = 16
"""How many tokens go through rounds first, once N are known. Each time there are twice as many, up
to a group: the first ones bring the limit down, which saves rounds to all that follow."""

GAP = 1e-3
"""The relative gap at which bounds meet."""

FINER = 1e-6
"""The relative gap of neighbours that overlap at `GAP`."""

BATCH = 32
"""The most tokens that a certifier is asked to tighten at a time: after each time the limit may be
lower, and fewer are left to ask about."""

EACH = 12
"""A certifier tightens at most this many tokens for each place in the list. Where more are as hard
as each other, their order would cost more than it tells."""


def order_hardest(asked: Plan, run: Run) -> Iterator[list[Outcome]]:
    """Yield better outcomes of speakable tokens until the hardest of them are in proven order."""
    search = _Search(asked, run)
    places = min(asked.hardest, len(search.ids))
    while True:
        report_progress("hardest", search.settled(places), places, "tokens")
        found = search.step(places)
        if found is None:
            report_progress("hardest", places, places, "tokens")
            return
        yield found


class _Search:
    """The bounds of a run's speakable tokens, and what was done to better them.

    All arrays are (n,), one entry for each of the tokens ``ids``, ascending.
    """

    def __init__(self, asked: Plan, run: Run) -> None:
        self._problem, self._run = asked.problem, run
        self._chain = asked.chain
        links = (link for link in asked.chain if link.record.tighten is not None)
        self._link = next(links, None)
        domain = asked.problem.domain
        self._round = domain.shape == "ball" or not domain.bounded
        ids, lower, upper = run.bounds("speakable")
        inside = (ids >= 0) & (ids < asked.readout.V)  # a run that goes on may have been edited
        self.ids: Ids = ids[inside]
        self._lower = np.where(np.isnan(lower), 0.0, lower)[inside]
        self._upper = np.where(np.isnan(upper), math.inf, upper)[inside]
        self._own: Flags = np.isin(self.ids, list(run.recipes()))
        self._tried, self._spent, self._refined = np.zeros((3, self.ids.size), dtype=np.bool_)
        self._left = EACH * asked.hardest
        self._size = FIRST

    def settled(self, places: int) -> int:
        """Return how many of the hardest tokens are known, as far as can be told."""
        return min(places, int((self._tight() & (self._lower <= self._limit(places))).sum()))

    def step(self, places: int) -> list[Outcome] | None:
        """Better the bounds of some tokens, lowest first; None if nothing is left to do."""
        limit, tight = self._limit(places), self._tight()
        loose = np.flatnonzero(~tight & ~self._spent & (self._lower < limit))
        loose = loose[np.argsort(self._lower[loose], kind="stable")]
        need = places - int((tight & (self._upper <= limit)).sum())
        fresh = loose[~self._tried[loose]]
        if fresh.size and self._round:
            own = self._own[fresh]
            if own.all() and need <= 0:
                return self._by_shared_step(fresh[:POINTS])
            size = min(GROUP, need) if need > 0 else self._size
            self._size = min(GROUP, 2 * size)
            return self._by_rounds((fresh if own.all() else fresh[~own])[:size], GAP, limit)
        size = min(BATCH, self._left, need if need > 0 else BATCH)
        if loose.size and size > 0 and self._link:
            return self._tightened(loose[:size], GAP, limit)
        known = min(limit, float(self._lower[loose].min(initial=math.inf)))
        return self._separated(self._overlapping(known))

    def _limit(self, places: int) -> float:
        """Return the largest value that one of the hardest tokens' largest margins may have."""
        if places == 0:
            return -math.inf
        return float(np.partition(self._upper, places - 1)[places - 1])

    def _tight(self) -> Flags:
        """Return whether each token's bounds meet."""
        apart = self._upper - self._lower
        return np.asarray(np.isfinite(apart) & (apart <= 1.01 * GAP * np.abs(self._upper)))

    def _separated(self, close: Ids) -> list[Outcome] | None:
        """Tighten the bounds of some tokens that overlap; None if nothing can be done."""
        close = close[:GROUP] if self._round else close[: self._left]
        if not close.size or not (self._round or self._link):
            return None
        self._refined[close] = True
        if self._round:
            return self._by_rounds(close, FINER, math.inf)
        return self._tightened(close, FINER, math.inf)

    def _overlapping(self, limit: float) -> Ids:
        """Return the hardest tokens that overlap a neighbour and were not refined, in order."""
        head = np.flatnonzero(self._tight() & (self._lower <= limit))
        head = head[np.lexsort((self._upper[head], self._lower[head]))]
        apart = self._lower[head[1:]] >= np.maximum.accumulate(self._upper[head])[:-1]
        joined = np.zeros(head.size, dtype=np.bool_)
        joined[1:] |= ~apart
        joined[:-1] |= ~apart
        return head[joined & ~self._refined[head] & ~self._spent[head]]

    def _by_shared_step(self, places: Ids) -> list[Outcome]:
        """Try the shared step for tokens proven along their own direction; return what is better.

        Those that stay below the limit have come near it, and rounds go on from there.
        """
        started = time.perf_counter()
        tokens = self.ids[places]
        points = shared_points(self._problem, tokens)
        lower = bulk_below(self._problem, tokens, points)
        better = []
        for place in np.flatnonzero(lower > self._lower[places]).tolist():
            row = self._run.row(int(tokens[place]))
            old = _outcome(row, Finding(), OWN_DIRECTION)
            better.append(_bettered(old, float(lower[place]), points[place]))
        self._own[places] = False
        return self._learn(better, (time.perf_counter() - started) / len(tokens))

    def _by_rounds(self, places: Ids, gap: float, limit: float) -> list[Outcome]:
        """Tighten the bounds of these tokens by rounds of small programs; return what is better."""
        started = time.perf_counter()
        self._tried[places] = True
        tokens = self.ids[places]
        known = {token: self._known(token) for token in tokens.tolist()}
        better = dict(known)
        asked = self._problem.in_coordinates
        found = list(find(asked, tokens, partial(self._starts, known), Goal(limit, gap)))
        for best, lower, upper in self._bounds_of(found, gap):
            old = known[best.token]
            better[best.token] = _bettered(old, lower, best.x, upper, best.weights)
        changed = [outcome for token, outcome in better.items() if outcome is not known[token]]
        return self._learn(changed, (time.perf_counter() - started) / len(known))

    def _starts(self, known: Mapping[int, Outcome], tokens: Ids) -> Floats:
        """Return the points (n, d) that rounds start from: the best ones, or the shared step."""
        points = np.array([known[token].evidence.x for token in tokens.tolist()])
        own = np.array([known[token].recipe is not None for token in tokens.tolist()])
        if own.any():
            points[own] = shared_points(self._problem, tokens[own])
        return points

    def _bounds_of(self, found: list[Best], gap: float) -> Iterator[tuple[Best, float, float]]:
        """Yield what was found with proven bounds: close ones where it says that they meet."""
        meet = [b.bound - b.margin <= 1.01 * gap * abs(b.bound) for b in found]
        for close in (False, True):
            some = [best for best, met in zip(found, meet, strict=True) if met is close]
            tokens = np.array([best.token for best in some], dtype=np.int64)
            points = np.array([best.x for best in some]).reshape(
                -1, self._problem.domain.coordinates
            )
            margins = np.array([best.margin for best in some]) if close else None
            lower = points_below(self._problem, tokens, points, margins)
            for best, bound in zip(some, lower.tolist(), strict=True):
                upper = None
                if close and best.weights is not None:
                    _, upper = prove_unspeakable(self._problem, best.token, best.weights, CLAIM, ())
                yield best, bound, math.inf if upper is None else upper

    def _tightened(self, places: Ids, gap: float, limit: float) -> list[Outcome]:
        """Ask the certifier about these tokens; return what is known about them now."""
        self._left -= len(places)
        enough = limit * (1.0 + GAP) if limit < math.inf else None
        assert self._link is not None  # nobody is asked without one
        say: Any = self._link.record.tighten
        options = self._link.attempt(lambda _, options: say(options, gap, enough), "tighten")
        if isinstance(options, Raised):
            self._left = 0
            return []
        known = [self._known(int(token)) for token in self.ids[places]]
        new, kept = [], []
        again = tighten(self._problem, replace(self._link, options=options), known)
        for outcome, old in zip(again, known, strict=True):
            if outcome.evidence is old.evidence:
                kept.append(replace(outcome, evidence=Finding()))  # it is stored, or rebuilt
            else:
                new.append(outcome)
        found = [*self._noted(kept), *self._learn(new, 0.0)]
        self._spent[places] = ~self._tight()[places] & ~(self._lower[places] > limit)
        return found

    def _known(self, token: int) -> Outcome:
        """Return what the run knows about a token, its point rebuilt if it is not stored."""
        row, evidence = self._run.row(token), self._run.evidence(token)
        recipe = self._run.recipe(token)
        if recipe is not None or evidence.x is None:
            evidence = replace(evidence, x=own_direction(self._problem, token))
        return _outcome(row, evidence, recipe)

    def _learn(self, better: Sequence[Outcome], seconds: float) -> list[Outcome]:
        """Return better outcomes after the links that verify have seen them; keep the bounds.

        ``seconds`` is what each of them took.
        """
        timed = [replace(outcome, seconds=outcome.seconds + seconds) for outcome in better]
        return self._noted(seen_again(self._problem, self._chain, timed))

    def _noted(self, outcomes: Iterable[Outcome]) -> list[Outcome]:
        """Keep the bounds, and return the outcomes."""
        found = list(outcomes)
        places = np.searchsorted(self.ids, [outcome.token_id for outcome in found])
        self._lower[places] = _bounds((outcome.margin_lower for outcome in found), 0.0)
        self._upper[places] = _bounds((outcome.margin_upper for outcome in found), math.inf)
        return found


def _bounds(values: Iterable[float | None], unknown: float) -> Floats:
    """Return bounds as an array (n,), with ``unknown`` for those that say nothing."""
    return np.array(
        [unknown if value is None or math.isnan(value) else value for value in values],
        dtype=np.float64,
    )


def _bettered(
    old: Outcome, lower: float, x: Floats, upper: float = math.inf, weights: Weights | None = None
) -> Outcome:
    """Return the outcome with the point and the weights in place of worse ones, or as it was."""
    if lower > (old.margin_lower or 0.0):
        evidence = replace(old.evidence, x=x)
        certifier = old.certifier if old.recipe is None else SHARED_STEP
        old = replace(old, certifier=certifier, margin_lower=lower, evidence=evidence, recipe=None)
    if upper < (math.inf if old.margin_upper is None else old.margin_upper):
        evidence = replace(old.evidence, weights=weights)
        old = replace(old, margin_upper=upper, evidence=evidence, recipe=None)
    return old


def _outcome(row: TokenRow, evidence: Finding, recipe: Any) -> Outcome:
    """Return a row in the form in which it is stored."""
    return Outcome(
        token_id=row.token_id,
        verdict=row.verdict,
        proof=row.proof,
        certifier=row.certifier,
        margin_lower=row.margin_lower,
        margin_upper=row.margin_upper,
        seconds=row.seconds,
        note=row.note,
        evidence=evidence,
        recipe=recipe,
    )
