"""The highest rivals of the tokens of a block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from geom.exact.single import block_rows, slices
from geom.numbers.arrays import Floats, Ids
from geom.numbers.rationals import integers, power_of_two
from geom.self_argmax.distinct import DistinctRows
from geom.self_argmax.stages import ScreenStage, Stage, WholeStage, lowered

PAIRS = 2**16
"""How many pairs of tokens and rivals are compared in float64 at once, or those of one token."""


class Loser(NamedTuple):
    """A token that does not win along its own direction, by its place.

    ``rival`` is the lowest id of its highest rivals, and ``sign`` tells whether they are higher
    than the token itself (1) or as high (0).
    """

    place: int
    rival: int
    sign: int


class Contest:
    """Compares blocks of tokens with all rows that may be as long, ``strip`` rows at a time."""

    def __init__(self, rows: DistinctRows, stages: Sequence[Stage], strip: int) -> None:
        self._rows, self._stages, self._strip = rows, stages, strip

    def losers(self, tokens: Ids) -> list[Loser]:
        """List the tokens of a block, given by their places, that do not win."""
        least = self._rows.own[0][tokens]
        rivals: Ids | int = self._rows.reach(int(tokens.max()))
        for stage in self._stages:
            tokens, least, rivals = self._narrowed(stage, tokens, least, rivals)
            if tokens.size == 0:
                return []
        assert not isinstance(rivals, int)  # there is a stage of whole rows
        parts = slices(tokens.size, max(1, PAIRS // rivals.size))
        return [
            loser for part in parts for loser in self._decided(tokens[part], least[part], rivals)
        ]

    def _narrowed(
        self, stage: Stage, tokens: Ids, least: Floats, rivals: Ids | int
    ) -> tuple[Ids, Floats, Ids]:
        """Return the tokens and rivals that a stage leaves, and the least scores that matter now.

        ``rivals`` are places, or how many from the first.
        """
        xp, put, get = stage.device.xp, stage.device.put, stage.device.get
        left, least, each = stage.left(tokens, least), least.copy(), np.arange(tokens.size)
        best, nearest = np.full(tokens.size, -np.inf), np.zeros(tokens.size, dtype=np.int64)
        kept = []
        for places in self._strips(rivals):
            bounds = left @ stage.right(places).T
            mine, own = _found(tokens, places)
            bounds[put(mine), put(own)] = -np.inf
            kept.append(_at(places, np.flatnonzero(get(xp.max(bounds, axis=0)) >= 0.0)))
            top = xp.argmax(bounds, axis=1)
            highest = get(bounds[put(each), top]).astype(np.float64)
            better = np.flatnonzero((highest >= 0.0) & (highest > best))
            best[better] = highest[better]
            nearest[better] = _at(places, get(top)[better])
            if isinstance(stage, WholeStage) and better.size:
                who, bound = tokens[better], highest[better]
                known = stage.known(bound, least[better], who, nearest[better])
                least[better] = np.maximum(least[better], known)
                best[better] = 0.0
                left[:, 0] = put(-lowered(least, self._rows.d))
        lost = np.flatnonzero(best >= 0.0)
        tokens, least, nearest = tokens[lost], least[lost], nearest[lost]
        if isinstance(stage, ScreenStage):
            likely = stage.likely(best[lost], tokens, nearest)
            known = self._scores_below(tokens[likely], nearest[likely])
            least[likely] = np.maximum(least[likely], known)
        return tokens, least, np.concatenate(kept)

    def _strips(self, rivals: Ids | int) -> Iterator[Ids | slice]:
        """Split rivals into strips."""
        if isinstance(rivals, int):
            return slices(rivals, self._strip)
        return (rivals[part] for part in slices(rivals.size, self._strip))

    def _scores_below(self, tokens: Ids, rivals: Ids) -> Floats:
        """Bound the scores (n,) of one rival for each token from below."""
        scores = np.einsum("ij,ij->i", self._rows.scaled(tokens), self._rows.scaled(rivals))
        sizes = self._rows.lengths[tokens] * self._rows.lengths[rivals]
        return np.asarray(scores - self._rows.errors(sizes))

    def _decided(self, tokens: Ids, least: Floats, rivals: Ids) -> Iterator[Loser]:
        """Yield the tokens that do not win, by scores in float64 and then in integers."""
        rows, least = self._rows, least.copy()
        mine, lengths = rows.scaled(tokens), rows.lengths[tokens]
        pairs: list[tuple[Ids, Ids, Floats]] = []
        for part in slices(rivals.size, self._strip):
            places = rivals[part]
            scores = mine @ rows.scaled(places).T
            scores[_found(tokens, places)] = -np.inf
            error = rows.errors(np.outer(lengths, rows.lengths[places]))
            least = np.maximum(least, (scores - error).max(axis=1))
            scores += error
            i, j = np.nonzero(scores >= least[:, None])
            pairs.append((i, places[j], scores[i, j]))
        i, places, above = (np.concatenate(each) for each in zip(*pairs, strict=True))
        left = above >= least[i]
        order = np.argsort(i[left], kind="stable")
        i, places = i[left][order], places[left][order]
        bounds = np.searchsorted(i, np.arange(tokens.size + 1))
        clear = least > rows.own[1][tokens]
        for t, token in enumerate(tokens.tolist()):
            near = places[bounds[t] : bounds[t + 1]]
            if near.size == 1 and clear[t]:
                yield Loser(token, int(rows.heads[near[0]]), 1)
            elif near.size:
                yield from self._exactly(token, near)

    def _exactly(self, token: int, rivals: Ids) -> Iterator[Loser]:
        """Yield the token if it does not win against these rivals in integers."""
        ids, own = self._rows.heads[rivals], self._rows.heads[token]
        highest: tuple[Fraction, int] | None = None
        for part in slices(ids.size, block_rows(self._rows.d)):
            some = np.append(ids[part], own)
            flat, exponent = integers(self._rows.centred(some))
            scores = flat @ flat[-1]
            best = max(scores[:-1])
            least_id = int(some[:-1][scores[:-1] == best].min())
            excess = Fraction(best - scores[-1]) * power_of_two(2 * exponent)
            found = (excess, -least_id)
            highest = found if highest is None else max(highest, found)
        if highest is not None and highest[0] >= 0:
            yield Loser(token, -highest[1], 1 if highest[0] > 0 else 0)


def _at(places: Ids | slice, indices: Ids) -> Ids:
    """Return the places at these indices."""
    return places.start + indices if isinstance(places, slice) else places[indices]


def _found(tokens: Ids, places: Ids | slice) -> tuple[Ids, Ids]:
    """Return which tokens are among the places, ascending, and where."""
    if isinstance(places, slice):
        mine = np.flatnonzero((tokens >= places.start) & (tokens < places.stop))
        return mine, tokens[mine] - places.start
    at = np.searchsorted(places, tokens)
    at[at == places.size] = 0
    mine = np.flatnonzero(places[at] == tokens)
    return mine, at[mine]
