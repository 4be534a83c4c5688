"""Groups of equal tokens: what a run's rows say of them, and what joined since another run."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from geom.difference.records import TwinGroup
from geom.store import TokenRow

Group = tuple[int, ...]


def twin_groups(rows: Mapping[int, TokenRow], counts: Callable[[int], bool]) -> dict[int, Group]:
    """Return the group of each token that has the row and bias of another, by its id.

    Each row names its lowest twin, examined or not, so the groups are what hangs together. Tokens
    that do not count are left out.
    """
    root: dict[int, int] = {}

    def find(token: int) -> int:
        root.setdefault(token, token)
        while root[token] != token:
            root[token] = root[root[token]]
            token = root[token]
        return token

    for row in rows.values():
        for twin in row.twins:
            first, second = sorted((find(row.token_id), find(twin)))
            root[second] = first
    members: dict[int, list[int]] = {}
    for token in filter(counts, sorted(root)):
        members.setdefault(find(token), []).append(token)
    groups = {head: tuple(tokens) for head, tokens in members.items() if len(tokens) > 1}
    return {token: group for group in groups.values() for token in group}


def joined(
    before: Mapping[int, Group],
    after: Mapping[int, Group],
    known: Callable[[int], bool],
    rows: Mapping[int, TokenRow],
) -> tuple[TwinGroup, ...]:
    """Return the groups of ``after`` that were not one ``before``, the largest first.

    ``known`` tells whether it is known which twins a token had before: of other tokens nothing is
    claimed. ``rows`` has the texts.
    """
    found = []
    for group in sorted(set(after.values())):
        parts: dict[Group, list[int]] = {}
        for token in filter(known, group):
            parts.setdefault(before.get(token, (token,)), []).append(token)
        if len(parts) > 1 or any(token not in before for token in filter(known, group)):
            unknown = [[token] for token in group if not known(token)]
            found.append(_group(group, [*parts.values(), *unknown], rows))
    return tuple(sorted(found, key=lambda group: (-len(group.tokens), group.tokens)))


def _group(group: Group, parts: list[list[int]], rows: Mapping[int, TokenRow]) -> TwinGroup:
    return TwinGroup(
        group,
        texts=tuple(rows[token].token if token in rows else None for token in group),
        kinds=tuple(rows[token].token_kind if token in rows else None for token in group),
        parts=tuple(map(tuple, parts)),
    )
