"""Best ranks by enumeration, in exact integers: at the corners of all the planes where rivals tie.

Rivals are rows ``(a_j, c_j)`` of integers, and a point of space is a ray ``v`` with a last entry
above 0. Nothing here comes from geom. The rank is constant in a cell of the arrangement.
Each cell has a corner, a ray on which as many planes meet as there are coordinates less one; around
it, a cell can be chosen that lies below all of these planes. So the best rank is 1 plus the fewest
rivals that are above at any corner, those whose planes meet there not counted. That needs planes in
general position, which is checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

Row = Sequence[int]


def best_rank(rivals: Sequence[Row], walls: Sequence[Row] = ()) -> int:
    """Return the best rank among the points at which all ``walls`` are below 0.

    Rows have two or three entries. The wall ``(0, 0, -1)`` lets the first two entries of a ray be
    any point of a plane; walls of a box in that plane imply it.
    """
    rows = [*rivals, *walls]
    fewest = len(rivals)
    for places in combinations(range(len(rows)), len(rows[0]) - 1):
        for v in _corner([rows[place] for place in places]):
            rest = [place for place in range(len(rows)) if place not in places]
            values = {place: _product(rows[place], v) for place in rest}
            if any(values.pop(place) >= 0 for place in rest if place >= len(rivals)):
                continue
            assert all(values.values()), "planes are not in general position"
            fewest = min(fewest, sum(value > 0 for value in values.values()))
    return 1 + fewest


def _product(row: Row, v: Row) -> int:
    return sum(p * q for p, q in zip(row, v, strict=True))


def _corner(rows: Sequence[Row]) -> Iterator[Row]:
    """Yield the two rays on which all of the rows are 0."""
    if len(rows) == 1:
        ((p, q),) = rows
        v: tuple[int, ...] = (-q, p)
    else:
        (a, b, c), (d, e, f) = rows
        v = (b * f - c * e, c * d - a * f, a * e - b * d)
    assert any(v), "planes are not in general position"
    yield v
    yield tuple(-entry for entry in v)
